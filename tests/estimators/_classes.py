"""Labels, classifiers and a linear truth, for the tests of classifiers."""

import numpy as np
import pytest
from scipy.special import softmax

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    NNGPClassifier,
)
from adaptive_kernels.kernels import NNGP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3))
X_NEW = RNG.standard_normal((9, 3))
CODES = np.argmax(X + 0.5 * RNG.standard_normal((60, 3)), axis=1)
BINARY = (X[:, 0] * X[:, 1] + 0.3 * RNG.standard_normal(60) > 0).astype(int)
COUNTS = RNG.integers(1, 4, 60)

MODELS = {
    "nngp": NNGPClassifier,
    "adaptive": AdaptiveKernelClassifier,
    "search": lambda **k: AdaptiveKernelClassifierCV(
        [NNGP("erf")], widths=(10,), covariance_types=("diag",), cv=2, **k
    ),
}

single = pytest.mark.parametrize("name", ["nngp", "adaptive"])


def linear_truth(n, n_classes, seed):
    """Inputs and labels drawn from known probabilities, which come along."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 4))
    slopes = 2 * np.eye(4)[:, :n_classes]
    p = softmax(rows @ slopes, axis=1)
    return rows, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), p
