"""Any input of a regressor gives a finite result or an error that names it."""

import numpy as np
import pytest
from _clear_signal import signals
from _contract import (
    check_array,
    counted,
    honoured,
    names_of,
    require,
    share,
)
from _fits import data_of, fitted, rows_of
from _models import REGRESSORS, Model, invalid_models, models
from _strategies import Case, Table, cases, targets
from hypothesis import example, given
from sklearn.base import clone

from adaptive_kernels import scaling_path


def check_predictions(model, case):
    new = case.new_rows()
    m, rest = rows_of(new), () if case.y.vector else (case.y.d,)
    if case.y.container in ("1-D", "3-D"):
        rest = np.shape(case.y.build())[1:]
    with honoured(("X",), (new,)):
        check_array("mean", model.predict(new), (m, *rest))
        if not hasattr(model, "sample_y"):
            return
        mean, std = model.predict(new, return_std=True)
        check_array("mean", mean, (m, *rest))
        check_array("std", std, (m, *rest), least=0.0)
        _, covariance = model.predict(new, return_cov=True)
        check_array("covariance", covariance, (m, m, *rest))
        diagonal = np.sqrt(np.moveaxis(np.diagonal(covariance), -1, 0))
        # Where the variance is zero, it is the rounding of the prior variance.
        rounding = 1e-6 * (np.max(std) + np.max(np.abs(mean)))
        same = np.allclose(diagonal, std, rtol=1e-4, atol=rounding)
        # A huge prior variance is rounded by more than the posterior variance.
        huge = case.X.shift > 1e8 or "1e-20" in repr(case.model)
        require(same or huge, "std is not that of the covariance.")
        check_array("sample", model.sample_y(new, 2), (m, *rest, 2))


def check_attributes(model, case):
    if hasattr(model, "feature_importances_"):
        with honoured(()):
            importances = model.feature_importances_
            check_array("importances", importances, (case.X.d,), least=0.0)
    if hasattr(model, "leave_one_out_predict") and model.n_inducing is None:
        with honoured(()):
            mean, std = model.leave_one_out_predict(return_std=True)
            check_array("left out", mean, mean.shape)
            check_array("std", std, mean.shape, least=0.0)
            value = model.log_marginal_likelihood()
            require(np.isfinite(value), "the evidence is not finite.")


def check(case):
    with counted(case):
        model = fitted(case)
        if model is not None:
            check_predictions(model, case)
            check_attributes(model, case)


FOUND = {
    "outputs that differ by 1e40": Case(
        Model("NNGPRegressor", (("optimizer", "None"), ("alpha", "1e+50"))),
        y=Table(d=2, scales=(1e-20, 1e20)),
    ),
    "covariance without correlation": Case(
        Model("AdaptiveKernelRegressorCV"),
        Table(n=11, seed=72, scales=(1e40,), shift=1e16),
        Table(n=11, d=1, seed=4, scales=(1e40,)),
    ),
    "no spread in a fold": Case(
        Model("AdaptiveKernelRegressorCV", (("cv", "leave one out"),)),
        Table(n=30, d=1, seed=41),
        Table(30, 1, 47, (1e-300,), flaws=("inf",), container="pandas Float64"),
    ),
    "kernel that overflows and is not tuned": Case(
        Model(
            "AdaptiveKernelRegressor",
            (("optimizer", "None"), ("kernel", "NNGP largest")),
        ),
        Table(n=5, seed=2),
        Table(n=5, d=1, vector=True),
    ),
    "sparse y": Case(Model("NTKRegressor"), y=Table(d=1, container="sparse")),
    "eigenvalues to a large power": Case(
        Model("ModifiedSpectrumRegressor", (("spectrum", "1000.0"),)),
        Table(n=9, d=40, seed=11),
        Table(n=9, d=1),
    ),
}


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_cases_that_have_failed(case):
    check(case)


@share(0.25)
@given(cases(models(REGRESSORS), targets))
def test_data(case):
    check(case)


@share(0.1)
@given(invalid_models(REGRESSORS))
def test_invalid_parameters(model):
    with counted(model):
        X, y = Table().build(), Table(d=1, vector=True).build()
        with honoured((), culprits=model.culprits()):
            model.build().fit(X, y)


@share(0.05)
@given(cases(models(["AdaptiveKernelRegressor"]), targets))
@example(Case(Model("AdaptiveKernelRegressor"), Table(n=30, d=12), Table(30, 4)))
def test_scaling_paths(case):
    with counted(case):
        model = case.model.build()
        X, y, weights = data_of(case)
        new, path = case.new_rows(), None
        with honoured((*names_of(model), "scalings"), (X, y)):
            path = scaling_path(
                clone(model), X, y, scalings=(1.0, 2.0), sample_weight=weights
            )
        if path is not None:
            with honoured(("X",), (new,)):
                means = path.predict(new)
                check_array("means", means, means.shape)


@share(0.06)
@given(signals(REGRESSORS))
def test_signal_is_found(signal):
    with counted(signal):
        with honoured(()):
            score, spread = signal.regression_score()
        require(score > 0.4, f"R2 is {score:.2f}.")
        require(0.1 < spread < 10, f"Errors are {spread:.2g} standard deviations.")
