"""Folds in every form in which scikit-learn's own searches take them."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut

from adaptive_kernels import AdaptiveKernelClassifierCV, AdaptiveKernelRegressorCV
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.model_selection.folds import checked_folds

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 2))
Y = {"regressor": X[:, 0] + 0.1 * rng.standard_normal(60), "classifier": X[:, 0] > 0}
GROUPS = np.arange(60) // 4
FOLDS = list(KFold(3, shuffle=True, random_state=0).split(X))


def search(name, cv=None):
    small = {"covariance_types": ("diag",), "cv": cv, "max_iter": 5}
    if name == "regressor":
        return AdaptiveKernelRegressorCV(widths=(1,), **small)
    return AdaptiveKernelClassifierCV([NNGP("erf")], widths=(10,), **small)


def masks(places):
    return np.isin(np.arange(60), places)


FORMS = {
    "lists": lambda: [(a.tolist(), b.tolist()) for a, b in FOLDS],
    "tuples": lambda: tuple((tuple(a), tuple(b)) for a, b in FOLDS),
    "masks": lambda: [(masks(a), masks(b)) for a, b in FOLDS],
    "negative": lambda: [(a - 60, b) for a, b in FOLDS],
    "unsigned": lambda: [(a.astype(np.uint8), b) for a, b in FOLDS],
    "generator": lambda: iter(FOLDS),
    "splitter": lambda: KFold(3, shuffle=True, random_state=0),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_the_same_folds(form):
    given = FORMS[form]()
    folds = given.split(X) if form == "splitter" else given
    for found, expected in zip(checked_folds(folds, 60), FOLDS, strict=True):
        for side, places in zip(found, expected, strict=True):
            assert_array_equal(np.sort(side), np.sort(places))


@pytest.mark.parametrize("name", Y)
@pytest.mark.parametrize("form", ["lists", "masks", "generator"])
def test_searches_take_them(name, form):
    expected = search(name, FOLDS).fit(X, Y[name])
    found = search(name, FORMS[form]()).fit(X, Y[name])
    assert found.n_splits_ == 3
    assert found.best_score_ == pytest.approx(expected.best_score_)


WRONG = {
    "none": ([], "no folds"),
    "empty side": ([(np.arange(30), [])], "Fold 0 of cv"),
    "three sides": ([([0], [1], [2])], "too many values|Fold 0 of cv"),
    "beyond": ([([0, 60], [1])], "rows beyond the 60"),
    "short mask": ([(np.ones(59, bool), [1])], "59 entries for 60"),
    "floats": ([([0.0, 1.0], [2.0])], "integers or masks"),
}


@pytest.mark.parametrize("name", Y)
@pytest.mark.parametrize("wrong", WRONG)
def test_folds_that_are_none_are_refused(name, wrong):
    folds, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        search(name, folds).fit(X, Y[name])


@pytest.mark.parametrize("name", Y)
def test_a_generator_that_is_used_up_is_named(name):
    model = search(name, iter(FOLDS)).fit(X, Y[name])
    with pytest.raises(ValueError, match="cv gives no folds.*used up"):
        model.fit(X, Y[name])


@pytest.mark.parametrize("name", Y)
@pytest.mark.parametrize("cv", [GroupKFold(3), LeaveOneGroupOut()])
def test_groups_stay_together(name, cv):
    groups = GROUPS % 3 if isinstance(cv, LeaveOneGroupOut) else GROUPS
    expected = search(name, list(cv.split(X, groups=groups))).fit(X, Y[name])
    found = search(name, cv).fit(X, Y[name], groups=groups)
    assert found.best_score_ == expected.best_score_


def test_groups_that_are_missing_are_asked_for():
    with pytest.raises(ValueError, match="groups"):
        search("regressor", GroupKFold(3)).fit(X, Y["regressor"])


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_few_rows(n):
    model = search("regressor").fit(X[:n], Y["regressor"][:n])
    assert np.all(np.isfinite(model.predict(X, return_std=True)))
