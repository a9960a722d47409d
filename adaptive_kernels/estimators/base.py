"""What all exact kernel models share: validation, the device, scaling of targets."""

from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

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
from .._sklearn import check_same_namespace, check_sample_weight
from ..inference.inducing_memory import CURE
from ..kernels._eigenpairs import KernelRows
from .training import TargetScale, merged_rows


@contextmanager
def unchanged_on_failure(estimator):
    """Leave the estimator as it was if the block is interrupted or fails."""
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


def validate_training(estimator, X, y, sample_weight):
    """Checked X, y and weights (or None); sets the estimator's input features."""
    X, y = validate_data(
        estimator, X, y, multi_output=True, y_numeric=True, dtype="numeric"
    )
    if sample_weight is not None:
        sample_weight = check_sample_weight(sample_weight, X, ensure_non_negative=True)
    return X, y, sample_weight


def validate_rows(estimator, X, method, attribute="X_train_"):
    """Checked X of a prediction, left where it is for a model within to move."""
    check_is_fitted(estimator)
    X = validate_data(estimator, X, reset=False, dtype="numeric")
    if estimator.device is None:
        check_same_namespace(X, estimator, attribute=attribute, method=method)
    return X


class ArrayModel(BaseEstimator):
    """Body of the estimators that take any array and pickle as NumPy."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

    def __getstate__(self):
        state = dict(super().__getstate__())
        return {name: on_host(value) for name, value in state.items()}


class KernelModel(ArrayModel):
    """Body of the estimators that hold a kernel matrix of their training rows.

    They have parameters `device` and `normalize_y`. In `fit` they set `X_train_` and,
    as a `TargetScale`, `_targets`.
    """

    def _validate(self, X, y, sample_weight):
        """X, Y (n, C) and weights (or None) of the distinct rows, on the device."""
        return self._merged(*validate_training(self, X, y, sample_weight))

    def _merged(self, X, y, sample_weight):
        """The same of rows that have been checked."""
        X = as_float64(to_device(X, self.device))
        y = asarray_like(y, X)
        single = y.ndim == 1
        Y = y[:, None] if single else y
        X, Y, weights, inverse = merged_rows(X, Y, sample_weight)
        self._check_memory(X, X.shape[0])
        return X, Y, weights, (single, inverse)

    def _check_memory(self, X, n):
        """Raise MemoryError where a fit of n distinct rows does not fit."""
        check_memory(X, n, self._matrices())

    def _matrices(self):
        """Matrices of n x n that a fit holds at its peak."""
        return 2

    def _target_scale(self, Y, weights, is_vector):
        return TargetScale.of(
            Y, weights, normalize=self.normalize_y, is_vector=is_vector
        )

    def _validate_rows(self, X, method):
        """X in double precision on the model's device, and whether X was NumPy."""
        X, host = self._checked_rows(X, method)
        return self._computed(X), host

    def _checked_rows(self, X, method):
        """X as given, and whether it was NumPy."""
        X = validate_data(self, X, reset=False, dtype="numeric")
        host = isinstance(X, np.ndarray)
        if not host or self.device is None:
            check_same_namespace(X, self, attribute="X_train_", method=method)
        return X, host

    def _computed(self, X):
        """Rows in double precision on the model's device."""
        on_host = isinstance(self.X_train_, np.ndarray)
        return as_float64(to_device(X, None if on_host else self.device))

    def _mean(self, X):
        """Mean (m, C) from `dual_coef_`, in blocks of rows of the kernel."""
        with small_problem_threads(self.X_train_.shape[0]):
            mean = KernelRows(self.kernel_, X, self.X_train_) @ self.dual_coef_
        return self._targets.given(mean)


def draw_jointly(mean, covariance, n_samples, random_state):
    """Normal draws (m, n_samples) or (m, C, n_samples), jointly over rows, on NumPy."""
    rng = check_random_state(random_state)
    mean, covariance = to_numpy(mean), to_numpy(covariance)
    if mean.ndim == 1:
        return rng.multivariate_normal(mean, covariance, n_samples).T
    draws = [
        rng.multivariate_normal(mean[:, c], covariance[..., c], n_samples).T
        for c in range(mean.shape[1])
    ]
    return np.stack(draws, axis=1)


def on_host(value):
    """Device arrays as NumPy, so that a model loads on a machine without the device."""
    if on_device(value):
        return to_numpy(value)
    if is_dataclass(value):
        names = [field.name for field in fields(value)]
        return replace(value, **{name: on_host(getattr(value, name)) for name in names})
    return value
