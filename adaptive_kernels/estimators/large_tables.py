"""Training rows of fits that do not factorise the kernel of all rows."""

from .._arrays import as_float64, asarray_like, index_like, to_device, to_numpy
from ..inference import subsampling
from ..inference.evidence import Data
from ..inference.local_posterior import local_data
from ..inference.streaming import RowStream, inducing_data
from .training import TrainingRows, column_variances


def local_rows(model, X, y, weights):
    """The `TrainingRows` of a fit with neighbours; a large table keeps equal rows."""
    inverse = None
    if X.shape[0] <= subsampling.MERGED_ROWS:
        X, Y, weights, (is_vector, inverse) = model._merged(X, y, weights)
    else:
        X = as_float64(to_device(X, model.device))
        Y, weights, is_vector = columns_like(X, y, weights)
        if weights is not None:
            kept = index_like(to_numpy(weights).nonzero()[0], X)
            X, Y, weights = (a[kept, ...] for a in (X, Y, weights))
    targets = model._target_scale(Y, weights, is_vector)
    rows = Data(X, targets.normalized(Y), weights)
    data = local_data(rows, model.n_neighbors, model.n_inducing)
    variances = asarray_like(column_variances(X, weights), X)
    index = None if inverse is None else index_like(inverse, X)
    return TrainingRows(data, targets, variances, index)


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
