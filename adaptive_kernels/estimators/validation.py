"""Checks of X, y and sample_weight that all estimators share."""

import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arrays import check_range, namespace
from .._sklearn import check_same_namespace, check_sample_weight

# Weights that count rows have a mean near one. If the mean is above this number, or
# below its inverse, the weights are probably relative, such as 1 / variance.
_LARGEST_MEAN_OF_COUNTS = 10
# Weights from 1 to 1e14 could be fitted in all of 60 tries, from 1 to 1e16 in 59.
_LARGEST_RATIO = 1e15
# Of 60 searches for classes one met a kernel matrix that is not positive definite where
# the weights summed to 2e13, none at 2e11.
_LARGEST_TOTAL = 1e10


def validate_training(estimator, X, y, sample_weight):
    """Check X, y and weights (or None); set the estimator's input features."""
    X, y = validate_data(
        estimator, X, y, multi_output=True, y_numeric=True, dtype="numeric"
    )
    check_range(X, "X")
    y = validate_targets(y)
    if sample_weight is not None:
        sample_weight = validate_weights(sample_weight, X)
    return X, y, sample_weight


def validate_targets(y):
    """Targets that scikit-learn has checked, as numbers in a usable range."""
    if issparse(y):
        raise TypeError("y is sparse: pass y.toarray().")
    if isinstance(y, np.ndarray) and y.dtype.kind in "SU":
        try:
            y = y.astype(np.float64)
        except ValueError as error:
            raise ValueError(f"y must hold numbers: {error}.") from None
    columns = [y] if y.ndim == 1 else [y[:, c] for c in range(y.shape[1])]
    for column in columns:
        check_range(column, "y")
    return y


def validate_inputs(estimator, X, *, reset=True):
    """Check X. With `reset` set the estimator's input features, else compare them."""
    X = validate_data(estimator, X, reset=reset, dtype="numeric")
    # Rows to predict may all be close to zero.
    check_range(X, "X", refuse_vanishing=reset)
    return X


def validate_rows(estimator, X, method, attribute="X_train_"):
    """Check X of a prediction. An inner model moves it to its device, not this."""
    check_is_fitted(estimator)
    X = validate_inputs(estimator, X, reset=False)
    if estimator.device is None:
        check_same_namespace(X, estimator, attribute=attribute, method=method)
    return X


def validate_own_rows(estimator, X, method, attribute):
    """Check X of a prediction that the estimator computes itself.

    NumPy rows may be moved to its device. Other arrays must be like those of fit.
    """
    X = validate_inputs(estimator, X, reset=False)
    if estimator.device is None or not isinstance(X, np.ndarray):
        check_same_namespace(X, estimator, attribute=attribute, method=method)
    return X


def validate_weights(sample_weight, X):
    """Checked weights: not negative, and in a range that a fit can handle."""
    weights = check_sample_weight(sample_weight, X, ensure_non_negative=True)
    check_weight_range(weights, "sample_weight")
    return weights


def check_weight_range(weights, name):
    """Raise ValueError if weights are too large, or too different from each other."""
    check_range(weights, name)
    xp = namespace(weights)
    largest, total = float(xp.max(weights)), float(xp.sum(weights))
    least = float(xp.min(xp.where(weights > 0, weights, xp.max(weights))))
    if largest > _LARGEST_RATIO * least:
        raise ValueError(
            f"{name} has values from {least:.3g} to {largest:.3g}: a row that weighs "
            f"less than {1 / _LARGEST_RATIO:.0e} of the heaviest is below rounding. "
            "Set such weights to zero."
        )
    if total > _LARGEST_TOTAL:
        raise ValueError(
            f"{name} sums to {total:.3g}, and a row of weight w counts as w rows: more "
            f"than {_LARGEST_TOTAL:.0e} rows are beyond double precision. Divide the "
            "weights by their mean."
        )


def validate_prior(kernel, X):
    """Check the prior variances of a kernel that is not tuned, at the rows X."""
    name = "kernel.diag(X), the kernel's variance at X,"
    check_range(kernel.diag(X), name, refuse_vanishing=False)


def warn_of_relative_weights(weights):
    """Warn if the weights, (n,) or None, look relative and not like numbers of rows.

    The evidence counts a row of weight w as w equal rows. Relative weights have an
    arbitrary scale. With them the evidence would count far too many rows or too few,
    and the tuned noise would be wrong. They are recognised by a mean far from one.
    Whole numbers give no warning: the user has probably merged equal rows and counted
    them, and the mean of such counts may be large.
    """
    if weights is None:
        return
    xp, most = namespace(weights), _LARGEST_MEAN_OF_COUNTS
    n, total = int(xp.count_nonzero(weights)), float(xp.sum(weights))
    far_from_one = n > 0 and not n / most <= total <= n * most
    if far_from_one and bool(xp.any(weights != xp.round(weights))):
        warnings.warn(
            f"sample_weight sums to {total:.3g} for {n} rows: a row of weight w counts "
            "as w rows. Divide relative weights, such as 1 / variance, by their mean.",
            UserWarning,
            stacklevel=3,
        )
