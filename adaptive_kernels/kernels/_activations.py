"""Dual activations in closed form: moments of phi over correlated Gaussian pairs.

For (u, v) ~ N(0, [[q1, k], [k, q2]]) every activation gives

    S = E[phi(u) phi(v)],    D = E[phi'(u) phi'(v)] = dS/dk

and their partial derivatives with respect to k, q1 and q2. All functions are
elementwise and broadcast: variances (b, 1) and (1, c) give a block of pairs, variances
(n,) a diagonal. `gain` multiplies S and D. On a GPU each call is one kernel, compiled
by `fused` from the formula that NumPy runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi, sqrt
from typing import ClassVar, NamedTuple, TypeAlias

from .._arrays import (
    Array,
    clip,
    fused,
    in_place,
    is_numpy,
    namespace,
    special_function,
)

# A vectorised function of a real variable.
Function: TypeAlias = Callable[[Array], Array]


class DualMoments(NamedTuple):
    """S and D at k = q1 = q2 = q, with their derivatives by q: arrays (n,)."""

    s: Array
    ds_dq: Array
    d: Array
    dd_dq: Array | None  # may be None if the kernel is not an NTK


class Activation:
    """Base of the activations: phi, phi', the dual (S, D) and its partial derivatives.

    `dual` returns S and D, or S and None if `derivative` is false. `first_partials` are
    dS/dk = D, dS/dq1 and dS/dq2; `second_partials` are dD/dk, dD/dq1 and dD/dq2.
    """

    name: ClassVar[str | None] = None
    __call__: Callable[..., Array]
    dual: Callable[..., tuple[Array, Array | None]]
    first_partials: Callable[..., tuple[Array, Array, Array]]
    second_partials: Callable[..., tuple[Array, Array, Array]]

    def derivative(self, z: Array) -> Array:
        """phi'(z); here by central differences, for functions without a formula."""
        step = 1e-5 * (1 + abs(z))
        return (self(z + step) - self(z - step)) / (2 * step)

    def for_variances(self, *variances: Array) -> Activation:
        """The activation with its dual prepared for these pre-activation variances."""
        return self

    def diagonal(self, q: Array, gain: float = 1.0, is_ntk: bool = True) -> DualMoments:
        """S, D and their derivatives at k = q1 = q2 = q; dD/dq only for `is_ntk`."""
        s, _ = self.dual(q, q, q, gain, derivative=False)
        d, s1, s2 = self.first_partials(q, q, q, gain)
        # All three arguments are q, so each derivative is the sum of three partials.
        dd_dq = sum(self.second_partials(q, q, q, gain)) if is_ntk else None
        return DualMoments(s=s, ds_dq=d + s1 + s2, d=d, dd_dq=dd_dq)


@dataclass(frozen=True)
class Erf(Activation):
    """phi(z) = erf(z)."""

    name = "erf"

    def __call__(self, z: Array) -> Array:
        return special_function("erf", z)

    def derivative(self, z: Array) -> Array:
        return 2 / sqrt(pi) * namespace(z).exp(-z * z)

    @fused
    def dual(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0, derivative: bool = True
    ) -> tuple[Array, Array | None]:
        c, slope = self._correlation(k, q1, q2)
        d = self._slope(c, slope, q1, q2, gain) if derivative else None
        c = in_place("asin", c)
        c *= 2 * gain / pi
        return c, d

    @staticmethod
    def _correlation(k: Array, q1: Array, q2: Array) -> tuple[Array, Array]:
        """The argument c of the arc sine, and dc/dk."""
        xp = namespace(k)
        scale = (2 / xp.sqrt(1 + 2 * q1)) * (1 / xp.sqrt(1 + 2 * q2))
        c = k * scale
        if not is_numpy(xp) or c.max(initial=0.0) > 1 or c.min(initial=0.0) < -1:
            c = clip(c, -1.0, 1.0)
        return c, scale

    @staticmethod
    def _slope(c: Array, scale: Array, q1: Array, q2: Array, gain: float) -> Array:
        """D = (2 gain / pi) scale / sqrt(1 - c^2), in the memory of `scale`."""
        xp = namespace(c)
        root = c * c
        root *= -1
        root += 1
        if not is_numpy(xp) or root.min(initial=1.0) < 1e-6:
            # 1 - c^2 cancels near 1; |k| <= sqrt(q1 q2) gives it this lower bound.
            a, b = 1 / (1 + 2 * q1), 1 / (1 + 2 * q2)
            root = xp.maximum(root, a + b - a * b)
        scale /= in_place("sqrt", root)
        scale *= 2 * gain / pi
        return scale

    @fused
    def first_partials(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0
    ) -> tuple[Array, Array, Array]:
        c, scale = self._correlation(k, q1, q2)
        d = self._slope(c, scale, q1, q2, gain)
        shared = d * k
        return d, shared * (-1 / (1 + 2 * q1)), shared * (-1 / (1 + 2 * q2))

    @fused
    def second_partials(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0
    ) -> tuple[Array, Array, Array]:
        det = (1 + 2 * q1) * (1 + 2 * q2) - 4 * k * k
        det = namespace(k).maximum(det, 1 + 2 * q1 + 2 * q2)
        root = 1 / namespace(k).sqrt(det)
        cube = 4 * gain / pi * root * root * root
        return 4 * k * cube, -(1 + 2 * q2) * cube, -(1 + 2 * q1) * cube

    def diagonal(self, q: Array, gain: float = 1.0, is_ntk: bool = True) -> DualMoments:
        xp = namespace(q)
        root = xp.sqrt(1 + 4 * q)
        s = (2 * gain / pi) * xp.atan2(2 * q, root)
        d = (4 * gain / pi) / root
        return DualMoments(s=s, ds_dq=d / (1 + 2 * q), d=d, dd_dq=-2 * d / root**2)


@dataclass(frozen=True)
class PiecewiseLinear(Activation):
    """phi(z) = negative * min(z, 0) + positive * max(z, 0): the ReLU family."""

    negative: float = 0.0
    positive: float = 1.0
    name = "piecewise_linear"

    def __call__(self, z: Array) -> Array:
        value = clip(z, 0.0)
        if (self.negative, self.positive) != (0.0, 1.0):
            value *= self.positive - self.negative
            value += self.negative * z
        return value

    def derivative(self, z: Array) -> Array:
        slope = namespace(z).astype(z > 0, z.dtype)
        if (self.negative, self.positive) != (0.0, 1.0):
            slope *= self.positive - self.negative
            slope += self.negative
        return slope

    def _constants(self, gain: float) -> tuple[float, float]:
        half = gain * (self.negative**2 + self.positive**2) / 2
        return half, gain * (self.negative - self.positive) ** 2 / (2 * pi)

    @fused
    def dual(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0, derivative: bool = True
    ) -> tuple[Array, Array | None]:
        half, kappa = self._constants(gain)
        if kappa == 0:
            return half * k, half + 0 * k if derivative else None
        cosine, sine, radius = _angle(k, q1, q2)
        d = _piecewise_slope(cosine, half, kappa)
        sine *= radius
        sine *= kappa
        sine += d * k
        return sine, d if derivative else None

    @fused
    def first_partials(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0
    ) -> tuple[Array, Array, Array]:
        half, kappa = self._constants(gain)
        if kappa == 0:
            return half + 0 * k, 0 * k, 0 * k
        cosine, sine, radius = _angle(k, q1, q2)
        sine *= radius
        sine *= kappa / 2
        d = _piecewise_slope(cosine, half, kappa)
        return d, sine / _positive(q1), sine / _positive(q2)

    @fused
    def second_partials(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0
    ) -> tuple[Array, Array, Array]:
        _, kappa = self._constants(gain)
        xp = namespace(k)
        cosine, sine, radius = _angle(k, q1, q2)
        # At duplicate rows D has a cusp in the angle: zero is the mean of both slopes.
        cusp = xp.where(sine > 0, kappa / xp.where(sine > 0, sine, sine + 1), 0 * sine)
        turn = cosine * cusp / -2
        return cusp / radius, turn / _positive(q1), turn / _positive(q2)

    def diagonal(self, q: Array, gain: float = 1.0, is_ntk: bool = True) -> DualMoments:
        half, _ = self._constants(gain)
        return DualMoments(s=half * q, ds_dq=half + 0 * q, d=half + 0 * q, dd_dq=0 * q)


def _positive(q: Array) -> Array:
    """Variances plus a tiny number: 0 / 0 for rows of zeros becomes 0, not NaN."""
    return q + namespace(q).finfo(q.dtype).smallest_normal


def _angle(k: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    """Cosine and sine of the angle between rows, and sqrt(q1 q2); rows may be zero."""
    xp = namespace(k)
    radius = xp.sqrt(_positive(q1)) * xp.sqrt(_positive(q2))
    cosine = k / radius
    sine = cosine * cosine
    sine *= -1
    sine += 1
    if not is_numpy(xp) or sine.min(initial=0.0) < 0:
        cosine = clip(cosine, -1.0, 1.0)
        sine = clip(sine, 0.0, 1.0)
    return cosine, in_place("sqrt", sine), radius


def _piecewise_slope(cosine: Array, half: float, kappa: float) -> Array:
    d = in_place("acos", cosine)
    d *= -kappa
    d += half
    return d


def _not_positive(exponent: Array) -> Array:
    """Exponents that are not positive in exact arithmetic, with rounding clipped."""
    xp = namespace(exponent)
    if is_numpy(xp) and exponent.max(initial=0.0) <= 0:
        return exponent
    return clip(exponent, high=0.0)


@dataclass(frozen=True)
class Sine(Activation):
    """phi(z) = amplitude * sin(frequency * z + phase)."""

    amplitude: float = 1.0
    frequency: float = 1.0
    phase: float = 0.0
    name = "sine"

    def __call__(self, z: Array) -> Array:
        xp = namespace(z)
        return self.amplitude * xp.sin(self.frequency * z + self.phase)

    def derivative(self, z: Array) -> Array:
        wave = namespace(z).cos(self.frequency * z + self.phase)
        return self.amplitude * self.frequency * wave

    def _waves(
        self, k: Array, q1: Array, q2: Array, gain: float
    ) -> tuple[Array, Array | None]:
        """Two terms: S = difference - total, D = frequency^2 (difference + total)."""
        xp = namespace(k)
        f2, half = self.frequency**2, gain * self.amplitude**2 / 2
        mean1, mean2 = q1 * (f2 / 2), q2 * (f2 / 2)
        difference = f2 * k
        difference -= mean1
        difference -= mean2
        difference = in_place("exp", _not_positive(difference))
        difference *= half
        tilt = cos(2 * self.phase)
        if abs(tilt) < 1e-15:
            return difference, None
        total = _not_positive(-f2 * k - mean1 - mean2)
        return difference, (half * tilt) * xp.exp(total)

    @fused
    def dual(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0, derivative: bool = True
    ) -> tuple[Array, Array | None]:
        f2 = self.frequency**2
        difference, total = self._waves(k, q1, q2, gain)
        if total is None:
            return difference, f2 * difference if derivative else None
        return difference - total, f2 * (difference + total) if derivative else None

    @fused
    def first_partials(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0
    ) -> tuple[Array, Array, Array]:
        s, d = self.dual(k, q1, q2, gain)
        shared = s * (-(self.frequency**2) / 2)
        return d, shared, shared

    @fused
    def second_partials(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0
    ) -> tuple[Array, Array, Array]:
        f2 = self.frequency**2
        s, d = self.dual(k, q1, q2, gain)
        return f2**2 * s, -f2 / 2 * d, -f2 / 2 * d


@dataclass(frozen=True)
class GELU(Activation):
    """phi(z) = z * Phi(z), with the standard normal distribution function Phi."""

    name = "gelu"

    def __call__(self, z: Array) -> Array:
        return z * special_function("ndtr", z)

    def derivative(self, z: Array) -> Array:
        density = namespace(z).exp(-z * z / 2) / sqrt(2 * pi)
        return special_function("ndtr", z) + z * density

    @fused
    def dual(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0, derivative: bool = True
    ) -> tuple[Array, Array | None]:
        root = self._root(k, q1, q2)
        angle = namespace(k).atan2(k, root)
        s = gain / 4 * k + gain / (2 * pi) * (self._even(k, q1, q2, root) + k * angle)
        return s, self._slope(k, q1, q2, root, angle, gain) if derivative else None

    @staticmethod
    def _root(k: Array, q1: Array, q2: Array) -> Array:
        """sqrt((1 + q1) (1 + q2) - k^2), at least sqrt(1 + q1 + q2) as k^2 <= q1 q2.

        The least is a factor of its own, so that no square overflows.
        """
        xp = namespace(k)
        least = 1 + q1 + q2
        rest = q1 / least * q2 - k / least * k
        return xp.sqrt(least) * xp.sqrt(xp.maximum(1 + rest, 1 + 0 * rest))

    @staticmethod
    def _even(k: Array, q1: Array, q2: Array, root: Array) -> Array:
        a, b = 1 + q1, 1 + q2
        return k / a * (k / b) / root + q1 / a * (q2 / b) * root

    @staticmethod
    def _slope(
        k: Array, q1: Array, q2: Array, root: Array, angle: Array, gain: float
    ) -> Array:
        rest = 1 / root / root + (2 + q1 + q2) / (1 + q1) / (1 + q2)
        return gain / 4 + gain / (2 * pi) * (angle + k / root * rest)

    @fused
    def first_partials(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0
    ) -> tuple[Array, Array, Array]:
        root = self._root(k, q1, q2)
        d = self._slope(k, q1, q2, root, namespace(k).atan2(k, root), gain)
        even = self._even(k, q1, q2, root)

        def partial(a: Array, b: Array, p: Array, q: Array) -> Array:
            value = q / b * (root / a) + p / a * (q / root) - even / a
            value = value - even * (b / root) / (2 * root) - k / root * (k / a) / 2
            return gain / (2 * pi) * value

        return d, partial(1 + q1, 1 + q2, q1, q2), partial(1 + q2, 1 + q1, q2, q1)

    @fused
    def second_partials(
        self, k: Array, q1: Array, q2: Array, gain: float = 1.0
    ) -> tuple[Array, Array, Array]:
        root = self._root(k, q1, q2)
        square, ratio = root * root, k / root
        dd = (1 + (3 + q1 + q2) / square + 3 * ratio * ratio / square) / root

        def partial(a: Array, b: Array) -> Array:
            value = -1 / a / a - 1 / (2 * a) - (2 + q1 + q2) / a / (2 * square)
            return ratio * (value - 1.5 * (b / square) / square)

        scale, a, b = gain / (2 * pi), 1 + q1, 1 + q2
        return scale * dd, scale * partial(a, b), scale * partial(b, a)


ACTIVATIONS = {
    "erf": Erf(),
    "relu": PiecewiseLinear(0.0, 1.0),
    "leaky_relu": PiecewiseLinear(0.01, 1.0),
    "abs": PiecewiseLinear(-1.0, 1.0),
    "gelu": GELU(),
    "sin": Sine(),
    "cos": Sine(phase=pi / 2),
    "rbf": Sine(amplitude=sqrt(2), phase=pi / 4),
    "identity": PiecewiseLinear(1.0, 1.0),
}
