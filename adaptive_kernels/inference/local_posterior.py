"""Posterior from the nearest rows, on top of what inducing points explain.

With inducing points Z, K_mm = L L' and a(x) = L^{-1} K_m(x), split f into a(x)'v,
v ~ N(0, I), and a rest with the kernel R = K - a a'. The rest is predicted from the
nearest rows N alone. With their targets and noise, and w = (R_NN + noise)^{-1} R_N*,

    f* | y, v ~ N(a*'v + w'(y_N - A_N v), R_** - w'R_N*).

The posterior N(mu, P^{-1}) of v comes from the product of such densities over rows in
random order, each given its nearest earlier rows. With b = a* - A_N w,

    P = I + sum_i b_i b_i' / s_i,    P mu = sum_i b_i (y_i - w_i'y_N) / s_i,
    mean = a*'mu + w'(y_N - A_N mu),    variance = R_** - w'R_N* + b'P^{-1}b,

where s_i = R_ii - w_i'R_Ni + noise. Without inducing points a is empty. If all rows are
neighbours the result is exact.

References
----------
Vecchia, "Estimation and model identification for continuous spatial processes", Journal
of the Royal Statistical Society B 50, 1988. Snelson and Ghahramani, "Local and global
sparse Gaussian process approximations", AISTATS 2007. Katzfuss and Guinness, "A general
framework for Vecchia approximations of Gaussian processes", Statistical Science 36,
2021. Gyger, Furrer and Sigrist, "Vecchia-inducing-points full-scale approximations for
Gaussian processes", arXiv:2507.05064.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from .._arrays import (
    Array,
    add_to_diagonal,
    as_float64,
    index_like,
    namespace,
    rows_per_block,
    set_diagonal,
    solve_triangular,
)
from ..kernels._recursion import (
    Network,
    cross_matrices,
    features,
    slices_of,
    symmetric_matrices,
)
from . import subsampling
from .collapsed_bound import Basis
from .evidence import Data, Hyperparameters
from .held_out_density import density_at_best_scale
from .inducing_points import inducing_rows
from .local_sites import GlobalPart, Sites, gather, global_posterior
from .memory_limits import check_local_memory, check_union_memory
from .neighbours import NearestRows
from .posterior import Posterior
from .subsampling import random_order, random_rows


@dataclass(frozen=True)
class LocalData(Data):
    """A sample of rows to learn the kernel from, and all rows to predict from.

    rows : Data, all rows; X may be a mapped file, and of any real type
    n_neighbors : int, nearest rows of a prediction
    n_inducing : int, inducing points besides; 0 for none
    """

    rows: Data = None  # type: ignore[assignment]
    n_neighbors: int = 0
    n_inducing: int = 0


def local_data(rows: Data, n_neighbors: int, n_inducing: int | None) -> LocalData:
    """All rows with a sample to learn from, and the usual inducing points if None."""
    n = rows.X.shape[0]
    n_inducing = checked_inducing(rows.Y, n, rows.X.shape[1], n_inducing)
    sample = rows.at(random_rows(n, subsampling.LOCAL_SAMPLE_ROWS))
    return LocalData(
        sample.X,
        sample.Y,
        sample.weights,
        rows=rows,
        n_neighbors=n_neighbors,
        n_inducing=n_inducing,
    )


def checked_inducing(
    like: Array, n: int, n_features: int, n_inducing: int | None
) -> int:
    """The number of inducing points of n rows; MemoryError if they do not fit."""
    if n_inducing is None:
        n_inducing = min(subsampling.LOCAL_INDUCING, subsampling.LOCAL_ENTRIES // n)
    check_local_memory(like, n, n_features, n_inducing)
    return n_inducing


def features_of(rows: Data, point: Hyperparameters) -> Array:
    """Features (n, d + 1) of all rows, read in blocks."""
    parts = [
        features(as_float64(rows.X[i, :]), point.network, point.metric_sqrt)
        for i in slices_of(rows.X.shape[0], rows_per_block(rows.Y, rows.X.shape[1]))
    ]
    return namespace(parts[0]).concat(parts, axis=0)


@dataclass
class LocalPosterior(Posterior):
    """Posterior of f from the nearest rows, on top of what inducing points explain.

    point : Hyperparameters
    sites : Sites, all training rows
    rest : array (n, C), targets less the mean of what inducing points explain
    n_neighbors : int
    part : GlobalPart or None
    scales : array (C,), factors of noise and variance of each output; or 1
    """

    point: Hyperparameters
    sites: Sites
    rest: Array
    n_neighbors: int
    part: GlobalPart | None = None
    scales: Array | float = 1.0

    @classmethod
    def fit(
        cls, data: LocalData, point: Hyperparameters, *, with_global: bool = True
    ) -> tuple[Self, float]:
        """The posterior given all rows, and an approximate log evidence.

        The evidence is that of at most `subsampling.GLOBAL_ROWS` rows; it is zero if
        `with_global` is false, and then the inducing points are left out, too. In a
        large table they are left out as well if that predicts left-out rows better: a
        kernel that is right among close neighbours may be too smooth for the table.
        """
        rows, n = data.rows, data.rows.X.shape[0]
        F = features_of(rows, point)
        noise = 0 * rows.Y[:, 0] + rows.noise(point.alpha)
        k = min(data.n_neighbors, n - 1)
        local = cls(point, Sites(F, None, noise), rows.Y, k)
        if not with_global:
            return local, 0.0
        judged = subsampling.LEFT_OUT_ROWS if n >= subsampling.JUDGED_TABLE else 0
        order, judges = np.split(random_order(n, n), [n - judged])
        order = order[: subsampling.GLOBAL_ROWS]
        basis = _basis(data, point, order) if data.n_inducing else None
        sites = local.sites
        if basis is not None:
            sites = Sites(F, _projected(basis, F), noise)
        Y, counts = gather(rows.Y, order), None
        if rows.weights is not None:
            counts = gather(rows.weights, order)
        factor, mean, value = global_posterior(sites.take(order), Y, point.network)
        value += Data(F, Y, counts).weight_term(point.alpha)[0]
        if basis is None:
            return local, value
        part = GlobalPart(basis, factor, mean)
        whole = cls(point, sites, rows.Y - sites.A @ mean, k, part)
        return whole._or_if_better(local, rows, judges), value

    def _or_if_better(self, local: Self, rows: Data, judges: np.ndarray) -> Self:
        """`local` if it predicts the judges, rows left out, better than this."""
        if not len(judges):
            return self
        near, alpha = self.neighbours_of(judges), self.point.alpha
        densities = [
            density_at_best_scale(rows.at(judges), *p.left_out(judges, near), alpha)
            for p in (self, local)
        ]
        vars(local)["nearest"] = self.nearest  # the same rows
        return local if densities[1] > densities[0] else self

    @property
    def F(self) -> Array:
        """Features (n, d + 1) of all training rows."""
        return self.sites.F

    @property
    def dual(self) -> Array:
        """Raise AttributeError: every new row has its own coefficients."""
        raise AttributeError(
            "A fit with neighbours has no dual_coef_: set n_neighbors=None."
        )

    def __getstate__(self) -> dict[str, Any]:
        # The search tree is built again when it is needed.
        return {k: v for k, v in vars(self).items() if k != "nearest"}

    @cached_property
    def nearest(self) -> NearestRows:
        """Search for the neighbours of rows, made when it is first needed."""
        return NearestRows(_without_bias(self.sites.F))

    def _nearest_of(self, F: Array) -> np.ndarray:
        """Neighbours (m, k) of new rows with features F."""
        return self.nearest.of_new(_without_bias(F), self.n_neighbors)

    def is_exact(self) -> bool:
        """False: it uses neighbours."""
        return False

    def observation_noise(self) -> Array | float:
        """Noise variance, (C,) if the outputs have scales."""
        return self.scales * self.point.alpha

    def mean(self, X: Array) -> Array:
        """Mean (m, C) at new rows."""
        return self.variance(X)[0]

    def variance(self, X: Array) -> tuple[Array, Array]:
        """Mean (m, C) and variance (m, C)."""
        F = self.features(X)
        return self._predicted(F, self._projected(F), self._nearest_of(F))

    def neighbours_of(self, rows: np.ndarray) -> np.ndarray:
        """The nearest other rows of some training rows: (m, k) of int."""
        return self.nearest.of_own(rows, self.n_neighbors)

    def left_out(
        self, rows: np.ndarray, near: np.ndarray | None = None
    ) -> tuple[Array, Array]:
        """Mean (m, C) and variance (m, C) of f at training rows from other rows.

        Only the neighbours leave the row out, not what the inducing points explain.

        near : neighbours of the rows, or None to find them
        """
        sites = self.sites.take(rows)
        near = self.neighbours_of(rows) if near is None else near
        return self._predicted(sites.F, sites.A, near)

    def leave_one_out(self, data: Data) -> tuple[Array, Array]:
        """`left_out` of all training rows."""
        return self.left_out(np.arange(self.rest.shape[0]))

    def _projected(self, F: Array) -> Array | None:
        return None if self.part is None else _projected(self.part.basis, F)

    def _predicted(
        self, F: Array, A: Array | None, near: np.ndarray
    ) -> tuple[Array, Array]:
        """Mean and variance at rows with features F, a(x) = A and neighbours."""
        xp = namespace(F)
        mean = xp.zeros_like(F[:, :1]) * self.rest[:1, :]
        variance = xp.zeros_like(F[:, 0])
        for one in self.sites.conditionals(self.network, F, A, near):
            weights = one.weights[:, None, :]
            mean[one.rows, :] = (weights @ gather(self.rest, one.near))[:, 0, :]
            variance[one.rows] = one.spread
            if self.part is not None:
                half = solve_triangular(self.part.factor, one.loading.T)
                variance[one.rows] += xp.sum(half * half, axis=0)
        if self.part is not None:
            mean = mean + A @ self.part.mean
        return mean, (variance[:, None] + 0 * mean) * self.scales

    def covariance(self, X: Array) -> tuple[Array, Array]:
        """Mean (m, C) and covariance (m, m, C).

        The covariance is that of the errors of the predictions under the prior. With U
        the neighbours of all new rows together, W the matrix of the weights w' of their
        targets, zero for those that are no neighbours of a row, and B that of the rows
        b', it is

            R_** - W R_U* - R_*U W' + W (R_UU + noise) W' + B P^{-1} B'.
        """
        F = self.features(X)
        near = self._nearest_of(F)
        A, network = self._projected(F), self.network
        union, place = np.unique(near, return_inverse=True)
        check_union_memory(F, len(union))
        xp, sites = namespace(F), self.sites.take(union)
        W = xp.zeros_like(F[:, :1]) * sites.noise[None, :]  # zeros (m, |U|)
        mean, variance = self._predicted(F, A, near)
        R = _kernel_of(network, symmetric_matrices(F, network))
        cross = _kernel_of(network, cross_matrices(F, sites.F, network))
        others = _kernel_of(network, symmetric_matrices(sites.F, network))
        if A is not None:
            R = R - A @ A.T
            cross = cross - A @ sites.A.T
            others = others - sites.A @ sites.A.T
        columns = place.reshape(near.shape)
        loadings = []
        for one in self.sites.conditionals(network, F, A, near):
            here = np.arange(one.rows.start, one.rows.stop)[:, None]
            W[index_like(here, F), index_like(columns[one.rows], F)] = one.weights
            loadings.append(one.loading)
        mixed = W @ cross.T
        covariance = R - mixed - mixed.T
        covariance = covariance + W @ add_to_diagonal(others, sites.noise) @ W.T
        if self.part is not None:
            half = solve_triangular(self.part.factor, xp.concat(loadings, axis=0).T)
            covariance = covariance + half.T @ half
        scales = self.scales + 0 * mean[:1, None, :]
        # The diagonal is that of `variance` but for rounding, which could make it
        # negative. Outputs differ by their scales only: take the first one unscaled.
        covariance = set_diagonal(covariance, variance[:, 0] / scales[0, 0, 0])
        return mean, covariance[:, :, None] * scales

    def effective_dof(self, data: Data) -> float:
        """N - sum_i noise_i / s_i per output, from the rows of a random sample.

        s_i is the variance of a left-out target. In an exact posterior this is the
        trace of (K + noise)^{-1} K.
        """
        n = self.rest.shape[0]
        rows = random_order(n, subsampling.LEFT_OUT_ROWS)
        noise = gather(self.sites.noise, rows)
        variance = replace(self, scales=1.0).left_out(rows)[1][:, 0]
        return n * (1 - float(namespace(noise).mean(noise / (variance + noise))))


def _basis(data: LocalData, point: Hyperparameters, order: np.ndarray) -> Basis:
    """Inducing points: centres of rows at the start of a random order."""
    X = data.rows.X
    few = index_like(order[: subsampling.ROWS_PER_CENTRE * data.n_inducing], X)
    X = as_float64(namespace(X).take(X, few, axis=0))
    chosen = index_like(inducing_rows(X, point, data.n_inducing), X)
    return Basis.of(namespace(X).take(X, chosen, axis=0), point)


def _projected(basis: Basis, F: Array) -> Array:
    """a(x) of rows with features F: (n, m)."""
    network = basis.point.network
    cross = _kernel_of(network, cross_matrices(F, basis.F, network))
    return solve_triangular(basis.factor, cross.T).T


def _kernel_of(network: Network, matrices: tuple[Array, Array | None]) -> Array:
    """The kernel of a network among its NNGP and NTK matrices."""
    return matrices[int(network.is_ntk)]


def _without_bias(F: Array) -> Array:
    """Features without the column of the bias, which is the first: (n, d)."""
    return F[:, 1:]
