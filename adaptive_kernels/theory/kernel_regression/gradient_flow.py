"""Gradient flow of infinitely wide networks, in the eigendirections of their kernel.

An infinitely wide network is linear in its weights. Trained for a time t on the loss
(|y - f|^2 + alpha |w - w_0|^2) / (2 n), with eigenvalues l of its tangent kernel K,

    f_t(x) = f_0(x) + K(x, X) h_t(K) (y - f_0(X)),
    h_t(l) = (1 - exp(-(l + alpha) t / n)) / (l + alpha),

The mean over initial weights is given by f_0 = 0. The covariance follows from that of
the initial function f_0, which is the NNGP. Rows of weight w count as w rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Self

import numpy as np

from ..._arrays import Array, asarray_like, eigh, namespace, to_numpy
from ...kernels._eigenpairs import VANISHING

# Smallest share of residual degrees of freedom at which the score is used. Below, the
# score depends on a few residuals and can be the smallest by chance. Measured on 6000
# fits: 0.05 to 0.2 give the same results; with 0 the error of the chosen fit was up to
# 20 times that of the best.
_LEAST_FREEDOM = 0.1


@dataclass(frozen=True)
class GradientFlow:
    """What an infinitely wide network has learned after any training time.

    Make it with :meth:`of_kernel`, which costs one eigendecomposition. Then each time
    costs O(n^2) operations.

    Attributes
    ----------
    eigenvalues : array (n,)
        Eigenvalues of K, or of W^1/2 K W^1/2 with weights W, descending. Rounding
        errors are set to zero.
    vectors : array (n, n)
        Their eigenvectors, in columns.
    coefficients : array (n, C)
        Targets in the basis of the eigenvectors.
    roots : array (n, 1) or None
        Square roots of the weights.
    n_rows : float
        Number of rows, or the sum of their weights.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler, "Neural Tangent Kernel", arXiv:1806.07572.
    J. Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under
    Gradient Descent", arXiv:1902.06720.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.theory import GradientFlow
    >>> K, Y = np.diag([4.0, 1.0]), np.array([[1.0], [1.0]])
    >>> flow = GradientFlow.of_kernel(K, Y)
    >>> (K @ flow.dual(2.0)).round(3).tolist()
    [[0.982], [0.632]]
    """

    eigenvalues: Array
    vectors: Array
    coefficients: Array
    roots: Array | None
    n_rows: float

    @classmethod
    def of_kernel(cls, K: Array, Y: Array, weights: Array | None = None) -> Self:
        """Decompose a kernel matrix (n, n), with targets (n, C) and weights (n,)."""
        xp = namespace(K)
        n_rows, roots = float(K.shape[0]), None
        if weights is not None:
            roots, n_rows = xp.sqrt(weights)[:, None], float(xp.sum(weights))
            K, Y = roots * K * roots.T, roots * Y
        values, vectors = eigh(K)
        values, vectors = xp.flip(values), xp.flip(vectors, axis=1)
        rounding = K.shape[0] * float(xp.finfo(values.dtype).eps) * float(values[0])
        signal = values > max(rounding, VANISHING)
        values = xp.where(signal, values, xp.zeros_like(values))
        return cls(values, vectors, vectors.T @ Y, roots, n_rows)

    def gains(self, time: float, alpha: float = 0.0) -> np.ndarray:
        """h_t(l) of all eigenvalues: ndarray (n,). It is zero if l + alpha is zero.

        The formula gives t / n there. But such eigenvectors change no prediction, and
        at large times they would only multiply rounding errors.
        """
        rate = to_numpy(self.eigenvalues) + alpha
        moves = rate > 0
        gains = np.zeros_like(rate)
        with np.errstate(over="ignore"):  # exp(-inf) is zero
            gains[moves] = -np.expm1(-rate[moves] * (time / self.n_rows)) / rate[moves]
        return gains

    def dual(self, time: float, alpha: float = 0.0) -> Array:
        """Coefficients (n, C) of the mean K(x, X) dual at a time."""
        gains = asarray_like(self.gains(time, alpha), self.coefficients)
        return self._unroot(self.vectors @ (gains[:, None] * self.coefficients))

    def apply(self, rows: Array, time: float, alpha: float = 0.0) -> Array:
        """Rows K(x, X) (m, n) times h_t(K): the smoother matrix (m, n) at a time."""
        gains = asarray_like(self.gains(time, alpha), self.coefficients)
        half = rows if self.roots is None else rows * self.roots.T
        whole = ((half @ self.vectors) * gains) @ self.vectors.T
        return whole if self.roots is None else whole * self.roots.T

    def _unroot(self, columns):
        return columns if self.roots is None else self.roots * columns

    def times(self, alpha: float = 0.0, size: int = 200) -> np.ndarray:
        """Training times to compare: ndarray (size + 1,), ascending.

        From a tenth of the time of the fastest mode to ten times that of the slowest,
        on a logarithmic scale, and infinity. Modes of eigenvalue zero do not count:
        they change no prediction.
        """
        values = to_numpy(self.eigenvalues)
        rates = (values[values > 0] + alpha) / self.n_rows
        if not rates.size:
            return np.array([inf])
        return np.append(np.geomspace(0.1 / rates[0], 10 / rates[-1], size), inf)

    def validation_scores(
        self, times: Iterable[float], alpha: float = 0.0
    ) -> np.ndarray:
        """Generalised cross-validation of the mean at every time: ndarray (T,).

        Weights weigh the residuals. But degrees of freedom are counted by distinct
        rows: otherwise one repeated row would leave an interpolant some of them, and
        its score would be the best, 0.
        """
        values = to_numpy(self.eigenvalues)
        left = np.stack([1 - values * self.gains(time, alpha) for time in times])
        return generalised_cross_validation(left, to_numpy(self.coefficients))


def generalised_cross_validation(left, coefficients):
    """Generalised cross-validation score of linear smoothers; smaller is better.

    It is the mean squared residual over the squared share of residual degrees of
    freedom, (sum_i left_i^2 |c_i|^2 / n) / (sum_i left_i / n)^2.

    Parameters
    ----------
    left : ndarray (T, n)
        Share of each eigendirection that a smoother leaves in the residual.
    coefficients : ndarray (n, C)
        Targets in the eigendirections.

    Returns
    -------
    ndarray (T,)
        Infinite where less than a tenth of the degrees of freedom is left.

    References
    ----------
    G. Golub, M. Heath, G. Wahba, "Generalized Cross-Validation as a Method for Choosing
    a Good Ridge Parameter", Technometrics 21, 1979.
    """
    freedom = np.mean(left, axis=1)
    squares = left**2 @ np.sum(coefficients**2, axis=1) / left.shape[1]
    enough = freedom > _LEAST_FREEDOM
    return np.where(enough, squares / np.where(enough, freedom, 1.0) ** 2, np.inf)
