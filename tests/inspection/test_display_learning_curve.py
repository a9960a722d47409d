"""The display of learning curves: what is drawn is predicted and measured."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptive_kernels import NNGPRegressor, learning_curve_theory
from adaptive_kernels.inspection import LearningCurveTheoryDisplay
from adaptive_kernels.kernels import NNGP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 4))
Y = 20 + 3 * (X[:, 0] + X[:, 1] * X[:, 2] + 0.3 * RNG.standard_normal(200))
Y2 = np.stack([Y, X[:, 0] - X[:, 3] + 0.1 * RNG.standard_normal(200)], axis=1)
LEARNED, UNSEEN = slice(0, 50), slice(50, 200)
SIZES = [20, 40, 80]


pytestmark = pytest.mark.usefixtures("closed_figures")


def fitted(y=Y):
    pipeline = make_pipeline(StandardScaler(), NNGPRegressor(NNGP("relu")))
    return pipeline.fit(X[LEARNED], y[LEARNED])


def display_of(model, y=Y, **parameters):
    return LearningCurveTheoryDisplay.from_estimator(
        model, X[UNSEEN], y[UNSEEN], **{"train_sizes": SIZES} | parameters
    )


def test_points_hold_kernel_and_noise_fixed():
    # With all rows of a fold there is no subset to draw, so folds can be done by hand.
    model = fitted()
    display = display_of(model, train_sizes=[1.0], cv=3)
    rows, targets = model[0].transform(X[UNSEEN]), Y[UNSEEN]
    fixed = NNGPRegressor(model[1].kernel_, alpha=model[1].alpha_, optimizer=None)
    errors = []
    for train, test in KFold(3).split(rows):
        predicted = fixed.fit(rows[train], targets[train]).predict(rows[test])
        errors.append(np.mean((predicted - targets[test]) ** 2))
    assert_array_equal(display.sizes, [100])
    assert_allclose(display.errors, [errors])


@pytest.mark.parametrize("y", [Y, Y2], ids=["one output", "two outputs"])
def test_theory_lies_over_the_points(y):
    display = display_of(fitted(y), y, cv=20, random_state=1)
    line = np.interp(SIZES, *display.line_.get_data())
    measured = display.errors.mean(axis=1)
    assert display.errors.shape == (3, 20)
    assert_allclose(display.errorbar_.lines[0].get_ydata(), measured)
    allowed = 4 * display.errors.std(axis=1) / 20**0.5 + 0.05 * measured
    assert np.all(np.abs(line - measured) < allowed)


def test_subsets_are_random():
    first, other = (display_of(fitted(), random_state=seed) for seed in (0, 1))
    assert np.all(first.errors[0] != other.errors[0])
    assert_array_equal(first.errors, display_of(fitted()).errors)


def test_bars_are_the_spread_over_folds():
    display = display_of(fitted(), cv=4)
    (bars,) = display.errorbar_.lines[2]
    lower, upper = np.array([segment[:, 1] for segment in bars.get_segments()]).T
    assert_allclose(upper - lower, 2 * display.errors.std(axis=1))


def test_line_is_the_theory_at_every_size():
    model = fitted()
    display = display_of(model)
    sizes, errors = display.line_.get_data()
    expected = learning_curve_theory(
        model, X[UNSEEN], Y[UNSEEN], train_sizes=sizes.astype(int)
    )
    assert_allclose(errors, expected.noisy_test_error)
    assert set(SIZES) <= set(sizes) and len(sizes) > 20
    assert sizes[0] == 20 and sizes[-1] == 80


def test_modes_beside_the_errors():
    display = display_of(fitted())
    theory = display.theory
    assert_allclose(display.power_.get_ydata(), theory.cumulative_power)
    labels = [line.get_label() for line in display.learnability_]
    assert labels == [f"learned from {size} rows" for size in SIZES]
    for size, line in zip(SIZES, display.learnability_, strict=True):
        index = list(theory.sizes).index(size)
        assert_array_equal(line.get_ydata(), theory.learnability[index])
    labels = [text.get_text() for text in display.figure_.legends[0].get_texts()]
    assert len(labels) == 7 and "theory" in labels


def test_single_axes_get_the_errors_only():
    ax = Figure().subplots()
    display = display_of(fitted(), ax=ax)
    assert display.power_ is None and display.learnability_ == []
    assert list(display.axes_) == [ax] and display.figure_ is ax.figure
    assert ax.get_legend() is not None
    assert ax.get_ylim()[0] == 0 and ax.get_xscale() == "log"


def test_two_axes_and_no_more():
    axes = Figure().subplots(1, 2)
    assert list(display_of(fitted(), ax=axes).axes_) == list(axes)
    with pytest.raises(ValueError, match="one or two axes"):
        display_of(fitted(), ax=Figure().subplots(1, 3))


@pytest.mark.parametrize("sizes", [[30], [5, 10, 150]])
def test_theory_alone(sizes):
    theory = learning_curve_theory(NNGP(), X, Y - 20, train_sizes=sizes, alpha=1.0)
    display = LearningCurveTheoryDisplay(theory=theory).plot()
    assert display.errorbar_ is None
    assert len(display.learnability_) == len(sizes)
    # A kernel without noise has no line to show for it.
    assert len(display.axes_[0].lines) == 1


def test_default_sizes_and_folds():
    display = display_of(fitted(), train_sizes=None)
    assert_array_equal(display.sizes, [12, 39, 66, 93, 120])
    assert display.errors.shape == (5, 5)


def test_kernel_is_not_an_estimator():
    with pytest.raises(TypeError, match="fitted regressor"):
        display_of(NNGP())


def test_says_what_to_install(monkeypatch):
    theory = learning_curve_theory(NNGP(), X, Y, train_sizes=[30], alpha=1.0)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="LearningCurveTheoryDisplay.plot needs"):
        LearningCurveTheoryDisplay(theory=theory).plot()
