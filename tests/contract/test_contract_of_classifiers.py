"""Any input of a classifier gives probabilities or an error that names the input."""

import numpy as np
import pytest
from _clear_signal import signals
from _contract import check_array, counted, honoured, require, share
from _fits import fitted, rows_of
from _models import CLASSIFIERS, Model, invalid_models, models
from _strategies import Case, Labels, Table, cases, labels
from hypothesis import given


def check_probabilities(chances, classes, found):
    check_array("probabilities", chances, (len(found), len(classes)), least=0.0)
    require(np.allclose(chances.sum(axis=1), 1, rtol=1e-9), "they do not sum to one.")
    chosen = chances[np.arange(len(found)), np.searchsorted(classes, found)]
    require(np.all(chosen == chances.max(axis=1)), "predict is not the most probable.")


def check(case):
    with counted(case):
        model = fitted(case)
        if model is None:
            return
        new, known = case.new_rows(), case.y.build()
        m, classes = rows_of(new), model.classes_
        require(len(classes) >= 2, "there are fewer than two classes.")
        known = np.ravel(np.asarray(known))
        require(np.all(np.isin(classes, known)), "a class is no label of y.")
        with honoured(("X",), (new,)):
            shape = (m, len(classes))
            scores = model.decision_function(new)
            check_array("scores", scores, shape if shape[1] > 2 else (m,))
            found = model.predict(new)
            require(found.shape == (m,), f"predictions have shape {found.shape}.")
            require(found.dtype == classes.dtype, f"labels have type {found.dtype}.")
            require(np.all(np.isin(found, classes)), "a prediction is no class.")
            if hasattr(model, "predict_proba"):
                check_probabilities(model.predict_proba(new), classes, found)
        if hasattr(model, "feature_importances_"):
            with honoured(()):
                importances = model.feature_importances_
                check_array("importances", importances, (case.X.d,), least=0.0)


FOUND = {
    "runs that make no iteration": Case(
        Model("AdaptiveKernelClassifierCV", (("cv", "3"),)),
        Table(n=11, d=1, seed=31),
        Labels(11, (4,), seed=49),
        "1e-70 to 1e70",
    ),
    "forest without a useful split": Case(
        Model("AdaptiveKernelClassifier"), Table(n=8, d=1, seed=24), Labels(8, (4,))
    ),
    "weights whose product overflows": Case(
        Model("AdaptiveKernelClassifier", (("class_weight", "{0: 1e+300}"),)),
        y=Labels(counts=(4,)),
        weights="one huge",
    ),
    "rows all alike and a tiny ridge": Case(
        Model("NTKClassifier", (("kernel", "NTK relu"), ("alpha", "1e-300"))),
        Table(flaws=("constant",)),
        Labels(),
        "huge",
    ),
    "product of ridge and time": Case(
        Model("NTKClassifier", (("alpha", "1e+50"), ("time", "1e+300"))), y=Labels()
    ),
}


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND)
def test_cases_that_have_failed(case):
    check(case)


@share(0.2)
@given(cases(models(CLASSIFIERS), labels))
def test_data(case):
    check(case)


@share(0.07)
@given(invalid_models(CLASSIFIERS))
def test_invalid_parameters(model):
    with counted(model):
        X, y = Table().build(), Labels().build()
        with honoured((), culprits=model.culprits()):
            model.build().fit(X, y)


@share(0.04)
@given(signals(CLASSIFIERS))
def test_signal_is_found(signal):
    with counted(signal):
        with honoured(()):
            accuracy = signal.accuracy()
        require(accuracy > 0.7, f"The accuracy is {accuracy:.2f}.")
