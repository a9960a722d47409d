"""Peak memory of a fit and of a prediction, in n x n matrices of doubles.

    python benchmarks/memory.py [n_samples]

Each part runs in a process of its own; the peak is what the operating system saw
beyond the imports.
"""

import multiprocessing
import resource
import sys

from _data import sparse_relevance
from threadpoolctl import threadpool_limits

from adaptive_kernels import AdaptiveKernelRegressor


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


def main(n):
    """Print the peaks for both covariance types and the rescaling theory."""
    matrix = 8 * n * n
    for options in (
        {"covariance_type": "diag"},
        {"covariance_type": "full"},
        {"approximation": "rescaling", "width": 100.0},
    ):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            fitted, predicted = pool.apply(fit, (n, options))
        print(
            f"n = {n}, {options}: fit {fitted / matrix:.2f}, "
            f"predict without std {predicted / matrix:+.3f} matrices n x n",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
