"""SpikeSpectrumDisplay: what is drawn is what was computed."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from adaptive_kernels import OneStepSpikeFeatures, spike_spectrum
from adaptive_kernels.analysis.spike_spectrum import SpikeSpectrum
from adaptive_kernels.datasets import make_single_index
from adaptive_kernels.inspection import SpikeSpectrumDisplay
from adaptive_kernels.inspection._style import COLORS

X, Y = make_single_index(400, 50, random_state=0)
# Four outliers, of which the third is noise; the bulk reaches to 1.
SPECTRUM = SpikeSpectrum(
    singular_values=np.array([6.0, 4.0, 2.0, 1.5, 1.04, 0.9, 0.5, 0.1]),
    initial_values=np.array([1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.0]),
    predicted_values=np.array([5.8, 4.1, 1.04, 0.9, 0.8, 0.7, 0.5, 0.1]),
    edge=1.0,
    alignments=np.zeros((4, 3)),
    explained=np.array([0.9, 0.9, 0.1, 0.8]),
    degrees=np.array([2, 1, 0, 3]),
)


pytestmark = pytest.mark.usefixtures("closed_figures")


def fitted(**parameters):
    return OneStepSpikeFeatures(300, random_state=0, **parameters).fit(X, Y)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def counts(stairs, values):
    """Whether the histogram holds exactly the values."""
    heights, edges, _ = stairs.get_data()
    inside = [
        np.sum((values >= a) & (values < b))
        for a, b in zip(edges[:-1], edges[1:], strict=True)
    ]
    assert_array_equal(heights, inside)
    assert heights.sum() == len(values)


def test_histograms_hold_the_bulk(ax):
    display = SpikeSpectrumDisplay(spectrum=SPECTRUM).plot(ax)
    counts(display.bulk_, SPECTRUM.singular_values[4:])
    counts(display.initial_, SPECTRUM.initial_values)
    assert_array_equal(display.edge_.get_xdata(), 1)
    assert display.ax_ is ax and display.figure_ is ax.figure
    assert display.spectrum is SPECTRUM


def test_spikes_are_stems_with_labels(ax):
    display = SpikeSpectrumDisplay(spectrum=SPECTRUM).plot(ax)
    places = [stem.markerline.get_xdata()[0] for stem in display.spikes_]
    assert places == [6, 4, 1.5]
    colors = [stem.markerline.get_color() for stem in display.spikes_]
    assert colors == [COLORS[1], COLORS[0], COLORS[2]]
    labels = {text.xy[0]: text.get_text() for text in ax.texts}
    assert labels == {6: "$g^2$", 4: "$g$", 1.5: "$g^3$"}
    assert_array_equal(display.noise_.get_xdata(), [2])
    assert_array_equal(display.predicted_.get_xdata(), [5.8, 4.1])
    assert legend(ax) == [
        "after the step",
        "before it",
        "edge",
        "no power of $g$",
        "predicted",
    ]


def test_all_is_in_sight(ax):
    SpikeSpectrumDisplay(spectrum=SPECTRUM).plot(ax)
    low, high = ax.get_xlim()
    assert low == 0 and high > 6
    assert ax.get_xlabel() == "singular value"
    assert ax.get_ylabel() == "count"


@pytest.mark.parametrize("pipeline", [False, True])
def test_from_estimator(pipeline, ax):
    estimator = fitted()
    if pipeline:
        estimator = make_pipeline(estimator, Ridge()).fit(X, Y)
    display = SpikeSpectrumDisplay.from_estimator(estimator, X, degree=2, ax=ax)
    truth = spike_spectrum(estimator, X, degree=2)
    assert_array_equal(display.spectrum.alignments, truth.alignments)
    assert truth.n_spikes == len(display.spikes_) == 2
    places = [stem.markerline.get_xdata()[0] for stem in display.spikes_]
    assert_allclose(places, truth.singular_values[:2])
    counts(display.bulk_, truth.singular_values[2:])


def test_no_outliers(ax):
    display = SpikeSpectrumDisplay.from_estimator(fitted(gain=0), X, ax=ax)
    assert display.spikes_ == []
    assert display.noise_ is None and display.predicted_ is None
    # The edge itself is in the histogram.
    assert display.bulk_.get_data().values.sum() == 300
    assert legend(ax) == ["after the step", "before it", "edge"]


def test_a_figure_of_its_own():
    display = SpikeSpectrumDisplay.from_estimator(fitted(), X)
    assert display.figure_ is display.ax_.figure
    assert plt.get_fignums() == [display.figure_.number]
    again = display.plot()
    assert again is display
    assert len(plt.get_fignums()) == 2


def test_it_can_be_drawn():
    display = SpikeSpectrumDisplay(spectrum=SPECTRUM).plot()
    display.figure_.canvas.draw()
    drawn = display.ax_.get_tightbbox()
    assert np.all(np.isfinite(drawn.bounds))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match="SpikeSpectrumDisplay.plot"):
        SpikeSpectrumDisplay(spectrum=SPECTRUM).plot()
