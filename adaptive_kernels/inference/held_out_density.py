"""Leave-one-out predictive densities, through inducing points and exactly."""

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
