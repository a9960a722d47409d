"""Classifiers by inducing points: rows left out in closed form, and the fits."""

import pickle

import numpy as np
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import log_loss
from sklearn.utils.estimator_checks import parametrize_with_checks

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    NNGPClassifier,
)
from adaptive_kernels._arrays import memory
from adaptive_kernels.estimators.class_posteriors import class_shares
from adaptive_kernels.inference import subsampling
from adaptive_kernels.inference.collapsed_bound import JITTER
from adaptive_kernels.inference.evidence import Data, Hyperparameters
from adaptive_kernels.inference.inducing_calibration import InducingClasses
from adaptive_kernels.inference.inducing_points import InducingData
from adaptive_kernels.inference.posterior import GaussianPosterior
from adaptive_kernels.inference.streaming import RowStream, inducing_data
from adaptive_kernels.kernels import NNGP, NTK

rng = np.random.default_rng(0)
N, M = 400, 30
X = rng.standard_normal((N, 3))
CODES = np.argmax(X + 0.5 * rng.standard_normal((N, 3)), axis=1)
X_NEW = rng.standard_normal((50, 3))
NEW_CODES = np.argmax(X_NEW + 0.5 * rng.standard_normal((50, 3)), axis=1)
WEIGHTS = rng.integers(1, 4, N).astype(float)
EACH = [NNGPClassifier, AdaptiveKernelClassifier]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:sample_weight sums")
@pytest.mark.contract
@parametrize_with_checks(
    [NNGPClassifier(n_inducing=7), AdaptiveKernelClassifier(n_inducing=7)]
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


def without(row, kernel, Z, noise, weights, targets):
    """Mean and variance of f at a row given all others, by dense matrices."""
    rest = np.arange(len(X)) != row
    K_mm = kernel(Z)
    K_mm += JITTER * np.mean(np.diag(K_mm)) * np.eye(len(Z))
    K_mn, cross = kernel(Z, X[rest]), kernel(Z, X[row : row + 1])
    inner = np.linalg.inv(K_mm + (K_mn * weights[rest] / noise) @ K_mn.T)
    mean = cross.T @ inner @ (K_mn * weights[rest] / noise) @ targets[rest]
    variance = kernel.diag(X[row : row + 1]) - cross.T @ (
        np.linalg.solve(K_mm, cross) - inner @ cross
    )
    return mean[0], variance[0, 0]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("kernel", [NNGP("erf"), NTK("relu", depth=2)], ids=str)
def test_leave_one_out_by_brute_force(kernel, weights):
    targets = np.eye(3)[CODES] - 1 / 3
    point = Hyperparameters(kernel.network(), 0.3)
    classes = InducingClasses.of(InducingData(X, targets, weights, n_inducing=M), point)
    Z = classes.held_out.inducing()
    assert Z.shape == (M, 3)
    mean, variance = classes.leave_one_out(0.2)
    shares = np.ones(N) if weights is None else weights
    for row in (0, 7, int(classes.held_out.index[3]), N - 1):
        expected = without(row, kernel, Z, 0.2, shares, targets)
        assert_allclose(mean[row], expected[0], rtol=1e-6, atol=1e-8)
        assert_allclose(variance[row], expected[1], rtol=1e-6)


def test_rows_of_a_sample_are_left_out_of_all_rows(small_sample):
    targets = np.eye(3)[CODES] - 1 / 3
    kernel = NNGP("erf")
    rows = RowStream(X, targets, WEIGHTS, None)
    data = inducing_data(rows, M, np.zeros(3), np.ones(3))
    assert data.X.shape == (120, 3)
    classes = InducingClasses.of(data, Hyperparameters(kernel.network(), 0.3))
    mean, variance = classes.leave_one_out(0.2)
    Z = classes.held_out.inducing()
    for place in (0, 50, 119):
        row = int(np.flatnonzero((X == data.X[place]).all(axis=1))[0])
        expected = without(row, kernel, Z, 0.2, WEIGHTS, targets)
        assert_allclose(mean[place], expected[0], rtol=1e-6, atol=1e-8)
        assert_allclose(variance[place], expected[1], rtol=1e-6)


def test_all_rows_make_the_posterior(small_sample):
    model = NNGPClassifier(NNGP("erf"), optimizer=None, n_inducing=M).fit(X, CODES)
    posterior = model._classes.posterior
    targets = np.eye(3)[CODES] - np.bincount(CODES) / N
    mean, _ = posterior.variance(X)
    Z, noise = model.X_train_, model.alpha_
    K_mn = NNGP("erf")(Z, X)
    K_mm = NNGP("erf")(Z)
    K_mm += JITTER * np.mean(np.diag(K_mm)) * np.eye(M)
    dual = np.linalg.solve(K_mm + K_mn @ K_mn.T / noise, K_mn @ targets / noise)
    assert_allclose(mean, K_mn.T @ dual, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", EACH)
@pytest.mark.parametrize("n_inducing", [N, 5000])
def test_as_many_points_as_rows_is_the_exact_fit(estimator, n_inducing):
    exact = estimator().fit(X, CODES)
    ours = estimator(n_inducing=n_inducing).fit(X, CODES)
    assert_array_equal(ours.predict_proba(X_NEW), exact.predict_proba(X_NEW))
    assert ours.X_train_.shape == (N, 3)


@pytest.mark.parametrize("estimator", EACH)
def test_many_points_are_the_exact_posterior(estimator):
    kernel = NNGP("erf")
    exact, ours = (
        estimator(kernel, optimizer=None, n_inducing=m).fit(X, CODES)
        for m in (None, N - 1)
    )
    assert len(ours.X_train_) < N  # rows that say nothing new are left out
    assert_allclose(ours.alpha_, exact.alpha_)
    assert_allclose(ours.leave_one_out_log_loss_, exact.leave_one_out_log_loss_, 1e-3)
    assert_allclose(ours.predict_proba(X_NEW), exact.predict_proba(X_NEW), atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", EACH)
def test_few_points_predict_nearly_as_well(small_sample, estimator):
    exact, ours = (
        log_loss(NEW_CODES, estimator(n_inducing=m).fit(X, CODES).predict_proba(X_NEW))
        for m in (None, 30)
    )
    assert ours < exact + 0.1


def test_weights_are_repeated_rows(monkeypatch):
    model = NNGPClassifier(n_inducing=60)
    times = WEIGHTS.astype(int)
    repeated = np.repeat(X, times, axis=0), np.repeat(CODES, times)
    weighted = model.fit(X, CODES, WEIGHTS).predict_proba(X_NEW)
    assert_allclose(model.fit(*repeated).predict_proba(X_NEW), weighted, rtol=1e-8)
    # Where nothing is merged the sums over all rows agree.
    monkeypatch.setattr(subsampling, "MERGED_ROWS", 200)
    point = model.regressor_._posterior.point
    sums = [
        inducing_data(
            RowStream(rows, codes[:, None] * 1.0, weights, None),
            60,
            *np.array([[0], [1]]),
        ).sufficient_statistics(point)[2]
        for rows, codes, weights in ((X, CODES, WEIGHTS), (*repeated, None))
    ]
    assert sums[0].size == sums[1].size == WEIGHTS.sum()
    assert_allclose(sums[0].squares, sums[1].squares)
    assert_allclose(sums[0].prior, sums[1].prior)


def test_rows_of_no_weight_count_nothing(small_sample):
    model = NNGPClassifier(NNGP("erf"), optimizer=None, n_inducing=120)
    fewer = model.fit(X[:300], CODES[:300], WEIGHTS[:300]).predict_proba(X_NEW)
    first = np.where(np.arange(N) < 300, WEIGHTS, 0)
    labels = np.where(first > 0, CODES, 7)
    kept = model.fit(X, labels, first)
    assert list(model.classes_) == [0, 1, 2]
    assert_allclose(kept.predict_proba(X_NEW), fewer, rtol=1e-8)


def test_rare_classes_are_learned_and_stay_rare(small_sample, monkeypatch):
    monkeypatch.setattr(subsampling, "CLASS_KERNEL_ROWS", 100)
    n = 4000
    rows = np.random.default_rng(1).standard_normal((n, 3))
    labels = np.where(np.arange(n) % 500 == 0, "rare", "usual")
    rows[labels == "rare", 0] += 6
    model = NNGPClassifier(n_inducing=M).fit(rows, labels)
    # Of 100 rows one in five has none of the eight.
    assert model.regressor_.kernel_.readout_variance > 1e-3
    p = model.predict_proba(rows)[:, 0]
    assert np.median(p[labels == "rare"]) > 0.5
    assert_allclose(p.mean(), 8 / n, atol=3 * 8**0.5 / n)


def test_shares_give_the_classes_their_frequencies():
    labels = np.eye(3)[rng.integers(0, 3, 50)]
    frequencies = np.array([0.7, 0.2, 0.1])
    for weights in (None, rng.uniform(0.1, 5, 50)):
        shares = class_shares(labels, weights, frequencies)
        size = 50 if weights is None else weights.sum()
        assert_allclose(shares @ labels, size * frequencies)


def test_the_sample_keeps_frequencies(small_sample):
    codes = np.repeat([0, 1, 2], [40, 60, 300])
    rows = RowStream(X, codes[:, None].astype(float), None, None)
    sample = inducing_data(rows, M, np.zeros(1), np.ones(1), codes)
    found = np.bincount(sample.Y[:, 0].astype(int))
    assert found.sum() == 120
    assert np.abs(found - [12, 18, 90]).max() <= 1
    places = np.flatnonzero((X[:, None] == sample.X).all(axis=2).any(axis=1))
    assert len(places) == 120
    # Of a class the rows are drawn at random: the mean place is right to 4 errors.
    last = places[places >= 100] - 100
    assert abs(last.mean() - 149.5) < 4 * 300 / (12 * 90) ** 0.5
    assert np.diff(last).max() > 4


def test_search_passes_the_points_on(small_sample):
    search = AdaptiveKernelClassifierCV(
        [NNGP("erf")], widths=(10,), covariance_types=("diag",), cv=2, n_inducing=M
    )
    search.fit(X, CODES)
    assert search.X_train_.shape == search.best_estimator_.X_train_.shape == (M, 3)
    assert search.score(X_NEW, NEW_CODES) > 0.6


@pytest.mark.slow
def test_folds_are_judged_exactly(small_sample):
    searches = [
        AdaptiveKernelClassifierCV(
            [NNGP("erf")],
            widths=(10,),
            covariance_types=("diag",),
            cv=2,
            scoring="neg_log_loss",
            n_inducing=m,
        ).fit(X, CODES)
        for m in (None, M)
    ]
    assert searches[0].best_score_ == searches[1].best_score_


def test_rows_of_a_mapped_file(small_sample, tmp_path):
    np.save(tmp_path / "rows.npy", X.astype(np.float32))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    model = NNGPClassifier(n_inducing=M)
    expected = model.fit(X.astype(np.float32), CODES, WEIGHTS).predict_proba(X_NEW)
    assert_array_equal(model.fit(mapped, CODES, WEIGHTS).predict_proba(X_NEW), expected)
    with parallel_config(backend="threading", n_jobs=2):
        assert_array_equal(
            model.fit(mapped, CODES, WEIGHTS).predict_proba(X_NEW), expected
        )
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict_proba(X_NEW), expected)


@pytest.mark.parametrize("estimator", EACH)
def test_what_cannot_fit_names_points_that_do(monkeypatch, estimator):
    monkeypatch.setattr(memory, "free_bytes", lambda like: 10**6)
    monkeypatch.setattr(subsampling, "CLASS_KERNEL_ROWS", 100)
    with pytest.raises(
        MemoryError, match=r"An exact fit of 400 .* n_inducing="
    ) as found:
        estimator(optimizer=None).fit(X, CODES)
    named = int(str(found.value).split("n_inducing=")[1].split(",")[0])
    estimator(optimizer=None, n_inducing=named).fit(X, CODES)
    with pytest.raises(MemoryError, match="n_inducing=250 needs"):
        estimator(n_inducing=250).fit(X, CODES)


def test_exact_posterior_agrees_where_points_are_all_rows():
    targets = np.eye(3)[CODES] - 1 / 3
    point = Hyperparameters(NNGP("erf", weight_variance=40.0).network(), 0.3)
    classes = InducingClasses.of(InducingData(X, targets, n_inducing=N), point)
    exact, _ = GaussianPosterior.fit(Data(X, targets), point)
    ours = classes.posterior(0.3)
    for value, expected in zip(
        ours.variance(X_NEW), exact.variance(X_NEW), strict=True
    ):
        assert_allclose(value, expected, atol=1e-4)
    mean, variance = exact.leave_one_out(Data(X, targets))
    ours_mean, ours_variance = classes.leave_one_out(0.3)
    assert_allclose(ours_mean, mean, atol=1e-4)
    assert_allclose(ours_variance, variance[:, 0], atol=1e-4)
