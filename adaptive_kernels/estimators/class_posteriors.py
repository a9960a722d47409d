"""Class posteriors of rows with one-vs-rest targets, for a regressor's kernel."""

from dataclasses import replace

import numpy as np

from .._arrays import asarray_like, small_problem_threads, to_numpy
from ..inference.class_calibration import ExactClasses, fit_class_posterior
from ..inference.evidence import Data
from ..inference.inducing_calibration import InducingClasses
from ..inference.streaming import inducing_data
from .labels import codes_of


def calibrated(regressor, rows, n_inducing=None):
    """Calibrated class posterior of some rows, with the kernel of a fitted regressor.

    rows : RowStream, with one-vs-rest targets
    n_inducing : int or None for an exact posterior
    """
    point, codes = regressor._posterior.point, codes_of(rows.Y)
    labels = np.eye(max(rows.Y.shape[1], 2))[codes]
    weights = None if rows.weights is None else to_numpy(rows.weights)
    mean = np.average(labels, axis=0, weights=weights)
    if n_inducing is None:
        data = Data(rows.X, asarray_like(labels - mean, rows.X), rows.weights)
        with small_problem_threads(rows.X.shape[0]):
            return fit_class_posterior(ExactClasses.of(data, point), labels)
    rows = replace(rows, Y=labels)
    data = inducing_data(rows, n_inducing, mean, np.ones_like(mean), codes)
    with small_problem_threads(n_inducing):
        sample = InducingClasses.of(data, point)
        shown = np.round(to_numpy(sample.held_out.Y) + mean)
        shares = class_shares(shown, sample.held_out.weights, mean)
        return fit_class_posterior(sample, shown, shares)


def class_shares(labels, weights, frequencies):
    """Weights (n,) of sampled rows that give the classes the given frequencies."""
    weights = np.ones(len(labels)) if weights is None else to_numpy(weights)
    found = weights @ labels / np.sum(weights)
    return weights * (labels @ (frequencies / np.where(found > 0, found, 1)))
