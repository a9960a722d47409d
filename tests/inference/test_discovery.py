"""What chooses starts, folds and inducing points loses nothing that a fit can find."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPClassifier,
    NNGPRegressor,
)
from adaptive_kernels.inference.evidence import Data, Hyperparameters
from adaptive_kernels.inference.evidence_problem import EvidenceProblem
from adaptive_kernels.inference.missed_structure import warn_if_missed
from adaptive_kernels.inference.optimization import Solution, maximize_evidence
from adaptive_kernels.inference.relevance import CLIP, _moments, measure_relevance
from adaptive_kernels.inference.starting_points import natural_start
from adaptive_kernels.inference.width_path import WidthPath
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.model_selection.width_path_search import Path, WidthPathSearch
from adaptive_kernels.sampling import sample_linear_network
from adaptive_kernels.theory import gaussian_adaptation

FAR = 1e4


def sine_and_product(n, d, seed, noise=0.1):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n + 500, d))
    f = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    y = f + noise * rng.standard_normal(len(f))
    return X[:n], y[:n], X[n:], f[n:]


def r2(model, X, f):
    return 1 - np.mean((f - model.predict(X)) ** 2) / np.var(f)


REGRESSORS = {
    "nngp": NNGPRegressor(),
    "deep": NNGPRegressor(NNGP("relu", depth=2)),
    "diag": AdaptiveKernelRegressor(),
    "full": AdaptiveKernelRegressor(covariance_type="full"),
    "rescaling": AdaptiveKernelRegressor(approximation="rescaling", width=50),
    "scaled": AdaptiveKernelRegressor(width=30, scaling=30),
    "inducing": AdaptiveKernelRegressor(n_inducing=30),
    "search": AdaptiveKernelRegressorCV(widths=(0.1, 1, np.inf)),
}
CLASSIFIERS = {
    "nngp": NNGPClassifier(),
    "diag": AdaptiveKernelClassifier(),
    "search": AdaptiveKernelClassifierCV(widths=(1, 10)),
}


@pytest.fixture(scope="module")
def friedman():
    X, y = make_friedman1(160, n_features=6, noise=0.5, random_state=0)
    return X[:100], y[:100], X[100:]


@pytest.mark.slow
@pytest.mark.parametrize("name", REGRESSORS)
@pytest.mark.parametrize("units", [1.0, 1000.0])
def test_origin_of_x_changes_nothing(name, units, friedman):
    X, y, X_new = friedman
    # Spread one, as the promise has it: X of friedman1 is uniform.
    X, X_new = units * 12**0.5 * X, units * 12**0.5 * X_new
    near = clone(REGRESSORS[name]).fit(X, y).predict(X_new)
    far = clone(REGRESSORS[name]).fit(X + units * FAR, y).predict(X_new + units * FAR)
    assert_allclose(far, near, atol=1e-6 * np.std(y))


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_origin_of_x_changes_no_probability(name, friedman):
    X, y, X_new = friedman
    X, X_new, labels = 12**0.5 * X, 12**0.5 * X_new, y > np.median(y)
    near = clone(CLASSIFIERS[name]).fit(X, labels).predict_proba(X_new)
    far = clone(CLASSIFIERS[name]).fit(X + FAR, labels).predict_proba(X_new + FAR)
    assert_allclose(far, near, atol=1e-6)


def test_a_year_among_standardised_columns():
    rng = np.random.default_rng(0)
    year = rng.integers(1990, 2020, 260).astype(float)
    X = np.c_[year, rng.standard_normal((260, 4))]
    f = np.sin((year - 1990) / 4) + X[:, 1]
    y = f + 0.1 * rng.standard_normal(260)
    for model in (AdaptiveKernelRegressor(), AdaptiveKernelRegressorCV(widths=(1,))):
        assert r2(model.fit(X[:200], y[:200]), X[200:], f[200:]) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nngp", "deep", "diag", "full", "search"])
def test_constant_columns_change_nothing(name, friedman):
    X, y, X_new = friedman

    def wider(rows):
        constant = np.broadcast_to([0.1, -3e5, 0.0], (len(rows), 3))
        return np.hstack([constant[:, :1], rows, constant[:, 1:]])

    expected = clone(REGRESSORS[name]).fit(X, y).predict(X_new)
    actual = clone(REGRESSORS[name]).fit(wider(X), y).predict(wider(X_new))
    assert_allclose(actual, expected, atol=2e-3 * np.std(y))


def test_with_fixed_parameters_nothing_moves(friedman):
    X, y, X_new = friedman
    kernel = NNGP("erf", weight_variance=3.0)
    model = NNGPRegressor(kernel, alpha=0.1, optimizer=None).fit(X + 1, y)
    assert model.kernel_ == kernel and model.kernel_.origin is None
    K = kernel(X + 1) + 0.1 * np.eye(100)
    expected = kernel(X_new + 1, X + 1) @ np.linalg.solve(K, (y - y.mean()) / y.std())
    assert_allclose(model.predict(X_new + 1), y.mean() + y.std() * expected, rtol=1e-8)


@pytest.mark.parametrize("name", ["nngp", "deep", "diag", "full"])
def test_fitted_kernel_counts_from_the_mean(name, friedman):
    X, y, X_new = friedman
    model = clone(REGRESSORS[name]).fit(X + 5, y)
    assert_allclose(model.kernel_.origin, np.mean(X + 5, axis=0), rtol=1e-12)
    mean = model.kernel_(X_new + 5, model.X_train_) @ model.dual_coef_[:, 0]
    assert_allclose(y.mean() + y.std() * mean, model.predict(X_new + 5), rtol=1e-8)


def test_origin_of_a_given_kernel_stays(friedman):
    X, y, _ = friedman
    origin = np.arange(6.0)
    model = NNGPRegressor(NNGP("erf", origin=origin)).fit(X, y)
    assert_array_equal(model.kernel_.origin, origin)


@pytest.mark.parametrize("kernel", [NNGP, NTK])
@pytest.mark.parametrize("metric", [None, [1.0, 2.0], [[2.0, 1.0], [1.0, 3.0]]])
def test_kernel_with_an_origin_is_that_of_shifted_inputs(kernel, metric):
    rng = np.random.default_rng(0)
    X, Z, origin = rng.standard_normal((5, 2)), rng.standard_normal((3, 2)), [1.0, -2.0]
    moved, plain = (
        kernel("erf", metric=metric, origin=origin),
        kernel("erf", metric=metric),
    )
    assert_allclose(moved(X, Z), plain(X - origin, Z - origin), rtol=1e-12)
    assert_allclose(moved.diag(X), plain.diag(X - origin), rtol=1e-12)
    for actual, expected in zip(
        moved(X, eval_gradient=True), plain(X - origin, eval_gradient=True), strict=True
    ):
        assert_allclose(actual, expected, rtol=1e-10)
    assert clone(moved) == moved != plain and "origin" in repr(moved)
    assert_array_equal(moved.theta, plain.theta)


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ([1.0], r"origin has shape \(1,\), but X has 2 features"),
        ([1.0, np.nan], "origin must be finite"),
        (["a", "b"], "origin must hold numbers"),
    ],
)
def test_unusable_origins(origin, message):
    with pytest.raises(ValueError, match=message):
        NNGP("erf", origin=origin)(np.ones((3, 2)))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_theory_and_samplers_know_the_origin():
    rng = np.random.default_rng(0)
    X, origin = rng.standard_normal((8, 3)), np.array([1.0, 2.0, 3.0])
    y = X[:, 0]
    moved, plain = NNGP("identity", origin=origin), NNGP("identity")
    found = [
        gaussian_adaptation(kernel, rows, y, noise=0.1, width=5)
        for kernel, rows in ((moved, X + origin), (plain, X))
    ]
    means = [f.posterior.mean(r) for f, r in zip(found, (X + origin, X), strict=True)]
    assert_allclose(*means, rtol=1e-8)
    options = {"alpha": 0.1, "width": 4, "random_state": 0}
    options |= {"n_chains": 2, "n_warmup": 5, "n_samples": 5}
    draws = [
        sample_linear_network(kernel, rows, y, **options)
        for kernel, rows in ((moved, X + origin), (plain, X))
    ]
    assert_allclose(draws[0].train, draws[1].train, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["y", "X", "both"])
def test_rounding_of_the_input_does_not_choose_the_model(change):
    X, y, X_new, _ = sine_and_product(120, 8, 0)
    search = AdaptiveKernelRegressorCV(widths=(0.1, 1, np.inf))
    expected = clone(search).fit(X, y).predict(X_new)
    eps = 1 + 4 * np.finfo(float).eps
    if change != "X":
        y = eps * y
    if change != "y":
        X = X + 2e-15 * np.random.default_rng(0).standard_normal(X.shape)
    actual = search.fit(X, y).predict(X_new)
    assert_allclose(actual, expected, atol=1e-6 * np.std(y))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_search_finds_few_of_many_features(seed):
    X, y, X_test, f = sine_and_product(260, 30, seed)
    search = AdaptiveKernelRegressorCV(covariance_types=("diag",)).fit(X, y)
    assert r2(search, X_test, f) > 0.97
    assert set(np.argsort(-search.feature_importances_)[:3]) == {0, 1, 2}


def test_single_fit_finds_two_of_a_hundred():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((700, 100))
    f = np.sin(3 * X[:, 0]) + np.sin(2 * X[:, 1])
    y = f + 0.1 * rng.standard_normal(700)
    model = AdaptiveKernelRegressor().fit(X[:300], y[:300])
    assert r2(model, X[300:], f[300:]) > 0.9


@pytest.mark.slow
def test_classifier_finds_a_product_far_from_zero():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((800, 20))
    y = X[:, 0] * X[:, 1] > 0
    for model in (
        AdaptiveKernelClassifier(),
        AdaptiveKernelClassifierCV(widths=(1, 10)),
    ):
        assert model.fit(X[:400] + 100, y[:400]).score(X[400:] + 100, y[400:]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sines", "index"])
def test_class_search_sees_what_shows_at_small_widths_only(target):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((900, 20 if target == "sines" else 8))
    if target == "sines":
        f = np.sin(3 * X[:, 0]) + np.sin(2 * X[:, 1])
    else:
        f = np.sin(3 * X @ np.ones(8) / 8**0.5)
    search = AdaptiveKernelClassifierCV(kernels=[NNGP("erf")])
    assert search.fit(X[:400], f[:400] > 0).score(X[400:], f[400:] > 0) > 0.85


def test_relevance_ranks_single_features_and_pairs():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 12))
    y = np.sin(4 * X[:, 3]) + X[:, 5] * X[:, 8]
    found = measure_relevance(Data(X, y[:, None]))
    forest, moments, both, leading = (family[0] for family in found.families)
    assert np.argmax(forest) == 3
    assert set(np.argsort(-moments)[:2]) == {5, 8}
    assert set(np.argsort(-both)[:3]) == {3, 5, 8}
    assert found.explained > 0.1
    # Every metric has mean one, up to its least entry.
    assert_allclose([np.mean(r**2) for r in (forest, both)], 1, atol=0.02)


def test_moments_are_squared_correlations_above_chance():
    rng = np.random.default_rng(0)
    X = np.clip(rng.standard_normal((200, 3)), -CLIP, CLIP)
    Y = (X[:, 0] * X[:, 1] + X[:, 2])[:, None]
    expected = np.zeros(3)
    for j in range(3):
        correlation = np.mean(X[:, j] * Y[:, 0])
        expected[j] += max(correlation**2 - 2 * np.log(3) / 200, 0)
        for k in range(3):
            pair = np.mean(X[:, j] * X[:, k] * Y[:, 0]) / (2**0.5 if j == k else 1)
            expected[j] += max(pair**2 - 4 * np.log(3) / 200, 0)
    assert_allclose(_moments(X, Y, None), expected, rtol=1e-12)
    assert_allclose(_moments(X, Y, np.full(200, 3.0)), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(20, 2), (60, 1), (60, 30), (400, 5)])
def test_a_forest_explains_no_noise(shape):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        data = Data(rng.standard_normal(shape), rng.standard_normal((shape[0], 1)))
        assert measure_relevance(data).explained == 0


@pytest.mark.parametrize(
    "data",
    [
        Data(np.ones((10, 3)), np.arange(10.0)[:, None]),
        Data(np.arange(20.0).reshape(10, 2), np.ones((10, 1))),
        Data(np.arange(6.0).reshape(3, 2), np.arange(3.0)[:, None]),
    ],
    ids=["constant X", "constant y", "three rows"],
)
def test_nothing_is_said_of_what_does_not_vary(data):
    found = measure_relevance(data)
    assert found.families == () and found.explained == 0


def test_a_fit_that_missed_structure_says_so():
    X, y, _, _ = sine_and_product(400, 30, 0)
    with pytest.warns(ConvergenceWarning, match=r"% of y's variance for noise, but"):
        NNGPRegressor().fit(X, y)


@pytest.mark.parametrize("name", ["nngp", "diag", "search"])
def test_noise_is_no_discovery_and_no_warning(name):
    rng = np.random.default_rng(0)
    X, y, X_new = (
        rng.standard_normal((150, 8)),
        rng.standard_normal(150),
        rng.standard_normal((200, 8)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = clone(REGRESSORS[name]).fit(X, y)
    assert np.std(model.predict(X_new)) < 0.5


@pytest.mark.parametrize(
    ("share", "explained", "warned"),
    [(1.0, 0.3, True), (0.95, 0.3, True), (0.5, 0.3, False), (1.2, 0.0, False)],
)
def test_when_a_fit_is_said_to_have_missed(share, explained, warned):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_missed(share, explained)
    assert bool(caught) == warned


def test_inducing_points_do_not_take_for_noise_what_an_exact_fit_finds():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1500, 2))
    W = 4 * rng.standard_normal((40, 2))
    f = np.cos(X @ W.T + rng.uniform(0, 6, 40)) @ rng.standard_normal(40)
    f /= np.std(f)
    y = f + 0.3 * rng.standard_normal(1500)
    few = NNGPRegressor(n_inducing=50)
    with pytest.warns(ConvergenceWarning, match="n_inducing=50.*exact fit is kept"):
        few.fit(X[:1000], y[:1000])
    exact = NNGPRegressor().fit(X[:400], y[:400])
    # Weight variances are squared frequencies.
    ratio = few.kernel_.weight_variance / exact.kernel_.weight_variance
    assert 0.25 < ratio < 4
    assert 0.2 < r2(few, X[1000:], f[1000:]) < r2(exact, X[1000:], f[1000:])


def solution(value):
    point = Hyperparameters(NNGP("erf").network(), 0.1)
    return Solution(point, value, True, 1, 0.0)


def test_folds_that_found_much_less_are_explored_again():
    paths_search = WidthPathSearch({}, None, [], None, None)
    gains = (100.0, 90.0, 3.0, 0.0)
    paths_search.paths["pair"] = [
        Path(widths=WidthPath(solution(0.0), 100.0, points={0.1: solution(gain)}))
        for gain in gains
    ]
    jobs = [("pair", i) for i in range(4)]
    assert paths_search._missed(jobs) == [("pair", 2), ("pair", 3)]
    for path, gain in zip(
        paths_search.paths["pair"], (15.0, 9.0, 3.0, 0.0), strict=True
    ):
        path.widths.points[0.1] = solution(gain)
    assert paths_search._missed(jobs) == []


def test_the_optimizer_ends_no_lower_than_it_starts():
    """Where steps lead to kernel matrices that cannot be factorised."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.standard_normal((20, 3)), 2, axis=0)
    data = Data(X, np.sin(X[:, :1]))
    template = Hyperparameters(NNGP("erf").network(), 1e-5)
    bounds = {"weight_variance": (1e-5, 1e5), "alpha": (1e-16, 1.0)}
    problem = EvidenceProblem(
        data, template, bounds, width=1.0, covariance_type="diag", max_iter=100
    )
    start = natural_start(problem, 1e-9)
    first = maximize_evidence(problem, start, max_iter=1)
    last = maximize_evidence(problem, start, curvature=1e-9 * np.eye(5))
    assert last.value >= first.value - 1e-6
