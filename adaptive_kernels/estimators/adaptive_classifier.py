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
from .finite_width import WIDTH_LIMITS
from .validation import validate_rows
from .wide_network_classifier import _PASSED, WideNetworkClassifier


class AdaptiveKernelClassifier(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, WideNetworkClassifier
):
    """Classification with calibrated probabilities that learns which features matter.

    A Gaussian process with the kernel of a Bayesian neural network of finite width. Use
    it where few features, or few mixtures of them, separate the classes. Standardise X
    first. An exact fit takes O(n^3) time, nearly the same for any number of classes:
    about two seconds for 600 rows on one core. `AdaptiveKernelClassifierCV` chooses
    kernel and `width` by cross-validation, at about three times the cost.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        Kernel of the network at infinite width; None means ``NNGP("erf")``. A variance
        with "fixed" bounds is not tuned. Bounds other than the default apply to the
        variances of `kernel_`.
    width : float, default=10.0
        Number of hidden units, 1e-20 to 1e20 or infinite, not necessarily whole. It is
        the strength of the regularisation: a small width lets the weight covariance
        adapt freely, and ``inf`` does not adapt, like `NNGPClassifier`.
    covariance_type : {"diag", "full"}, default="diag"
        Weight covariance to learn, one for all classes: "diag" has one variance per
        feature, "full" all d (d + 1) / 2 entries.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight`. Probabilities are then
        those of the weighted population. "balanced" gives all classes the same total
        weight.
    optimizer : {"evidence"} or None, default="evidence"
        "evidence" tunes variances and covariance by the regularised evidence. None
        keeps the variances as given, and does not centre X.
    n_restarts_optimizer : int, default=0
        Number of random starting points, in addition to the fixed ones.
    n_inducing : int, default=None
        None fits exactly. A number, best from 300 to 2000, fits with this many inducing
        points: O(n n_inducing^2) time, and one block of rows in memory at a time. See
        `NNGPClassifier` for the details.
    n_neighbors : int, "auto" or None, default="auto"
        None predicts from all training rows, a number from so many nearest rows in the
        learned metric. "auto" means None for up to 4000 distinct rows, or if
        `n_inducing` is given, and 150 for more rows. See `NNGPClassifier`.
    max_iter : int, default=200
        Maximum number of L-BFGS iterations of each run of the optimizer.
    tol : float, default=0.2
        The optimizer stops when every entry of the gradient of the objective is below
        `tol`, in nats; most parameters enter as logarithms.
    device : {"cuda"} or None, default=None
        "cuda" computes on a GPU with CuPy and returns NumPy; None computes where X is.
    random_state : int, RandomState or None, default=None
        Seed of the random starting points. Nothing else is random.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Labels of the classes, sorted.
    weight_covariance_ : ndarray of shape (n_features,) or (n_features, n_features)
        Covariance of the input weights of a hidden unit; for "diag" the variances.
    feature_importances_ : ndarray of shape (n_features,)
        Share of each feature in the variance of a pre-activation, summing to one.
    regressor_ : AdaptiveKernelRegressor
        The regressor on targets -1 and 1 that learned the kernel.
    kernel_ : NNGP or NTK
        Kernel with the fitted variances and metric.
    alpha_ : float
        Noise variance of the labels, when these are scaled to unit variance.
    leave_one_out_log_loss_ : float
        Mean log loss of training rows, each left out, with the fitted kernel. It is
        optimistic after a covariance was learned: choose widths by cross-validation.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows of positive weight, sorted. With `n_inducing` the
        inducing points, which are some of these rows.
    n_neighbors_ : int or None
        Number of nearest rows that predict; None if all training rows do.
    n_iter_ : int
        Number of iterations of the optimizer.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has string names for all columns.

    Notes
    -----
    `AdaptiveKernelRegressor` learns the covariance on targets of -1 and 1, one column
    for each class. The probabilities then come from a regression on one-hot labels,
    calibrated on rows left out: see the Notes of `NNGPClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from adaptive_kernels import AdaptiveKernelClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 5))
    >>> y = np.where(X[:, 3] + 0.3 * rng.standard_normal(100) > 0, "high", "low")
    >>> model = make_pipeline(StandardScaler(), AdaptiveKernelClassifier()).fit(X, y)
    >>> print(model.predict_proba([[0, 0, 0, 0.1, 0]]).round(1))
    [[0.9 0.1]]
    >>> print(model[-1].feature_importances_.argmax())
    3
    """

    _parameter_constraints: dict = {
        **WideNetworkClassifier._parameter_constraints,
        "width": WIDTH_LIMITS,
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
        n_neighbors: int | Literal["auto"] | None = "auto",
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
        self.n_neighbors = n_neighbors
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    def _regressor(self):
        names = (*_PASSED, "width", "covariance_type", "max_iter", "tol")
        return AdaptiveKernelRegressor(**{name: getattr(self, name) for name in names})

    @property
    def weight_covariance_(self) -> Array:
        """Covariance of the input weights of a hidden unit: (d, d) or (d,)."""
        check_is_fitted(self)
        return self.regressor_.weight_covariance_

    @property
    def feature_importances_(self) -> Array:
        """Share of each feature in the variance of a pre-activation: (d,)."""
        check_is_fitted(self)
        return self.regressor_.feature_importances_

    def transform(self, X: ArrayLike) -> Array:
        """Map centred inputs x, z so that their inner product becomes x' Sigma z.

        Sigma is `weight_covariance_`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs, in the units of the training rows.

        Returns
        -------
        array of shape (n_samples, n_features)
            For a diagonal Sigma the features times the square roots of its entries. For
            a full one the projections on its principal directions, times the square
            roots of the eigenvalues, by decreasing eigenvalue.
        """
        X = as_float64(validate_rows(self, X, "transform"))
        return self._transform(X)

    def _transform(self, X):
        """Transform checked rows without `set_output`."""
        return self.regressor_._transform(X)

    @property
    def _n_features_out(self):
        return self.n_features_in_
