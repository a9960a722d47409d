"""Dual of any activation: expansion of phi in Hermite polynomials.

With phi(sqrt(q) z) = sum_k a_k(q) h_k(z) in orthonormal Hermite polynomials and
rho = k / sqrt(q1 q2),

    S = sum_k a_k(q1) a_k(q2) rho^k.

The coefficients are smooth in log q. They are computed at Chebyshev points and
interpolated, so that a matrix costs one power series per entry. On the diagonal the
series converges slowly if phi has kinks. There S and D come from one-dimensional
quadrature instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import floor, log2

import numpy as np
from numpy.polynomial import chebyshev, legendre

from .._arrays import Array, asarray_like, clip, namespace, special_function, to_numpy
from ._activations import Activation, DualMoments, Function

# Highest degree of the expansion: errors of 1e-10 for smooth functions.
DEGREE = 60
CHEBYSHEV_POINTS = 48
# Integrals end at so many standard deviations: exp(-12^2 / 2) = 5e-32.
REACH = 12.0
# More panels than this that are not resolved mean that the function is not smooth.
MAX_ROUGH = 1000
# Gauss-Legendre nodes per panel.
_PANEL_ORDER = 16


@dataclass(frozen=True)
class HermiteActivation(Activation):
    """Any vectorised function of a real variable as an activation.

    Parameters
    ----------
    function : callable
        Maps an array to an array of the same shape, elementwise.
    slope : callable, default=None
        Derivative of the function; None means central differences.
    """

    function: Function
    slope: Function | None = None
    name = "hermite"

    def __post_init__(self) -> None:
        try:
            hash(self)
        except TypeError:
            raise ValueError(
                f"activation must be hashable, got {self.function!r}: tables of its "
                "moments are kept by it. Pass a function that calls it."
            ) from None

    def __call__(self, z: Array) -> Array:
        return self.function(z)

    def derivative(self, z: Array) -> Array:
        return super().derivative(z) if self.slope is None else self.slope(z)

    def for_variances(self, *variances: Array) -> HermiteDual:
        positive: list[np.ndarray] | np.ndarray
        positive = [to_numpy(v).ravel() for v in variances]
        positive = np.concatenate([v[v > 0] for v in positive])
        low, high = (positive.min(), positive.max()) if positive.size else (1.0, 1.0)
        # Bounds are powers of two, so that steps of a search use the same tables.
        return _prepared(self.function, floor(log2(low)), floor(log2(high)) + 1)


@lru_cache(maxsize=64)
def _prepared(function: Function, low: int, high: int) -> HermiteDual:
    return HermiteDual(function, 2.0**low, 2.0**high)


class HermiteDual(Activation):
    """The dual of a function for pre-activation variances between two bounds."""

    def __init__(self, function: Function, low: float, high: float) -> None:
        self.low, self.high = np.log(low), np.log(high)
        self.at_zero = float(evaluate(function, np.zeros(1))[0])
        grid = chebyshev.chebpts1(CHEBYSHEV_POINTS)
        q = np.exp(self.low + (grid + 1) * (self.high - self.low) / 2)
        edges = breakpoints(function, REACH * np.sqrt(high))
        self.jumps = has_jumps(function, edges)
        rows = [expand(function, v, edges) for v in q]
        fit = chebyshev.chebvander(grid, CHEBYSHEV_POINTS - 1)
        self.coefficients = np.linalg.solve(fit, np.stack([r[0] for r in rows]))
        moments = np.log(np.maximum(np.stack([r[1] for r in rows]), 1e-300))
        self.moments = np.linalg.solve(fit, moments)

    def _interpolate(
        self, table: np.ndarray, q: np.ndarray, derivative: bool = False
    ) -> np.ndarray:
        """Values, or d/dq, of the tabulated functions at q: shape q.shape + (p,)."""
        flat = np.clip(np.log(np.maximum(q.ravel(), 1e-300)), self.low, self.high)
        slope = 2 / (self.high - self.low)
        x = (flat - self.low) * slope - 1
        if derivative:
            table = chebyshev.chebder(table) * slope
        values = chebyshev.chebvander(x, len(table) - 1) @ table
        if derivative:
            values /= np.maximum(q.reshape(-1, 1), 1e-300)
        return values.reshape(*q.shape, values.shape[1])

    def _series(
        self,
        k: Array,
        q1: Array,
        q2: Array,
        tables: tuple[np.ndarray, np.ndarray],
        order: int = 0,
    ) -> Array:
        """Sum over k of table1_k table2_k times the derivative of `order` of rho^k."""
        one, two = (asarray_like(t, k) for t in tables)
        rho = _correlation(k, q1, q2)
        total = 0 * rho
        for degree in range(DEGREE, order - 1, -1):
            factor = np.prod(np.arange(degree - order + 1, degree + 1))
            total *= rho
            total += (float(factor) * one[..., degree]) * two[..., degree]
        return total

    def _tables(
        self, q1: Array, q2: Array
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        q1, q2 = (to_numpy(q).astype(float) for q in (q1, q2))
        return (
            self._at(q1),
            self._at(q2),
            self._interpolate(self.coefficients, q1, derivative=True),
            self._interpolate(self.coefficients, q2, derivative=True),
        )

    def _at(self, q: np.ndarray) -> np.ndarray:
        """Hermite coefficients at q; phi(0) and zeros where the variance is zero."""
        values = self._interpolate(self.coefficients, q)
        constant = np.zeros(DEGREE + 1)
        constant[0] = self.at_zero
        return np.where((q > 0)[..., None], values, constant)

    def dual(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0, derivative: bool = True
    ) -> tuple[Array, Array | None]:
        a1, a2 = (self._at(to_numpy(q).astype(float)) for q in (q1, q2))
        s = gain * self._series(k, q1, q2, (a1, a2))
        if not derivative:
            return s, None
        return s, gain * self._series(k, q1, q2, (a1, a2), 1) * _scale(q1, q2)

    def first_partials(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0
    ) -> tuple[Array, Array, Array]:
        a1, a2, b1, b2 = self._tables(q1, q2)
        scale = _scale(q1, q2)
        d = gain * self._series(k, q1, q2, (a1, a2), 1) * scale
        s1 = gain * self._series(k, q1, q2, (b1, a2)) - d * k / (2 * _safe(q1))
        s2 = gain * self._series(k, q1, q2, (a1, b2)) - d * k / (2 * _safe(q2))
        return d, s1, s2

    def second_partials(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0
    ) -> tuple[Array, Array, Array]:
        a1, a2, b1, b2 = self._tables(q1, q2)
        scale, rho = _scale(q1, q2), _correlation(k, q1, q2)
        d = gain * self._series(k, q1, q2, (a1, a2), 1) * scale
        bend = gain * self._series(k, q1, q2, (a1, a2), 2) * scale
        d1 = gain * self._series(k, q1, q2, (b1, a2), 1) * scale
        d2 = gain * self._series(k, q1, q2, (a1, b2), 1) * scale
        turn = d + bend * rho
        return bend * scale, d1 - turn / (2 * _safe(q1)), d2 - turn / (2 * _safe(q2))

    def diagonal(self, q: Array, gain: float = 1.0, is_ntk: bool = True) -> DualMoments:
        if is_ntk and self.jumps:
            raise ValueError(
                "activation jumps, so its derivative has no finite variance and the "
                "NTK does not exist: use the NNGP or a continuous activation."
            )
        host = to_numpy(q).astype(float)
        values = np.exp(self._interpolate(self.moments, host))
        constant = np.array([self.at_zero**2, 0.0])
        values = np.where((host > 0)[..., None], values, constant)
        slopes = values * self._interpolate(self.moments, host, derivative=True)
        s, d = (gain * asarray_like(values[..., i], q) for i in (0, 1))
        ds_dq, dd_dq = (gain * asarray_like(slopes[..., i], q) for i in (0, 1))
        return DualMoments(s=s, ds_dq=ds_dq, d=d, dd_dq=dd_dq)


def _tanh(z: Array) -> Array:
    return namespace(z).tanh(z)


def _tanh_slope(z: Array) -> Array:
    return 1 - _tanh(z) ** 2


def _softplus(z: Array) -> Array:
    xp = namespace(z)
    return xp.log1p(xp.exp(-abs(z))) + clip(z, 0.0)


def _softplus_slope(z: Array) -> Array:
    return special_function("expit", z)


def _elu(z: Array) -> Array:
    xp = namespace(z)
    return xp.where(z > 0, z, xp.expm1(clip(z, high=0.0)))


def _elu_slope(z: Array) -> Array:
    xp = namespace(z)
    return xp.exp(clip(z, high=0.0))


HERMITE_ACTIVATIONS = {
    "tanh": HermiteActivation(_tanh, _tanh_slope),
    "softplus": HermiteActivation(_softplus, _softplus_slope),
    "elu": HermiteActivation(_elu, _elu_slope),
}


def _safe(q: Array) -> Array:
    return namespace(q).where(q > 0, q, q + 1)


def _scale(q1: Array, q2: Array) -> Array:
    xp = namespace(q1)
    return 1 / xp.sqrt(_safe(q1)) / xp.sqrt(_safe(q2))


def _correlation(k: Array, q1: Array, q2: Array) -> Array:
    return clip(k * _scale(q1, q2), -1.0, 1.0)


def expand(
    function: Function, q: float, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Hermite coefficients of phi(sqrt(q) z); E phi^2 and E phi'^2."""
    root = np.sqrt(q)
    inside = edges[np.abs(edges) < REACH * root] / root
    z, half, weight = panels(np.union1d(np.linspace(-REACH, REACH, 49), inside))
    weight = weight * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    phi = evaluate(function, root * z)
    energy = weight * phi**2
    if np.sum(energy[np.abs(z) > REACH - 1]) > 1e-6 * np.sum(energy):
        raise ValueError(
            "activation grows too fast: its mean square over Gaussian pre-activations "
            f"of variance {q:.2g} comes from the far tails."
        )
    slope = phi @ _differentiation().T / (half * root)
    polynomials = hermite_values(z.ravel())
    a = polynomials @ (weight * phi).ravel()
    return a, np.array([np.sum(energy), np.sum(weight * slope**2)])


def panels(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes, half widths (panels, 1) and weights between the edges."""
    x, w = legendre.leggauss(_PANEL_ORDER)
    half, middle = np.diff(edges)[:, None] / 2, (edges[1:] + edges[:-1])[:, None] / 2
    return middle + half * x, half, half * w


def hermite_values(z: np.ndarray, degree: int = DEGREE) -> np.ndarray:
    """Orthonormal probabilists' Hermite polynomials: (degree + 1, points)."""
    h = np.empty((degree + 1, len(z)))
    h[0] = 1.0
    h[1:2] = z
    for k in range(1, degree):
        h[k + 1] = (z * h[k] - np.sqrt(k) * h[k - 1]) / np.sqrt(k + 1)
    return h


@lru_cache
def _differentiation() -> np.ndarray:
    """Matrix from values at the nodes of a panel to slopes of their interpolant."""
    x, _ = legendre.leggauss(_PANEL_ORDER)
    vander = legendre.legvander(x, _PANEL_ORDER - 1)
    slopes = [legendre.legval(x, legendre.legder(row)) for row in np.eye(_PANEL_ORDER)]
    return np.stack(slopes, axis=1) @ np.linalg.inv(vander)


def evaluate(function: Function, points: np.ndarray) -> np.ndarray:
    """Values of a user's function, or ValueError if they are unusable."""
    refusal = (
        "activation must be a vectorised function that returns finite real values of "
        "its argument's shape"
    )
    try:
        values = np.asarray(function(points))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{refusal}; it raised {error!r}.") from error
    if np.iscomplexobj(values) or values.shape != points.shape:
        raise ValueError(f"{refusal}; got {values.dtype} of shape {values.shape}.")
    values = values.astype(float)
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{refusal}; some were not finite.")
    return values


def has_jumps(function: Function, edges: np.ndarray) -> bool:
    """Whether the function is discontinuous at one of the edges."""
    # Wider than the narrowest panels of `breakpoints`, which enclose a jump.
    step = 2e-8 * np.maximum(1.0, np.abs(edges))
    values = evaluate(function, np.stack([edges - step, edges + step]))
    return bool(np.any(np.abs(values[1] - values[0]) > 1e-3 * (1 + np.abs(values[0]))))


def breakpoints(function: Function, reach: float) -> np.ndarray:
    """Edges of panels in (-reach, reach) that resolve the function.

    On every panel the function is expanded in Legendre polynomials. A panel is halved
    until the four highest coefficients are negligible, or until it is very narrow. The
    panel around a kink stays unresolved. So halving locates the kink by bisection.

    Raises
    ------
    ValueError
        If the function has more than a few kinks or jumps.
    """
    x, _ = legendre.leggauss(_PANEL_ORDER)
    # Values at the nodes = (Legendre polynomials at the nodes) @ coefficients
    to_coefficients = np.linalg.inv(legendre.legvander(x, _PANEL_ORDER - 1))
    # Finer towards zero, where activations bend on the scale of one.
    graded = np.geomspace(min(0.1, reach / 2), reach, 16)
    start = np.union1d(np.linspace(-reach, reach, 17), [*graded, *-graded])
    left, width = start[:-1], np.diff(start)  # of panels that are not yet resolved
    scale = np.max(np.abs(evaluate(function, start))) + 1e-300
    edges = [start]
    while left.size:
        points = left[:, None] + width[:, None] * (x + 1) / 2
        coefficients = np.abs(evaluate(function, points) @ to_coefficients.T)
        rough = coefficients[:, -4:].max(axis=1) > 1e-11 * scale
        rough &= width > 1e-8 * min(reach, 1.0)
        left, width = left[rough], width[rough] / 2
        if len(left) > MAX_ROUGH:
            raise ValueError(
                "activation is too rough for its Hermite expansion: use a function "
                "that is smooth except for a few kinks."
            )
        edges += [left, left + width, left + 2 * width]
        left, width = np.concatenate([left, left + width]), np.tile(width, 2)
    return np.unique(np.concatenate(edges))
