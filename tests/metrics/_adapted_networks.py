"""Networks adapted to two Gaussian classes, for the tests of neural collapse."""

import numpy as np

from adaptive_kernels import AdaptiveKernelRegressor
from adaptive_kernels.datasets import make_gaussian_classes
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.metrics import nc1_score

WIDTH, READOUT, NOISE = 500, 1 / 128, 1e-6


def network(activation="erf", bias_variance=0):
    return NNGP(activation, bias_variance=bias_variance, readout_variance=READOUT)


def adapted(X, y, kernel=None, **parameters):
    return AdaptiveKernelRegressor(
        kernel or network(),
        width=WIDTH,
        covariance_type="full",
        optimizer=None,
        normalize_y=False,
        **{"alpha": NOISE, "tol": 1e-4, "max_iter": 5000} | parameters,
    ).fit(X, y)


def clouds(n_samples, n_features, seeds=10):
    return [
        make_gaussian_classes(n_samples, n_features, random_state=seed)
        for seed in range(seeds)
    ]


def log_nc1(X, y, kernel):
    return np.log10(nc1_score(X, y, input=kernel))
