"""Singular values of features after one gradient step."""

from typing import Any, Self

import numpy as np
from sklearn.pipeline import Pipeline

from .._arrays import ArrayLike
from ..analysis.spike_spectrum import BEYOND_EDGE, SpikeSpectrum, spike_spectrum
from ..estimators.one_step_features import OneStepSpikeFeatures
from ._style import COLORS, GREY, check_axes, clear_frame


def _power(degree):
    return "$g$" if degree == 1 else f"$g^{degree}$"


class SpikeSpectrumDisplay:
    """Singular values of features after one gradient step: bulk and spikes.

    Use it to see what a gradient step has added to random features. Build it with
    :meth:`from_estimator`.

    Parameters
    ----------
    spectrum : SpikeSpectrum
        Result of `spike_spectrum`.

    Attributes
    ----------
    bulk_ : matplotlib StepPatch
        Histogram of the singular values that are not outliers.
    initial_ : matplotlib StepPatch
        Histogram of the singular values before the step.
    edge_ : matplotlib Line2D
        The largest singular value before the step.
    spikes_ : list of matplotlib StemContainer
        One for each spike, labelled with its power of the learned projection g.
    noise_ : matplotlib Line2D or None
        Outliers that are not spikes.
    predicted_ : matplotlib Line2D or None
        Predicted singular values of the spikes.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    References
    ----------
    The spectra of arXiv:2310.07891.

    Examples
    --------
    >>> from adaptive_kernels import OneStepSpikeFeatures
    >>> from adaptive_kernels.datasets import make_single_index
    >>> from adaptive_kernels.inspection import SpikeSpectrumDisplay
    >>> X, y = make_single_index(400, 50, random_state=0)
    >>> features = OneStepSpikeFeatures(300, random_state=0).fit(X, y)
    >>> display = SpikeSpectrumDisplay.from_estimator(features, X)
    >>> display.ax_.get_xlabel()
    'singular value'
    """

    def __init__(self, *, spectrum: SpikeSpectrum) -> None:
        self.spectrum = spectrum

    @classmethod
    def from_estimator(
        cls,
        estimator: OneStepSpikeFeatures | Pipeline,
        X: ArrayLike,
        *,
        degree: int = 3,
        ax: Any = None,
    ) -> Self:
        """Compute the spectrum of the features of `X`, and plot it.

        Parameters
        ----------
        estimator : OneStepSpikeFeatures or Pipeline
            Fitted transformer, or a fitted pipeline whose first such step is used.
        X : array-like of shape (n_samples, n_features)
            Rows, not necessarily those of the fit.
        degree : int, default=3
            Highest power that a spike is labelled with.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : SpikeSpectrumDisplay
            The drawn display.
        """
        return cls(spectrum=spike_spectrum(estimator, X, degree=degree)).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw histograms of the bulk, and a stem for each outlier.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : SpikeSpectrumDisplay
            The display itself.
        """
        ax = check_axes(ax, "SpikeSpectrumDisplay.plot")
        self.ax_, self.figure_ = ax, ax.figure
        found = self.spectrum
        outliers = len(found.degrees)
        limit = BEYOND_EDGE * found.edge
        bins = np.linspace(0, limit, 43)
        self.bulk_ = ax.stairs(
            *np.histogram(found.singular_values[outliers:], bins),
            fill=True,
            color=COLORS[5],
            label="after the step",
        )
        self.initial_ = ax.stairs(
            *np.histogram(found.initial_values, bins),
            color=GREY,
            linewidth=1,
            label="before it",
        )
        self.edge_ = ax.axvline(
            found.edge, color=GREY, linestyle="--", linewidth=1, label="edge"
        )
        height = 0.4 * ax.get_ylim()[1]
        values = found.singular_values[:outliers]
        self.spikes_ = [
            self._spike(value, degree, height)
            for value, degree in zip(values, found.degrees, strict=True)
            if degree
        ]
        noise = values[found.degrees == 0]
        self.noise_ = self._points(noise, 0.0, "no power of $g$", GREY, marker="x")
        predicted = found.predicted_values[found.predicted_values > limit]
        self.predicted_ = self._points(
            predicted, height, "predicted", "black", markersize=10, fillstyle="none"
        )
        clear_frame(ax, "y")
        ax.set(xlabel="singular value", ylabel="count", xlim=(0, None))
        ax.legend(frameon=False, fontsize="small")
        return self

    def _spike(self, value, degree, height):
        color = COLORS[(degree - 1) % len(COLORS)]
        stem = self.ax_.stem([value], [height], basefmt=" ")
        stem.stemlines.set(color=color, linewidth=1.5)
        stem.markerline.set(color=color, markersize=5)
        self.ax_.annotate(
            _power(degree),
            (value, height),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            color=color,
        )
        return stem

    def _points(self, values, height, label, color, *, marker="o", **style):
        if not values.size:
            return None
        return self.ax_.plot(
            values,
            np.full(len(values), height),
            color=color,
            marker=marker,
            linestyle="none",
            clip_on=False,
            label=label,
            **style,
        )[0]
