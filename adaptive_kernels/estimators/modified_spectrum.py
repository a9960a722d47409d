"""Regression by preconditioned gradient descent on the kernel of a wide network."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Self

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._arrays import (
    Array,
    ArrayLike,
    asarray_like,
    check_device,
    check_memory,
    eigh,
    namespace,
    small_problem_threads,
    to_device,
    to_numpy,
)
from .._sklearn import Interval, StrOptions, fit_context
from ..kernels import NTK
from ..kernels._eigenpairs import KernelRows, nystrom_eigenpairs, top_eigenpairs
from ..kernels._spectrum import SPECTRA
from ..theory.kernel_regression.gradient_flow import generalised_cross_validation
from ..theory.kernel_regression.preconditioned_descent import (
    Preconditioner,
    kernel_gradient_descent,
)
from .base import KernelModel, unchanged_on_failure
from .validation import validate_training

# Up to this many rows the kernel matrix is kept in memory: 3.2 GB for 20,000 rows.
_DENSE_ROWS = 20_000
# Candidates of spectrum="cv": exponents p, and how many stops on a logarithmic grid.
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_STOPS = 60


@dataclass(frozen=True)
class _Plan:
    """Settings of a descent.

    eigenvalues : ndarray (k,), largest ones of the kernel matrix
    spectrum : value of `spectrum_`
    tol, max_iter : limits of the descent, in place of the parameters
    """

    preconditioner: Preconditioner
    eigenvalues: np.ndarray
    spectrum: str | float | Callable[[np.ndarray], np.ndarray]
    tol: float
    max_iter: int


class ModifiedSpectrumRegressor(MultiOutputMixin, RegressorMixin, KernelModel):
    """Kernel regression by gradient descent with chosen learning rates.

    Plain gradient descent on a kernel learns low frequencies first, and high ones after
    very many iterations. Here the top eigendirections of the kernel are preconditioned,
    and learn at the rates that you choose. Use it for kernel ridge regression in few
    iterations, or to choose what an early stop has learned. Standardise X first. An
    iteration takes O(n^2) time; up to 20,000 rows the kernel matrix is in memory.

    Parameters
    ----------
    kernel : kernel, default=None
        Kernel object with scikit-learn's interface; None means ``NTK("relu")``. Its
        hyperparameters are not tuned.
    alpha : float, default=0.1
        Noise variance, in units of the variance of y if `normalize_y`. Descent solves
        (K + alpha I) dual = y.
    spectrum : {"flat", "identity", "cv"}, float or callable, default="flat"
        New eigenvalues of the k = `n_components` largest modes, which set their rates.
        A number p replaces the eigenvalue l by l_k (l / l_k)^p, with l_k the smallest
        of them: with 0 or "flat" all modes learn at the rate of the k-th, 1 or
        "identity" is plain gradient descent. A function maps the eigenvalues of
        (K + alpha I) / n_samples to new ones. "cv" chooses p among 0, 1/4, 1/2, 3/4, 1
        and the number of iterations by generalised cross-validation. It needs one full
        eigendecomposition, and takes at most 20,000 rows.
    n_components : int, default=50
        Number of eigendirections that are preconditioned.
    max_iter : int, default=1000
        Maximum number of iterations.
    tol : float, default=1e-3
        Descent stops when the norm of the residual of (K + alpha I) dual = y is below
        `tol` times that of y. With zero it makes exactly `max_iter` iterations, without
        a warning: early stopping. Not used by "cv".
    normalize_y : bool, default=True
        Fit to centred targets of unit variance. Predictions are in the units of y.
    device : {"cuda"} or None, default=None
        "cuda" computes on a GPU with CuPy and returns NumPy; None computes where X is.
    random_state : int, RandomState or None, default=None
        Seed of the eigenvalue routine, and of the subsample of more than 20,000 rows.

    Attributes
    ----------
    dual_coef_ : array of shape (n_samples, n_outputs)
        Coefficients of the kernel with the rows `X_train_`, for normalised y.
    X_train_ : array of shape (n_samples, n_features)
        Copy of the training rows.
    kernel_ : kernel
        Copy of `kernel`.
    eigenvalues_ : ndarray of shape (n_components,)
        Largest eigenvalues of K, approximate beyond 20,000 rows.
    spectrum_ : str, float or callable
        `spectrum`, or the exponent that "cv" chose.
    residual_curve_ : ndarray of shape (n_iter_ + 1,)
        Norm of the residual over that of y, before every iteration and at the end.
    n_iter_ : int
        Number of iterations.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has string names for all columns.

    Notes
    -----
    The spectrum changes the path of descent only. At convergence the model is kernel
    ridge regression for every `spectrum`. For other predictions at convergence give a
    `ModifiedSpectrum` as `kernel`.

    Beyond 20,000 rows the kernel is computed in blocks of rows, again in every
    iteration, and the eigendirections come from a subsample. An iteration with 25,000
    rows takes tens of seconds on one core.

    References
    ----------
    Geifman et al., arXiv:2307.14531, and Ma and Belkin, arXiv:1806.06144.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from adaptive_kernels import ModifiedSpectrumRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), ModifiedSpectrumRegressor())
    >>> model = model.fit(X[::2], y[::2])
    >>> print(model[-1].n_iter_, round(model.score(X[1::2], y[1::2]), 1))
    11 0.4
    """

    _parameter_constraints: dict = {
        "kernel": [Kernel, None],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "spectrum": [StrOptions({*SPECTRA, "cv"}), Real, callable],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, 1, closed="left")],
        "normalize_y": ["boolean"],
        "device": [str, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        kernel: Kernel | None = None,
        *,
        alpha: float = 0.1,
        spectrum: str | float | Callable[[np.ndarray], np.ndarray] = "flat",
        n_components: int = 50,
        max_iter: int = 1000,
        tol: float = 1e-3,
        normalize_y: bool = True,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernel = kernel
        self.alpha = alpha
        self.spectrum = spectrum
        self.n_components = n_components
        self.max_iter = max_iter
        self.tol = tol
        self.normalize_y = normalize_y
        self.device = device
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Find the coefficients of the kernel by gradient descent.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs. They are not scaled: put a scaler before this estimator.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Outputs share the preconditioner and the number of iterations.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is invalid. The message names it.
        MemoryError
            If the kernel matrix of up to 20,000 rows does not fit in memory.

        Warns
        -----
        ConvergenceWarning
            If the residual is above `tol` after `max_iter` iterations.
        """
        with unchanged_on_failure(self):
            check_device(self.device)
            X, y, _ = validate_training(self, X, y, None)
            # A copy: the caller may change the array later.
            X = to_device(X, self.device)
            X = namespace(X).astype(X, namespace(X).float64, copy=True)
            y = asarray_like(y, X)
            Y = y[:, None] if y.ndim == 1 else y
            self._targets = self._target_scale(Y, None, y.ndim == 1)
            with small_problem_threads(X.shape[0]):
                self._fit(X, self._targets.normalized(Y))
        return self

    def _fit(self, X, targets):
        kernel = NTK("relu") if self.kernel is None else clone(self.kernel)
        K, plan = self._prepare(kernel, X, targets)
        descent = kernel_gradient_descent(
            K,
            targets,
            preconditioner=plan.preconditioner,
            ridge=self.alpha,
            tol=plan.tol,
            max_iter=plan.max_iter,
        )
        self.kernel_, self.X_train_ = kernel, X
        self.dual_coef_, self.n_iter_ = descent.dual_coef, descent.n_iter
        self.spectrum_ = plan.spectrum
        self._plan, self._descent = plan, descent
        self._warn(plan, descent)

    def _prepare(self, kernel, X, Y):
        """The kernel matrix, in memory or in blocks of rows, and the `_Plan`."""
        n, k = X.shape[0], self.n_components
        rng = check_random_state(self.random_state)
        if n > _DENSE_ROWS:
            if self.spectrum == "cv":
                raise ValueError(
                    "spectrum='cv' needs all eigenvalues of the kernel: it takes "
                    f"{_DENSE_ROWS} rows at most, got {n}: choose another spectrum."
                )
            K = KernelRows(kernel, X)
            pairs = nystrom_eigenpairs(kernel, X, k + 1, random_state=rng)
            return K, self._fixed_plan(pairs)
        check_memory(X, n, 5 if self.spectrum == "cv" else 3)
        K = kernel(X)
        if self.spectrum == "cv":
            return K, self._cross_validated_plan(K, Y)
        return K, self._fixed_plan(top_eigenpairs(K, k + 1, random_state=rng))

    def _fixed_plan(self, pairs):
        """The plan of the parameters as given.

        pairs : eigenvalues, descending, and eigenvectors in columns
        """
        preconditioner = self._preconditioner(pairs, self.spectrum)
        values = pairs[0][: self.n_components]
        return _Plan(preconditioner, values, self.spectrum, self.tol, self.max_iter)

    def _preconditioner(self, pairs, spectrum):
        return Preconditioner.of_eigenpairs(
            *pairs, self.n_components, spectrum=spectrum, ridge=self.alpha
        )

    def _cross_validated_plan(self, K, Y):
        """The plan of least generalised cross-validation score."""
        xp = namespace(K)
        values, vectors = eigh(K)
        values = np.maximum(to_numpy(values)[::-1], 0)
        vectors = xp.flip(vectors, axis=1)
        coefficients = to_numpy(vectors.T @ Y)
        stops = np.unique(np.geomspace(1, self.max_iter, _STOPS).round().astype(int))
        plans, scores = [], []
        for exponent in _EXPONENTS:
            S = self._preconditioner((values, vectors), exponent)
            left = _left(values, self.alpha, S, stops)
            scores_at_stops = generalised_cross_validation(left, coefficients)
            best = np.argmin(scores_at_stops)
            scores.append(scores_at_stops[best])
            top_values = values[: self.n_components]
            # With tol=0 descent makes exactly this number of iterations.
            plans.append(_Plan(S, top_values, exponent, 0.0, int(stops[best])))
        return plans[int(np.argmin(scores))]

    def _warn(self, plan, descent):
        """Warn if the descent diverged, or stopped before it should have."""
        # Written so that NaN counts as divergence, too.
        if not descent.residual_curve[-1] <= 1:
            problem = (
                "The residual grows: raise alpha, lower n_components, or centre and "
                "scale X."
            )
        elif self.spectrum == "cv":
            if plan.max_iter < self.max_iter:
                return
            problem = (
                f"Cross-validation would stop at max_iter={self.max_iter} or later: "
                "raise it."
            )
        elif descent.converged or self.tol == 0:
            return
        else:
            problem = (
                f"After max_iter={self.max_iter} iterations the residual is "
                f"{descent.residual_curve[-1]:.2g} of y, above tol={self.tol}: "
                "raise max_iter, n_components or alpha, or set tol=0 to stop early."
            )
        warnings.warn(problem, ConvergenceWarning, stacklevel=5)

    @property
    def eigenvalues_(self) -> np.ndarray:
        """Largest eigenvalues of the kernel matrix: ndarray (n_components,)."""
        check_is_fitted(self)
        return self._plan.eigenvalues

    @property
    def residual_curve_(self) -> np.ndarray:
        """Norm of the residual over that of y, before every iteration and at last."""
        check_is_fitted(self)
        return self._descent.residual_curve

    def predict(self, X: ArrayLike) -> Array:
        """Predict y at new rows, in blocks of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs.

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, in the units of y.
        """
        check_is_fitted(self)
        X, host = self._validate_rows(X, "predict")
        return self._targets.shaped(self._mean(X), host)


def _left(eigenvalues, alpha, preconditioner, stops):
    """Share of y that predictions miss after t iterations, per t and mode: (T, n).

    1 - l / (l + alpha) [1 - (1 - step_size g)^t], with g the new eigenvalue of the mode
    """
    shifted = eigenvalues + alpha
    rate = 1 - preconditioner.step_size * preconditioner.eigenvalues(shifted)
    fitted = np.divide(
        eigenvalues, shifted, out=np.zeros_like(shifted), where=shifted > 0
    )
    return 1 - fitted * (1 - rate ** stops[:, None])
