"""Classifiers with the kernel of a wide network, fixed or adaptive."""

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
from ._labels import (
    codes_of,
    labels_at,
    signed_columns,
    stratified_rows,
    validate_labels,
)
from ._model import ArrayModel, merged_rows, unchanged_on_failure, validate_rows
from ._regression import AdaptiveKernelRegressor
from .kernels._base import WideKernel
from .theory.calibration import fit_class_posterior
from .theory.variational import Data

# A kernel has a number for each feature, and hardly changes beyond these rows; the
# posterior and its calibration take all rows.
KERNEL_ROWS = 1000
_PASSED = ("kernel", "optimizer", "n_restarts_optimizer", "device", "random_state")


class WideNetworkClassifier(ClassifierMixin, ArrayModel):
    """Labels, weights and probabilities, shared by the classifiers."""

    _parameter_constraints: dict = {
        "kernel": [WideKernel, None],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "optimizer": [StrOptions({"evidence"}), None],
        "n_restarts_optimizer": [Interval(Integral, 0, None, closed="left")],
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
        sample = as_given(learning_rows(rows), self.device)
        regressor = self._regressor().fit(sample.X, sample.Y, sample.weights)
        self._adopt(regressor, rows)

    def _rows(self, X, codes, weights, n_classes):
        """The distinct rows with signed columns as targets, on the device."""
        X = as_float64(to_device(X, self.device))
        columns = asarray_like(signed_columns(codes, n_classes), X)
        X, columns, weights, _ = merged_rows(X, columns, weights)
        check_memory(X, X.shape[0], 2)
        return Data(X, columns, weights)

    def _adopt(self, regressor, rows):
        """Take the kernel of a fitted regressor, and calibrate on the rows."""
        self._classes = calibrated(regressor, rows)
        self.regressor_, self.X_train_ = regressor, rows.X

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
        """Log loss of each training row predicted from the others, kernel as fitted."""
        check_is_fitted(self)
        return self._classes.loss

    @property
    def n_iter_(self):
        """Iterations of the optimizer."""
        check_is_fitted(self)
        return self.regressor_.n_iter_

    def _log_probabilities(self, X, method):
        """(m, C) on the host, and X as validated."""
        X = as_float64(validate_rows(self, X, method))
        with small_problem_threads(self.X_train_.shape[0]):
            return self._class_log_probabilities(X), X

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


def learning_rows(rows):
    """A stratified sample of the rows, from which the kernel is learned."""
    codes = codes_of(rows.Y)
    if len(codes) <= KERNEL_ROWS:
        return rows
    return rows.take(index_like(stratified_rows(codes, KERNEL_ROWS), rows.X))


def as_given(rows, device):
    """The rows as a regressor of that device takes them: it moves them itself.

    Without array API dispatch scikit-learn refuses to check them on the device.
    """
    if device is None:
        return rows
    parts = (rows.X, rows.Y, rows.weights)
    return Data(*(None if a is None else to_numpy(a) for a in parts))


def calibrated(regressor, rows):
    """Class posterior of rows with signed columns, for a regressor's kernel."""
    labels = np.eye(max(rows.Y.shape[1], 2))[codes_of(rows.Y)]
    with small_problem_threads(rows.X.shape[0]):
        return fit_class_posterior(
            rows.X, labels, rows.weights, regressor._posterior.point
        )


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
        Distinct training rows of positive weight, in lexicographic order.
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
        device=None,
        random_state=None,
    ):
        self.kernel = kernel
        self.class_weight = class_weight
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
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
    class_weight, optimizer, n_restarts_optimizer, device, random_state :
        As in `NNGPClassifier`.
    max_iter : int, default=200
        Iterations of the optimizer at full size.
    tol : float, default=1.0
        As in `AdaptiveKernelRegressor`; looser, since the evidence of labels taken for
        Gaussian numbers needs no digits.

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
        max_iter=200,
        tol=1.0,
        device=None,
        random_state=None,
    ):
        self.kernel = kernel
        self.width = width
        self.covariance_type = covariance_type
        self.class_weight = class_weight
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
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
