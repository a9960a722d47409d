"""Training rows as a fit needs them: checked, distinct, targets normalised."""

from dataclasses import dataclass, replace

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
    """How the outputs of y become normalised targets, and predictions outputs again.

    An output without variation says nothing of the kernel or the noise, but each such
    output would count as evidence for a small noise. `without_constants` leaves them
    out: they are predicted as their mean, with the smallest noise that a fit may have.

    mean, scale : arrays (C,), of all outputs
    is_vector : bool, whether y came as a vector
    constant : ndarray (C,) of bool, outputs that do not vary
    fitted : ndarray of int, the outputs that are fitted; None for all
    """

    mean: Array
    scale: Array
    is_vector: bool
    constant: np.ndarray
    fitted: np.ndarray | None = None

    @classmethod
    def of(cls, Y, weights, *, normalize, is_vector):
        """Weighted mean and standard deviation of (n, C) targets, or 0 and 1.

        An output that is constant but for rounding keeps the scale 1.
        """
        xp = namespace(Y)
        weighs = xp.ones_like(Y[:, 0]) if weights is None else weights
        shares = (weighs / xp.sum(weighs))[:, None]
        weighed = xp.where((weighs > 0)[:, None], Y, Y[int(xp.argmax(weighs)), :])
        low, high = xp.min(weighed, axis=0), xp.max(weighed, axis=0)
        # Sums about the middle keep the mean of a constant free of rounding.
        middle = low + (high - low) / 2
        mean = middle + xp.sum(shares * (weighed - middle), axis=0)
        spread = xp.sqrt(xp.sum(shares * (weighed - mean) ** 2, axis=0))
        constant = high - low <= 10 * xp.finfo(Y.dtype).eps * xp.abs(middle)
        if not normalize:
            # A constant that is not zero is something to learn.
            constant, mean, spread = constant & (mean == 0), 0 * mean, 0 * mean + 1
        scale = xp.where(constant, xp.ones_like(spread), spread)
        return cls(mean, scale, is_vector, to_numpy(constant))

    def without_constants(self):
        """The same with constant outputs left out of the fit, unless all are."""
        if self.constant.all() or not self.constant.any():
            return self
        return replace(self, fitted=np.flatnonzero(~self.constant))

    def _of_fitted(self, values):
        """Values (..., C) of the fitted outputs."""
        if self.fitted is None:
            return values
        return namespace(values).take(values, index_like(self.fitted, values), axis=-1)

    def of_all(self, values, rest):
        """Values (..., C) of all outputs, `rest` (..., C) where they are not fitted."""
        if self.fitted is None:
            return values
        xp = namespace(values)
        columns = [rest[..., c] + 0 * values[..., 0] for c in range(len(self.constant))]
        for place, c in enumerate(self.fitted):
            columns[c] = values[..., place]
        return xp.stack(columns, axis=-1)

    def fitted_scale(self):
        """Mean and scale of the fitted outputs."""
        return self._of_fitted(self.mean), self._of_fitted(self.scale)

    def fitted_outputs(self, Y):
        """The fitted columns of (n, C) targets, constant ones without rounding."""
        if not self.constant.any():
            return Y
        constant = asarray_like(self.constant, Y) > 0
        return self._of_fitted(namespace(Y).where(constant, self.mean, Y))

    def normalized(self, Y):
        """Targets of the fitted outputs, with mean 0 and scale 1."""
        mean, scale = self.fitted_scale()
        return (self.fitted_outputs(Y) - mean) / scale

    def given(self, values):
        """Normalised targets or means (..., C) in the units of y, of all outputs."""
        mean, scale = self.fitted_scale()
        return self.of_all(values * scale + mean, self.mean)

    def given_variance(self, variance, least):
        """Normalised variances (..., C) in the units of y, of all outputs.

        least : array (...,), normalised variance of an output that is not fitted
        """
        _, scale = self.fitted_scale()
        rest = least[..., None] * self.scale**2
        return self.of_all(variance * scale**2, rest)

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
