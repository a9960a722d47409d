"""Learn kernel and noise from left-out rows and their neighbours, on the whole table.

The evidence of a few rows gives the start. Runs of the optimizer follow, each on other
random rows with their nearest neighbours in the metric found so far. Unseen rows, whose
targets no run predicts, judge each result. The runs end when they gain no more. The
unseen rows then choose among the results, and set the scale of the variance. They may
be neighbours of other rows: only the target to predict is left out.

A few random rows hide structure that is finer than their distance. Before the runs end,
a tenth of the length scale is tried for each column j of `metric_sqrt`, at most for the
`SHARPER_FEATURES` largest. For a diagonal metric column j is feature j, for a full one
a direction.
"""

from dataclasses import dataclass, replace
from math import inf
from typing import cast

import numpy as np

from .._arrays import LinAlgError, asarray_like, to_numpy
from . import subsampling
from .coordinates import Frame
from .evidence import Hyperparameters
from .evidence_problem import EvidenceProblem
from .held_out_density import SCALES, calibrated_scale, density_at_best_scale
from .local_posterior import LocalData, LocalPosterior, features_of
from .neighbour_density import NeighbourData
from .neighbours import NearestRows
from .optimization import Solution, continued
from .subsampling import random_order

# Limits of the scale of each of several outputs, which may differ in noise.
OUTPUT_SCALES = (1e-4, 1e4)
# A run, or a shorter length scale, has gained if it raises the mean log density of a
# left-out row by so much. Less can be chance.
LEAST_GAIN = 0.01
# Factor of the shorter length scales.
SHORTER = 0.1


@dataclass(frozen=True)
class _Judged:
    """A solution as left-out rows see it.

    density : float, their mean log density at the best scale of the variance
    nearest : NearestRows or None, of all rows at the solution
    """

    solution: Solution
    density: float
    nearest: NearestRows | None


def learn_from_neighbours(
    problem: EvidenceProblem, frame: Frame, solution: Solution
) -> Solution:
    """A solution for predictions from neighbours, from the solution of the evidence.

    problem : EvidenceProblem of a LocalData
    frame : Frame, its coordinates
    """
    if not problem.bounds:  # without free variances it has no free covariance either
        return solution
    data = cast(LocalData, problem.data)
    n, d = data.rows.X.shape
    order, size = random_order(n, n), max(1, _unseen_size(n))
    unseen, order = order[-size:], order[:-size]
    # The evidence used the first rows of the same order: move them to the end.
    order = np.roll(order, -subsampling.LOCAL_SAMPLE_ROWS)
    batch = min(subsampling.LEFT_OUT_BATCH, len(order))
    # With fewer rows than features `maximize_evidence` learns a full covariance in the
    # span of the rows. Their neighbours are not in this span.
    too_few_for_full = problem.covariance_type == "full" and batch < d
    limit = min(subsampling.LEFT_OUT_ITER, problem.max_iter)
    found = [_judged(data, frame, solution, unseen)]
    for _ in range(0 if too_few_for_full else subsampling.LEFT_OUT_RUNS):
        start = _next_start(data, frame, found)
        if start is None:
            break
        rows, order = order[:batch], np.roll(order, -batch)
        last = found.pop()
        same = start.point is last.solution.point
        near = last.nearest if same else None
        sets = _with_neighbours(data, frame, start.point, rows, near)
        found.append(replace(last, nearest=None))  # a tree holds a copy of the rows
        run = continued(problem.of_rows(sets), start, max_iter=limit)
        found.append(_judged(data, frame, run, unseen))
    return _scaled(problem, frame, _best(found).solution, solution.converged)


def _unseen_size(n: int) -> int:
    """How many rows, the last of the random order, are unseen: 0 if n is below 5."""
    return min(subsampling.LEFT_OUT_ROWS, n // 5)


def _best(found: list[_Judged]) -> _Judged:
    return max(found, key=lambda judged: judged.density)


def _next_start(data: LocalData, frame: Frame, found: list[_Judged]) -> Solution | None:
    """Where the next run starts, or None if there is nothing to gain.

    The first two runs always take place. A later one starts from the last, or if that
    has not gained, from the best one with a shorter length scale.

    found : list, the solution of the evidence and those of the runs so far
    """
    last, n_runs = found[-1], len(found) - 1
    go_on = n_runs < 2 or last.density > _best(found[:-1]).density + LEAST_GAIN
    start = last.solution if go_on else _sharper(data, frame, _best(found).solution)
    # The curvature is that of another objective: the evidence, or other rows.
    return None if start is None else replace(start, curvature=None)


def _sharper(data: LocalData, frame: Frame, solution: Solution) -> Solution | None:
    """The solution with one shorter length scale, or None without a gain.

    It is tried on a part of the table, for the largest columns of `metric_sqrt`.
    """
    root = solution.point.metric_sqrt
    if root is None:
        return None
    n = data.rows.X.shape[0]
    part = random_order(n, subsampling.GLOBAL_ROWS)
    k = min(data.n_neighbors, subsampling.LEFT_OUT_NEIGHBORS)
    table = replace(data, rows=data.rows.at(part), n_neighbors=k)
    # The last rows of the random order do not judge here: in a small table they are the
    # unseen rows, which judge the runs.
    allowed = np.arange(len(part) - _unseen_size(n))
    rows = allowed[-subsampling.SHARPER_ROWS :]
    sizes = (
        np.abs(to_numpy(root))
        if root.ndim == 1
        else np.linalg.norm(to_numpy(root), axis=0)
    )
    tried = [solution]
    for j in np.argsort(-sizes)[: subsampling.SHARPER_FEATURES]:
        # A column ten times as large has a tenth of the length scale.
        factors = np.where(np.arange(len(sizes)) == j, 1 / SHORTER, 1.0)
        point = replace(solution.point, metric_sqrt=root * asarray_like(factors, root))
        tried.append(replace(solution, point=point))
    judged = [_judged(table, frame, one, rows) for one in tried]
    best = _best(judged)
    return best.solution if best.density > judged[0].density + LEAST_GAIN else None


def _with_neighbours(
    data: LocalData,
    frame: Frame,
    point: Hyperparameters,
    rows: np.ndarray,
    nearest: NearestRows | None,
) -> NeighbourData:
    """Some rows with their nearest other rows at a point, in the frame's coordinates.

    Neighbours are as many as predictions use, but not more than the budget.

    nearest : of all rows at the point, or None to make it
    """
    if nearest is None:
        nearest = NearestRows(features_of(data.rows, frame.outside(point))[:, 1:])
    k = min(subsampling.LEFT_OUT_NEIGHBORS, data.n_neighbors)
    near = nearest.of_own(rows, k)
    stacked = data.rows.at(np.concatenate([rows, near.reshape(-1)]))
    return NeighbourData.of(frame.rounded(stacked), len(rows))


def _judged(
    data: LocalData, frame: Frame, solution: Solution, rows: np.ndarray
) -> _Judged:
    """A solution with the mean log density of left-out rows, at its best scale."""
    point = frame.outside(solution.point)
    try:
        posterior, _ = LocalPosterior.fit(data, point, with_global=False)
        mean, variance = posterior.left_out(rows)
    except LinAlgError:
        return _Judged(solution, -inf, None)
    held_out = data.rows.at(rows)
    density = density_at_best_scale(held_out, mean, variance, point.alpha)
    return _Judged(solution, density, posterior.nearest)


def _scaled(
    problem: EvidenceProblem, frame: Frame, solution: Solution, converged: bool
) -> Solution:
    """A solution with kernel and noise multiplied, which changes no mean."""
    free = {"readout_variance", "alpha"}
    if free <= set(problem.bounds) and not free & set(problem.bounds_given):
        data, point = cast(LocalData, problem.data), solution.point
        outside = frame.outside(point)
        local, _ = LocalPosterior.fit(data, outside, with_global=False)
        squares, shares = _squared_errors(local, data)
        scale = calibrated_scale(squares.mean(axis=1), shares)
        scale = min(max(scale, SCALES[0]), SCALES[1])
        readout = scale * point.network.readout_variance
        network = replace(point.network, readout_variance=readout)
        point = replace(point, network=network, alpha=scale * point.alpha)
        solution = replace(solution, point=point)
    # Runs with neighbours have few iterations by design: only the evidence converges.
    return replace(solution, converged=converged)


def _squared_errors(
    posterior: LocalPosterior, data: LocalData
) -> tuple[np.ndarray, np.ndarray]:
    """Squares (m, C) of left-out errors in units of their variance, and shares (m,)."""
    n = data.rows.X.shape[0]
    rows = random_order(n, n)[-max(1, min(subsampling.SCALE_ROWS, n // 3)) :]
    held_out = data.rows.at(rows)
    mean, variance = posterior.left_out(rows)
    squares = (held_out.Y - mean) ** 2 / (variance + posterior.point.alpha)
    return to_numpy(squares), to_numpy(held_out.shares())


def fit_with_output_scales(
    data: LocalData, point: Hyperparameters
) -> tuple[LocalPosterior, float]:
    """`LocalPosterior.fit`, with a scale of noise and variance for each output."""
    posterior, evidence = LocalPosterior.fit(data, point)
    squares, shares = _squared_errors(posterior, data)
    scales = [calibrated_scale(column, shares) for column in squares.T]
    scales = asarray_like(np.clip(scales, *OUTPUT_SCALES), data.rows.Y)
    return replace(posterior, scales=scales), evidence
