"""Fit of a target as a polynomial of a projection, and hashes of training rows."""

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import hermite_e

from ..._arrays import ArrayLike


@dataclass(frozen=True)
class TargetPolynomial:
    """A target as a polynomial of the learned projection, in Hermite polynomials.

    Attributes
    ----------
    coefficients : ndarray of shape (degree + 1,)
        Coefficients of He_0 ... He_degree (probabilists'), in the units of the target.
    standard_errors : ndarray of shape (degree + 1,)
        Standard errors of the coefficients. They are valid also if the variance of the
        noise varies or the target is no such polynomial.
    center, scale : float
        Mean and standard deviation by which the projection was standardised.
    """

    coefficients: np.ndarray
    standard_errors: np.ndarray
    center: float
    scale: float

    def __call__(self, projection: ArrayLike) -> np.ndarray:
        """Value of the polynomial at projections of any shape."""
        standardised = (np.asarray(projection) - self.center) / self.scale
        return hermite_e.hermeval(standardised, self.coefficients)


def fit_target_polynomial(projection, y, degree):
    """Fit y (n,) by least squares on Hermite polynomials of the projection (n,).

    Returns
    -------
    TargetPolynomial

    Notes
    -----
    The standard errors are heteroscedasticity-consistent: every row may have a noise
    variance of its own, which its squared residual estimates. With H^+ the
    pseudoinverse of the n x p design matrix H and residuals e, the covariance of the
    coefficients is

        n / (n - p) H^+ diag(e^2) H^+'.

    The factor n / (n - p) corrects for residuals that are too small, because p
    coefficients were fitted to them. This form is called HC1.

    References
    ----------
    MacKinnon and White, "Some heteroskedasticity-consistent covariance matrix
    estimators with improved finite sample properties", Journal of Econometrics 1985.
    """
    center, scale = projection.mean(), projection.std()
    H = hermite_e.hermevander((projection - center) / scale, degree)
    H_pinv = np.linalg.pinv(H)
    coefficients = H_pinv @ y
    residuals = y - H @ coefficients
    # Diagonal of H^+ diag(e^2) H^+'
    variances = ((H_pinv * residuals) ** 2).sum(axis=1)
    residual_dof = len(y) - degree - 1
    errors = np.sqrt(variances * len(y) / residual_dof)
    return TargetPolynomial(coefficients, errors, float(center), float(scale))


@dataclass(frozen=True)
class SeenRows:
    """Hashes of the rows that a direction was learned from, to recognise them.

    A model need not keep its training rows for this.

    Attributes
    ----------
    prints : ndarray of shape (n_distinct,)
        Hashes of rows, from their marks rounded to five digits.
    cells : ndarray of shape (n_marks,)
        Units to which the marks are rounded.
    """

    prints: np.ndarray
    cells: np.ndarray

    @classmethod
    def of(cls, marks):
        """Hash rows by marks (n_samples, n_marks), some projections and the targets."""
        cells = 1e-5 * np.abs(marks).max(axis=0)
        cells[cells == 0] = 1.0
        return cls(np.unique(_hashes(marks, cells)), cells)

    def share_of(self, marks):
        """Share of rows whose marks are those of a seen row.

        If the rows come in another precision, a few per cent are rounded to another
        cell and not recognised.
        """
        return np.mean(np.isin(_hashes(marks, self.cells), self.prints))


def _hashes(marks, cells):
    """Multilinear hashes of the marks' cells, modulo 2^64."""
    rng = np.random.default_rng(0)
    factors = rng.integers(2**62, size=marks.shape[1], dtype=np.uint64) * 2 + 1
    places = np.round(marks / cells).astype(np.int64).astype(np.uint64)
    return np.sum(places * factors, axis=1, dtype=np.uint64)
