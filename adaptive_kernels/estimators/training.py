"""Training rows of a fit: distinct, with normalised targets."""

from dataclasses import dataclass, replace

import numpy as np

from .._arrays import (
    Array,
    asarray_like,
    identity,
    index_like,
    namespace,
    round_columns,
    to_numpy,
)
from ..inference.evidence import Data
from ..inference.optimization import NOISE_BOUNDS


@dataclass(frozen=True)
class TargetScale:
    """Conversion of y to normalised targets, and of predictions to the units of y.

    A constant output says nothing about the kernel, but its evidence favours a small
    noise. `without_constants` leaves such outputs out of the fit: they are predicted as
    their mean, with the smallest noise that a fit allows.

    mean, scale : arrays (C,), of all outputs
    is_vector : bool, whether y is a vector (n,)
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

        An output that is constant up to rounding has scale 1.
        """
        xp = namespace(Y)
        counts = xp.ones_like(Y[:, 0]) if weights is None else weights
        shares = (counts / xp.sum(counts))[:, None]
        # Rows of weight zero must not count for the range: any other row stands in.
        kept = xp.where((counts > 0)[:, None], Y, Y[int(xp.argmax(counts)), :])
        low, high = xp.min(kept, axis=0), xp.max(kept, axis=0)
        # Sum differences to the middle: a constant then has an exact mean.
        middle = low + (high - low) / 2
        mean = middle + xp.sum(shares * (kept - middle), axis=0)
        spread = xp.sqrt(xp.sum(shares * (kept - mean) ** 2, axis=0))
        # The square of a smaller spread vanishes, and so would variances in y's units.
        constant = constant_columns(kept) | (spread < 1e-150)
        if not normalize:
            # Without normalisation, a constant other than zero has to be learned.
            constant, mean, spread = constant & (mean == 0), 0 * mean, 0 * mean + 1
        scale = xp.where(constant, xp.ones_like(spread), spread)
        return cls(mean, scale, is_vector, to_numpy(constant))

    def without_constants(self):
        """A copy that leaves constant outputs out of the fit, unless all are."""
        if self.constant.all() or not self.constant.any():
            return self
        return replace(self, fitted=np.flatnonzero(~self.constant))

    def _of_fitted(self, values):
        """Values (..., C) of the fitted outputs."""
        if self.fitted is None:
            return values
        return namespace(values).take(values, index_like(self.fitted, values), axis=-1)

    def with_constants(self, values, rest):
        """Values of all outputs (..., C), with `rest` (..., C) for those not fitted."""
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
        """Fitted columns of targets (n, C); constants are replaced by their mean."""
        if not self.constant.any():
            return Y
        constant = asarray_like(self.constant, Y) > 0
        return self._of_fitted(namespace(Y).where(constant, self.mean, Y))

    def normalized(self, Y):
        """Targets of the fitted outputs, with mean 0 and scale 1."""
        mean, scale = self.fitted_scale()
        return (self.fitted_outputs(Y) - mean) / scale

    def to_original(self, values):
        """Convert normalised means of fitted outputs to all outputs, in units of y."""
        mean, scale = self.fitted_scale()
        return self.with_constants(values * scale + mean, self.mean)

    def to_original_std(self, variance):
        """Standard deviations (..., C) of all outputs, in y's units, from variances."""
        _, scale = self.fitted_scale()
        std = namespace(variance).sqrt(variance) * scale
        return self.with_constants(std, NOISE_BOUNDS[0] ** 0.5 * self.scale)

    def to_original_covariance(self, covariance):
        """Covariances (m, m, C) of all outputs, in the units of y."""
        _, scale = self.fitted_scale()
        covariance = covariance * scale**2
        if self.fitted is None:
            return covariance
        eye = identity(covariance[..., 0], covariance.shape[0])[:, :, None]
        rest = NOISE_BOUNDS[0] * eye * self.scale**2
        return self.with_constants(covariance, rest)

    def noise_with_constants(self, noise):
        """Noise variance of all outputs from that of the fitted ones."""
        if np.ndim(noise) == 0:
            return noise
        rest = np.full(len(self.constant), NOISE_BOUNDS[0])
        return self.with_constants(to_numpy(noise), rest)

    def shaped(self, values, on_host):
        """Values (..., C) in the shape of y, as a NumPy array if `on_host`."""
        values = to_numpy(values) if on_host else values
        return values[..., 0] if self.is_vector else values


def constant_columns(Y):
    """Which columns of Y (n, C) are constant up to rounding: array (C,) of bool."""
    xp = namespace(Y)
    low, high = xp.min(Y, axis=0), xp.max(Y, axis=0)
    largest = xp.maximum(xp.abs(low), xp.abs(high))
    return high - low <= 10 * xp.finfo(Y.dtype).eps * largest


@dataclass(frozen=True)
class TrainingRows:
    """Input of a fit by evidence.

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
    """Merge equal rows: X, Y and weights (or None) of the distinct rows, and `inverse`.

    See `_distinct_rows` for the order of the rows, and for `inverse`.
    """
    rows, inverse, weights = _distinct_rows(X, Y, sample_weight)
    xp, index = namespace(X), index_like(rows, X)
    weights = None if weights is None else asarray_like(weights, X)
    return xp.take(X, index, axis=0), xp.take(Y, index, axis=0), weights, inverse


def _distinct_rows(X, Y, sample_weight):
    """Merge rows that are equal in X and y into one row with their total weight.

    Merging lowers the cost and improves the conditioning; the model stays the same. The
    rows are sorted, so that a fit does not depend on the order of the samples. They are
    sorted by rounded values: rounding errors then do not change the order.

    Returns
    -------
    rows : indices of the distinct rows of positive weight, in lexicographic order
    inverse : for every sample of positive weight, the position of its row in `rows`
    weights : weights of the distinct rows, or None if all are one
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
