"""Maximise the evidence: starting points, subsample, polish at full size.

A climb from the best isotropic kernel alone may stay in a region where everything is
noise, so several deterministic points are explored and the best is followed. Beyond
`SUBSAMPLE` rows the exploration sees a fixed random subsample; larger ones follow, and
only the last climb sees all rows.
"""

import warnings
from dataclasses import replace
from functools import partial
from math import inf

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ._array import index_like
from .kernels._recursion import features, variances
from .theory.ascent import climb, mean_over_rows, mean_square, target_variance
from .theory.variational import Hyperparameters

SUBSAMPLE = 400
GROWTH = 3
EXPLORE = 20
# Evidence per observation by which a later start must win.
CLOSE = 0.01
START_NOISES = (0.05, 0.005)
START_BIAS = 0.1


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
        size = mean_over_rows(data, v.kernel(network.tangent))
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
    """Explore the starts, follow the best to the end of the subsample, then of all.

    Between the two come samples three times as large each: where they end the next
    climb has little left to do, and a row costs the more the more there are.
    """
    sample = _subsample(data)
    if len(starts) == 1:
        best = climb(sample, search, starts[0], **kind)
    else:
        _, best = explore(data, search, starts, **kind)
        if sample is not data and best.n_iter == EXPLORE:
            best = _further(sample, search, best, **kind)
    finished = best.n_iter < EXPLORE or len(starts) == 1
    if sample is data and finished:
        return best
    size = GROWTH * SUBSAMPLE
    while size < data.X.shape[0]:
        best = _further(_subsample(data, size), search, best, **kind)
        size *= GROWTH
    return _further(data, search, best, **kind)


def _further(data, search, solution, **kind):
    """A climb from a solution on other rows; iterations are counted together."""
    last = go_on(data, search, solution, **kind)
    return replace(last, n_iter=last.n_iter + solution.n_iter)


def go_on(data, search, solution, **kind):
    """A climb that begins with what another one has found and learned."""
    return climb(data, search, solution.point, curvature=solution.curvature, **kind)


def _subsample(data, size=SUBSAMPLE):
    n = data.X.shape[0]
    if n <= size:
        return data
    return data.take(index_like(random_rows(n, size), data.X))


def random_rows(n, size):
    """At most `size` ascending places of n, at random but always the same."""
    return np.sort(np.random.RandomState(0).permutation(n)[:size])


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
