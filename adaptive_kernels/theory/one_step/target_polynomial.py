"""The polynomial of a projection that a target follows."""

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import hermite_e

from ..._arrays import ArrayLike


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

    def __call__(self, projection: ArrayLike) -> np.ndarray:
        """Its value at projections of any shape, as `project` returns them."""
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
    prints : ndarray of shape (n_distinct,)
        Hashes of rows, by their marks to five digits.
    cells : ndarray of shape (n_marks,)
        The units that marks are rounded to.
    """

    prints: np.ndarray
    cells: np.ndarray

    @classmethod
    def of(cls, marks):
        """From marks (n_samples, n_marks): some projections, and the targets."""
        cells = 1e-5 * np.abs(marks).max(axis=0)
        cells[cells == 0] = 1.0
        return cls(np.unique(_hashes(marks, cells)), cells)

    def share_of(self, marks):
        """Share of rows whose marks are those of a seen row.

        Of rows in another precision some per cent round to another cell.
        """
        return np.mean(np.isin(_hashes(marks, self.cells), self.prints))


def _hashes(marks, cells):
    """Multilinear hashes of the marks' cells, modulo 2^64."""
    rng = np.random.default_rng(0)
    factors = rng.integers(2**62, size=marks.shape[1], dtype=np.uint64) * 2 + 1
    places = np.round(marks / cells).astype(np.int64).astype(np.uint64)
    return np.sum(places * factors, axis=1, dtype=np.uint64)
