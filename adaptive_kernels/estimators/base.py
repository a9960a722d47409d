"""Base classes of the kernel models: validation, device, scaling of targets."""

from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from .._arrays import (
    FEWER_ROWS,
    as_float64,
    asarray_like,
    check_memory,
    device_memory_errors,
    on_device,
    small_problem_threads,
    to_device,
    to_numpy,
)
from .._persistence import VersionedState
from ..inference.memory_limits import CURE
from ..kernels._eigenpairs import KernelRows
from .training import TargetScale, merged_rows
from .validation import validate_own_rows, validate_training


@contextmanager
def unchanged_on_failure(estimator):
    """Restore the estimator's attributes if the block fails or is interrupted."""
    before = dict(vars(estimator))
    try:
        with device_memory_errors(
            CURE if hasattr(estimator, "n_inducing") else FEWER_ROWS
        ):
            yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


class ArrayModel(VersionedState, BaseEstimator):
    """Base class of estimators that take any array library and pickle as NumPy."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

    def __getstate__(self):
        state = dict(super().__getstate__())
        return {name: on_host(value) for name, value in state.items()}


class KernelModel(ArrayModel):
    """Base class of estimators that hold a kernel matrix of their training rows.

    Subclasses have the attributes `device` and `normalize_y`. Their `fit` sets
    `X_train_` and `_targets`, a `TargetScale`.
    """

    def _validate(self, X, y, sample_weight):
        """Check the training data, then move and merge its rows as `_merged` does."""
        return self._merged(*validate_training(self, X, y, sample_weight))

    def _merged(self, X, y, sample_weight):
        """Move checked rows to the device and merge those that repeat.

        Returns X, Y (n, C), weights or None, and a pair: whether y is a vector, and for
        every sample the index of its merged row.
        """
        X = as_float64(to_device(X, self.device))
        y = asarray_like(y, X)
        single = y.ndim == 1
        Y = y[:, None] if single else y
        X, Y, weights, inverse = merged_rows(X, Y, sample_weight)
        self._check_memory(X, X.shape[0])
        return X, Y, weights, (single, inverse)

    def _check_memory(self, X, n):
        """Raise MemoryError if a fit of n distinct rows needs more than is free."""
        check_memory(X, n, self._matrices())

    def _matrices(self):
        """Number of n x n matrices in memory at the peak of a fit."""
        return 2

    def _target_scale(self, Y, weights, is_vector):
        return TargetScale.of(
            Y, weights, normalize=self.normalize_y, is_vector=is_vector
        )

    def _validate_rows(self, X, method):
        """Checked X as float64 on the model's device, and whether X was NumPy."""
        X, host = self._checked_rows(X, method)
        return self._computed(X), host

    def _checked_rows(self, X, method):
        """Checked X where it is, and whether it is a NumPy array."""
        X = validate_own_rows(self, X, method, "X_train_")
        return X, isinstance(X, np.ndarray)

    def _computed(self, X):
        """X as float64 on the model's device."""
        on_host = isinstance(self.X_train_, np.ndarray)
        return as_float64(to_device(X, None if on_host else self.device))

    def _mean(self, X):
        """Predicted mean (m, C), with the kernel computed in blocks of rows."""
        with small_problem_threads(self.X_train_.shape[0]):
            mean = KernelRows(self.kernel_, X, self.X_train_) @ self.dual_coef_
        return self._targets.to_original(mean)


def draw_jointly(mean, covariance, n_samples, random_state):
    """Joint normal draws at m rows: ndarray (m, n_samples) or (m, C, n_samples)."""
    rng = check_random_state(random_state)
    mean, covariance = to_numpy(mean), to_numpy(covariance)
    if mean.ndim == 1:
        return _drawn(mean, covariance, n_samples, rng)
    draws = [
        _drawn(mean[:, c], covariance[..., c], n_samples, rng)
        for c in range(mean.shape[1])
    ]
    return np.stack(draws, axis=1)


def _drawn(mean, covariance, n_samples, rng):
    """Draws (m, n_samples) of one output, made in units of about its largest spread.

    NumPy compares the covariance with its factors by an absolute tolerance of 1e-8.
    The unit is a power of two, so that it causes no rounding.
    """
    largest = np.sqrt(np.max(np.diag(covariance)))
    unit = np.exp2(np.round(np.log2(largest))) if largest > 0 else 1.0
    draws = rng.multivariate_normal(0 * mean, covariance / unit**2, n_samples)
    return mean[:, None] + unit * draws.T


def on_host(value):
    """Copy device arrays to NumPy: a model then loads where there is no device."""
    if on_device(value):
        return to_numpy(value)
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
        return replace(value, **{name: on_host(getattr(value, name)) for name in names})
    return value
