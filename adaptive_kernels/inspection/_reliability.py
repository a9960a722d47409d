"""Calibration of predicted intervals and probabilities."""

from typing import Any, Self, cast

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import check_is_fitted

from .._arrays import ArrayLike, to_numpy
from ..metrics import interval_coverage
from ..metrics._validation import check_columns, check_labels, check_spread
from ._style import COLORS, GREY, check_axes, clear_frame, last_step

_CURVE, _DIAGONAL = "reliability curve", "reliability diagonal"
_MARKERS = ("o", "s", "D", "^", "v", "P")
_LEVELS = np.arange(1, 100) / 100
_READ_AT = 0.9
# Width of bands and intervals in standard errors: two contain about 95 %.
_ERRORS = 2


class ReliabilityDisplay:
    """How often a model is right against how often it claims to be.

    For regressors it shows the share of observations inside the central normal
    intervals at every level. The grey band shows sampling errors of a calibrated model,
    of two binomial standard errors. For classifiers it shows accuracy against the
    probability of the predicted class, in bins of equally many rows, with Wilson
    intervals of two standard errors. Below the diagonal a model is overconfident. Build
    it with :meth:`from_estimator` or :meth:`from_predictions`, with held-out data.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Observed values or labels.
    y_pred : array-like, shaped like y_true
        Predicted means or labels.
    y_std : array-like, shaped like y_true, default=None
        Standard deviations of new observations, in the units of y.
    confidence : array-like of shape (n_samples,), default=None
        Probability of each predicted label. Give either this or `y_std`.
    n_bins : int, default=10
        Largest number of bins of the confidence; equal values share a bin.

    Attributes
    ----------
    nominal_ : ndarray of shape (n_points,)
        Levels of the intervals, or mean confidence of each bin.
    observed_ : ndarray of shape (n_points,) or (n_points, n_outputs)
        Share of observations inside the intervals, or accuracy of each bin.
    coverage_ : float, ndarray of shape (n_outputs,) or None
        Share of observations inside the 90 % intervals; None for classifiers.
    calibration_error_ : float or None
        Expected calibration error: mean distance of accuracy and confidence, bins
        weighted by rows. None for regressors.
    sampling_error_ : float or None
        Expected `calibration_error_` of a calibrated classifier, by sampling alone.
    lines_ : list of matplotlib Line2D
        A curve for each output, or the bins.
    errorbar_ : matplotlib ErrorbarContainer or None
        The bins with their intervals.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    References
    ----------
    Kuleshov, Fenner and Ermon, "Accurate uncertainties for deep learning using
    calibrated regression", ICML 2018; Guo, Pleiss, Sun and Weinberger, "On calibration
    of modern neural networks", ICML 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.inspection import ReliabilityDisplay
    >>> noise = np.random.default_rng(0).standard_normal(1000)
    >>> display = ReliabilityDisplay.from_predictions(
    ...     noise, np.zeros(1000), y_std=np.full(1000, 0.5)
    ... )
    >>> display.coverage_ < 0.7
    True
    """

    def __init__(
        self,
        *,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        y_std: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        n_bins: int = 10,
    ) -> None:
        self.y_true = y_true
        self.y_pred = y_pred
        self.y_std = y_std
        self.confidence = confidence
        self.n_bins = n_bins

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_bins: int = 10,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Predict `X` and plot the reliability of the predictions.

        Parameters
        ----------
        estimator : fitted regressor or classifier, or a pipeline that ends in one
            `predict` of a regressor must accept `return_std`. A classifier must have
            `predict_proba`; its prediction is the most probable class.
        X : array-like of shape (n_samples, n_features)
            Held-out rows.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Observed values or labels.
        n_bins : int, default=10
            Largest number of bins of the confidence, for classifiers.
        name : str, default=None
            Label in the legend; None means the name of the estimator's class.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : ReliabilityDisplay
            The drawn display.

        Raises
        ------
        TypeError
            If the estimator predicts no standard deviations or probabilities.
        """
        check_is_fitted(estimator)
        if is_classifier(estimator):
            labels, confidence = _most_probable(estimator, X)
            predicted = {"y_pred": labels, "confidence": confidence}
        else:
            mean, std = _mean_and_std(estimator, X)
            predicted = {"y_pred": mean, "y_std": std}
        name = type(last_step(estimator)).__name__ if name is None else name
        return cls(y_true=y, **predicted, n_bins=n_bins).plot(ax, name=name)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_pred: ArrayLike,
        *,
        y_std: ArrayLike | None = None,
        confidence: ArrayLike | None = None,
        n_bins: int = 10,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot the reliability of given predictions.

        Parameters
        ----------
        y_true, y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Observed and predicted values or labels.
        y_std : array-like, shaped like y_true, default=None
            Standard deviations of new observations, for regressors.
        confidence : array-like of shape (n_samples,), default=None
            Probability of each predicted label, for classifiers.
        n_bins : int, default=10
            Largest number of bins of the confidence.
        name : str, default=None
            Label in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : ReliabilityDisplay
            The drawn display.
        """
        display = cls(
            y_true=y_true,
            y_pred=y_pred,
            y_std=y_std,
            confidence=confidence,
            n_bins=n_bins,
        )
        return display.plot(ax, name=name)

    def plot(self, ax: Any = None, *, name: str | None = None) -> Self:
        """Draw the curve or the bins, and the diagonal.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, also those of another display; a new figure by default.
        name : str, default=None
            Label in the legend.

        Returns
        -------
        display : ReliabilityDisplay
            The display itself.
        """
        if (self.y_std is None) == (self.confidence is None):
            raise ValueError(
                "Give y_std for the predictions of a regressor, or confidence for "
                "those of a classifier, and not both."
            )
        self.coverage_ = self.calibration_error_ = cast(Any, None)
        self.sampling_error_ = self.errorbar_ = cast(Any, None)
        regression = self.confidence is None
        measured = self._intervals() if regression else self._bins()
        self.ax_ = check_axes(ax, "ReliabilityDisplay.plot")
        self.figure_ = self.ax_.figure
        prefix = "" if name is None else f"{name}: "
        draw = self._draw_intervals if regression else self._draw_bins
        self._frame(lowest=draw(prefix, *measured))
        return self

    def _intervals(self):
        """Compute the coverage at every level; return the number of rows."""
        y, mean, std = check_columns(
            y_true=self.y_true, y_pred=self.y_pred, y_std=self.y_std
        )
        check_spread("y_std", std)
        outputs = [(y[:, c], mean[:, c], std[:, c]) for c in range(y.shape[1])]
        self.nominal_ = _LEVELS
        self.observed_ = np.array(
            [[interval_coverage(*o, level=p) for o in outputs] for p in _LEVELS]
        )
        at = np.array([interval_coverage(*o, level=_READ_AT) for o in outputs])
        self.coverage_ = at
        if np.ndim(to_numpy(self.y_pred)) == 1:
            self.observed_, self.coverage_ = self.observed_[:, 0], float(at[0])
        return (len(y),)

    def _draw_intervals(self, prefix, n_rows):
        """Draw coverage against the level; return the lowest end of the axes."""
        ax = self.ax_
        self._draw_band(n_rows)
        shares, at = np.reshape(self.observed_, (len(_LEVELS), -1)), self.coverage_
        first = _count(ax, _CURVE)
        self.lines_ = []
        for c, (share, value) in enumerate(
            zip(shares.T, np.atleast_1d(at), strict=True)
        ):
            color = COLORS[(first + c) % len(COLORS)]
            output = f"output {c}, " if shares.shape[1] > 1 else ""
            label = f"{prefix}{output}{_READ_AT:.0%} intervals hold {value:.0%}"
            self.lines_ += ax.plot(
                _LEVELS,
                share,
                color=color,
                marker=_MARKERS[(first + c) % len(_MARKERS)],
                markevery=[np.searchsorted(_LEVELS, _READ_AT)],
                clip_on=False,
                zorder=3,
                gid=_CURVE,
                label=label,
            )
        ax.set(xlabel="level of the interval", ylabel="share of observations inside")
        return 0.0

    def _draw_band(self, n_rows):
        gid = f"reliability band {n_rows}"
        if any(patch.get_gid() == gid for patch in self.ax_.collections):
            return
        levels = np.linspace(0, 1, 201)
        half = _ERRORS * np.sqrt(levels * (1 - levels) / n_rows)
        low, high = np.clip([levels - half, levels + half], 0, 1)
        label = f"calibrated, for {n_rows} rows (2 standard errors)"
        self.ax_.fill_between(
            levels, low, high, color="#dddddd", linewidth=0, gid=gid, label=label
        )

    def _bins(self):
        """Compute accuracy and confidence of each bin; return its number of rows."""
        correct, confidence = self._hits()
        edges = np.quantile(confidence, np.linspace(0, 1, self.n_bins + 1))
        _, index, rows = np.unique(
            np.searchsorted(edges[1:-1], confidence),
            return_inverse=True,
            return_counts=True,
        )
        self.nominal_ = np.bincount(index, confidence) / rows
        self.observed_ = np.bincount(index, correct) / rows
        share = rows / len(correct)
        distances = np.abs(self.observed_ - self.nominal_)
        # The mean of |z| is sqrt(2 / pi) for a standard normal z.
        noise = np.sqrt(2 / np.pi * self.nominal_ * (1 - self.nominal_) / rows)
        self.calibration_error_ = float(share @ distances)
        self.sampling_error_ = float(share @ noise)
        return (rows,)

    def _hits(self):
        """Whether each prediction is right, and its confidence."""
        if not (isinstance(self.n_bins, (int, np.integer)) and self.n_bins > 0):
            raise ValueError(f"n_bins must be a positive integer, got {self.n_bins!r}.")
        y, labels = check_labels(y_true=self.y_true, y_pred=self.y_pred)
        (confidence,) = check_columns(confidence=self.confidence)
        if confidence.shape != (len(y), 1):
            raise ValueError(
                f"confidence must have shape ({len(y)},), got {confidence.shape}."
            )
        confidence = confidence[:, 0]
        if confidence.min() < 0 or confidence.max() > 1 + 1e-9:
            raise ValueError("confidence must be a probability, between 0 and 1.")
        return y == labels, np.minimum(confidence, 1)

    def _draw_bins(self, prefix, rows_of_bins):
        """Draw accuracy against confidence; return the lowest value drawn."""
        number = _count(self.ax_, _CURVE)
        low, high = _wilson(self.observed_, rows_of_bins)
        color = COLORS[number % len(COLORS)]
        self.errorbar_ = self.ax_.errorbar(
            self.nominal_,
            self.observed_,
            yerr=np.maximum([self.observed_ - low, high - self.observed_], 0),
            color=color,
            ecolor=(color, 0.5),
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=5,
            linewidth=1,
            elinewidth=1.5,
            clip_on=False,
            gid=_CURVE,
            label=(
                f"{prefix}calibration error {self.calibration_error_:.1%} "
                f"(sampling alone {self.sampling_error_:.1%})"
            ),
        )
        self.lines_ = [self.errorbar_.lines[0]]
        self.ax_.set(xlabel="confidence in the predicted class", ylabel="accuracy")
        return min(low.min(), self.nominal_.min())

    def _frame(self, lowest):
        ax = self.ax_
        clear_frame(ax, "both")
        lowest = max(0.0, np.floor(10 * lowest) / 10)
        if _count(ax, _DIAGONAL):
            lowest = min(lowest, ax.get_xlim()[0])
        else:
            ax.axline((1, 1), slope=1, color=GREY, linewidth=1, gid=_DIAGONAL)
        ax.set(xlim=(lowest, 1), ylim=(lowest, 1))
        ax.xaxis.set_major_formatter("{x:.0%}")
        ax.yaxis.set_major_formatter("{x:.0%}")
        # Below the axes, since curves above the diagonal fill the upper left.
        ax.legend(
            frameon=False,
            fontsize="small",
            loc="upper left",
            bbox_to_anchor=(0, -0.13),
            borderaxespad=0,
        )


def _count(ax, gid):
    return sum(line.get_gid() == gid for line in ax.get_lines())


def _mean_and_std(estimator, X):
    try:
        return estimator.predict(X, return_std=True)
    except TypeError as error:
        if "return_std" not in str(error):
            raise
        raise TypeError(
            f"{type(last_step(estimator)).__name__}.predict does not know return_std. "
            "Give a regressor whose predict does: NNGPRegressor or scikit-learn's "
            "GaussianProcessRegressor, or a pipeline that ends in one. For a search "
            "give its best_estimator_. For any other model give predictions and "
            "standard deviations to ReliabilityDisplay.from_predictions."
        ) from error


def _most_probable(estimator, X):
    """Predicted labels and their probabilities."""
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"{type(last_step(estimator)).__name__} has no predict_proba. Wrap it in "
            "scikit-learn's CalibratedClassifierCV, or give a classifier that predicts "
            "probabilities."
        )
    probabilities = estimator.predict_proba(X)
    if isinstance(probabilities, list):
        raise ValueError("y has several outputs: give one classifier for each output.")
    probabilities, classes = to_numpy(probabilities), to_numpy(estimator.classes_)
    return classes[probabilities.argmax(axis=1)], probabilities.max(axis=1)


def _wilson(share, rows):
    """Ends of Wilson's intervals, which are within 0 and 1 and never empty."""
    z = _ERRORS
    center = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    spread = np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    half = z * spread / (1 + z**2 / rows)
    return center - half, center + half
