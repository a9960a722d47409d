"""Displays of neural collapse and of spectra: what is drawn is what was computed."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptive_kernels import AdaptiveKernelRegressor, NNGPRegressor
from adaptive_kernels.datasets import make_gaussian_classes
from adaptive_kernels.inspection import KernelSpectrumDisplay, NeuralCollapseDisplay
from adaptive_kernels.inspection._style import COLORS, GREY
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.metrics import nc1_score

pytestmark = pytest.mark.usefixtures("closed_figures")


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# --- NeuralCollapseDisplay -----------------------------------------------------------

POSITIONS = [2, 5]
CLOUDS = {
    d: [make_gaussian_classes([10, 20], d, random_state=seed) for seed in range(3)]
    for d in POSITIONS
}
REGRESSOR = AdaptiveKernelRegressor(NNGP("erf"), width=50, alpha=0.1, optimizer=None)
KERNELS = {
    "data": None,
    "NNGP erf": NNGP("erf"),
    "NTK erf": NTK("erf"),
    "NTK relu": NTK("relu"),
    "adaptive erf": REGRESSOR,
}


def collapse_by_definition(K, y):
    """NC1 from squared distances between rows."""
    squares = np.diag(K)[:, None] + np.diag(K) - 2 * K
    masks = [y == name for name in np.unique(y)]
    spreads = [squares[np.ix_(mask, mask)].mean() / 2 for mask in masks]
    within = np.average(spreads, weights=[mask.sum() for mask in masks])
    all_rows = squares.mean() / 2
    distances = [
        squares[mask].mean() - spread - all_rows
        for mask, spread in zip(masks, spreads, strict=True)
    ]
    return within / np.mean(distances)


def matrix_of(model, X, targets):
    if model is None:
        return X @ X.T
    return (model if model is not REGRESSOR else model.fit(X, targets).kernel_)(X)


def test_scores_are_those_of_each_draw(ax):
    display = NeuralCollapseDisplay.from_datasets(CLOUDS, kernels=KERNELS, ax=ax)
    assert display.positions == POSITIONS and display.xlabel == "features"
    assert list(display.scores) == list(KERNELS)
    for name, model in KERNELS.items():
        expected = [
            [collapse_by_definition(matrix_of(model, X, y), y) for X, y in draws]
            for draws in CLOUDS.values()
        ]
        assert_allclose(display.scores[name], expected, rtol=1e-8)


def test_regressors_are_fitted_to_signs_and_left_alone():
    """Labels of two classes in any spelling are one column of -1 and 1."""
    model = AdaptiveKernelRegressor(NNGP("erf"), optimizer=None, normalize_y=False)
    X, y = make_gaussian_classes(30, 2, random_state=0)
    expected = nc1_score(X, y, input=model.fit(X, y).kernel_)
    model = clone(model)
    for labels in (y, y > 0, (3 + 4 * y).astype(int), np.where(y > 0, "b", "a")):
        display = NeuralCollapseDisplay.from_datasets(
            {1: [(X, labels)]}, kernels={"m": model}
        )
        assert_allclose(display.scores["m"], [[expected]], rtol=1e-12)
    assert not hasattr(model, "kernel_")


@pytest.mark.parametrize("numbers", [[1, 2], []])
def test_unequal_numbers_of_draws(numbers):
    draw = make_gaussian_classes(10, 2, random_state=0)
    with pytest.raises(
        ValueError, match=f"equally many.*{numbers}".replace("[", r"\[")
    ):
        NeuralCollapseDisplay.from_datasets(
            {n: n * [draw] for n in numbers}, kernels={"data": None}
        )


def test_names_of_many_classes():
    X, y = make_gaussian_classes([10, 15, 20], 3, means=(-3, 0, 4), random_state=0)
    names = np.array(["oak", "ash", "elm"])[(y / 2 + 1).astype(int)]
    display = NeuralCollapseDisplay.from_datasets(
        {3: [(X, names)]}, kernels={"data": None, "adaptive erf": REGRESSOR}
    )
    assert_allclose(display.scores["data"], collapse_by_definition(X @ X.T, y))
    columns = np.where(names[:, None] == np.unique(names), 1.0, -1.0)
    K = REGRESSOR.fit(X, columns).kernel_(X)
    expected = collapse_by_definition(K, y)
    assert_allclose(display.scores["adaptive erf"], expected, rtol=1e-8)


def drawn(container):
    """Points, and half the lengths of the error bars."""
    line, _, (bars,) = container.lines
    ends = np.array(bars.get_segments())[:, :, 1]
    return line, line.get_xydata(), np.ptp(ends, axis=1) / 2


def test_lines_are_means_and_deviations_of_logarithms(ax):
    scores = {
        "data": np.array([[1.0, 1e4], [10.0, 10.0]]),
        "NNGP erf": np.array([[0.1, 0.1], [0.01, 1.0]]),
    }
    display = NeuralCollapseDisplay(scores=scores, positions=[3, 50], xlabel="rows")
    assert display.plot(ax) is display
    assert display.ax_ is ax and display.figure_ is ax.figure
    assert list(display.errorbar_) == list(scores)
    expected = {"data": ([2, 1], [2, 0]), "NNGP erf": ([-1, -1], [0, 1])}
    for name, (means, deviations) in expected.items():
        _, points, bars = drawn(display.errorbar_[name])
        assert_allclose(points, np.transpose([[3, 50], means]))
        assert_allclose(bars, deviations, atol=1e-12)
    assert len(ax.containers) == len(scores)
    assert legend(ax) == list(scores)
    assert ax.get_xscale() == "log"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["3", "50"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("rows", "log10 NC1")


def test_colors_go_by_the_last_word_and_styles_by_the_first():
    scores = {name: np.ones((2, 1)) for name in [*KERNELS, "adaptive relu", "RBF"]}
    display = NeuralCollapseDisplay(scores=scores, positions=POSITIONS).plot()
    looks = {}
    for name, container in display.errorbar_.items():
        line = container.lines[0]
        looks[name] = line.get_color(), line.get_linestyle()
    assert looks["data"] == (GREY, ":")
    for name, (color, _) in looks.items():
        if name != "data":
            assert color == COLORS[["erf", "relu", "RBF"].index(name.split()[-1])]
    assert looks["NTK erf"][1] == looks["NTK relu"][1] != looks["NNGP erf"][1]
    assert looks["adaptive erf"][1] == looks["adaptive relu"][1]
    assert len(set(looks.values())) == len(scores)


def test_positions_are_in_order(ax):
    datasets = {d: CLOUDS[d] for d in POSITIONS[::-1]}
    kernels = {"RBF": RBF(2.0)}
    display = NeuralCollapseDisplay.from_datasets(datasets, kernels=kernels, ax=ax)
    assert display.positions == POSITIONS
    for row, d in zip(display.scores["RBF"], POSITIONS, strict=True):
        expected = [nc1_score(X, y, input=RBF(2.0)) for X, y in CLOUDS[d]]
        assert_array_equal(row, expected)


def test_usual_kernels():
    X, y = make_gaussian_classes(40, 2, random_state=0)
    display = NeuralCollapseDisplay.from_datasets({2: [(X, y)]})
    names = ["data", "NNGP erf", "NTK erf", "NNGP relu", "NTK relu", "adaptive erf"]
    assert list(display.scores) == list(display.errorbar_) == names
    for kind in (NNGP, NTK):
        for activation in ("erf", "relu"):
            score = nc1_score(X, y, input=kind(activation, bias_variance=0))
            name = f"{kind.__name__} {activation}"
            assert_allclose(display.scores[name], [[score]], rtol=1e-12)
    adaptive = AdaptiveKernelRegressor(
        NNGP("erf", bias_variance=0, readout_variance=1 / 128),
        alpha=1e-6,
        width=500,
        covariance_type="full",
        optimizer=None,
        normalize_y=False,
    ).fit(X, y)
    score = nc1_score(X, y, input=adaptive.kernel_)
    assert_allclose(display.scores["adaptive erf"], [[score]], rtol=1e-3)
    assert plt.get_fignums() == [display.figure_.number]


def test_it_can_be_drawn():
    display = NeuralCollapseDisplay.from_datasets(CLOUDS, kernels=KERNELS)
    display.figure_.canvas.draw()
    assert np.all(np.isfinite(display.ax_.get_tightbbox().bounds))


# --- KernelSpectrumDisplay -----------------------------------------------------------

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3)) * [1, 5, 0.2] + [0, 2, 0]
Y = np.sin(X[:, 0]) + X[:, 1] + 7
Y2 = np.stack([Y, X[:, 0] * X[:, 1], 0 * Y + 4], axis=1)
SPECTRA = {"NNGP": NNGP("erf"), "NTK": NTK("relu"), "RBF": RBF(0.7)}


def panels(count):
    return Figure().subplots(1, count)


def decomposed(K, targets):
    """Eigenvalues over the number of rows, and cumulative power, mode by mode."""
    values, vectors = np.linalg.eigh(K)
    targets = np.reshape(targets, (len(K), -1))
    targets = targets - targets.mean(axis=0)
    total, share, shares = np.sum(targets**2), 0.0, []
    for vector in vectors.T[::-1]:
        share += sum((vector @ column) ** 2 for column in targets.T) / total
        shares.append(share)
    return values[::-1] / len(K), shares


def assert_spectrum(display, name, K, targets):
    eigenvalues, shares = decomposed(K, targets)
    top = eigenvalues[0]
    assert_allclose(display.eigenvalues[name], eigenvalues, atol=1e-12 * top)
    assert_allclose(display.cumulative_power[name], shares, atol=1e-9)
    assert_allclose(display.cumulative_power[name][-1], 1)


@pytest.mark.parametrize("targets", [Y, Y2, Y2[:, :1]], ids=["one", "many", "column"])
def test_eigenvalues_and_shares_are_numpys(targets):
    axes = panels(2)
    display = KernelSpectrumDisplay.from_kernels(SPECTRA, X, targets, ax=axes)
    for name, kernel in SPECTRA.items():
        assert_spectrum(display, name, kernel(X), targets)
    assert list(display.axes_) == list(axes)
    assert display.figure_ is axes[0].figure


def test_columns_count_by_their_variance():
    """The share of several outputs is the mean of theirs, weighted by variance."""
    shares, weights = [], Y2[:, :2].var(axis=0)
    for column in (Y2[:, 0], Y2[:, 1]):
        display = KernelSpectrumDisplay.from_kernels({"k": NNGP()}, X, column)
        shares.append(display.cumulative_power["k"])
    display = KernelSpectrumDisplay.from_kernels({"k": NNGP()}, X, Y2[:, :2])
    expected = np.average(shares, axis=0, weights=weights)
    assert_allclose(display.cumulative_power["k"], expected)


def test_lines_are_the_numbers():
    axes = panels(2)
    display = KernelSpectrumDisplay.from_kernels(SPECTRA, X, Y, ax=axes)
    modes = np.arange(1, 41)
    for name in SPECTRA:
        curves = display.eigenvalues[name], display.cumulative_power[name]
        assert len(display.lines_[name]) == 2
        for panel, line, curve in zip(axes, display.lines_[name], curves, strict=True):
            assert line in panel.lines
            assert_array_equal(line.get_xydata(), np.transpose([modes, curve]))
    assert [len(panel.lines) for panel in axes] == [3, 3]
    assert legend(axes[0]) == list(SPECTRA) and axes[1].get_legend() is None
    assert [panel.get_xscale() for panel in axes] == ["log", "log"]
    assert [panel.get_yscale() for panel in axes] == ["log", "linear"]
    assert axes[1].get_ylim() == (0, 1.02)
    labels = [panel.get_ylabel() for panel in axes]
    assert labels == ["eigenvalue", "share of the target"]


def test_without_target():
    axes = Figure().subplots()
    display = KernelSpectrumDisplay.from_kernels(SPECTRA, X, ax=axes)
    assert display.cumulative_power is None
    assert list(display.axes_) == [axes]
    assert [len(lines) for lines in display.lines_.values()] == [1, 1, 1]
    for name, kernel in SPECTRA.items():
        expected = decomposed(kernel(X), Y)[0]
        assert_allclose(display.eigenvalues[name], expected, atol=1e-12 * expected[0])


def test_constant_target_has_no_power():
    display = KernelSpectrumDisplay.from_kernels(SPECTRA, X, np.full(40, 3.0))
    for power in display.cumulative_power.values():
        assert_array_equal(power, np.zeros(40))


def test_lines_end_where_rounding_begins():
    """A linear kernel has four modes here, and never learns the rest of the target."""
    display = KernelSpectrumDisplay.from_kernels({"k": NNGP("identity")}, X, Y2[:, 1])
    for line in display.lines_["k"]:
        assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
    design = np.column_stack([np.ones(40), X])
    target = Y2[:, 1] - Y2[:, 1].mean()
    fitted = design @ np.linalg.lstsq(design, target)[0]
    last = display.lines_["k"][1].get_ydata()[-1]
    assert_allclose(last, np.sum(fitted**2) / np.sum(target**2))
    assert len(display.cumulative_power["k"]) == 40
    assert_allclose(display.cumulative_power["k"][-1], 1)


@pytest.mark.parametrize("frame", [False, True], ids=["array", "frame"])
def test_of_estimators_and_pipelines(frame):
    rows, targets = X, Y
    if frame:
        rows, targets = pd.DataFrame(X, columns=list("abc")), pd.Series(Y)
    adaptive = AdaptiveKernelRegressor(NNGP("erf"), width=3).fit(rows, targets)
    scaled = make_pipeline(StandardScaler(), NNGPRegressor()).fit(rows, targets)
    alone = make_pipeline(NNGPRegressor()).fit(rows, targets)
    models = {"adaptive": adaptive, "scaled": scaled, "alone": alone, "k": NNGP("erf")}
    display = KernelSpectrumDisplay.from_kernels(models, rows, targets)
    standard = (X - X.mean(axis=0)) / X.std(axis=0)
    assert_spectrum(display, "adaptive", adaptive.kernel_(X), Y)
    assert_spectrum(display, "scaled", scaled[-1].kernel_(standard), Y)
    assert_spectrum(display, "alone", alone[-1].kernel_(X), Y)
    assert_spectrum(display, "k", NNGP("erf")(X), Y)


def test_lists_will_do():
    display = KernelSpectrumDisplay.from_kernels(SPECTRA, X.tolist(), Y.tolist())
    assert_spectrum(display, "NNGP", NNGP("erf")(X), Y)


def test_more_kernels_than_colors():
    eigenvalues = {str(i): np.array([2.0, 1.0]) / (i + 1) for i in range(8)}
    display = KernelSpectrumDisplay(eigenvalues=eigenvalues).plot()
    lines = [line for (line,) in display.lines_.values()]
    looks = {(line.get_color(), line.get_linestyle()) for line in lines}
    assert len(looks) == 8
    assert display.figure_.axes == list(display.axes_)


@pytest.mark.parametrize(("targets", "count"), [(None, 1), (Y, 2)])
def test_a_figure_of_its_own(targets, count):
    display = KernelSpectrumDisplay.from_kernels(SPECTRA, X, targets)
    assert plt.get_fignums() == [display.figure_.number]
    assert len(display.figure_.axes) == len(display.axes_) == count
    display.figure_.canvas.draw()
    for panel in display.axes_:
        assert np.all(np.isfinite(panel.get_tightbbox().bounds))
    again = display.plot()
    assert again is display and len(plt.get_fignums()) == 2


@pytest.mark.parametrize(("targets", "given"), [(None, 2), (Y, 1), (Y, 3)])
def test_wrong_number_of_axes(targets, given):
    needed = 1 if targets is None else 2
    with pytest.raises(ValueError, match=f"ax must hold {needed} axes, got {given}"):
        KernelSpectrumDisplay.from_kernels(SPECTRA, X, targets, ax=panels(given))


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        KernelSpectrumDisplay.from_kernels(SPECTRA, X, Y[:-1])
    with pytest.raises(NotFittedError):
        KernelSpectrumDisplay.from_kernels({"m": NNGPRegressor()}, X, Y)
    with pytest.raises(TypeError, match="Ridge has no `kernel_`"):
        KernelSpectrumDisplay.from_kernels({"m": Ridge().fit(X, Y)}, X, Y)


@pytest.mark.parametrize(
    "display",
    [
        NeuralCollapseDisplay(scores={}, positions=[1]),
        KernelSpectrumDisplay(eigenvalues={}),
    ],
)
def test_missing_matplotlib_says_what_to_install(monkeypatch, display):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    name = type(display).__name__
    with pytest.raises(ImportError, match=rf"{name}.plot.*adaptive_kernels\[demo\]"):
        display.plot()
