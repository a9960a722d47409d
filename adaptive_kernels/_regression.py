"""Gaussian-process regressors with the kernel of a wide network, fixed or adaptive."""

from contextlib import contextmanager
from dataclasses import replace
from math import inf, isinf
from numbers import Integral, Real

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MultiOutputMixin,
    RegressorMixin,
    TransformerMixin,
    _fit_context,
)
from sklearn.utils import check_random_state
from sklearn.utils._array_api import check_same_namespace
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from ._array import (
    as_float64,
    asarray_like,
    check_device,
    check_memory,
    index_like,
    namespace,
    small_problem_threads,
    to_device,
    to_numpy,
)
from ._linalg import leave_one_out
from ._tuning import (
    NOISE_BOUNDS,
    Search,
    climb,
    random_starts,
    tune_covariance,
    tune_isotropic,
    warn_unless_converged,
)
from .kernels import NNGP
from .kernels._base import VARIANCES, WideKernel
from .theory.posterior import GaussianPosterior, RescaledPosterior
from .theory.variational import (
    Data,
    Hyperparameters,
    RegularizedEvidence,
    combine_roots,
    kernel_factor,
    log_evidence,
)


@contextmanager
def _unchanged_on_failure(estimator):
    """Leave the estimator as it was if the block is interrupted or fails."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


class _WideNetworkRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    """Validation, target scaling and prediction shared by the regressors."""

    _parameter_constraints: dict = {
        "kernel": [WideKernel, None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions({"evidence"}), None],
        "n_restarts_optimizer": [Interval(Integral, 0, None, closed="left")],
        "normalize_y": ["boolean"],
        "device": [str, None],
        "random_state": ["random_state"],
    }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the kernel and the posterior.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs, used as given: put a scaler before this estimator.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Outputs share the kernel and the noise.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w has noise variance alpha / w, and counts in the evidence
            like w repeated rows. Weight 0 removes the row.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is unusable; the message names it.
        MemoryError
            If the kernel matrix does not fit in memory.
        numpy.linalg.LinAlgError
            If the kernel matrix is not positive definite at the given alpha.
        """
        with _unchanged_on_failure(self):
            check_device(self.device)
            X, Y, weights, single = self._validate(X, y, sample_weight)
            with small_problem_threads(X.shape[0]):
                self._fit(X, Y, weights)
            self._single_output = single
        return self

    def _validate(self, X, y, sample_weight):
        X, y = validate_data(
            self, X, y, multi_output=True, y_numeric=True, dtype="numeric"
        )
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                sample_weight, X, ensure_non_negative=True
            )
        X = as_float64(to_device(X, self.device))
        y = asarray_like(y, X)
        if sample_weight is not None:
            weights = asarray_like(sample_weight, X)
            rows = np.flatnonzero(to_numpy(weights) > 0)
            xp, index = namespace(X), index_like(rows, X)
            X, y = xp.take(X, index, axis=0), xp.take(y, index, axis=0)
            sample_weight = xp.take(weights, index)
        check_memory(X, X.shape[0])
        single = y.ndim == 1
        return X, y[:, None] if single else y, sample_weight, single

    def _normalize(self, Y, weights):
        xp = namespace(Y)
        if not self.normalize_y:
            return 0 * Y[0, :], 0 * Y[0, :] + 1
        shares = xp.ones_like(Y[:, 0]) if weights is None else weights
        shares = (shares / xp.sum(shares))[:, None]
        mean = xp.sum(shares * Y, axis=0)
        spread = xp.sqrt(xp.sum(shares * (Y - mean) ** 2, axis=0))
        tiny = 10 * xp.finfo(Y.dtype).eps * xp.abs(mean)
        return mean, xp.where(spread > tiny, spread, xp.ones_like(spread))

    def _kernel(self):
        return NNGP("erf") if self.kernel is None else self.kernel

    def _problem(self, X, Y, weights):
        """Data in the kernel's metric, and the evidence search over it."""
        kernel = self._kernel()
        root = kernel.metric_root(X.shape[1])
        mapped = X
        if root is not None:
            device_root = asarray_like(root, X)
            mapped = X * device_root if root.ndim == 1 else X @ device_root
        template = Hyperparameters(kernel.network(), float(self.alpha))
        if self.optimizer is None:
            return Data(mapped, Y, weights), root, Search(template, {})
        bounds = {h.name: h.bounds[0] for h in kernel.hyperparameters if not h.fixed}
        bounds["alpha"] = NOISE_BOUNDS
        data, search = Data(mapped, Y, weights), Search(template, bounds)
        starts = () if self.kernel is None else (template,)
        if self.n_restarts_optimizer:
            rng = check_random_state(self.random_state)
            starts += tuple(random_starts(data, search, self.n_restarts_optimizer, rng))
        return data, root, replace(search, starts=starts)

    def _store(self, X, Y, mean, scale, weights, posterior, evidence, solution, root):
        network, point = posterior.network, posterior.point
        metric = point.metric()
        kernel = self._kernel()
        self.kernel_ = type(kernel)(**{
            **kernel.get_params(),
            **{name: getattr(network, name) for name in VARIANCES},
            "metric": metric,
        })
        self.alpha_ = point.alpha
        self.X_train_, self.dual_coef_ = X, posterior.dual
        self.log_marginal_likelihood_value_ = evidence
        self.n_iter_ = solution.n_iter
        self._posterior, self._training = posterior, Data(X, Y, weights)
        self._y_mean, self._y_scale = mean, scale

    def predict(self, X, return_std=False, return_cov=False):
        """Predict a new observation: mean, and optionally its spread, noise included.

        Without `return_std` and `return_cov` the kernel between X and the training
        rows is streamed in blocks.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        return_std : bool, default=False
        return_cov : bool, default=False

        Returns
        -------
        mean : array of shape (n_samples,) or (n_samples, n_outputs)
        std : array like mean
            Only with `return_std`: standard deviation of a new observation, in the
            units of y.
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
        check_is_fitted(self)
        X, host = self._validate_rows(X, "predict")
        with small_problem_threads(self.X_train_.shape[0]):
            if return_std:
                mean, spread = self._posterior.variance(X)
                noisy = spread + self.alpha_
                spread = namespace(noisy).sqrt(noisy) * self._y_scale
            elif return_cov:
                mean, spread = self._posterior.covariance(X)
                eye = asarray_like(np.eye(X.shape[0]), X)
                spread = (spread + self.alpha_ * eye[:, :, None]) * self._y_scale**2
            else:
                mean, spread = self._posterior.mean(X), None
        mean = mean * self._y_scale + self._y_mean
        results = [self._shaped(a, host) for a in (mean, spread) if a is not None]
        return tuple(results) if len(results) > 1 else results[0]

    def _validate_rows(self, X, method):
        """X in double precision on the model's device, and whether X was NumPy."""
        X = validate_data(self, X, reset=False, dtype="numeric")
        host = isinstance(X, np.ndarray)
        if not host or self.device is None:
            check_same_namespace(X, self, attribute="X_train_", method=method)
        on_host = isinstance(self.X_train_, np.ndarray)
        return as_float64(to_device(X, None if on_host else self.device)), host

    def _shaped(self, values, host):
        values = to_numpy(values) if host else values
        return values[..., 0] if self._single_output else values

    def sample_y(self, X, n_samples=1, random_state=0):
        """Draw new observations at X from the posterior, jointly over rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        n_samples : int, default=1
        random_state : int, RandomState or None, default=0

        Returns
        -------
        samples : ndarray of shape (n_rows, n_samples) or (n_rows, n_outputs, n_samples)
        """
        rng = check_random_state(random_state)
        mean, covariance = (to_numpy(a) for a in self.predict(X, return_cov=True))
        if self._single_output:
            return rng.multivariate_normal(mean, covariance, n_samples).T
        draws = [
            rng.multivariate_normal(mean[:, c], covariance[..., c], n_samples).T
            for c in range(mean.shape[1])
        ]
        return np.stack(draws, axis=1)

    def leave_one_out_predict(self, return_std=False):
        """Predict every training row from the others, in closed form.

        Hyperparameters stay as fitted on all rows, so after learning a metric the
        result is optimistic: use cross-validation to choose a width.

        Parameters
        ----------
        return_std : bool, default=False

        Returns
        -------
        mean : array of shape (n_samples,) or (n_samples, n_outputs)
            Rows of weight zero are left out.
        std : array like mean
            Only with `return_std`.
        """
        check_is_fitted(self)
        data = self._training
        factored = kernel_factor(data, self._posterior.point)[2]
        mean, spread = leave_one_out(factored, data.Y)
        host = isinstance(data.X, np.ndarray) or self.device is not None
        mean = self._shaped(mean * self._y_scale + self._y_mean, host)
        if not return_std:
            return mean
        std = namespace(spread).sqrt(spread)[:, None] * self._y_scale
        return mean, self._shaped(std, host)

    def log_marginal_likelihood(self, theta=None, eval_gradient=False):
        """Log evidence of the (normalised) training targets.

        Parameters
        ----------
        theta : array-like of shape (n_hyperparameters,), default=None
            Log variances as in `kernel_.theta`; noise and metric stay as fitted. None
            means the fitted value.
        eval_gradient : bool, default=False

        Returns
        -------
        value : float
        gradient : ndarray of shape (n_hyperparameters,)
            Only with `eval_gradient`.
        """
        check_is_fitted(self)
        if theta is None and not eval_gradient:
            return self.log_marginal_likelihood_value_
        kernel = self.kernel_
        kernel = kernel if theta is None else kernel.clone_with_theta(np.asarray(theta))
        data, point = self._training, self._posterior.point
        point = replace(point, network=kernel.network())
        if not eval_gradient:
            return log_evidence(data, point)
        root = point.root
        if root is not None:
            root = asarray_like(root, data.X)
            mapped = data.X * root if root.ndim == 1 else data.X @ root
            data, point = replace(data, X=mapped), replace(point, root=None)
        free = [h.name for h in kernel.hyperparameters if not h.fixed]
        problem = RegularizedEvidence(
            data, point, width=inf, covariance_type=None, free=free
        )
        value, gradient = problem(problem.pack(point))
        return value, gradient[[problem.free.index(name) for name in free]]

    def __getstate__(self):
        state = dict(super().__getstate__())
        return {name: _on_host(value) for name, value in state.items()}


def _on_host(value):
    """Device arrays as NumPy, so that a model loads on a machine without the device."""
    if isinstance(value, np.ndarray):
        return value
    if hasattr(value, "__array_namespace__") or hasattr(value, "cpu"):
        return to_numpy(value)
    if isinstance(value, GaussianPosterior | Data):
        fields = {name: _on_host(field) for name, field in vars(value).items()}
        return replace(value, **fields)
    return value


class NNGPRegressor(_WideNetworkRegressor):
    """Regression with the Gaussian process of an infinitely wide neural network.

    NNGP means neural-network Gaussian process. Variances and noise maximise the
    evidence, by its analytic gradient, from fixed starting points that adapt to the
    scale of X and y.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        None means ``NNGP("erf")``. Bounds of the weight variance are relative to one
        over the mean squared entry of X, those of the readout variance to the
        variance of y; hyperparameters with bounds "fixed" are taken as given.
    alpha : float, default=1e-2
        Noise variance, in units of the variance of y if `normalize_y`. With
        `optimizer=None` it is taken as given; otherwise it starts the search
        together with a given `kernel`.
    optimizer : {"evidence"} or None, default="evidence"
        None takes every variance as given.
    n_restarts_optimizer : int, default=0
        Random starting points besides the fixed ones.
    normalize_y : bool, default=True
        Fit to centred targets of unit variance; predictions come back in y's units.
    device : {"cuda"} or None, default=None
        "cuda" moves X and y to a GPU through CuPy and returns NumPy; None follows X.
    random_state : int, RandomState or None, default=None
        For the random starts only.

    Attributes
    ----------
    kernel_ : NNGP or NTK
        Kernel with the fitted variances.
    alpha_ : float
        Fitted noise variance, in the units of `alpha`.
    dual_coef_ : array of shape (n_samples, n_outputs)
        (K + noise)^{-1} y for normalised y.
    X_train_ : array of shape (n_samples, n_features)
        Training rows of positive weight.
    log_marginal_likelihood_value_ : float
        Log evidence of normalised y, summed over outputs.
    n_iter_ : int
        Iterations of the optimizer.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    References
    ----------
    Lee et al., "Deep Neural Networks as Gaussian Processes", ICLR 2018.
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels import NNGPRegressor
    >>> X = np.linspace(-2, 2, 20)[:, None]
    >>> model = NNGPRegressor().fit(X, np.sin(X[:, 0]))
    >>> mean, std = model.predict([[1.0]], return_std=True)
    >>> bool(abs(mean[0] - np.sin(1.0)) < 0.01)
    True
    """

    def __init__(
        self,
        kernel=None,
        *,
        alpha=1e-2,
        optimizer="evidence",
        n_restarts_optimizer=0,
        normalize_y=True,
        device=None,
        random_state=None,
    ):
        self.kernel = kernel
        self.alpha = alpha
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.normalize_y = normalize_y
        self.device = device
        self.random_state = random_state

    def _fit(self, X, Y, weights):
        mean, scale = self._normalize(Y, weights)
        Y = (Y - mean) / scale
        data, root, search = self._problem(X, Y, weights)
        solution = tune_isotropic(data, search)
        warn_unless_converged(solution, search)
        point = replace(solution.point, root=root)
        posterior, evidence = GaussianPosterior.fit(Data(X, Y, weights), point)
        self._store(X, Y, mean, scale, weights, posterior, evidence, solution, root)


class AdaptiveKernelRegressor(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, _WideNetworkRegressor
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
        scaling 1 and frozen, then the prior variance of the input weights is divided
        by `scaling` and the covariance is learned again.
    approximation : {"gaussian", "rescaling"}, default="gaussian"
        "gaussian" learns the weight covariance. "rescaling" keeps it and solves for
        the scale of the NNGP kernel at finite width, to all orders in
        n_samples / width, with variances and noise frozen at the NNGP's evidence.
    covariance_type : {"diag", "full"}, default="diag"
        One variance per feature, or all covariances.
    alpha, optimizer, n_restarts_optimizer, normalize_y, device, random_state :
        As in `NNGPRegressor`.
    max_iter : int, default=200
        Iterations of the optimizer at full size.
    tol : float, default=1e-4
        Largest entry of the gradient per observation at convergence.

    Attributes
    ----------
    weight_covariance_ : ndarray of shape (n_features,) or (n_features, n_features)
        Sigma, the covariance of the input weights of a hidden unit.
    feature_importances_ : ndarray of shape (n_features,)
        Share of each feature in the variance of a pre-activation: diag(Sigma) times
        the variance of the feature, summing to one.
    scale_ : float, or ndarray of shape (n_outputs, n_outputs)
        Scale of the kernel for "rescaling", else 1.
    converged_ : bool
    kernel_ : NNGP or NTK
        Kernel with the fitted variances and metric.
    alpha_, dual_coef_, X_train_, log_marginal_likelihood_value_, n_iter_ :
        As in `NNGPRegressor`.

    Notes
    -----
    The regularised evidence is not comparable between widths; neither is the evidence
    of a learned metric nor its leave-one-out error. Compare widths by cross-validation.

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
        **_WideNetworkRegressor._parameter_constraints,
        "width": [Interval(Real, 0, None, closed="right")],
        "scaling": [Interval(Real, 0, None, closed="neither")],
        "approximation": [StrOptions({"gaussian", "rescaling"})],
        "covariance_type": [StrOptions({"diag", "full"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        kernel=None,
        *,
        width=1.0,
        scaling=1.0,
        approximation="gaussian",
        covariance_type="diag",
        alpha=1e-2,
        optimizer="evidence",
        n_restarts_optimizer=0,
        normalize_y=True,
        max_iter=200,
        tol=1e-4,
        device=None,
        random_state=None,
    ):
        self.kernel = kernel
        self.width = width
        self.scaling = scaling
        self.approximation = approximation
        self.covariance_type = covariance_type
        self.alpha = alpha
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.normalize_y = normalize_y
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    def _fit(self, X, Y, weights, start=None):
        mean, scale = self._normalize(Y, weights)
        Y = (Y - mean) / scale
        data, root, search = self._problem(X, Y, weights)
        search = replace(search, max_iter=self.max_iter, tol=self.tol)
        solution = self._tune(data, search, start)
        self._tuned = solution.point
        solution = self._rescale(data, search, solution)
        warn_unless_converged(solution, search)
        point = replace(solution.point, root=combine_roots(root, solution.point.root))
        given, saddle = Data(X, Y, weights), None
        if self.approximation == "rescaling":
            posterior, evidence = RescaledPosterior.fit(given, point, float(self.width))
            saddle = posterior.saddle
        else:
            posterior, evidence = GaussianPosterior.fit(given, point)
        self._store(X, Y, mean, scale, weights, posterior, evidence, solution, root)
        self._describe(X, solution, saddle)

    def _tune(self, data, search, start):
        """Variances, noise and, for "gaussian", the covariance at scaling 1."""
        adapts = self.approximation == "gaussian" and not isinf(self.width)
        kind = {
            "width": float(self.width) if adapts else inf,
            "covariance_type": self.covariance_type if adapts else None,
        }
        if start is not None:
            return climb(data, search, start, **kind)
        if not search.bounds and self.scaling != 1:
            return climb(data, search, search.template, width=inf, covariance_type=None)
        return tune_covariance(data, search, **kind) if adapts else (
            tune_isotropic(data, search)
        )

    def _rescale(self, data, search, solution):
        """Divide the prior weight variance by `scaling` and adapt again."""
        if self.scaling == 1:
            return solution
        network = solution.point.network
        weight = network.weight_variance / self.scaling
        point = replace(solution.point, network=replace(network, weight_variance=weight))
        if self.approximation != "gaussian" or isinf(self.width):
            return replace(solution, point=point)
        frozen = replace(search, template=point, bounds={})
        kind = {"width": float(self.width), "covariance_type": self.covariance_type}
        again = climb(data, frozen, point, **kind)
        return replace(again, n_iter=again.n_iter + solution.n_iter)

    def _describe(self, X, solution, saddle):
        d = X.shape[1]
        metric = self._posterior.point.metric()
        if metric is None:
            metric = np.ones(d) if self.covariance_type == "diag" else np.eye(d)
        covariance = self.kernel_.weight_variance / d * metric
        spread = to_numpy(namespace(X).var(X, axis=0))
        shares = (covariance if metric.ndim == 1 else np.diag(covariance)) * spread
        shares = shares / shares.sum() if shares.sum() > 0 else shares
        on_host = self.device is not None or isinstance(X, np.ndarray)
        self.weight_covariance_, self.feature_importances_ = (
            a if on_host else asarray_like(a, X) for a in (covariance, shares)
        )
        self.scale_ = 1.0
        if saddle is not None:
            self.scale_ = saddle.scale if len(saddle.scale) > 1 else saddle.scale[0, 0]
        self.converged_ = solution.converged

    def transform(self, X):
        """Map inputs into the learned metric, where x' Sigma z is an inner product.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_features)
            For a diagonal Sigma the scaled features; for a full one the projections on
            its principal directions, by decreasing variance.
        """
        check_is_fitted(self)
        X, host = self._validate_rows(X, "transform")
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
