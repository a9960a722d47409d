"""Inducing points: a lower bound of the evidence in O(n m^2) time, and its posterior.

With m inducing points Z, K_mm = L L', A = L^{-1} K_mn, weights W, noise alpha / w, and
the additive statistics G = A W A', c = A W Y, the targets of C outputs have

    log evidence >= - (C / 2) [log det B + sum(w) log(2 pi alpha)]
                    - [tr Y'WY - tr c'B^{-1}c / alpha] / (2 alpha)
                    - C [sum_i w_i K_ii - tr G] / (2 alpha),    B = I + G / alpha,

a row of weight w counted like w repeated rows. The mean is that of the deterministic
training conditional, K_*m L^{-T} B^{-1} c / alpha. The bound takes the place of the
evidence in the objective of `variational`.

References
----------
Titsias, "Variational learning of inducing variables in sparse Gaussian processes",
AISTATS 2009.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log, pi
from typing import TYPE_CHECKING, Self, cast

from .._arrays import (
    Array,
    LinAlgError,
    add_to_diagonal,
    cho_solve,
    cholesky,
    diagonal,
    inverse_from_cholesky,
    mirror_lower,
    namespace,
    solve_triangular,
)
from ..kernels._derivatives import Cotangents, cross_vector_jacobian, vector_jacobian
from ..kernels._recursion import cross_matrices, features, symmetric_matrices, variances
from .evidence import Hyperparameters, RegularizedEvidence

if TYPE_CHECKING:
    from .inducing_points import InducingData

# Jitter relative to the mean diagonal of K_mm: about the rounding error of a kernel
# entry.
JITTER = 1e-8


@dataclass(frozen=True)
class Basis:
    """Inducing points with the factor of their kernel matrix.

    point : Hyperparameters
    F : array (m, d + 1), features of the inducing points
    K : array (m, m)
    factor : array (m, m), lower Cholesky factor of K and a jitter
    """

    point: Hyperparameters
    F: Array
    K: Array
    factor: Array

    @classmethod
    def of(cls, inducing: Array, point: Hyperparameters) -> Self:
        """The basis at inducing points (m, d)."""
        F = features(inducing, point.network, point.metric_sqrt)
        K: Array = symmetric_matrices(F, point.network)[int(point.network.is_ntk)]
        jitter = JITTER * float(namespace(K).mean(diagonal(K)))
        try:
            factor = cholesky(add_to_diagonal(1.0 * K, jitter))
        except LinAlgError:
            raise LinAlgError(
                "The kernel matrix of the inducing points is not positive definite in "
                "double precision: lower n_inducing."
            ) from None
        return cls(point, F, K, factor)

    def project(self, X: Array) -> tuple[Array, Array]:
        """A = L^{-1} K_mb of rows X, and the diagonal of their kernel: (m, b), (b,)."""
        network = self.point.network
        F = features(X, network, self.point.metric_sqrt)
        v = variances(F, network)
        cross: Array = cross_matrices(F, self.F, network)[int(network.is_ntk)]
        prior = v.kernel(network.is_ntk)
        return solve_triangular(self.factor, cross.T), prior


@dataclass(frozen=True)
class SufficientStatistics:
    """What a bound needs to know of the rows: sums over them.

    gram : array (m, m), G
    projection : array (m, C), c
    squares : float, tr Y'WY
    prior : float, sum_i w_i K_ii
    size : float, sum of weights
    """

    gram: Array
    projection: Array
    squares: float
    prior: float
    size: float

    @classmethod
    def of(
        cls, basis: Basis, blocks: Iterable[tuple[Array, Array, Array | None]]
    ) -> "SufficientStatistics":
        """Sums over blocks (X, Y, weights or None), one in memory at a time."""
        total: SufficientStatistics | None = None
        for X, Y, weights in blocks:
            A, prior = basis.project(X)
            part = cls.of_block(A, prior, Y, weights)
            total = part if total is None else total + part
        return cast(SufficientStatistics, total)

    @classmethod
    def of_block(cls, A: Array, prior: Array, Y: Array, weights: Array | None) -> Self:
        """Of the rows whose projections (m, b) and prior variances (b,) are given."""
        xp, size = namespace(A), float(Y.shape[0])
        if weights is not None:
            root = xp.sqrt(weights)
            A, Y, prior = A * root, Y * root[:, None], prior * weights
            size = float(xp.sum(weights))
        squares, prior = float(xp.sum(Y * Y)), float(xp.sum(prior))
        return cls(A @ A.T, A @ Y, squares, prior, size)

    def __add__(self, other: "SufficientStatistics") -> "SufficientStatistics":
        return SufficientStatistics(
            self.gram + other.gram,
            self.projection + other.projection,
            self.squares + other.squares,
            self.prior + other.prior,
            self.size + other.size,
        )

    @property
    def unexplained(self) -> float:
        """Sum of the prior variances that the inducing points leave: tr W (K - Q)."""
        trace = float(namespace(self.gram).sum(diagonal(self.gram)))
        return max(self.prior - trace, 0.0)


@dataclass(frozen=True)
class CollapsedBound:
    """The bound at a noise variance, and what follows from its factor.

    factor : array (m, m), lower Cholesky factor of B
    solution : array (m, C), u = B^{-1} c
    value : float
    """

    factor: Array
    solution: Array
    value: float

    @classmethod
    def of(cls, statistics: SufficientStatistics, alpha: float) -> Self:
        """The bound from statistics; alpha is positive."""
        if not alpha > 0:
            raise LinAlgError("Inducing points need noise: raise alpha.")
        xp, c = namespace(statistics.gram), statistics.projection
        outputs = c.shape[1]
        factor = cholesky(add_to_diagonal(statistics.gram / alpha, 1.0))
        solution = cho_solve(factor, c)
        log_det = 2 * float(xp.sum(xp.log(diagonal(factor))))
        log_det += statistics.size * log(2 * pi * alpha)
        left = statistics.squares - float(xp.sum(c * solution)) / alpha
        left += outputs * statistics.unexplained
        return cls(factor, solution, -0.5 * (outputs * log_det + left / alpha))


class RegularizedBound(RegularizedEvidence):
    """`RegularizedEvidence` with the bound in place of the evidence.

    Parameters
    ----------
    data : InducingData
        With its inducing points chosen; they stay where they are.
    template, width, covariance_type, free :
        As in `RegularizedEvidence`.
    """

    data: "InducingData"

    def _evidence(
        self, point: Hyperparameters
    ) -> tuple[float, "_SummedRows", float, float]:
        data = self.data
        basis = Basis.of(data.inducing(), point)
        statistics = SufficientStatistics.of(basis, data.own_blocks())
        bound = CollapsedBound.of(statistics, point.alpha)
        slopes = _BoundGradient.of(basis, statistics, bound)
        total = slopes.inducing(data.inducing(), basis)
        for block in data.own_blocks():
            total = total + slopes.rows(data.inducing(), basis, *block)
        return bound.value, total, slopes.noise, slopes.readout


@dataclass(frozen=True)
class _SummedRows:
    """Cotangents summed over blocks, their rows forgotten.

    slope : array (d, d), derivative by Sigma
    """

    slope: Array
    bias_variance: float
    log_weight: float

    @classmethod
    def of(cls, cotangents: Cotangents, X: Array) -> Self:
        return cls(
            cotangents.covariance(X), cotangents.bias_variance, cotangents.log_weight
        )

    def __add__(self, other: "_SummedRows") -> "_SummedRows":
        return _SummedRows(
            self.slope + other.slope,
            self.bias_variance + other.bias_variance,
            self.log_weight + other.log_weight,
        )

    def covariance(self, X: Array, *, diagonal: bool = False) -> Array:
        """As `Cotangents.covariance`, which has been taken before: X is ignored."""
        if diagonal:
            return namespace(self.slope).linalg.diagonal(self.slope)
        return self.slope


@dataclass(frozen=True)
class _BoundGradient:
    """Slopes of -2 times the bound.

    K_mm : array (m, m), by the kernel matrix of the inducing points
    gain, shift : arrays (m, m) and (m, C), by K_mn: (gain A + shift Y') W
    prior : float, by w_i K_ii
    noise, readout : float, by the logarithms of noise and readout variance
    """

    K_mm: Array
    gain: Array
    shift: Array
    prior: float
    noise: float
    readout: float

    @classmethod
    def of(
        cls, basis: Basis, statistics: SufficientStatistics, bound: CollapsedBound
    ) -> Self:
        G, c, u = statistics.gram, statistics.projection, bound.solution
        xp, alpha, outputs = namespace(G), basis.point.alpha, c.shape[1]
        prior = outputs / alpha
        inverse = mirror_lower(inverse_from_cholesky(1.0 * bound.factor))
        by_G = u @ u.T / alpha**3 - prior * add_to_diagonal(-inverse, 1.0)
        by_c = -2 / alpha**2 * u
        half = solve_triangular(basis.factor, alpha * by_G + prior * G, transposed=True)
        K_mm = solve_triangular(basis.factor, half.T, transposed=True)
        trace = float(xp.mean(diagonal(K_mm)))
        fitted = float(xp.sum(u * (c + u))) / alpha**2
        rows = c.shape[0] - float(xp.sum(diagonal(inverse)))
        left = prior * statistics.unexplained
        return cls(
            add_to_diagonal(0.5 * (K_mm + K_mm.T), JITTER * trace),
            2 * solve_triangular(basis.factor, by_G, transposed=True),
            solve_triangular(basis.factor, by_c, transposed=True),
            prior,
            outputs * (statistics.size - rows)
            - statistics.squares / alpha
            + fitted
            - left,
            float(xp.sum(by_G * G) + 0.5 * xp.sum(by_c * c)) + prior * statistics.prior,
        )

    def inducing(self, Z: Array, basis: Basis) -> _SummedRows:
        """Cotangents that reach the kernel through K_mm."""
        network = basis.point.network
        found = vector_jacobian(
            Z,
            basis.F,
            network,
            variances(basis.F, network),
            lambda i, j: 1.0 * self.K_mm[i, j],
            diagonal(self.K_mm),
        )
        return _SummedRows.of(found, Z)

    def rows(
        self, Z: Array, basis: Basis, X: Array, Y: Array, weights: Array | None
    ) -> _SummedRows:
        """Cotangents that reach it through the rows of a block."""
        A, prior = basis.project(X)
        cotangent = (self.gain @ A + self.shift @ Y.T).T
        on_diagonal = 0 * prior + self.prior
        if weights is not None:
            cotangent, on_diagonal = (
                cotangent * weights[:, None],
                on_diagonal * weights,
            )
        xp, network = namespace(A), basis.point.network
        both = xp.concat([X, Z], axis=0)
        F = features(both, network, basis.point.metric_sqrt)
        found = cross_vector_jacobian(
            both, F, X.shape[0], network, cotangent, on_diagonal
        )
        return _SummedRows.of(found, both)
