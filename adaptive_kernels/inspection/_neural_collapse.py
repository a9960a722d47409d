"""Neural collapse of several kernels on several data sets."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.gaussian_process.kernels import Kernel

from .._arrays import ArrayLike
from ..estimators.adaptive_regressor import AdaptiveKernelRegressor
from ..estimators.labels import one_vs_rest_targets
from ..kernels import NNGP, NTK
from ..metrics import nc1_score
from ._style import COLORS, GREY, check_axes, clear_frame

STYLES = ("-", "--", "-.")


def _usual_kernels():
    """Fixed kernels, and an erf network of width 500 fitted with almost no noise."""
    kernels = {"data": None}
    for name in ("erf", "relu"):
        kernels[f"NNGP {name}"] = NNGP(name, bias_variance=0)
        kernels[f"NTK {name}"] = NTK(name, bias_variance=0)
    kernels["adaptive erf"] = AdaptiveKernelRegressor(
        # With small readout weights and almost no noise it must learn features.
        NNGP("erf", bias_variance=0, readout_variance=1 / 128),
        alpha=1e-6,
        width=500,
        covariance_type="full",
        optimizer=None,
        normalize_y=False,
        max_iter=1000,
    )
    return kernels


def _score(model, X, y):
    if model is None:
        return nc1_score(X, y)
    if not isinstance(model, Kernel):
        classes, codes = np.unique(y, return_inverse=True)
        columns = one_vs_rest_targets(codes, len(classes))
        model = clone(model).fit(X, np.squeeze(columns)).kernel_
    return nc1_score(X, y, input=model)


def _assigned(words, values):
    """Assign a value to each distinct word in order, cyclically."""
    return dict(zip(dict.fromkeys(words), cycle(values), strict=False))


class NeuralCollapseDisplay:
    """NC1 of several kernels against a property of the data, such as its dimension.

    Use it to see for which data a kernel separates classes. Below the line of the data
    a kernel moves the rows of a class together; above it, apart. Build it with
    :meth:`from_datasets`.

    Parameters
    ----------
    scores : dict of str to ndarray of shape (n_positions, n_draws)
        NC1 of each kernel on each draw of each data set.
    positions : sequence of float, of length n_positions
        The property of each data set, on the horizontal axis.
    xlabel : str, default="features"
        Name of the property.

    Attributes
    ----------
    errorbar_ : dict of str to matplotlib ErrorbarContainer
        For each kernel the mean of log10 NC1 and its standard deviation over draws.
    ax_ : matplotlib Axes
        Axes of the picture.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    References
    ----------
    arXiv:2406.02105.

    Examples
    --------
    >>> from adaptive_kernels.datasets import make_gaussian_classes
    >>> from adaptive_kernels.inspection import NeuralCollapseDisplay
    >>> from adaptive_kernels.kernels import NNGP
    >>> data = {d: [make_gaussian_classes(64, d, random_state=0)] for d in (1, 8)}
    >>> display = NeuralCollapseDisplay.from_datasets(
    ...     data, kernels={"data": None, "NNGP erf": NNGP("erf", bias_variance=0)}
    ... )
    >>> log_nc1 = {name: np.log10(s[:, 0]) for name, s in display.scores.items()}
    >>> log_nc1["NNGP erf"] < log_nc1["data"]  # erf collapses one feature, not eight
    array([ True, False])
    """

    def __init__(
        self,
        *,
        scores: Mapping[str, np.ndarray],
        positions: Sequence[float],
        xlabel: str = "features",
    ) -> None:
        self.scores = scores
        self.positions = positions
        self.xlabel = xlabel

    @classmethod
    def from_datasets(
        cls,
        datasets: Mapping[Any, Sequence[tuple[ArrayLike, ArrayLike]]],
        *,
        kernels: Mapping[str, Kernel | BaseEstimator | None] | None = None,
        xlabel: str = "features",
        ax: Any = None,
    ) -> Self:
        """Compute NC1 of every kernel on every data set, and plot.

        Parameters
        ----------
        datasets : dict of float to list of (X, y)
            For each position on the horizontal axis a list of draws of data. All lists
            must have the same length.
        kernels : dict of str to None, Kernel or regressor, default=None
            Kernels by name. None as a value means the data themselves. A regressor is
            fitted to the labels, as -1 and 1 in a column for each class (one column for
            two classes), and its `kernel_` is used. The default is the data, the NNGP
            and the NTK for erf and ReLU without biases, and the kernel of an erf
            network of width 500 that was fitted to the labels, with readout variance
            1/128 and noise 1e-6. The last word of a name determines the colour, the
            first word the line style.
        xlabel : str, default="features"
            Name of the property on the horizontal axis.
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : NeuralCollapseDisplay
            The drawn display.

        Raises
        ------
        ValueError
            If the positions do not have equally many draws.
        """
        kernels = _usual_kernels() if kernels is None else kernels
        positions = sorted(datasets)
        draws = [datasets[position] for position in positions]
        if len({len(some) for some in draws}) != 1:
            raise ValueError(
                "datasets must hold a list of equally many draws (X, y) for each "
                f"position, got {[len(some) for some in draws]}."
            )
        scores = {
            name: np.array([[_score(model, X, y) for X, y in some] for some in draws])
            for name, model in kernels.items()
        }
        return cls(scores=scores, positions=positions, xlabel=xlabel).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw a line for each kernel.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; a new figure by default.

        Returns
        -------
        display : NeuralCollapseDisplay
            The display itself.
        """
        ax = check_axes(ax, "NeuralCollapseDisplay.plot")
        self.ax_, self.figure_ = ax, ax.figure
        words = [name.split() for name in self.scores if name != "data"]
        colors = _assigned([w[-1] for w in words], COLORS)
        styles = _assigned([w[0] for w in words], STYLES)
        self.errorbar_ = {}
        for name, scores in self.scores.items():
            logarithms = np.log10(scores)
            color, style = GREY, ":"
            if name != "data":
                color, style = colors[name.split()[-1]], styles[name.split()[0]]
            self.errorbar_[name] = ax.errorbar(
                self.positions,
                logarithms.mean(axis=1),
                yerr=logarithms.std(axis=1),
                color=color,
                linestyle=style,
                marker="o",
                markersize=4,
                elinewidth=0.8,
                label=name,
            )
        clear_frame(ax, "y")
        ax.set_xscale("log")
        ax.set_xticks(self.positions, [f"{p:g}" for p in self.positions])
        ax.minorticks_off()
        ax.set(xlabel=self.xlabel, ylabel="log10 NC1")
        ax.legend(frameon=False, fontsize="small", ncols=2)
        return self
