"""Preconditioning: coordinates in which second derivatives are the identity.

A run of the optimizer on more rows starts where one on fewer rows has ended. Curvature
grows with the number of observations, so that what L-BFGS has learned on fewer rows is
used again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np

# Entries of more than this many are too many for a matrix of them all.
MOST = 500
# Entries nearer to a bound than this keep a coordinate of their own, and the bound.
MARGIN = 2.0
# Tolerance for rounding when a vector is converted to preconditioned coordinates and
# back.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Preconditioner:
    """x = origin + transform z; bounds of z hold for entries near those of x.

    origin : ndarray (p,)
    transform : ndarray (p, p) or None, the identity
    inverse : ndarray (p, p) or None
    box : ndarray (p, 2), bounds of z
    limits : ndarray (p, 2), bounds of x
    """

    origin: np.ndarray
    transform: np.ndarray | None
    inverse: np.ndarray | None
    box: np.ndarray
    limits: np.ndarray

    @classmethod
    def of(
        cls, origin: np.ndarray, limits: np.ndarray, curvature: np.ndarray | None = None
    ) -> Self:
        """Coordinates about a point, given the second derivatives there, if known."""
        plain = cls(0 * origin, None, None, limits, limits)
        if curvature is None:
            return plain
        far = np.min(np.abs(limits - origin[:, None]), axis=1) > MARGIN
        block = np.ix_(far, far)
        try:
            root = np.linalg.cholesky(curvature[block]).T
        except np.linalg.LinAlgError:
            return plain
        inverse = np.diag(np.sqrt(np.abs(np.diag(curvature))))
        inverse[block] = root
        box = (limits - origin[:, None]) * np.diag(inverse)[:, None]
        box[far] = -np.inf, np.inf
        return cls(origin, np.linalg.inv(inverse), inverse, box, limits)

    def to_preconditioned(self, point: np.ndarray) -> np.ndarray:
        """Coordinates z of a point x."""
        if self.transform is None:
            return point
        return self.inverse @ (point - self.origin)

    def to_original(self, z: np.ndarray) -> np.ndarray:
        """The point x at coordinates z."""
        return z if self.transform is None else self.origin + self.transform @ z

    def inside(self, point: np.ndarray) -> bool:
        """Whether no bound is passed by more than rounding."""
        low, high = self.limits.T
        return bool(np.all((point >= low - ROUNDING) & (point <= high + ROUNDING)))

    def free(self, point: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Which entries of a point can move against the gradient without a bound."""
        low, high = self.limits.T
        up, down = gradient < 0, gradient > 0
        return ((point > low + ROUNDING) | up) & ((point < high - ROUNDING) | down)

    def gradient_to_preconditioned(self, gradient: np.ndarray) -> np.ndarray:
        """Gradient with respect to z, from that with respect to x."""
        return gradient if self.transform is None else self.transform.T @ gradient

    def gradient_to_original(self, gradient: np.ndarray) -> np.ndarray:
        """Gradient with respect to x, from that with respect to z."""
        return (
            gradient
            if self.transform is None
            else cast(np.ndarray, self.inverse).T @ gradient
        )


def updated(
    curvature: np.ndarray | None,
    points: Sequence[np.ndarray],
    gradients: Sequence[np.ndarray],
) -> np.ndarray | None:
    """Second derivatives after steps along which the gradient is known.

    BFGS updates, one for each step. If no curvature is given, they start from the
    identity times the smallest curvature along a step, since other directions are
    likely flat.

    Parameters
    ----------
    curvature : ndarray (p, p) or None, what was known before
    points, gradients : sequences of ndarrays (p,), in the order of the steps

    Returns
    -------
    ndarray (p, p), or None if nothing was known and nothing has been learned
    """
    pairs = list(zip(np.diff(points, axis=0), np.diff(gradients, axis=0), strict=True))
    pairs = [(s, y) for s, y in pairs if s @ y > 0]
    if curvature is None and pairs:
        least = min((s @ y) / (s @ s) for s, y in pairs)
        curvature = least * np.eye(len(pairs[0][0]))
    for s, y in pairs:
        turned = curvature @ s
        curvature = curvature - np.outer(turned, turned) / (s @ turned)
        curvature = curvature + np.outer(y, y) / (s @ y)
    return curvature
