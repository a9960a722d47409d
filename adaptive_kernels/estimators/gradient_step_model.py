"""Base class of `OneStepSpikeFeatures`: validation, gradient step, projections."""

import warnings
from dataclasses import replace
from math import copysign, sqrt

import numpy as np
from scipy.sparse import issparse
from sklearn.base import (
    BaseEstimator,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .._arrays import (
    Array,
    as_float,
    as_float64,
    asarray_like,
    check_range,
    index_like,
    namespace,
    to_device,
    to_numpy,
)
from .._persistence import VersionedState
from ..theory.one_step.gradient_step import first_gradient
from ..theory.one_step.target_polynomial import SeenRows
from .base import on_host
from .row_blocks import RowBlocks
from .target_columns import TargetColumns, table_to_numpy
from .training import constant_columns
from .validation import validate_own_rows, validate_weights

# Hermite coefficients c_0 ... c_5 are kept, hence spikes up to the fifth power.
N_COEFFICIENTS = 6


class GradientStepModel(VersionedState, BaseEstimator):
    """Base class; it reads the parameters of `OneStepSpikeFeatures`."""

    def _validate(self, X, y, sample_weight) -> tuple[Array, np.ndarray, np.ndarray]:
        """Checked X, targets (n, q), shares (n, 1) that sum to one; set `_columns`."""
        y = table_to_numpy(y)
        X, y = validate_data(self, X, y, multi_output=True, dtype="numeric")
        check_range(X, "X")
        if issparse(y):
            raise TypeError("y is sparse: pass y.toarray().")
        X, y, weights = as_float(X), to_numpy(y), np.ones(X.shape[0])
        if sample_weight is not None:
            weights = to_numpy(validate_weights(sample_weight, X)).astype(float)
            if not weights.all():
                # A label of removed rows only is not a class.
                kept = np.flatnonzero(weights)
                X = namespace(X).take(X, index_like(kept, X), axis=0)
                y, weights = y[kept], weights[kept]
        self._columns = TargetColumns(y, self.target_type)
        Y = self._columns(y)
        self._single_output = Y.shape[1] == 1
        return X, Y, (weights / weights.sum())[:, None]

    def _fit(self, X, Y, shares, found):
        n_features, n_outputs = X.shape[1], Y.shape[1]
        rows = RowBlocks.of(X, shares, n_columns=self.n_components, device=self.device)
        self._rows, self.mean_, self.scale_ = rows, rows.mean, rows.scale or 1.0
        weights, readout = self._draw(to_device(X[:1, :], self.device), n_outputs)
        targets = _standardised(Y, shares)
        step = first_gradient(
            rows.blocks(X, targets, shares),
            weights,
            readout / sqrt(self.n_components),
            found,
            full_residual=self.residual == "full",
            exact=self.gradient == "exact",
            moments=self.precondition is not None,
        )
        # Rows and targets have mean variance one, which sets the size of rounding.
        rounding = 10 * float(namespace(weights).finfo(weights.dtype).eps)
        learns = step.norm > rounding * sqrt(n_features * n_outputs)
        learns = learns and rows.scale > 0 and targets.any()
        if learns and self.precondition is not None:
            step = step.preconditioned(self.precondition)
        self.initial_weights_ = weights
        self.readout_ = readout[:, 0] if self._single_output else readout
        coefficients = found.coefficients[:N_COEFFICIENTS].copy()
        self.hermite_coefficients_ = asarray_like(coefficients, self.mean_)
        self._n_features_out = self.n_components
        self._take(step, found, learns)
        self._seen = SeenRows.of(self._marks(X, Y))

    def _draw(self, like, n_outputs):
        """Random weights of unit length, and standard normal readout weights."""
        rng = check_random_state(self.random_state)
        # A new generator: data drawn with the same seed must not equal the neurons.
        rng = np.random.default_rng(rng.randint(np.iinfo(np.int32).max))
        weights = rng.standard_normal((self.n_components, like.shape[1]))
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        readout = rng.standard_normal((self.n_components, n_outputs))
        return asarray_like(weights, like), asarray_like(readout, like)

    def _take(self, step, found, learns):
        """Set the fitted attributes of the step; without `learns` it is zero."""
        if not learns:
            warnings.warn(
                "X and y are not correlated, or one of them does not vary. The "
                "gradient is zero, and the features stay random.",
                UserWarning,
                stacklevel=5,
            )
        norm = step.norm if learns else 1.0
        self.gain_ = float(self.gain) if learns else 0.0
        direction = step.direction / norm if learns else 0 * step.direction
        slope = float(found.linear)
        signed = copysign(self.gain_, slope)
        self.step_size_ = self.gain_ * sqrt(self.n_components) / abs(slope) / norm
        weights = self.initial_weights_
        if self.gain_ == 0:
            self.weights_ = weights
        elif step.gradient is None:
            planes = asarray_like(direction.T, weights)
            self.weights_ = weights + signed * (self._readout() @ planes)
        else:
            self.weights_ = weights + self.step_size_ * step.gradient
        self.direction_ = direction[:, 0] if self._single_output else direction
        powers = asarray_like(signed ** np.arange(1, N_COEFFICIENTS), self.mean_)
        self.spike_coefficients_ = self.hermite_coefficients_[1:] * powers

    def _readout(self):
        readout = self.readout_
        return readout[:, None] if self._single_output else readout

    def _projections(self, X):
        """Projections (n, q) of checked rows on the q columns of `direction_`."""
        return self._rows.project(X, self._directions())

    def _directions(self):
        direction = self.direction_
        return direction[:, None] if self._single_output else direction

    def _marks(self, X, Y):
        """Numbers that identify rows (n, 2 + q): two projections, and q targets."""
        first = self._directions()[:, :1]
        neuron = as_float64(self.initial_weights_[:1, :]).T
        vectors = namespace(first).concat([first, neuron], axis=1)
        return np.hstack([to_numpy(self._rows.project(X, vectors)), Y])

    def _checked(self, X, method):
        check_is_fitted(self)
        return as_float(validate_own_rows(self, X, method, "weights_"))

    def __getstate__(self):
        state = {name: on_host(v) for name, v in super().__getstate__().items()}
        if "_rows" in state:
            # All arrays are NumPy now, so that the model loads without a device.
            state["_rows"] = replace(state["_rows"], device=None)
        return state


def _standardised(Y, shares):
    """Centred Y, divided by one number so that the mean variance is one."""
    centred = Y - np.sum(shares * Y, axis=0)
    centred[:, constant_columns(Y)] = 0.0
    # Divide by the maximum first: squares of tiny or huge numbers vanish or overflow.
    centred /= np.abs(centred).max() or 1.0
    variance = np.sum(shares * centred**2, axis=0)
    return centred / (sqrt(variance.mean()) or 1.0)
