"""Posterior of a function at new rows, and that of a Gaussian process."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

from .._arrays import Array, clip_diagonal, namespace, solve_triangular
from ..kernels._recursion import (
    Network,
    cross_matrices,
    each_cross_block,
    features,
    slices_of,
    symmetric_matrices,
    variances,
)
from .evidence import Data, Hyperparameters, kernel_factor, log_evidence
from .factorization import inverse_diagonal, leave_one_out

_ROWS = 512


class Posterior(ABC):
    """Interface of all posteriors of a function, at fixed hyperparameters.

    Attributes are `point`, the Hyperparameters, and `dual`, coefficients (n, C). A
    posterior of all training rows has two more methods: `evidence(data, point)` is the
    log evidence of the targets at another point, and `leave_one_out(data)` the mean
    (n, C) and variance (n, C) of f at each row given the other rows.
    """

    point: Hyperparameters
    dual: Array

    @property
    def network(self) -> Network:
        """Architecture and variances of the kernel."""
        return self.point.network

    @property
    def scale(self) -> float | Array:
        """Scale of the kernel in theories that rescale it; one in all others."""
        return 1.0

    @property
    def converged(self) -> bool:
        """Whether the theory's equations were solved; true where there are none."""
        return True

    def features(self, X: Array) -> Array:
        """Features of new rows: (m, d + 1)."""
        return features(X, self.network, self.point.metric_sqrt)

    @abstractmethod
    def mean(self, X: Array) -> Array:
        """Mean (m, C) at new rows."""

    @abstractmethod
    def variance(self, X: Array) -> tuple[Array, Array]:
        """Mean (m, C) and variance (m, C)."""

    @abstractmethod
    def covariance(self, X: Array) -> tuple[Array, Array]:
        """Mean (m, C) and covariance (m, m, C)."""

    @abstractmethod
    def effective_dof(self, data: Data) -> float:
        """Effective degrees of freedom, per output."""

    def observation_noise(self) -> float | Array:
        """Noise variance of new observations: a number, or one (C,) for each output."""
        return self.point.alpha

    def inducing_points(self) -> Array | None:
        """The inducing points (m, d), or None if all rows were used."""
        return None

    def is_exact(self) -> bool:
        """Whether it is that of all rows together, at any hyperparameters."""
        return True

    def weight_covariance(self, data: Data) -> Array | None:
        """Covariance (d, d) of input weights relative to the metric of `point`.

        None if the metric is all that the posterior contains of it.
        """
        return None


class KernelPosterior(Posterior):
    """Posterior whose mean is a sum of kernels with some rows, K(x, x_i) dual_i.

    It has one more attribute, `F`, the features of these rows. Subclasses implement
    `_spread` and `_joint_spread`: variance and covariance at new rows, from the kernel
    with these rows and the prior variance or covariance of the new rows.
    """

    F: Array

    def mean(self, X: Array) -> Array:
        """Mean (m, C), streamed: never more than a block of the (m, n) kernel."""
        F, network = self.features(X), self.network
        mean = namespace(X).zeros_like(F[:, :1]) * self.dual[:1, :]

        def take(i: slice, j: slice, nngp: Array, ntk: Array | None) -> None:
            mean[i, :] += (ntk if network.is_ntk else nngp) @ self.dual[j, :]

        each_cross_block(F, self.F, network, take)
        return mean

    def variance(self, X: Array) -> tuple[Array, Array]:
        """Mean (m, C) and variance (m, C), in blocks of rows."""
        parts = [self._block(X[i, :]) for i in slices_of(X.shape[0], _ROWS)]
        xp = namespace(X)
        return tuple(xp.concat(part, axis=0) for part in zip(*parts, strict=True))

    def _block(self, X: Array) -> tuple[Array, Array]:
        F = self.features(X)
        cross = self.cross(F)
        xp, v = namespace(F), variances(F, self.network)
        prior = v.kernel(self.network.is_ntk)
        return cross @ self.dual, xp.maximum(
            self._spread(cross, prior), 0 * prior[:, None]
        )

    def covariance(self, X: Array) -> tuple[Array, Array]:
        """Mean (m, C) and covariance (m, m, C)."""
        F = self.features(X)
        cross = self.cross(F)
        prior = symmetric_matrices(F, self.network)[int(self.network.is_ntk)]
        return cross @ self.dual, clip_diagonal(self._joint_spread(cross, prior))

    def cross(self, F: Array) -> Array:
        """Kernel between new and training rows, given features: (m, n)."""
        return cross_matrices(F, self.F, self.network)[int(self.network.is_ntk)]

    @abstractmethod
    def _spread(self, cross: Array, prior: Array) -> Array:
        """Variance (m, C) from the kernel (m, n) and the prior variance (m,)."""

    @abstractmethod
    def _joint_spread(self, cross: Array, prior: Array) -> Array:
        """Covariance (m, m, C) from the kernel (m, n) and the prior's (m, m)."""


@dataclass
class GaussianPosterior(KernelPosterior):
    """Posterior mean and variance of f under K(Sigma), hyperparameters fixed.

    point : Hyperparameters
    F : array (n, d + 1), features of the training rows
    factor : array (n, n), lower Cholesky factor of K + noise
    dual : array (n, C)
    """

    point: Hyperparameters
    F: Array
    factor: Array
    dual: Array

    @classmethod
    def fit(cls, data: Data, point: Hyperparameters) -> tuple[Self, float]:
        """The posterior and the log evidence of the training targets."""
        F, _, factored = kernel_factor(data, point)
        posterior = cls(point, F, factored.factor, factored.dual)
        evidence = factored.log_evidence + data.weight_term(point.alpha)[0]
        return posterior, evidence

    def evidence_terms(
        self, data: Data, point: Hyperparameters
    ) -> Iterator[tuple[Data, Hyperparameters]]:
        """Pairs (data, point) whose log evidences sum to that of the targets."""
        yield data, point

    def evidence(self, data: Data, point: Hyperparameters) -> float:
        """Log evidence of the targets at another point."""
        return log_evidence(data, point)

    def leave_one_out(self, data: Data) -> tuple[Array, Array]:
        """Mean (n, C) and variance (n, C) of f at each row given the other rows."""
        mean, variance = leave_one_out(kernel_factor(data, self.point)[2], data.Y)
        spread = variance - data.noise(self.point.alpha)
        return mean, spread[:, None] + 0 * mean

    def effective_dof(self, data: Data) -> float:
        """Tr[(K + noise)^{-1} K], per output."""
        inverse = inverse_diagonal(self.factor)
        kept = inverse * data.noise(self.point.alpha)
        return kept.shape[0] - float(namespace(kept).sum(kept))

    def _spread(self, cross: Array, prior: Array) -> Array:
        half = solve_triangular(self.factor, cross.T)
        xp = namespace(cross)
        spread = prior - xp.sum(half * half, axis=0)
        return spread[:, None] + 0 * self.dual[:1, :]

    def _joint_spread(self, cross: Array, prior: Array) -> Array:
        half = solve_triangular(self.factor, cross.T)
        covariance = prior - half.T @ half
        return covariance[:, :, None] + 0 * self.dual[:1, :]
