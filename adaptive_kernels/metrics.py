"""Scores of probabilistic predictions."""

import numpy as np


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
    y_true, mean, std = (np.asarray(a, dtype=float) for a in (y_true, mean, std))
    if not np.all(std > 0):
        raise ValueError("std must be positive everywhere.")
    density = -0.5 * (((y_true - mean) / std) ** 2 + np.log(2 * np.pi * std**2))
    density = density if density.ndim == 1 else density.sum(axis=1)
    return float(np.average(density, weights=sample_weight))
