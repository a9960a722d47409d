"""An activation on standard normal pre-activations: its Hermite coefficients.

    phi(z) = sum_k c_k He_k(z),    c_k = E[phi(z) He_k(z)] / k!,    z ~ N(0, 1)

in probabilists' Hermite polynomials, whose mean square is k!.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline
from scipy.special import factorial

from .._arrays import Array, asarray_like
from ._activations import Activation, Function
from ._base import resolve_activation
from ._hermite import DEGREE, REACH, breakpoints, evaluate, expand, has_jumps, panels

# Distance of the knots of a spline of degree 5: the mean of a ReLU is right to 1e-12.
_SPACING = 0.05


@dataclass(frozen=True, eq=False)
class Expansion:
    """Hermite expansion of an activation phi for standard normal z.

    Attributes
    ----------
    activation : Activation
        The activation phi.
    coefficients : ndarray of shape (61,)
        c_0 to c_60; c_0 is the mean.
    energy : float
        Mean square E[phi(z)^2].
    jumps : bool
        Whether the activation is discontinuous.
    """

    activation: Activation
    coefficients: np.ndarray
    energy: float
    jumps: bool

    @property
    def mean(self) -> float:
        """The mean E[phi(z)] = c_0."""
        return self.coefficients[0]

    @property
    def linear(self) -> float:
        """The slope of the linear part, E[phi'(z)] = c_1."""
        return self.coefficients[1]

    @property
    def nonlinear(self) -> float:
        """Mean square of the nonlinear part, E[phi^2] - c_0^2 - c_1^2."""
        return max(self.energy - self.mean**2 - self.linear**2, 0.0)

    def has_degree(self, degree: int) -> bool:
        """Whether c_k differs from zero by more than rounding."""
        share = abs(self.coefficients[degree]) * sqrt(factorial(degree))
        return bool(share > 1e-9 * sqrt(self.energy))

    def centred(self, z: Array) -> Array:
        """phi(z) - c_0 for any array, in its type."""
        return asarray_like(self.activation(z), z) - float(self.mean)

    def shifted_mean(self, reach: float) -> BSpline:
        """T -> E[phi(z + t)] - c_0 for |t| <= `reach`, as a spline on the host."""
        reach = max(reach, 1.0)
        knots = np.linspace(-reach, reach, 2 * ceil(reach / _SPACING) + 7)
        far = reach + REACH
        # Panels of width one or less resolve the Gaussian as well as phi.
        even = np.linspace(-far, far, 2 * ceil(far) + 1)
        edges = np.union1d(breakpoints(self.activation, far), even)
        nodes, _, weights = panels(edges)
        nodes, weights = nodes.ravel(), weights.ravel()
        weights = weights * evaluate(self.activation, nodes) / sqrt(2 * np.pi)
        first = np.searchsorted(nodes, knots - REACH)
        last = np.searchsorted(nodes, knots + REACH)
        means = [
            np.exp(-((nodes[i:j] - t) ** 2) / 2) @ weights[i:j]
            for t, i, j in zip(knots, first, last, strict=True)
        ]
        return make_interp_spline(knots, np.array(means) - self.mean, k=5)


def expansion(activation: str | Function | Activation) -> Expansion:
    """Expansion of an activation, given by name or as a function.

    Raises
    ------
    ValueError
        If it is unknown or has no linear part, which a gradient step needs.
    """
    found = any_expansion(activation)
    if not found.has_degree(1):
        raise ValueError(
            f"activation={activation!r} has no linear part, c_1 = E[phi'(z)] = 0: the "
            "gradient of the first layer does not depend on the target. Use an "
            "activation that is not even, such as 'relu', 'tanh' or 'gelu'."
        )
    return found


def any_expansion(activation: str | Function | Activation) -> Expansion:
    """Expansion of an activation that need not have a linear part."""
    return _expansion(resolve_activation(activation))


@lru_cache(maxsize=32)
def _expansion(activation: Activation) -> Expansion:
    edges = breakpoints(activation, REACH)
    orthonormal, moments = expand(activation, 1.0, edges)
    coefficients = orthonormal / np.sqrt(factorial(np.arange(DEGREE + 1)))
    jumps = has_jumps(activation, edges)
    return Expansion(activation, coefficients, float(moments[0]), jumps)
