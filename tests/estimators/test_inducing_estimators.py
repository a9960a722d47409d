"""Fits by inducing points, as a user sees them."""

import pickle
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.utils.estimator_checks import parametrize_with_checks

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
    scaling_path,
)
from adaptive_kernels._arrays import memory
from adaptive_kernels.estimators import wide_network
from adaptive_kernels.kernels import NNGP, NTK

rng = np.random.default_rng(0)
X = rng.standard_normal((300, 4))
SIGNAL = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1]
y = SIGNAL + 0.2 * rng.standard_normal(len(X))
X_NEW = rng.standard_normal((50, 4))
BOTH = [NNGPRegressor, AdaptiveKernelRegressor]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:sample_weight sums")
@pytest.mark.contract
@parametrize_with_checks(
    [NNGPRegressor(n_inducing=7), AdaptiveKernelRegressor(n_inducing=7, width=10)]
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("n_inducing", [300, 5000])
def test_as_many_points_as_rows_is_the_exact_fit(estimator, n_inducing):
    exact = estimator().fit(X, y)
    ours = estimator(n_inducing=n_inducing).fit(X, y)
    for value, expected in zip(
        ours.predict(X_NEW, return_std=True),
        exact.predict(X_NEW, return_std=True),
        strict=True,
    ):
        assert_allclose(value, expected, rtol=1e-12)


def test_repeated_rows_do_not_count_as_points():
    twice = np.vstack([X[:50], X[:50]]), np.tile(y[:50], 2)
    exact = NNGPRegressor().fit(*twice)
    ours = NNGPRegressor(n_inducing=50).fit(*twice)
    assert_allclose(ours.predict(X_NEW), exact.predict(X_NEW), rtol=1e-12)


@pytest.mark.parametrize("estimator", BOTH)
def test_few_points_predict_nearly_as_well(estimator):
    truth = np.sin(2 * X_NEW[:, 0]) + 0.5 * X_NEW[:, 1]
    exact = estimator().fit(X, y)
    ours = estimator(n_inducing=100).fit(X, y)
    error, reference = (
        np.sqrt(np.mean((m.predict(X_NEW) - truth) ** 2)) for m in (ours, exact)
    )
    assert error < 1.1 * reference + 0.01
    if estimator is NNGPRegressor:  # whose exact fit maximises the evidence itself
        bound, evidence = (m.log_marginal_likelihood_value_ for m in (ours, exact))
        assert bound < evidence + 0.1


@pytest.mark.parametrize("estimator", BOTH)
def test_all_rows_reach_the_posterior_of_a_sample(small_sample, estimator):
    kernel = NNGP("erf", weight_variance=8.0)
    model = estimator(kernel, alpha=0.05, optimizer=None, n_inducing=60)
    if estimator is AdaptiveKernelRegressor:
        model.set_params(width=np.inf)
    model.fit(X, y)
    K_mm = kernel(model.X_train_)
    K_mn = kernel(model.X_train_, X)
    K_mm += 1e-8 * np.mean(np.diag(K_mm)) * np.eye(len(K_mm))
    right = K_mn @ ((y - y.mean()) / y.std())
    dual = np.linalg.solve(K_mm + K_mn @ K_mn.T / 0.05, right / 0.05)
    mean = kernel(X_NEW, model.X_train_) @ dual * y.std() + y.mean()
    assert_allclose(model.predict(X_NEW), mean, atol=1e-6)
    assert_allclose(
        model.predict(X_NEW),
        kernel(X_NEW, model.X_train_) @ model.dual_coef_[:, 0] * y.std() + y.mean(),
    )


def test_weights_and_repeats_agree_beyond_the_sample(small_sample):
    model = AdaptiveKernelRegressor(
        NNGP("erf"), alpha=0.1, optimizer=None, width=np.inf, n_inducing=100
    )
    weights = np.ones(len(X))
    weights[250:] = 0
    fewer = model.fit(X[:250], y[:250]).predict(X_NEW)
    # The inducing points differ, so that only well explained kernels agree.
    assert_allclose(model.fit(X, y, weights).predict(X_NEW), fewer, atol=0.02)
    assert_allclose(
        model.feature_importances_, X[:250].var(axis=0) / X[:250].var(axis=0).sum()
    )


def test_importances_and_covariance(small_sample):
    model = AdaptiveKernelRegressor(n_inducing=50, covariance_type="full", width=30)
    model.fit(X, y)
    assert model.weight_covariance_.shape == (4, 4)
    shares = np.diag(model.weight_covariance_) * X.var(axis=0)
    assert_allclose(model.feature_importances_, shares / shares.sum(), rtol=1e-10)
    assert model.feature_importances_.argmax() == 0
    assert model.transform(X_NEW).shape == (50, 4)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("kernel", [NNGP, NTK])
def test_spread_and_draws(kernel, depth):
    model = AdaptiveKernelRegressor(kernel("erf", depth=depth), n_inducing=40)
    model.fit(X, np.stack([y, -y], axis=1))
    mean, std = model.predict(X_NEW, return_std=True)
    again, covariance = model.predict(X_NEW, return_cov=True)
    assert mean.shape == std.shape == (50, 2)
    assert_allclose(again, mean)
    assert_allclose(np.sqrt(np.diagonal(covariance).T), std, rtol=1e-6)
    draws = model.sample_y(X_NEW[:3], 4000, random_state=0)
    assert draws.shape == (3, 2, 4000)
    assert_allclose(draws.mean(axis=2), mean[:3], atol=5 * std.max() / 4000**0.5)
    copy = pickle.loads(pickle.dumps(model))
    assert_allclose(copy.predict(X_NEW, return_std=True)[1], std)


def test_prediction_does_not_depend_on_blocks(monkeypatch):
    model = NNGPRegressor(n_inducing=40).fit(X, y)
    mean, std = model.predict(X_NEW, return_std=True)
    plain = model.predict(X_NEW)
    monkeypatch.setattr(wide_network, "PREDICTED_ROWS", 7)
    assert_allclose(model.predict(X_NEW), plain, rtol=1e-10)
    assert_allclose(plain, mean, rtol=1e-10)
    assert_allclose(model.predict(X_NEW, return_std=True)[1], std, rtol=1e-10)


@pytest.mark.parametrize(
    ("rows", "targets"),
    [
        pytest.param(X[:, :1], y, id="one column"),
        pytest.param(X, np.zeros(len(X)), id="constant y"),
        pytest.param(np.repeat(X, 2, axis=0), np.repeat(y, 2), id="duplicates"),
        pytest.param(np.round(X), y, id="equal inputs"),
        pytest.param(X.astype(np.float32), y.astype(np.float32), id="single"),
        pytest.param(rng.standard_normal((60, 90)), y[:60], id="wide"),
    ],
)
@pytest.mark.parametrize("kind", ["diag", "full"])
def test_awkward_data(rows, targets, kind):
    model = AdaptiveKernelRegressor(n_inducing=30, covariance_type=kind, width=10)
    model.fit(rows, targets)
    mean, std = model.predict(rows, return_std=True)
    assert np.all(np.isfinite(mean)) and np.all(std > 0)
    assert np.mean((mean - targets) ** 2) <= 1.01 * np.var(targets) + 1e-12


def test_memory_map_is_never_loaded_as_a_whole(tmp_path):
    n, d = 150_000, 100
    path = tmp_path / "rows"
    rows = np.memmap(path, dtype=np.float32, mode="w+", shape=(n, d))
    rows[:] = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
    targets = np.sin(rows[:, 0].astype(float))
    kernel = NNGP("erf", weight_variance=50.0)
    model = NNGPRegressor(kernel, optimizer=None, n_inducing=20)
    tracemalloc.start()
    try:
        model.fit(rows, targets)
        predicted = model.predict(rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Targets, their normalised copy and the predictions are a few columns each.
    assert peak < 0.5 * rows.nbytes
    loaded = NNGPRegressor(kernel, optimizer=None, n_inducing=20)
    in_memory = loaded.fit(np.array(rows), targets).predict(rows[:100])
    assert_allclose(predicted[:100], in_memory)


def test_what_cannot_fit_names_points_that_do(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda like: 10**6)
    with pytest.raises(MemoryError, match=r"An exact fit of 300 .* GiB .* n_inducing="):
        NNGPRegressor().fit(X, y)
    with pytest.raises(MemoryError) as failure:
        AdaptiveKernelRegressor().fit(X, y)
    named = int(str(failure.value).split("n_inducing=")[1].split(",")[0])
    NNGPRegressor(n_inducing=named, optimizer=None).fit(X, y)
    with pytest.raises(MemoryError, match="n_inducing=250 needs"):
        NNGPRegressor(n_inducing=250).fit(X, y)


def test_what_needs_all_rows_says_so():
    model = AdaptiveKernelRegressor(n_inducing=20).fit(X, y)
    with pytest.raises(AttributeError, match="leave_one_out_predict.*n_inducing=None"):
        model.leave_one_out_predict()
    with pytest.raises(AttributeError, match="n_inducing=None"):
        model.log_marginal_likelihood(model.kernel_.theta)
    assert model.log_marginal_likelihood() == model.log_marginal_likelihood_value_
    assert 1 < model.effective_dof_ < 20
    with pytest.raises(ValueError, match="n_inducing=None"):
        scaling_path(model, X, y, scalings=[1, 2])
    for name in ("tree", "rescaling", "gaussian_tree", "sampled"):
        with pytest.raises(ValueError, match=f"approximation='{name}'"):
            model.set_params(approximation=name).fit(X, y)
    with pytest.raises(ValueError, match="one scaling"):
        AdaptiveKernelRegressorCV(n_inducing=20, scalings=(1, 2)).fit(X, y)


def test_search_passes_the_points_on():
    search = AdaptiveKernelRegressorCV(
        [NNGP("erf")], widths=(10,), covariance_types=("diag",), cv=2, n_inducing=20
    ).fit(X, y)
    assert search.best_estimator_.X_train_.shape == (20, 4)
    assert search.predict(X_NEW).shape == (50,)


def test_scaling_of_a_learned_covariance(small_sample):
    model = AdaptiveKernelRegressor(width=50, scaling=5, n_inducing=40).fit(X, y)
    plain = AdaptiveKernelRegressor(width=50, n_inducing=40).fit(X, y)
    assert model.kernel_.weight_variance < plain.kernel_.weight_variance
    assert model.score(X, y) > 0.5
