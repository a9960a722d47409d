"""Explore several starting points for a few iterations each, and keep the best."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from .evidence import Hyperparameters
from .evidence_problem import EvidenceProblem
from .optimization import Solution, continued, maximize_evidence
from .relevance import Relevance
from .starting_points import SMALL_NOISE, natural_start, natural_starts

# Index of the first family whose metric comes from the relevance of features.
FIRST_RELEVANT = 2
# All starts get half of EXPLORE iterations, the first one and the best FINALISTS get
# the other half too: enough to rank them, at a small part of a full maximisation. Both
# were chosen by hand; other numbers have not been measured.
EXPLORE, FINALISTS = 20, 2
# Gain in nats per observation by which another start must beat the first one. Chosen by
# hand: it only prefers the first start where two are as good.
MARGIN = 0.01
# The same if the first start is isotropic: an adapted metric gains a little by chance.
# With less, every start gained a little on labels, and fits took three times as long
# (benchmarks/README.md).
MARGIN_TO_ISOTROPIC = 0.05
# The same at a width far below the requested ones, where the metric overfits labels.
# Chosen by hand; other values have not been measured.
MARGIN_AT_SMALL_WIDTH = 0.15


def families(
    problem: EvidenceProblem, isotropic: Solution, relevance: Relevance
) -> list[list[Hyperparameters]]:
    """Families of starting points in fixed order. The best point of each is tried.

    isotropic : Solution, at infinite width
    relevance : Relevance, metrics from statistics without a kernel
    """
    return [
        [isotropic.point],
        [natural_start(problem, SMALL_NOISE)],
        *_of_metrics(problem, relevance.families),
        *([point] for point in problem.starts),
    ]


def restarts(
    problem: EvidenceProblem, relevance: Relevance
) -> list[list[Hyperparameters]]:
    """More families, to be tried if those of `families` find no structure."""
    return _of_metrics(problem, relevance.restarts)


def _of_metrics(
    problem: EvidenceProblem, metrics: Iterable[list[np.ndarray]]
) -> list[list[Hyperparameters]]:
    return [
        [
            point
            for metric_sqrt in metric_sqrts
            for point in natural_starts(problem, metric_sqrt)
        ]
        for metric_sqrts in metrics
    ]


def explore(
    problem: EvidenceProblem,
    families: Sequence[Sequence[Hyperparameters]],
    *,
    margin: float = MARGIN,
) -> tuple[int, Solution]:
    """Maximise for a few iterations from the best point of each family.

    After half of them only the first family and the best `FINALISTS` continue. Another
    family wins over the first only if it is better by `margin` per observation. Returns
    the index of the winner, and its solution.
    """
    half = EXPLORE // 2
    trials = {
        i: maximize_evidence(problem, problem.best_point(family), max_iter=half)
        for i, family in enumerate(families)
    }
    best = sorted(trials, key=lambda i: trials[i].value, reverse=True)[:FINALISTS]
    for i in {0, *best}:
        if trials[i].n_iter == half:
            # Curvature that was learned far from the maximum would mislead.
            start = replace(trials[i], curvature=None)
            trials[i] = continued(problem, start, max_iter=half)
    winner = max(trials, key=lambda i: trials[i].value)
    gain = trials[winner].value - trials[0].value
    winner = winner if gain > margin * problem.observations() else 0
    return winner, trials[winner]
