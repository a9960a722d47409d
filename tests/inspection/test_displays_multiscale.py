"""Displays of the multi-scale theory: what is drawn is what is computed."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
    scaling_path,
)
from adaptive_kernels.datasets import make_ising
from adaptive_kernels.inspection import ScalingPathDisplay, WeightCovarianceDisplay
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.metrics import discrepancy

X, Y, DIRECTION = make_ising(60, 8, coef=True, random_state=0)
TRAIN, TEST = slice(0, 20), slice(20, 60)
SPLIT = X[TRAIN], Y[TRAIN], X[TEST], Y[TEST]


def linear(approximation="rescaling", **parameters):
    model = AdaptiveKernelRegressor(
        NNGP("identity", bias_variance=0),
        approximation=approximation,
        width=30,
        alpha=0.2,
        optimizer=None,
        normalize_y=False,
    )
    return model.set_params(**parameters)


def erf(**parameters):
    model = AdaptiveKernelRegressor(NNGP("erf"), width=3, **parameters)
    return model.fit(*SPLIT[:2])


def panels():
    return Figure().subplots(1, 2)


pytestmark = pytest.mark.usefixtures("closed_figures")


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ScalingPathDisplay


def by_hand(name, scalings, **parameters):
    """Train and test discrepancy of single fits."""
    wide = {"width": np.inf} if name == "nngp" else {"approximation": name}
    rows = []
    for scaling in scalings:
        model = linear(scaling=scaling, **wide | parameters).fit(*SPLIT[:2])
        train, test = (
            np.mean(targets * (targets - model.predict(inputs)))
            for inputs, targets in (SPLIT[:2], SPLIT[2:])
        )
        rows.append((scaling, train, test))
    return np.array(rows)


@pytest.mark.parametrize("scale_noise", [False, True])
def test_lines_are_the_discrepancies_of_single_fits(scale_noise):
    axes, scalings = panels(), [10, 1, 3]
    names = ("nngp", "tree", "one_loop", "rescaling", "exact", "gaussian")
    display = ScalingPathDisplay.from_estimator(
        linear("tree", scale_noise=scale_noise),
        *SPLIT,
        approximations=names,
        scalings=scalings,
        ax=axes,
    )
    assert list(display.axes_) == list(axes)
    assert display.figure_ is axes[0].figure
    assert list(display.paths) == list(display.lines_) == list(names)
    for name in names:
        expected = by_hand(name, sorted(scalings), scale_noise=scale_noise)
        close = 1e-3 if name == "gaussian" else 1e-8
        assert_allclose(display.paths[name], expected, rtol=close, atol=close)
        assert len(display.lines_[name]) == 2
        for column, panel, line in zip((1, 2), axes, display.lines_[name], strict=True):
            assert line in panel.lines
            drawn = display.paths[name][:, [0, column]]
            assert_array_equal(line.get_xydata(), drawn)
    if scale_noise:
        assert_allclose(np.ptp(display.paths["nngp"][:, 1]), 0, atol=1e-9)
    labels = ["NNGP", "tree level", "one loop", "rescaling", "exact"]
    assert legend(axes[0]) == [*labels, "Gaussian adaptation"]
    assert axes[1].get_legend() is None
    assert [panel.get_title() for panel in axes] == ["train", "test"]
    assert {panel.get_xscale() for panel in axes} == {"log"}
    assert {panel.get_xlabel() for panel in axes} == {"scaling"}
    styles = {(line.get_color(), str(line.get_linestyle())) for line in axes[0].lines}
    assert len(styles) == len(names)


def test_default_scalings_and_approximations():
    display = ScalingPathDisplay.from_estimator(linear(tol=1.0), *SPLIT)
    assert list(display.paths) == ["nngp", "tree", "one_loop", "rescaling", "gaussian"]
    for path in display.paths.values():
        assert_allclose(path[:, 0], np.geomspace(1, 30, 16))
    assert plt.fignum_exists(display.figure_.number)
    assert len(display.figure_.axes) == 2
    assert display.errorbars_ == []


@pytest.mark.parametrize("width", [np.inf, 1, 0.5])
def test_default_scalings_need_a_width(width):
    with pytest.raises(ValueError, match="give scalings"):
        ScalingPathDisplay.from_estimator(
            linear(width=width), *SPLIT, approximations=("nngp",), ax=panels()
        )


def test_the_estimator_is_not_changed():
    model = linear("exact", scaling=5)
    before = model.get_params()
    ScalingPathDisplay.from_estimator(model, *SPLIT, scalings=[1, 2], ax=panels())
    assert repr(model.get_params()) == repr(before)
    assert not hasattr(model, "kernel_")


def test_frames_are_drawn_as_arrays():
    frames = [
        pd.DataFrame(a, columns=[f"f{i}" for i in range(8)])
        if a.ndim == 2
        # An index that runs elsewhere must not be matched.
        else pd.Series(a, index=np.arange(len(a))[::-1])
        for a in SPLIT
    ]
    parameters = {"approximations": ("tree",), "scalings": [1, 10]}
    framed, plain = (
        ScalingPathDisplay.from_estimator(linear(), *split, ax=panels(), **parameters)
        for split in (frames, SPLIT)
    )
    assert_array_equal(framed.paths["tree"], plain.paths["tree"])


def test_sampled_networks_have_error_bars():
    sampled = [(1, 0.3, 0.01, 0.5, 0.02), (10, 0.2, 0.03, 0.4, 0.04)]
    axes = panels()
    paths = {"tree": [[1, 0.25, 0.6], [10, 0.15, 0.5]], "mine": [[1, 0.1, 0.2]]}
    display = ScalingPathDisplay(paths=paths, sampled=sampled)
    assert display.plot(axes) is display
    assert len(display.errorbars_) == 2
    table = np.array(sampled)
    for bar, panel, column in zip(display.errorbars_, axes, (1, 3), strict=True):
        assert bar.lines[0] in panel.lines
        assert_allclose(bar.lines[0].get_xydata(), table[:, [0, column]])
        ends = [segment[:, 1] for segment in bar.lines[2][0].get_segments()]
        value, error = table[:, column], table[:, column + 1]
        assert_allclose(ends, np.stack([value - error, value + error], axis=1))
    assert legend(axes[0]) == ["tree level", "mine", "sampled networks"]


@pytest.mark.parametrize("count", [1, 3])
def test_scaling_path_needs_two_axes(count):
    axes = Figure().subplots(1, count)
    with pytest.raises(ValueError, match=f"ax must hold 2 axes.*got {count}"):
        ScalingPathDisplay(paths={}).plot(axes)


@pytest.mark.parametrize("shape", ["row", "column", "list", "tuple"])
def test_two_axes_of_any_arrangement(shape):
    shapes = {"row": (1, 2), "column": (2, 1)}
    axes = Figure().subplots(*shapes.get(shape, (1, 2)), squeeze=False)
    given = {"list": list, "tuple": tuple}.get(shape, lambda a: a)(axes.ravel())
    given = axes if shape == "column" else given
    display = ScalingPathDisplay(paths={"tree": [[1, 0.2, 0.3]]}).plot(given)
    assert list(display.axes_) == list(axes.ravel())


def test_two_displays_on_the_same_axes():
    axes = panels()
    for name in ("tree", "exact"):
        ScalingPathDisplay(paths={name: [[1, 0.2, 0.3], [5, 0.1, 0.2]]}).plot(axes)
    assert legend(axes[0]) == ["tree level", "exact"]
    assert [len(panel.lines) for panel in axes] == [2, 2]


# WeightCovarianceDisplay


def test_spectrum_of_an_estimator(ax):
    model = linear("exact").fit(*SPLIT[:2])
    display = WeightCovarianceDisplay.from_estimator(model, direction=DIRECTION, ax=ax)
    values, vectors = np.linalg.eigh(model.weight_covariance_)
    expected = 8 * values[::-1] / model.kernel_.weight_variance
    assert_allclose(display.spectrum_, expected)
    assert_array_equal(display.line_.get_xdata(), np.arange(1, 9))
    assert_array_equal(display.line_.get_ydata(), display.spectrum_)
    overlap = (vectors[:, -1] @ DIRECTION) ** 2
    assert_allclose(display.overlap_, overlap)
    assert_allclose(display.spike_.get_xydata(), [[1, expected[0]]])
    assert display.line_ in ax.lines and display.spike_ in ax.lines
    heights = [
        line.get_ydata()[0]
        for line in ax.lines
        if line.get_xdata()[0] == 0 and line.get_xdata()[-1] == 1
    ]
    assert_allclose(sorted(heights), sorted([1, model.scale_]))
    assert legend(ax)[0] == f"exact (overlap of the spike {overlap:.2f})"
    assert display.ax_ is ax and display.figure_ is ax.figure


def test_overlap_does_not_depend_on_the_length_or_sign_of_the_direction(ax):
    model = linear("tree").fit(*SPLIT[:2])
    for factor in (1, -7):
        display = WeightCovarianceDisplay.from_estimator(
            model, direction=list(factor * DIRECTION), ax=ax
        )
        spike = model.X_train_.T @ model.dual_coef_[:, 0]
        cosine = spike @ DIRECTION / np.linalg.norm(spike)
        assert_allclose(display.overlap_, cosine**2, rtol=1e-9)


def test_pipeline_and_search_are_seen_through(ax):
    pipeline = make_pipeline(StandardScaler(), linear("tree")).fit(*SPLIT[:2])
    inner = pipeline[-1]
    expected = np.linalg.eigvalsh(inner.weight_covariance_)[::-1] * 8
    expected /= inner.kernel_.weight_variance
    display = WeightCovarianceDisplay.from_estimator(pipeline, ax=ax)
    assert_allclose(display.spectrum_, expected)
    search = AdaptiveKernelRegressorCV(
        [NNGP("erf")], widths=(2, 9), covariance_types=("full",), cv=2
    )
    for fitted in (search.fit(*SPLIT[:2]), make_pipeline(StandardScaler(), search)):
        fitted.fit(*SPLIT[:2])
        best = search.best_estimator_
        shown = WeightCovarianceDisplay.from_estimator(fitted, ax=Figure().subplots())
        values = np.linalg.eigvalsh(best.weight_covariance_)[::-1]
        expected = 8 * values / best.kernel_.weight_variance
        assert_allclose(shown.spectrum_, expected)
        assert shown.overlap_ is None and shown.scale is None


def test_variances_alone_have_a_spectrum(ax):
    model = erf()
    assert model.weight_covariance_.shape == (8,)
    display = WeightCovarianceDisplay.from_estimator(
        model, direction=np.eye(8)[3], ax=ax
    )
    variances = 8 * model.weight_covariance_ / model.kernel_.weight_variance
    assert_allclose(display.spectrum_, np.sort(variances)[::-1])
    assert display.overlap_ == float(np.argmax(variances) == 3)


@pytest.mark.parametrize("factor", [1, 1000])
def test_spectrum_is_relative_to_the_prior_at_any_depth(ax, factor):
    rows, targets = SPLIT[:2]
    kernel = NNGP("erf", depth=2)
    model = AdaptiveKernelRegressor(kernel, width=1e9).fit(factor * rows, targets)
    # A network this wide learns no features.
    display = WeightCovarianceDisplay.from_estimator(model, ax=ax)
    assert_allclose(display.spectrum_, 1, atol=1e-3)


@pytest.mark.parametrize("metric", [np.arange(1.0, 9), np.diag(np.arange(1.0, 9)) + 1])
def test_spectrum_is_relative_to_the_prior_of_a_given_metric(ax, metric):
    kernel = NNGP("identity", metric=metric)
    model = linear("tree", kernel=kernel, width=1e9)
    display = WeightCovarianceDisplay.from_estimator(model.fit(*SPLIT[:2]), ax=ax)
    assert_allclose(display.spectrum_, 1, atol=1e-3)


def test_the_scale_of_a_kernel_is_drawn_where_it_is_rescaled(ax):
    model = AdaptiveKernelRegressor(
        NNGP("erf"), width=5, approximation="rescaling", optimizer=None
    )
    scaled = WeightCovarianceDisplay.from_estimator(model.fit(*SPLIT[:2]), ax=ax)
    assert scaled.scale == model.scale_ != 1
    drawn = [np.asarray(line.get_ydata()) for line in ax.lines]
    assert any(np.all(heights == model.scale_) for heights in drawn)
    assert WeightCovarianceDisplay.from_estimator(erf(), ax=ax).scale is None
    two = AdaptiveKernelRegressor(approximation="rescaling", width=5)
    two.fit(SPLIT[0], np.stack([SPLIT[1], X[TRAIN, 0]], axis=1))
    assert WeightCovarianceDisplay.from_estimator(two, ax=ax).scale is None


def test_displays_overlay_with_styles_of_their_own(ax):
    parts = {"theory": (4.0, None), "networks": (4.2, None), "rescaled": (1.0, 2.5)}
    displays = [
        WeightCovarianceDisplay(
            weight_covariance=0.1 * np.diag([1, top, 1]),
            prior_variance=0.1,
            scale=scale,
        ).plot(ax, name=name)
        for name, (top, scale) in parts.items()
    ]
    labels = legend(ax)
    assert [label for label in labels if label in parts] == list(parts)
    styles = {(d.line_.get_color(), d.line_.get_marker()) for d in displays}
    assert len(styles) == 3
    for display in displays[:2]:
        assert display.spike_.get_markeredgecolor() == display.line_.get_color()
    assert displays[2].spike_ is None
    priors = [t for t in ax.texts if t.get_text() == "prior"]
    assert len(priors) == 1
    for display, (top, _) in zip(displays, parts.values(), strict=True):
        assert_allclose(display.spectrum_[0], max(top, 1))


@pytest.mark.parametrize(("top", "scale"), [(5, "linear"), (50, "log")])
def test_a_tall_spike_is_on_a_logarithmic_axis(ax, top, scale):
    WeightCovarianceDisplay(
        weight_covariance=np.diag([top, 1.0]), prior_variance=1.0
    ).plot(ax)
    assert ax.get_yscale() == scale


@pytest.mark.parametrize("direction", [np.ones(3), np.ones((2, 2)), np.zeros(2)])
def test_a_direction_must_fit(ax, direction):
    display = WeightCovarianceDisplay(
        weight_covariance=np.eye(2), prior_variance=1.0, direction=direction
    )
    with pytest.raises(ValueError, match="direction"):
        display.plot(ax)


def test_one_axes_by_default():
    display = WeightCovarianceDisplay(weight_covariance=[1.0, 2], prior_variance=1.0)
    display.plot()
    assert display.figure_.axes == [display.ax_]


def test_wrong_estimators_are_named(ax):
    with pytest.raises(NotFittedError):
        WeightCovarianceDisplay.from_estimator(linear(), ax=ax)
    for model in (Ridge(), NNGPRegressor()):
        name = type(model).__name__
        with pytest.raises(TypeError, match=f"{name} has no `feature_importances_`"):
            WeightCovarianceDisplay.from_estimator(model.fit(*SPLIT[:2]), ax=ax)


@pytest.mark.parametrize(
    "display",
    [
        ScalingPathDisplay(paths={}),
        WeightCovarianceDisplay(weight_covariance=[1.0], prior_variance=1.0),
    ],
)
def test_missing_matplotlib_says_what_to_install(monkeypatch, display):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    name = type(display).__name__
    with pytest.raises(ImportError, match=rf"{name}.plot.*adaptive_kernels\[demo\]"):
        display.plot()


def test_the_discrepancy_of_the_path_is_that_of_its_predictions():
    path = scaling_path(linear(), *SPLIT[:2], scalings=[1, 10])
    found = discrepancy(SPLIT[3], path.predict(SPLIT[2]).T)
    assert_allclose(found, by_hand("rescaling", [1, 10])[:, 2])
