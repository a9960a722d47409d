"""Density of rows given their nearest other rows, as an objective to maximise.

For a row with neighbours N, their targets y_N, and c = K_N*,

    w = (K_NN + noise)^{-1} c,    u = (K_NN + noise)^{-1} y_N,
    y | y_N ~ N(m, s),    m = w'y_N = c'u,    s = K_** - w'c + noise.

The noise of a neighbour is alpha over its weight. The noise of the row itself is alpha,
since its weight multiplies its log density.

The sum of the log densities of some rows, by their weights, replaces the evidence. It
scores what a prediction from neighbours does, on rows of the whole table.
"""

from dataclasses import dataclass
from functools import reduce
from math import pi
from operator import add
from typing import Any, Self

import numpy as np

from .._arrays import Array, in_threads, index_like, namespace, solve_sets
from ..kernels._derivatives import vector_jacobian_of_sets
from ..kernels._recursion import features, matrices_of_sets, slices_of, variances
from .covariance import FullCovariance
from .evidence import Data, Hyperparameters, RegularizedEvidence

# Sets of rows whose kernels are computed together: enough to hide the cost of a call,
# few enough to stay in the cache of a core.
SETS = 8


@dataclass(frozen=True)
class NeighbourData(Data):
    """Rows, each with its nearest other rows.

    near : Data with X (b, k, d), Y (b, k, C) and weights (b, k) or None
    """

    near: Data = None  # type: ignore[assignment]

    @classmethod
    def of(cls, rows: Data, n_rows: int) -> Self:
        """Split `n_rows` rows and, behind them, the k neighbours of each."""
        k = rows.X.shape[0] // n_rows - 1

        def split(values: Array) -> tuple[Array, Array]:
            shape = (n_rows, k, *values.shape[1:])
            return values[:n_rows, ...], namespace(values).reshape(
                values[n_rows:, ...], shape
            )

        (X, near_X), (Y, near_Y) = split(rows.X), split(rows.Y)
        weights, near_weights = (
            (None, None) if rows.weights is None else split(rows.weights)
        )
        return cls(X, Y, weights, Data(near_X, near_Y, near_weights))

    def objective(self, template: Hyperparameters, **kind: Any) -> RegularizedEvidence:
        """The regularised density of these rows given their neighbours."""
        return RegularizedNeighbourDensity(self, template, **kind)

    def sets(self, rows: slice) -> Self:
        """Some of the rows, with their neighbours."""

        def cut(data: Data) -> Data:
            weights = None if data.weights is None else data.weights[rows, ...]
            return Data(data.X[rows, ...], data.Y[rows, ...], weights)

        own = cut(self)
        return type(self)(own.X, own.Y, own.weights, near=cut(self.near))


@dataclass(frozen=True)
class _Slopes:
    """Value and -2 times its derivatives, summed over sets of rows.

    slope : array (d, d), derivative by Sigma, or its diagonal (d,)
    """

    value: float
    slope: Array
    bias_variance: float
    log_weight: float
    noise: float
    readout: float

    def __add__(self, other: "_Slopes") -> "_Slopes":
        both = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Slopes(*(own + more for own, more in both))

    def covariance(self, X: Array, *, diagonal: bool = False) -> Array:
        """Derivative by Sigma. X is not used again."""
        return self.slope


class RegularizedNeighbourDensity(RegularizedEvidence):
    """`RegularizedEvidence` with the density given neighbours in place of the evidence.

    The parameters are those of `RegularizedEvidence`, with `data` a `NeighbourData`.
    """

    data: NeighbourData

    def _evidence(self, point: Hyperparameters) -> tuple[float, _Slopes, float, float]:
        def total(parts: list[slice]) -> _Slopes:
            return reduce(add, (self._of_sets(point, part) for part in parts))

        slices = slices_of(self.data.X.shape[0], SETS)
        found = reduce(add, in_threads(total, slices, self.data.X))
        return found.value, found, found.noise, found.readout

    def _of_sets(self, point: Hyperparameters, part: slice) -> _Slopes:
        """Value and derivatives of some sets: neighbours, and the row as the last."""
        data, network = self.data.sets(part), point.network
        xp, k = namespace(data.X), data.near.X.shape[1]
        X = xp.concat([data.near.X, data.X[:, None, :]], axis=1)
        F = features(X, network, point.metric_sqrt)
        v = variances(F, network)
        K = matrices_of_sets(F, network, v)
        near_noise = data.near.noise(point.alpha)
        density = _Density.of(data, K, near_noise, point.alpha)
        A = density.cotangents()
        own, diagonals = A[:, k, k], xp.linalg.diagonal(A[:, :k, :k])
        by_noise = xp.sum(diagonals * near_noise) + xp.sum(own) * point.alpha
        readout = xp.sum(A * K)
        found = vector_jacobian_of_sets(X, F, network, v, A)
        full = isinstance(self.covariance, FullCovariance)
        rows = xp.reshape(X, (-1, X.shape[2]))
        return _Slopes(
            density.value,
            found.covariance(rows, diagonal=not full),
            found.bias_variance,
            found.log_weight,
            float(by_noise),
            float(readout),
        )


@dataclass(frozen=True)
class _Density:
    """Log densities of rows given their neighbours, and what derivatives need.

    w : array (b, k), weights of the neighbours' targets in the mean
    u : array (b, k, C), (K_NN + noise)^{-1} Y_N
    gap : array (b, C), targets less their means
    variance : array (b,), s
    counts : array (b,) or 1, weights of the rows
    """

    w: Array
    u: Array
    gap: Array
    variance: Array
    counts: Array | float

    @classmethod
    def of(
        cls, data: NeighbourData, K: Array, near_noise: float | Array, own_noise: float
    ) -> Self:
        """Solve for w and u of each row.

        K : array (b, k + 1, k + 1), kernel of each row, as the last after its k
            neighbours
        near_noise : float or array (b, k), noise variances of the neighbours
        own_noise : float, noise variance of the rows
        """
        xp, k = namespace(K), K.shape[1] - 1
        places = index_like(np.arange(k), K)
        K_NN, c = 1.0 * K[:, :k, :k], K[:, :k, k]  # a copy of K_NN, to be overwritten
        K_NN[:, places, places] += near_noise
        sides = xp.concat([c[:, :, None], data.near.Y], axis=2)
        solved = solve_sets(K_NN, sides)
        w, u = solved[:, :, 0], solved[:, :, 1:]
        variance = K[:, k, k] - xp.sum(c * w, axis=1) + own_noise
        gap = data.Y - xp.sum(c[:, :, None] * u, axis=1)
        counts = 1.0 if data.weights is None else data.weights
        return cls(w, u, gap, variance, counts)

    @property
    def value(self) -> float:
        """The sum of the log densities."""
        xp, outputs = namespace(self.gap), self.gap.shape[1]
        squares = xp.sum(self.gap * self.gap, axis=1)
        logs = outputs * xp.log(2 * pi * self.variance) + squares / self.variance
        return -0.5 * float(xp.sum(self.counts * logs))

    def cotangents(self) -> Array:
        """Derivatives A (b, k + 1, k + 1) of -2 times the value by the kernel matrices.

        The mean m = c'u moves by dc'u - w'dK u, and s by dK_** - 2 w'dc + w'dK w.
        """
        xp, w, s = namespace(self.w), self.w, self.variance
        squares = xp.sum(self.gap * self.gap, axis=1)
        by_s = self.counts * (self.gap.shape[1] / s - squares / s**2)
        by_m = (self.counts / s)[:, None] * -2 * self.gap
        along = xp.sum(self.u * by_m[:, None, :], axis=2)
        outer = w[:, :, None] * along[:, None, :]
        pull = by_s[:, None] * w
        others = pull[:, :, None] * w[:, None, :]
        others -= 0.5 * (outer + xp.matrix_transpose(outer))
        edge = (0.5 * along - pull)[:, :, None]
        last = xp.concat([xp.matrix_transpose(edge), by_s[:, None, None]], axis=2)
        return xp.concat([xp.concat([others, edge], axis=2), last], axis=1)
