"""The models: how to fit each, on how many rows, and what it needs installed."""

from dataclasses import dataclass

from .peers import (
    boosting,
    feature_machines,
    gpboost_models,
    gpytorch_models,
    neural_tangents_models,
    ours,
    scikit_learn,
)
from .peers.fitting import classes, point, with_std

SMALL = 600
GROUPS = ("rows600", "full", "whole")
SMALL_TABLES, WHOLE = GROUPS[:2], GROUPS[2:]


@dataclass(frozen=True)
class Model:
    """A model of the benchmark.

    fit : function of X, y and a seed that returns the function to predict with
    packages : modules to import before the clock starts, by distribution
    cap : most training rows that it is given, None for all
    groups : where it takes part
    """

    task: str
    fit: object
    packages: dict
    cap: int | None = None
    groups: tuple = SMALL_TABLES
    environment: str = "bench"

    @property
    def ours(self):
        """Whether it is of this package."""
        return "adaptive_kernels" in self.packages

    def rows(self, group, n_train):
        """Training rows that it gets of a fold with `n_train`."""
        caps = [self.cap, SMALL if group == "rows600" else None]
        return min([n_train, *(cap for cap in caps if cap is not None)])


def _scikit(module):
    return {"scikit-learn": ("sklearn.model_selection", f"sklearn.{module}")}


TORCH = {"torch": ("torch",)}
OURS = {"adaptive_kernels": ("adaptive_kernels",)}
LINEAR = _scikit("linear_model")
KERNEL_RIDGE = _scikit("kernel_ridge")
SUPPORT_VECTORS = _scikit("svm")
CALIBRATED = {"scikit-learn": (*SUPPORT_VECTORS["scikit-learn"], "sklearn.calibration")}
GAUSSIAN_PROCESS = _scikit("gaussian_process")
NETWORK = _scikit("neural_network")
ENSEMBLE = _scikit("ensemble")
SCIKIT_NTK = {"scikit-ntk": ("skntk",)} | GAUSSIAN_PROCESS
GPYTORCH = {"gpytorch": ("gpytorch",)} | TORCH
XRFM = {"xrfm": ("xrfm",)} | TORCH
LIGHTGBM = {"lightgbm": ("lightgbm",)}
XGBOOST = {"xgboost": ("xgboost",)}
CATBOOST = {"catboost": ("catboost",)}
GPBOOST = {"gpboost": ("gpboost",)}
NGBOOST = {"ngboost": ("ngboost",)}
JAX = {"neural-tangents": ("neural_tangents.stax", "scipy.linalg"), "jax": ("jax",)}


def _regressor(fit, packages, cap=None, **options):
    return Model("regression", fit, packages, cap, **options)


def _classifier(fit, packages, cap=None, **options):
    return Model("classification", fit, packages, cap, **options)


def _wide(fit):
    return _regressor(fit, JAX, SMALL, environment="jax")


def _tuned(fit):
    """xRFM's fit with a grid of candidates."""

    def search(X, y, seed):
        return fit(X, y, seed, feature_machines.GRID)

    return search


def _ours(name):
    build = ours.with_defaults(name)
    if "Classifier" in name:
        return _classifier(classes(build), OURS, groups=GROUPS)
    return _regressor(with_std(build), OURS, groups=GROUPS)


def _peers():
    sk, gp, xrfm = scikit_learn, gpytorch_models, feature_machines
    regressors = {
        "bayes_ridge": _regressor(with_std(sk.bayesian_ridge), LINEAR),
        "krr_rbf_grid": _regressor(point(sk.kernel_ridge), KERNEL_RIDGE),
        "svr_rbf_grid": _regressor(
            point(sk.support_vector_regression), SUPPORT_VECTORS
        ),
        "gpr_matern52": _regressor(with_std(sk.gpr_matern52), GAUSSIAN_PROCESS, SMALL),
        "gpr_ard": _regressor(with_std(sk.gpr_ard), GAUSSIAN_PROCESS, SMALL),
        "gpytorch_exact_ard": _regressor(gp.exact, GPYTORCH, SMALL),
        "gpytorch_svgp_ard": _regressor(
            gp.variational, GPYTORCH, groups=("full", "whole")
        ),
        "gpboost_vecchia": _regressor(gpboost_models.vecchia, GPBOOST, groups=WHOLE),
        "scikit_ntk": _regressor(with_std(sk.neural_tangent), SCIKIT_NTK, SMALL),
        "nt_nngp": _wide(neural_tangents_models.nngp),
        "nt_ntk": _wide(neural_tangents_models.ntk),
        "xrfm": _regressor(xrfm.regressor, XRFM, groups=GROUPS),
        "xrfm_grid": _regressor(_tuned(xrfm.regressor), XRFM, groups=GROUPS),
        "mlp": _regressor(point(sk.network_regressor), NETWORK),
        "hgb": _regressor(
            point(boosting.gradient_boosting_regressor), ENSEMBLE, groups=GROUPS
        ),
        "lightgbm": _regressor(
            point(boosting.lightgbm_regressor), LIGHTGBM, groups=GROUPS
        ),
        "xgboost": _regressor(point(boosting.xgboost_regressor), XGBOOST),
        "catboost": _regressor(
            point(boosting.catboost_regressor), CATBOOST, groups=GROUPS
        ),
        "lightgbm_tuned": _regressor(
            point(boosting.tuned_lightgbm_regressor), LIGHTGBM, groups=WHOLE
        ),
        "catboost_tuned": _regressor(
            point(boosting.tuned_catboost_regressor), CATBOOST, groups=WHOLE
        ),
        "ngboost": _regressor(boosting.ngboost_regressor, NGBOOST, groups=("full",)),
    }
    classifiers = {
        "logreg_cv": _classifier(classes(sk.logistic_regression), LINEAR),
        "svc_rbf_grid": _classifier(
            classes(sk.support_vector_classification), CALIBRATED
        ),
        "gpc_rbf": _classifier(
            classes(sk.gaussian_process_classifier), GAUSSIAN_PROCESS, SMALL
        ),
        "xrfm_clf": _classifier(xrfm.classifier, XRFM, groups=GROUPS),
        "xrfm_clf_grid": _classifier(_tuned(xrfm.classifier), XRFM, groups=GROUPS),
        "mlp_clf": _classifier(classes(sk.network_classifier), NETWORK),
        "hgb_clf": _classifier(
            classes(boosting.gradient_boosting_classifier), ENSEMBLE, groups=GROUPS
        ),
        "lightgbm_clf": _classifier(
            classes(boosting.lightgbm_classifier), LIGHTGBM, groups=GROUPS
        ),
        "xgboost_clf": _classifier(classes(boosting.xgboost_classifier), XGBOOST),
        "catboost_clf": _classifier(
            classes(boosting.catboost_classifier), CATBOOST, groups=GROUPS
        ),
        "lightgbm_clf_tuned": _classifier(
            classes(boosting.tuned_lightgbm_classifier), LIGHTGBM, groups=WHOLE
        ),
        "catboost_clf_tuned": _classifier(
            classes(boosting.tuned_catboost_classifier), CATBOOST, groups=WHOLE
        ),
    }
    return regressors | classifiers


MODELS = {name: _ours(name) for name in ours.NAMES} | _peers()
