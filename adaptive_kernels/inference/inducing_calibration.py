"""Leave-one-out predictions of class labels through inducing points."""

from dataclasses import dataclass
from typing import Self

from .._arrays import Array, namespace, solve_triangular
from .collapsed_bound import Basis, CollapsedBound, SufficientStatistics
from .evidence import Hyperparameters
from .inducing_points import LEAST_REST, InducingData
from .inducing_posterior import InducingPosterior


@dataclass(frozen=True)
class InducingClasses:
    """Sampled rows to leave out one by one, and sums over all rows.

    It is to a posterior through inducing points what `class_calibration.ExactClasses`
    is to an exact one.

    held_out : InducingData, the sampled rows, with centred one-hot labels as targets
    basis : Basis
    statistics : SufficientStatistics
    projected : array (m, n), A = L^{-1} K_mn of the sampled rows
    prior : array (n,), their prior variances
    """

    held_out: InducingData
    basis: Basis
    statistics: SufficientStatistics
    projected: Array
    prior: Array

    @classmethod
    def of(cls, data: InducingData, point: Hyperparameters) -> Self:
        """Choose inducing points at a point, and sum over all rows."""
        data, basis, statistics = data.sufficient_statistics(point)
        return cls(data, basis, statistics, *basis.project(data.X))

    @property
    def point(self) -> Hyperparameters:
        """Kernel and noise."""
        return self.basis.point

    def leave_one_out(self, noise: float) -> tuple[Array, Array]:
        """Mean (n, C) and variance (n,) of f at each sampled row given all other rows.

        Given all rows, a row of projection a (its column of A), target y and weight w
        has with B and c of `collapsed_bound.py`

            mean m = a'B^{-1}c / noise,    variance = K_ii - a'a + v,    v = a'B^{-1}a.

        Its leverage is h = dm/dy = v w / noise. Without the row itself

            mean = (m - h y) / (1 - h),    variance = K_ii - a'a + v / (1 - h).
        """
        A, xp = self.projected, namespace(self.projected)
        bound = CollapsedBound.of(self.statistics, noise)
        fitted = A.T @ bound.solution / noise
        half = solve_triangular(bound.factor, A)
        v = xp.sum(half * half, axis=0)
        leverage = v / self.held_out.noise(noise)
        rest = xp.maximum(1 - leverage, 0 * leverage + LEAST_REST)[:, None]
        mean = (fitted - leverage[:, None] * self.held_out.Y) / rest
        return mean, self.prior - xp.sum(A * A, axis=0) + v / rest[:, 0]

    def posterior(self, noise: float) -> InducingPosterior:
        """Posterior of f given all rows."""
        inducing = self.held_out.inducing()
        return InducingPosterior.of(inducing, self.basis, self.statistics, noise)[0]
