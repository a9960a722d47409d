"""Starting points of an evidence search: natural, random, and from relevant features.

The evidence has many maxima. From an isotropic metric the optimizer may not find the
few features that matter: their part in the kernel is small, and noise explains the
targets as well. So some starting points take their metric from statistics of single
features and of pairs (`relevance.py`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..kernels._recursion import apply_metric_sqrt, features, variances
from .evidence import Hyperparameters
from .evidence_problem import EvidenceProblem
from .moments import mean_over_rows, mean_square, target_variance

# The kernels' default bias variance.
START_BIAS = 0.1
# All pairs of these shares of noise and mean variances of a pre-activation are tried:
# noisy and nearly exact targets, smooth functions and functions that vary quickly.
NOISES = (0.3, 0.03)
SIZES = (1.0, 5.0, 25.0, 125.0, 625.0)
# Share of noise of the start for targets with hardly any noise.
SMALL_NOISE = 0.005


def natural_start(
    problem: EvidenceProblem, noise: float, size: float = 1.0
) -> Hyperparameters:
    """Starting point from the scale of the data.

    noise : float, share of the targets' variance that is noise
    size : float, mean variance of a pre-activation, without its bias
    """
    return next(_points(problem, None, [size], [noise]))


def natural_starts(
    problem: EvidenceProblem, metric_sqrt: np.ndarray | None = None
) -> list[Hyperparameters]:
    """Starting points with a given metric, at all sizes and shares of noise."""
    return list(_points(problem, metric_sqrt, SIZES, NOISES))


def _points(
    problem: EvidenceProblem,
    metric_sqrt: np.ndarray | None,
    sizes: Sequence[float],
    noises: Sequence[float],
) -> Iterator[Hyperparameters]:
    data, template = problem.data, problem.template
    spread = target_variance(data)
    rows = replace(data, X=apply_metric_sqrt(data.X, metric_sqrt))
    unit = mean_square(rows)
    for size in sizes:
        natural: dict[str, Any] = {
            "weight_variance": size / unit,
            "bias_variance": START_BIAS,
        }
        network = replace(
            template.network,
            **{name: v for name, v in natural.items() if problem.is_free(name)},
        )
        free = problem.is_free("readout_variance")
        if free:
            network = replace(network, readout_variance=1.0)
            v = variances(features(rows.X, network), network)
            prior = mean_over_rows(rows, v.kernel(network.is_ntk))
        for noise in noises:
            if free:
                readout = (1 - noise) * spread / prior
                network = replace(network, readout_variance=readout)
            alpha = noise * spread if problem.is_free("alpha") else template.alpha
            yield Hyperparameters(network, alpha, metric_sqrt)


def random_starts(
    problem: EvidenceProblem, n_starts: int, rng: np.random.RandomState
) -> list[Hyperparameters]:
    """Natural starts of random size and share of noise, uniform in their logarithms."""
    starts = []
    for _ in range(n_starts):
        noise, size = 10 ** rng.uniform(-3.5, -0.3), 10 ** rng.uniform(-1.5, 1.5)
        starts.append(natural_start(problem, noise, size))
    return starts
