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
    clip_diagonal,
    index_like,
    namespace,
    small_problem_threads,
)
from .._sklearn import Interval, StrOptions, fit_context
from ..inference.memory_limits import check_joint_memory
from ..kernels import NNGP, NTK
from ..theory.kernel_regression.gradient_flow import GradientFlow
from .base import KernelModel, unchanged_on_failure
from .labels import codes_of, labels_at, one_vs_rest_targets, validate_labels


class GradientFlowModel(KernelModel):
    """Base class of `NTKRegressor` and `NTKClassifier`: fit, mean and spread."""

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
        """Mean over networks, and what `spread` names: "std", "cov" or None."""
        check_is_fitted(self)
        X, host = self._validate_rows(X, method)
        results = [self._mean(X)]
        if spread == "std":
            variance = self._spread(X, covariance=False)
            xp = namespace(variance)
            std = xp.sqrt(clip(variance, 0.0))
            results.append(std[:, None] * self._targets.scale)
        elif spread == "cov":
            check_joint_memory(X, X.shape[0], self._targets.mean.shape[0], 1)
            covariance = self._spread(X, covariance=True)
            results.append(covariance[:, :, None] * self._targets.scale**2)
        results = [self._targets.shaped(values, host) for values in results]
        return tuple(results) if spread else results[0]

    def _spread(self, X, covariance):
        """Variance (m,) or covariance (m, m) over networks, of normalised outputs."""
        train = self.X_train_
        with small_problem_threads(train.shape[0]):
            cross, tangent = self.kernel_.nngp_and_ntk(X, train)
            initial = NNGP(**self.kernel_.get_params(deep=False))
            follow = self._flow.apply(tangent, self.time_, self.alpha)
            # Var[f_0(x) - follow f_0(X_train)], f_0 the output before training.
            half = follow @ initial(train) - 2 * cross
            if covariance:
                moved = follow @ half.T
                return clip_diagonal(initial(X) + (moved + moved.T) / 2)
            return initial.diag(X) + namespace(X).sum(follow * half, axis=1)


class NTKRegressor(MultiOutputMixin, RegressorMixin, GradientFlowModel):
    """Regression with infinitely wide networks trained by gradient descent.

    It predicts the mean of such networks over random initial weights, and their spread,
    at any training time. Use it to see what a wide network does, or as kernel ridge
    regression that stops early. Standardise X first. A fit takes one
    eigendecomposition: O(n^3) time and O(n^2) memory. No hyperparameter of the kernel
    is tuned; `NNGPRegressor` with ``kernel=NTK()`` tunes them by the evidence.

    Parameters
    ----------
    kernel : NTK, default=None
        Neural tangent kernel of the networks, not tuned; None means ``NTK("relu")``.
    alpha : float, default=0.0
        Weight decay towards the initial weights. It is added to the eigenvalues of the
        kernel matrix, `eigenvalues_`, as the penalty of kernel ridge regression: its
        unit is that of the kernel, and the units of y do not matter.
    time : float or "gcv", default="gcv"
        Training time of gradient flow on half the mean squared error. Infinity trains
        to the end: interpolation, or kernel ridge regression if `alpha` is positive.
        "gcv" takes the time of least generalised cross-validation score, and costs no
        further eigendecomposition.
    normalize_y : bool, default=True
        Fit to centred targets of unit variance. Predictions are in the units of y.
    device : {"cuda"} or None, default=None
        "cuda" computes on a GPU with CuPy and returns NumPy; None computes where X is.

    Attributes
    ----------
    kernel_ : NTK
        Copy of `kernel`.
    time_ : float
        `time`, or the time of least generalised cross-validation score.
    dual_coef_ : array of shape (n_rows, n_outputs)
        Coefficients of the kernel with `X_train_`, for normalised targets.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows of positive weight, sorted.
    eigenvalues_ : array of shape (n_rows,)
        Eigenvalues of the kernel matrix of `X_train_`, descending.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has string names for all columns.

    See Also
    --------
    ModifiedSpectrumRegressor : Gradient descent with chosen rates.

    Notes
    -----
    Trained by small steps on the squared error, an infinitely wide network is linear in
    its weights. Its outputs follow the neural tangent kernel. The mode of eigenvalue l
    has the time constant n / (l + alpha). An early stop drops the modes of small
    eigenvalue, which mostly fit noise.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler, "Neural Tangent Kernel", arXiv:1806.07572.
    J. Lee et al., "Wide Neural Networks of Any Depth Evolve as Linear Models Under
    Gradient Descent", arXiv:1902.06720.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from adaptive_kernels import NTKRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> for time in (float("inf"), "gcv"):
    ...     model = make_pipeline(StandardScaler(), NTKRegressor(time=time))
    ...     print(time, round(model.fit(X[::2], y[::2]).score(X[1::2], y[1::2]), 2))
    inf 0.31
    gcv 0.43
    >>> mean, std = model.predict(X[1:2], return_std=True)
    >>> print(mean.round(), std.round())
    [81.] [15.]
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
            Training inputs. They are not scaled: put a scaler before this estimator.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Outputs share the kernel and the time.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w counts as w equal rows.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is invalid. The message names it.
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
            New inputs.
        return_std, return_cov : bool, default=False
            Whether to return the standard deviation, or the covariance, as well. Both
            together raise RuntimeError.

        Returns
        -------
        mean : array of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, in the units of y.
        std : array like mean
            Only with `return_std`: standard deviation over random initial weights, in
            the units of y. It does not contain the noise of y: it is not an error bar.
        covariance : array of shape (n_samples, n_samples) or \
(n_samples, n_samples, n_outputs)
            Only with `return_cov`: covariance over random initial weights.
        """
        if return_std and return_cov:
            raise RuntimeError("Ask for return_std or for return_cov, not for both.")
        spread = "std" if return_std else "cov" if return_cov else None
        return self._outputs(X, "predict", spread)


class NTKClassifier(ClassifierMixin, GradientFlowModel):
    """Classification with infinitely wide networks trained by gradient descent.

    Use it to see what a wide network does, or as kernel ridge classification that stops
    early. Standardise X first. A fit takes one eigendecomposition for all classes:
    O(n^3) time and O(n^2) memory. It has no probabilities: use `NNGPClassifier`, or
    scikit-learn's `CalibratedClassifierCV` around this one.

    Parameters
    ----------
    kernel : NTK, default=None
        Neural tangent kernel of the networks, not tuned; None means ``NTK("relu")``.
    alpha : float, default=0.0
        Weight decay towards the initial weights. It is added to the eigenvalues of the
        kernel matrix, `eigenvalues_`, as the penalty of kernel ridge regression.
    time : float or "gcv", default="gcv"
        Training time of gradient flow on half the mean squared error; infinity trains
        to the end. "gcv" takes the time of least generalised cross-validation score.
    device : {"cuda"} or None, default=None
        "cuda" computes on a GPU with CuPy and returns NumPy; None computes where X is.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Labels of the classes, sorted.
    kernel_ : NTK
        Copy of `kernel`.
    time_ : float
        `time`, or the time of least generalised cross-validation score.
    dual_coef_ : array of shape (n_rows, n_outputs)
        Coefficients of the kernel with `X_train_`, for normalised targets.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows of positive weight, sorted.
    eigenvalues_ : array of shape (n_rows,)
        Eigenvalues of the kernel matrix of `X_train_`, descending.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has string names for all columns.

    See Also
    --------
    NTKRegressor : The same for regression, with the theory and references.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from adaptive_kernels import NTKClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), NTKClassifier()).fit(X[::2], y[::2])
    >>> print(round(model.score(X[1::2], y[1::2]), 2))
    0.92
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
            Training inputs. They are not scaled: put a scaler before this estimator.
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w counts as w equal rows.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is invalid, or there is only one class.
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
        """Mean outputs over networks. Training fits them to -1 and 1.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs.
        return_std : bool, default=False
            Whether to return the standard deviation as well.

        Returns
        -------
        mean : array of shape (n_samples,) or (n_samples, n_classes)
            One output per class; for two classes that of the second class.
        std : array like mean
            Only with `return_std`: standard deviation over random initial weights.
        """
        spread = "std" if return_std else None
        return self._outputs(X, "decision_function", spread)

    def predict(self, X: ArrayLike) -> Array:
        """Predict the labels of the largest outputs.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs.

        Returns
        -------
        array of shape (n_samples,)
            Labels. Numbers are an array of the library of X, strings a NumPy array.
        """
        scores = self._outputs(X, "predict")
        return labels_at(self.classes_, codes_of(scores), scores)
