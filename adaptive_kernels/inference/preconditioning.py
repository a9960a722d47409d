"""Preconditioning: coordinates in which second derivatives are the identity.

A run of the optimizer on more rows starts where a run on fewer rows has ended. The
curvature is proportional to the number of observations, so the curvature that L-BFGS
has learned on fewer rows is used again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import numpy as np

# Largest number of entries for which a matrix of curvature is kept: 2 MB of memory, and
# matrix products that cost little beside a factorisation.
MOST = 500
# An entry nearer to a bound than this is not mixed with others, so that its bound still
# applies. Entries are logarithms: this is a factor of e^2 = 7. Chosen by hand; other
# values have not been measured.
MARGIN = 2.0
# Tolerance for rounding when a vector is converted to preconditioned coordinates and
# back.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Preconditioner:
    """Linear change of coordinates, x = origin + transform z.

    origin : ndarray (p,)
    transform : ndarray (p, p) or None, the identity
    inverse : ndarray (p, p) or None, of the transform
    box : ndarray (p, 2), bounds of z, finite only where x starts near a bound
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
        """Coordinates in which the second derivatives at a point are the identity.

        With the curvature H = L L', these are z = L' (x - origin). Entries of x near a
        bound are not mixed with others: each is only scaled by the root of its own
        second derivative, and so are its bounds. Without a usable curvature z is x.

        origin : ndarray (p,), the point
        limits : ndarray (p, 2), bounds of x
        curvature : ndarray (p, p) or None, H
        """
        plain = cls(0 * origin, None, None, limits, limits)
        if curvature is None:
            return plain
        far = np.min(np.abs(limits - origin[:, None]), axis=1) > MARGIN
        far_block = np.ix_(far, far)
        try:
            inverse = np.diag(np.sqrt(np.abs(np.diag(curvature))))
            inverse[far_block] = np.linalg.cholesky(curvature[far_block]).T
            transform = np.linalg.inv(inverse)
        except np.linalg.LinAlgError:
            return plain
        box = (limits - origin[:, None]) * np.diag(inverse)[:, None]
        box[far] = -np.inf, np.inf
        return cls(origin, transform, inverse, box, limits)

    def to_preconditioned(self, point: np.ndarray) -> np.ndarray:
        """Convert a point x to z."""
        if self.transform is None:
            return point
        return self.inverse @ (point - self.origin)

    def to_original(self, z: np.ndarray) -> np.ndarray:
        """Convert z to a point x."""
        return z if self.transform is None else self.origin + self.transform @ z

    def inside(self, point: np.ndarray) -> bool:
        """Whether a point is within all bounds, up to rounding."""
        low, high = self.limits.T
        return bool(np.all((point >= low - ROUNDING) & (point <= high + ROUNDING)))

    def free(self, point: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Which entries of a point can move against the gradient within the bounds."""
        low, high = self.limits.T
        up, down = gradient < 0, gradient > 0
        return ((point > low + ROUNDING) | up) & ((point < high - ROUNDING) | down)

    def gradient_to_preconditioned(self, gradient: np.ndarray) -> np.ndarray:
        """Convert the gradient by x to that by z."""
        return gradient if self.transform is None else self.transform.T @ gradient

    def gradient_to_original(self, gradient: np.ndarray) -> np.ndarray:
        """Convert the gradient by z to that by x."""
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
    """Update second derivatives by the steps of an optimizer.

    Each step is one BFGS update. If no curvature is given, the first update starts from
    the identity times the smallest curvature along a step, since other directions are
    likely flat.

    Parameters
    ----------
    curvature : ndarray (p, p) or None, what was known before
    points, gradients : sequences of ndarrays (p,), at the ends of the steps, in order

    Returns
    -------
    ndarray (p, p), or None if no curvature was given and no step is usable
    """
    pairs = list(zip(np.diff(points, axis=0), np.diff(gradients, axis=0), strict=True))
    pairs = [(s, y) for s, y in pairs if s @ y > 0]
    if curvature is None and pairs:
        least = min((s @ y) / (s @ s) for s, y in pairs)
        curvature = least * np.eye(len(pairs[0][0]))
    # H - H s s'H / (s'H s) + y y' / (s'y), with step s and change of gradient y
    for s, y in pairs:
        turned = curvature @ s
        curvature = curvature - np.outer(turned, turned) / (s @ turned)
        curvature = curvature + np.outer(y, y) / (s @ y)
    return curvature
