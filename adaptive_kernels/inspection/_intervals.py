"""Prediction intervals against observations."""

from statistics import NormalDist
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from .._arrays import ArrayLike
from ..metrics._validation import check_columns, check_spread
from ._style import COLORS, GREY, check_axes, clear_frame


class PredictionIntervalDisplay:
    """Predictions with their intervals against the observed values.

    Use it to see errors and the width of intervals row by row. Build it with
    :meth:`from_estimator`, with held-out data.

    Parameters
    ----------
    y_true, y_pred, y_std : array-like of shape (n_samples,)
        Observed values, predicted means and predicted standard deviations of new
        observations, in the units of y.
    level : float, default=0.9
        Probability of the normal prediction interval.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The diagonal on which prediction equals observation.
    errorbar_ : dict of str to matplotlib ErrorbarContainer
        Points whose interval contains the observation, ``"inside"``, and the others,
        ``"outside"``.
    coverage_ : float
        Fraction of observations inside their interval.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    Examples
    --------
    >>> from adaptive_kernels.inspection import PredictionIntervalDisplay
    >>> display = PredictionIntervalDisplay(
    ...     y_true=[1.0, 2.0, 3.0], y_pred=[1.1, 1.9, 4.0], y_std=[0.1, 0.2, 0.3]
    ... ).plot()
    >>> round(display.coverage_, 3)
    0.667
    """

    def __init__(
        self,
        *,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        y_std: ArrayLike,
        level: float = 0.9,
    ) -> None:
        self.y_true = y_true
        self.y_pred = y_pred
        self.y_std = y_std
        self.level = level

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: ArrayLike,
        y: ArrayLike,
        *,
        level: float = 0.9,
        ax: Any = None,
    ) -> Self:
        """Predict `X` and plot the intervals against `y`.

        Parameters
        ----------
        estimator : regressor whose `predict` accepts `return_std`
            A fitted regressor, or a pipeline that ends in one.
        X : array-like of shape (n_samples, n_features)
            Held-out rows.
        y : array-like of shape (n_samples,)
            Observed values.
        level : float, default=0.9
            Probability of the normal prediction interval.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : PredictionIntervalDisplay
            The drawn display.
        """
        mean, std = estimator.predict(X, return_std=True)
        return cls(y_true=y, y_pred=mean, y_std=std, level=level).plot(ax)

    @staticmethod
    def _one_output(columns):
        if columns.shape[1] > 1:
            raise ValueError(
                f"y_true has {columns.shape[1]} outputs: plot them one by one, or use "
                "ReliabilityDisplay."
            )
        return columns[:, 0]

    def plot(self, ax: Any = None) -> Self:
        """Draw the points, their intervals and the diagonal.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : PredictionIntervalDisplay
            The display itself.
        """
        ax = check_axes(ax, "PredictionIntervalDisplay.plot")
        self.ax_, self.figure_ = ax, ax.figure
        columns = check_columns(
            y_true=self.y_true, y_pred=self.y_pred, y_std=self.y_std
        )
        observed, mean, std = (self._one_output(values) for values in columns)
        check_spread("y_std", std)
        half = NormalDist().inv_cdf((1 + self.level) / 2) * std
        inside = np.abs(observed - mean) <= half
        self.coverage_ = float(inside.mean())
        ends = [observed.min(), observed.max()]
        self.line_ = ax.plot(ends, ends, color=GREY, linewidth=1, zorder=1)[0]
        self.errorbar_ = {
            name: ax.errorbar(
                observed[rows],
                mean[rows],
                yerr=half[rows],
                color=color,
                ecolor=(color, 0.3),
                linestyle="none",
                linewidth=1,
                marker=marker,
                markersize=4,
                label=f"{name} the {self.level:.0%} interval ({rows.mean():.0%})",
            )
            for name, rows, color, marker in (
                ("inside", inside, COLORS[0], "o"),
                ("outside", ~inside, COLORS[1], "D"),
            )
        }
        clear_frame(ax, "both")
        ax.set(xlabel="observed", ylabel="predicted")
        ax.legend(frameon=False, fontsize="small", loc="upper left")
        return self
