"""Classifiers with the kernel of a wide network, fixed or adaptive."""

from dataclasses import replace
from math import inf
from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._array import (
    as_float64,
    asarray_like,
    check_device,
    check_memory,
    index_like,
    small_problem_threads,
    to_device,
    to_numpy,
)
from ._base import PREDICTED_ROWS
from ._inducing import AllRows, inducing_data, is_sparse, streams
from ._labels import codes_of, labels_at, signed_columns, validate_labels
from ._model import ArrayModel, merged_rows, unchanged_on_failure, validate_rows
from ._regression import AdaptiveKernelRegressor
from .kernels._base import WideKernel
from .kernels._recursion import slices_of
from .theory.calibration import ExactClasses, fit_class_posterior
from .theory.inducing import InducingClasses
from .theory.variational import Data

# A kernel has a number for each feature, and hardly changes beyond these rows; the
# posterior takes all.
KERNEL_ROWS = 1000
_PASSED = ("kernel", "optimizer", "n_restarts_optimizer", "device", "random_state")


class WideNetworkClassifier(ClassifierMixin, ArrayModel):
    """Labels, weights and probabilities, shared by the classifiers."""

    _parameter_constraints: dict = {
        "kernel": [WideKernel, None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "optimizer": [StrOptions({"evidence"}), None],
        "n_restarts_optimizer": [Interval(Integral, 0, None, closed="left")],
        "n_inducing": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str, None],
        "random_state": ["random_state"],
    }

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the kernel, the posterior and the calibration.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs, used as given: put a scaler before this estimator.
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w counts like w repeated rows. Weight 0 removes the row.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is unusable, or there is only one class.
        MemoryError
            If the kernel matrix does not fit in memory.
        """
        with unchanged_on_failure(self):
            check_device(self.device)
            X, codes, classes, weights = validate_labels(
                self, X, y, sample_weight, self.class_weight
            )
            self._fit(X, codes, weights, classes)
            self.classes_ = index_like(classes, y)
        return self

    def _fit(self, X, codes, weights, classes):
        rows = self._rows(X, codes, weights, len(classes))
        sample = self._learning_rows(rows)
        regressor = self._regressor().fit(sample.X, sample.Y, sample.weights)
        self._adopt(regressor, rows)

    def _rows(self, X, codes, weights, n_classes):
        """Rows with signed columns as targets, distinct unless they are very many."""
        columns = signed_columns(codes, n_classes)
        if streams(X.shape[0], self.n_inducing):
            return AllRows(X, columns, weights, self.device)
        X = as_float64(to_device(X, self.device))
        X, columns, weights, _ = merged_rows(X, asarray_like(columns, X), weights)
        rows = AllRows(X, columns, weights, self.device)
        if not is_sparse(X.shape[0], self.n_inducing):
            check_memory(X, X.shape[0], 2, inducing=True)
        return rows

    def _learning_rows(self, rows):
        """A stratified sample, from which the kernel is learned, as a regressor's fit.

        Without array API dispatch scikit-learn refuses to check rows on the device, so
        that the regressor has to move them itself.
        """
        parts = rows.sample(KERNEL_ROWS, codes_of(rows.Y))
        if self.device is not None:
            parts = (None if a is None else to_numpy(a) for a in parts)
        return Data(*parts)

    def _adopt(self, regressor, rows):
        """Take the kernel of a fitted regressor, and calibrate on the rows."""
        sparse = is_sparse(rows.X.shape[0], self.n_inducing)
        n_inducing = self.n_inducing if sparse else None
        self._classes = calibrated(regressor, rows, n_inducing)
        self.regressor_ = regressor
        self.X_train_ = self._classes.posterior.inducing if sparse else rows.X

    @property
    def kernel_(self):
        """Kernel with the fitted variances and metric."""
        check_is_fitted(self)
        return self.regressor_.kernel_

    @property
    def alpha_(self):
        """Noise variance of the labels, of least leave-one-out log loss."""
        check_is_fitted(self)
        return self._classes.noise

    @property
    def leave_one_out_log_loss_(self):
        """Mean log loss of training rows, each left out; the kernel is as fitted."""
        check_is_fitted(self)
        return self._classes.loss

    @property
    def n_iter_(self):
        """Iterations of the optimizer."""
        check_is_fitted(self)
        return self.regressor_.n_iter_

    def _log_probabilities(self, X, method):
        """(m, C) on the host, block by block of rows, and X as validated."""
        X = validate_rows(self, X, method)
        blocks = (as_float64(X[i, :]) for i in slices_of(X.shape[0], PREDICTED_ROWS))
        with small_problem_threads(self.X_train_.shape[0]):
            logs = [self._class_log_probabilities(block) for block in blocks]
        return np.concatenate(logs), as_float64(X[:1, :])

    def _class_log_probabilities(self, X):
        return self._classes.log_probabilities(X)

    def decision_function(self, X):
        """Log odds, or log probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log odds of the second, else log probabilities.
        """
        logs, X = self._log_probabilities(X, "decision_function")
        if logs.shape[1] == 2:
            logs = logs[:, 1] - logs[:, 0]
        return asarray_like(logs, X)

    def predict_proba(self, X):
        """Probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_classes)
        """
        logs, X = self._log_probabilities(X, "predict_proba")
        return asarray_like(np.exp(logs), X)

    def predict(self, X):
        """Predict the most probable labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples,)
            NumPy where the labels are no numbers, otherwise of X's library.
        """
        logs, X = self._log_probabilities(X, "predict")
        return labels_at(self.classes_, np.argmax(logs, axis=1), X)


def calibrated(regressor, rows, n_inducing=None):
    """Class posterior of rows with signed columns, for a regressor's kernel.

    rows : AllRows
    """
    point, codes = regressor._posterior.point, codes_of(rows.Y)
    labels = np.eye(max(rows.Y.shape[1], 2))[codes]
    weights = None if rows.weights is None else to_numpy(rows.weights)
    mean = np.average(labels, axis=0, weights=weights)
    if n_inducing is None:
        data = Data(rows.X, asarray_like(labels - mean, rows.X), rows.weights)
        with small_problem_threads(rows.X.shape[0]):
            return fit_class_posterior(ExactClasses.of(data, point), labels)
    rows = replace(rows, Y=labels)
    data = inducing_data(rows, n_inducing, mean, np.ones_like(mean), codes)
    with small_problem_threads(n_inducing):
        sample = InducingClasses.of(data, point)
        shown = np.round(to_numpy(sample.judged.Y) + mean)
        shares = class_shares(shown, sample.judged.weights, mean)
        return fit_class_posterior(sample, shown, shares)


def class_shares(labels, weights, frequencies):
    """Weights (n,) of the rows of a sample that give its classes their frequencies."""
    weights = np.ones(len(labels)) if weights is None else to_numpy(weights)
    found = weights @ labels / np.sum(weights)
    return weights * (labels @ (frequencies / np.where(found > 0, found, 1)))


class NNGPClassifier(WideNetworkClassifier):
    """Classification with the Gaussian process of an infinitely wide neural network.

    NNGP means neural-network Gaussian process. One-hot labels are regressed on, with
    one kernel and one factorisation for all classes; slope and offsets of the logits,
    and the noise, are those of least log loss over rows left out in closed form. Beyond
    1000 distinct rows the kernel is learned from a stratified sample of as many.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        As in `NNGPRegressor`.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight`: probabilities are then
        those of the weighted population. "balanced" gives classes equal total weight.
    optimizer : {"evidence"} or None, default="evidence"
        None takes every variance of the kernel as given.
    n_restarts_optimizer : int, default=0
        Random starting points besides the fixed ones.
    n_inducing : int, default=None
        None is the exact fit, with a matrix of n x n. A number, from 300 to 2000, fits
        through so many inducing points in O(n n_inducing^2) time, a block of rows in
        memory at once. Noise and calibration then rest on 4000 rows, or 4 n_inducing if
        that is more, each left out of all. X may be a `numpy.memmap`, or of single
        precision; from 20,000 rows it is neither copied nor kept.
    device : {"cuda"} or None, default=None
        "cuda" moves X to a GPU through CuPy and returns NumPy; None follows X.
    random_state : int, RandomState or None, default=None
        For the random starts only.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    kernel_ : NNGP or NTK
        Kernel with the fitted variances.
    alpha_ : float
        Noise variance of the labels, in units of their variance.
    leave_one_out_log_loss_ : float
    regressor_ : AdaptiveKernelRegressor
        The regressor of infinite width on labels -1 and 1 that learned the kernel.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows of positive weight, in lexicographic order; with
        `n_inducing` the inducing points, which are some of the training rows.
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    For two classes, Dirichlet-noise classification is this regression at a given noise,
    since the difference of its two latent functions has the same noise in every row.

    References
    ----------
    D. Milios et al., "Dirichlet-based Gaussian Processes for Large-scale Calibrated
    Classification", NeurIPS 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from adaptive_kernels import NNGPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NNGPClassifier().fit(X[::2], y[::2])
    >>> model.predict_proba(X[1::2]).shape
    (75, 3)
    >>> model.score(X[1::2], y[1::2]) > 0.9
    True
    """

    def __init__(
        self,
        kernel=None,
        *,
        class_weight=None,
        optimizer="evidence",
        n_restarts_optimizer=0,
        n_inducing=None,
        device=None,
        random_state=None,
    ):
        self.kernel = kernel
        self.class_weight = class_weight
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.device = device
        self.random_state = random_state

    def _regressor(self):
        passed = {name: getattr(self, name) for name in _PASSED}
        return AdaptiveKernelRegressor(width=inf, **passed)


class AdaptiveKernelClassifier(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, WideNetworkClassifier
):
    """Classification with the kernel of a finite-width network, which adapts to data.

    One covariance of the input weights, shared by all classes, is learned on labels -1
    and 1 as by `AdaptiveKernelRegressor`; probabilities come from it as in
    `NNGPClassifier`. The cost hardly depends on the number of classes.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        As in `NNGPRegressor`: its variances set the prior.
    width : float, default=10.0
        Number of hidden units: a small width learns the covariance freely, ``inf`` is
        `NNGPClassifier`. Best chosen by `AdaptiveKernelClassifierCV`.
    covariance_type : {"diag", "full"}, default="diag"
        One variance per feature, or all covariances.
    class_weight, optimizer, n_restarts_optimizer, n_inducing, device, random_state :
        As in `NNGPClassifier`.
    max_iter, tol :
        As in `AdaptiveKernelRegressor`.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    weight_covariance_ : ndarray of shape (n_features,) or (n_features, n_features)
        As in `AdaptiveKernelRegressor`.
    feature_importances_ : ndarray of shape (n_features,)
        As in `AdaptiveKernelRegressor`.
    regressor_ : AdaptiveKernelRegressor
        The regressor on labels -1 and 1 that learned the kernel.
    kernel_, alpha_, leave_one_out_log_loss_, X_train_, n_iter_, n_features_in_, \
feature_names_in_ :
        As in `NNGPClassifier`. After learning a covariance the leave-one-out loss is
        optimistic: choose a width by cross-validation.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels import AdaptiveKernelClassifier
    >>> X = np.random.default_rng(0).standard_normal((120, 5))
    >>> y = np.where(np.abs(X[:, 3]) > 0.7, "far", "near")
    >>> model = AdaptiveKernelClassifier().fit(X[:80], y[:80])
    >>> int(model.feature_importances_.argmax())
    3
    >>> model.score(X[80:], y[80:]) > 0.8
    True
    """

    _parameter_constraints: dict = {
        **WideNetworkClassifier._parameter_constraints,
        "width": [Interval(Real, 0, None, closed="right")],
        "covariance_type": [StrOptions({"diag", "full"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        kernel=None,
        *,
        width=10.0,
        covariance_type="diag",
        class_weight=None,
        optimizer="evidence",
        n_restarts_optimizer=0,
        n_inducing=None,
        max_iter=200,
        tol=0.2,
        device=None,
        random_state=None,
    ):
        self.kernel = kernel
        self.width = width
        self.covariance_type = covariance_type
        self.class_weight = class_weight
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    def _regressor(self):
        names = (*_PASSED, "width", "covariance_type", "max_iter", "tol")
        return AdaptiveKernelRegressor(**{name: getattr(self, name) for name in names})

    @property
    def weight_covariance_(self):
        """Covariance of a hidden unit's input weights, (d, d) or (d,)."""
        check_is_fitted(self)
        return self.regressor_.weight_covariance_

    @property
    def feature_importances_(self):
        """Share of each feature in the variance of a pre-activation: (d,)."""
        check_is_fitted(self)
        return self.regressor_.feature_importances_

    def transform(self, X):
        """Map inputs into the learned metric; see `AdaptiveKernelRegressor.transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_features)
        """
        X = as_float64(validate_rows(self, X, "transform"))
        return self.regressor_.transform(X)

    @property
    def _n_features_out(self):
        return self.n_features_in_
