"""Displays: what is drawn is what the estimators found."""

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptive_kernels import AdaptiveKernelRegressorCV
from adaptive_kernels.inspection import (
    FeatureImportancesDisplay,
    PredictionIntervalDisplay,
    WidthPathDisplay,
)
from adaptive_kernels.kernels import NNGP


class Kernel:
    def __init__(self, activation, depth=1):
        self.activation = activation
        self.depth = depth


class FittedSearch(BaseEstimator):
    """What a display reads of a search: (kernel, type, width, scaling, scores)."""

    def __init__(self, candidates, scoring=None):
        self.candidates = candidates
        self.scoring = scoring
        columns = list(zip(*candidates, strict=True))
        names = ("kernel", "covariance_type", "width", "scaling")
        self.cv_results_ = {
            f"param_{name}": np.ma.array(column, dtype=object)
            for name, column in zip(names, columns[:4], strict=True)
        }
        scores = np.array(columns[4])
        for i, split in enumerate(scores.T):
            self.cv_results_[f"split{i}_test_score"] = split
        self.cv_results_["mean_test_score"] = scores.mean(axis=1)
        self.cv_results_["std_test_score"] = scores.std(axis=1)

    def fit(self, X, y):
        return self


ERF, RELU = Kernel("erf"), Kernel("relu", depth=2)
CANDIDATES = [
    (ERF, "diag", np.inf, 1.0, [-0.9, -1.1]),
    (ERF, "diag", 10.0, 1.0, [-0.5, -0.7]),
    (ERF, "diag", 1.0, 1.0, [-0.6, -0.8]),
    (ERF, "diag", 1.0, 10.0, [-0.3, -0.4]),
    (ERF, "full", 10.0, 1.0, [-0.8, -0.9]),
    (RELU, "diag", np.inf, 1.0, [-0.7, -0.8]),
    (RELU, "diag", 10.0, 1.0, [np.nan, np.nan]),
]


@pytest.fixture
def ax():
    return Figure().subplots()


def test_width_paths_hold_means_and_standard_errors(ax):
    display = WidthPathDisplay.from_estimator(FittedSearch(CANDIDATES), ax=ax)
    paths = display.paths
    assert list(paths) == [
        ("erf", "diag"),
        ("erf", "full"),
        ("relu, depth 2", "diag"),
    ]
    assert_allclose(
        paths["erf", "diag"],
        [
            [1, -0.35, 0.05 / np.sqrt(2)],
            [10, -0.6, 0.1 / np.sqrt(2)],
            [np.inf, -1.0, 0.1 / np.sqrt(2)],
        ],
    )
    assert_allclose(paths["erf", "full"][:, :2], [[10, -0.85]])
    assert_allclose(paths["relu, depth 2", "diag"][:, :2], [[np.inf, -0.75]])


def test_kernels_that_differ_otherwise_have_full_names(ax):
    candidates = [
        (NNGP("erf", bias_variance=bias), "diag", 1.0, 1.0, [-bias, -bias])
        for bias in (0.1, 0.2)
    ]
    paths = WidthPathDisplay.from_estimator(FittedSearch(candidates), ax=ax).paths
    assert len(paths) == 2


def test_width_path_draws_infinity_at_the_right_end(ax):
    display = WidthPathDisplay.from_estimator(FittedSearch(CANDIDATES), ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert len(display.errorbar_) == 3
    line = display.errorbar_[0].lines[0]
    assert_allclose(line.get_xdata(), [1, 10, 100])
    assert_allclose(line.get_ydata(), [-0.35, -0.6, -1.0])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "10", "∞"]
    assert_allclose(display.best_.get_xydata(), [[1, -0.35]])
    assert ax.get_ylabel() == "predictive log density"


@pytest.mark.parametrize(("scoring", "label"), [("r2", "r2"), (max, "score")])
def test_width_path_names_the_score(ax, scoring, label):
    search = FittedSearch(CANDIDATES, scoring)
    WidthPathDisplay.from_estimator(search, ax=ax)
    assert ax.get_ylabel() == label


def test_many_widths_are_labelled_by_decades(ax):
    widths = np.append(np.logspace(-1, 3, 13), np.inf)
    path = np.column_stack([widths, -np.abs(np.arange(14) - 5.0), np.ones(14)])
    WidthPathDisplay(paths={("erf", "diag"): path}).plot(ax)
    labels = [t.get_text() for t in ax.get_xticklabels()]
    assert labels == ["0.1", "1", "10", "100", "1000", "∞"]


def test_importances_are_sorted_and_named_by_the_pipeline(ax):
    X = pd.DataFrame(np.eye(4), columns=["a", "b", "a very long name " * 4, "$d$"])
    model = Ridge().fit(X, np.arange(4.0))
    model.feature_importances_ = np.array([0.1, 0.4, 0.2, 0.3])
    pipeline = make_pipeline(StandardScaler().fit(X), model)
    display = FeatureImportancesDisplay.from_estimator(pipeline, ax=ax)
    labels = [t.get_text() for t in ax.get_yticklabels()]
    assert labels[0] == "b" and labels[1] == "$d$" and labels[3] == "a"
    assert labels[2].endswith("…") and len(labels[2]) == 32
    assert_allclose([bar.get_width() for bar in display.bar_], [0.4, 0.3, 0.2, 0.1])
    assert display.figure_ is ax.figure
    ax.figure.canvas.draw()


def test_importances_without_names_are_numbered(ax):
    model = Ridge().fit(np.eye(20), np.arange(20.0))
    model.feature_importances_ = np.arange(20) / 190
    display = FeatureImportancesDisplay.from_estimator(model, ax=ax)
    assert len(display.bar_) == 12
    assert ax.get_yticklabels()[0].get_text() == "x19"
    assert len(display.plot(Figure().subplots(), max_features=3).bar_) == 3


def test_importances_of_a_frame_carry_its_columns(ax):
    model = Ridge().fit(pd.DataFrame(np.eye(2), columns=["p", "q"]), [0, 1])
    model.feature_importances_ = np.array([0.2, 0.8])
    FeatureImportancesDisplay.from_estimator(model, ax=ax)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["q", "p"]


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_count_what_they_hold(ax, level):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    y = X[:, 0] + 0.5 * rng.normal(size=80)
    model = GaussianProcessRegressor(RBF() + WhiteKernel()).fit(X[:40], y[:40])
    display = PredictionIntervalDisplay.from_estimator(
        make_pipeline(StandardScaler(), model).fit(X[:40], y[:40]),
        X[40:],
        y[40:],
        level=level,
        ax=ax,
    )
    drawn = {name: len(bar.lines[0].get_xdata()) for name, bar in _bars(display)}
    assert drawn["inside"] + drawn["outside"] == 40
    assert display.coverage_ == drawn["inside"] / 40
    assert abs(display.coverage_ - level) < 0.2


def _bars(display):
    return display.errorbar_.items()


def test_interval_has_the_normal_half_width(ax):
    y_pred = [0.0, 0.0, 0.0]
    y_true = [1.6, 1.7, -1.7]
    display = PredictionIntervalDisplay(y_true=y_true, y_pred=y_pred, y_std=[1, 1, 2])
    assert display.plot(ax) is display
    assert_allclose(display.errorbar_["outside"].lines[0].get_xdata(), [1.7])
    assert_allclose(display.line_.get_xydata(), [[-1.7, -1.7], [1.7, 1.7]])
    (bars,) = display.errorbar_["outside"].lines[2]
    assert_allclose(bars.get_segments()[0][:, 1], [-1.6449, 1.6449], atol=1e-4)


def test_displays_open_a_figure_of_their_own():
    display = FeatureImportancesDisplay(importances=[1.0], feature_names=["a"]).plot()
    assert display.figure_.axes == [display.ax_]


def test_wrong_estimators_are_named():
    with pytest.raises(TypeError, match="Ridge has no `cv_results_`"):
        WidthPathDisplay.from_estimator(Ridge().fit([[0], [1]], [0, 1]))
    with pytest.raises(NotFittedError):
        FeatureImportancesDisplay.from_estimator(Ridge())


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    display = FeatureImportancesDisplay(importances=[1.0], feature_names=["a"])
    with pytest.raises(ImportError, match=r"adaptive_kernels\[demo\]"):
        display.plot()


def test_displays_read_a_fitted_search(ax):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    y = np.sin(2 * X[:, 0]) + 0.1 * rng.normal(size=30)
    search = AdaptiveKernelRegressorCV(
        widths=(10.0, np.inf), covariance_types=("diag",), cv=2
    ).fit(X, y)
    paths = WidthPathDisplay.from_estimator(search, ax=ax).paths
    assert {kind for _, kind in paths} == {"diag"}
    best = max(path[:, 1].max() for path in paths.values())
    assert_allclose(best, search.cv_results_["mean_test_score"].max())
    figure = Figure()
    names = FeatureImportancesDisplay.from_estimator(search, ax=figure.subplots())
    assert names.feature_names == ["x0", "x1"]
    shown = PredictionIntervalDisplay.from_estimator(search, X, y, ax=figure.subplots())
    assert shown.coverage_ > 0.5
