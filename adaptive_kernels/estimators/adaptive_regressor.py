"""Gaussian-process regression with the adaptive kernel of a finite-width network."""

from numbers import Integral, Real
from typing import Literal

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._arrays import Array, ArrayLike, asarray_like, to_numpy
from .._sklearn import Interval, StrOptions
from ..kernels import NNGP, NTK
from ..kernels._recursion import centered
from ..theory.finite_width.approximations import APPROXIMATIONS
from .finite_width import LIMITS, WIDTH_LIMITS, FiniteWidthRegressor
from .wide_network import WideNetworkRegressor


class AdaptiveKernelRegressor(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, FiniteWidthRegressor
):
    """Regression with error bars that learns which features or directions matter.

    A Gaussian process with the kernel of a Bayesian neural network of finite width. Use
    it for a smooth target that depends on few of the features, or on few mixtures of
    them. Standardise X first. An exact fit takes O(n^3) time and O(n^2) memory: about
    one second for 600 rows on one core. `AdaptiveKernelRegressorCV` chooses `width` and
    `covariance_type` by cross-validation, at about four times the cost.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        Kernel of the network at infinite width; None means ``NNGP("erf")``. A variance
        with "fixed" bounds is not tuned. Bounds other than the default apply to the
        variances of `kernel_`, in the units of X and y.
    width : float, default=1.0
        Number of hidden units, 1e-20 to 1e20 or infinite, not necessarily whole. It is
        the strength of the regularisation: a small width lets the weight covariance
        adapt freely, and ``inf`` does not adapt, like `NNGPRegressor`.
    scaling : float, default=1.0
        Divides the prior variance of the hidden weights, after all hyperparameters have
        been tuned at scaling 1. The theory is then solved again, with them fixed. 1 is
        standard scaling, `width` is mean-field scaling. From 1e-20 to 1e20.
    scale_noise : bool, default=False
        Whether `scaling` also divides the noise variance, as the mean-field limit
        requires. If it does not, predictions go to zero as `scaling` grows.
    approximation : str, default="gaussian"
        Theory of the finite network. Keep "gaussian" for predictions on a table; the
        Notes say how accurate each one is.

        - "gaussian" learns the weight covariance together with variances and noise.
          All others keep the variances and the noise of the fit at infinite width.
        - "gaussian_tree" then learns the weight covariance without the log determinant
          of the evidence.
        - "rescaling" keeps the shape of the kernel and solves for its scale, to all
          orders in n_samples / width. Each hidden layer has one scale.
        - "tree" and "one_loop" solve for the scale to the lowest and to the next order
          in n_samples / width.
        - "exact" integrates over the scale, for linear networks (``"identity"``) only.
        - "sampled" samples neurons from their distribution given the data, and includes
          one loop. It takes any activation, one hidden layer and one output.
    covariance_type : {"diag", "full"}, default="diag"
        Weight covariance to learn: "diag" has one variance per feature, "full" all
        d (d + 1) / 2 entries. Used by "gaussian" and "gaussian_tree" only.
    alpha : float, default=1e-2
        Noise variance, in units of the variance of y if `normalize_y`. It stays fixed
        if `optimizer=None`. Otherwise it is a starting point, together with the
        variances of `kernel` if these differ from the default.
    optimizer : {"evidence"} or None, default="evidence"
        "evidence" tunes variances, noise and covariance by the regularised evidence.
        None keeps the variances and the noise as given, and does not centre X.
    n_restarts_optimizer : int, default=0
        Number of random starting points, in addition to the fixed ones.
    n_inducing : int, default=None
        None fits exactly. A number, best from 300 to 2000, fits with this many inducing
        points, for "gaussian" only: O(n n_inducing^2) time, and one block of rows in
        memory at a time. See `NNGPRegressor` for the details.
    n_neighbors : int, "auto" or None, default="auto"
        None predicts from all training rows. A number predicts every new row from so
        many nearest rows in the learned metric, on top of what 200 inducing points
        explain, or `n_inducing` if that is given. "auto" means None for up to 4000
        distinct rows, or if `n_inducing` is given, and 150 for more rows. With
        neighbours, kernel and noise are learned from the evidence of 1200 rows, then
        from left-out rows of the whole table. The cost of a fit hardly grows with n.
        Several outputs share one ratio of noise to signal. See the page on large data.
    normalize_y : bool, default=True
        Fit to centred targets of unit variance. Predictions are in the units of y.
    max_iter : int, default=200
        Maximum number of L-BFGS iterations of each run of the optimizer.
    tol : float, default=0.2
        The optimizer stops when every entry of the gradient of the objective is below
        `tol`, in nats; most parameters enter as logarithms. Below ten times `tol` the
        fit still counts as converged.
    device : {"cuda"} or None, default=None
        "cuda" computes on a GPU with CuPy and returns NumPy; None computes where X is.
    random_state : int, RandomState or None, default=None
        Seed of the random starting points. Nothing else is random.

    Attributes
    ----------
    weight_covariance_ : ndarray of shape (n_features,) or (n_features, n_features)
        Sigma, the covariance of the input weights of a hidden unit. One-dimensional for
        "diag", and for approximations that do not learn it and keep the prior.
    feature_importances_ : ndarray of shape (n_features,)
        Share of each feature in the variance of a pre-activation: diag(Sigma) times
        the variance of the feature, summing to one.
    scale_ : float, or ndarray of shape (n_outputs, n_outputs) or (depth,)
        Factor of the kernel in the predicted mean: Q for "tree", Q_eff for "one_loop",
        s for "rescaling", E[s] for "exact"; 1 for the others.
    effective_dof_ : float
        Effective degrees of freedom per output, tr[(K + noise)^{-1} K], with K the
        kernel of the mean, scale included.
    converged_ : bool
        Whether the optimizer and the theory have converged.
    kernel_ : NNGP or NTK
        Kernel with the fitted variances and metric, without the factor `scale_`.
    alpha_ : float or ndarray of shape (n_outputs,)
        Fitted noise variance, in the units of `alpha`. Several outputs that are tuned
        have one each, if the approximation is "gaussian" or "gaussian_tree".
    dual_coef_ : array of shape (n_rows, n_outputs)
        Coefficients of the kernel with `X_train_` in the mean of normalised y, scales
        included. For "sampled" they are (y - f) / noise, which do not give the mean.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows of positive weight, sorted. With `n_inducing` the
        inducing points, which are some of these rows.
    n_neighbors_ : int or None
        Number of nearest rows that predict; None if all training rows do.
    log_marginal_likelihood_value_ : float
        Log evidence of normalised y, summed over outputs. With `n_inducing` a lower
        bound of it.
    n_iter_ : int
        Number of iterations of the optimizer.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has string names for all columns.

    Notes
    -----
    The input weights of a finite Bayesian network move towards the data. Their
    covariance Sigma maximises the regularised evidence

        log evidence(K(Sigma) + alpha I) - width * KL(N(0, Sigma) || prior).

    Do not compare widths by this objective, by the evidence, or by the leave-one-out
    error: after a metric was learned they are optimistic. Use cross-validation.

    Accuracy of the approximations, measured on sampled networks:

    - "gaussian": rely on the directions and on the ranking of features. At mean-field
      scaling the mean is exact for linear networks; for others `metrics.discrepancy` is
      25 % (erf) to 75 % (ReLU) off at any width. Variances are too small. Its evidence
      is not that of the network.
    - "rescaling": for linear networks rely on mean, variance and evidence, at any
      scaling and n_samples / width; for others on mean and variance at standard
      scaling, to a few per cent. It learns no directions.
    - "tree": rely on the mean at mean-field scaling, not on the evidence at standard
      scaling.
    - "one_loop": rely on it while `effective_dof_` is well below `width`; at a ratio of
      0.6 it is 6 % off. If it has no solution it warns and returns "rescaling".
    - "exact": exact for linear networks.
    - "sampled": rely on mean and directions, unless it warns. Variances are right at
      mean-field scaling. At standard scaling they are about 20 % too large if
      n_samples is above half the width.

    References
    ----------
    N. Rubin et al., "From Kernels to Features: A Multi-Scale Adaptive Theory of Feature
    Learning", ICML 2025, arXiv:2502.03210.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from adaptive_kernels import AdaptiveKernelRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((100, 5))
    >>> y = np.sin(2 * X[:, 3]) + 0.1 * rng.standard_normal(100)
    >>> model = make_pipeline(StandardScaler(), AdaptiveKernelRegressor()).fit(X, y)
    >>> mean, std = model.predict([[0, 0, 0, 0.5, 0]], return_std=True)
    >>> print(mean.round(1), std.round(1))
    [0.9] [0.1]
    >>> print(model[-1].feature_importances_.round(1))
    [0. 0. 0. 1. 0.]
    """

    _parameter_constraints: dict = {
        **WideNetworkRegressor._parameter_constraints,
        "width": WIDTH_LIMITS,
        "scaling": [Interval(Real, *LIMITS, closed="both")],
        "scale_noise": ["boolean"],
        "approximation": [StrOptions(set(APPROXIMATIONS))],
        "covariance_type": [StrOptions({"diag", "full"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        kernel: NNGP | NTK | None = None,
        *,
        width: float = 1.0,
        scaling: float = 1.0,
        scale_noise: bool = False,
        approximation: str = "gaussian",
        covariance_type: Literal["diag", "full"] = "diag",
        alpha: float = 1e-2,
        optimizer: Literal["evidence"] | None = "evidence",
        n_restarts_optimizer: int = 0,
        n_inducing: int | None = None,
        n_neighbors: int | Literal["auto"] | None = "auto",
        normalize_y: bool = True,
        max_iter: int = 200,
        tol: float = 0.2,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernel = kernel
        self.width = width
        self.scaling = scaling
        self.scale_noise = scale_noise
        self.approximation = approximation
        self.covariance_type = covariance_type
        self.alpha = alpha
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.n_neighbors = n_neighbors
        self.normalize_y = normalize_y
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    @property
    def effective_dof_(self) -> float:
        """Effective degrees of freedom per output, tr[(K + noise)^{-1} K]."""
        check_is_fitted(self)
        return self._posterior.effective_dof(self._training.data)

    @property
    def weight_covariance_(self) -> Array:
        """Covariance of the input weights of a hidden unit: (d, d) or (d,)."""
        check_is_fitted(self)
        return self._as_given(self._weight_covariance())

    @property
    def feature_importances_(self) -> Array:
        """Share of each feature in the variance of a pre-activation: (d,)."""
        check_is_fitted(self)
        covariance = to_numpy(self.weight_covariance_)
        variances = covariance if covariance.ndim == 1 else np.diag(covariance)
        shares = variances * to_numpy(self._training.column_variances)
        return self._as_given(shares / shares.sum() if shares.sum() > 0 else shares)

    def _as_given(self, values):
        """NumPy values as an array of the library of X."""
        on_host = self.device is not None or isinstance(self.X_train_, np.ndarray)
        return values if on_host else asarray_like(values, self.X_train_)

    def _weight_covariance(self):
        """Sigma = weight_variance / d * M in the units of X: (d,) if M is diagonal.

        With the root R of the kernel's metric, M = R (covariance of the theory) R'.
        """
        data, metric_sqrt = self._training.data, self._posterior.point.metric_sqrt
        d = data.X.shape[1]
        metric = self._posterior.weight_covariance(data)
        if metric is not None and metric_sqrt is not None:
            metric_sqrt = np.diag(metric_sqrt) if metric_sqrt.ndim == 1 else metric_sqrt
            metric = metric_sqrt @ to_numpy(metric) @ metric_sqrt.T
        if metric is None:
            metric = self._posterior.point.metric()
        if metric is None:
            full = self._is_gaussian() and self.covariance_type == "full"
            metric = np.eye(d) if full else np.ones(d)
        return self.kernel_.weight_variance / d * to_numpy(metric)

    def transform(self, X: ArrayLike) -> Array:
        """Map centred inputs x, z so that their inner product becomes x' Sigma z.

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
        return self._transform(X)

    def _transform(self, X):
        """Transform without `set_output`, for estimators that hold this one."""
        check_is_fitted(self)
        X, host = self._validate_rows(X, "transform")
        X = centered(X, self._posterior.network.origin)
        covariance = to_numpy(self.weight_covariance_)
        if covariance.ndim == 1:
            mapped = X * asarray_like(np.sqrt(covariance), X)
        else:
            mapped = X @ asarray_like(_principal_root(covariance), X)
        return to_numpy(mapped) if host else mapped

    @property
    def _n_features_out(self):
        return self.n_features_in_


def _principal_root(covariance):
    """Eigenvectors times the roots of their eigenvalues, by decreasing eigenvalue."""
    values, vectors = np.linalg.eigh(covariance)
    largest = np.argmax(np.abs(vectors), axis=0)
    signs = np.sign(vectors[largest, range(len(values))])
    return (vectors * signs * np.sqrt(np.maximum(values, 0)))[:, ::-1]
