"""Classification with the adaptive kernel of a finite-width network."""

from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._arrays import Array, ArrayLike, as_float64
from .._sklearn import Interval, StrOptions
from ..kernels import NNGP, NTK
from .adaptive_regressor import AdaptiveKernelRegressor
from .validation import validate_rows
from .wide_network_classifier import _PASSED, WideNetworkClassifier


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
        kernel: NNGP | NTK | None = None,
        *,
        width: float = 10.0,
        covariance_type: Literal["diag", "full"] = "diag",
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        optimizer: Literal["evidence"] | None = "evidence",
        n_restarts_optimizer: int = 0,
        n_inducing: int | None = None,
        max_iter: int = 200,
        tol: float = 0.2,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
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
    def weight_covariance_(self) -> Array:
        """Covariance of a hidden unit's input weights, (d, d) or (d,)."""
        check_is_fitted(self)
        return self.regressor_.weight_covariance_

    @property
    def feature_importances_(self) -> Array:
        """Share of each feature in the variance of a pre-activation: (d,)."""
        check_is_fitted(self)
        return self.regressor_.feature_importances_

    def transform(self, X: ArrayLike) -> Array:
        """Map inputs into the learned metric; see `AdaptiveKernelRegressor.transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_features)
        """
        X = as_float64(validate_rows(self, X, "transform"))
        return self._transform(X)

    def _transform(self, X):
        """The same of checked rows, never as a table."""
        return self.regressor_._transform(X)

    @property
    def _n_features_out(self):
        return self.n_features_in_
