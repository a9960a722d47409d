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


class ChoosesNeighbors:
    """Mixin of estimators with `n_neighbors`: which fit suits a number of rows."""

    def _needs_all_rows(self):
        """Whether other parameters need all training rows at once."""
        return False

    def _neighbors_of(self, n):
        """How many nearest rows predict in a fit of n distinct rows; None for all."""
        if self.n_neighbors != "auto":
            return self.n_neighbors
        few = n <= subsampling.EXACT_ROWS or self.n_inducing is not None
        return None if few or self._needs_all_rows() else subsampling.NEIGHBORS

    def is_local(self, n: int) -> bool:
        """Whether a fit of n distinct rows predicts from neighbours."""
        return is_approximate(n, self._neighbors_of(n))


def training_rows(model, X, y, weights):
    """The `TrainingRows` of checked arrays, for the fit that suits their number."""
    n = X.shape[0]
    if stays_unmerged(model, X, y):
        model._check_memory(X, n)
        if model.is_local(n):
            return local_rows(model, *unmerged_rows(model, X, y, weights))
        # X is not moved. Targets and weights are summed on the device: they take the
        # type and device of one moved row.
        like = as_float64(to_device(X[:1, :], model.device))
        return inducing_rows(model, X, *columns_like(like, y, weights))
    X, Y, weights, (is_vector, inverse) = model._merged(X, y, weights)
    n, index = X.shape[0], index_like(inverse, X)
    if model.is_local(n):
        return local_rows(model, X, Y, weights, is_vector, index)
    if is_approximate(n, model.n_inducing):
        return inducing_rows(model, X, Y, weights, is_vector)
    targets = model._target_scale(Y, weights, is_vector)
    data = Data(X, targets.normalized(Y), weights)
    return TrainingRows(data, targets, _variances(X, weights), index)


def stays_unmerged(model, X, y):
    """Whether equal rows are not merged, as in most large tables.

    With inducing points the rows of a large table are never merged; with neighbours
    only if many of them repeat.
    """
    n = X.shape[0]
    if n <= subsampling.MERGED_ROWS:
        return False
    if model.is_local(n):
        return not has_many_repeats(X, y)
    return is_approximate(n, model.n_inducing)


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


def unmerged_rows(model, X, y, weights):
    """X, targets (n, C), weights of the rows that count; whether y is a vector."""
    X = as_float64(to_device(X, model.device))
    Y, weights, is_vector = columns_like(X, y, weights)
    return *positive_rows(X, Y, weights), is_vector


def positive_rows(X, Y, weights):
    """The rows of positive weight; weights may be None."""
    if weights is None:
        return X, Y, None
    kept = index_like(to_numpy(weights).nonzero()[0], X)
    return tuple(a[kept, ...] for a in (X, Y, weights))


def local_rows(model, X, Y, weights, is_vector, row_of_sample=None):
    """The `TrainingRows` of a fit with neighbours."""
    targets = model._target_scale(Y, weights, is_vector)
    rows = Data(X, targets.normalized(Y), weights)
    data = local_data(rows, model._neighbors_of(X.shape[0]), model.n_inducing)
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
