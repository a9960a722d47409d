"""Average learning curve of kernel regression, from modes of kernel and target.

Over inputs with eigenfunctions of the kernel, k(x, z) = sum_r l_r e_r(x) e_r(z), and a
target sum_r a_r e_r, kernel ridge regression on P random rows learns the share

    L_r = P l_r / (kappa + P l_r)

of mode r. Modes are learned in the order of their eigenvalues. The modes that are not
learned act as a ridge themselves, so that kappa is larger than the given ridge. See
arXiv:2006.13198.

This theory assumes rows from a population. If training rows are drawn from a pool of M
rows without replacement, and the rest of the pool is the test set, the Gaussian
features are replaced by a random rotation, and

    1 = sum_r L_r / P + (ridge / kappa) (1 - sum_r L_r / M)
    1 / inflation = (1 - P / M) (1 - sum_r L_r^2 / P) + (P / M) (1 - sum_r L_r / P)^2
    test error = inflation [sum_r a_r^2 (1 - L_r)^2
                            + noise (sum_r L_r^2 - (sum_r L_r)^2 / M) / P]

M = inf gives the theory of a population, and P = M generalised cross-validation.
"""

from dataclasses import dataclass, replace
from math import inf

import numpy as np

from ..._arrays import ArrayLike, asarray_like, to_numpy
from .._checks import check_noise
from .spectrum import Spectrum

# Steps of a bisection of log kappa, which halve its range from below 2^11 to 2^-53, the
# rounding error.
_STEPS = 64


@dataclass(frozen=True)
class LearningCurveTheory:
    """Predicted test error of kernel ridge regression at several training sizes.

    Attributes
    ----------
    sizes : ndarray (k,)
        Numbers of training rows.
    test_error : ndarray (k,)
        Mean squared error against the noise-free target.
    noise : float
        Noise variance of the targets: that of all outputs, summed.
    effective_ridge : ndarray (k,)
        kappa: the ridge plus the effect of modes that are too small to be learned.
    inflation : ndarray (k,)
        Factor by which the random choice of training rows increases the error.
    learnability : ndarray (k, r)
        Share of each mode that is learned, between 0 and 1.
    eigenvalues : ndarray (r,)
        Eigenvalues of the kernel, in descending order.
    target_power : ndarray (r,)
        Squared coefficient of the noise-free target in each mode. Estimates from noisy
        targets vary around it and can be negative.
    row_correction : ndarray (k,)
        Factor of the error against noisy targets, for the leverage of the rows of a
        given pool. One if no rows were given.
    """

    sizes: np.ndarray
    test_error: np.ndarray
    noise: float
    effective_ridge: np.ndarray
    inflation: np.ndarray
    learnability: np.ndarray
    eigenvalues: np.ndarray
    target_power: np.ndarray
    row_correction: np.ndarray

    @property
    def noisy_test_error(self) -> np.ndarray:
        """Mean squared error against new noisy targets: ndarray (k,)."""
        return self.test_error + self.noise

    @property
    def cumulative_power(self) -> np.ndarray:
        """Share of the target's power in the first modes: ndarray (r,).

        A fast rise means that the kernel is aligned with the target. It is zero for a
        target of zero.
        """
        return np.cumsum(self.target_power) / (np.sum(self.target_power) or 1.0)


def predicted_error(
    eigenvalues: ArrayLike,
    target_power: ArrayLike,
    sizes: ArrayLike,
    *,
    ridge: float,
    noise: float = 0.0,
    pool_size: float = inf,
) -> LearningCurveTheory:
    """Average test error of kernel ridge regression at given training sizes.

    Use it when the modes are known, to see how many rows a target needs. For data use
    `learning_curve_theory`. It costs O(k r) operations and trains nothing.

    Parameters
    ----------
    eigenvalues : array (r,)
        Eigenvalues of the kernel under the distribution of inputs. From M rows they are
        estimated by those of K / M.
    target_power : array (r,)
        Squared coefficient of the noise-free target in each mode. From M rows it is
        estimated by (v'y)^2 / M. Several outputs are summed.
    sizes : array (k,)
        Numbers of training rows: not negative, and at most `pool_size`.
    ridge : float
        Added to the diagonal of the training rows' kernel matrix, like `alpha` in
        scikit-learn. Not negative; positive if `pool_size` is finite.
    noise : float, default=0.0
        Variance of the noise on the targets, summed over outputs.
    pool_size : float, default=inf
        Number of rows from which training rows are drawn without replacement. The error
        is that on the other rows. Infinite for a population.

    Returns
    -------
    LearningCurveTheory

    Raises
    ------
    ValueError
        If a parameter is out of its domain; the message names it.

    References
    ----------
    Canatar, Bordelon and Pehlevan, arXiv:2006.13198.

    Examples
    --------
    >>> from adaptive_kernels.theory import predicted_error
    >>> curve = predicted_error([1.0, 0.01], [1.0, 1.0], [0, 10, 1000], ridge=0.1)
    >>> curve.test_error.round(2)
    array([2.  , 0.33, 0.  ])
    >>> curve.learnability.round(2)
    array([[0.  , 0.  ],
           [0.99, 0.46],
           [1.  , 0.99]])
    """
    eigenvalues, target_power = _checked_modes(eigenvalues, target_power)
    sizes = _checked_sizes(sizes, pool_size)
    check_noise(noise)
    check_noise(ridge, "ridge")
    if pool_size < inf and ridge == 0:
        raise ValueError("ridge must be positive for a finite pool_size.")
    if pool_size < len(eigenvalues):
        raise ValueError(
            f"pool_size must be at least the number of modes, {len(eigenvalues)}, got "
            f"{pool_size!r}."
        )
    kappa = _effective_ridge(eigenvalues, sizes, ridge, pool_size)
    per_row = _learned_per_row(eigenvalues, sizes, kappa)
    learned = sizes[:, None] * per_row
    inflation, fitted = _fluctuations(kappa, per_row, learned, sizes, ridge, pool_size)
    error = (1 - learned) ** 2 @ target_power + noise * fitted
    return LearningCurveTheory(
        sizes=sizes,
        # An error of zero stays zero, also where the inflation is infinite.
        test_error=np.multiply(
            inflation, error, where=error != 0, out=np.zeros_like(error)
        ),
        noise=float(noise),
        effective_ridge=kappa,
        inflation=inflation,
        learnability=learned,
        eigenvalues=eigenvalues,
        target_power=target_power,
        row_correction=np.ones_like(error),
    )


def predicted_pool_error(
    spectrum: Spectrum, sizes: ArrayLike, *, ridge: float, noise: float = 0.0
) -> LearningCurveTheory:
    """Average error on the rest of a pool of rows, from its observed targets.

    Use it to predict the learning curve of a kernel on a data set without training.
    `learning_curve_theory` does this for a fitted estimator. It costs O(M^2) operations
    per size, once the spectrum is known.

    Parameters
    ----------
    spectrum : Spectrum
        Spectrum of the kernel matrix K of all M rows, with their observed targets.
    sizes : array (k,)
        Numbers of training rows, at most M.
    ridge : float
        Added to the diagonal of the training rows' kernel matrix, like `alpha` in
        scikit-learn. Positive.
    noise : float, default=0.0
        Variance of the noise in the targets, summed over outputs. It changes power and
        noise-free error only. The error against noisy targets is predicted from the
        observed targets.

    Returns
    -------
    LearningCurveTheory

    Notes
    -----
    The theory of a pool treats all rows as alike. `row_correction` corrects for the
    leverage of each row by the factor

        (sum_i h_i / M)^2  sum_i (e_i / h_i)^2 / sum_i e_i^2,

    with e = V (1 - L) V'y and h_i = [V (1 - L) V']_ii. At P = M the result is exactly
    the leave-one-out error.

    Raises
    ------
    ValueError
        If a parameter is out of its domain; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.theory import Spectrum
    >>> from adaptive_kernels.theory import predicted_pool_error
    >>> spectrum = Spectrum.of_kernel(np.eye(4), np.array([1.0, 1.0, -1.0, 1.0]))
    >>> predicted_pool_error(spectrum, [1, 4], ridge=0.1).test_error.round(6)
    array([1., 1.])
    """
    rows = spectrum.vectors.shape[0]
    eigenvalues = spectrum.eigenvalues / rows
    observed = np.sum(spectrum.projections**2, axis=1) / rows
    curve = predicted_error(
        eigenvalues,
        # Negative estimates are kept: without them the sum would be biased upwards.
        observed - noise / rows,
        sizes,
        ridge=ridge,
        noise=noise,
        pool_size=rows,
    )
    unlearned = np.empty_like(curve.learnability)
    unlearned[:, _descending(eigenvalues)] = 1 - curve.learnability
    correction = _row_correction(spectrum, unlearned)
    return replace(
        curve,
        test_error=curve.noisy_test_error * correction - noise,
        row_correction=correction,
    )


def _checked_modes(eigenvalues, target_power):
    """Eigenvalues and power in double precision, by descending eigenvalue."""
    eigenvalues, power = (
        to_numpy(values).astype(float) for values in (eigenvalues, target_power)
    )
    if eigenvalues.ndim != 1 or eigenvalues.shape != power.shape:
        raise ValueError(
            "eigenvalues and target_power must be one-dimensional and of one length, "
            f"got shapes {eigenvalues.shape} and {power.shape}."
        )
    if not (np.all(eigenvalues >= 0) and np.all(np.isfinite(eigenvalues))):
        raise ValueError("eigenvalues must be finite and not negative.")
    if not np.all(np.isfinite(power)):
        raise ValueError("target_power must be finite.")
    order = _descending(eigenvalues)
    return eigenvalues[order], power[order]


def _descending(eigenvalues):
    return np.argsort(-eigenvalues, kind="stable")


def _checked_sizes(sizes, pool_size):
    sizes = to_numpy(sizes).astype(float)
    good = sizes.ndim == 1 and np.all((sizes >= 0) & np.isfinite(sizes))
    if not good or np.any(sizes > pool_size):
        raise ValueError(
            f"sizes must be a sequence of numbers from 0 to pool_size={pool_size}, got "
            f"{sizes}."
        )
    return sizes


def _effective_ridge(eigenvalues, sizes, ridge, pool_size):
    """Root kappa of sum_r L_r / P + (ridge / kappa) (1 - sum_r L_r / M) = 1: (k,).

    The left side falls with kappa. kappa is zero if the ridge is zero and there are
    more rows than modes.
    """
    modes = 1 + np.arange(len(eigenvalues))
    # The first m modes alone need kappa >= (m - P) l_m.
    crowded = np.max((modes - sizes[:, None]) * eigenvalues, axis=1, initial=0.0)
    lower = np.maximum(crowded, ridge)
    root = np.zeros_like(lower)
    positive = lower > 0
    low, sizes = np.log(lower[positive]), sizes[positive]
    high = 0 * low + np.log(max(ridge + np.sum(eigenvalues), np.finfo(float).tiny))
    share, beyond = ridge / pool_size, ridge * (1 - len(eigenvalues) / pool_size)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        kappa = np.exp(middle)[:, None]
        terms = (eigenvalues + share) / (kappa + sizes[:, None] * eigenvalues)
        above = np.sum(terms, axis=1) + beyond / kappa[:, 0] > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    root[positive] = np.exp((low + high) / 2)
    return root


def _learned_per_row(eigenvalues, sizes, kappa):
    """L_r / P = l_r / (kappa + P l_r): (k, r); zero for an eigenvalue of zero."""
    total = kappa[:, None] + sizes[:, None] * eigenvalues
    zero = np.zeros_like(total)
    return np.divide(eigenvalues + zero, total, where=eigenvalues > 0, out=zero)


def _fluctuations(kappa, per_row, learned, sizes, ridge, pool_size):
    """Inflation (k,), and share of the noise that is fitted, before inflation (k,)."""
    total, drawn = np.sum(learned, axis=1), sizes / pool_size
    # Share of rows that learn nothing, 1 - sum_r L_r / P, by the equation for kappa.
    idle = np.maximum(1 - np.sum(per_row, axis=1), 0.0)
    held = ridge * (1 - total / pool_size)
    idle = np.divide(held, kappa, where=kappa > 0, out=idle)
    calm = idle + np.sum((1 - learned) * per_row, axis=1)
    with np.errstate(divide="ignore"):
        inflation = 1 / ((1 - drawn) * calm + drawn * idle**2)
    fitted = np.sum((learned - total[:, None] / pool_size) * per_row, axis=1)
    return inflation, fitted


def _row_correction(spectrum, unlearned):
    """Factor on the error by the leverage of each row: (k,)."""
    vectors = spectrum.vectors
    squares = vectors * vectors
    factors = []
    for kept in unlearned:
        residual = vectors @ asarray_like(kept[:, None] * spectrum.projections, vectors)
        leverage = to_numpy(squares @ asarray_like(kept, vectors))
        leverage = leverage / (np.mean(leverage) or 1.0)
        factors.append(_raised(to_numpy(residual), leverage))
    return np.array(factors)


def _raised(residual, leverage):
    """Ratio of the mean squares of residual / leverage and residual."""
    if not np.all(leverage > 0):
        return 1.0
    plain = np.sum(residual**2)
    return np.sum((residual / leverage[:, None]) ** 2) / plain if plain > 0 else 1.0
