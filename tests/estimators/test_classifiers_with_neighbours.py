"""Classifiers that predict from neighbours in the learned metric."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    NNGPClassifier,
)
from adaptive_kernels.inference import subsampling

RNG = np.random.default_rng(0)
N = 1200
QUICK = {"max_iter": 5, "tol": 100.0}


def probabilities(X):
    """Of three classes, which depend on two of four columns."""
    logits = 6 * np.stack([np.sin(4 * X[:, 0]), X[:, 1], 0 * X[:, 0]], axis=1)
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def labelled(n):
    X = RNG.uniform(-1, 1, (n, 4))
    drawn = RNG.uniform(size=(n, 1)) > np.cumsum(probabilities(X), axis=1)
    return X, np.array(["a", "b", "c"])[drawn.sum(axis=1)]


X, Y = labelled(N)
NEW, LABELS = labelled(600)


@pytest.fixture(scope="module")
def fitted():
    return AdaptiveKernelClassifier(n_neighbors=80).fit(X, Y)


def test_probabilities_are_near_the_truth(fitted):
    best = log_loss(LABELS, probabilities(NEW))
    # A third of the distance from the best loss to that of the frequencies.
    worst = log_loss(LABELS, np.tile(np.mean(probabilities(NEW), axis=0), (600, 1)))
    loss = log_loss(LABELS, fitted.predict_proba(NEW))
    assert loss < best + (worst - best) / 3
    assert abs(fitted.leave_one_out_log_loss_ - loss) < 0.1
    assert fitted.n_neighbors_ == 80


def test_probabilities_are_near_those_of_all_rows(fitted):
    exact = AdaptiveKernelClassifier(n_neighbors=None).fit(X, Y)
    # Of the latter some are far from all training rows.
    for rows, most in ((NEW, 0.03), (10 * NEW, 0.1)):
        gap = fitted.predict_proba(rows) - exact.predict_proba(rows)
        assert np.sqrt(np.mean(gap**2)) < most


def test_pickle(fitted):
    loaded = pickle.loads(pickle.dumps(fitted))
    assert_allclose(loaded.predict_proba(NEW), fitted.predict_proba(NEW), atol=0)


@pytest.mark.parametrize("merged_rows", [100, 20_000])
@pytest.mark.parametrize("make", [NNGPClassifier, AdaptiveKernelClassifier])
def test_number_of_distinct_rows_decides(monkeypatch, merged_rows, make):
    monkeypatch.setattr(subsampling, "EXACT_ROWS", 300)
    monkeypatch.setattr(subsampling, "MERGED_ROWS", merged_rows)
    quick = {} if make is NNGPClassifier else QUICK
    few, labels = X[:301], Y[:301]
    assert make(**quick).fit(few, labels).n_neighbors_ == subsampling.NEIGHBORS
    assert make(**quick).fit(few[1:], labels[1:]).n_neighbors_ is None
    assert make(n_neighbors=None, **quick).fit(few, labels).n_neighbors_ is None
    sparse = make(n_inducing=30, **quick).fit(few, labels)
    assert sparse.n_neighbors_ is None
    assert len(sparse.X_train_) <= 30
    twice = make(**quick).fit(np.tile(few[1:], (2, 1)), np.tile(labels[1:], 2))
    assert twice.n_neighbors_ is None


@pytest.mark.parametrize("merged_rows", [100, 20_000])
def test_weight_zero_equals_removal(monkeypatch, merged_rows):
    monkeypatch.setattr(subsampling, "MERGED_ROWS", merged_rows)
    weights = np.where(np.arange(400) % 5 > 0, 1.0, 0.0)
    kept = weights > 0
    model = AdaptiveKernelClassifier(n_neighbors=40, **QUICK)
    weighted = model.fit(X[:400], Y[:400], weights).predict_proba(NEW)
    removed = model.fit(X[:400][kept], Y[:400][kept]).predict_proba(NEW)
    assert_allclose(weighted, removed, atol=1e-8)


@pytest.mark.slow
def test_search_of_classifiers_with_neighbours():
    search = AdaptiveKernelClassifierCV(
        widths=(1.0, 10.0), covariance_types=("diag",), n_neighbors=80, cv=3
    ).fit(X, Y)
    assert {member.n_neighbors_ for member in search.members_} == {80}
    best = log_loss(LABELS, probabilities(NEW))
    assert log_loss(LABELS, search.predict_proba(NEW)) < best + 0.15
