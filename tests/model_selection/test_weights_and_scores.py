"""Rows of weight zero are no rows, and candidates without a score are not chosen."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import is_classifier
from sklearn.model_selection import GroupKFold, KFold

from adaptive_kernels import AdaptiveKernelClassifierCV, AdaptiveKernelRegressorCV

rng = np.random.default_rng(3)
X = rng.standard_normal((60, 3))
Y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(60)
GROUPS = np.repeat(np.arange(6), 10)
WEIGHTS = np.ones(60)
WEIGHTS[[0, 5, 17, 30, 31, 58, 59]] = 0
KEPT = WEIGHTS > 0
SEARCHES = {
    "regressor": AdaptiveKernelRegressorCV,
    "classifier": AdaptiveKernelClassifierCV,
}


def search(name, **options):
    return SEARCHES[name](widths=(1, 10), max_iter=5, **options)


def target(model):
    return (Y > 0).astype(int) if is_classifier(model) else Y


def lists(mask):
    """Two halves of the rows, as places among the rows of the mask."""
    place = np.cumsum(mask) - 1
    halves = [np.flatnonzero(mask & (np.arange(60) % 2 == k)) for k in (0, 1)]
    return [(place[halves[k]], place[halves[1 - k]]) for k in (0, 1)]


@pytest.mark.parametrize("cv", [2, KFold(3), GroupKFold(2), "lists"], ids=str)
@pytest.mark.parametrize("name", SEARCHES)
def test_weight_zero_is_removal(name, cv):
    everything = np.ones(60, dtype=bool)
    groups = GROUPS if isinstance(cv, GroupKFold) else None
    given = lists(everything) if cv == "lists" else cv
    model = search(name, cv=given)
    weighted = model.fit(X, target(model), WEIGHTS, groups=groups)
    given = lists(KEPT) if cv == "lists" else cv
    fewer = search(name, cv=given).fit(
        X[KEPT], target(model)[KEPT], groups=None if groups is None else groups[KEPT]
    )
    scores = [m.cv_results_["mean_test_score"] for m in (weighted, fewer)]
    assert_array_equal(*scores)
    assert_array_equal(weighted.predict(X), fewer.predict(X))


@pytest.mark.parametrize("name", SEARCHES)
def test_fold_of_weight_zero_is_refused(name):
    weights = np.ones(60)
    weights[:20] = 0
    model = search(name, cv=KFold(3).split(X))
    with pytest.raises(ValueError, match="Fold 0 of cv .* positive weight"):
        model.fit(X, target(model), weights)


def undefined(estimator, X, y, sample_weight=None):
    return np.nan


def undefined_at_ten(estimator, X, y, sample_weight=None):
    return np.nan if estimator.width == 10 else -1.0


@pytest.mark.parametrize("name", SEARCHES)
def test_scores_that_are_all_undefined_are_refused(name):
    model = search(name, cv=2, scoring=undefined)
    with pytest.raises(ValueError, match="check scoring"):
        model.fit(X, target(model))
    assert not hasattr(model, "cv_results_")


def test_candidates_without_a_score_are_not_chosen():
    model = search("regressor", cv=2, scoring=undefined_at_ten)
    with pytest.warns(UserWarning, match="are not chosen"):
        model.fit(X, Y)
    assert model.best_params_["width"] == 1
    ranks = dict(
        zip(
            model.cv_results_["param_width"],
            model.cv_results_["rank_test_score"],
            strict=False,
        )
    )
    assert ranks[1] < ranks[10]


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("counts", [(20, 1), (2, 1), (2, 2), (5, 1, 1)], ids=str)
def test_classes_of_one_row(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    rows = X[: len(y)] + y[:, None]
    probabilities = search("classifier").fit(rows, y).predict_proba(rows)
    assert probabilities.shape == (len(y), len(counts))
    assert np.all(np.isfinite(probabilities))
