"""Fits by inducing points: against the exact fit, against GPyTorch, and at full size.

    python benchmarks/inducing.py [exact] [peer] [diamonds] [diamonds_peer] [million]

The peers need GPyTorch, the diamonds plotnine's table. Times are of one thread; tasks
that are compared run in turn. Every part runs in a process of its own, and prints its
peak of resident memory.
"""

import multiprocessing
import resource
import sys
import time
import warnings

import numpy as np
from tabular.datasets import DATASETS
from tabular.protocol import encode
from threadpoolctl import threadpool_limits

from adaptive_kernels import AdaptiveKernelRegressor


def synthetic(n, d=20, seed=0):
    """Inputs of which the first four matter, and targets with noise 0.3."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + np.abs(X[:, 3])
    return X, y + 0.3 * rng.standard_normal(n)


def score(name, predict, X, y, started):
    """Print RMSE, log density and seconds since the start of the fit."""
    seconds = time.perf_counter() - started
    mean, std = predict(X)
    rmse = np.sqrt(np.mean((mean - y) ** 2))
    density = -np.mean(0.5 * ((mean - y) / std) ** 2 + np.log(std * (2 * np.pi) ** 0.5))
    print(
        f"  {name:32s} RMSE {rmse:.4f}, log density {density:.4f}, fit {seconds:.1f} s",
        flush=True,
    )
    return rmse, seconds


def ours(m, X, y, X_test, y_test):
    """Fit with m inducing points (None is exact), and score."""
    started = time.perf_counter()
    model = AdaptiveKernelRegressor(n_inducing=m).fit(X, y)
    name = "exact" if m is None else f"n_inducing={m}"
    return score(
        name, lambda Z: model.predict(Z, return_std=True), X_test, y_test, started
    )


def exact():
    """RMSE relative to the exact fit at n = 5000, d = 8."""
    X, y = synthetic(7000, d=8)
    data = X[:5000], y[:5000], X[5000:], y[5000:]
    errors = {m: ours(m, *data)[0] for m in (250, 500, None)}
    for m in (250, 500):
        print(f"  {m} points: {errors[m] / errors[None] - 1:+.2%} of the exact RMSE")


def svgp(m, X, y, X_test, y_test, *, goal, limit, rate):
    """GPyTorch's SVGP, Matern 5/2 with one length per feature, minibatches of 1024.

    Adam with a learning rate, until the test RMSE is at the goal or time is up.
    """
    import gpytorch
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    mean, std = y.mean(), y.std()
    inputs, targets = torch.tensor(X).float(), torch.tensor((y - mean) / std).float()

    class Model(gpytorch.models.ApproximateGP):
        def __init__(self, points):
            inner = gpytorch.variational.CholeskyVariationalDistribution(len(points))
            super().__init__(
                gpytorch.variational.VariationalStrategy(self, points, inner)
            )
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(
                gpytorch.kernels.MaternKernel(ard_num_dims=points.shape[1])
            )
            self.covar_module.base_kernel.lengthscale = points.shape[1] ** 0.5

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(x), self.covar_module(x)
            )

    started = time.perf_counter()
    model = Model(inputs[torch.randperm(len(inputs))[:m]].clone())
    noise = gpytorch.likelihoods.GaussianLikelihood()
    bound = gpytorch.mlls.VariationalELBO(noise, model, len(inputs))
    parameters = [*model.parameters(), *noise.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=rate)

    def predict(Z):
        model.eval(), noise.eval()
        with torch.no_grad():
            found = noise(model(torch.tensor(Z).float()))
        model.train(), noise.train()
        return (
            found.mean.numpy() * std + mean,
            found.variance.numpy() ** 0.5 * std,
        )

    epoch, spent, error = 0, 0.0, np.inf
    while error > goal and spent < limit:
        epoch, began = epoch + 1, time.perf_counter()
        for rows in torch.randperm(len(inputs)).split(1024):
            optimizer.zero_grad()
            (-bound(model(inputs[rows]), targets[rows])).backward()
            optimizer.step()
        spent += time.perf_counter() - began
        error = np.sqrt(np.mean((predict(X_test)[0] - y_test) ** 2))
    reached = error <= goal
    score(f"SVGP {m}, Adam at {rate}, {epoch} epochs", predict, X_test, y_test, started)
    return spent, reached


def race(m, data, times):
    """Time to equal RMSE of the SVGP, in turn, at two learning rates."""
    error, seconds = ours(m, *data)
    for rate in (0.01, 0.1):
        spent, reached = svgp(m, *data, goal=error, limit=times * seconds, rate=rate)
        more = "" if reached else "more than "
        print(f"  equal RMSE takes SVGP {more}{spent / seconds:.1f} times as long")


def peer():
    """GPyTorch's SVGP, n = 20000, d = 20."""
    X, y = synthetic(25000)
    for m in (200, 400):
        race(m, (X[:20000], y[:20000], X[20000:], y[20000:]), times=10)


def real_table():
    """All 53,940 rows of the diamonds, log price: nine tenths, and one to test on."""
    frame, y = DATASETS["diamonds"].load()
    rows = np.random.RandomState(0).permutation(len(y))
    test, train = rows[: len(y) // 10], rows[len(y) // 10 :]
    X = encode(frame, train)
    return X[train], y[train], X[test], y[test]


def diamonds():
    """All rows of the diamonds."""
    data = real_table()
    for m in (300, 600, 1000):
        ours(m, *data)


def diamonds_peer():
    """GPyTorch's SVGP on all rows of the diamonds."""
    race(300, real_table(), times=5)


def million():
    """A million rows of 20 features."""
    X, y = synthetic(1_000_000)
    X_test, y_test = synthetic(20000, seed=1)
    ours(500, X, y, X_test, y_test)


def measured(part):
    warnings.simplefilter("ignore")
    print(part.__doc__, flush=True)
    with threadpool_limits(1):
        part()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  peak {peak:.2f} GiB", flush=True)


if __name__ == "__main__":
    parts = {f.__name__: f for f in (exact, peer, diamonds, diamonds_peer, million)}
    for name in sys.argv[1:] or parts:
        process = multiprocessing.get_context("spawn").Process(
            target=measured, args=(parts[name],)
        )
        process.start()
        process.join()
