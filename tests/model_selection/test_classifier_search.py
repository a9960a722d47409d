"""AdaptiveKernelClassifierCV: scores, members, folds and the grid."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)

from adaptive_kernels import (
    AdaptiveKernelClassifierCV,
    NNGPClassifier,
)
from adaptive_kernels.inference import subsampling
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.model_selection import classifier_search

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3))
X_NEW = RNG.standard_normal((9, 3))
CODES = np.argmax(X + 0.5 * RNG.standard_normal((60, 3)), axis=1)
COLOURS = np.array(["red", "green", "blue"])
INFINITY = float("inf")


def small_search(**parameters):
    return AdaptiveKernelClassifierCV(
        [NNGP("erf")], widths=(10,), covariance_types=("diag",), cv=2, **parameters
    )


def linear_truth(n, n_classes, seed):
    """Inputs and labels drawn from known probabilities, which come along."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 4))
    slopes = 2 * np.eye(4)[:, :n_classes]
    p = softmax(rows @ slopes, axis=1)
    return rows, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), p


def fixed(**parameters):
    """A classifier that tunes no kernel."""
    return NNGPClassifier(NNGP("erf"), optimizer=None, **parameters)


def test_search_scores_by_cross_validation():
    kernels = [NNGP("erf"), NNGP("relu"), NTK("relu")]
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    search = AdaptiveKernelClassifierCV(
        kernels,
        widths=(INFINITY,),
        covariance_types=("diag",),
        optimizer=None,
        cv=3,
    ).fit(X, COLOURS[CODES])
    scores = [
        cross_val_score(
            NNGPClassifier(kernel, optimizer=None),
            X,
            COLOURS[CODES],
            cv=folds,
            scoring="neg_log_loss",
        ).mean()
        for kernel in kernels
    ]
    results = search.cv_results_
    assert_allclose(results["mean_test_score"], scores, rtol=1e-6)
    assert search.best_params_["kernel"] is kernels[int(np.argmax(scores))]
    assert set(search.best_params_) == {"kernel", "covariance_type", "width"}
    again = NNGPClassifier(search.best_params_["kernel"], optimizer=None)
    again.fit(X, COLOURS[CODES])
    best = search.best_estimator_
    assert_allclose(best.predict_proba(X_NEW), again.predict_proba(X_NEW))
    assert best.alpha_ == search.alpha_


def test_members_are_those_that_predict_best_out_of_fold():
    # Each kernel sees another feature, and both features matter.
    kernels = [NNGP("erf", metric=4 * np.eye(4)[i] + 1e-6) for i in range(3)]
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    rows, codes, _ = linear_truth(150, 2, 8)
    new = linear_truth(20, 2, 9)[0]
    given = {"widths": (INFINITY,), "covariance_types": ("diag",), "optimizer": None}
    search = AdaptiveKernelClassifierCV(kernels, cv=3, **given).fit(rows, codes)
    out_of_fold = np.stack(
        [
            cross_val_predict(
                NNGPClassifier(kernel, optimizer=None),
                rows,
                codes,
                cv=folds,
                method="predict_proba",
            )[np.arange(150), codes]
            for kernel in kernels
        ],
        axis=1,
    )
    shares = [
        np.array([a, b, 1 - a - b])
        for a in np.linspace(0, 1, 41)
        for b in np.linspace(0, 1 - a, 41)
    ]
    likeliest = max(np.sum(np.log(out_of_fold @ np.abs(w))) for w in shares)
    weights = np.zeros(3)
    for weight, member in zip(search.weights_, search.members_, strict=True):
        weights[kernels.index(member.kernel)] += weight
    assert_allclose(weights.sum(), 1)
    assert len(search.weights_) == 2
    mixed = sum(
        weight * member.predict_proba(new)
        for weight, member in zip(search.weights_, search.members_, strict=True)
    )
    assert_allclose(search.predict_proba(new), mixed)
    assert_array_equal(search.predict(new), mixed.argmax(axis=1))
    # One nat is what a smaller mixture may lose.
    assert np.sum(np.log(out_of_fold @ weights)) >= likeliest - 1.1
    by_accuracy = AdaptiveKernelClassifierCV(
        kernels, cv=3, scoring="accuracy", **given
    ).fit(rows, codes)
    assert by_accuracy.weights_ == [1.0]
    assert by_accuracy.members_ == [by_accuracy.best_estimator_]


def test_large_folds_are_capped(monkeypatch):
    rows, codes, _ = linear_truth(300, 2, 12)
    monkeypatch.setattr(subsampling, "CLASS_FOLD_ROWS", 50)
    monkeypatch.setattr(subsampling, "CLASS_VALIDATION_ROWS", 40)
    sizes = []
    density = classifier_search.class_log_density

    def noted(regressor, X, columns):
        sizes.append((len(regressor.X_train_), len(X)))
        return density(regressor, X, columns)

    monkeypatch.setattr(classifier_search, "class_log_density", noted)
    search = small_search().fit(rows, codes)
    assert sizes == [(50, 40)] * 2
    assert search.X_train_.shape == (300, 4)
    assert search.regressor_.X_train_.shape == (300, 4)


def test_full_covariances_are_searched_at_large_widths_only():
    search = AdaptiveKernelClassifierCV([NNGP("erf")], widths=(1, 100), cv=2)
    results = search.fit(X, CODES).cv_results_
    names = results["param_covariance_type"], results["param_width"]
    tried = set(zip(*names, strict=True))
    assert ("full", 100) in tried
    assert ("full", 1) not in tried


@pytest.mark.parametrize("scoring", [None, "accuracy"])
def test_search_scores_are_weighted(scoring):
    weights = np.where(CODES == 0, 3.0, 1.0)
    search = AdaptiveKernelClassifierCV(
        [NNGP("erf")],
        widths=(INFINITY,),
        covariance_types=("diag",),
        optimizer=None,
        cv=3,
        scoring=scoring,
    ).fit(X, COLOURS[CODES], weights)
    expected = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(X, CODES):
        model = fixed().fit(X[train], COLOURS[CODES[train]], weights[train])
        y, own = COLOURS[CODES[test]], weights[test]
        loss = log_loss(y, model.predict_proba(X[test]), sample_weight=own)
        expected.append(-loss if scoring is None else model.score(X[test], y, own))
    assert_allclose(search.best_score_, np.mean(expected))


def test_search_prefers_adaptation_where_it_pays():
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((200, 8))
    y = rows[:, 2] * rows[:, 7] > 0
    search = AdaptiveKernelClassifierCV(
        [NNGP("erf")], widths=(3, INFINITY), covariance_types=("diag",), cv=3
    ).fit(rows, y)
    assert search.best_params_["width"] == 3
