"""Base class of the classifiers with the kernel of a wide network."""

from numbers import Integral
from typing import Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from .._arrays import (
    Array,
    ArrayLike,
    as_float64,
    asarray_like,
    check_device,
    index_like,
    small_problem_threads,
    to_device,
    to_numpy,
)
from .._sklearn import Interval, StrOptions, fit_context
from ..inference import subsampling
from ..inference.evidence import Data
from ..inference.local_posterior import checked_inducing
from ..inference.memory_limits import check_exact_memory
from ..inference.streaming import RowStream, is_approximate
from ..kernels import NNGP, NTK
from ..kernels._base import WideKernel
from ..kernels._recursion import slices_of
from .base import ArrayModel, merged_rows, unchanged_on_failure
from .class_posteriors import calibrated
from .labels import codes_of, labels_at, one_vs_rest_targets, validate_labels
from .large_tables import N_NEIGHBORS, ChoosesNeighbors, stays_unmerged
from .validation import validate_rows, warn_of_relative_weights
from .wide_network import PREDICTED_ROWS

_PASSED = ("kernel", "optimizer", "n_restarts_optimizer", "device", "random_state")


class WideNetworkClassifier(ChoosesNeighbors, ClassifierMixin, ArrayModel):
    """Base class of the classifiers: labels, weights, calibration, probabilities."""

    _parameter_constraints: dict = {
        "kernel": [WideKernel, None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "optimizer": [StrOptions({"evidence"}), None],
        "n_restarts_optimizer": [Interval(Integral, 0, None, closed="left")],
        "n_inducing": [Interval(Integral, 1, None, closed="left"), None],
        "n_neighbors": N_NEIGHBORS,
        "device": [str, None],
        "random_state": ["random_state"],
    }

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Fit the kernel, the posterior and the calibration.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs. They are not scaled: put a scaler before this estimator.
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w counts as w equal rows. Weight 0 removes the row.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is invalid, or there is only one class.
        MemoryError
            If the kernel matrix does not fit in memory.

        Warns
        -----
        ConvergenceWarning
            If the optimizer stopped early, or a small forest explains much more of y.
        """
        return self._fit_labels(X, y, sample_weight)

    def _fit_labels(self, X, y, sample_weight, **options):
        """Check the data and fit; `options` are passed to `_fit`."""
        with unchanged_on_failure(self):
            check_device(self.device)
            X, codes, classes, weights = validate_labels(
                self, X, y, sample_weight, self.class_weight
            )
            if self.class_weight is None:
                warn_of_relative_weights(weights)
            self._fit(X, codes, weights, classes, **options)
            self.classes_ = index_like(classes, y)
        return self

    def _fit(self, X, codes, weights, classes):
        rows = self._rows(X, codes, weights, len(classes))
        self._check_memory(rows)
        sample = self._learning_rows(rows)
        regressor = self._regressor()
        regressor.check_parameters()
        regressor._fit_checked((sample.X, sample.Y, sample.weights))
        self._adopt(regressor, rows)

    def _rows(self, X, codes, weights, n_classes):
        """`RowStream` with one-vs-rest targets; equal rows of a small X are merged."""
        columns = one_vs_rest_targets(codes, n_classes)
        if stays_unmerged(self, X, codes):
            return RowStream(X, columns, weights, self.device)
        X = as_float64(to_device(X, self.device))
        X, columns, weights, _ = merged_rows(X, asarray_like(columns, X), weights)
        return RowStream(X, columns, weights, self.device)

    def _check_memory(self, rows):
        """Raise MemoryError if a posterior of the rows does not fit in memory."""
        n, like = rows.X.shape[0], rows.take(slice(0, 1))[0]
        if self.is_local(n):
            checked_inducing(like, n, rows.X.shape[1], self.n_inducing)
        elif not is_approximate(n, self.n_inducing):
            check_exact_memory(like, n, 2)

    def _learning_rows(self, rows):
        """A stratified sample of the rows, on which a regressor learns the kernel.

        With `device` the rows go to the regressor as NumPy, and it moves them itself:
        without array API dispatch scikit-learn does not check arrays on a device.
        """
        n_rows = subsampling.CLASS_KERNEL_ROWS
        if self.is_local(rows.X.shape[0]):
            n_rows = subsampling.LOCAL_CLASS_KERNEL_ROWS
        parts = rows.sample(n_rows, codes_of(rows.Y))
        if self.device is not None:
            parts = (None if a is None else to_numpy(a) for a in parts)
        return Data(*parts)

    def _adopt(self, regressor, rows):
        """Set the fitted attributes: kernel of a regressor, calibrated on the rows."""
        n = rows.X.shape[0]
        k = self._neighbors_of(n)
        self._classes = calibrated(regressor, rows, self.n_inducing, k)
        self.regressor_, posterior = regressor, self._classes.posterior
        self.n_neighbors_ = posterior.n_neighbors if self.is_local(n) else None
        inducing = posterior.inducing_points()
        self.X_train_ = rows.X if inducing is None else inducing

    @property
    def kernel_(self) -> NNGP | NTK:
        """Kernel with the fitted variances and metric."""
        check_is_fitted(self)
        return self.regressor_.kernel_

    @property
    def alpha_(self) -> float:
        """Noise variance of the labels; it minimises the leave-one-out log loss."""
        check_is_fitted(self)
        return self._classes.noise

    @property
    def leave_one_out_log_loss_(self) -> float:
        """Mean log loss of training rows, each left out, with the fitted kernel."""
        check_is_fitted(self)
        return self._classes.loss

    @property
    def n_iter_(self) -> int:
        """Number of iterations of the optimizer."""
        check_is_fitted(self)
        return self.regressor_.n_iter_

    def _log_probabilities(self, X, method):
        """Log probabilities, ndarray (m, C), and one checked row of X as float64."""
        X = validate_rows(self, X, method)
        blocks = (as_float64(X[i, :]) for i in slices_of(X.shape[0], PREDICTED_ROWS))
        with small_problem_threads(self.X_train_.shape[0]):
            logs = [self._class_log_probabilities(block) for block in blocks]
        return np.concatenate(logs), as_float64(X[:1, :])

    def _class_log_probabilities(self, X):
        return self._classes.log_probabilities(X)

    def decision_function(self, X: ArrayLike) -> Array:
        """Log odds of two classes, or log probabilities of more.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs.

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log odds of the second class, otherwise the logarithms
            of `predict_proba`.
        """
        logs, X = self._log_probabilities(X, "decision_function")
        if logs.shape[1] == 2:
            logs = logs[:, 1] - logs[:, 0]
        return asarray_like(logs, X)

    def predict_proba(self, X: ArrayLike) -> Array:
        """Probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs.

        Returns
        -------
        array of shape (n_samples, n_classes)
            Calibrated probabilities; each row sums to one.
        """
        logs, X = self._log_probabilities(X, "predict_proba")
        return asarray_like(np.exp(logs), X)

    def predict(self, X: ArrayLike) -> Array:
        """Predict the most probable labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs.

        Returns
        -------
        array of shape (n_samples,)
            Labels. Numbers are an array of the library of X, strings a NumPy array.
        """
        logs, X = self._log_probabilities(X, "predict")
        return labels_at(self.classes_, np.argmax(logs, axis=1), X)
