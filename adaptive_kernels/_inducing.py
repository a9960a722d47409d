"""Fits by inducing points: rows in blocks, a sample to learn from."""

from dataclasses import dataclass

import numpy as np

from ._array import (
    as_float64,
    asarray_like,
    check_inducing_memory,
    index_like,
    namespace,
    rows_per_block,
    to_device,
    to_numpy,
)
from .kernels._recursion import slices_of
from .theory.inducing import InducingData

# Kernel and covariance are learned from this many rows, or this many for each inducing
# point where that is more.
SAMPLE = 4000
SAMPLE_PER_POINT = 4


@dataclass(frozen=True)
class AllRows:
    """All rows of a fit, left where they are and taken block by block.

    X : array (n, d) of any real type, in memory or mapped to it
    Y : array (n, C), in double precision
    weights : array (n,) or None
    device : None or "cuda"
    """

    X: object
    Y: object
    weights: object
    device: object

    def take(self, rows):
        """Blocks of X, Y and weights in double precision on the device."""
        X = as_float64(to_device(self.X[rows, :], self.device))
        weights = None if self.weights is None else self.weights[rows]
        return X, asarray_like(self.Y[rows, :], X), _like(weights, X)

    def sample(self, n_rows):
        """Random rows of positive weight, the same for every fit, or all if so few."""
        n = self.X.shape[0]
        kept = np.arange(n)
        if self.weights is not None:
            kept = np.flatnonzero(to_numpy(self.weights) > 0)
        if len(kept) > n_rows:
            kept = np.random.RandomState(0).permutation(kept)[:n_rows]
        elif len(kept) == n:
            return self.take(slice(0, n))
        rows = np.sort(kept)
        X = namespace(self.X).take(self.X, index_like(rows, self.X), axis=0)
        Y = namespace(self.Y).take(self.Y, index_like(rows, self.Y), axis=0)
        weights = self.weights
        if weights is not None:
            weights = namespace(weights).take(weights, index_like(rows, weights))
        return AllRows(X, Y, weights, self.device).take(slice(0, len(rows)))

    def blocks(self, n_columns):
        """Iterate over all rows, `n_columns` further entries for each at once."""
        like = self.take(slice(0, 1))[0]
        size = rows_per_block(like, max(n_columns, self.X.shape[1]))
        for rows in slices_of(self.X.shape[0], size):
            yield self.take(rows)

    def column_variances(self):
        """Weighted variance of every column of X: ndarray (d,)."""
        origin = self.take(slice(0, 1))[0]
        size, total, squares = 0.0, 0.0, 0.0
        for X, _, weights in self.blocks(self.X.shape[1]):
            xp, gap = namespace(X), X - origin
            shares = xp.ones_like(X[:, 0]) if weights is None else weights
            size += float(xp.sum(shares))
            total = total + shares @ gap
            squares = squares + shares @ (gap * gap)
        mean = to_numpy(total) / size
        return np.maximum(to_numpy(squares) / size - mean**2, 0)


def _like(weights, X):
    return None if weights is None else asarray_like(weights, X)


def inducing_data(rows, n_inducing, mean, scale):
    """What to learn from and what the posterior is of, targets normalised.

    rows : AllRows, targets as given
    """
    check_inducing_memory(rows.take(slice(0, 1))[0], n_inducing)
    X, Y, weights = rows.sample(max(SAMPLE, SAMPLE_PER_POINT * n_inducing))
    mean, scale = asarray_like(mean, X), asarray_like(scale, X)

    def blocks():
        for X, Y, weights in rows.blocks(n_inducing):
            yield X, (Y - mean) / scale, weights

    everything = X.shape[0] == rows.X.shape[0]
    return InducingData(
        X,
        (Y - mean) / scale,
        weights,
        n_inducing=n_inducing,
        blocks=None if everything else blocks,
    )
