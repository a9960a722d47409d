"""Metrics of kernels: alignment with targets, and effective dimension."""

from typing import Literal

import numpy as np
from sklearn.gaussian_process.kernels import Kernel

from .._arrays import ArrayLike, asarray_like, check_memory, namespace, to_numpy
from ._gram import ROUNDING, Classes, Gram, check_length, read

# Most negative eigenvalue relative to the largest: single precision passes.
_INDEFINITE = 1e-6


def kernel_target_alignment(
    X: ArrayLike,
    y: ArrayLike,
    *,
    input: Literal["kernel", "features"] | Kernel = "kernel",
    centered: bool = True,
) -> float:
    """Alignment <K, YY'> / (|K| |YY'|) of a kernel matrix with its targets.

    Use it to compare kernels before any fit: rows with similar targets should be
    similar for the kernel. It costs O(n^2) operations besides the kernel.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_samples) or (n_samples, n_features)
        A Gram matrix or rows, depending on `input`.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets. Floats and columns of any numbers are used as they are. A vector of
        integers, strings or other labels names classes, and Y are their indicator
        columns, centred: for two classes of equal size as good as labels -1 and 1.
    input : "kernel", "features" or Kernel object, default="kernel"
        What X is: a Gram matrix, rows whose inner products are the kernel, or the
        inputs of this scikit-learn kernel, such as
        :class:`~adaptive_kernels.kernels.NNGP`. Its Gram matrix is then computed block
        by block and never held as a whole.
    centered : bool, default=True
        Whether to centre features and targets first. Otherwise the constant part of a
        kernel can hide the rest.

    Returns
    -------
    float
        Between 0 and 1, as both matrices are positive semi-definite; 1 if they are
        proportional. NaN if the (centred) kernel matrix is zero.

    Raises
    ------
    ValueError
        If the targets do not vary, lengths differ, values are missing, or a Gram matrix
        is not square and symmetric.

    References
    ----------
    Cristianini, Shawe-Taylor, Elisseeff and Kandola, NIPS 2001; centred: Cortes, Mohri
    and Rostamizadeh, JMLR 2012.

    Examples
    --------
    >>> from adaptive_kernels.kernels import NNGP
    >>> from adaptive_kernels.metrics import kernel_target_alignment
    >>> X, y = [[-2.0], [-1.0], [1.0], [2.0]], [-1.0, -1.0, 1.0, 1.0]
    >>> round(kernel_target_alignment(X, y, input="features"), 3)
    0.9
    >>> round(kernel_target_alignment(X, y, input=NNGP("erf")), 3)
    0.988
    """
    data = read(X, input)
    kernel = isinstance(data, Gram)
    Y = _targets(y, data.rows if kernel else data, centered)
    inner, square = (_gram_sums if kernel else _feature_sums)(data, Y, centered)
    target = namespace(Y).sum((Y.T @ Y) ** 2)
    return float("nan") if square == 0 else inner / (square * float(target)) ** 0.5


def _targets(y, like, centered):
    """Targets as columns Y (n, q) of numbers, on the device of `like`."""
    y = check_length(to_numpy(y), like.shape[0])
    if y.ndim == 1 and y.dtype.kind != "f":
        classes = Classes.of(y, len(y)).indicators()
        return asarray_like(classes - classes.mean(axis=0), like)
    Y = y.reshape(len(y), -1).astype(float)
    if not np.all(np.isfinite(Y)):
        raise ValueError("y contains NaN or infinity: drop the rows without a target.")
    largest = np.max(np.abs(Y))
    Y = Y - Y.mean(axis=0) if centered else Y
    if np.max(np.abs(Y)) <= ROUNDING * largest:
        raise ValueError("y does not vary: there is nothing to align with.")
    return asarray_like(Y, like)


def _feature_sums(F, Y, centered):
    """<K, YY'> and |K|^2 of K = F F', through the smaller of F F' and F'F."""
    xp = namespace(F)
    vanishing = (ROUNDING**2 * float(xp.sum(F * F))) ** 2
    F = F - xp.mean(F, axis=0) if centered else F
    small = F.T @ F if F.shape[1] < F.shape[0] else F @ F.T
    square = float(xp.sum(small**2))
    return float(xp.sum((F.T @ Y) ** 2)), square if square > vanishing else 0.0


def _gram_sums(gram, Y, centered):
    """<K, YY'> and |K|^2; if `centered`, the same for H K H, H = I - 11'/n.

    Y must then have zero column means, so that <H K H, YY'> = <K, YY'>. And
    |H K H|^2 = |K|^2 - 2 |K1|^2 / n + (1'K1)^2 / n^2.
    """
    xp, n = namespace(Y), Y.shape[0]
    # H K H does not depend on the origin. From the first row less cancels.
    K = gram.from_first_row() if centered else gram
    row_sums, inner, square = 0 * Y[:, 0], 0.0, 0.0
    for i, j, part in K.blocks():
        # A block below the diagonal counts twice: its mirror image is not visited.
        copies = 1 if i == j else 2
        inner += copies * float(xp.sum(Y[i, :] * (part @ Y[j, :])))
        square += copies * float(xp.sum(part**2))
        row_sums[i] += xp.sum(part, axis=1)
        if i != j:
            row_sums[j] += xp.sum(part, axis=0)
    if centered:
        square -= 2 * float(row_sums @ row_sums) / n
        square += (float(xp.sum(row_sums)) / n) ** 2
    rounding_level = (ROUNDING * n * gram.mean_square()) ** 2
    if square <= rounding_level:
        square = 0.0
    return inner, square


def effective_dimension(
    X: ArrayLike,
    alpha: float | ArrayLike,
    *,
    input: Literal["kernel", "features"] | Kernel = "kernel",
) -> float | np.ndarray:
    """Effective dimension tr K (K + alpha I)^-1 of a kernel at noise alpha.

    It is the number of degrees of freedom that a Gaussian process with noise variance
    `alpha`, or kernel ridge regression with this penalty, uses on these rows. Use it to
    compare the flexibility of kernels. It costs one eigendecomposition.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_samples) or (n_samples, n_features)
        A Gram matrix or rows, depending on `input`.
    alpha : float or array-like
        Noise variance or penalty, positive, in units of K. Several values share the
        eigendecomposition.
    input : "kernel", "features" or Kernel object, default="kernel"
        What X is: a Gram matrix, rows whose inner products are the kernel, or the
        inputs of this scikit-learn kernel. Its Gram matrix is then held in memory.

    Returns
    -------
    float or ndarray of the shape of alpha
        Between 0 and the rank of K. The error of an eigenvalue is about 1e-16 times the
        largest one; for an alpha as small the result is not reliable.

    Raises
    ------
    ValueError
        If alpha is not positive, values are missing, or a Gram matrix is not square,
        symmetric and positive semi-definite to rounding.
    MemoryError
        If the Gram matrix of a Kernel object does not fit in memory.

    References
    ----------
    Zhang, Neural Computation 2005; Caponnetto and De Vito, FoCM 2007.

    Examples
    --------
    >>> from adaptive_kernels.metrics import effective_dimension
    >>> effective_dimension([[3.0, 0.0], [0.0, 1.0]], [1.0, 3.0])
    array([1.25, 0.75])
    """
    alpha = np.asarray(to_numpy(alpha), dtype=float)
    if not np.all((alpha > 0) & np.isfinite(alpha)):
        raise ValueError(f"alpha must be positive and finite, got {alpha}.")
    values = _eigenvalues(read(X, input))
    dimension = np.sum(values / (values + alpha[..., None]), axis=-1)
    return float(dimension) if alpha.ndim == 0 else dimension


def _eigenvalues(data):
    """Eigenvalues of a Gram matrix; from features without those that must be zero."""
    if not isinstance(data, Gram):
        return to_numpy(namespace(data).linalg.svdvals(data)) ** 2
    check_memory(data.rows, data.rows.shape[0], 2)
    K = data.whole()
    values = to_numpy(namespace(K).linalg.eigvalsh(K))
    if np.min(values) < -_INDEFINITE * np.max(np.abs(values)):
        raise ValueError(
            f"The kernel matrix is not positive semi-definite: its eigenvalues start "
            f"at {np.min(values):.3g}. Check that X holds inner products."
        )
    return np.maximum(values, 0.0)
