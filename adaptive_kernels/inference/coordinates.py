"""Coordinates in which evidence is maximised: about the mean, in one unit, rounded.

The result then does not depend on the origin of X, nor on the units of X and y. Values
are rounded to a small share of the spread of their column. Otherwise rounding errors of
the input could send the search along another of many nearly equal paths.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import numpy as np

from .._arrays import Array, asarray_like, round_columns, to_numpy
from ..kernels._base import WideKernel
from ..kernels._recursion import apply_metric_sqrt, centered
from .evidence import Data, Hyperparameters, combine_metric_sqrts
from .moments import mean_square, target_variance

# A column is constant if its spread is below this share of its origin: 100 roundings.
CONSTANT = 100 * np.finfo(float).eps


@dataclass(frozen=True)
class Frame:
    """Coordinates (X - origin) R / unit, y / target_unit.

    origin : ndarray (d,) or None
    metric_sqrt : None, (d,) or (d, d), root R of the kernel's own metric
    unit : float, unit of X, by which the weight variance is rescaled
    target_unit : float, unit of y, by which readout variance and noise are rescaled
    fixed : dict, variances that stay exactly as given
    """

    origin: np.ndarray | None = None
    metric_sqrt: np.ndarray | None = None
    unit: float = 1.0
    target_unit: float = 1.0
    fixed: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, kernel: WideKernel, data: Data) -> Self:
        """Make the frame of some rows: about their mean or the kernel's origin.

        In a deep network all layers share the weight variance, and rescaling it for the
        unit of X would change them all. The root R is divided by the unit instead. If
        the user fixed or bounded that variance, X keeps its unit.
        """
        origin, metric_sqrt = (
            kernel.network().origin,
            kernel.metric_sqrt(data.X.shape[1]),
        )
        if origin is None:
            origin = to_numpy(data.shares() @ data.X)
        rows = apply_metric_sqrt(
            _varying(centered(data.X, origin), origin), metric_sqrt
        )
        unit = mean_square(replace(data, X=rows)) ** 0.5
        target_unit = target_variance(data) ** 0.5
        given = {h.name for h in kernel.hyperparameters if h.fixed}
        fixed = {name: float(getattr(kernel, name)) for name in given}
        if kernel.depth > 1:
            if not (
                "weight_variance" in fixed or _is_bounded(kernel, "weight_variance")
            ):
                metric_sqrt = combine_metric_sqrts(
                    metric_sqrt, np.full(data.X.shape[1], 1 / unit)
                )
            unit = 1.0
        return cls(origin, metric_sqrt, unit, target_unit, fixed)

    def bounds_given(self, kernel: WideKernel) -> dict[str, tuple[float, float]]:
        """Bounds that the user has set, converted to this frame.

        The user's bounds are those of the variances of `kernel_`, in the units of X and
        y. Bounds left at their defaults are not returned.
        """
        units = {
            "weight_variance": self.unit**2,
            "readout_variance": self.target_unit**-2,
        }
        given = {}
        for h in kernel.hyperparameters:
            if not h.fixed and _is_bounded(kernel, h.name):
                low, high = h.bounds[0] * units.get(h.name, 1.0)
                given[h.name] = float(low), float(high)
        return given

    def rows(self, X: Array) -> Array:
        """(X - origin) R, not divided by the unit."""
        return apply_metric_sqrt(centered(X, self.origin), self.metric_sqrt)

    def rounded(self, given: Data) -> Data:
        """Data in this frame, rounded: the evidence of these is maximised."""
        X = _varying(centered(given.X, self.origin), cast(np.ndarray, self.origin))
        X = round_columns(apply_metric_sqrt(X, self.metric_sqrt) / self.unit)
        return replace(given, X=X, Y=round_columns(given.Y / self.target_unit))

    def enter(self, point: Hyperparameters) -> Hyperparameters:
        """Convert a point from the units of X and y to this frame."""
        return self._in_units(point, self.unit, 1 / self.target_unit, None)

    def leave(self, point: Hyperparameters) -> Hyperparameters:
        """Convert a point of this frame to the units of X and y."""
        point = self._in_units(point, 1 / self.unit, self.target_unit, self.origin)
        return replace(
            point, network=replace(point.network, **cast(dict[str, Any], self.fixed))
        )

    def outside(self, point: Hyperparameters) -> Hyperparameters:
        """Like `leave`, with the metric of X: the frame's and that of the point."""
        root = combine_metric_sqrts(self.metric_sqrt, point.metric_sqrt)
        return replace(self.leave(point), metric_sqrt=root)

    @staticmethod
    def _in_units(
        point: Hyperparameters, inputs: float, targets: float, origin: np.ndarray | None
    ) -> Hyperparameters:
        network = point.network
        network = replace(
            network,
            weight_variance=inputs**2 * network.weight_variance,
            readout_variance=targets**2 * network.readout_variance,
            origin=origin,
        )
        return replace(point, network=network, alpha=targets**2 * point.alpha)


def _varying(X: Array, origin: np.ndarray) -> Array:
    """Centred X, with zeros in columns that are constant but for rounding."""
    varies = np.std(to_numpy(X), axis=0) > CONSTANT * np.abs(origin)
    return X * asarray_like(1.0 * varies, X)


def _is_bounded(kernel: WideKernel, name: str) -> bool:
    """Whether the user has changed the bounds of a variance."""
    bounds = f"{name}_bounds"
    default = getattr(type(kernel)(), bounds)
    return not np.array_equal(getattr(kernel, bounds), default)
