"""Learned importance of each feature."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from .._arrays import ArrayLike
from ._style import COLORS, check_axes, clear_frame, final_estimator, names_of_inputs


def _short(name, length=32):
    name = str(name)
    return name if len(name) <= length else name[: length - 1] + "…"


class FeatureImportancesDisplay:
    """Bars that show which features a fitted estimator uses most.

    Each bar is the share of a feature in the learned metric. Build it with
    :meth:`from_estimator`.

    Parameters
    ----------
    importances : ndarray of shape (n_features,)
        Non-negative shares that sum to 1.
    feature_names : sequence of str, of length n_features
        One name for each feature.

    Attributes
    ----------
    bar_ : matplotlib BarContainer
        One bar for each feature shown, the largest on top.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    Examples
    --------
    >>> from adaptive_kernels.inspection import FeatureImportancesDisplay
    >>> display = FeatureImportancesDisplay(
    ...     importances=[0.1, 0.7, 0.2], feature_names=["age", "dose", "weight"]
    ... ).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['dose', 'weight', 'age']
    """

    def __init__(self, *, importances: ArrayLike, feature_names: Sequence[str]) -> None:
        self.importances = importances
        self.feature_names = feature_names

    @classmethod
    def from_estimator(cls, estimator: BaseEstimator, *, ax: Any = None) -> Self:
        """Plot `feature_importances_` of a fitted estimator.

        Parameters
        ----------
        estimator : estimator with `feature_importances_`
            A fitted estimator, or a pipeline that ends in one. In a pipeline the names
            come from `get_feature_names_out` of the other steps.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : FeatureImportancesDisplay
            The drawn display.
        """
        last = final_estimator(estimator, "feature_importances_")
        importances = np.asarray(last.feature_importances_)
        names = names_of_inputs(estimator, last)
        names = names or [f"x{i}" for i in range(len(importances))]
        return cls(importances=importances, feature_names=names).plot(ax)

    def plot(self, ax: Any = None, *, max_features: int = 12) -> Self:
        """Draw the largest importances as bars.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.
        max_features : int, default=12
            Largest number of bars.

        Returns
        -------
        display : FeatureImportancesDisplay
            The display itself.
        """
        ax = check_axes(ax, "FeatureImportancesDisplay.plot")
        self.ax_, self.figure_ = ax, ax.figure
        importances = np.asarray(self.importances, float)
        order = np.argsort(-importances, kind="stable")[:max_features]
        rows = np.arange(len(order))
        self.bar_ = ax.barh(rows, importances[order], height=0.65, color=COLORS[0])
        ax.set_yticks(
            rows, [_short(self.feature_names[i]) for i in order], parse_math=False
        )
        ax.invert_yaxis()
        ax.bar_label(self.bar_, fmt="{:.1%}", padding=3, fontsize="small")
        clear_frame(ax, "x")
        ax.margins(x=0.15)
        ax.xaxis.set_major_formatter("{x:.0%}")
        ax.locator_params(axis="x", nbins=5)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("share of the learned metric")
        return self
