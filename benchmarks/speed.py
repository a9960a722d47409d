"""Ratios of time against named peers, interleaved in one run, one thread.

    python benchmarks/speed.py [part ...]

Parts: kernel, step, fit, search, scalings, neurons, features, descent;
all by default.
"""

import platform
import sys
import time
import warnings
from functools import partial

import numpy as np
import scipy
import sklearn
from scipy.linalg import lapack
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, KFold
from tabular.synthetic import sparse_relevance
from threadpoolctl import threadpool_limits

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    OneStepSpikeFeatures,
    scaling_path,
)
from adaptive_kernels.datasets import make_ising
from adaptive_kernels.inference.evidence import (
    Data,
    Hyperparameters,
    RegularizedEvidence,
)
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.metrics import predictive_log_density
from adaptive_kernels.theory.finite_width.sequential_monte_carlo import neurons_of_prior
from adaptive_kernels.theory.finite_width.tilted_distribution import Problem, newton
from adaptive_kernels.theory.kernel_regression.preconditioned_descent import (
    Preconditioner,
    kernel_gradient_descent,
)


def interleaved(tasks, rounds):
    """Median and least seconds of each task over rounds that run them all in turn."""
    times = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - started)
    return {name: (np.median(v), min(v)) for name, v in times.items()}


def report(title, seconds, peer):
    """Print every task as a ratio to the peer, medians and (in brackets) minima."""
    print(f"\n{title}; {peer} takes {seconds[peer][0]:.4f} s")
    for name, value in seconds.items():
        if name != peer:
            median, least = (v / p for v, p in zip(value, seconds[peer], strict=True))
            print(f"  {name:28s} {median:.2f} ({least:.2f}) times {peer}", flush=True)


def kernel():
    """Kernel matrices at n = 5000, d = 20 against scikit-learn's rbf_kernel."""
    X = np.random.default_rng(0).standard_normal((5000, 20))
    tasks = {"rbf_kernel": lambda: rbf_kernel(X)}
    for name in ("erf", "relu", "rbf"):
        shallow = NNGP(name)
        tasks[f"NNGP {name} depth 1"] = lambda k=shallow: k(X)
        deep = NTK(name, depth=3, weight_variance=1.7, bias_variance=0.2)
        tasks[f"NNGP + NTK {name} depth 3"] = lambda k=deep: k.nngp_and_ntk(X)
    report("Kernel matrix", interleaved(tasks, 9), "rbf_kernel")


def step():
    """One evidence and gradient against bare potrf + potri, n = 1200, d = 8."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1200, 8))
    Y = np.sin(X[:, :1])
    K = rbf_kernel(X) + 0.1 * np.eye(len(X))

    def bare():
        factor, _ = lapack.dpotrf(K.copy().T, lower=0, overwrite_a=1, clean=0)
        lapack.dpotri(factor, lower=0, overwrite_c=1)

    tasks = {"potrf + potri": bare}
    free = ("readout_variance", "weight_variance", "bias_variance", "alpha")
    for name in ("erf", "relu", "rbf"):
        point = Hyperparameters(NNGP(name).network(), 0.1, np.eye(8))
        problem = RegularizedEvidence(
            Data(X, Y), point, width=10.0, covariance_type="full", free=free
        )
        vector = problem.pack(point)
        tasks[f"{name}, full covariance"] = lambda p=problem, v=vector: p(v)
    ard = GaussianProcessRegressor(gpr_kernel(8), optimizer=None).fit(X, Y[:, 0])
    theta = ard.kernel_.theta
    tasks["scikit-learn ARD step"] = lambda: ard.log_marginal_likelihood(
        theta, eval_gradient=True, clone_kernel=False
    )
    report("Evidence with gradient", interleaved(tasks, 9), "potrf + potri")


def gpr_kernel(d):
    """ARD kernel of the peer."""
    return ConstantKernel(1.0, (1e-3, 1e4)) * RBF(
        np.full(d, d**0.5), (1e-2, 1e4)
    ) + WhiteKernel(0.1, (1e-6, 1e1))


def fit():
    """Default fit against GPR-ARD, n = 1200, d = 8, 3 features matter."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3200, 8))
    inner, outer = rng.standard_normal((3, 20)), rng.standard_normal(20) / 20**0.5
    targets = {
        "sine and product": np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2],
        "kink": X[:, 0] + np.sin(2 * X[:, 1]) + np.abs(X[:, 2]),
        "tanh network": np.tanh(X[:, :3] @ inner) @ outer,
    }
    for name, signal in targets.items():
        y = signal + 0.2 * signal.std() * rng.standard_normal(len(X))
        models = {
            "GPR-ARD": GaussianProcessRegressor(gpr_kernel(8), normalize_y=True),
            "AdaptiveKernelRegressor": AdaptiveKernelRegressor(),
        }
        tasks = {
            k: (lambda m=m, y=y: m.fit(X[:1200], y[:1200])) for k, m in models.items()
        }
        report(f"Fit, {name}", interleaved(tasks, 3), "GPR-ARD")
        errors = [
            np.sqrt(np.mean((m.predict(X[1200:]) - y[1200:]) ** 2))
            for m in models.values()
        ]
        print(f"  RMSE on new observations {errors[1] / errors[0]:.3f} times GPR-ARD")


def search():
    """A default search on 100 rows, and searches against GridSearchCV."""
    X, y = sparse_relevance(100, n_features=6)
    tasks = {"AdaptiveKernelRegressorCV": lambda: AdaptiveKernelRegressorCV().fit(X, y)}
    median, least = interleaved(tasks, 5).popitem()[1]
    print(f"\nDefault search, 100 rows x 6: {median:.2f} ({least:.2f}) s")
    for n, widths in ((300, (0.1, 1, 10, 100)), (1000, (1, 100))):
        same_grid(n, widths)


def same_grid(n, widths):
    """A search over diagonal and full covariances at these widths, and GridSearchCV."""
    X, y = sparse_relevance(n + 1000, n_features=8)
    folds = KFold(3, shuffle=True, random_state=0)
    models = {
        "GridSearchCV": GridSearchCV(
            AdaptiveKernelRegressor(),
            {"covariance_type": ["diag", "full"], "width": widths},
            cv=folds,
            scoring=lambda model, X, y: predictive_log_density(
                y, *model.predict(X, return_std=True)
            ),
        ),
        "AdaptiveKernelRegressorCV": AdaptiveKernelRegressorCV(widths=widths, cv=folds),
    }
    tasks = {name: partial(model.fit, X[:n], y[:n]) for name, model in models.items()}
    title = f"The same grid of {2 * len(widths)} candidates, {n} rows x 8"
    report(title, interleaved(tasks, 1), "GridSearchCV")
    for name, model in models.items():
        mean, std = model.best_estimator_.predict(X[n:], return_std=True)
        chosen = {k: model.best_params_[k] for k in ("covariance_type", "width")}
        density = predictive_log_density(y[n:], mean, std)
        print(f"  {name}: {chosen}, log density on new rows {density:.3f}")


def scalings():
    """Fifty scalings of a theory against one, fitted and predicted at the rows."""
    rng = np.random.default_rng(0)
    cases = [("relu", 1000, 20), ("relu", 2000, 20), ("identity", 1000, 1200)]
    for activation, n, d in cases:
        X = rng.standard_normal((n, d))
        y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(n)
        names = ["tree", "one_loop", "rescaling"] + ["exact"] * (activation != "relu")
        for name in names:
            model = AdaptiveKernelRegressor(
                NNGP(activation, bias_variance=0),
                approximation=name,
                # One loop needs effective degrees of freedom below the width.
                width=4 * n,
                alpha=0.1,
                scale_noise=True,
                optimizer=None,
            )
            tasks = {
                label: partial(scaling_path, model, X, y, scalings=values)
                for label, values in (
                    ("one scaling", [1]),
                    (f"{name}, 50", np.geomspace(1, n, 50)),
                )
            }
            title = f"Scalings, {activation}, {n} x {d}"
            report(title, interleaved(tasks, 5), "one scaling")


def neurons():
    """A Newton step of the sampled theory, 2^15 neurons, against one matrix product."""
    for n, d in ((80, 60), (300, 20)):
        X, y = make_ising(n, d, random_state=0)
        activation = NNGP("erf").network().activation
        rng = np.random.default_rng(0)
        sample = neurons_of_prior(X / d**0.5, activation, 2**15, rng)
        problem = Problem(y, 0.1, 1.0, 4.0 * n)
        n_iter = newton(problem, sample, 0 * y).n_iter

        def steps(problem=problem, sample=sample, y=y):
            return newton(problem, sample, 0 * y)

        def products(phi=sample.cache, n_iter=n_iter):
            for _ in range(n_iter + 1):
                phi.T @ phi

        tasks = {f"{n_iter} Newton steps": steps, f"{n_iter + 1} products": products}
        title = f"Sampled neurons, {n} x {d}"
        report(title, interleaved(tasks, 5), f"{n_iter + 1} products")


def features():
    """Features after one gradient step against bare products, n = 20000, d = 100."""
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        X = rng.standard_normal((20000, 100)).astype(dtype)
        y = np.sin(X[:, 0]).astype(dtype)
        W = rng.standard_normal((2000, 100)).astype(dtype)

        def forward(X=X, W=W):
            return X @ W.T

        def both(X=X, W=W):
            return (X @ W.T).T @ X

        name = np.dtype(dtype).name
        for activation in ("relu", "tanh", "erf"):
            exact = OneStepSpikeFeatures(
                2000, activation=activation, gradient="exact", random_state=0
            )
            rank_one = OneStepSpikeFeatures(2000, activation=activation).fit(X, y)
            fits = {
                "X W', then Z' X": both,
                "fit, exact": partial(exact.fit, X, y),
                "fit, rank one": partial(rank_one.fit, X, y),
            }
            title = f"{activation}, {name}"
            report(f"Fit, {title}", interleaved(fits, 5), "X W', then Z' X")
            tasks = {"X W'": forward, "transform": partial(rank_one.transform, X)}
            report(f"Transform, {title}", interleaved(tasks, 5), "X W'")


def descent():
    """Preconditioned against plain descent, eigendecomposition included, n = 2000."""
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    K = NTK("relu")(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    for frequency in (4, 8, 16):
        y = np.cos(frequency * angle)

        def plain(y=y):
            return kernel_gradient_descent(K, y, tol=0.01, max_iter=10**6)

        def preconditioned(y=y):
            S = Preconditioner.of_kernel(K, 40, random_state=0)
            return kernel_gradient_descent(K, y, preconditioner=S, tol=0.01)

        tasks = {"plain descent": plain, "preconditioned": preconditioned}
        counts = [run().n_iter for run in tasks.values()]
        title = f"cos {frequency} t on the circle, {counts[0]} and {counts[1]} steps"
        report(title, interleaved(tasks, 3), "plain descent")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(
        f"{platform.machine()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}, "
        f"scikit-learn {sklearn.__version__}, one thread"
    )
    parts = {
        f.__name__: f
        for f in (
            kernel,
            step,
            fit,
            search,
            scalings,
            neurons,
            features,
            descent,
        )
    }
    with threadpool_limits(1):
        for part in sys.argv[1:] or parts:
            parts[part]()
