"""Train and test discrepancy from standard to mean-field scaling."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone

from .._arrays import ArrayLike
from ..analysis.scaling_path import check_scalings, scaling_path
from ..estimators.adaptive_regressor import AdaptiveKernelRegressor
from ..metrics import discrepancy
from ._style import COLORS, GREY, clear_frame, panels

# Label, colour and line style of each theory.
_THEORIES = {
    "nngp": ("NNGP", GREY, "-"),
    "tree": ("tree level", COLORS[1], "--"),
    "one_loop": ("one loop", COLORS[2], "-."),
    "rescaling": ("rescaling", COLORS[0], "-"),
    "exact": ("exact", COLORS[5], (0, (1, 1))),
    "gaussian": ("Gaussian adaptation", COLORS[4], "-"),
    "gaussian_tree": ("Gaussian adaptation, tree level", COLORS[4], "--"),
    "sampled": ("sampled neurons", COLORS[3], "-"),
}


class ScalingPathDisplay:
    """Train and test discrepancy of several theories along the scaling.

    Use it to see how well theories of finite networks agree with each other and with
    sampled networks. Build it with :meth:`from_estimator`.

    Parameters
    ----------
    paths : dict of str to ndarray of shape (k, 3)
        For each theory columns of scaling, train discrepancy and test discrepancy.
    sampled : array-like of shape (k, 5), default=None
        For sampled networks columns of scaling, train discrepancy and its standard
        error, test discrepancy and its standard error.

    Attributes
    ----------
    lines_ : dict of str to list of two matplotlib Line2D
        For each theory its line in the train and in the test panel.
    errorbars_ : list of two matplotlib ErrorbarContainer, or empty
        Points of the sampled networks in the two panels.
    axes_ : ndarray of two matplotlib Axes
        Train and test panel.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    References
    ----------
    Figure 2 of arXiv:2502.03210.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.inspection import ScalingPathDisplay
    >>> paths = {"nngp": np.array([[1, 0.25, 0.6], [10, 0.25, 0.6]])}
    >>> display = ScalingPathDisplay(paths=paths).plot()
    >>> [ax.get_title() for ax in display.axes_]
    ['train', 'test']
    """

    def __init__(
        self, *, paths: Mapping[str, np.ndarray], sampled: ArrayLike | None = None
    ) -> None:
        self.paths = paths
        self.sampled = sampled

    @classmethod
    def from_estimator(
        cls,
        estimator: AdaptiveKernelRegressor,
        X: ArrayLike,
        y: ArrayLike,
        X_test: ArrayLike,
        y_test: ArrayLike,
        *,
        approximations: Sequence[str] = (
            "nngp",
            "tree",
            "one_loop",
            "rescaling",
            "gaussian",
        ),
        scalings: ArrayLike | None = None,
        sampled: ArrayLike | None = None,
        ax: Any = None,
    ) -> Self:
        """Fit an adaptive kernel by several theories at every scaling, and plot.

        Parameters
        ----------
        estimator : AdaptiveKernelRegressor
            Estimator of finite width. Its `approximation` is replaced.
        X, X_test : array-like of shape (n_samples, n_features)
            Training and test rows.
        y, y_test : array-like of shape (n_samples,)
            Training and test targets.
        approximations : sequence of str, \
default=("nngp", "tree", "one_loop", "rescaling", "gaussian")
            Values of `approximation` to compare; "nngp" means infinite width.
        scalings : array-like of shape (k,), default=None
            Positive scalings. None means 16 of them from 1 to the width.
        sampled : array-like of shape (k, 5), default=None
            For sampled networks columns of scaling, train discrepancy and its standard
            error, test discrepancy and its standard error.
        ax : array of two matplotlib Axes, default=None
            Train and test panel; a new figure by default.

        Returns
        -------
        display : ScalingPathDisplay
            The drawn display.
        """
        unknown = [name for name in approximations if name not in _THEORIES]
        if isinstance(approximations, str) or unknown:
            raise ValueError(
                f"approximations must list some of {', '.join(_THEORIES)}; "
                f"got {approximations!r}."
            )
        scalings = check_scalings(scalings, estimator)
        paths = {}
        for name in approximations:
            model = clone(estimator)
            if name == "nngp":
                model.set_params(width=np.inf, approximation="rescaling")
            else:
                model.set_params(approximation=name)
            path = scaling_path(model, X, y, scalings=scalings)
            columns: list[Any] = [path.scalings]
            for inputs, target in ((X, y), (X_test, y_test)):
                columns.append(discrepancy(target, path.predict(inputs).T))
            paths[name] = np.column_stack(columns)
        return cls(paths=paths, sampled=sampled).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw train and test discrepancy in two panels.

        Parameters
        ----------
        ax : array of two matplotlib Axes, default=None
            Train and test panel; a new figure by default.

        Returns
        -------
        display : ScalingPathDisplay
            The display itself.
        """
        self.axes_ = panels(ax, 2, "ScalingPathDisplay.plot")
        self.figure_ = self.axes_[0].figure
        self.errorbars_: list[Any]
        self.lines_, self.errorbars_ = {}, []
        for name, path in self.paths.items():
            label, color, style = _THEORIES.get(name, (name, "black", "-"))
            scalings, *curves = np.asarray(path).T
            self.lines_[name] = [
                panel.plot(
                    scalings,
                    curve,
                    color=color,
                    linestyle=style,
                    linewidth=2.5 if name == "exact" else 1.5,
                    label=label,
                )[0]
                for panel, curve in zip(self.axes_, curves, strict=True)
            ]
        if self.sampled is not None:
            self._draw_samples()
        for panel, title in zip(self.axes_, ("train", "test"), strict=True):
            clear_frame(panel, "y")
            panel.set_xscale("log")
            panel.xaxis.set_major_formatter("{x:g}")
            panel.set(xlabel="scaling", ylabel="discrepancy", title=title)
        if ax is None:
            handles, labels = self.axes_[0].get_legend_handles_labels()
            columns = min(len(handles), 5)
            self.figure_.legend(
                handles,
                labels,
                loc="outside lower center",
                ncols=columns,
                frameon=False,
            )
        else:
            self.axes_[0].legend(fontsize="small", framealpha=0.85)
        return self

    def _draw_samples(self):
        scalings, *columns = np.asarray(self.sampled, float).T
        for panel, value, error in zip(
            self.axes_, columns[::2], columns[1::2], strict=True
        ):
            bar = panel.errorbar(
                scalings,
                value,
                yerr=error,
                color="black",
                linestyle="none",
                marker="o",
                markersize=5,
                markerfacecolor="white",
                capsize=2,
                zorder=5,
                label="sampled networks",
            )
            self.errorbars_.append(bar)
