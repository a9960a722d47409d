"""What the regressors tuned by evidence share: search, prediction, leave-one-out."""

from dataclasses import replace
from math import inf
from numbers import Integral, Real

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._array import (
    as_float64,
    asarray_like,
    check_device,
    check_memory,
    identity,
    index_like,
    namespace,
    small_problem_threads,
    to_device,
    to_numpy,
)
from ._frame import Frame
from ._inducing import AllRows, inducing_data, is_sparse, streams
from ._model import (
    KernelModel,
    draw_jointly,
    unchanged_on_failure,
    validate_training,
)
from ._starts import random_starts
from .kernels import NNGP
from .kernels._base import VARIANCES, WideKernel
from .kernels._recursion import apply_root, centered, slices_of
from .theory.ascent import NOISE_BOUNDS, Search
from .theory.inducing import InducingPosterior
from .theory.posterior import GaussianPosterior
from .theory.variational import (
    Data,
    Hyperparameters,
    RegularizedEvidence,
)

PREDICTED_ROWS = 8192


class WideNetworkRegressor(MultiOutputMixin, RegressorMixin, KernelModel):
    """Evidence search and prediction shared by the regressors."""

    _parameter_constraints: dict = {
        "kernel": [WideKernel, None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "optimizer": [StrOptions({"evidence"}), None],
        "n_restarts_optimizer": [Interval(Integral, 0, None, closed="left")],
        "n_inducing": [Interval(Integral, 1, None, closed="left"), None],
        "normalize_y": ["boolean"],
        "device": [str, None],
        "random_state": ["random_state"],
    }

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
        return self._fit_from(X, y, sample_weight)

    def _fit_from(self, X, y, sample_weight, **start):
        """Fit, optionally from given starts: see `_fit`."""
        with unchanged_on_failure(self):
            given, mean, scale = self._prepare(X, y, sample_weight)
            with small_problem_threads(given.X.shape[0]):
                self._fit(given, mean, scale, **start)
        return self

    def _prepare(self, X, y, sample_weight):
        """Data of checked rows, targets normalised, with their mean and scale."""
        check_device(self.device)
        self._check_inducing()
        return self._rows(*validate_training(self, X, y, sample_weight))

    def _check_inducing(self):
        """Raise ValueError where `n_inducing` does not go with other parameters."""

    def _rows(self, X, y, weights):
        """Data, targets normalised, with their mean and scale."""
        m = self.n_inducing
        stream = streams(X.shape[0], m)
        self._row_of_sample = None
        if not stream:
            X, Y, weights, (single, inverse) = self._merged(X, y, weights)
            stream = is_sparse(X.shape[0], m)
        else:
            Y = asarray_like(y, as_float64(to_device(X[:1, :], self.device)))
            single = Y.ndim == 1
            Y = Y[:, None] if single else Y
            # X stays where it is; the sums over all weights are on the device.
            weights = None if weights is None else asarray_like(weights, Y)
        self._single_output = single
        mean, scale = self._normalize(Y, weights)
        if not stream:
            self._row_of_sample = index_like(inverse, X)
            self._column_variances = asarray_like(column_variances(X, weights), X)
            return Data(X, (Y - mean) / scale, weights), mean, scale
        rows = AllRows(X, Y, weights, self.device)
        self._column_variances = asarray_like(rows.column_variances(), Y)
        return inducing_data(rows, m, mean, scale), mean, scale

    def _check_memory(self, X, n):
        if not is_sparse(n, self.n_inducing):
            check_memory(X, n, self._matrices(), inducing=True)

    def _require_exact(self, what):
        """Raise AttributeError if the fit was by inducing points."""
        if isinstance(self._posterior, InducingPosterior):
            raise AttributeError(
                f"{what} needs all training rows at once: fit with n_inducing=None."
            )

    def _kernel(self):
        return NNGP("erf") if self.kernel is None else self.kernel

    def _problem(self, given):
        """Data in the frame of the search, the frame, and the evidence search."""
        kernel, d = self._kernel(), given.X.shape[1]
        limits = {k: getattr(self, k) for k in ("max_iter", "tol") if hasattr(self, k)}
        if self.optimizer is None:
            frame = Frame(kernel.network().origin, kernel.metric_root(d))
            template = frame.enter(Hyperparameters(kernel.network(), float(self.alpha)))
            data = replace(given, X=frame.rows(given.X))
            return data, frame, Search(template, {}, **limits)
        frame = Frame.of(kernel, given)
        data = frame.rounded(given)
        # Zero noise has no logarithm to climb from.
        alpha = float(self.alpha or NOISE_BOUNDS[0])
        template = frame.enter(Hyperparameters(kernel.network(), alpha))
        bounds = {h.name: h.bounds[0] for h in kernel.hyperparameters if not h.fixed}
        search = Search(template, {**bounds, "alpha": NOISE_BOUNDS}, **limits)
        starts = (template,) if self._gives_start() else ()
        if self.n_restarts_optimizer:
            rng = check_random_state(self.random_state)
            starts += tuple(random_starts(data, search, self.n_restarts_optimizer, rng))
        return data, frame, replace(search, starts=starts)

    def _gives_start(self):
        """Whether the kernel has variances of its own to start from."""
        kernel, plain = self._kernel(), type(self._kernel())()
        return any(getattr(kernel, name) != getattr(plain, name) for name in VARIANCES)

    def _store(self, given, mean, scale, posterior, evidence, solution):
        network, point = posterior.network, posterior.point
        metric = point.metric()
        kernel = self._kernel()
        self.kernel_ = type(kernel)(
            **{
                **kernel.get_params(),
                **{name: getattr(network, name) for name in VARIANCES},
                "metric": metric,
                "origin": network.origin,
            }
        )
        self.alpha_ = point.alpha
        self.X_train_ = given.X
        if isinstance(posterior, InducingPosterior):
            self.X_train_ = posterior.inducing
            given = Data(posterior.inducing, posterior.dual)
        self.log_marginal_likelihood_value_ = evidence
        self.n_iter_ = solution.n_iter
        self._posterior, self._training = posterior, given
        self._y_mean, self._y_scale = mean, scale

    @property
    def dual_coef_(self):
        """Coefficients of the kernel with the rows `X_train_` in the mean."""
        check_is_fitted(self)
        return self._posterior.dual

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
        X, host = self._checked_rows(X, "predict")
        with small_problem_threads(self.X_train_.shape[0]):
            if return_cov:
                mean, spread = self._posterior.covariance(self._computed(X))
                eye = identity(mean, X.shape[0])
                spread = (spread + self.alpha_ * eye[:, :, None]) * self._y_scale**2
                results = [mean * self._y_scale + self._y_mean, spread]
            else:
                results = self._streamed(X, return_std)
        results = [self._shaped(a, host) for a in results]
        return tuple(results) if len(results) > 1 else results[0]

    def _streamed(self, X, return_std):
        """Mean, and standard deviation if asked for, block by block of rows."""
        parts = []
        for rows in slices_of(X.shape[0], PREDICTED_ROWS):
            block = self._computed(X[rows, :])
            if return_std:
                mean, spread = self._posterior.variance(block)
                noisy = spread + self.alpha_
                std = namespace(noisy).sqrt(noisy) * self._y_scale
                parts.append((mean * self._y_scale + self._y_mean, std))
            else:
                mean = self._posterior.mean(block)
                parts.append((mean * self._y_scale + self._y_mean,))
        xp = namespace(parts[0][0])
        return [xp.concat(column, axis=0) for column in zip(*parts, strict=True)]

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
        prediction = self.predict(X, return_cov=True)
        return draw_jointly(*prediction, n_samples, random_state)

    def leave_one_out_predict(self, return_std=False):
        """Predict every training row from the others, in closed form.

        Hyperparameters stay as fitted on all rows, so after learning a metric the
        result is optimistic: use cross-validation to choose a width. Rows that repeat
        exactly, target included, are left out together.

        Parameters
        ----------
        return_std : bool, default=False

        Returns
        -------
        mean : array of shape (n_samples,) or (n_samples, n_outputs)
            Samples of weight zero are not among them.
        std : array like mean
            Only with `return_std`.
        """
        check_is_fitted(self)
        self._require_exact("leave_one_out_predict")
        data = self._training
        mean, spread = self._posterior.leave_one_out(data)
        xp, index = namespace(mean), self._row_of_sample
        std = xp.sqrt(xp.maximum(spread, 0 * spread) + self.alpha_) * self._y_scale
        host = isinstance(data.X, np.ndarray) or self.device is not None
        mean, std = (
            self._shaped(xp.take(values, index, axis=0), host)
            for values in (mean * self._y_scale + self._y_mean, std)
        )
        return (mean, std) if return_std else mean

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
        self._require_exact("log_marginal_likelihood at a theta")
        kernel = self.kernel_
        if theta is not None:
            if np.shape(theta) != kernel.theta.shape:
                raise ValueError(
                    f"theta has shape {np.shape(theta)}, but kernel_.theta has "
                    f"{kernel.theta.shape}."
                )
            kernel = kernel.clone_with_theta(np.asarray(theta, dtype=float))
        data, point = self._training, self._posterior.point
        point = replace(point, network=kernel.network())
        if not eval_gradient:
            return self._posterior.evidence(data, point)
        if type(self._posterior) is not GaussianPosterior:
            raise ValueError("eval_gradient needs approximation='gaussian'.")
        origin = point.network.origin
        data = replace(data, X=apply_root(centered(data.X, origin), point.root))
        network = replace(point.network, origin=None)
        point = replace(point, network=network, root=None)
        free = [h.name for h in kernel.hyperparameters if not h.fixed]
        problem = RegularizedEvidence(
            data, point, width=inf, covariance_type=None, free=free
        )
        value, gradient = problem(problem.pack(point))
        return value, gradient[[problem.free.index(name) for name in free]]


def column_variances(X, weights):
    """Variance of every column of X, weighted: ndarray (d,)."""
    X = to_numpy(X)
    weights = None if weights is None else to_numpy(weights)
    mean = np.average(X, axis=0, weights=weights)
    return np.average((X - mean) ** 2, axis=0, weights=weights)
