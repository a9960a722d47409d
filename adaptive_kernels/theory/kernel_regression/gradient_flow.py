"""Gradient flow of infinitely wide networks, in the eigendirections of their kernel.

Trained for a time t on (|y - f|^2 + alpha |w - w_0|^2) / (2 n), an infinitely wide
network is linear in its weights, and with the eigenvalues l of its tangent kernel K

    f_t(x) = f_0(x) + K(x, X) h_t(K) (y - f_0(X)),
    h_t(l) = (1 - exp(-(l + alpha) t / n)) / (l + alpha),

whose mean over initial weights has f_0 = 0 and whose covariance is that of the Gaussian
process f_0, the NNGP, carried along. Rows of weight w count as w rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Self

import numpy as np

from ..._arrays import Array, asarray_like, eigh, namespace, to_numpy
from ...kernels._eigenpairs import VANISHING

# With a smaller share of freedom left, the score rests on a few residuals, and is by
# chance the least of all. Measured on 6000 fits: 0.05 to 0.2 are alike, and without it
# the chosen error was up to 20 times the best.
_LEAST_FREEDOM = 0.1


@dataclass(frozen=True)
class GradientFlow:
    """Gradient flow on given rows and targets, at any time.

    Make it with :meth:`of_kernel`.

    Attributes
    ----------
    eigenvalues : array (n,)
        Of K (of W^1/2 K W^1/2 with weights), descending, rounding set to zero.
    vectors : array (n, n)
        Their eigenvectors.
    coefficients : array (n, C)
        Targets in the eigenvectors.
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
        """From the kernel matrix (n, n), targets (n, C) and weights (n,) or None."""
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
        """h_t(l) for all eigenvalues, and zero at rate zero: ndarray (n,).

        There h_t = t / n, but such eigenvectors change no prediction, and at large
        times would only multiply rounding.
        """
        rate = to_numpy(self.eigenvalues) + alpha
        moves = rate > 0
        gains = np.zeros_like(rate)
        gains[moves] = -np.expm1(-rate[moves] * (time / self.n_rows)) / rate[moves]
        return gains

    def dual(self, time: float, alpha: float = 0.0) -> Array:
        """Coefficients (n, C) of the kernel with the rows in the mean at a time."""
        gains = asarray_like(self.gains(time, alpha), self.coefficients)
        return self._unroot(self.vectors @ (gains[:, None] * self.coefficients))

    def apply(self, rows: Array, time: float, alpha: float = 0.0) -> Array:
        """Kernel rows (m, n) times h_t(K): how predictions follow the targets."""
        gains = asarray_like(self.gains(time, alpha), self.coefficients)
        half = rows if self.roots is None else rows * self.roots.T
        whole = ((half @ self.vectors) * gains) @ self.vectors.T
        return whole if self.roots is None else whole * self.roots.T

    def _unroot(self, columns):
        return columns if self.roots is None else self.roots * columns

    def times(self, alpha: float = 0.0, size: int = 200) -> np.ndarray:
        """Times at which the slowest and fastest modes learn, and between: ndarray."""
        rates = to_numpy(self.eigenvalues) + alpha
        rates = rates[rates > 0] / self.n_rows
        if not rates.size:
            return np.array([inf])
        return np.append(np.geomspace(0.1 / rates[0], 10 / rates[-1], size), inf)

    def validation_scores(
        self, times: Iterable[float], alpha: float = 0.0
    ) -> np.ndarray:
        """Generalised cross-validation of the mean at every time: ndarray (T,).

        Weights weigh residuals, but only distinct rows count as free: otherwise one
        repeated row would give freedom to an interpolant, and the best of scores, 0.
        """
        values = to_numpy(self.eigenvalues)
        left = np.stack([1 - values * self.gains(time, alpha) for time in times])
        return generalised_cross_validation(
            left, to_numpy(self.coefficients), len(values)
        )


def generalised_cross_validation(left, coefficients, n_rows):
    """Mean square residual over the squared mean freedom, of linear smoothers.

    Parameters
    ----------
    left : ndarray (T, n)
        Share of each eigendirection that a smoother leaves as its residual.
    coefficients : ndarray (n, C)
        Targets in the eigendirections.
    n_rows : float
        Number of rows; directions beyond n are left whole and hold no target.

    Returns
    -------
    ndarray (T,)
        Infinite where less than a tenth of the freedom is left: near interpolation
        there is too little to judge by.

    References
    ----------
    G. Golub, M. Heath, G. Wahba, "Generalized Cross-Validation as a Method for Choosing
    a Good Ridge Parameter", Technometrics 21, 1979.
    """
    freedom = 1 - np.sum(1 - left, axis=1) / n_rows
    squares = left**2 @ np.sum(coefficients**2, axis=1) / n_rows
    enough = freedom > _LEAST_FREEDOM
    return np.where(enough, squares / np.where(enough, freedom, 1.0) ** 2, np.inf)
