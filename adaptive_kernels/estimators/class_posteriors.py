"""Class posteriors of rows with one-vs-rest targets, for a regressor's kernel."""

from dataclasses import replace

import numpy as np

from .._arrays import (
    as_float64,
    asarray_like,
    small_problem_threads,
    to_device,
    to_numpy,
)
from ..inference import subsampling
from ..inference.class_calibration import ExactClasses, fit_class_posterior
from ..inference.evidence import Data
from ..inference.inducing_calibration import InducingClasses
from ..inference.local_calibration import LocalClasses
from ..inference.local_posterior import local_data
from ..inference.streaming import inducing_data, is_approximate
from ..inference.subsampling import stratified_rows
from .labels import codes_of
from .large_tables import positive_rows


def calibrated(regressor, rows, n_inducing=None, n_neighbors=None):
    """Calibrated class posterior of some rows, with the kernel of a fitted regressor.

    It is exact if there are not more rows than inducing points and neighbours.

    rows : RowStream, with one-vs-rest targets
    n_inducing, n_neighbors : int or None
    """
    point, codes = regressor._posterior.point, codes_of(rows.Y)
    labels = np.eye(max(rows.Y.shape[1], 2))[codes]
    weights = None if rows.weights is None else to_numpy(rows.weights)
    mean = np.average(labels, axis=0, weights=weights)
    n = rows.X.shape[0]
    if is_approximate(n, n_neighbors):
        return _from_neighbours(
            rows, labels - mean, mean, point, (n_neighbors, n_inducing)
        )
    if is_approximate(n, n_inducing):
        rows = replace(rows, Y=labels)
        data = inducing_data(rows, n_inducing, mean, np.ones_like(mean), codes)
        with small_problem_threads(n_inducing):
            return _from_sample(InducingClasses.of(data, point), mean)
    data = Data(rows.X, asarray_like(labels - mean, rows.X), rows.weights)
    with small_problem_threads(n):
        return fit_class_posterior(ExactClasses.of(data, point), labels)


def _from_neighbours(rows, targets, mean, point, numbers):
    """The posterior from neighbours; `numbers` are those of neighbours and points."""
    X, weights = to_device(rows.X, rows.device), rows.weights
    first = as_float64(X[:1, :])
    weights = None if weights is None else asarray_like(weights, first)
    data = Data(*positive_rows(X, asarray_like(targets, first), weights))
    codes = np.argmax(to_numpy(data.Y), axis=1)
    data = local_data(data, *numbers)
    # The kernel was learned from the first rows of the same random order.
    sample = stratified_rows(codes, subsampling.CLASS_LEFT_OUT_ROWS, last=True)
    return _from_sample(LocalClasses.of(data, point, sample), mean)


def _from_sample(classes, mean):
    """The posterior calibrated on sampled rows, with the shares `mean` of classes."""
    held_out = classes.held_out
    labels = np.round(to_numpy(held_out.Y) + mean)
    return fit_class_posterior(
        classes, labels, class_shares(labels, held_out.weights, mean)
    )


def class_shares(labels, weights, frequencies):
    """Weights (n,) of sampled rows that give the classes the given frequencies."""
    weights = np.ones(len(labels)) if weights is None else to_numpy(weights)
    found = weights @ labels / np.sum(weights)
    return weights * (labels @ (frequencies / np.where(found > 0, found, 1)))
