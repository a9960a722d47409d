"""Leave-one-out predictive densities, and scales of the predicted variance."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, pi

import numpy as np

from .._arrays import Array, namespace
from .evidence import Data, Hyperparameters
from .inducing_calibration import InducingClasses
from .inducing_points import InducingData
from .posterior import GaussianPosterior

# The scale of the variance is learned from left-out rows within these limits.
SCALES = (0.1, 10.0)
# Share of the targets in an interval that the scale should give, and the square of the
# normal quantile that bounds it.
SHARE, SQUARED_QUANTILE = 0.9, 1.6448536269514722**2
# A scale may be off the one of highest density by this factor: the log density of a row
# then falls by 0.2^2 / 4 = 0.01.
LEAST_FACTOR = exp(-0.2)


def held_out_density(
    data: InducingData, point: Hyperparameters, noises: Sequence[float]
) -> list[float]:
    """Mean leave-one-out log density of the rows at each of several noise variances.

    data : InducingData, whose posterior is of these rows only
    point : Hyperparameters, kernel at which the inducing points are chosen
    noises : sequence of float
    """
    rows = InducingClasses.of(replace(data, statistics=None), point)
    densities = []
    for noise in noises:
        mean, variance = rows.leave_one_out(noise)
        densities.append(mean_density(data, mean, variance[:, None], noise))
    return densities


def exact_held_out_density(data: Data, point: Hyperparameters) -> float:
    """Mean leave-one-out log density under an exact posterior, at the point's noise."""
    posterior, _ = GaussianPosterior.fit(data, point)
    mean, variance = posterior.leave_one_out(data)
    return mean_density(data, mean, variance, point.alpha)


def mean_density(data: Data, mean: Array, variance: Array, noise: float) -> float:
    """Weighted mean over rows of the targets' log density, summed over outputs."""
    xp = namespace(data.X)
    spread = xp.maximum(variance, 0 * variance) + noise
    logs = xp.log(2 * pi * spread) + (data.Y - mean) ** 2 / spread
    return -0.5 * float(xp.sum(data.shares()[:, None] * logs))


def density_at_best_scale(
    held_out: Data, mean: Array, variance: Array, noise: float
) -> float:
    """Mean log density of left-out rows at the best scale of the variance.

    The best scale is the mean of the squared errors in units of the variance.
    """
    squares = (held_out.Y - mean) ** 2 / (variance + noise)
    shares = held_out.shares()[:, None] / held_out.Y.shape[1]
    scale = float(namespace(squares).sum(shares * squares))
    scale = min(max(scale, SCALES[0]), SCALES[1])
    return mean_density(held_out, mean, scale * variance, scale * noise)


def calibrated_scale(squares: np.ndarray, shares: np.ndarray) -> float:
    """Scale of the variance from squared errors of left-out rows in its units.

    Their mean has the highest density. If errors have heavy tails, intervals of 90 % at
    that scale hold more than 90 %. So the scale is that at which they hold 90 %, as far
    as this costs no more than 0.01 in the log density of a row.

    squares, shares : ndarrays (n,), and the weights of the rows, which sum to one
    """
    best = float(shares @ squares)
    order = np.argsort(squares)
    place = min(int(np.searchsorted(np.cumsum(shares[order]), SHARE)), len(order) - 1)
    quantile = squares[order][place] / SQUARED_QUANTILE
    return float(np.clip(quantile, best * LEAST_FACTOR, best / LEAST_FACTOR))
