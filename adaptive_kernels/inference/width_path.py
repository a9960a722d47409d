"""Solutions along widths: explored where adaptation is free, followed up and down.

At a small width the KL penalty is almost zero, so that good starts are easy to tell
from bad ones. Several starts are explored there, and the best is followed to larger
widths. A second path starts at infinite width, where nothing adapts, and goes down. It
replaces the first as long as its objective is larger.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf, isinf, log
from typing import cast

from .evidence import Hyperparameters
from .evidence_problem import EvidenceProblem
from .missed_structure import noise_share
from .multi_start import (
    EXPLORE,
    FIRST_RELEVANT,
    MARGIN_AT_SMALL_WIDTH,
    MARGIN_TO_ISOTROPIC,
    explore,
    families,
    restarts,
)
from .optimization import Solution, warm_start
from .relevance import Relevance
from .tuning import refine, tune_isotropic

# Smallest width at which starts are explored.
FREE_WIDTH = 0.1
# Largest factor from one width to the next; widths between are added where necessary.
STEP = 10.0
# Gain in nats by which a solution from above must beat one from below: within the
# tolerance of the optimizer both may be so far from their maxima. Chosen by hand.
BETTER = 0.5
# Gain in nats per observation from which adaptation counts as having found structure.
# Chosen by hand; other values have not been measured.
FOUND = 0.02


@dataclass
class WidthPath:
    """Solutions of one covariance type along widths, for the same rows.

    isotropic : Solution, at infinite width
    observations : float, number of observations of these rows
    explained : float, share of the targets' variance that a forest predicts out of bag
    free_width : float, width at which starts have been explored
    free : Solution or None, of the best start at that width; None if the isotropic
        start was the best
    start_index : int, index of the family of the best start
    points : dict, finite width -> Solution
    """

    isotropic: Solution
    observations: float
    explained: float = 0.0
    free_width: float = FREE_WIDTH
    free: Solution | None = None
    start_index: int = 0
    points: dict[float, Solution] = field(default_factory=dict)

    def at(self, width: float) -> Solution:
        """The solution at a width; the isotropic one if the width is infinite."""
        return self.points.get(width, self.isotropic)

    def nearest(self, width: float) -> Solution:
        """The solution at the width nearest on a logarithmic scale."""
        if isinf(width):
            return self.points[max(self.points)]
        return self.points[min(self.points, key=lambda known: abs(log(known / width)))]

    def gain(self) -> float:
        """Gain per observation over infinite width, at the smallest width."""
        if not self.points:
            return -inf
        value = self.points[min(self.points)].value
        return (value - self.isotropic.value) / self.observations

    def found(self) -> bool:
        """Whether adaptation has found structure."""
        return self.gain() > FOUND


def start_path(
    problem: EvidenceProblem,
    relevance: Relevance,
    width: float,
    *,
    start_index: int | None = None,
    free_width: float | None = None,
    isotropic: Solution | None = None,
) -> WidthPath:
    """A new path with the isotropic solution and the best start, but no widths yet.

    Starts are explored at a tenth of `width`, but not below `FREE_WIDTH`. They are
    explored again at `FREE_WIDTH` if the isotropic start wins or if the best one
    explains less than a forest; in the second case with more starts.

    problem : EvidenceProblem, of which a sample of the rows is used
    relevance : Relevance, metrics to start from
    width : float, smallest width that will be solved
    start_index : index of the family of starts that won on other rows, or None to
        explore all
    free_width : float, width at which this family won, or None
    isotropic : Solution at infinite width, or None to compute it
    """
    problem = problem.of_sample()
    isotropic = isotropic or tune_isotropic(problem)
    free_width = free_width or min(width, max(FREE_WIDTH, width / STEP))
    path = WidthPath(isotropic, problem.observations(), relevance.explained, free_width)
    if start_index == 0:  # the isotropic start, which has been solved already
        return path
    starts = families(problem, isotropic, relevance)
    if start_index is not None:
        all_starts = [*starts, *restarts(problem, relevance)]
        # If these rows do not have the family, all starts are explored.
        if start_index < len(all_starts):
            free_problem = problem.at_width(free_width)
            _, path.free = explore(free_problem, [all_starts[start_index]])
            path.start_index = start_index
            return path
    _explore_all(problem, path, starts, relevance, min(width, FREE_WIDTH))
    return path


def _explore_all(
    problem: EvidenceProblem,
    path: WidthPath,
    starts: list[list[Hyperparameters]],
    relevance: Relevance,
    least_width: float,
) -> None:
    """Put the best of all starts into a new path.

    The starts are explored at the path's `free_width`. They are explored again at
    `least_width` in two cases: with more starts if the best one explains less than a
    forest, or else if the isotropic start wins.
    """
    winner, found = explore(
        problem.at_width(path.free_width), starts, margin=MARGIN_TO_ISOTROPIC
    )
    explains_less = 1 - noise_share(found, problem.data) < relevance.explained
    isotropic_wins = winner == 0
    if explains_less:
        path.free_width = least_width
        more_starts = [*starts, *restarts(problem, relevance)]
        # A forest has found structure, so a small gain is unlikely to be chance.
        winner, found = explore(
            problem.at_width(least_width), more_starts, margin=MARGIN_TO_ISOTROPIC
        )
    # A free width of FREE_WIDTH or less is the least width already.
    elif isotropic_wins and path.free_width > FREE_WIDTH:
        path.free_width = least_width
        winner, found = explore(
            problem.at_width(least_width), starts, margin=MARGIN_AT_SMALL_WIDTH
        )
    if winner > 0:  # not the isotropic start, which the path has as `isotropic`
        path.start_index, path.free = winner, found


def needs_relevance(start_index: int | None) -> bool:
    """Whether `start_path` needs the relevance of features for its starts."""
    return start_index is None or start_index >= FIRST_RELEVANT


def extend_path(
    problem: EvidenceProblem,
    path: WidthPath,
    widths: Iterable[float],
    *,
    known: WidthPath | None = None,
) -> None:
    """Add the solutions at finite widths to a path.

    First upwards from the best start, each width from the next smaller one. Then
    downwards from infinite width, as long as this gives a larger objective. With
    `known`, the path of another covariance type, each width starts from its solution.
    """
    missing = sorted(w for w in widths if not isinf(w) and w not in path.points)
    if known is not None:
        for width in missing:
            start = known.nearest(width)
            path.points[width] = warm_start(problem.at_width(width), start)
        return
    if path.free is not None:
        for width in missing:
            path.points[width] = _from_below(problem, path, width)
    for width in reversed(missing):
        above = [w for w in path.points if w > width]
        start = path.points[min(above)] if above else path.isotropic
        trial = warm_start(problem.at_width(width), start)
        if width in path.points and trial.value <= path.points[width].value + BETTER:
            break
        path.points[width] = trial


def _from_below(problem: EvidenceProblem, path: WidthPath, width: float) -> Solution:
    """Follow the solution of the next smaller width to a width, in steps of `STEP`."""
    below = [w for w in path.points if w < width]
    solution = path.points[max(below)] if below else cast(Solution, path.free)
    reached = max(below, default=path.free_width)
    while STEP * reached < width:
        reached *= STEP
        solution = warm_start(problem.at_width(reached), solution, max_iter=EXPLORE)
    return warm_start(problem.at_width(width), solution)


def tune_covariance(problem: EvidenceProblem, relevance: Relevance) -> Solution:
    """Variances, noise and weight covariance together, at the problem's width."""
    sample = problem.of_sample()
    path = start_path(sample, relevance, problem.width)
    extend_path(sample, path, [problem.width])
    return refine(problem, path.points[problem.width])
