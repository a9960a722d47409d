"""Training rows of a fit: exact, with inducing points, or with neighbours."""

from numbers import Integral

import numpy as np

from .._arrays import (
    as_float64,
    asarray_like,
    index_like,
    rows_per_block,
    to_device,
    to_numpy,
)
from .._sklearn import Interval, StrOptions
from ..inference import subsampling
from ..inference.evidence import Data
from ..inference.local_posterior import local_data
from ..inference.streaming import RowStream, inducing_data, is_approximate
from ..kernels._recursion import slices_of
from .training import TrainingRows, column_variances

# Values of the parameter `n_neighbors`.
N_NEIGHBORS = [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), None]
# A large table is merged only if at most this share of its rows is distinct.
_MANY_REPEATS = 0.9


def training_rows(model, X, y, weights):
    """The `TrainingRows` of checked arrays, for the fit that suits their number.

    Equal rows are merged, except in a large table: there a fit with inducing points
    does not merge, and a fit with neighbours only if many rows repeat.
    """
    n, m = X.shape[0], model.n_inducing
    if n > subsampling.MERGED_ROWS:
        k = model._neighbors_of(n)
        if is_approximate(n, k):
            if not has_many_repeats(X, y):
                model._check_memory(X, n)
                return local_rows(model, k, *positive_rows(model, X, y, weights))
        elif is_approximate(n, m):
            model._check_memory(X, n)
            # X is not moved. Targets and weights are summed on the device: they take
            # the type and device of one moved row.
            like = as_float64(to_device(X[:1, :], model.device))
            return inducing_rows(model, X, *columns_like(like, y, weights))
    X, Y, weights, (is_vector, inverse) = model._merged(X, y, weights)
    n = X.shape[0]
    k, index = model._neighbors_of(n), index_like(inverse, X)
    if is_approximate(n, k):
        return local_rows(model, k, X, Y, weights, is_vector, index)
    if is_approximate(n, m):
        return inducing_rows(model, X, Y, weights, is_vector)
    targets = model._target_scale(Y, weights, is_vector)
    data = Data(X, targets.normalized(Y), weights)
    return TrainingRows(data, targets, _variances(X, weights), index)


def neighbors_for(n, n_neighbors, n_inducing):
    """How many nearest rows predict in a fit of n distinct rows, or None for all.

    n_neighbors, n_inducing : parameters of the estimator
    """
    if n_neighbors != "auto":
        return n_neighbors
    few = n <= subsampling.EXACT_ROWS or n_inducing is not None
    return None if few else subsampling.NEIGHBORS


def has_many_repeats(X, y):
    """Whether merging equal rows would make a table much smaller.

    Equal rows have equal sums with random coefficients, and others have not.
    """
    n, d = X.shape
    Y = to_numpy(y).reshape(n, -1)
    rng = np.random.RandomState(0)
    of_columns, of_outputs = rng.standard_normal(d), rng.standard_normal(Y.shape[1])
    parts = [
        to_numpy(as_float64(X[rows, :])) @ of_columns
        for rows in slices_of(n, rows_per_block(Y, d))
    ]
    sums = np.concatenate(parts) + Y @ of_outputs
    return len(np.unique(sums)) <= _MANY_REPEATS * n


def positive_rows(model, X, y, weights):
    """X, targets (n, C) and weights of the rows of positive weight, and the y's kind.

    The last result says whether y is a vector.
    """
    X = as_float64(to_device(X, model.device))
    Y, weights, is_vector = columns_like(X, y, weights)
    if weights is not None:
        kept = index_like(to_numpy(weights).nonzero()[0], X)
        X, Y, weights = (a[kept, ...] for a in (X, Y, weights))
    return X, Y, weights, is_vector


def local_rows(model, n_neighbors, X, Y, weights, is_vector, row_of_sample=None):
    """The `TrainingRows` of a fit with neighbours."""
    targets = model._target_scale(Y, weights, is_vector)
    rows = Data(X, targets.normalized(Y), weights)
    data = local_data(rows, n_neighbors, model.n_inducing)
    return TrainingRows(data, targets, _variances(X, weights), row_of_sample)


def inducing_rows(model, X, Y, weights, is_vector):
    """The `TrainingRows` of a fit with inducing points."""
    targets = model._target_scale(Y, weights, is_vector)
    stream = RowStream(X, targets.fitted_outputs(Y), weights, model.device)
    variances = asarray_like(stream.column_variances(), Y)
    data = inducing_data(stream, model.n_inducing, *targets.fitted_scale())
    return TrainingRows(data, targets, variances)


def columns_like(like, y, weights):
    """Targets (n, C) and weights as arrays like X, and whether y is a vector."""
    Y = asarray_like(y, like)
    weights = None if weights is None else asarray_like(weights, like)
    return Y[:, None] if Y.ndim == 1 else Y, weights, Y.ndim == 1


def _variances(X, weights):
    return asarray_like(column_variances(X, weights), X)
