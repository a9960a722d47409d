"""Cross-validated score along the path of widths."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from ._style import COLORS, LINESTYLES, check_axes, clear_frame, final_estimator


def _kernel_name(kernel):
    """Short label of a kernel in `param_kernel`."""
    activation = getattr(kernel, "activation", None)
    if activation is None:
        return str(kernel)
    name = getattr(activation, "__name__", str(activation))
    depth = getattr(kernel, "depth", 1)
    return name if depth == 1 else f"{name}, depth {depth}"


def _kernel_names(kernels):
    """Short labels, or full ones if two kernels have the same short label."""
    full = [str(kernel) for kernel in kernels]
    short = [_kernel_name(kernel) for kernel in kernels]
    return short if len(set(short)) == len(set(full)) else full


def _width_paths(results):
    """One array of (width, score, error) for each kernel and covariance type."""
    n_splits = sum(k.startswith("split") and k.endswith("_score") for k in results)
    candidates = zip(
        _kernel_names(results["param_kernel"]),
        map(str, results["param_covariance_type"]),
        map(float, results["param_width"]),
        results["mean_test_score"],
        results["std_test_score"] / np.sqrt(n_splits),
        strict=True,
    )
    paths = {}
    for kernel, kind, width, score, error in candidates:
        if np.isfinite(score):
            path = paths.setdefault((kernel, kind), {})
            if width not in path or score > path[width][1]:
                path[width] = (width, score, error)
    return {
        pair: np.array([path[width] for width in sorted(path)])
        for pair, path in paths.items()
    }


class WidthPathDisplay:
    """Cross-validated score of adaptive kernels along the path of widths.

    Use it to see whether learning the input metric helps. The right end of each line,
    at infinite width, is the fixed kernel of the neural-network Gaussian process
    (NNGP). The smaller the width, the more the metric is learned. Build it with
    :meth:`from_estimator`.

    Parameters
    ----------
    paths : dict of (str, str) to ndarray of shape (n_widths, 3)
        For each kernel and covariance type columns of width in ascending order, mean
        score over folds and its standard error. Of several scalings at one width the
        best is kept.
    score_name : str, default="predictive log density"
        Label of the vertical axis.

    Attributes
    ----------
    errorbar_ : list of matplotlib ErrorbarContainer
        One for each path.
    best_ : matplotlib Line2D
        The ring around the best score.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.inspection import WidthPathDisplay
    >>> path = np.array([[1, -0.9, 0.1], [10, -0.6, 0.1], [np.inf, -0.8, 0.1]])
    >>> display = WidthPathDisplay(paths={("erf", "diag"): path}).plot()
    >>> display.ax_.get_xlabel()
    'width (∞ is the NNGP)'
    """

    def __init__(
        self,
        *,
        paths: Mapping[tuple[str, str], np.ndarray],
        score_name: str = "predictive log density",
    ) -> None:
        self.paths = paths
        self.score_name = score_name

    @classmethod
    def from_estimator(cls, estimator: BaseEstimator, *, ax: Any = None) -> Self:
        """Plot the search of a fitted `AdaptiveKernelRegressorCV`.

        Parameters
        ----------
        estimator : estimator with `cv_results_`
            A fitted search over widths, or a pipeline that ends in one.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : WidthPathDisplay
            The drawn display.
        """
        search = final_estimator(estimator, "cv_results_")
        needed = {"param_kernel", "param_covariance_type", "param_width"}
        if missing := needed - search.cv_results_.keys():
            raise TypeError(
                f"cv_results_ of {type(search).__name__} has no {sorted(missing)}: "
                "give an AdaptiveKernelRegressorCV or AdaptiveKernelClassifierCV, or a "
                "search over kernel, covariance_type and width."
            )
        scoring = getattr(search, "scoring", None)
        name = scoring if isinstance(scoring, str) else "score"
        if scoring is None:
            name = "predictive log density"
        return cls(paths=_width_paths(search.cv_results_), score_name=name).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the paths with error bars of one standard error over folds.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : WidthPathDisplay
            The display itself.
        """
        ax = check_axes(ax, "WidthPathDisplay.plot")
        self.ax_, self.figure_ = ax, ax.figure
        widths = np.unique(np.concatenate([path[:, 0] for path in self.paths.values()]))
        finite = widths[np.isfinite(widths)]
        at_infinity = 10 * finite[-1] if finite.size else 1.0
        self.errorbar_ = self._draw_paths(at_infinity)
        self.best_ = self._ring_best(at_infinity)
        self._label_widths(finite, at_infinity if np.isinf(widths[-1]) else None)
        clear_frame(ax, "y")
        ax.set(xlabel="width (∞ is the NNGP)", ylabel=self.score_name)
        ax.legend(frameon=False, fontsize="small")
        return self

    def _draw_paths(self, at_infinity):
        kernels = list(dict.fromkeys(kernel for kernel, _ in self.paths))
        kinds = list(dict.fromkeys(kind for _, kind in self.paths))
        drawn = []
        for (kernel, kind), path in self.paths.items():
            widths, scores, errors = path.T
            drawn.append(
                self.ax_.errorbar(
                    np.where(np.isinf(widths), at_infinity, widths),
                    scores,
                    yerr=errors,
                    color=COLORS[kernels.index(kernel) % len(COLORS)],
                    linestyle=LINESTYLES[kinds.index(kind) % len(LINESTYLES)],
                    linewidth=1.5,
                    elinewidth=0.8,
                    marker="o",
                    markersize=4,
                    markerfacecolor=None if kinds.index(kind) == 0 else "white",
                    label=f"{kernel}, {kind}",
                )
            )
        return drawn

    def _ring_best(self, at_infinity):
        points = np.concatenate(list(self.paths.values()))
        width, score, _ = points[np.argmax(points[:, 1])]
        return self.ax_.plot(
            at_infinity if np.isinf(width) else width,
            score,
            marker="o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor="black",
            linestyle="none",
            label="best",
        )[0]

    def _label_widths(self, finite, at_infinity):
        """Label the widths; of more than seven only powers of ten, or every other.

        at_infinity : float or None, where infinite width is drawn
        """
        ticks = list(finite)
        if len(ticks) > 7:
            ticks = [w for w in ticks if np.isclose(np.log10(w) % 1, 0)] or ticks[::2]
        labels = [f"{width:g}" for width in ticks]
        if at_infinity is not None:
            ticks, labels = [*ticks, at_infinity], [*labels, "∞"]
        self.ax_.set_xscale("log")
        self.ax_.set_xticks(ticks, labels)
        self.ax_.minorticks_off()
