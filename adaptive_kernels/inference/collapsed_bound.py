"""Inducing points: a lower bound of the evidence in O(n m^2) time, and its posterior.

With m inducing points Z, K_mm = L L', A = L^{-1} K_mn, weights W, noise alpha / w, and
the additive statistics G = A W A', c = A W Y, the targets of C outputs have

    log evidence >= - (C / 2) [log det B + sum(w) log(2 pi alpha)]
                    - [tr Y'WY - tr c'B^{-1}c / alpha] / (2 alpha)
                    - C [sum_i w_i K_ii - tr G] / (2 alpha),    B = I + G / alpha.

A row of weight w counts like w repeated rows. The mean is that of the deterministic
training conditional, K_*m L^{-T} B^{-1} c / alpha. In the objective of `evidence.py`
the bound takes the place of the evidence.

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

# Jitter relative to the mean diagonal of K_mm. The largest rounding errors of a kernel
# are of this size: the square root of machine precision, for rows that nearly repeat.
JITTER = 1e-8


@dataclass(frozen=True)
class Basis:
    """Inducing points with the factor of their kernel matrix.

    point : Hyperparameters
    F : array (m, d + 1), features of the inducing points
    K : array (m, m)
    factor : array (m, m), lower Cholesky factor L of K plus a jitter
    """

    point: Hyperparameters
    F: Array
    K: Array
    factor: Array

    @classmethod
    def of(cls, inducing: Array, point: Hyperparameters) -> Self:
        """Make the basis of inducing points (m, d)."""
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
    """Sums over rows, from which the bound is computed.

    gram : array (m, m), G
    projection : array (m, C), c
    squares : array (C,), diagonal of Y'WY
    prior : float, sum_i w_i K_ii
    size : float, sum of weights
    """

    gram: Array
    projection: Array
    squares: Array
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
        """Sums over rows with projections A (m, b) and prior variances (b,)."""
        xp, size = namespace(A), float(Y.shape[0])
        if weights is not None:
            root = xp.sqrt(weights)
            A, Y, prior = A * root, Y * root[:, None], prior * weights
            size = float(xp.sum(weights))
        squares = xp.sum(Y * Y, axis=0)
        return cls(A @ A.T, A @ Y, squares, float(xp.sum(prior)), size)

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
        """Prior variance that the inducing points do not represent: tr W (K - Q)."""
        trace = float(namespace(self.gram).sum(diagonal(self.gram)))
        return max(self.prior - trace, 0.0)


@dataclass(frozen=True)
class CollapsedBound:
    """The bound at a noise variance, with the factor of B.

    factor : array (m, m), lower Cholesky factor of B
    solution : array (m, C), u = B^{-1} c
    value : float
    """

    factor: Array
    solution: Array
    value: float

    @classmethod
    def of(cls, statistics: SufficientStatistics, alpha: float) -> Self:
        """Compute the bound from sums over rows; alpha must be positive."""
        if not alpha > 0:
            raise LinAlgError("Inducing points need noise: raise alpha.")
        xp, c = namespace(statistics.gram), statistics.projection
        outputs = c.shape[1]
        factor = cholesky(add_to_diagonal(statistics.gram / alpha, 1.0))
        solution = cho_solve(factor, c)
        # log det B + sum(w) log(2 pi alpha)
        log_det = 2 * float(xp.sum(xp.log(diagonal(factor))))
        log_det += statistics.size * log(2 * pi * alpha)
        # tr Y'WY - tr c'B^{-1}c / alpha + C [sum_i w_i K_ii - tr G]
        left = float(xp.sum(statistics.squares) - xp.sum(c * solution) / alpha)
        left += outputs * statistics.unexplained
        return cls(factor, solution, -0.5 * (outputs * log_det + left / alpha))


class RegularizedBound(RegularizedEvidence):
    """`RegularizedEvidence` with the bound in place of the evidence.

    Parameters
    ----------
    data : InducingData
        Rows with their inducing points chosen. The points stay fixed.
    template : Hyperparameters
        Values of the hyperparameters that are not in the vector.
    width : float
        Number of hidden units; infinite drops the covariance from the vector.
    covariance_type : {"diag", "full"} or None
        Shape of the learned weight covariance.
    free : sequence of str
        Hyperparameters in the vector, as logarithms.
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
    """Derivatives summed over blocks of rows, with the interface of `Cotangents`.

    slope : array (d, d), derivative by Sigma
    bias_variance : float, derivative by the bias variance
    log_weight : float, derivative by the log weight variance of the later layers
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
        """Derivative by Sigma, (d, d) or its diagonal (d,). X is not used again."""
        if diagonal:
            return namespace(self.slope).linalg.diagonal(self.slope)
        return self.slope


@dataclass(frozen=True)
class _BoundGradient:
    """Derivatives of -2 times the bound.

    K_mm : array (m, m), by the kernel matrix of the inducing points
    gain, shift : arrays (m, m) and (m, C); the derivative by K_mn is
        (gain A + shift Y') W
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
        """Differentiate by G and c first, then by what they depend on."""
        G, c, u = statistics.gram, statistics.projection, bound.solution
        xp, alpha, outputs = namespace(G), basis.point.alpha, c.shape[1]
        prior = outputs / alpha
        inverse = mirror_lower(inverse_from_cholesky(1.0 * bound.factor))  # B^{-1}
        # By G: u u' / alpha^3 - (C / alpha) (I - B^{-1}); by c: -2 u / alpha^2.
        by_G = u @ u.T / alpha**3 - prior * add_to_diagonal(-inverse, 1.0)
        by_c = -2 / alpha**2 * u
        # By A: (2 by_G A + by_c Y') W. As A = L^{-1} K_mn, by K_mn: L^{-T} times this.
        gain = 2 * solve_triangular(basis.factor, by_G, transposed=True)
        shift = solve_triangular(basis.factor, by_c, transposed=True)
        # By K_mm: -L^{-T} (by_G G + by_c c' / 2) L^{-1}. Because c = u + G u / alpha,
        # the bracket is -[alpha by_G + (C / alpha) G].
        half = solve_triangular(basis.factor, alpha * by_G + prior * G, transposed=True)
        K_mm = solve_triangular(basis.factor, half.T, transposed=True)
        # The jitter is JITTER times the mean diagonal of K_mm, and depends on K_mm too.
        jitter = JITTER * float(xp.mean(diagonal(K_mm)))
        # By log alpha: C [sum(w) - tr(I - B^{-1})] - tr Y'WY / alpha
        #               + tr u'(c + u) / alpha^2 - C tr W (K - Q) / alpha
        fitted = float(xp.sum(u * (c + u))) / alpha**2
        rows = c.shape[0] - float(xp.sum(diagonal(inverse)))
        left = prior * statistics.unexplained
        noise = outputs * (statistics.size - rows)
        noise = noise - float(xp.sum(statistics.squares)) / alpha + fitted - left
        # By log readout: G and the K_ii are proportional to it, c to its square root.
        readout = float(xp.sum(by_G * G) + 0.5 * xp.sum(by_c * c))
        return cls(
            K_mm=add_to_diagonal(0.5 * (K_mm + K_mm.T), jitter),
            gain=gain,
            shift=shift,
            prior=prior,
            noise=noise,
            readout=readout + prior * statistics.prior,
        )

    def inducing(self, Z: Array, basis: Basis) -> _SummedRows:
        """Derivatives through K_mm, of the inducing points Z (m, d)."""
        network = basis.point.network
        found = vector_jacobian(
            Z,
            basis.F,
            network,
            variances(basis.F, network),
            lambda i, j: 1.0 * self.K_mm[i, j],  # a copy, which is overwritten
            diagonal(self.K_mm),
        )
        return _SummedRows.of(found, Z)

    def rows(
        self, Z: Array, basis: Basis, X: Array, Y: Array, weights: Array | None
    ) -> _SummedRows:
        """Derivatives through K_mb and the prior variances of a block of rows."""
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
