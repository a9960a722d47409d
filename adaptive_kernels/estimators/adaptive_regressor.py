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
from .finite_width import FiniteWidthRegressor
from .wide_network import WideNetworkRegressor


class AdaptiveKernelRegressor(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, FiniteWidthRegressor
):
    """Regression with the kernel of a finite-width network, which adapts to the data.

    A finite Bayesian network moves its input weights towards the data. Their
    covariance Sigma is learned by maximising

        log evidence(K(Sigma) + alpha I) - width * KL(N(0, Sigma) || prior),

    together with the variances and the noise, so `width` is the strength of a
    regulariser on learning an input metric: infinite width is `NNGPRegressor`, a small
    width learns the metric freely.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        As in `NNGPRegressor`: its variances set the prior.
    width : float, default=1.0
        Number of hidden units, positive, not necessarily whole; ``inf`` does not adapt.
        Best chosen by `AdaptiveKernelRegressorCV`.
    scaling : float, default=1.0
        From 1 (standard) to `width` (mean-field scaling): everything is tuned at
        scaling 1 and frozen, then the prior variance of the hidden weights is divided
        by `scaling` and the theory solved again.
    scale_noise : bool, default=False
        Divide the noise by `scaling` too, as a true mean-field limit needs: with the
        noise kept, a network of vanishing weights learns nothing.
    approximation : str, default="gaussian"
        The theory of the finite network; see Notes for what to rely on.

        - "gaussian" learns the weight covariance, together with variances and noise.
          The others take both from the NNGP's evidence, frozen.
        - "gaussian_tree" learns it again at that noise, without the log determinant.
        - "rescaling" keeps the kernel's shape and solves for its scale, to all orders
          in n_samples / width; with several layers, for one scale each.
        - "tree" and "one_loop" are the expansion of the same in n_samples / width.
        - "exact" integrates over the scale; for linear networks (``"identity"``).
        - "sampled" samples neurons from the distribution that the data imply, for any
          activation, one hidden layer and one output: tree level and one loop.
    covariance_type : {"diag", "full"}, default="diag"
        One variance per feature, or all covariances; for "gaussian" and
        "gaussian_tree" only.
    alpha, optimizer, n_restarts_optimizer, n_inducing, normalize_y, device, \
random_state :
        As in `NNGPRegressor`; `n_inducing` is for "gaussian" only.
    max_iter : int, default=200
        Iterations of the optimizer at full size.
    tol : float, default=0.2
        Change of the objective, in nats, per e-fold of any parameter at which to stop;
        ten times as much still counts as converged.

    Attributes
    ----------
    weight_covariance_ : ndarray of shape (n_features,) or (n_features, n_features)
        Sigma, the covariance of the input weights of a hidden unit. Variances alone
        for "diag", and where a rescaled kernel knows no more than the prior.
    feature_importances_ : ndarray of shape (n_features,)
        Share of each feature in the variance of a pre-activation: diag(Sigma) times
        the variance of the feature, summing to one.
    scale_ : float, or ndarray of shape (n_outputs, n_outputs) or (depth,)
        Scale of the kernel in the mean: Q for "tree", Q_eff for "one_loop", s for
        "rescaling", E[s] for "exact", else 1.
    effective_dof_ : float
        Effective degrees of freedom, tr[(K + noise)^{-1} K] with the (scaled) kernel of
        the mean, per output.
    converged_ : bool
    kernel_ : NNGP or NTK
        Kernel with the fitted variances and metric; without the scales of "rescaling".
    dual_coef_ : array of shape (n_rows, n_outputs)
        Coefficients of the kernel with `X_train_` in the mean, scales included; for
        "sampled" (y - f) / noise, from which alone no mean follows.
    alpha_, X_train_, log_marginal_likelihood_value_, n_iter_ :
        As in `NNGPRegressor`.

    Notes
    -----
    The regularised evidence is not comparable between widths; neither is the evidence
    of a learned metric nor its leave-one-out error. Compare widths by cross-validation.

    What to rely on, as measured on networks that were sampled:

    - "gaussian": directions and ranking of features. For linear networks exact at mean
      field; for others its discrepancy is some 25 % (erf) to 75 % (ReLU) off there,
      however wide the network, its variances are too small, its evidence no evidence.
    - "rescaling": for linear networks mean, variance and evidence, at any scaling and
      n_samples / width. For others mean and variance at standard scaling, within a few
      per cent; it sees no directions.
    - "tree": the mean at mean-field scaling, and no evidence at standard scaling.
    - "one_loop": while `effective_dof_` is well below `width`; at 0.6 of it 6 % off.
      Beyond, it warns and gives the result of "rescaling".
    - "exact": everything, for linear networks.
    - "sampled": mean and directions, for any activation, unless it warns; variances at
      mean field, at standard scaling some 20 % too large where n_samples is above half
      the width.

    References
    ----------
    arXiv:2502.03210, for the theory from standard to mean-field scaling.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels import AdaptiveKernelRegressor
    >>> X = np.random.default_rng(0).standard_normal((80, 5))
    >>> model = AdaptiveKernelRegressor().fit(X, np.sin(2 * X[:, 3]))
    >>> int(model.feature_importances_.argmax())
    3
    """

    _parameter_constraints: dict = {
        **WideNetworkRegressor._parameter_constraints,
        "width": [Interval(Real, 0, None, closed="right")],
        "scaling": [Interval(Real, 0, None, closed="neither")],
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
        self.normalize_y = normalize_y
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    @property
    def effective_dof_(self) -> float:
        """Effective degrees of freedom, tr[(K + noise)^{-1} K], per output."""
        check_is_fitted(self)
        return self._posterior.effective_dof(self._training.data)

    @property
    def weight_covariance_(self) -> Array:
        """Covariance of a hidden unit's input weights, (d, d) or (d,)."""
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
        """Host values as an array of the library that X came in."""
        on_host = self.device is not None or isinstance(self.X_train_, np.ndarray)
        return values if on_host else asarray_like(values, self.X_train_)

    def _weight_covariance(self):
        """Sigma in the units of X: (d,) where nothing but variances is known."""
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
        """Map inputs, counted from their mean, into the learned metric.

        There x' Sigma z is an inner product.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_features)
            For a diagonal Sigma the scaled features; for a full one the projections on
            its principal directions, by decreasing variance.
        """
        return self._transform(X)

    def _transform(self, X):
        """The same, never as a table, for estimators that hold this one."""
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
    """Principal directions by decreasing variance, times the standard deviation."""
    values, vectors = np.linalg.eigh(covariance)
    largest = np.argmax(np.abs(vectors), axis=0)
    signs = np.sign(vectors[largest, range(len(values))])
    return (vectors * signs * np.sqrt(np.maximum(values, 0)))[:, ::-1]
