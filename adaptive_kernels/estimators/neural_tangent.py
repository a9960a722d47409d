"""Infinitely wide networks trained by gradient flow, as estimators."""

from dataclasses import replace
from numbers import Real
from typing import Literal, Self

import numpy as np
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from .._arrays import (
    Array,
    ArrayLike,
    check_device,
    clip,
    index_like,
    namespace,
    small_problem_threads,
)
from .._sklearn import Interval, StrOptions, fit_context
from ..kernels import NNGP, NTK
from ..theory.kernel_regression.gradient_flow import GradientFlow
from .base import KernelModel, unchanged_on_failure
from .labels import codes_of, labels_at, one_vs_rest_targets, validate_labels


class GradientFlowModel(KernelModel):
    """Body of the regressor and the classifier: the flow, its stop and its spread."""

    _parameter_constraints: dict = {
        "kernel": [NTK, None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "time": [Interval(Real, 0, None, closed="both"), StrOptions({"gcv"})],
        "device": [str, None],
    }

    def _matrices(self):
        return 4

    def _fit_flow(self, X, y, sample_weight):
        with unchanged_on_failure(self):
            check_device(self.device)
            X, Y, weights, (single, _) = self._validate(X, y, sample_weight)
            with small_problem_threads(X.shape[0]):
                self._fit(X, self._target_scale(Y, weights, single), Y, weights)
        return self

    def _fit(self, X, scale, Y, weights):
        self.kernel_ = NTK("relu") if self.kernel is None else clone(self.kernel)
        self._targets = scale
        flow = GradientFlow.of_kernel(self.kernel_(X), scale.normalized(Y), weights)
        self.time_ = self.time
        if self.time == "gcv":
            times = flow.times(self.alpha)
            scores = flow.validation_scores(times, self.alpha)
            self.time_ = float(times[np.argmin(scores)])
        self.X_train_, self._flow = X, flow
        self.dual_coef_ = flow.dual(self.time_, self.alpha)

    @property
    def eigenvalues_(self) -> Array:
        """Eigenvalues of the kernel matrix of the distinct rows, descending."""
        check_is_fitted(self)
        return self._flow.eigenvalues

    def _outputs(self, X, method, spread=None):
        """Mean of the networks; with their "std" or "cov" if `spread` says so."""
        check_is_fitted(self)
        X, host = self._validate_rows(X, method)
        results = [self._mean(X)]
        if spread == "std":
            variance = self._spread(X, covariance=False)
            xp = namespace(variance)
            std = xp.sqrt(clip(variance, 0.0))
            results.append(std[:, None] * self._targets.scale)
        elif spread == "cov":
            covariance = self._spread(X, covariance=True)
            results.append(covariance[:, :, None] * self._targets.scale**2)
        results = [self._targets.shaped(values, host) for values in results]
        return tuple(results) if spread else results[0]

    def _spread(self, X, covariance):
        """Variance (m,) or covariance (m, m) over networks, for normalised targets."""
        train = self.X_train_
        with small_problem_threads(train.shape[0]):
            cross, tangent = self.kernel_.nngp_and_ntk(X, train)
            initial = NNGP(**self.kernel_.get_params(deep=False))
            follow = self._flow.apply(tangent, self.time_, self.alpha)
            # Var[f_0(x) - follow f_0(X_train)].
            half = follow @ initial(train) - 2 * cross
            if covariance:
                moved = follow @ half.T
                return initial(X) + (moved + moved.T) / 2
            return initial.diag(X) + namespace(X).sum(follow * half, axis=1)


class NTKRegressor(MultiOutputMixin, RegressorMixin, GradientFlowModel):
    """Mean of infinitely wide networks trained by gradient flow.

    A network of infinite width, trained by gradient descent in small steps on the
    squared error, is linear in its weights: its outputs follow the fixed neural tangent
    kernel (NTK). Their mean over random initial weights is known at every training
    time, and so is their spread. To tune the NTK's hyperparameters by evidence instead
    of training it, give it to `NNGPRegressor` as `kernel`.

    Parameters
    ----------
    kernel : NTK, default=None
        None means ``NTK("relu")``. Its hyperparameters are taken as given.
    alpha : float, default=0.0
        Weight decay towards the initial weights: ridge, in units of the variance of y.
    time : float or "gcv", default="gcv"
        Training time on half the mean squared error. Infinity means to the end:
        interpolation, or kernel ridge regression if `alpha` is positive. "gcv" stops
        where generalised cross-validation is best, at the cost of the one
        eigendecomposition that any time needs.
    normalize_y : bool, default=True
        Fit to centred targets of unit variance; predictions come back in y's units.
    device : {"cuda"} or None, default=None
        "cuda" moves X and y to a GPU through CuPy and returns NumPy; None follows X.

    Attributes
    ----------
    kernel_ : NTK
    time_ : float
        `time`, or what generalised cross-validation chose.
    dual_coef_ : array of shape (n_rows, n_outputs)
        Coefficients of the kernel with `X_train_`, for normalised targets.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows, in lexicographic order.
    eigenvalues_ : array of shape (n_rows,)
        Of their kernel matrix, descending.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    See Also
    --------
    ModifiedSpectrumRegressor : Gradient descent, with chosen rates.

    Notes
    -----
    The mode of eigenvalue l is learned with time constant n / (l + alpha), so that
    stopping early drops the modes of small eigenvalue, which fit noise.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler, "Neural Tangent Kernel", arXiv:1806.07572.
    J. Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under
    Gradient Descent", arXiv:1902.06720.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from adaptive_kernels import NTKRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X = 20 * X  # to unit variance
    >>> early = NTKRegressor().fit(X[::2], y[::2])
    >>> interpolant = NTKRegressor(time=float("inf")).fit(X[::2], y[::2])
    >>> early.score(X[1::2], y[1::2]) > interpolant.score(X[1::2], y[1::2]) + 0.05
    True
    """

    _parameter_constraints: dict = {
        **GradientFlowModel._parameter_constraints,
        "normalize_y": ["boolean"],
    }

    def __init__(
        self,
        kernel: NTK | None = None,
        *,
        alpha: float = 0.0,
        time: float | Literal["gcv"] = "gcv",
        normalize_y: bool = True,
        device: str | None = None,
    ) -> None:
        self.kernel = kernel
        self.alpha = alpha
        self.time = time
        self.normalize_y = normalize_y
        self.device = device

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train to the chosen time.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs, used as given: put a scaler before this estimator.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Outputs share the kernel and the time.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w counts like w repeated rows.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is unusable; the message names it.
        MemoryError
            If the kernel matrix does not fit in memory.
        """
        return self._fit_flow(X, y, sample_weight)

    def predict(
        self, X: ArrayLike, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """Mean over networks, and optionally their spread.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        return_std : bool, default=False
        return_cov : bool, default=False

        Returns
        -------
        mean : array of shape (n_samples,) or (n_samples, n_outputs)
        std : array like mean
            Only with `return_std`: standard deviation over random initial weights, in
            the units of y. It is no error bar: noise in y is not part of it.
        covariance : array of shape (n_samples, n_samples) or \
(n_samples, n_samples, n_outputs)
            Only with `return_cov`.

        Raises
        ------
        RuntimeError
            If both `return_std` and `return_cov` are asked for.
        """
        if return_std and return_cov:
            raise RuntimeError("Ask for return_std or for return_cov, not for both.")
        spread = "std" if return_std else "cov" if return_cov else None
        return self._outputs(X, "predict", spread)


class NTKClassifier(ClassifierMixin, GradientFlowModel):
    """Infinitely wide networks trained by gradient flow on class labels.

    One output for each class, or one for two classes, is trained on the squared error
    to labels -1 and 1, centred and scaled as by `NTKRegressor`; the largest output
    decides. Outputs are no probabilities: scikit-learn's `CalibratedClassifierCV` makes
    some of them.

    Parameters
    ----------
    kernel : NTK, default=None
        None means ``NTK("relu")``. Its hyperparameters are taken as given.
    alpha : float, default=0.0
        Weight decay towards the initial weights: ridge.
    time : float or "gcv", default="gcv"
        As in `NTKRegressor`.
    device : {"cuda"} or None, default=None
        "cuda" moves X to a GPU through CuPy and returns NumPy; None follows X.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    kernel_ : NTK
    time_ : float
        `time`, or what generalised cross-validation chose.
    dual_coef_ : array of shape (n_rows, n_outputs)
    X_train_ : array of shape (n_rows, n_features)
    eigenvalues_ : array of shape (n_rows,)
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    See Also
    --------
    NTKRegressor : The same for regression, with references.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from adaptive_kernels import NTKClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NTKClassifier().fit(X[::2], y[::2])
    >>> model.score(X[1::2], y[1::2]) > 0.9
    True
    """

    normalize_y = True

    def __init__(
        self,
        kernel: NTK | None = None,
        *,
        alpha: float = 0.0,
        time: float | Literal["gcv"] = "gcv",
        device: str | None = None,
    ) -> None:
        self.kernel = kernel
        self.alpha = alpha
        self.time = time
        self.device = device

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train to the chosen time.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs, used as given: put a scaler before this estimator.
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w counts like w repeated rows.

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
            _, codes, classes, weights = validate_labels(self, X, y, sample_weight)
            self._fit_flow(X, one_vs_rest_targets(codes, len(classes)), weights)
            self.classes_ = index_like(classes, y)
            self._targets = replace(self._targets, is_vector=len(classes) == 2)
        return self

    def decision_function(
        self, X: ArrayLike, return_std: bool = False
    ) -> Array | tuple[Array, Array]:
        """Mean outputs over networks, near -1 and 1 where training fits the labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        return_std : bool, default=False

        Returns
        -------
        mean : array of shape (n_samples,) or (n_samples, n_classes)
            For two classes, of the second one.
        std : array like mean
            Only with `return_std`: standard deviation over random initial weights.
        """
        spread = "std" if return_std else None
        return self._outputs(X, "decision_function", spread)

    def predict(self, X: ArrayLike) -> Array:
        """Predict labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples,)
            NumPy where the labels are no numbers, otherwise of X's library.
        """
        scores = self._outputs(X, "predict")
        return labels_at(self.classes_, codes_of(scores), scores)
