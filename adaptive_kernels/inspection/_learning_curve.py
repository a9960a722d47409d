"""Predicted and measured learning curve, and the modes that are learned."""

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import BaseCrossValidator, BaseShuffleSplit, learning_curve

from .._arrays import ArrayLike
from ..analysis.learning_curve import learning_curve_theory, resolve
from ..theory.kernel_regression.learning_curves import LearningCurveTheory
from ._style import COLORS, GREY, clear_frame, panels

# Points of the predicted line.
_POINTS = 40
# From light to dark, by training size.
_SIZE_COLORS = ("#9ecae1", "#4292c6", "#084594")


class LearningCurveTheoryDisplay:
    """Learning curve of a kernel as predicted by theory and as measured.

    Use it to see whether more rows would help, and which modes they would teach. Build
    it with :meth:`from_estimator`.

    Parameters
    ----------
    theory : LearningCurveTheory
        Result of `learning_curve_theory`.
    sizes : array-like of shape (n_sizes,), default=None
        Numbers of training rows of the measurement.
    errors : array-like of shape (n_sizes, n_folds), default=None
        Measured mean squared errors, summed over outputs.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The predicted error against noisy targets.
    errorbar_ : matplotlib ErrorbarContainer or None
        Mean and standard deviation of the measured errors over folds.
    power_ : matplotlib Line2D or None
        Cumulative power of the target.
    learnability_ : list of matplotlib Line2D
        Share of each mode that is learned, at the smallest, a middle and the largest of
        the measured sizes, or of the predicted ones if none are measured.
    axes_ : ndarray of matplotlib Axes
        One or two panels.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    References
    ----------
    Canatar, Bordelon and Pehlevan, arXiv:2006.13198.

    Examples
    --------
    >>> from adaptive_kernels import learning_curve_theory
    >>> from adaptive_kernels.datasets import make_ising
    >>> from adaptive_kernels.inspection import LearningCurveTheoryDisplay
    >>> from adaptive_kernels.kernels import NNGP
    >>> X, y = make_ising(100, 10, random_state=0)
    >>> theory = learning_curve_theory(NNGP("erf"), X, y, alpha=0.1)
    >>> display = LearningCurveTheoryDisplay(theory=theory).plot()
    >>> [ax.get_xlabel() for ax in display.axes_]
    ['training rows', 'mode of the kernel, by eigenvalue']
    """

    def __init__(
        self,
        *,
        theory: LearningCurveTheory,
        sizes: ArrayLike | None = None,
        errors: ArrayLike | None = None,
    ) -> None:
        self.theory = theory
        self.sizes = sizes
        self.errors = errors

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: ArrayLike,
        y: ArrayLike,
        *,
        train_sizes: ArrayLike | None = None,
        cv: int | BaseCrossValidator | BaseShuffleSplit | Iterable[Any] | None = None,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        ax: Any = None,
    ) -> Self:
        """Predict the learning curve from all rows, measure it by folds, and plot.

        The measurement trains on random subsets with scikit-learn's `learning_curve`.
        Kernel, noise and earlier steps of a pipeline stay as fitted, in theory and
        measurement: tuned on few rows, they would usually be worse. If they were tuned
        on these rows, both curves are optimistic: give rows that the estimator has not
        seen.

        Parameters
        ----------
        estimator : fitted estimator or pipeline that ends in one
            An `NNGPRegressor`, `AdaptiveKernelRegressor` or its search.
        X : array-like of shape (n_samples, n_features)
            Rows that the estimator has not seen.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets.
        train_sizes : array-like of shape (n_sizes,), default=None
            Numbers of rows, or fractions of a fold's training rows if floating. None
            means ``np.linspace(0.1, 1.0, 5)``.
        cv : int, splitter or iterable, default=None
            Number of folds, scikit-learn splitter, or pairs of indices. None means five
            folds.
        n_jobs : int, default=None
            Number of processes for the measurement.
        random_state : int, RandomState or None, default=0
            Seed of the random subsets.
        ax : matplotlib Axes or array of two, default=None
            Axes to draw on: one for the errors only, or two. By default a new figure
            with both panels.

        Returns
        -------
        display : LearningCurveTheoryDisplay
            The drawn display.
        """
        _, model, rows = resolve(estimator, X)
        if model is None:
            raise TypeError(
                "estimator must be a fitted regressor: for a kernel plot what "
                "`learning_curve_theory` returns."
            )
        sizes, _, scores = learning_curve(
            model,
            rows,
            y,
            train_sizes=np.linspace(0.1, 1, 5) if train_sizes is None else train_sizes,
            cv=cv,
            n_jobs=n_jobs,
            shuffle=True,
            random_state=random_state,
            scoring="neg_mean_squared_error",
            error_score="raise",
        )
        outputs = 1 if np.ndim(y) == 1 else np.shape(y)[1]
        line = np.unique(np.geomspace(sizes[0], sizes[-1], _POINTS).astype(int))
        theory = learning_curve_theory(
            estimator, X, y, train_sizes=np.union1d(line, sizes)
        )
        return cls(theory=theory, sizes=sizes, errors=-outputs * scores).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the errors, and in a second panel how the modes are learned.

        Parameters
        ----------
        ax : matplotlib Axes or array of two, default=None
            Axes to draw on: one for the errors only, or two. By default a new figure
            with both panels.

        Returns
        -------
        display : LearningCurveTheoryDisplay
            The display itself.
        """
        self.axes_ = self._axes(ax)
        self.figure_ = self.axes_[0].figure
        self._draw_errors(self.axes_[0])
        self.power_: Any
        self.learnability_: list[Any]
        self.power_, self.learnability_ = None, []
        if len(self.axes_) == 2:
            self._draw_modes(self.axes_[1])
        if ax is None:
            self.figure_.legend(loc="outside lower center", ncols=4, frameon=False)
        else:
            for panel in self.axes_:
                panel.legend(fontsize="small", framealpha=0.85)
        return self

    def _draw_errors(self, ax):
        theory = self.theory
        (self.line_,) = ax.plot(
            theory.sizes, theory.noisy_test_error, color=COLORS[0], label="theory"
        )
        self.errorbar_ = None
        if self.errors is not None:
            errors = np.asarray(self.errors, dtype=float)
            self.errorbar_ = ax.errorbar(
                self.sizes,
                errors.mean(axis=1),
                yerr=errors.std(axis=1),
                color="black",
                linestyle="none",
                marker="o",
                markersize=5,
                markerfacecolor="white",
                capsize=2,
                label="measured, spread over folds",
            )
        if theory.noise > 0:
            ax.axhline(
                theory.noise,
                color=GREY,
                linestyle=":",
                linewidth=1,
                label="noise of the targets",
            )
        _use_log_axis(ax, theory.sizes)
        ax.set(xlabel="training rows", ylabel="held-out mean squared error")
        ax.set_ylim(bottom=0)

    def _draw_modes(self, ax):
        theory = self.theory
        modes = 1 + np.arange(len(theory.eigenvalues))
        (self.power_,) = ax.plot(
            modes,
            theory.cumulative_power,
            color=COLORS[1],
            linewidth=2,
            label="target's power up to the mode",
        )
        sizes = theory.sizes if self.sizes is None else np.asarray(self.sizes)
        picked = sizes[sorted({0, len(sizes) // 2, len(sizes) - 1})]
        indices = [np.argmin(np.abs(theory.sizes - size)) for size in picked]
        for index, color in zip(indices, _SIZE_COLORS, strict=False):
            self.learnability_ += ax.plot(
                modes,
                theory.learnability[index],
                color=color,
                label=f"learned from {theory.sizes[index]:.0f} rows",
            )
        _use_log_axis(ax, modes)
        ax.set(xlabel="mode of the kernel, by eigenvalue", ylabel="share")
        ax.set_ylim(0, max(1.05, 1.05 * np.max(theory.cumulative_power)))

    @staticmethod
    def _axes(ax):
        if ax is None:
            return panels(None, 2, "LearningCurveTheoryDisplay.plot")
        axes = np.ravel(ax)
        if len(axes) > 2:
            raise ValueError(f"ax must hold one or two axes, got {len(axes)}.")
        return axes


def _use_log_axis(ax, values):
    """A logarithmic horizontal axis with ticks at 1, 2 and 5 times powers of ten."""
    clear_frame(ax, "y")
    ax.set_xscale("log")
    ticks = np.outer(10.0 ** np.arange(12), (1, 2, 5)).ravel()
    ticks = ticks[(ticks >= np.min(values)) & (ticks <= np.max(values))]
    if len(ticks) > 8:
        ticks = ticks[np.isclose(np.log10(ticks) % 1, 0)]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
