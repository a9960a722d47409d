"""Coordinates of an ascent in which the curvature is that of a ball.

A climb on more rows starts where one on fewer has ended, and curvature grows with the
number of observations: what L-BFGS has learned there need not be learned again.
"""

from dataclasses import dataclass

import numpy as np

# Entries of more than this many are too many for a matrix of them all.
MOST = 500
# Entries nearer to a bound than this keep a coordinate of their own, and the bound.
MARGIN = 2.0


@dataclass(frozen=True)
class Coordinates:
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
    def of(cls, origin, limits, curvature=None):
        """Coordinates about a point, given the second derivatives there, if known."""
        if curvature is None:
            return cls(0 * origin, None, None, limits, limits)
        far = np.min(np.abs(limits - origin[:, None]), axis=1) > MARGIN
        inverse = np.diag(np.sqrt(np.diag(curvature)))
        block = np.ix_(far, far)
        inverse[block] = np.linalg.cholesky(curvature[block]).T
        box = (limits - origin[:, None]) * np.diag(inverse)[:, None]
        box[far] = -np.inf, np.inf
        return cls(origin, np.linalg.inv(inverse), inverse, box, limits)

    def start(self, point):
        """The coordinates of a point."""
        if self.transform is None:
            return point
        return self.inverse @ (point - self.origin)

    def point(self, z):
        """The point at coordinates z."""
        return z if self.transform is None else self.origin + self.transform @ z

    def inside(self, point):
        """Whether no bound is passed by more than rounding."""
        low, high = self.limits.T
        return bool(np.all((point >= low - 1e-9) & (point <= high + 1e-9)))

    def pull(self, gradient):
        """The gradient by z."""
        return gradient if self.transform is None else self.transform.T @ gradient

    def push(self, gradient):
        """The gradient by the point."""
        return gradient if self.transform is None else self.inverse.T @ gradient

    def updated(self, curvature, steps, changes):
        """Second derivatives by the point after steps, of which the gradient knows.

        By the formula of Broyden, Fletcher, Goldfarb and Shanno.

        Parameters
        ----------
        curvature : ndarray (p, p) or None, what was known before
        steps, changes : ndarrays (k, p), by z, of the coordinates and the gradient
        """
        if curvature is None and len(steps):
            s, y = steps[-1], changes[-1]
            curvature = (y @ y) / (s @ y) * np.eye(len(s))
        for s, y in zip(steps, changes, strict=True):
            if self.transform is not None:
                s, y = self.transform @ s, self.inverse.T @ y
            turned = curvature @ s
            curvature = curvature - np.outer(turned, turned) / (s @ turned)
            curvature = curvature + np.outer(y, y) / (s @ y)
        return curvature
