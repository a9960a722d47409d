"""NTKRegressor and NTKClassifier against closed forms, brute force and real data."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.ensemble import BaggingRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptive_kernels import NTKClassifier, NTKRegressor
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.theory.kernel_regression.gradient_flow import GradientFlow

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 3))
X_NEW = RNG.standard_normal((7, 3))
NOISE = RNG.standard_normal((30, 2))
Y2 = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], 40 * X[:, 0] * X[:, 2] - 9], axis=1)
Y2 += [0.3, 10] * NOISE
Y1 = Y2[:, 0]
COUNTS = RNG.integers(1, 4, 30)
ROWS = np.repeat(np.arange(30), COUNTS)
COLOURS = np.array(["red", "green", "blue"])[np.argsort(np.argsort(X[:, 0])) // 10]
INFINITY = float("inf")
TIMES = [0.0, 3.0, 50.0, INFINITY]
KERNELS = {
    "default": None,
    "erf": NTK("erf", bias_variance=0.3),
    "deep": NTK("relu", depth=3, readout_variance=0.5),
    "metric": NTK("erf", metric=np.array([1.0, 0.2, 3.0])),
}
kernels = pytest.mark.parametrize("name", KERNELS)


def regressor(name="erf", **parameters):
    return NTKRegressor(KERNELS[name], **parameters)


def matrices(name):
    """NNGP and NTK among X and X_NEW, stacked."""
    kernel = KERNELS[name] or NTK("relu")
    rows = np.vstack([X, X_NEW])
    return NNGP(**kernel.get_params())(rows), kernel(rows)


def predictions(model, rows=X_NEW):
    return np.array(model.predict(rows, return_std=True))


@kernels
@pytest.mark.parametrize("weights", [None, COUNTS / 2], ids=["equal", "weighted"])
def test_decay_to_the_end_is_kernel_ridge(name, weights):
    tangent = matrices(name)[1]
    model = regressor(name, time=INFINITY, alpha=0.1, normalize_y=False)
    model.fit(X, Y2, weights)
    ridge = KernelRidge(alpha=0.1, kernel="precomputed").fit(
        tangent[:30, :30], Y2, weights
    )
    expected = ridge.predict(tangent[30:, :30])
    assert_allclose(model.predict(X_NEW), expected, rtol=1e-8, atol=1e-8)
    order = np.lexsort(X.T[::-1])
    assert_array_equal(model.X_train_, X[order])
    assert_allclose(model.dual_coef_, ridge.dual_coef_[order], rtol=1e-6, atol=1e-7)
    assert model.time_ == INFINITY


@kernels
@pytest.mark.parametrize("normalize_y", [True, False])
def test_end_without_decay_interpolates(name, normalize_y):
    model = regressor(name, time=INFINITY, normalize_y=normalize_y).fit(X, Y2)
    mean, std = predictions(model, X)
    # Equal rows under a ReLU are known to 1e-8; the spread is the root of such zeros.
    assert_allclose(mean, Y2, rtol=1e-5, atol=1e-5)
    assert_allclose(std / Y2.std(axis=0), 0, atol=1e-3)


@kernels
def test_time_zero_is_the_initial_network(name):
    prior = matrices(name)[0][30:, 30:]
    model = regressor(name, time=0.0).fit(X, Y2, COUNTS)
    mean, covariance = model.predict(X_NEW, return_cov=True)
    average = np.average(Y2, axis=0, weights=COUNTS)
    variance = np.average((Y2 - average) ** 2, axis=0, weights=COUNTS)
    assert_allclose(mean, np.tile(average, (7, 1)), rtol=1e-12)
    assert_allclose(covariance, prior[:, :, None] * variance, rtol=1e-10)
    plain = regressor(name, time=0, normalize_y=False).fit(X, Y1)
    expected = [np.zeros(7), np.sqrt(np.diag(prior))]
    assert_allclose(predictions(plain), expected, rtol=1e-10)


@kernels
@pytest.mark.parametrize("alpha", [0.0, 0.2])
def test_covariance_at_the_end_in_closed_form(name, alpha):
    nngp, tangent = matrices(name)
    model = regressor(name, time=INFINITY, alpha=alpha).fit(X, Y1)
    covariance = model.predict(X_NEW, return_cov=True)[1]
    follow = tangent[30:, :30] @ np.linalg.inv(tangent[:30, :30] + alpha * np.eye(30))
    cross = follow @ nngp[:30, 30:]
    expected = nngp[30:, 30:] - cross - cross.T + follow @ nngp[:30, :30] @ follow.T
    close = {"rtol": 1e-6, "atol": 1e-9 * np.var(Y1)}
    assert_allclose(covariance, expected * np.var(Y1), **close)


@kernels
@pytest.mark.parametrize("time", TIMES)
def test_covariance_is_one(name, time):
    model = regressor(name, time=time).fit(X, Y2)
    mean, covariance = model.predict(X_NEW, return_cov=True)
    assert mean.shape == (7, 2) and covariance.shape == (7, 7, 2)
    _, std = model.predict(X_NEW, return_std=True)
    for output in range(2):
        block = covariance[:, :, output]
        assert_array_equal(block, block.T)
        values = np.linalg.eigvalsh(block)
        assert values[0] > -1e-10 * values[-1]
        assert_allclose(std[:, output] ** 2, np.diag(block), rtol=1e-8)
    with pytest.raises(RuntimeError, match="return_std or for return_cov"):
        model.predict(X_NEW, return_std=True, return_cov=True)


def standardised(Y):
    return (Y - Y.mean(axis=0)) / Y.std(axis=0)


def smoother(time, alpha, rows=X):
    """H of y -> f(X), by training on unit targets."""
    model = regressor(time=time, alpha=alpha, normalize_y=False)
    columns = [model.fit(rows, unit).predict(rows) for unit in np.eye(len(rows))]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize("outputs", [1, 2])
def test_chosen_time_has_the_least_validation_score(alpha, outputs):
    rows, Y = X[:15], Y2[:15, :outputs]
    targets = standardised(Y)
    model = regressor(alpha=alpha).fit(rows, Y)
    times = GradientFlow.of_kernel(KERNELS["erf"](rows), targets).times(alpha)
    at = int(np.argmin(np.abs(times - model.time_)))
    near = [0, 40, 80, 120, 160, 199, 200, at, *range(max(at - 3, 0), min(at + 4, 200))]

    def score(time):
        H = smoother(time, alpha, rows)
        free = 15 - np.trace(H)
        if free < 1.5:
            return INFINITY
        return 15 * np.sum((targets - H @ targets) ** 2) / free**2

    scores = {int(i): score(times[i]) for i in near}
    assert 0 < at < 200
    assert_allclose(times[at], model.time_, rtol=1e-9)
    assert min(scores, key=scores.get) == at
    assert max(s for s in scores.values() if s < INFINITY) > 1.05 * scores[at]


def test_grid_of_times_is_fine_enough():
    flow = GradientFlow.of_kernel(KERNELS["erf"](X), standardised(Y2))
    fine = np.geomspace(flow.times()[0] / 10, flow.times()[-2] * 10, 5000)
    best = np.min(flow.validation_scores(fine))
    chosen = flow.validation_scores([regressor().fit(X, Y2).time_])[0]
    assert best <= chosen < 1.005 * best


TRUTHS = {
    "wave": lambda Z: np.sin(2 * Z[:, 0]),
    "product": lambda Z: Z[:, 0] * Z[:, 1] + Z[:, 2],
    "linear": lambda Z: Z @ np.linspace(1, -1, Z.shape[1]),
    "step": lambda Z: np.sign(Z[:, 0] + Z[:, 1]),
}


def early_stopping(truth, seed, noise, name):
    """Root mean square test errors at the chosen time, the best one and the end."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((500, 4))
    y = TRUTHS[truth](rows) + noise * rng.standard_normal(500)
    model = regressor(name).fit(rows[:100], y[:100])

    def error(time):
        early = regressor(name, time=float(time)).fit(rows[:100], y[:100])
        return np.sqrt(np.mean((early.predict(rows[100:]) - y[100:]) ** 2))

    grid = np.geomspace(0.1, 1e5, 40)
    best = min(error(time) for time in grid)
    return error(model.time_), best, error(INFINITY)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "erf"])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_chosen_time_predicts_about_as_well_as_the_best(name, noise):
    errors = np.array(
        [
            early_stopping(truth, seed, noise, name)
            for truth in TRUTHS
            for seed in range(4)
        ]
    )
    chosen, best, end = errors.T
    assert np.median(chosen / best) < 1.1
    assert np.max(chosen / best) < 1.5
    assert noise < 1 or np.mean(end) > 1.05 * np.mean(chosen)


def noisy_rows():
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((120, 4))
    return rows, np.sin(rows[:, 0]) + rng.standard_normal(120)


def test_a_repeated_row_does_not_make_it_interpolate():
    rows, y = noisy_rows()
    expected = NTKRegressor().fit(rows, y).time_
    again = np.append(np.arange(120), 0)
    # One more row of 120 moves the choice by little.
    assert 0.5 < NTKRegressor().fit(rows[again], y[again]).time_ / expected < 2
    bagged = BaggingRegressor(NTKRegressor(), random_state=0).fit(rows, y)
    assert max(model.time_ for model in bagged.estimators_) < INFINITY


@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_scale_of_all_weights_is_nothing_to_the_flow(factor):
    rows, y = noisy_rows()
    weights = np.random.default_rng(4).uniform(0.5, 2, 120)
    model, scaled = (NTKRegressor().fit(rows, y, c * weights) for c in (1, factor))
    assert_allclose(scaled.time_, model.time_, rtol=1e-8)
    assert_allclose(predictions(scaled, rows), predictions(model, rows), rtol=1e-6)


@kernels
@pytest.mark.parametrize("time", [4.0, INFINITY, "gcv"])
def test_weights_are_repeated_rows(name, time):
    model = regressor(name, time=time, alpha=0.1)
    expected = predictions(model.fit(X[ROWS], Y2[ROWS]))
    found = predictions(model.fit(X, Y2, COUNTS))
    assert_allclose(found, expected, rtol=1e-7)
    equal = predictions(model.fit(X, Y2))
    assert np.max(np.abs(found - equal) / np.std(equal)) > 1e-3


@pytest.mark.parametrize("time", [4.0, INFINITY, "gcv"])
def test_repeated_rows_are_repeated_rows_without_merging(time, monkeypatch):
    """Contrary targets stop the rows from merging; their mean stays what it is."""
    contrary = np.tile([1e-3, -1e-3], 30)
    twice = np.repeat(np.arange(30), 2)
    split = regressor(time=time, normalize_y=False).fit(X[twice], Y1[twice] + contrary)
    merged = regressor(time=split.time_, normalize_y=False)
    merged.fit(X, Y1, np.full(30, 2.0))
    assert split.X_train_.shape == (60, 3) and merged.X_train_.shape == (30, 3)
    assert_allclose(predictions(split), predictions(merged), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", [NTKRegressor, NTKClassifier])
def test_weight_zero_and_order_of_the_rows(kind):
    order = np.random.default_rng(1).permutation(30)
    y = Y1 if kind is NTKRegressor else COLOURS
    weights = np.where(order < 24, 1.5, 0.0)
    method = "predict" if kind is NTKRegressor else "decision_function"
    found = getattr(kind().fit(X[order], y[order], weights), method)(X_NEW)
    expected = getattr(kind().fit(X[:24], y[:24]), method)(X_NEW)
    assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("time", TIMES)
def test_outputs_are_fitted_one_by_one(time):
    both = predictions(regressor(time=time).fit(X, Y2))
    for output in range(2):
        single = predictions(regressor(time=time).fit(X, Y2[:, output]))
        assert_allclose(both[:, :, output], single, rtol=1e-9)
    column = regressor(time=time).fit(X, Y2[:, :1])
    assert column.predict(X_NEW).shape == (7, 1)
    assert_array_equal(predictions(column)[:, :, 0].shape, (2, 7))


@pytest.mark.parametrize("time", [4.0, INFINITY, "gcv"])
@pytest.mark.parametrize("factor, shift", [(1e6, 0.0), (-1e-6, 0.0), (3.0, 1e3)])
def test_units_of_y(time, factor, shift):
    mean, std = predictions(regressor(time=time, alpha=0.1).fit(X, Y1))
    found = predictions(regressor(time=time, alpha=0.1).fit(X, factor * Y1 + shift))
    expected = [factor * mean + shift, abs(factor) * std]
    assert_allclose(found, expected, rtol=1e-7)


LABELS = {
    "strings": COLOURS,
    "objects": COLOURS.astype(object),
    "integers": np.searchsorted(np.unique(COLOURS), COLOURS) * 10 - 5,
    "truths": COLOURS == "red",
    "two strings": np.where(COLOURS == "red", "yes", "no"),
    "two numbers": np.where(COLOURS == "red", 2.0, -7.0),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_classifier_regresses_on_signs(labels):
    model = NTKClassifier().fit(X, labels, COUNTS)
    classes = np.unique(labels)
    assert_array_equal(model.classes_, classes)
    columns = np.where(labels[:, None] == classes, 1.0, -1.0)
    columns = columns[:, 1] if len(classes) == 2 else columns
    reference = NTKRegressor().fit(X, columns, COUNTS)
    scores = model.decision_function(X_NEW)
    assert scores.shape == ((7,) if len(classes) == 2 else (7, 3))
    assert model.time_ == reference.time_
    assert_array_equal(scores, reference.predict(X_NEW))
    index = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
    found = model.predict(X_NEW)
    assert_array_equal(found, classes[index])
    assert found.dtype == labels.dtype
    assert len(np.unique(found)) > 1


def test_unusable_labels():
    with pytest.raises(ValueError, match="one class"):
        NTKClassifier().fit(X, np.full(30, "red"))
    with pytest.raises(ValueError, match="continuous"):
        NTKClassifier().fit(X, Y1)
    gap = np.array(["red", "blue", np.nan] * 10, dtype=object)
    with pytest.raises(ValueError, match="contains NaN"):
        NTKClassifier().fit(X, gap)


@pytest.mark.parametrize("load", [load_wine, load_breast_cancer])
def test_classifier_on_real_data(load):
    rows, labels = load(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(rows))
    train, test = order[: len(rows) // 2], order[len(rows) // 2 :]
    model = make_pipeline(StandardScaler(), NTKClassifier())
    assert model.fit(rows[train], labels[train]).score(rows[test], labels[test]) > 0.94
    shuffled = np.random.default_rng(1).permutation(labels[train])
    largest = np.max(np.bincount(labels)) / len(labels)
    score = model.fit(rows[train], shuffled).score(rows[test], labels[test])
    assert score < largest + 0.1


def test_rare_class_is_found():
    rng = np.random.default_rng(5)
    labels = np.repeat(["many", "rare"], [190, 10])
    rows = rng.standard_normal((200, 3)) + 4.0 * (labels == "rare")[:, None]
    new = rng.standard_normal((200, 3)) + 4.0 * (labels == "rare")[:, None]
    model = NTKClassifier().fit(rows, labels)
    found = model.predict(new)
    # Classes seven standard deviations apart.
    assert np.mean(found[labels == "rare"] == "rare") >= 0.9
    assert np.mean(found[labels == "many"] == "many") > 0.98


def test_classifier_outputs_spread_as_those_of_the_regressor():
    labels = np.where(COLOURS == "red", 1.0, -1.0)
    classifier = NTKClassifier(time=50.0).fit(X, labels)
    regressor = NTKRegressor(time=50.0).fit(X, labels)
    found = classifier.decision_function(X_NEW, return_std=True)
    for one, other in zip(
        found, regressor.predict(X_NEW, return_std=True), strict=True
    ):
        assert_array_equal(one, other)
