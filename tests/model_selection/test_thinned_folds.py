"""Folds of a search that learn from, and are scored on, some of their rows."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import KFold

from adaptive_kernels import AdaptiveKernelRegressor, AdaptiveKernelRegressorCV
from adaptive_kernels.inference import subsampling
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.model_selection import width_path_search
from adaptive_kernels.model_selection.folds import random_folds
from adaptive_kernels.model_selection.scores import HeldOutScore

RNG = np.random.default_rng(0)
X = RNG.standard_normal((36, 3))
Y2 = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], X[:, 0] * X[:, 1]], axis=1)
Y2 += 0.1 * RNG.standard_normal((36, 2))
Y1 = Y2[:, 0]

ERF, RELU = NNGP("erf"), NNGP("relu")
FOLDS = KFold(3)


def search(**parameters):
    small = {"kernels": [ERF], "widths": (1, 30), "covariance_types": ("diag",)}
    return AdaptiveKernelRegressorCV(**(small | {"cv": FOLDS} | parameters))


@pytest.fixture
def few_rows(monkeypatch):
    """Learning stops at 16 rows of the 24 in a fold, and 3 iterations on all follow."""
    monkeypatch.setattr(subsampling, "FOLD_ROWS", 16)
    monkeypatch.setattr(subsampling, "VALIDATION_ROWS", 10)
    monkeypatch.setattr(width_path_search, "REFINE_ITER", 3)


def test_folds_learn_from_and_are_judged_on_some_rows(few_rows, monkeypatch):
    learned, judged, score = [], [], HeldOutScore.__call__

    def spy(self, model, X, *data):
        learned.append(model.X_train_.shape[0])
        judged.append(X.shape[0])
        return score(self, model, X, *data)

    monkeypatch.setattr(HeldOutScore, "__call__", spy)
    fitted = search().fit(X, Y1)
    # More than two widths on three folds where a fold had to be explored again.
    assert len(learned) >= 6 and set(learned) == {16} and set(judged) == {10}
    assert all(len(member.X_train_) == 36 for member in fitted.members_)
    assert all(member.n_iter_ <= 3 for member in fitted.members_)
    assert all(member.get_params()["max_iter"] == 50 for member in fitted.members_)


def test_thinned_folds_are_random_rows_of_the_folds(few_rows):
    folds = list(FOLDS.split(X))
    for (train, test), fold in zip(folds, random_folds(folds), strict=True):
        assert list(fold.relevance) == list(train)
        for rows, some, size in ((train, fold.train, 16), (test, fold.held_out, 10)):
            assert len(set(some)) == len(some) == size and set(some) <= set(rows)
            assert list(some) == sorted(some) and list(some) != list(rows[:size])


def test_few_rows_are_not_thinned():
    folds = list(FOLDS.split(X))
    for (train, test), same in zip(folds, random_folds(folds), strict=True):
        assert_array_equal(same.train, train)
        assert_array_equal(same.held_out, test)


def test_choice_from_some_rows_is_as_good(few_rows):
    """A hundred rows where one feature in eight matters; learned from sixteen."""
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((400, 8))
    targets = np.sin(2 * inputs[:, 3]) + 0.1 * rng.standard_normal(400)
    fitted = search(widths=(0.1, 1)).fit(inputs[:100], targets[:100])
    assert fitted.feature_importances_.argmax() == 3
    error = root_mean_squared_error(fitted.predict(inputs[100:]), targets[100:])
    alone = AdaptiveKernelRegressor(ERF).fit(inputs[:100], targets[:100])
    assert error < 1.5 * root_mean_squared_error(
        alone.predict(inputs[100:]), targets[100:]
    )
