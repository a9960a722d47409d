"""Eigenvalues of kernels, and the share of a target in their first modes."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import Kernel
from sklearn.pipeline import Pipeline
from sklearn.utils import check_consistent_length

from .._arrays import ArrayLike, to_numpy
from ..theory.kernel_regression.spectrum import Spectrum
from ._style import COLORS, LINESTYLES, clear_frame, final_estimator, panels


class KernelSpectrumDisplay:
    """Spectra of kernels, and the share of a target in their first modes.

    Use it to compare kernels for a target. A kernel learns its modes in the order of
    their eigenvalues: the faster the share rises, the fewer rows it needs. A line ends
    at the last eigenvalue above rounding errors. If its share is below one there, the
    kernel cannot learn the rest of the target. Build it with :meth:`from_kernels`.

    Parameters
    ----------
    eigenvalues : dict of str to ndarray of shape (n_modes,)
        For each kernel the eigenvalues of its matrix divided by the number of rows, in
        descending order.
    cumulative_power : dict of str to ndarray of shape (n_modes,), default=None
        For each kernel the share of the centred target's sum of squares in its first
        modes.

    Attributes
    ----------
    lines_ : dict of str to list of matplotlib Line2D
        For each kernel its line in each panel.
    axes_ : ndarray of matplotlib Axes
        One panel, or two with a target.
    figure_ : matplotlib Figure
        Figure that holds the axes.

    References
    ----------
    Canatar, Bordelon and Pehlevan, arXiv:2006.13198.

    Examples
    --------
    >>> from adaptive_kernels.datasets import make_single_index
    >>> from adaptive_kernels.inspection import KernelSpectrumDisplay
    >>> from adaptive_kernels.kernels import NNGP, NTK
    >>> X, y = make_single_index(100, 5, random_state=0)
    >>> display = KernelSpectrumDisplay.from_kernels(
    ...     {"NNGP": NNGP("erf"), "NTK": NTK("erf")}, X, y
    ... )
    >>> [ax.get_xlabel() for ax in display.axes_]
    ['mode', 'mode']
    """

    def __init__(
        self,
        *,
        eigenvalues: Mapping[str, np.ndarray],
        cumulative_power: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        self.eigenvalues = eigenvalues
        self.cumulative_power = cumulative_power

    @classmethod
    def from_kernels(
        cls,
        kernels: Mapping[str, Kernel | BaseEstimator],
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        ax: Any = None,
    ) -> Self:
        """Decompose the kernels' matrices on some rows, and plot.

        Parameters
        ----------
        kernels : dict of str to Kernel, fitted estimator or pipeline
            Kernels by name. Of a fitted estimator the `kernel_` is used; the other
            steps of a pipeline transform X.
        X : array-like of shape (n_samples, n_features)
            Rows of the kernel matrices.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Targets; they are centred.
        ax : array of matplotlib Axes, default=None
            One panel, or two with `y`; a new figure by default.

        Returns
        -------
        display : KernelSpectrumDisplay
            The drawn display.
        """
        check_consistent_length(X, y)
        target = np.zeros(len(X)) if y is None else np.asarray(y, dtype=float)
        target = target - target.mean(axis=0)
        power: dict[str, np.ndarray] | None
        eigenvalues, power = {}, {}
        for name, kernel in kernels.items():
            spectrum = Spectrum.of_kernel(_matrix(kernel, X), target)
            order = np.argsort(spectrum.eigenvalues)[::-1]
            eigenvalues[name] = np.asarray(spectrum.eigenvalues)[order] / len(target)
            squares = np.sum(np.asarray(spectrum.projections)[order] ** 2, axis=1)
            power[name] = np.cumsum(squares) / (squares.sum() or 1.0)
        power = None if y is None else power
        return cls(eigenvalues=eigenvalues, cumulative_power=power).plot(ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the eigenvalues, and the target's share beside them.

        Parameters
        ----------
        ax : array of matplotlib Axes, default=None
            One panel, or two with a target; a new figure by default.

        Returns
        -------
        display : KernelSpectrumDisplay
            The display itself.
        """
        curves = [self.eigenvalues]
        if self.cumulative_power is not None:
            curves.append(self.cumulative_power)
        self.axes_ = panels(ax, len(curves), "KernelSpectrumDisplay.plot")
        self.figure_ = self.axes_[0].figure
        self.lines_: dict[str, list[Any]] = {name: [] for name in self.eigenvalues}
        for panel, values in zip(self.axes_, curves, strict=True):
            for index, (name, eigenvalues) in enumerate(self.eigenvalues.items()):
                # Modes with eigenvalues of rounding errors have no meaningful order.
                shown = np.count_nonzero(eigenvalues > 1e-14 * eigenvalues[0])
                self.lines_[name] += panel.plot(
                    1 + np.arange(shown),
                    values[name][:shown],
                    color=COLORS[index % len(COLORS)],
                    linestyle=LINESTYLES[index // len(COLORS) % len(LINESTYLES)],
                    label=name,
                )
            clear_frame(panel, "y")
            panel.set(xscale="log", xlabel="mode")
        self.axes_[0].set(yscale="log", ylabel="eigenvalue")
        if len(curves) == 2:
            self.axes_[1].set(ylabel="share of the target", ylim=(0, 1.02))
        self.axes_[0].legend(frameon=False, fontsize="small")
        return self


def _matrix(kernel, X):
    """The kernel matrix of X, on the host."""
    if not isinstance(kernel, Kernel):
        if isinstance(kernel, Pipeline) and len(kernel) > 1:
            X = kernel[:-1].transform(X)
        kernel = final_estimator(kernel, "kernel_").kernel_
    return to_numpy(kernel(np.asarray(X, dtype=float)))
