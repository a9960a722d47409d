"""Peak memory of fits and predictions, in n x n matrices of doubles, and of features.

    python benchmarks/memory.py [n_samples]

Each part runs in a process of its own; the peak is what the operating system saw
beyond the imports.
"""

import multiprocessing
import resource
import sys

import numpy as np
from tabular.synthetic import sparse_relevance
from threadpoolctl import threadpool_limits

from adaptive_kernels import AdaptiveKernelRegressor, OneStepSpikeFeatures


def peak_bytes():
    """Peak resident set of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fit(n, options):
    """Extra peak of a fit, and what predicting n rows without std adds to it."""
    X, y = sparse_relevance(2 * n, n_features=8)
    threadpool_limits(1)
    AdaptiveKernelRegressor(**options).fit(X[:50], y[:50])
    before = peak_bytes()
    model = AdaptiveKernelRegressor(max_iter=5, **options).fit(X[:n], y[:n])
    fitted = peak_bytes()
    model.predict(X[n:])
    return fitted - before, peak_bytes() - fitted


def features(gradient, n=100000, d=100, n_components=2000):
    """Extra MiB of a fit, and of features of a tenth of the rows beyond themselves."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    threadpool_limits(1)
    model = OneStepSpikeFeatures(n_components, gradient=gradient)
    model.fit(X[:50], y[:50]).transform(X[:50])
    before = peak_bytes()
    model.fit(X, y)
    fitted = peak_bytes()
    transformed = model.transform(X[: n // 10])
    extra = peak_bytes() - before - transformed.nbytes
    return (fitted - before) / 2**20, extra / 2**20


def apart(function, *arguments):
    """Result of a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main(n):
    """Print the peaks of adaptive kernels, then those of features."""
    matrix = 8 * n * n
    for options in (
        {"covariance_type": "diag"},
        {"covariance_type": "full"},
        {"approximation": "rescaling", "width": 100.0},
    ):
        fitted, predicted = apart(fit, n, options)
        print(
            f"n = {n}, {options}: fit {fitted / matrix:.2f}, "
            f"predict without std {predicted / matrix:+.3f} matrices n x n",
            flush=True,
        )
    for gradient in ("rank_one", "exact"):
        fitted, transformed = apart(features, gradient)
        print(
            f"OneStepSpikeFeatures, {gradient}, 100000 x 100 to 2000: fit "
            f"{fitted:.0f} MiB, transform of 10000 rows {transformed:.0f} MiB beyond "
            "what it returns",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
