"""Maximise the evidence: starting points, subsample, polish at full size.

A climb from the best isotropic kernel alone may stay in a region where everything is
noise, so several deterministic points are explored and the best is followed. Beyond
`SUBSAMPLE` rows the exploration sees a fixed random subsample, and only the last climb
sees all rows.
"""

import warnings
from dataclasses import dataclass, replace
from functools import partial
from math import inf

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from ._array import LinAlgError, index_like, namespace
from .kernels._recursion import features, variances
from .theory.variational import (
    Hyperparameters,
    RegularizedEvidence,
)

SUBSAMPLE = 400
EXPLORE = 20
# Evidence per observation by which a later start must win.
CLOSE = 0.01
START_NOISES = (0.05, 0.005)
START_BIAS = 0.1
NOISE_BOUNDS = (1e-5, 1e2)
METRIC_BOUNDS = (1e-9, 1e7)
_FAILED = 1e3


@dataclass(frozen=True)
class Solution:
    """Where a climb ended: the point, its objective, and how it stopped.

    residual : float, largest gradient entry of the objective, in nats
    """

    point: Hyperparameters
    value: float
    converged: bool
    n_iter: int
    residual: float


@dataclass(frozen=True)
class Search:
    """What an evidence search may move, and how far it goes.

    template : Hyperparameters, supplies what stays fixed
    bounds : dict, name -> pair relative to its natural unit; absent names are fixed
    max_iter : int, iterations of the last climb
    tol : float, largest gradient entry of the objective at convergence, in nats
    starts : tuple of Hyperparameters, tried besides the natural ones
    """

    template: Hyperparameters
    bounds: dict
    max_iter: int = 200
    tol: float = 0.2
    starts: tuple = ()


def _shares(data):
    """Weights of the rows, summing to one: (n,)."""
    xp = namespace(data.Y)
    weights = xp.ones_like(data.Y[:, 0]) if data.weights is None else data.weights
    return weights / xp.sum(weights)


def _mean(data, values):
    """Weighted mean of a vector over rows, or 1 where it vanishes."""
    return float(namespace(values).sum(_shares(data) * values)) or 1.0


def mean_square(data):
    """Mean squared entry of X, or 1 where X is zero."""
    return _mean(data, namespace(data.X).mean(data.X * data.X, axis=1))


def target_variance(data):
    """Variance of the targets, averaged over outputs, or 1 if they are constant."""
    xp = namespace(data.Y)
    centre = xp.sum(_shares(data)[:, None] * data.Y, axis=0)
    return _mean(data, xp.mean((data.Y - centre) ** 2, axis=1))


def natural_start(data, search, noise):
    """Isotropic point in the data's own units that leaves a share `noise` to noise."""
    network, spread = search.template.network, target_variance(data)
    natural = {"weight_variance": 1 / mean_square(data), "bias_variance": START_BIAS}
    network = replace(
        network, **{k: v for k, v in natural.items() if k in search.bounds}
    )
    if "readout_variance" in search.bounds:
        unit = replace(network, readout_variance=1.0)
        v = variances(features(data.X, unit), unit)
        size = _mean(data, v.ntk if network.tangent else v.nngp)
        network = replace(network, readout_variance=(1 - noise) * spread / size)
    alpha = noise * spread if "alpha" in search.bounds else search.template.alpha
    return Hyperparameters(network, alpha)


def random_starts(data, search, n_starts, rng):
    """Random variations of the natural start."""
    starts = []
    for _ in range(n_starts):
        point = natural_start(data, search, 10 ** rng.uniform(-3.5, -0.3))
        factor = 10 ** rng.uniform(-1.5, 1.5)
        if "weight_variance" in search.bounds:
            weight = point.network.weight_variance * factor
            network = replace(point.network, weight_variance=weight)
            point = replace(point, network=network)
        starts.append(point)
    return starts


def _box(problem, search, data):
    """Box of the vector of `problem`; bounds are relative to natural units."""
    spread = target_variance(data)
    units = {"weight_variance": 1 / mean_square(data), "bias_variance": 1.0}
    box = []
    for name in problem.free:
        low, high = search.bounds[name]
        unit = units.get(name, spread)
        box.append((np.log(low * unit), np.log(high * unit)))
    low, high = np.log(METRIC_BOUNDS)
    if problem.covariance_type == "diag":
        box += [(low, high)] * problem.d
    elif problem.covariance_type == "full":
        for i in range(problem.d):
            box += [(-inf, inf)] * i + [(low / 2, high / 2)]
    return np.array(box).reshape(-1, 2)


def climb(data, search, point, *, width, covariance_type, max_iter=None):
    """Follow the gradient of the regularised evidence from a point with L-BFGS.

    Where the kernel matrix is not positive definite the objective counts as very bad,
    so that the line search backs off.
    """
    problem = RegularizedEvidence(
        data,
        search.template,
        width=width,
        covariance_type=covariance_type,
        free=tuple(search.bounds),
    )
    size = data.observations()
    point = problem.pack(point)
    if len(point) == 0:
        return Solution(search.template, 0.0, True, 0, 0.0)
    limit = search.max_iter if max_iter is None else max_iter
    box = _box(problem, search, data)
    objective = _Descent(problem, size)
    point, n_iter = np.clip(point, box[:, 0], box[:, 1]), 0
    while True:
        result = minimize(
            objective,
            point,
            jac=True,
            method="L-BFGS-B",
            bounds=box,
            options={
                "maxiter": limit - n_iter,
                "maxcor": 20,
                "ftol": 1e-3 * search.tol / size,
                "gtol": search.tol / size,
            },
        )
        inside = (result.x > box[:, 0]) | (result.jac < 0)
        inside &= (result.x < box[:, 1]) | (result.jac > 0)
        residual = float(np.max(np.abs(result.jac) * inside)) * size
        point, n_iter = result.x, n_iter + int(result.nit)
        # Slow progress may be stale curvature: go on with a fresh memory.
        if residual <= 10 * search.tol or result.nit == 0 or n_iter >= limit:
            break
    return Solution(
        problem.unpack(point),
        objective.value(float(result.fun)),
        residual <= 10 * search.tol,
        n_iter,
        residual,
    )


class _Descent:
    """Objective per observation, to be minimised, measured from its first value."""

    def __init__(self, problem, size):
        self.problem, self.size = problem, size
        self.first, self.worst = None, 0.0

    def __call__(self, vector):
        try:
            value, gradient = self.problem(vector)
        except LinAlgError:
            value, gradient = -inf, vector
        if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
            return self.worst + _FAILED, np.zeros_like(vector)
        self.first = value if self.first is None else self.first
        loss = (self.first - value) / self.size
        self.worst = max(self.worst, loss)
        return loss, -gradient / self.size

    def value(self, loss):
        """The objective behind a loss; -inf if no point could be evaluated."""
        return -inf if self.first is None else self.first - loss * self.size


def explore(data, search, starts, **kind):
    """Climb a little from every start, on a subsample; the index of the best, and it.

    An earlier start is preferred unless a later one is clearly better.
    """
    sample = _subsample(data)
    trials = [climb(sample, search, s, max_iter=EXPLORE, **kind) for s in starts]
    best = max(trial.value for trial in trials)
    close = best - CLOSE * sample.observations()
    winner = next(i for i, trial in enumerate(trials) if trial.value >= close)
    return winner, trials[winner]


def best_climb(data, search, starts, **kind):
    """Explore the starts, follow the best to the end of the subsample, then of all."""
    sample = _subsample(data)
    if len(starts) == 1:
        best = climb(sample, search, starts[0], **kind)
    else:
        _, best = explore(data, search, starts, **kind)
        if sample is not data and best.n_iter == EXPLORE:
            best = climb(sample, search, best.point, **kind)
    finished = best.n_iter < EXPLORE or len(starts) == 1
    if sample is data and finished:
        return best
    last = climb(data, search, best.point, **kind)
    return replace(last, n_iter=last.n_iter + best.n_iter)


def _subsample(data):
    n = data.X.shape[0]
    if n <= SUBSAMPLE:
        return data
    rows = np.sort(np.random.RandomState(0).permutation(n)[:SUBSAMPLE])
    return data.take(index_like(rows, data.X))


def tune_isotropic(data, search):
    """Variances and noise by evidence, without adaptation: the NNGP."""
    starts = [make(data, search) for make in _starts(search)]
    return best_climb(data, search, starts, width=inf, covariance_type=None)


def tune_covariance(data, search, *, only=None, **kind):
    """Variances, noise and weight covariance together, at the given width.

    `only` restricts the starts to the one that `winning_start` gave.
    """
    makers = _covariance_starts(search)
    makers = makers if only is None else [makers[only]]
    return best_climb(data, search, [make(data, search) for make in makers], **kind)


def winning_start(data, search, **kind):
    """Index of the start that explores best: a choice of one among few, not a fit."""
    starts = [make(data, search) for make in _covariance_starts(search)]
    return explore(data, search, starts, **kind)[0]


def _covariance_starts(search):
    return _starts(search) + [_isotropic_optimum] * bool(search.bounds)


def _isotropic_optimum(data, search):
    return tune_isotropic(_subsample(data), search).point


def _starts(search):
    """Functions of data and search that make the starting points, in fixed order."""
    if not search.bounds:
        return [lambda data, search: search.template]
    natural = [partial(natural_start, noise=noise) for noise in START_NOISES]
    given = [lambda data, search, point=point: point for point in search.starts]
    return [*natural, *given]


def warn_unless_converged(solution, search):
    """Warn with the residual and what to do about it."""
    if not solution.converged:
        warnings.warn(
            f"The evidence search stopped after {solution.n_iter} iterations at a "
            f"gradient of {solution.residual:.2g} nats, above tol={search.tol:.2g}. "
            "Raise max_iter or tol, or raise width: a small width with a full "
            "covariance has many nearly flat directions.",
            ConvergenceWarning,
            stacklevel=3,
        )
