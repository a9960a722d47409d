"""Targets in the eigenbasis of a kernel matrix, on which the theories work."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ..._arrays import Array, eigh, namespace, to_numpy
from .._checks import check_noise, check_width

# Smallest noise variance with a singular kernel matrix, relative to its largest
# eigenvalue: the fourth power is 1e-300, near the smallest number.
_LEAST_NOISE = 1e-75


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a kernel matrix K0 = V diag(lam) V', and targets in its basis.

    Make it once with :meth:`of_kernel`, in O(n^3), or :meth:`of_features`. Every
    theory, noise, width and scaling then costs O(n).

    Attributes
    ----------
    eigenvalues : ndarray (r,)
        lam, not negative.
    vectors : array (n, r)
        V, orthonormal columns.
    projections : ndarray (r, C)
        V'Y.
    null_rows : int
        Number n - r of directions in which the kernel is zero.
    null_squares : ndarray (C, C)
        R'R, where R = Y - V V'Y is the part of the targets in these directions.
    """

    eigenvalues: np.ndarray
    vectors: Array
    projections: np.ndarray
    null_rows: int
    null_squares: np.ndarray

    @classmethod
    def of_kernel(cls, K: Array, Y: Array) -> Self:
        """Decompose a symmetric kernel matrix (n, n); targets are (n,) or (n, C)."""
        values, vectors = eigh(K)
        values, Y = to_numpy(values), _columns(Y)
        outputs = Y.shape[1]
        return cls(
            # Rounding errors of zero eigenvalues could be larger than a small noise.
            eigenvalues=np.where(values > _rounding(values), values, 0.0),
            vectors=vectors,
            projections=to_numpy(vectors.T @ Y),
            null_rows=0,
            null_squares=np.zeros((outputs, outputs)),
        )

    @classmethod
    def of_features(cls, F: Array, Y: Array) -> Self:
        """Decompose K0 = F F' of features (n, p), in O(n p min(n, p)) operations."""
        xp, Y = namespace(F), _columns(Y)
        vectors, values, _ = xp.linalg.svd(F, full_matrices=False)
        projections = vectors.T @ Y
        rest = Y - vectors @ projections
        return cls(
            to_numpy(values) ** 2,
            vectors,
            to_numpy(projections),
            F.shape[0] - vectors.shape[1],
            to_numpy(rest.T @ rest),
        )

    @property
    def outputs(self) -> int:
        """Number C of outputs."""
        return self.projections.shape[1]

    def scaled(self, factor: float) -> Self:
        """The spectrum of `factor` K0."""
        return replace(self, eigenvalues=factor * self.eigenvalues)

    def rotated(self, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Projections (r, C) and null squares (C,) of the targets Y R."""
        null = np.sum(rotation * (self.null_squares @ rotation), axis=0)
        return self.projections @ rotation, null

    def check(self, noise: float, width: float) -> None:
        """Raise ValueError if no theory applies, as for a singular K0 + noise."""
        check_width(width)
        check_noise(noise)
        smallest = 0.0 if self.null_rows else np.min(self.eigenvalues)
        # Theories divide by the fourth power of the noise.
        no_noise = not noise > _LEAST_NOISE * np.max(self.eigenvalues)
        if no_noise and not smallest > _rounding(self.eigenvalues):
            raise ValueError(
                "The kernel matrix is singular, so the noise variance must be "
                f"positive, and not as small as {noise:.1g}: raise alpha."
            )


def _rounding(eigenvalues):
    return len(eigenvalues) * np.finfo(float).eps * np.max(eigenvalues)


def _columns(Y):
    return Y[:, None] if Y.ndim == 1 else Y
