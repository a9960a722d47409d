"""Gaussian-process regression with the fixed kernel of a wide network."""

from dataclasses import replace
from math import inf
from typing import Literal

import numpy as np

from ..inference.missed_structure import (
    look_for_structure,
    noise_share,
    warn_unless_converged,
)
from ..inference.tuning import tune_isotropic
from ..kernels import NNGP, NTK
from ..theory.finite_width.approximations import solve_theory
from .wide_network import WideNetworkRegressor


class NNGPRegressor(WideNetworkRegressor):
    """Regression with the Gaussian process of an infinitely wide neural network.

    NNGP means neural-network Gaussian process. Variances and noise maximise the
    evidence, by its analytic gradient, from fixed starting points. X is counted from
    the mean of its rows, so that neither the origin of a column nor the units of X and
    y change what is found. A fit that takes for noise what a small forest predicts
    warns.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        None means ``NNGP("erf")``. Bounds that differ from the default hold for the
        variances of `kernel_`, and "fixed" ones are taken as given. The default bounds
        are relative: of the weight variance to one over the mean squared entry of X, of
        the readout variance to the variance of y. At depth > 1, where layers share the
        weight variance, X is then brought to unit mean square through the metric of
        `kernel_`.
    alpha : float, default=1e-2
        Noise variance, in units of the variance of y if `normalize_y`. With
        `optimizer=None` it is taken as given; otherwise it starts the search
        together with a given `kernel`.
    optimizer : {"evidence"} or None, default="evidence"
        None takes every variance as given, and X from the kernel's origin.
    n_restarts_optimizer : int, default=0
        Random starting points besides the fixed ones.
    n_inducing : int, default=None
        None is the exact fit, with matrices of n x n. A number, from 300 to 2000, fits
        through so many inducing points in O(n n_inducing^2) time, a block of rows in
        memory at once; no more points than distinct rows are taken, and then the fit is
        exact. Kernel, covariance and noise are learned from 4000 rows, or 4 n_inducing
        if that is more, drawn at random but always the same; predictions rest on all.
        X may be a `numpy.memmap`, or of single precision; from 20,000 rows it is
        neither copied nor kept. Leave-one-out and evidences elsewhere than at the fit
        are then missing.
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
    dual_coef_ : array of shape (n_rows, n_outputs)
        Coefficients of the kernel with `X_train_` in the mean of normalised y: without
        `n_inducing` (K + noise)^{-1} y.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows of positive weight, in lexicographic order; with
        `n_inducing` the inducing points, which are some of the training rows.
    log_marginal_likelihood_value_ : float
        Log evidence of normalised y, summed over outputs; with `n_inducing` a lower
        bound of it.
    n_iter_ : int
        Iterations of the optimizer.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    References
    ----------
    Lee et al., "Deep Neural Networks as Gaussian Processes", ICLR 2018.
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006.
    Titsias, "Variational learning of inducing variables in sparse Gaussian processes",
    AISTATS 2009, for `n_inducing`.

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
        kernel: NNGP | NTK | None = None,
        *,
        alpha: float = 1e-2,
        optimizer: Literal["evidence"] | None = "evidence",
        n_restarts_optimizer: int = 0,
        n_inducing: int | None = None,
        normalize_y: bool = True,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernel = kernel
        self.alpha = alpha
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.normalize_y = normalize_y
        self.device = device
        self.random_state = random_state

    def _fit(self, rows):
        problem, frame = self._problem(rows.data)
        solution = tune_isotropic(problem)
        warn_unless_converged(solution, problem.tol)
        look_for_structure(problem, noise_share(solution, problem.data))
        point = replace(frame.leave(solution.point), metric_sqrt=frame.metric_sqrt)
        posterior, evidence = solve_theory("gaussian", rows.data, point, inf)
        self._store(rows, posterior, evidence, solution.n_iter)
