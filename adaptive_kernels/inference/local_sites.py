"""Training rows as their neighbours see them: conditionals, and the global part.

The equations are those of `local_posterior.py`.
"""

from dataclasses import dataclass, replace
from math import log, pi
from typing import Self

import numpy as np

from .._arrays import (
    Array,
    add_to_diagonal,
    cho_solve,
    cholesky,
    diagonal,
    in_threads,
    index_like,
    is_numpy,
    namespace,
    solve_sets,
    solve_triangular,
)
from ..kernels._recursion import (
    Network,
    matrices_of_sets,
    slices_of,
    symmetric_matrices,
)
from . import subsampling
from .collapsed_bound import Basis
from .neighbours import earlier_neighbours

# Sets of rows whose kernels are computed together: on a CPU enough to hide the cost of
# a call and few enough to stay in the cache of a core.
CPU_SETS, DEVICE_SETS = 8, 512


def gather(values: Array, near: np.ndarray) -> Array:
    """Rows of (n, p) or entries of (n,) by index: (b, k, p) or (b, k)."""
    xp = namespace(values)
    flat = xp.take(values, index_like(near.reshape(-1), values), axis=0)
    return xp.reshape(flat, (*near.shape, *values.shape[1:]))


@dataclass(frozen=True)
class Conditional:
    """Distribution of f at some rows given v and the targets of their neighbours.

    rows : slice
    near : ndarray (b, k) of int
    weights : array (b, k), w
    spread : array (b,), R_** - w'R_N*
    loading : array (b, m), b = a* - A_N w; not set without inducing points
    """

    rows: slice
    near: np.ndarray
    weights: Array
    spread: Array
    loading: Array


@dataclass(frozen=True)
class Sites:
    """Training rows as the posterior sees them.

    F : array (n, d + 1), features
    A : array (n, m), a at the rows; None without inducing points
    noise : array (n,), noise variances
    """

    F: Array
    A: Array
    noise: Array

    def take(self, rows: np.ndarray) -> Self:
        """Some of the rows."""
        parts = (self.F, self.A, self.noise)
        return type(self)(*(None if p is None else gather(p, rows) for p in parts))

    def conditionals(
        self, network: Network, F: Array, A: Array | None, near: np.ndarray
    ) -> list[Conditional]:
        """The distributions of f at rows with features F and a(x) = A, in parts."""
        sets = CPU_SETS if is_numpy(namespace(F)) else DEVICE_SETS

        def work(slices: list[slice]) -> list[Conditional]:
            return [self._conditional(network, F, A, near, rows) for rows in slices]

        found = in_threads(work, slices_of(len(near), sets), F)
        return [one for part in found for one in part]

    def _conditional(
        self, network: Network, F: Array, A: Array | None, near: np.ndarray, rows: slice
    ) -> Conditional:
        xp, near, k = namespace(F), near[rows], near.shape[1]
        sets = xp.concat([gather(self.F, near), F[rows, None, :]], axis=1)
        R = matrices_of_sets(sets, network)
        if A is not None:
            near_A = gather(self.A, near)
            both = xp.concat([near_A, A[rows, None, :]], axis=1)
            R -= both @ xp.matrix_transpose(both)
        places = index_like(np.arange(k), F)
        cross, others = 1.0 * R[:, :k, k], 1.0 * R[:, :k, :k]
        others[:, places, places] += gather(self.noise, near)
        w = solve_sets(others, cross[:, :, None])[:, :, 0]
        spread = R[:, k, k] - xp.sum(cross * w, axis=1)
        loading: Array = None
        if A is not None:
            loading = A[rows, :] - (w[:, None, :] @ near_A)[:, 0, :]
        return Conditional(rows, near, w, xp.maximum(spread, 0 * spread), loading)


@dataclass(frozen=True)
class GlobalPart:
    """Inducing points, and the posterior N(mean, (L L')^{-1}) of v.

    basis : Basis
    factor : array (m, m), L
    mean : array (m, C)
    """

    basis: Basis
    factor: Array
    mean: Array


def global_posterior(
    sites: Sites, Y: Array, network: Network
) -> tuple[Array, Array, float]:
    """Posterior of v given rows in random order, and the log evidence of their targets.

    The first k rows are taken together, all others one by one given earlier rows. After
    division by the root of s, every row adds b b' to P, b (y - w'y_N) to P mu, and with
    r = y - w'y_N

        log evidence = -1/2 [sum r'r - (P mu)'mu + C sum log(2 pi s) + C log det P].

    Returns
    -------
    factor : array (m, m), lower Cholesky factor of P
    mean : array (m, C), mu
    value : float
    """
    n, outputs = Y.shape
    k = min(subsampling.GLOBAL_NEIGHBORS, n)
    total = _first_rows(sites.take(np.arange(k)), Y[:k, :], network)
    xp = namespace(Y)
    for rows, near in earlier_neighbours(sites.F[:, 1:], k):
        own = sites.take(rows)
        for one in sites.conditionals(network, own.F, own.A, near):
            s = one.spread + own.noise[one.rows]
            root = xp.sqrt(s)[:, None]
            means = (one.weights[:, None, :] @ gather(Y, one.near))[:, 0, :]
            r = (gather(Y, rows[one.rows]) - means) / root
            b = None if one.loading is None else one.loading / root
            total = total.plus(b, r, float(xp.sum(xp.log(s))))
    value = float(xp.sum(total.squares)) + outputs * (n * log(2 * pi) + total.log_s)
    if sites.A is None:
        return Y[:0, :0], Y[:0, :], -0.5 * value
    factor = cholesky(add_to_diagonal(total.gram, 1.0))
    mean = cho_solve(factor, total.projection)
    value -= float(xp.sum(total.projection * mean))
    value += 2 * outputs * float(xp.sum(xp.log(diagonal(factor))))
    return factor, mean, -0.5 * value


@dataclass(frozen=True)
class _Sums:
    """Sums over rows: b b', b r', r'r and log s."""

    gram: Array
    projection: Array
    squares: Array
    log_s: float

    def plus(self, b: Array | None, r: Array, log_s: float) -> Self:
        """The sums with more rows: b (n, m) or None, r (n, C)."""
        squares = self.squares + namespace(r).sum(r * r, axis=0)
        if b is None:
            return replace(self, squares=squares, log_s=self.log_s + log_s)
        gram, projection = self.gram + b.T @ b, self.projection + b.T @ r
        return type(self)(gram, projection, squares, self.log_s + log_s)


def _first_rows(sites: Sites, Y: Array, network: Network) -> _Sums:
    """The sums of rows that are taken together: b = L^{-1} A, r = L^{-1} Y."""
    R = symmetric_matrices(sites.F, network)[int(network.is_ntk)]
    if sites.A is not None:
        R = R - sites.A @ sites.A.T
    factor = cholesky(add_to_diagonal(R, sites.noise))
    xp, A = namespace(Y), Y[:, :0] if sites.A is None else sites.A
    empty = _Sums(A.T @ A * 0, A.T @ Y * 0, 0 * Y[0, :], 0.0)
    log_s = 2 * float(xp.sum(xp.log(diagonal(factor))))
    b = None if sites.A is None else solve_triangular(factor, A)
    return empty.plus(b, solve_triangular(factor, Y), log_s)
