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

# Rows up to which the kernel matrix is held.
_DENSE_ROWS = 20_000
_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_STOPS = 60


@dataclass(frozen=True)
class _Plan:
    """How to descend: with which preconditioner, and when to stop."""

    preconditioner: Preconditioner
    eigenvalues: np.ndarray
    spectrum: str | float | Callable[[np.ndarray], np.ndarray]
    tol: float
    max_iter: int


class ModifiedSpectrumRegressor(MultiOutputMixin, RegressorMixin, KernelModel):
    """Kernel regression by gradient descent with a modified spectrum.

    Gradient descent on the kernel of a wide network learns low frequencies first and
    high ones after very many iterations. Here every step is preconditioned in the top
    eigendirections, which then learn at rates of choice. The kernel stays as it is:
    descent run to the end is kernel ridge regression, whatever the spectrum, and only
    the path there, and so an early stop on it, depends on the spectrum. For other
    predictions at convergence give a `ModifiedSpectrum` as `kernel`.

    Parameters
    ----------
    kernel : kernel, default=None
        None means ``NTK("relu")``. Its hyperparameters are taken as given.
    alpha : float, default=0.1
        Noise variance, in units of the variance of y if `normalize_y`: descent solves
        (K + alpha I) dual = y.
    spectrum : {"flat", "identity", "cv"}, float or callable, default="flat"
        Eigenvalues l of the first modes in the preconditioned problem. A number p means
        l_k (l / l_k)^p with l_k the smallest of them: 0 or "flat" makes all modes learn
        at the rate of the k-th, 1 or "identity" is plain gradient descent. A function
        maps eigenvalues of the kernel's integral operator, those of K + alpha I over
        the number of rows, to new ones. "cv" chooses p among 0, 1/4, 1/2, 3/4, 1
        together with the iteration to stop at, by generalised cross-validation, at the
        cost of one full eigendecomposition.
    n_components : int, default=50
        How many directions are preconditioned.
    max_iter : int, default=1000
        Iterations, at most.
    tol : float, default=1e-3
        Stop once the residual of (K + alpha I) dual = y is this share of y. Zero makes
        exactly `max_iter` iterations: early stopping, without a warning. Not used by
        "cv".
    normalize_y : bool, default=True
        Fit to centred targets of unit variance; predictions come back in y's units.
    device : {"cuda"} or None, default=None
        "cuda" moves X and y to a GPU through CuPy and returns NumPy; None follows X.
    random_state : int, RandomState or None, default=None
        For the eigenvalue routine, and the subsample of more than 20,000 rows.

    Attributes
    ----------
    dual_coef_ : array of shape (n_samples, n_outputs)
        Coefficients of the kernel with the rows `X_train_`, for normalised y.
    X_train_ : array of shape (n_samples, n_features)
    kernel_ : kernel
    eigenvalues_ : ndarray of shape (n_components,)
        Largest eigenvalues of K, approximate beyond 20,000 rows.
    spectrum_ : str, float or callable
        `spectrum`, or what cross-validation chose.
    residual_curve_ : ndarray of shape (n_iter_ + 1,)
        Share of y that is left, before every iteration and at the end.
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    Up to 20,000 rows the kernel matrix is held in memory. Beyond that it is made in
    blocks of rows in every iteration, and the eigendirections come from a subsample:
    25,000 rows then take tens of seconds an iteration on one core.

    References
    ----------
    Geifman et al., arXiv:2307.14531; Ma and Belkin, arXiv:1806.06144.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels import ModifiedSpectrumRegressor
    >>> angle = np.linspace(0, 2 * np.pi, 100, endpoint=False)
    >>> X, y = np.stack([np.cos(angle), np.sin(angle)], axis=1), np.cos(6 * angle)
    >>> model = ModifiedSpectrumRegressor(alpha=0, tol=0.01, max_iter=9999)
    >>> model.fit(X, y).n_iter_
    1
    >>> model.set_params(spectrum="identity").fit(X, y).n_iter_ > 500
    True
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
        """Descend to coefficients of the kernel.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs, used as given: put a scaler before this estimator.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. Outputs share the preconditioner and the stop.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is unusable; the message names it.
        MemoryError
            If the kernel matrix of up to 20,000 rows does not fit in memory.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` came before `tol`.
        """
        with unchanged_on_failure(self):
            check_device(self.device)
            X, y, _ = validate_training(self, X, y, None)
            # A copy: the caller may use the array again.
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
        """The kernel matrix, whole or in blocks, and how to descend on it."""
        n, k = X.shape[0], self.n_components
        rng = check_random_state(self.random_state)
        if n > _DENSE_ROWS:
            if self.spectrum == "cv":
                raise ValueError(
                    f"spectrum='cv' needs all eigenvalues of the kernel matrix, at "
                    f"most {_DENSE_ROWS} rows: choose a spectrum for {n} rows."
                )
            K = KernelRows(kernel, X)
            pairs = nystrom_eigenpairs(kernel, X, k + 1, random_state=rng)
            return K, self._given(pairs)
        check_memory(X, n, 5 if self.spectrum == "cv" else 3)
        K = kernel(X)
        if self.spectrum == "cv":
            return K, self._chosen(K, Y)
        return K, self._given(top_eigenpairs(K, k + 1, random_state=rng))

    def _given(self, pairs):
        preconditioner = self._preconditioner(pairs, self.spectrum)
        values = pairs[0][: self.n_components]
        return _Plan(preconditioner, values, self.spectrum, self.tol, self.max_iter)

    def _preconditioner(self, pairs, spectrum):
        return Preconditioner.of_eigenpairs(
            *pairs, self.n_components, spectrum=spectrum, ridge=self.alpha
        )

    def _chosen(self, K, Y):
        """The plan of least generalised cross-validation score."""
        xp = namespace(K)
        values, vectors = eigh(K)
        pairs = np.maximum(to_numpy(values)[::-1], 0), xp.flip(vectors, axis=1)
        coefficients = to_numpy(pairs[1].T @ Y)
        stops = np.unique(np.geomspace(1, self.max_iter, _STOPS).round().astype(int))
        plans, scores = [], []
        for exponent in _EXPONENTS:
            S = self._preconditioner(pairs, exponent)
            kept = _kept(pairs[0], self.alpha, S, stops)
            score = generalised_cross_validation(kept, coefficients, len(kept.T))
            best, top = np.argmin(score), pairs[0][: self.n_components]
            plans.append(_Plan(S, top, exponent, 0.0, int(stops[best])))
            scores.append(score[best])
        return plans[int(np.argmin(scores))]

    def _warn(self, plan, descent):
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
                f"max_iter={self.max_iter} came with {descent.residual_curve[-1]:.2g} "
                f"of y left, more than tol={self.tol}: raise max_iter, n_components "
                "or alpha, or set tol=0 to stop early on purpose."
            )
        warnings.warn(problem, ConvergenceWarning, stacklevel=5)

    @property
    def eigenvalues_(self) -> np.ndarray:
        """Largest eigenvalues of the kernel matrix, those preconditioned."""
        check_is_fitted(self)
        return self._plan.eigenvalues

    @property
    def residual_curve_(self) -> np.ndarray:
        """Share of y that is left, before every iteration and at the end."""
        check_is_fitted(self)
        return self._descent.residual_curve

    def predict(self, X: ArrayLike) -> Array:
        """Predict y at new rows, in blocks of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_outputs)
        """
        check_is_fitted(self)
        X, host = self._validate_rows(X, "predict")
        return self._targets.shaped(self._mean(X), host)


def _kept(eigenvalues, alpha, preconditioner, stops):
    """Share of y that early-stopped predictions miss, per stop and mode: (T, n)."""
    shifted = eigenvalues + alpha
    rate = 1 - preconditioner.step_size * preconditioner.eigenvalues(shifted)
    fitted = np.divide(
        eigenvalues, shifted, out=np.zeros_like(shifted), where=shifted > 0
    )
    return 1 - fitted * (1 - rate ** stops[:, None])
