"""The optimisation problem: rows, free hyperparameters, width, optimizer limits."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite, isinf
from typing import Self

import numpy as np

from .._arrays import LinAlgError
from . import subsampling
from .evidence import Data, Hyperparameters, RegularizedEvidence, regularized_evidence
from .moments import mean_square, target_variance
from .subsampling import subsample


@dataclass(frozen=True)
class EvidenceProblem:
    """Maximise the regularised evidence of some rows.

    data : Data
    template : Hyperparameters, values of those that stay fixed
    bounds : dict, name of a free variance -> (low, high) relative to its natural unit;
        a variance that is not named stays fixed
    bounds_given : dict, name -> (low, high) in the units of the rows, which replace
        those of `bounds`
    width : float, of the network; at infinite width no covariance is learned
    covariance_type : {"diag", "full"} or None, shape of the learned covariance
    tree : bool, whether to leave the log determinant out
    max_iter : int, largest number of iterations of one maximisation
    tol : float, gradient entry in nats at which the optimizer stops; up to ten times
        this counts as converged
    starts : tuple of Hyperparameters, starting points besides the natural ones
    """

    data: Data
    template: Hyperparameters
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    bounds_given: dict[str, tuple[float, float]] = field(default_factory=dict)
    width: float = inf
    covariance_type: str | None = None
    tree: bool = False
    max_iter: int = 200
    tol: float = 0.2
    starts: tuple[Hyperparameters, ...] = ()

    def at_width(self, width: float) -> Self:
        """The same problem for a network of another width."""
        return replace(self, width=width)

    def isotropic(self) -> Self:
        """The same problem without a covariance: a network of infinite width."""
        return replace(self, width=inf, covariance_type=None)

    def of_rows(self, data: Data) -> Self:
        """The same problem for other rows."""
        return self if data is self.data else replace(self, data=data)

    def of_sample(self, size: int = subsampling.START_ROWS) -> Self:
        """The same problem for at most `size` random rows, always the same."""
        return self.of_rows(subsample(self.data, size))

    def observations(self) -> float:
        """Number of observations; objectives are compared per observation."""
        return self.data.observations()

    def is_free(self, name: str) -> bool:
        """Whether a variance is optimised."""
        return name in self.bounds

    def objective(self, point: Hyperparameters) -> RegularizedEvidence:
        """The objective as a function of a vector, for an optimizer at a point.

        Inducing points are chosen at this point and then stay fixed.
        """
        return self.data.with_inducing_points(point).objective(
            self.template,
            width=self.width,
            covariance_type=self.covariance_type,
            free=tuple(self.bounds),
            tree=self.tree,
        )

    def value(self, point: Hyperparameters) -> float:
        """The objective at a point, or minus infinity where it cannot be evaluated."""
        try:
            value = regularized_evidence(self.data, point, self.width)
        except LinAlgError:
            return -inf
        return value if isfinite(value) else -inf

    def best_point(self, points: Sequence[Hyperparameters]) -> Hyperparameters:
        """The point of largest objective."""
        return points[0] if len(points) == 1 else max(points, key=self.value)

    def box(self, objective: RegularizedEvidence) -> np.ndarray:
        """Bounds (p, 2) of the vector of an objective, in logarithms."""
        spread = target_variance(self.data)
        units = {"weight_variance": 1 / mean_square(self.data), "bias_variance": 1.0}
        box = []
        for name in objective.free:
            unit = units.get(name, spread)
            low, high = self.bounds_given.get(name, unit * np.array(self.bounds[name]))
            box.append((np.log(low), np.log(high)))
        if objective.covariance is not None:
            box += objective.covariance.box()
        return np.array(box).reshape(-1, 2)

    def has_infinite_width(self) -> bool:
        """Whether the width is infinite, so that no covariance is learned."""
        return isinf(self.width)
