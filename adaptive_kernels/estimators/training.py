"""Training rows as a fit needs them: checked, distinct, targets normalised."""

from dataclasses import dataclass

import numpy as np

from .._arrays import (
    Array,
    asarray_like,
    index_like,
    namespace,
    round_columns,
    to_numpy,
)
from ..inference.evidence import Data


@dataclass(frozen=True)
class TargetScale:
    """Mean and scale of the targets, and whether they came as a vector.

    mean, scale : arrays (C,)
    is_vector : bool
    """

    mean: Array
    scale: Array
    is_vector: bool

    @classmethod
    def of(cls, Y, weights, *, normalize, is_vector):
        """Weighted mean and standard deviation of (n, C) targets, or 0 and 1.

        An output that is constant but for rounding keeps the scale 1.
        """
        xp = namespace(Y)
        if not normalize:
            return cls(0 * Y[0, :], 0 * Y[0, :] + 1, is_vector)
        shares = xp.ones_like(Y[:, 0]) if weights is None else weights
        shares = (shares / xp.sum(shares))[:, None]
        mean = xp.sum(shares * Y, axis=0)
        spread = xp.sqrt(xp.sum(shares * (Y - mean) ** 2, axis=0))
        tiny = 10 * xp.finfo(Y.dtype).eps * xp.abs(mean)
        scale = xp.where(spread > tiny, spread, xp.ones_like(spread))
        return cls(mean, scale, is_vector)

    def normalized(self, Y):
        """Targets (n, C) with mean 0 and scale 1."""
        return (Y - self.mean) / self.scale

    def given(self, values):
        """Normalised targets or means (..., C) in the units of y."""
        return values * self.scale + self.mean

    def shaped(self, values, on_host):
        """Outputs (..., C) as y came, on the host if asked for."""
        values = to_numpy(values) if on_host else values
        return values[..., 0] if self.is_vector else values


@dataclass(frozen=True)
class TrainingRows:
    """What a fit by evidence is given.

    data : Data, distinct rows of positive weight, targets normalised; `InducingData`
        for a fit through inducing points
    targets : TargetScale
    column_variances : array (d,), weighted variances of the columns of X
    row_of_sample : array (n_samples,) of int, the distinct row of each sample of
        positive weight; None with inducing points
    """

    data: Data
    targets: TargetScale
    column_variances: Array
    row_of_sample: Array | None = None


def merged_rows(X, Y, sample_weight):
    """X, Y and weights (or None) of the distinct rows, and the place of every sample.

    See `_distinct_rows` for which and in what order.
    """
    rows, inverse, weights = _distinct_rows(X, Y, sample_weight)
    xp, index = namespace(X), index_like(rows, X)
    weights = None if weights is None else asarray_like(weights, X)
    return xp.take(X, index, axis=0), xp.take(Y, index, axis=0), weights, inverse


def _distinct_rows(X, Y, sample_weight):
    """Merge rows that repeat exactly, target included, into one of their total weight.

    This changes nothing but the cost and the conditioning, and in the order given here
    the fit does not depend on the order of the samples. The order is that of rounded
    values, so that rounding errors do not choose among equal ones.

    Returns
    -------
    rows : indices of the distinct rows of positive weight, in lexicographic order
    inverse : for every sample of positive weight, its place among them
    weights : their weights, or None if all are one
    """
    table = np.hstack([to_numpy(X), to_numpy(Y)])
    weights = np.ones(len(table)) if sample_weight is None else to_numpy(sample_weight)
    kept = np.flatnonzero(weights > 0)
    _, first, inverse = np.unique(
        table[kept], axis=0, return_index=True, return_inverse=True
    )
    rows, inverse = kept[first], inverse.reshape(-1)
    rounded = round_columns(table[rows] - np.mean(table[rows], axis=0))
    order = np.lexsort(rounded.T[::-1])
    place = np.argsort(order)
    total = np.bincount(inverse, weights[kept])[order]
    return rows[order], place[inverse], None if np.all(total == 1) else total


def column_variances(X, weights):
    """Variance of every column of X, weighted: ndarray (d,)."""
    X = to_numpy(X)
    weights = None if weights is None else to_numpy(weights)
    mean = np.average(X, axis=0, weights=weights)
    return np.average((X - mean) ** 2, axis=0, weights=weights)
