"""Test error on real tables against scikit-learn's Gaussian process with ARD.

    pip install -e ".[bench]" && pip install --no-deps ISLP
    python benchmarks/accuracy.py [--folds 0 1 2] [--datasets concrete ...]

Prints one row per data set and fold, and the geometric mean of the RMSE ratio.
"""

import argparse
import time
import warnings

import numpy as np
from _data import LOADERS, sparse_relevance, split
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from threadpoolctl import threadpool_limits

from adaptive_kernels import AdaptiveKernelRegressorCV
from adaptive_kernels.metrics import interval_coverage, predictive_log_density


def gpr_ard(n_features):
    """scikit-learn's Gaussian process with a length scale per feature."""
    scales = RBF(np.full(n_features, n_features**0.5), (1e-2, 1e4))
    kernel = ConstantKernel(1.0, (1e-3, 1e4)) * scales + WhiteKernel(0.1, (1e-6, 1e1))
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)


def evaluate(model, X, y, X_test, y_test):
    """RMSE, log loss, 90 % coverage and CPU seconds of the fit."""
    started = time.process_time()
    model.fit(X, y)
    seconds = time.process_time() - started
    mean, std = model.predict(X_test, return_std=True)
    rmse = np.sqrt(np.mean((mean - y_test) ** 2))
    coverage = interval_coverage(y_test, mean, std)
    return rmse, -predictive_log_density(y_test, mean, std), coverage, seconds


def describe(model):
    """The members of the mixture and their weights, in a few letters."""
    return ", ".join(
        f"{weight:.2f} {member.kernel.activation} {member.covariance_type} "
        f"width {member.width:g}"
        for weight, member in zip(model.weights_, model.members_, strict=True)
    )


def row(name, fold, data):
    """Print both models' scores; return the ratio of their RMSE."""
    ours = AdaptiveKernelRegressorCV()
    scores = evaluate(gpr_ard(data[0].shape[1]), *data), evaluate(ours, *data)
    cells = " | ".join("{:.3f} / {:.2f} / {:.2f} / {:.1f}".format(*s) for s in scores)
    n, d = data[0].shape
    print(f"| {name} | {fold} | {n} x {d} | {cells} | {describe(ours)} |", flush=True)
    return scores[1][0] / scores[0][0]


def main():
    """Run the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--datasets", nargs="+", default=list(LOADERS))
    options = parser.parse_args()
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables(options)
        synthetic()


def tables(options):
    """The real data sets."""
    print("RMSE / log loss / 90 % coverage / CPU seconds, in units of std(y)\n")
    print("| data | fold | size | GPR-ARD | AdaptiveKernelRegressorCV | members |")
    print("|---|---|---|---|---|---|")
    ratios = [
        row(name, fold, split(name, fold))
        for name in options.datasets
        for fold in options.folds
    ]
    mean = np.exp(np.mean(np.log(ratios)))
    print(f"\nGeometric mean of the RMSE ratio: {mean:.3f}\n")


def synthetic():
    """Data in which 4 of 32 features matter."""
    X, y = sparse_relevance(2800)
    X, y, X_test, y_test = X[:800], y[:800], X[800:], y[800:]
    scale = y.std()
    search = AdaptiveKernelRegressorCV()
    scores = evaluate(search, X, y / scale, X_test, y_test / scale)
    found = sorted(np.argsort(search.feature_importances_)[-4:].tolist())
    print(
        f"4 of 32 features matter, 800 rows: RMSE {scores[0]:.3f} std(y), "
        f"{scores[3]:.0f} CPU s, {describe(search)}; largest importances: {found}"
    )


if __name__ == "__main__":
    main()
