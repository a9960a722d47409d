"""Estimators that predict from neighbours in the learned metric."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
)
from adaptive_kernels.inference import subsampling

RNG = np.random.default_rng(0)
N, NOISE = 1500, 0.1


def target(X):
    return np.sin(9 * X[:, 0]) + X[:, 1] * X[:, 2]


X = RNG.uniform(-1, 1, (N, 4))
Y = target(X) + NOISE * RNG.standard_normal(N)
NEW = RNG.uniform(-1, 1, (400, 4))


def adaptive(**options):
    return AdaptiveKernelRegressor(**{"n_neighbors": 60} | options)


@pytest.fixture(scope="module")
def fitted():
    return adaptive().fit(X, Y)


def test_predictions_are_near_the_function_with_honest_intervals(fitted):
    mean, std = fitted.predict(NEW, return_std=True)
    assert np.sqrt(np.mean((mean - target(NEW)) ** 2)) < NOISE
    observed = target(NEW) + NOISE * RNG.standard_normal(400)
    inside = np.mean(np.abs(observed - mean) < 1.6449 * std)
    # Four standard errors of a share of 0.9 among 400.
    assert abs(inside - 0.9) < 0.06
    assert_allclose(fitted.alpha_ * np.var(Y), NOISE**2, rtol=0.3)


def test_irrelevant_column_is_found(fitted):
    assert np.argmin(fitted.feature_importances_) == 3


def test_leave_one_out_agrees_with_fits_without_the_row(fitted):
    mean, std = fitted.leave_one_out_predict(return_std=True)
    assert mean.shape == std.shape == (N,)
    error = (Y - mean) / std
    assert abs(np.mean(error**2) - 1) < 0.3


def test_joint_predictions_agree_with_single_ones(fitted):
    mean, covariance = fitted.predict(NEW[:5], return_cov=True)
    expected, std = fitted.predict(NEW[:5], return_std=True)
    assert_allclose(mean, expected, atol=1e-10)
    assert_allclose(np.sqrt(np.diag(covariance)), std, rtol=1e-8)
    assert fitted.sample_y(NEW[:5], 3).shape == (5, 3)


def test_refused_without_all_rows(fitted):
    with pytest.raises(AttributeError, match="n_neighbors=None"):
        _ = fitted.dual_coef_
    with pytest.raises(AttributeError, match="n_neighbors=None"):
        fitted.log_marginal_likelihood(fitted.kernel_.theta)
    with pytest.raises(ValueError, match="n_neighbors=None"):
        adaptive(approximation="rescaling").fit(X, Y)


def test_as_many_neighbours_as_rows_is_the_exact_fit():
    exact = adaptive(n_neighbors=None, max_iter=5, tol=10).fit(X[:200], Y[:200])
    same = adaptive(n_neighbors=200, max_iter=5, tol=10).fit(X[:200], Y[:200])
    assert_allclose(same.predict(NEW), exact.predict(NEW), rtol=0, atol=0)


def test_pickle_and_order_of_rows(fitted):
    loaded = pickle.loads(pickle.dumps(fitted))
    assert_allclose(loaded.predict(NEW), fitted.predict(NEW), rtol=0, atol=0)
    order = RNG.permutation(N)
    again = clone(fitted).fit(X[order], Y[order])
    assert_allclose(again.predict(NEW), fitted.predict(NEW), atol=1e-6)


@pytest.mark.parametrize("make", [NNGPRegressor, AdaptiveKernelRegressor])
def test_weights_outputs_and_fixed_parameters(make):
    targets = np.stack([Y[:400], X[:400, 1]], axis=1)
    weights = np.where(np.arange(400) % 5 > 0, 1.0, 0.0)
    options = {} if make is NNGPRegressor else {"max_iter": 5, "tol": 100.0}
    model = make(n_neighbors=40, n_inducing=20, **options)
    mean, std = model.fit(X[:400], targets, weights).predict(NEW, return_std=True)
    kept = weights > 0
    other = model.fit(X[:400][kept], targets[kept]).predict(NEW)
    assert_allclose(mean, other, atol=1e-8)
    assert mean.shape == std.shape == (400, 2)
    fixed = make(n_neighbors=40, optimizer=None, alpha=0.05).fit(X[:400], Y[:400])
    assert fixed.alpha_ == 0.05
    assert np.isfinite(fixed.predict(NEW)).all()


@pytest.mark.parametrize("make", [NNGPRegressor, AdaptiveKernelRegressor])
def test_outputs_of_different_noise_have_honest_intervals(make):
    levels = np.array([0.05, 0.5])
    targets = target(X)[:, None] + levels * RNG.standard_normal((N, 2))
    options = {} if make is NNGPRegressor else {"max_iter": 10, "tol": 10.0}
    model = make(n_neighbors=60, **options).fit(X, targets)
    mean, std = model.predict(NEW, return_std=True)
    observed = target(NEW)[:, None] + levels * RNG.standard_normal((400, 2))
    inside = np.mean(np.abs(observed - mean) < 1.6449 * std, axis=0)
    assert_allclose(inside, 0.9, atol=0.06)
    assert model.alpha_.shape == (2,)
    _, covariance = model.predict(NEW[:3], return_cov=True)
    for c in range(2):
        assert_allclose(np.diag(covariance[:, :, c]), std[:3, c] ** 2, rtol=1e-10)


def test_large_table_is_not_merged(monkeypatch, fitted):
    monkeypatch.setattr(subsampling, "MERGED_ROWS", 1000)
    weights = np.where(np.arange(N) % 7 > 0, 1.0, 0.0)
    model = adaptive(max_iter=5, tol=100.0).fit(X, Y, weights)
    assert model.X_train_.shape == (np.sum(weights > 0), 4)
    assert model.leave_one_out_predict().shape == (np.sum(weights > 0),)
    error = model.predict(NEW) - target(NEW)
    assert np.sqrt(np.mean(error**2)) < 2 * NOISE


@pytest.mark.slow
def test_search_predicts_from_neighbours():
    search = AdaptiveKernelRegressorCV(
        widths=(1.0,), covariance_types=("diag",), n_neighbors=60, scalings=(1, 2), cv=3
    ).fit(X, Y)
    error = search.predict(NEW) - target(NEW)
    assert np.sqrt(np.mean(error**2)) < NOISE
    assert {member.n_neighbors_ for member in search.members_} == {60}
    with pytest.raises(AttributeError):
        _ = search.best_estimator_.dual_coef_


def quick(**options):
    return AdaptiveKernelRegressor(**{"optimizer": None, "alpha": 0.05} | options)


@pytest.mark.parametrize("merged_rows", [100, 20_000])
def test_number_of_distinct_rows_decides(monkeypatch, merged_rows):
    monkeypatch.setattr(subsampling, "EXACT_ROWS", 300)
    monkeypatch.setattr(subsampling, "MERGED_ROWS", merged_rows)
    few, targets = X[:301], Y[:301]
    assert quick().fit(few[:300], targets[:300]).n_neighbors_ is None
    assert quick().fit(few, targets).n_neighbors_ == subsampling.NEIGHBORS
    assert quick(n_neighbors=None).fit(few, targets).n_neighbors_ is None
    assert quick(n_neighbors=400).fit(few, targets).n_neighbors_ is None
    assert quick(n_inducing=50).fit(few, targets).X_train_.shape[0] == 50
    assert quick(approximation="rescaling").fit(few, targets).n_neighbors_ is None
    twice = (
        np.concatenate([few[:300], few[:300]]),
        np.concatenate([targets[:300], targets[:300]]),
    )
    repeated = quick().fit(*twice)
    assert repeated.n_neighbors_ is None
    assert_allclose(
        repeated.predict(NEW),
        quick().fit(few[:300], targets[:300], np.full(300, 2.0)).predict(NEW),
    )
