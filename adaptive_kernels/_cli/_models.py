"""The models that are compared."""

import time
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler

from ..estimators.nngp_regressor import NNGPRegressor
from ..model_selection.regressor_search import AdaptiveKernelRegressorCV

ADAPTIVE = "AdaptiveKernelRegressorCV"
GP_BASELINES = ("isotropic RBF GP", "ARD Matern-5/2 GP")


@dataclass(frozen=True)
class Model:
    """A named estimator; `has_std` if its predictions come with an error."""

    name: str
    estimator: BaseEstimator
    has_std: bool = True


class OutOfTime(Exception):
    """The time limit of an optimisation has passed."""


class TimeLimitedLBFGS:
    """An optimiser for `GaussianProcessRegressor` that stops after some seconds.

    Parameters
    ----------
    seconds : float
        Wall-clock limit. The evaluation under way is finished; then the best
        point so far is returned.

    Attributes
    ----------
    stopped : bool
        Whether the limit ended the last call.
    """

    def __init__(self, seconds):
        self.seconds = seconds
        self.stopped = False

    def __call__(self, obj_func, initial_theta, bounds):
        """Return the best theta and its value of `obj_func`."""
        deadline = time.perf_counter() + self.seconds
        best_value, best_theta = np.inf, np.array(initial_theta)

        def objective(theta):
            nonlocal best_value, best_theta
            value, gradient = obj_func(theta)
            if value < best_value:
                best_value, best_theta = value, theta.copy()
            if time.perf_counter() > deadline:
                raise OutOfTime
            return value, gradient

        self.stopped = False
        try:
            minimize(
                objective, initial_theta, jac=True, method="L-BFGS-B", bounds=bounds
            )
        except OutOfTime:
            self.stopped = True
        return best_theta, best_value


def with_noise(kernel):
    """Return a scaled kernel plus a noise that starts small."""
    return ConstantKernel(1.0, (1e-3, 1e4)) * kernel + WhiteKernel(0.1, (1e-6, 1e1))


class IsotropicGP(GaussianProcessRegressor):
    """Gaussian process with one length scale, started at sqrt(n_features)."""

    def fit(self, X, y):
        """Fit the model to inputs of shape (n_samples, n_features)."""
        self.kernel = with_noise(RBF(X.shape[1] ** 0.5, (1e-2, 1e4)))
        return super().fit(X, y)


class ArdGP(GaussianProcessRegressor):
    """Gaussian process with one length scale for each feature."""

    def fit(self, X, y):
        """Fit the model to inputs of shape (n_samples, n_features)."""
        scales = np.full(X.shape[1], X.shape[1] ** 0.5)
        self.kernel = with_noise(Matern(scales, (1e-2, 1e4), nu=2.5))
        return super().fit(X, y)


def kernel_ridge():
    """Return RBF kernel ridge regression with a small grid."""
    search = GridSearchCV(
        KernelRidge(kernel="rbf"),
        {"alpha": np.logspace(-3, 0, 4), "gamma": np.logspace(-3, 0, 7)},
        scoring="neg_mean_squared_error",
    )
    return TransformedTargetRegressor(search, transformer=StandardScaler())


def all_models(gp_seconds, search_folds):
    """Return the models in the order of the table."""
    isotropic, ard = (
        cls(optimizer=TimeLimitedLBFGS(gp_seconds), normalize_y=True)
        for cls in (IsotropicGP, ArdGP)
    )
    search = AdaptiveKernelRegressorCV(scalings=(1.0, 10.0), cv=search_folds)
    return [
        Model("Ridge", RidgeCV(alphas=np.logspace(-3, 3, 13)), has_std=False),
        Model("RBF kernel ridge", kernel_ridge(), has_std=False),
        Model(GP_BASELINES[0], isotropic),
        Model(GP_BASELINES[1], ard),
        Model("NNGPRegressor", NNGPRegressor()),
        Model(ADAPTIVE, search),
    ]
