"""The polynomial of a projection that a target follows."""

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import hermite_e


@dataclass(frozen=True)
class TargetPolynomial:
    """A polynomial in probabilists' Hermite polynomials of a standardised projection.

    Attributes
    ----------
    coefficients : ndarray of shape (degree + 1,)
        Of He_0 ... He_degree, in the units of the target.
    standard_errors : ndarray of shape (degree + 1,)
        Also right where the noise is uneven or the target no such polynomial.
    center, scale : float
        Mean and standard deviation by which the projection was standardised.
    """

    coefficients: np.ndarray
    standard_errors: np.ndarray
    center: float
    scale: float

    def __call__(self, projection):
        """Its value at projections of any shape."""
        standardised = (np.asarray(projection) - self.center) / self.scale
        return hermite_e.hermeval(standardised, self.coefficients)


def fit_target_polynomial(projection, y, degree):
    """Least squares of y (n,) in Hermite polynomials of the projection (n,).

    Returns
    -------
    TargetPolynomial
    """
    center, scale = projection.mean(), projection.std()
    H = hermite_e.hermevander((projection - center) / scale, degree)
    inverse = np.linalg.pinv(H)
    coefficients = inverse @ y
    # White's heteroscedasticity-consistent covariance, with its small-sample factor.
    scores = inverse * (y - H @ coefficients)
    freedom = len(y) - degree - 1
    errors = np.sqrt((scores**2).sum(axis=1) * len(y) / freedom)
    return TargetPolynomial(coefficients, errors, float(center), float(scale))


@dataclass(frozen=True)
class SeenRows:
    """What it takes to recognise rows that a direction was learned from.

    Attributes
    ----------
    marks : ndarray of shape (n_samples, n_marks)
        Some projections of each row, and its targets.
    """

    marks: np.ndarray

    def share_of(self, marks):
        """Share of rows whose marks are those of a seen row, to single precision."""
        tolerance = 1e-6 * np.abs(self.marks).max(axis=0)
        known = self.marks[np.argsort(self.marks[:, 0], kind="stable")]
        first = np.searchsorted(known[:, 0], marks[:, 0] - tolerance[0])
        last = np.searchsorted(known[:, 0], marks[:, 0] + tolerance[0], side="right")
        met = [
            np.any(np.all(np.abs(known[i:j] - row) <= tolerance, axis=1))
            for i, j, row in zip(first, last, marks, strict=True)
        ]
        return np.mean(met)
