"""Spectrum of the learned weight covariance against its prior."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from .._arrays import ArrayLike, to_numpy
from ._style import (
    COLORS,
    GREY,
    check_axes,
    clear_frame,
    final_estimator,
    names_of_inputs,
)

_GID = "weight covariance"
_MARKERS = ("o", "s", "D", "^", "v", "P")
# The direction in the legend: largest number of terms, and smallest entry.
_TERMS, _SMALLEST = 3, 0.1


class WeightCovarianceDisplay:
    """Eigenvalues of a hidden unit's input-weight covariance, relative to the prior.

    Use it to see how many directions a network has learned: their eigenvalues are above
    one. In a network that only rescales its kernel all eigenvalues equal the scale.
    Build it with :meth:`from_estimator`, or with the constructor from the covariance of
    sampled networks.

    Parameters
    ----------
    weight_covariance : ndarray of shape (n_features, n_features) or (n_features,)
        Covariance, or variances of independent weights.
    prior_variance : float
        Variance of every weight before learning.
    direction : ndarray of shape (n_features,), default=None
        Target direction, of any length, in the coordinates of the weights.
    scale : float, default=None
        Scale of the kernel under a theory that rescales it.
    feature_names : sequence of str, of length n_features, default=None
        Names of the coordinates. With them the legend shows the direction of the
        largest eigenvalue as a sum of features.

    Attributes
    ----------
    spectrum_ : ndarray of shape (n_features,)
        Eigenvalues divided by the prior variance, in descending order.
    directions_ : ndarray of shape (n_features, n_features)
        Unit eigenvectors in columns, in the order of the spectrum. The largest entry of
        each is positive. Entry i belongs to input i of the last step of a pipeline.
    overlap_ : float or None
        Squared cosine of the first eigenvector with the direction.
    line_ : matplotlib Line2D
        The spectrum.
    spike_ : matplotlib Line2D or None
        The ring around the top eigenvalue, if it stands above the prior.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.inspection import WeightCovarianceDisplay
    >>> display = WeightCovarianceDisplay(
    ...     weight_covariance=np.diag([0.1, 0.6, 0.1]),
    ...     prior_variance=0.1,
    ...     direction=[0, 1, 0],
    ... ).plot()
    >>> round(float(display.spectrum_[0]), 3), display.overlap_
    (6.0, 1.0)

    Directions in the names of features:

    >>> covariance = [[0.5, 0.4, 0.0], [0.4, 0.5, 0.0], [0.0, 0.0, 0.1]]
    >>> display = WeightCovarianceDisplay(
    ...     weight_covariance=covariance,
    ...     prior_variance=0.1,
    ...     feature_names=["age", "dose", "weight"],
    ... ).plot()
    >>> display.spike_.get_label()
    'direction: 0.71 age + 0.71 dose'
    """

    def __init__(
        self,
        *,
        weight_covariance: ArrayLike,
        prior_variance: float,
        direction: ArrayLike | None = None,
        scale: float | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.weight_covariance = weight_covariance
        self.prior_variance = prior_variance
        self.direction = direction
        self.scale = scale
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: BaseEstimator,
        *,
        direction: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
    ) -> Self:
        """Plot `weight_covariance_` of a fitted adaptive kernel.

        Parameters
        ----------
        estimator : adaptive kernel regressor or classifier, its search, or a pipeline
            Fitted estimator. For a search its `best_estimator_` is shown. If the
            features have names, as in data frames, the legend shows the first direction
            as a sum of features.
        direction : array-like of shape (n_features,), default=None
            Target direction in the inputs of the last step. If the kernel has a metric,
            direction and covariance are divided by its root, so that the prior is the
            same in all directions.
        name : str, default=None
            Label in the legend; None means the name of the approximation.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : WeightCovarianceDisplay
            The drawn display.
        """
        last = final_estimator(estimator, "feature_importances_")
        names = None
        if hasattr(estimator, "feature_names_in_"):
            names = names_of_inputs(estimator, last)
        for inner in ("best_estimator_", "regressor_"):
            last = getattr(last, inner, last)
        if not hasattr(last, "weight_covariance_"):
            raise TypeError(f"{type(last).__name__} has no weight_covariance_ to show.")
        metric = last._tuned.frame.metric_sqrt
        scale = last.scale_ if np.ndim(last.scale_) == 0 else 1
        display = cls(
            **_whitened(to_numpy(last.weight_covariance_), direction, metric),
            prior_variance=last.kernel_.weight_variance / last.n_features_in_,
            scale=None if scale == 1 else scale,
            # With a full metric the weights belong to mixtures of features.
            feature_names=None if np.ndim(metric) == 2 else names,
        )
        return display.plot(ax, name=last.approximation if name is None else name)

    def plot(self, ax: Any = None, *, name: str = "weight covariance") -> Self:
        """Draw the spectrum and mark its largest eigenvalue.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, also those of another display; a new figure by default.
        name : str, default="weight covariance"
            Label in the legend.

        Returns
        -------
        display : WeightCovarianceDisplay
            The display itself.
        """
        ax = check_axes(ax, "WeightCovarianceDisplay.plot")
        self.ax_, self.figure_ = ax, ax.figure
        if not self.prior_variance > 0:
            raise ValueError(
                f"prior_variance must be positive, got {self.prior_variance!r}."
            )
        values, vectors = self._spectrum()
        self.spectrum_ = values / self.prior_variance
        self.directions_ = vectors
        self.overlap_ = self._overlap(vectors[:, 0])
        number = sum(line.get_gid() == _GID for line in ax.get_lines())
        color = COLORS[number % len(COLORS)]
        label = name
        if self.overlap_ is not None:
            label += f" (overlap of the spike {self.overlap_:.2f})"
        ranks = np.arange(1, len(values) + 1)
        self.line_ = ax.plot(
            ranks,
            self.spectrum_,
            color=color,
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=4,
            linewidth=0.8,
            gid=_GID,
            label=label,
        )[0]
        self.spike_ = self._ring(color)
        if self.scale is not None:
            ax.axhline(
                self.scale,
                color=color,
                linestyle="--",
                linewidth=1,
                label=f"{name}: kernel rescaled, all directions alike",
            )
        if number == 0:
            self._mark_prior()
        self._frame()
        return self

    def _ring(self, color):
        top = self.spectrum_[:1]
        if top[0] < 1.01:
            return None
        return self.ax_.plot(
            [1],
            top,
            marker="o",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=color,
            linestyle="none",
            label=self._spelled(),
        )[0]

    def _spelled(self):
        """Label of the first direction: its largest entries with their features."""
        if self.feature_names is None:
            return None
        vector = self.directions_[:, 0]
        if len(self.feature_names) != len(vector):
            raise ValueError(
                f"feature_names must hold {len(vector)} names, got "
                f"{len(self.feature_names)}."
            )
        order = np.argsort(-np.abs(vector), kind="stable")
        order = order[np.abs(vector[order]) >= _SMALLEST]
        text = ""
        for i in order[:_TERMS]:
            sign = "\N{MINUS SIGN}" if vector[i] < 0 else "+" if text else ""
            text += f" {sign} {abs(vector[i]):.2f} {self.feature_names[i]}"
        if len(order) > _TERMS:
            text += " + ..."
        # matplotlib would read text between two dollar signs as a formula.
        return "direction: " + " ".join(text.split()).replace("$", r"\$")

    def _mark_prior(self):
        self.ax_.axhline(1, color=GREY, linewidth=1, linestyle=":")
        self.ax_.annotate(
            "prior",
            (1, 1),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 3),
            textcoords="offset points",
            ha="right",
            color=GREY,
            fontsize="small",
        )

    def _frame(self):
        ax = self.ax_
        clear_frame(ax, "y")
        tallest = max(np.max(line.get_ydata()) for line in ax.get_lines())
        if tallest > 10:
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
        if len(self.spectrum_) > 12:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter("{x:g}")
        else:
            ax.locator_params(axis="x", integer=True)
        ax.set(xlabel="eigenvalue number", ylabel="weight variance / prior")
        ax.legend(frameon=False, fontsize="small")

    def _spectrum(self):
        covariance = np.asarray(self.weight_covariance, float)
        if covariance.ndim == 1:
            covariance = np.diag(covariance)
        values, vectors = np.linalg.eigh(covariance)
        largest = np.argmax(np.abs(vectors), axis=0)
        vectors = vectors * np.where(vectors[largest, range(len(values))] < 0, -1, 1)
        return values[::-1], vectors[:, ::-1]

    def _overlap(self, vector):
        if self.direction is None:
            return None
        direction = np.asarray(self.direction, float)
        if direction.shape != vector.shape or not np.any(direction):
            raise ValueError(
                f"direction must be a vector of {len(vector)} numbers, not all zero, "
                f"got shape {direction.shape}."
            )
        return float((direction @ vector) ** 2 / (direction @ direction))


def _whitened(covariance, direction, metric_sqrt):
    """Covariance and direction in the coordinates that the prior of the weights sees.

    There, with the root of the kernel's metric divided out, the prior is isotropic. A
    direction of wrong length is returned as it is: the display refuses it. The result
    are arguments of the display.
    """
    if covariance.ndim == 1:
        covariance = np.diag(covariance)
    if metric_sqrt is not None:
        inverse = np.linalg.pinv(
            np.diag(metric_sqrt) if np.ndim(metric_sqrt) == 1 else metric_sqrt
        )
        covariance = inverse @ covariance @ inverse.T
        if direction is not None and len(direction) == len(inverse):
            direction = inverse @ np.asarray(direction, float)
    return {"weight_covariance": covariance, "direction": direction}
