"""Learn kernel and noise from left-out rows and their neighbours, on the whole table.

The evidence of a few rows gives the start. Two runs of the optimizer follow, each on
other random rows with their nearest neighbours in the metric found so far. Rows that no
run has seen choose among the three results, and set the scale of the variance.
"""

from dataclasses import replace
from math import inf
from typing import cast

import numpy as np

from .._arrays import LinAlgError, namespace
from . import subsampling
from .coordinates import Frame
from .evidence import Hyperparameters
from .evidence_problem import EvidenceProblem
from .held_out_density import mean_density
from .local_posterior import LocalData, LocalPosterior, features_of
from .neighbour_density import NeighbourData
from .neighbours import NearestRows
from .optimization import Solution, continued
from .subsampling import random_order

# The scale of the variance is learned from left-out rows within these limits.
SCALES = (0.1, 10.0)


def learn_from_neighbours(
    problem: EvidenceProblem, frame: Frame, solution: Solution
) -> Solution:
    """A solution for predictions from neighbours, from the solution of the evidence.

    problem : EvidenceProblem of a LocalData
    frame : Frame, its coordinates
    """
    if not problem.bounds:
        return solution
    data = cast(LocalData, problem.data)
    n, d = data.rows.X.shape
    order, size = random_order(n, n), max(1, min(subsampling.LEFT_OUT_ROWS, n // 5))
    unseen, order = order[-size:], order[:-size]
    # The first ones are those of the evidence.
    order = np.roll(order, -subsampling.LOCAL_SAMPLE_ROWS)
    solutions = [solution]
    for n_rows, max_iter in subsampling.LEFT_OUT_STAGES:
        rows, order = order[:n_rows], np.roll(order, -n_rows)
        if problem.covariance_type == "full" and len(rows) < d:
            break  # too few rows for so many parameters
        last = replace(solutions[-1], curvature=None)
        sets = _with_neighbours(data, frame, last.point, rows)
        limit = min(max_iter, problem.max_iter)
        solutions.append(continued(problem.of_rows(sets), last, max_iter=limit))
    judged = [_judged(data, frame, found, unseen) for found in solutions]
    best = int(np.argmax([density for density, _ in judged]))
    return _scaled(problem, solutions[best], judged[best][1], solution.converged)


def _with_neighbours(
    data: LocalData, frame: Frame, point: Hyperparameters, rows: np.ndarray
) -> NeighbourData:
    """Some rows with their nearest other rows at a point, in the frame's coordinates.

    Neighbours are as many as predictions use, but not more than the budget.
    """
    inputs = features_of(data.rows, frame.outside(point))[:, 1:]
    k = min(subsampling.LEFT_OUT_NEIGHBORS, data.n_neighbors)
    near = NearestRows(inputs).of_own(rows, k)
    stacked = data.rows.at(np.concatenate([rows, near.reshape(-1)]))
    return NeighbourData.of(frame.rounded(stacked), len(rows))


def _judged(
    data: LocalData, frame: Frame, solution: Solution, rows: np.ndarray
) -> tuple[float, float]:
    """Mean log density of left-out rows at a solution, at its best scale, and that.

    The scale multiplies the variance of the predictions. Its best value is the mean of
    the squared errors in units of the variance.
    """
    point = frame.outside(solution.point)
    try:
        posterior, _ = LocalPosterior.fit(data, point, with_global=False)
        mean, variance = posterior.left_out(rows)
    except LinAlgError:
        return -inf, 1.0
    held_out = data.rows.at(rows)
    gap, spread = held_out.Y - mean, variance + point.alpha
    shares = held_out.shares()[:, None] / held_out.Y.shape[1]
    scale = float(namespace(gap).sum(shares * gap**2 / spread))
    scale = min(max(scale, SCALES[0]), SCALES[1])
    variance, noise = scale * variance, scale * point.alpha
    return mean_density(held_out, mean, variance, noise), scale


def _scaled(
    problem: EvidenceProblem, solution: Solution, scale: float, converged: bool
) -> Solution:
    """A solution with kernel and noise multiplied, which changes no mean."""
    point, free = solution.point, {"readout_variance", "alpha"}
    if free <= set(problem.bounds) and not free & set(problem.bounds_given):
        readout = scale * point.network.readout_variance
        network = replace(point.network, readout_variance=readout)
        point = replace(point, network=network, alpha=scale * point.alpha)
    # Runs with neighbours have few iterations by design: only the evidence converges.
    return replace(solution, point=point, converged=converged)
