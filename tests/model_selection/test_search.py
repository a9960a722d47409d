"""AdaptiveKernelRegressorCV against GridSearchCV and an independent loop over folds."""

import pickle
import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptive_kernels import AdaptiveKernelRegressor, AdaptiveKernelRegressorCV
from adaptive_kernels._arrays import memory
from adaptive_kernels.kernels import NNGP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((36, 3))
Y2 = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], X[:, 0] * X[:, 1]], axis=1)
Y2 += 0.1 * RNG.standard_normal((36, 2))
Y1 = Y2[:, 0]
WEIGHTS = RNG.uniform(0.2, 3, 36)
NAMES = ("kernel", "covariance_type", "width", "scaling")
ERF, RELU = NNGP("erf"), NNGP("relu")
FOLDS = KFold(3)


def search(**parameters):
    small = {"kernels": [ERF], "widths": (1, 30), "covariance_types": ("diag",)}
    return AdaptiveKernelRegressorCV(**(small | {"cv": FOLDS} | parameters))


def log_density(model, rows, targets, weights=None):
    mean, std = model.predict(rows, return_std=True)
    density = norm.logpdf(targets, mean, std)
    density = density.sum(axis=1) if density.ndim == 2 else density
    return np.average(density, weights=weights)


def negative_rmse(model, rows, targets, weights=None):
    return -root_mean_squared_error(targets, model.predict(rows), sample_weight=weights)


def fold_scores(model, y, weights=None, score=log_density, folds=FOLDS):
    scores = []
    for train, test in folds.split(X):
        w = [None if weights is None else weights[rows] for rows in (train, test)]
        fitted = clone(model).fit(X[train], y[train], w[0])
        scores.append(score(fitted, X[test], y[test], w[1]))
    return scores


def splits(fitted, index):
    return [fitted.cv_results_[f"split{i}_test_score"][index] for i in range(3)]


def index_of(fitted, **parameters):
    for i, candidate in enumerate(fitted.cv_results_["params"]):
        if all(candidate[name] == value for name, value in parameters.items()):
            return i
    raise LookupError(parameters)


@pytest.fixture(scope="module")
def grid():
    return search(
        kernels=[ERF, RELU],
        covariance_types=("diag", "full"),
        widths=(1, 30, np.inf),
        scalings=(1.0, 10.0),
    ).fit(X, Y1)


def test_default_grid():
    fitted = AdaptiveKernelRegressorCV().fit(X[:, :2], Y1)
    assert fitted.n_splits_ == 5
    candidates = [
        (p["kernel"].activation, p["covariance_type"], p["width"])
        for p in fitted.cv_results_["params"]
    ]
    finite = product(("erf",), ("diag", "full"), (0.1, 1, 10, 100))
    assert sorted(candidates) == sorted([*finite, ("erf", "diag", np.inf)])
    error = np.sqrt(np.mean((fitted.predict(X[:, :2]) - Y1) ** 2))
    # A signal of unit variance with noise 0.1.
    assert error < 0.3


def test_results_have_the_format_of_grid_search(grid):
    theirs = GridSearchCV(
        AdaptiveKernelRegressor(width=30),
        {"kernel": [ERF], "covariance_type": ["diag"], "width": [30], "scaling": [1]},
        cv=3,
    ).fit(X, Y1)
    assert set(grid.cv_results_) == set(theirs.cv_results_)
    for name, expected in theirs.cv_results_.items():
        actual = grid.cv_results_[name]
        assert type(actual) is type(expected)
        assert len(actual) == len(grid.cv_results_["params"])
        # GridSearchCV gives parameters arrays of their own type where it can.
        if not name.startswith("param"):
            assert actual.dtype == expected.dtype


def test_results_agree_with_each_other(grid):
    results = grid.cv_results_
    scores = np.array([results[f"split{i}_test_score"] for i in range(3)])
    assert_allclose(results["mean_test_score"], scores.mean(axis=0))
    assert_allclose(results["std_test_score"], scores.std(axis=0))
    for mean, rank in zip(
        results["mean_test_score"], results["rank_test_score"], strict=True
    ):
        assert rank == 1 + np.sum(results["mean_test_score"] > mean)
    for i, candidate in enumerate(results["params"]):
        assert tuple(candidate) == NAMES
        assert all(results[f"param_{k}"][i] == v for k, v in candidate.items())


def test_best_is_the_first_in_rank(grid):
    assert grid.cv_results_["rank_test_score"][grid.best_index_] == 1
    assert grid.best_params_ == grid.cv_results_["params"][grid.best_index_]
    assert grid.best_score_ == max(grid.cv_results_["mean_test_score"])
    best = grid.best_estimator_.get_params(deep=False)
    assert {name: best[name] for name in NAMES} == grid.best_params_


def test_leading_pair_is_evaluated_on_the_whole_grid(grid):
    """Every kernel and type is seen, and all of one pair's widths and scalings."""
    candidates = [tuple(p.values()) for p in grid.cv_results_["params"]]
    assert len(set(map(str, candidates))) == len(candidates)
    pairs = {(str(k), kind) for k, kind, _, _ in candidates}
    assert {k for k, _ in pairs} == {str(ERF), str(RELU)}
    assert {kind for _, kind in pairs} == {"diag", "full"}
    best = (str(grid.best_params_["kernel"]), grid.best_params_["covariance_type"])
    points = {
        (w, s)
        for k, kind, w, s in candidates
        # At infinite width the first type stands for all.
        if (str(k), kind) == (best[0], "diag" if np.isinf(w) else best[1])
    }
    assert points == {(w, s) for w in (1, 30, np.inf) for s in (1, 10)}


def test_every_value_changes_the_score(grid):
    scores = {}
    for candidate, mean in zip(
        grid.cv_results_["params"], grid.cv_results_["mean_test_score"], strict=True
    ):
        scores[str(candidate)] = mean
    assert len(set(np.round(list(scores.values()), 6))) == len(scores)


@pytest.mark.parametrize("covariance_type, width", [("diag", 1), ("full", 30)])
@pytest.mark.parametrize("outputs", [1, 2])
def test_score_equals_an_independent_loop(covariance_type, width, outputs):
    y = Y1 if outputs == 1 else Y2
    common = {"max_iter": 1000, "tol": 1e-3}
    fitted = search(
        covariance_types=(covariance_type,), widths=(width, 300), **common
    ).fit(X, y)
    model = AdaptiveKernelRegressor(
        ERF, covariance_type=covariance_type, width=width, **common
    )
    actual = splits(fitted, index_of(fitted, width=width))
    # Different starts, the same optimum: to 1e-2 in log density.
    assert_allclose(actual, fold_scores(model, y), atol=1e-2)


@pytest.mark.parametrize("scaling", [1, 10])
def test_infinite_width_equals_an_independent_loop(scaling):
    fitted = search(widths=(np.inf,), scalings=(1, 10)).fit(X, Y1)
    model = AdaptiveKernelRegressor(ERF, width=np.inf, scaling=scaling)
    actual = splits(fitted, index_of(fitted, scaling=scaling))
    assert_allclose(actual, fold_scores(model, Y1), rtol=1e-10)


@pytest.mark.parametrize(
    "scoring, score",
    [(None, log_density), ("neg_root_mean_squared_error", negative_rmse)],
)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_scoring_and_weights(scoring, score, weights):
    fitted = search(widths=(np.inf,), scoring=scoring).fit(X, Y1, weights)
    model = AdaptiveKernelRegressor(ERF, width=np.inf)
    expected = fold_scores(model, Y1, weights, score)
    assert_allclose(splits(fitted, 0), expected, rtol=1e-10)


def test_callable_scoring():
    fitted = search(widths=(np.inf,), scoring=log_density).fit(X, Y1)
    assert_allclose(fitted.best_score_, search(widths=(np.inf,)).fit(X, Y1).best_score_)


def test_approximation_is_passed_on():
    fitted = search(approximation="rescaling", widths=(5,)).fit(X, Y1)
    model = AdaptiveKernelRegressor(ERF, width=5, approximation="rescaling")
    assert_allclose(splits(fitted, 0), fold_scores(model, Y1), rtol=1e-10)


def shuffled(seed):
    return KFold(3, shuffle=True, random_state=seed)


@pytest.mark.parametrize(
    "parameters, folds",
    [
        ({"cv": ShuffleSplit(3, random_state=1)}, ShuffleSplit(3, random_state=1)),
        ({"cv": list(FOLDS.split(X))}, FOLDS),
        ({"cv": 3}, shuffled(0)),
        ({"cv": 3, "random_state": 5}, shuffled(5)),
    ],
    ids=["splitter", "list", "number", "number and seed"],
)
def test_folds(parameters, folds):
    fitted = search(widths=(np.inf,), **parameters).fit(X, Y1)
    model = AdaptiveKernelRegressor(ERF, width=np.inf)
    expected = fold_scores(model, Y1, folds=folds)
    assert_allclose(splits(fitted, 0), expected, rtol=1e-10)


@pytest.mark.slow
def test_parallel_jobs_give_the_same():
    one, two = (
        search(covariance_types=("diag", "full"), n_jobs=n).fit(X, Y1) for n in (1, 2)
    )
    for name in ("mean_test_score", "rank_test_score"):
        assert_array_equal(one.cv_results_[name], two.cv_results_[name])
    assert_array_equal(one.predict(X), two.predict(X))


def test_another_score_leaves_all_to_the_best_estimator():
    fitted = search(scoring="r2").fit(X, Y1)
    best = fitted.best_estimator_
    assert_array_equal(fitted.predict(X), best.predict(X))
    for option in ("return_std", "return_cov"):
        pairs = zip(
            fitted.predict(X, **{option: True}),
            best.predict(X, **{option: True}),
            strict=True,
        )
        for actual, expected in pairs:
            assert_array_equal(actual, expected)
    assert_array_equal(fitted.sample_y(X, 2), best.sample_y(X, 2))
    assert_array_equal(fitted.feature_importances_, best.feature_importances_)
    assert fitted.score(X, Y1) == best.score(X, Y1)


def test_metric_is_that_of_the_best_estimator(grid):
    assert_array_equal(grid.transform(X), grid.best_estimator_.transform(X))


def test_refit_sees_all_rows():
    common = {"max_iter": 1000, "tol": 1e-3}
    fitted = search(widths=(3,), **common).fit(X, Y1)
    alone = AdaptiveKernelRegressor(ERF, width=3, **common).fit(X, Y1)
    assert len(fitted.best_estimator_.X_train_) == 36
    # The same optimum from another start.
    expected = alone.predict(X, return_std=True)
    actual = fitted.predict(X, return_std=True)
    assert_allclose(actual, expected, atol=1e-2 * np.std(Y1))


def test_pickle_and_clone(grid):
    loaded = pickle.loads(pickle.dumps(grid))
    assert_array_equal(loaded.predict(X), grid.predict(X))
    assert not hasattr(clone(grid), "best_params_")


def test_names_of_a_data_frame():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    fitted = search(widths=(30,)).set_output(transform="pandas").fit(frame, Y1)
    assert list(fitted.feature_names_in_) == ["a", "b", "c"]
    names = [f"adaptivekernelregressorcv{i}" for i in range(3)]
    assert list(fitted.transform(frame).columns) == names
    assert_array_equal(
        fitted.predict(frame), search(widths=(30,)).fit(X, Y1).predict(X)
    )


def test_short_fits_are_judged_by_their_score_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        short = search(
            covariance_types=("full",), scalings=(1, 10), max_iter=1, tol=1e-9
        ).fit(X, Y1)
    assert not short.best_estimator_.converged_


def test_failed_fit_leaves_a_fitted_search_unchanged():
    fitted = search(widths=(30,)).fit(X, Y1)
    before = dict(vars(fitted))
    with pytest.raises(ValueError, match="NaN"):
        fitted.fit(X[:, :2], np.full(36, np.nan))
    assert vars(fitted) == before


@pytest.fixture
def no_fit(monkeypatch):
    def fail(*args, **kwargs):
        raise AssertionError("fitted before the grids were checked")

    monkeypatch.setattr(AdaptiveKernelRegressor, "_fit", fail)
    monkeypatch.setattr(AdaptiveKernelRegressor, "_start_path", fail)
    monkeypatch.setattr(AdaptiveKernelRegressor, "_fit_path", fail)


BAD_GRIDS = [
    ("kernels", []),
    ("kernels", ["erf"]),
    ("kernels", [None, 3]),
    ("covariance_types", ()),
    ("covariance_types", ("diag", "spherical")),
    ("covariance_types", "diag"),
    ("widths", ()),
    ("widths", (1, -1)),
    ("widths", (0,)),
    ("widths", ("1",)),
    ("widths", (np.nan,)),
    ("scalings", ()),
    ("scalings", (0,)),
    ("scalings", (1, np.inf)),
    ("scalings", (-2,)),
]


@pytest.mark.usefixtures("no_fit")
@pytest.mark.parametrize("name, values", BAD_GRIDS)
def test_bad_grid_is_refused_before_any_fit(name, values):
    with pytest.raises((ValueError, TypeError), match=name):
        search(**{name: values}).fit(X, Y1)


@pytest.mark.usefixtures("no_fit")
@pytest.mark.parametrize(
    "parameters",
    [
        {"cv": 100},
        {"cv": 1},
        {"scoring": "no_such_score"},
        {"alpha": -1},
        {"max_iter": 0},
    ],
    ids=str,
)
def test_bad_parameter_is_refused_before_any_fit(parameters):
    with pytest.raises(ValueError, match="n_splits|no_such_score|alpha|max_iter"):
        search(**parameters).fit(X, Y1)


@pytest.mark.slow
def test_grid_search_over_a_pipeline_sees_every_value():
    parameters = {
        "width": [1, 100],
        "scaling": [1, 10],
        "covariance_type": ["diag", "full"],
        "kernel": [ERF, RELU],
    }
    theirs = GridSearchCV(
        make_pipeline(StandardScaler(), AdaptiveKernelRegressor()),
        {f"adaptivekernelregressor__{k}": v for k, v in parameters.items()},
        cv=2,
        error_score="raise",
    ).fit(X, Y1)
    scores = theirs.cv_results_["mean_test_score"]
    assert len(scores) == len(set(np.round(scores, 8))) == 16


def test_memory_is_checked_before_any_fold(no_fit, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda like: 1000)
    with pytest.raises(MemoryError, match="n_inducing"):
        search().fit(X, Y1)
