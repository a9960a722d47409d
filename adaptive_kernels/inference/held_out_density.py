"""Predictive densities of rows left out, through inducing points and exactly."""

from collections.abc import Sequence
from dataclasses import replace
from math import pi

from .._arrays import Array, namespace
from .evidence import Data, Hyperparameters
from .inducing_calibration import InducingClasses
from .inducing_points import InducingData
from .posterior import GaussianPosterior


def held_out_density(
    data: InducingData, point: Hyperparameters, noises: Sequence[float]
) -> list[float]:
    """Mean log density of the rows to learn from, each left out, at several noises.

    data : InducingData
    noises : sequence of float
    """
    rows = InducingClasses.of(replace(data, statistics=None), point)
    densities = []
    for noise in noises:
        mean, variance = rows.leave_one_out(noise)
        densities.append(_mean_density(data, mean, variance[:, None], noise))
    return densities


def exact_held_out_density(data: Data, point: Hyperparameters) -> float:
    """The same of an exact posterior of plain data, at the point's own noise."""
    posterior, _ = GaussianPosterior.fit(data, point)
    mean, variance = posterior.leave_one_out(data)
    return _mean_density(data, mean, variance, point.alpha)


def _mean_density(data: Data, mean: Array, variance: Array, noise: float) -> float:
    """Mean over rows of the log densities of the targets, summed over outputs."""
    xp = namespace(data.X)
    spread = xp.maximum(variance, 0 * variance) + noise
    logs = xp.log(2 * pi * spread) + (data.Y - mean) ** 2 / spread
    return -0.5 * float(xp.sum(data.shares()[:, None] * logs))
