"""Starting points of an evidence search: natural, random, and from relevant features.

Evidence has many maxima. From an isotropic metric the way to one that knows the few
features that matter may be missed: their part in the kernel is small, and noise
explains as much. So some starting points take their metric from statistics that see
single features and pairs of them without a kernel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..kernels._recursion import apply_metric_sqrt, features, variances
from .evidence import Hyperparameters
from .evidence_problem import EvidenceProblem
from .moments import mean_over_rows, mean_square, target_variance

START_BIAS = 0.1
# Shares of noise, and mean variances of a pre-activation, that are compared.
NOISES = (0.3, 0.03)
SIZES = (1.0, 5.0, 25.0, 125.0, 625.0)
SMALL_NOISE = 0.005


def natural_start(
    problem: EvidenceProblem, noise: float, size: float = 1.0
) -> Hyperparameters:
    """Point in the data's own units that leaves a share `noise` to noise.

    The mean variance of a pre-activation is `size`, beside the bias.
    """
    return next(_points(problem, None, [size], [noise]))


def natural_starts(
    problem: EvidenceProblem, metric_sqrt: np.ndarray | None = None
) -> list[Hyperparameters]:
    """Natural points of a metric at all sizes and shares of noise."""
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
    """Random variations of the natural start."""
    starts = []
    for _ in range(n_starts):
        noise, size = 10 ** rng.uniform(-3.5, -0.3), 10 ** rng.uniform(-1.5, 1.5)
        starts.append(natural_start(problem, noise, size))
    return starts
