"""Base class of regressors tuned by evidence: search, prediction, leave-one-out."""

from dataclasses import replace
from numbers import Integral, Real
from typing import Self

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._arrays import (
    Array,
    ArrayLike,
    check_device,
    identity,
    namespace,
    small_problem_threads,
)
from .._sklearn import Interval, StrOptions, fit_context
from ..inference.coordinates import Frame
from ..inference.evidence import Data, Hyperparameters, evidence_slopes
from ..inference.evidence_problem import EvidenceProblem
from ..inference.local_posterior import LocalData, checked_inducing
from ..inference.memory_limits import check_exact_memory, check_joint_memory
from ..inference.optimization import NOISE_BOUNDS
from ..inference.starting_points import random_starts
from ..inference.streaming import is_approximate
from ..kernels import NNGP
from ..kernels._base import VARIANCES, WideKernel
from ..kernels._recursion import slices_of
from .base import KernelModel, draw_jointly, unchanged_on_failure
from .distributions import PredictsDistributions
from .large_tables import N_NEIGHBORS, ChoosesNeighbors, training_rows
from .validation import validate_prior, validate_training, warn_of_relative_weights

PREDICTED_ROWS = 8192


class WideNetworkRegressor(
    ChoosesNeighbors,
    PredictsDistributions,
    MultiOutputMixin,
    RegressorMixin,
    KernelModel,
):
    """Base class of the regressors tuned by evidence."""

    _parameter_constraints: dict = {
        "kernel": [WideKernel, None],
        # Times the largest variance of y that is allowed, it has to be finite.
        "alpha": [Interval(Real, 0, 1e50, closed="both")],
        "optimizer": [StrOptions({"evidence"}), None],
        "n_restarts_optimizer": [Interval(Integral, 0, None, closed="left")],
        "n_inducing": [Interval(Integral, 1, None, closed="left"), None],
        "n_neighbors": N_NEIGHBORS,
        "normalize_y": ["boolean"],
        "device": [str, None],
        "random_state": ["random_state"],
    }

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Fit the kernel and the posterior.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs. They are not scaled: put a scaler before this estimator.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Outputs share the kernel. If the noise is tuned, the kernel is
            learned with one noise for all, and then each output gets its own. With
            another approximation than "gaussian" they share it. A constant output is
            predicted as this constant, and does not change the fit of the others.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w has noise variance alpha / w, and counts in the evidence
            as w equal rows. Weight 0 removes the row.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is invalid. The message names it.
        MemoryError
            If the kernel matrix does not fit in memory.
        numpy.linalg.LinAlgError
            If the kernel matrix is not positive definite at the given alpha.

        Warns
        -----
        ConvergenceWarning
            If the optimizer stopped early, or a small forest explains much more of y.
        """
        with unchanged_on_failure(self):
            check_device(self.device)
            self._check_inducing()
            arrays = validate_training(self, X, y, sample_weight)
            warn_of_relative_weights(arrays[2])
            self._fit_checked(arrays)
        return self

    def _fit_checked(self, arrays, **start):
        """Fit to checked arrays (X, y, weights); `start` are options of `_fit`."""
        rows = self._rows(*arrays)
        with small_problem_threads(rows.data.X.shape[0]):
            self._fit(rows, **start)
        return self

    def _check_inducing(self):
        """Raise ValueError if other parameters do not allow `n_inducing`."""

    def _rows(self, X, y, weights):
        """The `TrainingRows` of checked arrays."""
        self.n_features_in_ = X.shape[1]
        return training_rows(self, X, y, weights)

    def _target_scale(self, Y, weights, is_vector):
        targets = super()._target_scale(Y, weights, is_vector)
        return targets if self.optimizer is None else targets.without_constants()

    def check_parameters(self) -> None:
        """Raise ValueError if a parameter, or a pair of them, is invalid."""
        self._validate_params()
        self._check_inducing()
        self._kernel().network()

    def check_memory(self, X: Array) -> None:
        """Raise MemoryError if a fit of all rows of X does not fit in memory."""
        self._check_memory(X, X.shape[0])

    def _check_memory(self, X, n):
        if self.is_local(n):
            checked_inducing(X, n, X.shape[1], self.n_inducing)
        elif not is_approximate(n, self.n_inducing):
            check_exact_memory(X, n, self._matrices())

    def _require_exact(self, what):
        """Raise AttributeError if the model has inducing points or neighbours."""
        if not self._posterior.is_exact():
            raise AttributeError(
                f"{what} needs all training rows at once: fit with n_inducing=None and "
                "n_neighbors=None."
            )

    def _has_noise_per_output(self, rows):
        return self.optimizer is not None and rows.data.Y.shape[1] > 1

    def _kernel(self):
        return NNGP("erf") if self.kernel is None else self.kernel

    def _problem(self, data):
        """The evidence problem of `data`, and its coordinates, a `Frame`."""
        kernel, d = self._kernel(), data.X.shape[1]
        limits = {k: getattr(self, k) for k in ("max_iter", "tol") if hasattr(self, k)}
        if self.optimizer is None:
            validate_prior(kernel, data.X)
            frame = Frame(kernel.network().origin, kernel.metric_sqrt(d))
            template = frame.enter(Hyperparameters(kernel.network(), float(self.alpha)))
            rows = replace(data, X=frame.rows(data.X))
            return EvidenceProblem(rows, template, **limits), frame
        frame = Frame.of(kernel, data)
        # The search uses log(alpha), so it cannot start at zero.
        alpha = float(self.alpha or NOISE_BOUNDS[0])
        template = frame.enter(Hyperparameters(kernel.network(), alpha))
        bounds = {h.name: h.bounds[0] for h in kernel.hyperparameters if not h.fixed}
        problem = EvidenceProblem(
            frame.rounded(data),
            template,
            {**bounds, "alpha": NOISE_BOUNDS},
            frame.bounds_given(kernel),
            **limits,
        )
        starts = (template,) if self._gives_start() else ()
        if self.n_restarts_optimizer:
            rng = check_random_state(self.random_state)
            starts += tuple(random_starts(problem, self.n_restarts_optimizer, rng))
        return replace(problem, starts=starts), frame

    def _gives_start(self):
        """Whether the user gave the kernel variances other than the default."""
        kernel, plain = self._kernel(), type(self._kernel())()
        return any(getattr(kernel, name) != getattr(plain, name) for name in VARIANCES)

    def _store(self, rows, posterior, evidence, n_iter):
        """Set the fitted attributes: posterior, kernel, training rows, evidence."""
        network, point, kernel = posterior.network, posterior.point, self._kernel()
        self.kernel_ = type(kernel)(
            **{
                **kernel.get_params(),
                **{name: getattr(network, name) for name in VARIANCES},
                "metric": point.metric(),
                "origin": network.origin,
            }
        )
        inducing = posterior.inducing_points()
        if inducing is not None:
            # The sums of the posterior contain all other rows.
            rows = replace(rows, data=Data(inducing, posterior.dual))
        self.X_train_, self.n_neighbors_ = rows.data.X, None
        if isinstance(rows.data, LocalData):
            self.X_train_ = rows.data.rows.X
            self.n_neighbors_ = posterior.n_neighbors
        self.alpha_ = rows.targets.noise_with_constants(posterior.observation_noise())
        self.n_iter_ = n_iter
        self.log_marginal_likelihood_value_ = evidence
        self._posterior, self._training, self._targets = posterior, rows, rows.targets

    @property
    def dual_coef_(self) -> Array:
        """Coefficients of the kernel with `X_train_` in the mean of normalised y."""
        check_is_fitted(self)
        dual = self._posterior.dual
        return self._targets.with_constants(dual, 0 * self._targets.mean)

    def predict(
        self, X: ArrayLike, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """Predict new observations: mean, and optionally their spread with noise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs. They are computed in blocks of rows, except with `return_cov`.
        return_std, return_cov : bool, default=False
            Whether to return the standard deviation, or the covariance, as well. Both
            together raise RuntimeError.

        Returns
        -------
        mean : array of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, in the units of y.
        std : array like mean
            Only with `return_std`: standard deviations, in the units of y.
        covariance : array of shape (n_samples, n_samples) or \
(n_samples, n_samples, n_outputs)
            Only with `return_cov`: covariance between rows, for each output.
        """
        if return_std and return_cov:
            raise RuntimeError("Ask for return_std or for return_cov, not for both.")
        return self._predicted(X, return_std, return_cov)

    def _predicted(self, X, return_std=False, return_cov=False):
        check_is_fitted(self)
        X, host = self._checked_rows(X, "predict")
        with small_problem_threads(self.X_train_.shape[0]):
            if return_cov:
                check_joint_memory(X, X.shape[0], self._targets.mean.shape[0], 1)
                mean, spread = self._posterior.covariance(self._computed(X))
                eye = identity(mean, X.shape[0])
                noise = self._posterior.observation_noise()
                covariance = self._targets.to_original_covariance(
                    spread + noise * eye[:, :, None]
                )
                results = [self._targets.to_original(mean), covariance]
            else:
                results = self._streamed(X, return_std)
        results = [self._targets.shaped(a, host) for a in results]
        return tuple(results) if len(results) > 1 else results[0]

    def _streamed(self, X, return_std):
        """Mean, and with `return_std` standard deviation, in blocks of rows."""
        parts = []
        for rows in slices_of(X.shape[0], PREDICTED_ROWS):
            block = self._computed(X[rows, :])
            if return_std:
                mean, variance = self._posterior.variance(block)
                parts.append((self._targets.to_original(mean), self._std(variance)))
            else:
                parts.append((self._targets.to_original(self._posterior.mean(block)),))
        xp = namespace(parts[0][0])
        return [xp.concat(column, axis=0) for column in zip(*parts, strict=True)]

    def _std(self, variance):
        """Standard deviation of new observations, from the variance of f."""
        noise = self._posterior.observation_noise()
        return self._targets.to_original_std(variance + noise)

    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
    ) -> np.ndarray:
        """Draw new observations with noise, jointly over rows, in the units of y.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
            New inputs.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState or None, default=0
            Seed of the draws.

        Returns
        -------
        samples : ndarray of shape (n_rows, n_samples) or (n_rows, n_outputs, n_samples)
        """
        prediction: tuple[Array, Array] = self._predicted(X, return_cov=True)
        return draw_jointly(*prediction, n_samples, random_state)

    def leave_one_out_predict(
        self, return_std: bool = False
    ) -> Array | tuple[Array, Array]:
        """Predict every training row from the others, in closed form.

        Hyperparameters are those of the fit to all rows. After a metric was learned the
        result is optimistic: use cross-validation to choose a width. Rows that are
        equal in X and y are left out together.

        Parameters
        ----------
        return_std : bool, default=False
            Whether to return standard deviations as well.

        Returns
        -------
        mean : array of shape (n_samples,) or (n_samples, n_outputs)
            Predictions for the samples of positive weight, in the units of y.
        std : array like mean
            Only with `return_std`: standard deviations, in the units of y.
        """
        check_is_fitted(self)
        if not hasattr(self._posterior, "leave_one_out"):
            self._require_exact("leave_one_out_predict")
        data, index = self._training.data, self._training.row_of_sample
        mean, spread = self._posterior.leave_one_out(data)
        xp = namespace(mean)
        std = self._std(xp.maximum(spread, 0 * spread))
        host = isinstance(self.X_train_, np.ndarray) or self.device is not None
        mean, std = (
            self._targets.shaped(
                values if index is None else xp.take(values, index, axis=0), host
            )
            for values in (self._targets.to_original(mean), std)
        )
        return (mean, std) if return_std else mean

    def log_marginal_likelihood(
        self, theta: ArrayLike | None = None, eval_gradient: bool = False
    ) -> float | tuple[float, np.ndarray]:
        """Log evidence of the normalised training targets, summed over outputs.

        Parameters
        ----------
        theta : array-like of shape (n_hyperparameters,), default=None
            Log variances, in the order of `kernel_.theta`; None means the fitted ones.
            Noise and metric stay as fitted.
        eval_gradient : bool, default=False
            Whether to return the gradient in `theta` as well.

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
        data, point = self._training.data, self._posterior.point
        point = replace(point, network=kernel.network())
        if not eval_gradient:
            return self._posterior.evidence(data, point)
        if not hasattr(self._posterior, "evidence_terms"):
            raise ValueError("eval_gradient needs approximation='gaussian'.")
        free = [h.name for h in kernel.hyperparameters if not h.fixed]
        terms = [
            evidence_slopes(part, at, free)
            for part, at in self._posterior.evidence_terms(data, point)
        ]
        gradient = np.sum([slopes for _, slopes in terms], axis=0)
        return sum(value for value, _ in terms), gradient
