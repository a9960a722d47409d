"""A table made up for the purpose."""

import numpy as np


def sparse_relevance(n_samples, n_features=32, noise=0.1, seed=0):
    """Inputs of which the first four matter, and their target."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + np.abs(X[:, 3])
    return X, y + noise * rng.standard_normal(n_samples)
