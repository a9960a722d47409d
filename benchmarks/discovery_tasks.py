"""Seeded tasks whose structure a fit has to find: the tables of `discovery.py`.

Every task has a function of few of its columns, or of none. Inputs, function and noise
are drawn anew for each seed; test rows carry no noise, so that an R2 of 1 can be
reached.
"""

from dataclasses import dataclass, replace

import numpy as np

TEST_ROWS = 1000


@dataclass(frozen=True)
class Task:
    """A seeded table.

    kind, name : str
    n, d : int, training rows and columns
    make : callable, (rng, n_rows) -> X (n_rows, d) and the function's values (n_rows,)
    noise : float, standard deviation of the noise in units of the function's
    isotropic : bool, whether a kernel without a learned metric can do it
    n_inducing : int or None, for tables too large for an exact fit
    classes : bool, whether the target is the sign of the function with its noise
    """

    kind: str
    name: str
    n: int
    d: int
    make: object
    noise: float = 0.1
    isotropic: bool = False
    n_inducing: int | None = None
    classes: bool = False

    def tables(self, seed):
        """X, y, X_test and f_test, with y in units of the function's deviation.

        Of classes y and f_test are 0 or 1; where there is no function f_test is chance.
        """
        rng = np.random.default_rng([seed, *map(ord, self.name)])
        X, f = self.make(rng, self.n + TEST_ROWS)
        f = f - np.mean(f)
        signal = np.std(f)
        f = f / (signal or 1.0)
        y = f + (self.noise if signal else 1.0) * rng.standard_normal(len(f))
        if self.classes:
            f = np.where((f if signal else y) > 0, 1.0, 0.0)
            y = np.where(y > 0, 1.0, 0.0)
        return X[: self.n], y[: self.n], X[self.n :], f[self.n :]


def _of_normal(d, function):
    """The function of a standard normal table of d columns."""

    def make(rng, rows):
        X = rng.standard_normal((rows, d))
        return X, function(X, rng)

    return make


def _products(X, rng):
    return X[:, 0] * X[:, 1] + X[:, 2] * X[:, 3]


def _three_products(X, rng):
    return X[:, 0] * X[:, 1] + X[:, 2] * X[:, 3] + X[:, 4] * X[:, 5]


def _triple(X, rng):
    return X[:, 0] * X[:, 1] * X[:, 2]


def _sine_and_product(X, rng):
    return np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]


def _sines(X, rng):
    return np.sin(3 * X[:, 0]) + np.sin(2 * X[:, 1])


def _fast_sine(X, rng):
    return np.sin(5 * X[:, 0])


def _additive(X, rng):
    return (
        np.tanh(2 * X[:, 0])
        + 0.5 * X[:, 1] ** 2
        + np.abs(X[:, 2])
        + np.cos(2 * X[:, 3])
    )


def _single_index(X, rng):
    w = rng.standard_normal(X.shape[1])
    return np.sin(3 * X @ (w / np.linalg.norm(w)))


def _even_index(X, rng):
    w = rng.standard_normal(X.shape[1])
    return np.abs(X @ (w / np.linalg.norm(w)))


def _steps(X, rng):
    return 1.0 * (X[:, 0] > 0.3) + (X[:, 1] < -0.5) * (X[:, 2] > 0)


def _linear(X, rng):
    return X @ rng.standard_normal(X.shape[1])


def _noise(X, rng):
    return 0 * X[:, 0]


def _friedman(d, origin=0.0):
    def make(rng, rows):
        X = rng.uniform(size=(rows, d))
        f = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2
        return origin + X, f + 10 * X[:, 3] + 5 * X[:, 4]

    return make


def _year(rng, rows):
    """A column of years among standardised ones."""
    X = rng.standard_normal((rows, 6))
    year = rng.integers(1990, 2020, rows).astype(float)
    f = np.sin((year - 1990) / 4) + X[:, 1] * X[:, 2]
    return np.c_[year, X], f


def _one_hot(rng, rows):
    """Two categorical columns of eight levels, one hot, whose level bends a slope."""
    X = rng.standard_normal((rows, 4))
    levels = rng.integers(8, size=(rows, 2))
    slopes = rng.standard_normal(8)
    f = slopes[levels[:, 0]] * X[:, 0] + np.sin(2 * X[:, 1])
    hot = [np.eye(8)[levels[:, j]] for j in range(2)]
    return np.hstack([X, *hot]), f


def _correlated(rng, rows):
    """Twenty columns from six factors, the target of two of the columns."""
    factors = rng.standard_normal((rows, 6)) @ rng.standard_normal((6, 20))
    X = factors / np.sqrt(6) + 0.5 * rng.standard_normal((rows, 20))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] ** 2


def _rough(frequency):
    """Random cosines over three of six columns, weaker where they are faster."""

    def make(rng, rows):
        X = rng.standard_normal((rows, 6))
        W = frequency / 3**0.5 * rng.standard_normal((60, 3))
        amplitude = rng.standard_normal(60) / (1 + np.linalg.norm(W, axis=1))
        phase = rng.uniform(0, 2 * np.pi, 60)
        return X, np.cos(X[:, :3] @ W.T + phase) @ amplitude

    return make


def _task(kind, name, n, d, function, **options):
    return Task(kind, name, n, d, _of_normal(d, function), **options)


def _shifted(function, d, origin):
    def make(rng, rows):
        X = rng.standard_normal((rows, d))
        return origin + X, function(X, rng)

    return make


def _tasks(kind, name, function, *shapes, **options):
    return [
        Task(kind, f"{name} {n}x{d}", n, d, _of_normal(d, function), **options)
        for n, d in shapes
    ]


def _sized(kind, name, d, make, *sizes, **options):
    return [Task(kind, f"{name} {n}x{d}", n, d, make, **options) for n in sizes]


TASKS = [
    *_tasks(
        "product",
        "two products",
        _products,
        *((200, 10), (150, 15), (400, 30), (600, 32), (1000, 50), (3000, 32)),
    ),
    *_tasks("product", "three products", _three_products, (600, 20), (1500, 40)),
    *_tasks("product", "triple product", _triple, (400, 8), (800, 12)),
    *_tasks(
        "sine",
        "sine and product",
        _sine_and_product,
        *((200, 20), (400, 30), (3000, 32)),
    ),
    *_tasks("sine", "two sines", _sines, (100, 6), (300, 30), (600, 32), (1200, 60)),
    *_tasks("sine", "fast sine", _fast_sine, (200, 5), (400, 10), (1000, 30)),
    *_tasks(
        "additive",
        "sparse additive",
        _additive,
        *((150, 10), (400, 20), (800, 60), (1500, 40)),
    ),
    *_tasks("index", "single index", _single_index, (200, 8), (500, 15), (800, 20)),
    *_tasks("index", "even index", _even_index, (150, 6), (300, 10), (800, 20)),
    *_tasks("steps", "steps", _steps, (300, 10), (600, 60), (1000, 30), noise=0.2),
    *_sized("origin", "friedman + 100", 10, _friedman(10, 100.0), 150, isotropic=True),
    *_sized("origin", "friedman + 1e4", 10, _friedman(10, 1e4), 400, isotropic=True),
    *_sized("origin", "far product", 20, _shifted(_products, 20, 1e4), 400),
    *_sized("origin", "year", 7, _year, 200, 600, 1500),
    *_sized("one-hot", "one-hot", 20, _one_hot, 200, 600, 1500),
    *_sized("correlated", "correlated", 20, _correlated, 200, 600, 1000),
    *_tasks(
        "wide", "wide linear", _linear, (60, 20), (60, 100), (200, 60), isotropic=True
    ),
    *_tasks("wide", "wide sines", _sines, (200, 60), (300, 200)),
    *_tasks("wide", "wide products", _products, (400, 100)),
    *_sized("rough", "rough 4", 6, _rough(4), 600, 2000, noise=0.3),
    *_sized("rough", "rough 8", 6, _rough(8), 2000, noise=0.3),
    *_sized("rough", "rough 4", 6, _rough(4), 6000, noise=0.3, n_inducing=500),
    *_sized("rough", "rough 8", 6, _rough(8), 20_000, noise=0.3, n_inducing=300),
    *_sized("rough", "rough 12", 6, _rough(12), 20_000, noise=0.3, n_inducing=300),
    *_tasks(
        "noise",
        "pure noise",
        _noise,
        *((60, 5), (60, 60), (100, 30), (200, 10), (400, 30), (600, 60), (1200, 10)),
    ),
]

# The same tables with classes for a target: those of few to many columns.
CLASSIFIED = (
    "two products 200x10",
    "two products 400x30",
    "two sines 300x30",
    "two sines 600x32",
    "fast sine 400x10",
    "sparse additive 400x20",
    "single index 500x15",
    "even index 300x10",
    "steps 300x10",
    "far product 400x20",
    "year 200x7",
    "year 600x7",
    "one-hot 600x20",
    "correlated 200x20",
    "wide linear 60x100",
    "wide sines 200x60",
    "wide products 400x100",
    "pure noise 100x30",
    "pure noise 400x30",
    "pure noise 1200x10",
)
CLASS_TASKS = [
    replace(
        task,
        kind="noise" if task.kind == "noise" else "classes",
        name=f"{task.name} classes",
        classes=True,
    )
    for task in TASKS
    if task.name in CLASSIFIED
]
