"""Learning curve of a kernel, predicted from a pool of rows and their targets."""

import warnings
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.gaussian_process.kernels import Kernel
from sklearn.pipeline import Pipeline
from sklearn.utils import check_X_y
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arrays import (
    ArrayLike,
    as_float64,
    asarray_like,
    check_memory,
    check_range,
    to_numpy,
)
from ..estimators.nngp_regressor import NNGPRegressor
from ..estimators.training import TargetScale
from ..estimators.validation import validate_targets
from ..estimators.wide_network import WideNetworkRegressor
from ..model_selection.regressor_search import AdaptiveKernelRegressorCV
from ..theory.kernel_regression.learning_curves import (
    LearningCurveTheory,
    predicted_pool_error,
)
from ..theory.kernel_regression.spectrum import Spectrum

# Largest row correction without a warning: up to it, predicted errors were within a
# quarter of the measured ones, mostly closer.
_LARGE_CORRECTION = 1.5


def learning_curve_theory(
    estimator: Kernel | BaseEstimator,
    X: ArrayLike,
    y: ArrayLike,
    *,
    train_sizes: ArrayLike | None = None,
    alpha: float | None = None,
    noise: float | ArrayLike | None = None,
) -> LearningCurveTheory:
    """Predict the test error of a kernel at every training size, without training.

    Use it to see whether more rows would help, or which kernel needs fewer. It costs
    one eigendecomposition of the kernel matrix of X. The prediction is the average over
    training sets drawn from the rows of X, tested on the other rows.

    Kernel and `alpha` are the same at every size. If they were learned from these rows,
    the prediction is optimistic: give rows that the estimator has not seen.

    Parameters
    ----------
    estimator : scikit-learn kernel, fitted estimator or pipeline that ends in one
        A kernel object, such as `NNGP` or `NTK`, means kernel ridge regression on y as
        given. A fitted `NNGPRegressor`, `AdaptiveKernelRegressor` or its search means
        its kernel, noise and centring. Earlier steps of a pipeline transform X.
    X : array-like of shape (n_samples, n_features)
        The pool of rows.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed targets, noise included.
    train_sizes : array-like of shape (k,), default=None
        Numbers of rows, or fractions of those of X if floating. None means
        ``np.linspace(0.1, 1.0, 5)``.
    alpha : float, default=None
        Positive ridge on the diagonal of the training rows' kernel matrix. None uses
        that of the estimator; a kernel needs a value.
    noise : float or array of shape (n_outputs,), default=None
        Variance of the noise in y. It changes only the error against noise-free
        targets. None uses the noise that a fitted estimator found, and zero for a
        kernel.

    Returns
    -------
    LearningCurveTheory
        Errors are mean squared errors in the units of y, summed over outputs:
        `noisy_test_error` is what a test on held-out rows measures.

    Raises
    ------
    TypeError
        If `estimator` is none of those named, or scales its outputs or layers
        separately, so that there is no one kernel.
    ValueError
        If a parameter or the data are not valid; the message names it.
    MemoryError
        If the kernel matrix of X does not fit in memory.

    Warns
    -----
    UserWarning
        If few rows have much of the error, which makes the prediction uncertain by tens
        of percent. This happens for smooth kernels with a small ridge, at sizes near
        that of the pool.

    References
    ----------
    Canatar, Bordelon and Pehlevan, arXiv:2006.13198.

    Examples
    --------
    >>> from adaptive_kernels import learning_curve_theory
    >>> from adaptive_kernels.datasets import make_ising
    >>> from adaptive_kernels.kernels import NNGP
    >>> X, y = make_ising(400, 10, random_state=0)
    >>> curve = learning_curve_theory(NNGP("erf"), X, y, alpha=0.1)
    >>> bool(curve.noisy_test_error[0] > curve.noisy_test_error[-1])
    True
    """
    kernel, model, X = resolve(estimator, X)
    X, y = check_X_y(X, y, multi_output=True, y_numeric=True, dtype="numeric")
    check_range(X, "X")
    X, y = as_float64(X), validate_targets(y)
    y = asarray_like(y, X)
    Y = y[:, None] if y.ndim == 1 else y
    mean, believed = _centre_and_noise(model, Y)
    alpha = _ridge(alpha, model)
    noise = _total_noise(believed if noise is None else noise, Y.shape[1])
    sizes = absolute_sizes(train_sizes, X.shape[0])
    check_memory(X, X.shape[0], 4)
    with np.errstate(over="ignore", invalid="ignore"):
        K = kernel(X)
    check_range(K, "The kernel matrix of X", refuse_vanishing=False)
    spectrum = Spectrum.of_kernel(K, Y - mean)
    curve = predicted_pool_error(spectrum, sizes, ridge=alpha, noise=noise)
    _warn_of_few_rows(curve)
    return curve


def resolve(estimator, X):
    """The kernel, a regressor with it (None for a kernel), and the rows for it."""
    if isinstance(estimator, Kernel):
        return estimator, None, X
    if isinstance(estimator, Pipeline):
        check_is_fitted(estimator)
        X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1]
    model = frozen(estimator)
    validate_data(estimator, X, reset=False, skip_check_array=True)
    return model.kernel, model, X


def frozen(estimator):
    """A regressor with the kernel and noise of a fitted estimator, which are not tuned.

    The estimator itself would tune them again at every training size.
    """
    if isinstance(estimator, AdaptiveKernelRegressorCV):
        check_is_fitted(estimator)
        estimator = estimator.best_estimator_
    if not isinstance(estimator, WideNetworkRegressor):
        raise TypeError(
            "estimator must be a kernel, a fitted NNGPRegressor, "
            "AdaptiveKernelRegressor or AdaptiveKernelRegressorCV, or a pipeline that "
            f"ends in one, got {estimator!r}: for another model give its kernel and "
            "alpha."
        )
    check_is_fitted(estimator)
    scale = getattr(estimator, "scale_", 1.0)
    if np.ndim(scale) > 0:
        raise TypeError(
            "estimator scales its outputs or layers separately, so there is no single "
            "kernel: fit it on one output, with depth=1 or another approximation."
        )
    kernel = clone(estimator.kernel_)
    return NNGPRegressor(
        kernel.set_params(readout_variance=scale * kernel.readout_variance),
        alpha=float(np.mean(estimator.alpha_)),
        optimizer=None,
        normalize_y=estimator.normalize_y,
    )


def absolute_sizes(train_sizes, rows):
    """Distinct numbers of training rows, ascending."""
    sizes = np.asarray(np.linspace(0.1, 1.0, 5) if train_sizes is None else train_sizes)
    floating = sizes.dtype.kind == "f"
    limit = 1.0 if floating else rows
    if sizes.ndim != 1 or not sizes.size or sizes.dtype.kind not in "fiu":
        raise ValueError(
            f"train_sizes must be a sequence of numbers, got {train_sizes!r}."
        )
    if not np.all((sizes > 0) & (sizes <= limit)):
        raise ValueError(
            "train_sizes must be fractions in (0, 1], or numbers of rows from 1 to "
            f"the {rows} of X, got {train_sizes!r}."
        )
    if floating:
        sizes = np.maximum((sizes * rows).astype(int), 1)
    return np.unique(sizes)


def _centre_and_noise(model, Y):
    """The mean that the regressor subtracts from Y, and its noise variance (C,)."""
    if model is None:
        return 0 * Y[0, :], np.zeros(Y.shape[1])
    targets = TargetScale.of(Y, None, normalize=model.normalize_y, is_vector=False)
    return targets.mean, model.alpha * to_numpy(targets.scale) ** 2


def _ridge(alpha, model):
    if alpha is None and model is None:
        raise ValueError("alpha must be given with a kernel: it is the ridge.")
    alpha = model.alpha if alpha is None else alpha
    if not isinstance(alpha, Real) or not 0 < alpha < np.inf:
        raise ValueError(f"alpha must be positive and finite, got {alpha!r}.")
    return float(alpha)


def _total_noise(noise, outputs):
    try:
        noise = np.asarray(to_numpy(noise), dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"noise must hold numbers, got {noise!r}.") from None
    if np.shape(noise) not in ((), (outputs,)):
        raise ValueError(
            f"noise must be a number, or one for each of the {outputs} outputs, got "
            f"{noise!r}."
        )
    noise = np.broadcast_to(noise, (outputs,))
    if not np.all((noise >= 0) & np.isfinite(noise)):
        raise ValueError(f"noise must be finite and not negative, got {noise}.")
    return float(np.sum(noise))


def _warn_of_few_rows(curve):
    large = curve.row_correction > _LARGE_CORRECTION
    if np.any(large):
        first = int(np.argmax(large))
        warnings.warn(
            f"At {curve.sizes[first]:.0f} training rows, few rows of the pool hold "
            f"much of the error (row_correction is {curve.row_correction[first]:.2g}), "
            "and the prediction is uncertain by tens of percent: ask for smaller "
            "train_sizes, raise alpha, or give a larger pool.",
            stacklevel=3,
        )
