"""Scores of predictions: log density, coverage of intervals, discrepancy."""

import numpy as np
from scipy.stats import norm

from .._arrays import ArrayLike, to_numpy
from ._validation import check_columns, check_spread, check_weights


def predictive_log_density(
    y_true: ArrayLike,
    mean: ArrayLike,
    std: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean log density of observations under normal predictions; higher is better.

    Use it to score means and standard deviations together: errors count more where a
    small standard deviation was predicted.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observations.
    mean, std : array-like, shaped like y_true
        Predictive means and standard deviations, in the units of y_true.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the mean over rows; None weighs all rows equally.

    Returns
    -------
    float
        In nats per row, summed over outputs.

    Raises
    ------
    ValueError
        If a standard deviation is not positive, a weight is negative, shapes differ,
        or values are missing.

    Examples
    --------
    >>> from adaptive_kernels.metrics import predictive_log_density
    >>> round(predictive_log_density([0.0], [0.0], [1.0]), 4)
    -0.9189
    """
    density = log_densities(y_true, mean, std)
    weights = check_weights(sample_weight, len(density))
    return float(np.average(density, weights=weights))


def log_densities(y_true, mean, std):
    """Log density of every row, summed over outputs: (n_samples,)."""
    z, std = _standardized(y_true, mean, std)
    # Not log(std^2): the square could overflow or underflow.
    return np.sum(-0.5 * z**2 - np.log(std) - 0.5 * np.log(2 * np.pi), axis=1)


def _standardized(y_true, mean, std):
    """Columns of errors divided by the predicted standard deviations; these too."""
    y_true, mean, std = check_columns(y_true=y_true, mean=mean, std=std)
    check_spread("std", std)
    return (y_true - mean) / std, std


def interval_coverage(
    y_true: ArrayLike, mean: ArrayLike, std: ArrayLike, *, level: float = 0.9
) -> float:
    """Share of observations inside their predicted central normal intervals.

    Use it to check standard deviations: calibrated predictions give `level`, up to a
    standard error of sqrt(level (1 - level) / n) for n independent observations.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observations. Each output of a row counts as one observation.
    mean, std : array-like, shaped like y_true
        Predictive means and standard deviations, in the units of y_true.
    level : float, default=0.9
        Nominal probability of an interval, between 0 and 1.

    Returns
    -------
    float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If a standard deviation is not positive, `level` is not between 0 and 1, shapes
        differ, or values are missing.

    Examples
    --------
    >>> from adaptive_kernels.metrics import interval_coverage
    >>> interval_coverage([0.0, 1.0, 2.0, 3.0], [0.0] * 4, [1.0] * 4, level=0.95)
    0.5
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {level!r}.")
    z, _ = _standardized(y_true, mean, std)
    return float(np.mean(np.abs(z) <= norm.ppf((1 + level) / 2)))


def discrepancy(y_true: ArrayLike, y_pred: ArrayLike) -> float | np.ndarray:
    """Mean of y (y - f): by how much predictions f shrink the targets y.

    Theories of finite networks predict it. It is 0 for perfect predictions and the mean
    of y^2 for f = 0. For labels -1 and 1 it is one minus the mean margin.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Targets.
    y_pred : array-like of shape (n_samples,) or (n_samples, k)
        One set of predictions, or k sets in columns.

    Returns
    -------
    float or ndarray of shape (k,)

    Raises
    ------
    ValueError
        If lengths differ, `y_true` has several columns, or values are missing.

    References
    ----------
    The train and test discrepancy of arXiv:2502.03210.

    Examples
    --------
    >>> from adaptive_kernels.metrics import discrepancy
    >>> discrepancy([1.0, -1.0], [0.75, -0.5])
    0.375
    """
    (y,) = check_columns(y_true=y_true)
    (predictions,) = check_columns(y_pred=y_pred)
    if y.shape[1] > 1 or len(y) != len(predictions):
        raise ValueError(
            "y_true must be one-dimensional and as long as y_pred, got shapes "
            f"{np.shape(to_numpy(y_true))} and {np.shape(to_numpy(y_pred))}."
        )
    value = np.mean(y**2) - y[:, 0] @ predictions / len(y)
    return float(value[0]) if np.ndim(to_numpy(y_pred)) == 1 else value
