"""Maximise the evidence on growing samples of the rows, last on all of them.

If there are more than `START_ROWS` rows, starting points and paths use a fixed random
sample of them. Larger samples follow. Only the last run of the optimizer uses all rows.
"""

from collections.abc import Iterable
from typing import cast

from . import subsampling
from .evidence_problem import EvidenceProblem
from .inducing_check import bound_or_exact
from .inducing_points import InducingData
from .multi_start import EXPLORE, explore
from .optimization import Solution, continued, maximize_evidence
from .starting_points import natural_starts


def tune_isotropic(problem: EvidenceProblem) -> Solution:
    """Variances and noise by evidence, without adaptation: the NNGP."""
    problem = problem.isotropic()
    if not problem.bounds:
        return maximize_evidence(problem, problem.template)
    sample = problem.of_sample()
    families = [natural_starts(sample), *([point] for point in sample.starts)]
    if len(families) == 1:
        best = maximize_evidence(sample, sample.best_point(families[0]))
    else:
        _, best = explore(sample, families)
        if best.n_iter == EXPLORE:  # all that `explore` allows: not at the maximum yet
            best = continued(sample, best)
    return refine(problem, best)


def refine(problem: EvidenceProblem, best: Solution) -> Solution:
    """Continue a solution of the sample on larger samples, and last on all rows.

    The samples grow by a factor of three. Each run starts from the end of the one
    before, so that few iterations are needed on many rows, where they are expensive.
    With inducing points there is only one such sample: on more rows an exact fit costs
    more than the bound.
    """
    if problem.of_sample() is problem:
        return best
    sparse, n = isinstance(problem.data, InducingData), problem.data.X.shape[0]
    rows, size = subsampling.START_ROWS, subsampling.GROWTH * subsampling.START_ROWS
    while size < n and not (sparse and rows > subsampling.START_ROWS):
        best = continued(problem.of_sample(size), best)
        rows, size = size, subsampling.GROWTH * size
    last = continued(problem, best)
    return (
        bound_or_exact(cast(InducingData, problem.data), last, best, rows)
        if sparse
        else last
    )


def best_solution(problem: EvidenceProblem, solutions: Iterable[Solution]) -> Solution:
    """Of solutions on other rows, the one that is best for a sample of these rows."""
    sample = problem.of_sample(subsampling.GROWTH * subsampling.START_ROWS)
    return max(solutions, key=lambda solution: sample.value(solution.point))
