"""Scores of predictions, their densities and their discrepancies."""

import numpy as np
from scipy.stats import norm

from .._arrays import to_numpy


def predictive_log_density(y_true, mean, std, *, sample_weight=None):
    """Mean log density of observations under normal predictions; higher is better.

    Parameters
    ----------
    y_true, mean, std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observations, and predictive means and standard deviations in their units.
        Outputs are summed.
    sample_weight : array-like of shape (n_samples,), default=None

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a standard deviation is not positive.

    Examples
    --------
    >>> from adaptive_kernels.metrics import predictive_log_density
    >>> round(predictive_log_density([0.0], [0.0], [1.0]), 4)
    -0.9189
    """
    density = log_densities(y_true, mean, std)
    weights = None if sample_weight is None else to_numpy(sample_weight)
    return float(np.average(density, weights=weights))


def log_densities(y_true, mean, std):
    """Log density of every observation, outputs summed: (n_samples,)."""
    z, std = _standardized(y_true, mean, std)
    density = -0.5 * (z**2 + np.log(2 * np.pi * std**2))
    return density if density.ndim == 1 else density.sum(axis=1)


def _standardized(y_true, mean, std):
    """Errors in units of the predicted standard deviation, and the latter."""
    y_true, mean, std = (to_numpy(a).astype(float) for a in (y_true, mean, std))
    if not np.all(std > 0):
        raise ValueError("std must be positive everywhere.")
    return (y_true - mean) / std, std


def interval_coverage(y_true, mean, std, *, level=0.9):
    """Share of observations inside the central normal intervals predicted for them.

    Calibrated predictions give `level`, up to a standard error of
    sqrt(level (1 - level) / n) for n independent observations.

    Parameters
    ----------
    y_true, mean, std : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observations, and predictive means and standard deviations in their units.
        Outputs count as observations of their own.
    level : float, default=0.9
        Probability that an interval is meant to have, between 0 and 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a standard deviation is not positive, or `level` not between 0 and 1.

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


def discrepancy(y_true, y_pred):
    """Mean of y (y - f): how far predictions stay behind the labels along them.

    For labels -1 and 1 it is one minus the mean margin.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
    y_pred : array-like of shape (n_samples,) or (n_samples, k)
        One prediction, or several in columns.

    Returns
    -------
    float or ndarray of shape (k,)

    References
    ----------
    The train and test discrepancy of arXiv:2502.03210.

    Examples
    --------
    >>> from adaptive_kernels.metrics import discrepancy
    >>> discrepancy([1.0, -1.0], [0.75, -0.5])
    0.375
    """
    y_true, y_pred = (to_numpy(a).astype(float) for a in (y_true, y_pred))
    if y_true.ndim != 1 or y_true.size == 0 or y_pred.shape[:1] != y_true.shape:
        raise ValueError(
            f"y_true must be one-dimensional and as long as y_pred, got shapes "
            f"{y_true.shape} and {y_pred.shape}."
        )
    value = np.mean(y_true**2) - y_true @ y_pred / len(y_true)
    return float(value) if np.ndim(value) == 0 else value
