"""Data, kernels and the posterior by brute force, for the tests of NNGPRegressor."""

import numpy as np

from adaptive_kernels import NNGPRegressor
from adaptive_kernels.kernels import NNGP, NTK

METRIC = np.array([[1.0, 0.3, 0.0], [0.3, 0.8, 0.1], [0.0, 0.1, 2.0]])
KERNELS = {
    "erf": NNGP("erf"),
    "relu2": NNGP("relu", depth=2, weight_variance=1.5),
    "rbf": NNGP("rbf", bias_variance=0),
    "ntk": NTK("erf", readout_variance=0.7),
    "ntk2": NTK("relu", depth=2),
    "metric": NNGP("erf", metric=METRIC),
}
ALPHA = 0.05
# Both solve with a matrix of condition number below 1e4: rounding 1e-16 becomes 1e-12.
RTOL = 1e-9


def make_data(n=40, outputs=1, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    Y = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], 4 + X[:, 0] * X[:, 2]], axis=1)
    Y = Y[:, :outputs] + 0.2 * rng.standard_normal((n, outputs))
    return X, Y[:, 0] if outputs == 1 else Y


X, Y1 = make_data()
X_NEW = np.random.default_rng(9).standard_normal((7, 3))
KEYS = np.random.default_rng(7)
COUNTS = KEYS.integers(1, 4, 40)
WEIGHTS = KEYS.uniform(0.2, 3, 40)


def fixed(kernel, **parameters):
    return NNGPRegressor(kernel, alpha=ALPHA, optimizer=None, **parameters)


def brute_force(kernel, X, Y, noise, X_new):
    """Mean and variance of f at X_new, and log evidence, of one output."""
    K = kernel(X) + np.diag(np.broadcast_to(noise, len(X)))
    cross = kernel(X_new, X)
    mean = cross @ np.linalg.solve(K, Y)
    variance = kernel.diag(X_new) - np.sum(cross * np.linalg.solve(K, cross.T).T, 1)
    _, log_det = np.linalg.slogdet(2 * np.pi * K)
    return mean, variance, -0.5 * (Y @ np.linalg.solve(K, Y) + log_det)
