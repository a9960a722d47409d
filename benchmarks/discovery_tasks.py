"""Seeded tasks whose structure a fit has to find: the tables of `discovery.py`.

Every task has a function of few of its columns, or of none. Inputs, function and noise
are drawn anew for each seed; test rows carry no noise, so that an R2 of 1 can be
reached.
"""

from dataclasses import dataclass

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
    """

    kind: str
    name: str
    n: int
    d: int
    make: object
    noise: float = 0.1
    isotropic: bool = False
    n_inducing: int | None = None

    def tables(self, seed):
        """X, y, X_test and f_test, with y in units of the function's deviation."""
        rng = np.random.default_rng([seed, *map(ord, self.name), self.n, self.d])
        X, f = self.make(rng, self.n + TEST_ROWS)
        f = f - np.mean(f)
        scale = np.std(f) or 1.0
        f = f / scale
        y = f + (self.noise if scale != 1.0 or np.any(f) else 1.0) * (
            rng.standard_normal(len(f))
        )
        n = self.n
        return X[:n], y[:n], X[n:], f[n:]


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


TASKS = [
    *(
        _task("product", "two products", n, d, _products)
        for n, d in ((200, 10), (400, 30), (600, 32), (1000, 50), (3000, 32))
    ),
    _task("product", "three products", 600, 20, _three_products),
    _task("product", "triple product", 800, 12, _triple),
    *(
        _task("sine", "sine and product", n, d, _sine_and_product)
        for n, d in ((200, 20), (400, 30), (3000, 32))
    ),
    *(
        _task("sine", "two sines", n, d, _sines)
        for n, d in ((100, 6), (300, 30), (1200, 60))
    ),
    _task("sine", "fast sine", 400, 10, _fast_sine),
    *(
        _task("additive", "sparse additive", n, d, _additive)
        for n, d in ((150, 10), (400, 20), (800, 60))
    ),
    *(
        _task("index", "single index", n, d, _single_index)
        for n, d in ((200, 8), (500, 15))
    ),
    *(
        _task("index", "even index", n, d, _even_index)
        for n, d in ((300, 10), (800, 20))
    ),
    *(
        _task("steps", "steps", n, d, _steps, noise=0.2)
        for n, d in ((300, 10), (1000, 30))
    ),
    *(
        Task("origin", name, n, 10, _friedman(10, origin), isotropic=True)
        for name, n, origin in (("friedman", 150, 100.0), ("friedman", 400, 1e4))
    ),
    *(Task("origin", "year", n, 7, _year) for n in (200, 600)),
    *(Task("one-hot", "one-hot", n, 20, _one_hot) for n in (200, 600)),
    *(Task("correlated", "correlated", n, 20, _correlated) for n in (200, 600)),
    *(
        _task("wide", "wide linear", n, d, _linear, isotropic=True)
        for n, d in ((60, 20), (60, 100), (200, 60))
    ),
    *(_task("wide", "wide sines", n, d, _sines) for n, d in ((200, 60), (300, 200))),
    *(_task("wide", "wide products", n, d, _products) for n, d in ((400, 100),)),
    *(
        Task(
            "rough",
            f"rough {frequency}",
            n,
            6,
            _rough(frequency),
            noise=0.3,
            n_inducing=m,
        )
        for frequency, n, m in (
            (4, 600, None),
            (8, 2000, None),
            (8, 20_000, 300),
            (12, 20_000, 300),
        )
    ),
    *(
        _task("noise", "pure noise", n, d, _noise)
        for n, d in ((60, 5), (100, 30), (200, 10), (400, 30), (600, 60), (1200, 10))
    ),
]
