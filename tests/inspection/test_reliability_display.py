"""ReliabilityDisplay: coverage and calibration of any scikit-learn estimator."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binomtest, norm
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from adaptive_kernels import AdaptiveKernelClassifier, NNGPRegressor
from adaptive_kernels.inspection import ReliabilityDisplay

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 2))
Y = np.sin(2 * X[:, 0]) + 0.3 * RNG.normal(size=120)
Y2 = np.stack([Y, 50 + 9 * X[:, 1] + RNG.normal(size=120)], axis=1)
LABELS = np.array(["oak", "ash", "elm"])[np.digitize(Y, [-0.5, 0.5])]
TRAIN, TEST = slice(0, 60), slice(60, 120)
LEVELS = np.arange(1, 100) / 100


pytestmark = pytest.mark.usefixtures("closed_figures")


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def coverage(y, mean, std, level):
    """Share of observations between the quantiles of their predictive normals."""
    low = norm.ppf((1 - level) / 2, mean, std)
    high = norm.ppf((1 + level) / 2, mean, std)
    return np.mean((low <= y) & (y <= high), axis=0)


def gp():
    return GaussianProcessRegressor(RBF() + WhiteKernel(0.1), normalize_y=True)


REGRESSORS = [
    gp(),
    BayesianRidge(),
    NNGPRegressor(),
    make_pipeline(StandardScaler(), NNGPRegressor()),
    make_pipeline(StandardScaler(), gp()),
]


@pytest.mark.parametrize("model", REGRESSORS, ids=str)
def test_curve_is_the_coverage_at_every_level(model, ax):
    model.fit(X[TRAIN], Y[TRAIN])
    display = ReliabilityDisplay.from_estimator(model, X[TEST], Y[TEST], ax=ax)
    mean, std = model.predict(X[TEST], return_std=True)
    expected = [coverage(Y[TEST], mean, std, level) for level in LEVELS]
    assert_allclose(display.nominal_, LEVELS)
    assert_allclose(display.observed_, expected)
    assert isinstance(display.coverage_, float)
    assert_allclose(display.coverage_, expected[89])
    (line,) = display.lines_
    assert_allclose(line.get_xydata(), np.transpose([LEVELS, expected]))
    assert line.get_markevery() == [89]
    assert display.calibration_error_ is display.sampling_error_ is None
    assert display.errorbar_ is None
    assert display.ax_ is ax and display.figure_ is ax.figure


@pytest.mark.parametrize("model", [gp(), NNGPRegressor()], ids=str)
def test_several_outputs_have_a_curve_each(model, ax):
    model.fit(X[TRAIN], Y2[TRAIN])
    display = ReliabilityDisplay.from_estimator(model, X[TEST], Y2[TEST], ax=ax)
    mean, std = model.predict(X[TEST], return_std=True)
    expected = [coverage(Y2[TEST], mean, std, level) for level in LEVELS]
    assert_allclose(display.observed_, expected)
    assert_allclose(display.coverage_, expected[89])
    assert [len(display.lines_), len(legend(ax))] == [2, 3]
    for c, line in enumerate(display.lines_):
        assert_allclose(line.get_ydata(), np.transpose(expected)[c])
        share = f"{expected[89][c]:.0%}"
        name = type(model).__name__
        assert line.get_label() == f"{name}: output {c}, 90% intervals hold {share}"
    assert len({line.get_color() for line in display.lines_}) == 2


def test_a_calibrated_model_stays_in_the_band_and_others_leave_it():
    """Four standard errors at one level: missed once in 15 000 seeds."""
    noise = np.random.default_rng(1).normal(size=4000)
    for factor, inside in ((1.0, True), (0.8, False), (1.25, False)):
        std = np.full(4000, factor)
        display = ReliabilityDisplay.from_predictions(noise, 0 * noise, y_std=std)
        error = np.sqrt(0.9 * 0.1 / 4000)
        assert (abs(display.coverage_ - 0.9) < 4 * error) == inside
        truth = norm.cdf(factor * norm.ppf(0.95)) * 2 - 1
        assert abs(display.coverage_ - truth) < 4 * error


def test_band_is_two_binomial_standard_errors(ax):
    ReliabilityDisplay(y_true=Y, y_pred=0 * Y, y_std=1 + 0 * Y).plot(ax)
    (band,) = ax.collections
    points = band.get_paths()[0].vertices
    for level in (0.1, 0.5, 0.9):
        edge = points[np.isclose(points[:, 0], level), 1]
        half = 2 * np.sqrt(level * (1 - level) / 120)
        assert_allclose([edge.min(), edge.max()], [level - half, level + half])
    assert points.min() == 0 and points.max() == 1
    assert "120 rows" in legend(ax)[0]


def test_rows_of_frames_are_not_matched_by_index():
    model = gp().fit(X[TRAIN], Y[TRAIN])
    plain = ReliabilityDisplay.from_estimator(model, X[TEST], Y[TEST])
    for y in (pd.Series(Y[TEST], index=range(60)[::-1]), list(Y[TEST])):
        shown = ReliabilityDisplay.from_estimator(model, X[TEST], y)
        assert_array_equal(shown.observed_, plain.observed_)
    column = ReliabilityDisplay.from_estimator(model, X[TEST], Y[TEST, None])
    assert_array_equal(column.observed_, plain.observed_)
    assert column.coverage_ == plain.coverage_


CLASSIFIERS = [
    AdaptiveKernelClassifier(max_iter=20),
    CalibratedClassifierCV(SVC(), ensemble=False),
    make_pipeline(StandardScaler(), LogisticRegression()),
    KNeighborsClassifier(7),
    RandomForestClassifier(20, random_state=0),
]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=str)
@pytest.mark.parametrize("labels", [LABELS, LABELS == "oak"], ids=["three", "two"])
def test_bins_are_those_of_scikit_learn(model, labels, ax):
    model.fit(X[TRAIN], labels[TRAIN])
    display = ReliabilityDisplay.from_estimator(
        model, X[TEST], labels[TEST], n_bins=6, ax=ax
    )
    probabilities = model.predict_proba(X[TEST])
    correct = model.classes_[probabilities.argmax(axis=1)] == labels[TEST]
    accuracy, confidence = calibration_curve(
        correct, probabilities.max(axis=1), n_bins=6, strategy="quantile"
    )
    assert_allclose(display.observed_, accuracy)
    assert_allclose(display.nominal_, confidence)
    points = np.transpose([confidence, accuracy])
    assert_allclose(display.errorbar_.lines[0].get_xydata(), points)
    assert display.lines_ == [display.errorbar_.lines[0]]
    assert display.coverage_ is None


def test_labels_in_a_column_count_as_labels():
    hits = np.arange(20) % 2 == 0
    for y in (hits, hits[:, None], pd.Series(hits, index=range(20)[::-1])):
        display = ReliabilityDisplay.from_predictions(
            y, np.ones(20, bool), confidence=np.full(20, 0.7)
        )
        assert_allclose(display.observed_, [0.5])


# In bins, all of (0.5, 0.6, 0.6) are right, 0.7 is wrong, one of (0.85, 0.95).
HAND = {
    "y_true": ["a", "a", "b", "b", "a", "b"],
    "y_pred": ["a", "a", "b", "a", "a", "a"],
    "confidence": [0.5, 0.6, 0.6, 0.7, 0.85, 0.95],
}


def test_calibration_error_by_hand(ax):
    display = ReliabilityDisplay(
        **{k: np.repeat(v, 10) for k, v in HAND.items()}, n_bins=3
    ).plot(ax)
    assert_allclose(display.nominal_, [1.7 / 3, 0.7, 0.9])
    assert_allclose(display.observed_, [1, 0, 0.5])
    error = (1 - 1.7 / 3) / 2 + 0.7 / 6 + 0.4 / 3
    assert_allclose(display.calibration_error_, error)
    noise = [np.sqrt(p * (1 - p) / n) for p, n in ((1.7 / 3, 30), (0.7, 10), (0.9, 20))]
    expected = np.sqrt(2 / np.pi) * np.dot(noise, [1 / 2, 1 / 6, 1 / 3])
    assert_allclose(display.sampling_error_, expected)
    texts = f"calibration error {error:.1%} (sampling alone {expected:.1%})"
    assert legend(ax) == [texts]


def test_bars_are_wilsons_intervals(ax):
    display = ReliabilityDisplay(
        **{k: np.repeat(v, 10) for k, v in HAND.items()}, n_bins=3
    ).plot(ax)
    (bars,) = display.errorbar_.lines[2]
    level = 2 * norm.cdf(2) - 1
    hits = ((30, 30), (0, 10), (10, 20))
    for segment, (hit, rows) in zip(bars.get_segments(), hits, strict=True):
        interval = binomtest(hit, rows).proportion_ci(level, method="wilson")
        assert_allclose(segment[:, 1], interval)
    assert ax.get_ylim()[0] == 0


def test_sampling_error_is_that_of_a_calibrated_classifier():
    rng = np.random.default_rng(0)
    errors, claims = [], []
    for _ in range(40):
        confidence = rng.uniform(0.5, 0.95, 300)
        labels = rng.uniform(size=300) < confidence
        display = ReliabilityDisplay(
            y_true=labels, y_pred=np.ones(300, bool), confidence=confidence, n_bins=5
        ).plot(Figure().subplots())
        errors.append(display.calibration_error_)
        claims.append(display.sampling_error_)
    standard_error = np.std(errors) / np.sqrt(40)
    # Taking a binomial for a normal costs a per cent at 60 rows.
    tolerance = 4 * standard_error + 0.01 * np.mean(claims)
    assert abs(np.mean(errors) - np.mean(claims)) < tolerance


def test_equal_confidences_share_a_bin_in_any_order():
    confidence = np.r_[np.ones(30), np.full(10, 0.7)]
    correct = np.r_[np.ones(15), np.zeros(25)] > 0
    for order in (np.arange(40), np.random.default_rng(0).permutation(40)):
        display = ReliabilityDisplay.from_predictions(
            correct[order], np.ones(40, bool), confidence=confidence[order]
        )
        assert_allclose(display.nominal_, [0.7, 1])
        assert_allclose(display.observed_, [0, 0.5])


def test_displays_overlay(ax):
    for std, name in ((0.5, "bold"), (2.0, "shy")):
        display = ReliabilityDisplay.from_predictions(
            Y, 0 * Y, y_std=std + 0 * Y, name=name, ax=ax
        )
    texts = legend(ax)
    assert len(texts) == 3 and [t.split(":")[0] for t in texts[1:]] == ["bold", "shy"]
    assert len(ax.collections) == 1
    curves = [line for line in ax.lines if len(line.get_xdata()) == 99]
    assert len(curves) == 2 and len(ax.lines) == 3
    assert len({line.get_color() for line in curves}) == 2
    assert display.plot(Figure().subplots()) is display


def test_classifiers_overlay_within_the_limits(ax):
    """The worse one decides where the axes begin, in whichever order they come."""
    parts = [(0.95, "good"), (0.4, "bad")]
    for order in (parts, parts[::-1]):
        axes = Figure().subplots()
        for level, name in order:
            ReliabilityDisplay.from_predictions(
                np.arange(200) < 200 * level,
                np.ones(200, bool),
                confidence=np.full(200, level),
                name=name,
                ax=axes,
            )
        assert 0 < axes.get_xlim()[0] <= 0.4 and axes.get_xlim() == axes.get_ylim()


def test_a_figure_of_its_own_can_be_drawn():
    model = GaussianNB().fit(X[TRAIN], LABELS[TRAIN])
    display = ReliabilityDisplay.from_estimator(model, X[TEST], LABELS[TEST])
    assert plt.get_fignums() == [display.figure_.number]
    assert legend(display.ax_)[0].startswith("GaussianNB: calibration error")
    display.figure_.canvas.draw()
    box = display.ax_.get_legend().get_window_extent()
    assert box.y0 >= 0 and box.y1 < display.ax_.get_window_extent().y0


def test_pipelines_are_called_by_their_last_step(ax):
    model = make_pipeline(StandardScaler(), BayesianRidge()).fit(X[TRAIN], Y[TRAIN])
    ReliabilityDisplay.from_estimator(model, X[TEST], Y[TEST], ax=ax)
    assert legend(ax)[1].startswith("BayesianRidge: 90% intervals hold")


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (Ridge(), "Ridge.predict does not know return_std"),
        (make_pipeline(StandardScaler(), Ridge()), "Ridge.predict does not"),
        (GridSearchCV(gp(), {"alpha": [1e-5]}, cv=2), "its best_estimator_"),
    ],
)
def test_regressors_without_deviations_are_named(model, named):
    with pytest.raises(TypeError, match=named):
        ReliabilityDisplay.from_estimator(model.fit(X, Y), X, Y)


def test_classifiers_without_probabilities_are_named():
    with pytest.raises(TypeError, match="SVC has no predict_proba.*Calibrated"):
        ReliabilityDisplay.from_estimator(SVC().fit(X, LABELS), X, LABELS)
    two = np.stack([LABELS, LABELS], axis=1)
    with pytest.raises(ValueError, match="one classifier for each output"):
        model = KNeighborsClassifier().fit(X, two)
        ReliabilityDisplay.from_estimator(model, X, two)


def test_unfitted_models_are_named():
    with pytest.raises(NotFittedError):
        ReliabilityDisplay.from_estimator(NNGPRegressor(), X, Y)


def test_errors_of_the_estimator_itself_are_kept():
    model = BayesianRidge().fit(pd.DataFrame(X, columns=["a", "b"]), Y)
    mixed = pd.DataFrame(X, columns=["a", 1])
    with pytest.raises(TypeError, match="only supported if all input features"):
        ReliabilityDisplay.from_estimator(model, mixed, Y)


ONE = np.ones(3)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({}, "Give y_std .* or confidence"),
        ({"y_std": ONE, "confidence": ONE}, "not both"),
        ({"y_std": [1.0, 0, 1]}, "y_std must be positive.*noise"),
        ({"y_std": [1.0, np.nan, 1]}, "y_std contains NaN"),
        ({"y_std": ONE, "y_pred": [1.0, np.inf, 1]}, "y_pred contains inf"),
        ({"y_std": np.ones((3, 2))}, r"y_true \(3,\).*y_std \(3, 2\)"),
        ({"y_std": np.ones(4)}, r"same shape.*y_std \(4,\)"),
        ({"confidence": [0.5, 1.5, 1]}, "confidence must be a probability"),
        ({"confidence": np.ones((3, 2))}, r"confidence must have shape \(3,\)"),
        ({"confidence": np.ones(4)}, r"confidence must have shape \(3,\)"),
        ({"confidence": ONE, "n_bins": 0}, "n_bins must be a positive integer"),
        ({"confidence": ONE, "n_bins": 2.5}, "n_bins must be a positive integer"),
    ],
)
def test_wrong_input_is_named(parameters, named):
    with pytest.raises(ValueError, match=named):
        ReliabilityDisplay(**{"y_true": ONE, "y_pred": ONE} | parameters).plot()
    assert plt.get_fignums() == []


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    display = ReliabilityDisplay(y_true=ONE, y_pred=ONE, y_std=ONE)
    with pytest.raises(ImportError, match=r"Reliability.*adaptive_kernels\[demo\]"):
        display.plot()
