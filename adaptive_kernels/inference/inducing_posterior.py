"""Posterior of a function through inducing points."""

from dataclasses import dataclass, replace
from typing import Self

from .._arrays import (
    Array,
    diagonal,
    inverse_from_cholesky,
    namespace,
    solve_triangular,
)
from .collapsed_bound import Basis, CollapsedBound, SufficientStatistics
from .evidence import Data, Hyperparameters
from .inducing_points import InducingData
from .posterior import KernelPosterior


@dataclass
class InducingPosterior(KernelPosterior):
    """Posterior of f given the targets of all rows, through the inducing points.

    point : Hyperparameters
    inducing : array (m, d)
    F : array (m, d + 1), features of the inducing points
    factor : array (m, m), lower Cholesky factor L of their kernel matrix
    inner : array (m, m), lower Cholesky factor of B = I + G / alpha, with the gram
        matrix G of `collapsed_bound.py`
    dual : array (m, C), coefficients of the kernel with the inducing points
    effective : float, effective degrees of freedom
    """

    point: Hyperparameters
    inducing: Array
    F: Array
    factor: Array
    inner: Array
    dual: Array
    effective: float

    @classmethod
    def fit(cls, data: InducingData, point: Hyperparameters) -> tuple[Self, float]:
        """The posterior and the lower bound on the log evidence."""
        data, basis, statistics = data.sufficient_statistics(point)
        return cls.of(data.inducing(), basis, statistics, point.alpha)

    @classmethod
    def of(
        cls,
        inducing: Array,
        basis: Basis,
        statistics: SufficientStatistics,
        alpha: float,
    ) -> tuple[Self, float]:
        """Like `fit`, from sums over the rows and a noise variance."""
        bound = CollapsedBound.of(statistics, alpha)
        half = solve_triangular(basis.factor, bound.solution, transposed=True)
        # The copy is overwritten: the posterior keeps the factor.
        inverse_diagonal = diagonal(inverse_from_cholesky(1.0 * bound.factor))
        # Tr[(Q + noise)^{-1} Q] = m - tr B^{-1}
        trace = float(namespace(inverse_diagonal).sum(inverse_diagonal))
        effective = inverse_diagonal.shape[0] - trace
        posterior = cls(
            replace(basis.point, alpha=alpha),
            inducing,
            basis.F,
            basis.factor,
            bound.factor,
            half / alpha,
            effective,
        )
        return posterior, bound.value

    def inducing_points(self) -> Array:
        """Inducing points (m, d)."""
        return self.inducing

    def is_exact(self) -> bool:
        """False: it was fitted through inducing points."""
        return False

    def effective_dof(self, data: Data) -> float:
        """Tr[(Q + noise)^{-1} Q] per output, Q = A'A the kernel by inducing points."""
        return self.effective

    def _halves(self, cross: Array) -> tuple[Array, Array]:
        half = solve_triangular(self.factor, cross.T)
        return half, solve_triangular(self.inner, half)

    def _spread(self, cross: Array, prior: Array) -> Array:
        half, inner = self._halves(cross)
        xp = namespace(cross)
        spread = prior - xp.sum(half * half, axis=0) + xp.sum(inner * inner, axis=0)
        return spread[:, None] + 0 * self.dual[:1, :]

    def _joint_spread(self, cross: Array, prior: Array) -> Array:
        half, inner = self._halves(cross)
        covariance = prior - half.T @ half + inner.T @ inner
        return covariance[:, :, None] + 0 * self.dual[:1, :]
