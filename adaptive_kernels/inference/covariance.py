"""Covariance models: the root R of the metric M = R R' as a vector to optimise.

In the metric of the kernel the prior of a hidden unit's input weights is N(0, I). Their
posterior is modelled as N(0, M).
"""

from abc import ABC, abstractmethod
from math import inf

import numpy as np

# They keep the logarithms finite. The KL divergence keeps fitted entries inside.
METRIC_BOUNDS = (1e-9, 1e7)


class CovarianceModel(ABC):
    """A covariance as a vector for the optimizer, with its divergence and gradients.

    d : int, number of features
    """

    def __init__(self, d: int) -> None:
        self.d = d

    @abstractmethod
    def root(self, given: np.ndarray | None) -> np.ndarray:
        """Convert a root, None, (d,) or (d, d), to the shape of this model."""

    @abstractmethod
    def pack(self, R: np.ndarray) -> np.ndarray:
        """Convert a root to the vector; entries that are positive as logarithms."""

    @abstractmethod
    def unpack(self, vector: np.ndarray) -> np.ndarray:
        """Convert the vector to a root."""

    @abstractmethod
    def divergence(self, R: np.ndarray) -> tuple[float, np.ndarray]:
        """KL(N(0, M) || N(0, I)) = (tr M - log det M - d) / 2, and its d/dR."""

    @abstractmethod
    def gradient(self, slope: np.ndarray, R: np.ndarray) -> np.ndarray:
        """d/dR of an objective with d/dM = slope: 2 slope R."""

    @abstractmethod
    def to_vector(self, gradient: np.ndarray, R: np.ndarray) -> np.ndarray:
        """Convert d/dR to the derivative by the vector."""

    @abstractmethod
    def box(self) -> list[tuple[float, float]]:
        """Lower and upper bounds of the entries of the vector."""


class DiagonalCovariance(CovarianceModel):
    """M = diag(R^2), R (d,); the vector is log R^2."""

    def root(self, given: np.ndarray | None) -> np.ndarray:
        """Square roots (d,) of the diagonal of M; ones without a metric."""
        if given is None:
            return np.ones(self.d)
        return given if given.ndim == 1 else np.sqrt(np.sum(given**2, axis=1))

    def pack(self, R: np.ndarray) -> np.ndarray:
        """The logarithms of the variances."""
        return 2 * np.log(R)

    def unpack(self, vector: np.ndarray) -> np.ndarray:
        """Standard deviations (d,)."""
        return np.exp(vector / 2)

    def divergence(self, R: np.ndarray) -> tuple[float, np.ndarray]:
        """KL = sum_i (R_i^2 - 2 log R_i - 1) / 2, and its derivative R - 1 / R."""
        return 0.5 * float(np.sum(R**2 - 2 * np.log(R) - 1)), R - 1 / R

    def gradient(self, slope: np.ndarray, R: np.ndarray) -> np.ndarray:
        """2 slope R, from a diagonal slope (d,)."""
        return 2 * slope * R

    def to_vector(self, gradient: np.ndarray, R: np.ndarray) -> np.ndarray:
        """Multiply by dR / d(log R^2) = R / 2."""
        return gradient * R / 2

    def box(self) -> list[tuple[float, float]]:
        """Bounds of the logarithms."""
        return [tuple(np.log(METRIC_BOUNDS))] * self.d


class FullCovariance(CovarianceModel):
    """M = R R', R lower triangular (d, d); its diagonal as logarithms."""

    def __init__(self, d: int) -> None:
        super().__init__(d)
        self._lower = np.tril_indices(d)

    def root(self, given: np.ndarray | None) -> np.ndarray:
        """A matrix (d, d); the identity without a metric."""
        if given is None:
            return np.eye(self.d)
        return np.diag(given) if given.ndim == 1 else given

    def pack(self, R: np.ndarray) -> np.ndarray:
        """The lower triangle, row by row, with the logarithm of the diagonal."""
        R = R.copy()
        np.fill_diagonal(R, np.log(np.diag(R)))
        return R[self._lower]

    def unpack(self, vector: np.ndarray) -> np.ndarray:
        """The lower triangular root (d, d)."""
        R = np.zeros((self.d, self.d))
        R[self._lower] = vector
        np.fill_diagonal(R, np.exp(np.diag(R)))
        return R

    def divergence(self, R: np.ndarray) -> tuple[float, np.ndarray]:
        """KL with log det M = 2 sum_i log R_ii, and its derivative R - diag(1 / R)."""
        pivots = np.diag(R)
        value = 0.5 * float(np.sum(R**2) - np.sum(2 * np.log(pivots) + 1))
        return value, R - np.diag(1 / pivots)

    def gradient(self, slope: np.ndarray, R: np.ndarray) -> np.ndarray:
        """2 slope R, from a slope (d, d)."""
        return 2 * slope @ R

    def to_vector(self, gradient: np.ndarray, R: np.ndarray) -> np.ndarray:
        """Multiply the diagonal by dR_ii / d(log R_ii) = R_ii, in place."""
        np.fill_diagonal(gradient, np.diag(gradient) * np.diag(R))
        return gradient[self._lower]

    def box(self) -> list[tuple[float, float]]:
        """Bounds of the logarithms of the diagonal; none for other entries."""
        low, high = np.log(METRIC_BOUNDS)
        box = []
        for i in range(self.d):
            box += [(-inf, inf)] * i + [(low / 2, high / 2)]
        return box


MODELS: dict[str, type[CovarianceModel]] = {
    "diag": DiagonalCovariance,
    "full": FullCovariance,
}


def kl_from_prior(R: np.ndarray) -> float:
    """KL(N(0, M) || N(0, I)) for the root of M, (d,) or (d, d)."""
    model = MODELS["diag" if R.ndim == 1 else "full"]
    return model(R.shape[0]).divergence(R)[0]
