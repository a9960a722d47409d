"""Dual activations in closed form: moments of phi over correlated Gaussian pairs.

For (u, v) ~ N(0, [[q1, k], [k, q2]]) every activation gives

    S = E[phi(u) phi(v)],    D = E[phi'(u) phi'(v)] = dS/dk

and their partial derivatives with respect to k, q1 and q2. All functions are
elementwise and broadcast, so they serve a block of pairs, (b, 1) against (1, c), and a
diagonal, (n,) against (n,), alike. `gain` multiplies S and D.
"""

from dataclasses import dataclass
from math import cos, pi, sqrt

from scipy import special

from .._array import in_place, is_numpy, namespace

# Added to variances that divide: rows of zero variance then give zero, not NaN.
TINY = 1e-300


class Activation:
    """Base of the activations that know their dual in closed form."""

    name = None

    def for_variances(self, *variances):
        """The dual prepared for the given pre-activation variances."""
        return self

    def diagonal(self, q, gain=1.0, tangent=True):
        """S(q), dS/dq, D(q), dD/dq at k = q1 = q2 = q; the last only for `tangent`."""
        s, _ = self.dual(q, q, q, gain, derivative=False)
        d, s1, s2 = self.first_partials(q, q, q, gain)
        slope = sum(self.second_partials(q, q, q, gain)) if tangent else None
        return s, d + s1 + s2, d, slope


@dataclass(frozen=True)
class Erf(Activation):
    """phi(z) = erf(z)."""

    name = "erf"

    def __call__(self, z):
        return special.erf(z)

    def dual(self, k, q1, q2, gain=1.0, derivative=True):
        c, slope = self._correlation(k, q1, q2)
        d = _erf_slope(c, slope, gain) if derivative else None
        c = in_place("asin", c)
        c *= 2 * gain / pi
        return c, d

    @staticmethod
    def _correlation(k, q1, q2):
        xp = namespace(k)
        scale = (2 / xp.sqrt(1 + 2 * q1)) * (1 / xp.sqrt(1 + 2 * q2))
        return k * scale, scale

    def first_partials(self, k, q1, q2, gain=1.0):
        c, slope = self._correlation(k, q1, q2)
        d = _erf_slope(c, slope, gain)
        shared = d * k
        return d, shared * (-1 / (1 + 2 * q1)), shared * (-1 / (1 + 2 * q2))

    def second_partials(self, k, q1, q2, gain=1.0):
        det = (1 + 2 * q1) * (1 + 2 * q2) - 4 * k * k
        cube = (4 * gain / pi) / det**1.5
        return 4 * k * cube, -(1 + 2 * q2) * cube, -(1 + 2 * q1) * cube


def _erf_slope(c, slope, gain):
    """Slope * (2 gain / pi) / sqrt(1 - c^2), in the memory of `slope`."""
    root = c * c
    root *= -1
    root += 1
    slope /= in_place("sqrt", root)
    slope *= 2 * gain / pi
    return slope


@dataclass(frozen=True)
class PiecewiseLinear(Activation):
    """phi(z) = negative * min(z, 0) + positive * max(z, 0): the ReLU family."""

    negative: float = 0.0
    positive: float = 1.0
    name = "piecewise_linear"

    def __call__(self, z):
        xp = namespace(z)
        return xp.where(z > 0, self.positive * z, self.negative * z)

    def _constants(self, gain):
        half = gain * (self.negative**2 + self.positive**2) / 2
        return half, gain * (self.negative - self.positive) ** 2 / (2 * pi)

    def dual(self, k, q1, q2, gain=1.0, derivative=True):
        half, kappa = self._constants(gain)
        if kappa == 0:
            return half * k, half + 0 * k
        cosine, sine, radius = _angle(k, q1, q2)
        d = _piecewise_slope(cosine, half, kappa)
        sine *= radius
        sine *= kappa
        sine += d * k
        return sine, d

    def first_partials(self, k, q1, q2, gain=1.0):
        half, kappa = self._constants(gain)
        if kappa == 0:
            return half + 0 * k, 0 * k, 0 * k
        cosine, sine, radius = _angle(k, q1, q2)
        sine *= radius
        sine *= kappa / 2
        d = _piecewise_slope(cosine, half, kappa)
        return d, sine / (q1 + TINY), sine / (q2 + TINY)

    def second_partials(self, k, q1, q2, gain=1.0):
        _, kappa = self._constants(gain)
        xp = namespace(k)
        cosine, sine, radius = _angle(k, q1, q2)
        # The cusp at duplicate rows has no derivative; zero is its symmetric choice.
        cusp = xp.where(sine > 0, kappa / xp.where(sine > 0, sine, sine + 1), 0 * sine)
        turn = cosine * cusp / -2
        return cusp / radius, turn / (q1 + TINY), turn / (q2 + TINY)

    def diagonal(self, q, gain=1.0, tangent=True):
        half, _ = self._constants(gain)
        return half * q, half + 0 * q, half + 0 * q, 0 * q


def _angle(k, q1, q2):
    """Cosine, sine and product of lengths of pre-activations; zero rows are safe."""
    xp = namespace(k)
    radius = xp.sqrt(q1 + TINY) * xp.sqrt(q2 + TINY)
    cosine = k / radius
    sine = cosine * cosine
    sine *= -1
    sine += 1
    if not is_numpy(xp) or sine.min() < 0:
        cosine = xp.clip(cosine, -1.0, 1.0)
        sine = xp.clip(sine, 0.0, 1.0)
    return cosine, in_place("sqrt", sine), radius


def _piecewise_slope(cosine, half, kappa):
    d = in_place("acos", cosine)
    d *= -kappa
    d += half
    return d


@dataclass(frozen=True)
class Sine(Activation):
    """phi(z) = amplitude * sin(frequency * z + phase)."""

    amplitude: float = 1.0
    frequency: float = 1.0
    phase: float = 0.0
    name = "sine"

    def __call__(self, z):
        xp = namespace(z)
        return self.amplitude * xp.sin(self.frequency * z + self.phase)

    def _waves(self, k, q1, q2, gain):
        """The two waves with S = difference - total, D ~ difference + total."""
        xp = namespace(k)
        f2, half = self.frequency**2, gain * self.amplitude**2 / 2
        mean1, mean2 = q1 * (f2 / 2), q2 * (f2 / 2)
        difference = f2 * k
        difference -= mean1
        difference -= mean2
        difference = in_place("exp", difference)
        difference *= half
        tilt = cos(2 * self.phase)
        if abs(tilt) < 1e-15:
            return difference, None
        return difference, (half * tilt) * xp.exp(-f2 * k - mean1 - mean2)

    def dual(self, k, q1, q2, gain=1.0, derivative=True):
        f2 = self.frequency**2
        difference, total = self._waves(k, q1, q2, gain)
        if total is None:
            return difference, f2 * difference if derivative else None
        return difference - total, f2 * (difference + total) if derivative else None

    def first_partials(self, k, q1, q2, gain=1.0):
        s, d = self.dual(k, q1, q2, gain)
        shared = s * (-(self.frequency**2) / 2)
        return d, shared, shared

    def second_partials(self, k, q1, q2, gain=1.0):
        f2 = self.frequency**2
        s, d = self.dual(k, q1, q2, gain)
        return f2**2 * s, -f2 / 2 * d, -f2 / 2 * d


@dataclass(frozen=True)
class GELU(Activation):
    """phi(z) = z * Phi(z), with the standard normal distribution function Phi."""

    name = "gelu"

    def __call__(self, z):
        return z * special.ndtr(z)

    def dual(self, k, q1, q2, gain=1.0, derivative=True):
        xp = namespace(k)
        a, b = 1 + q1, 1 + q2
        root = xp.sqrt(a * b - k * k)
        angle = xp.atan2(k, root)
        s = (k * k + q1 * q2 * root**2) / (a * b * root) + k * angle
        s = gain / 4 * k + gain / (2 * pi) * s
        if not derivative:
            return s, None
        return s, self._slope(k, q1, q2, root, angle, gain)

    @staticmethod
    def _slope(k, q1, q2, root, angle, gain):
        rest = 1 / root**2 + (1 - q1 * q2) / ((1 + q1) * (1 + q2)) + 1
        return gain / 4 + gain / (2 * pi) * (angle + k / root * rest)

    def first_partials(self, k, q1, q2, gain=1.0):
        xp = namespace(k)
        a, b = 1 + q1, 1 + q2
        root = xp.sqrt(a * b - k * k)
        d = self._slope(k, q1, q2, root, xp.atan2(k, root), gain)
        top = k * k + q1 * q2 * root**2

        def partial(a, b, p, q):
            value = (q * root**2 + p * q * b) / (a * b * root)
            value = value - top / (a**2 * b * root) - top / (2 * a * root**3)
            return gain / (2 * pi) * (value - k * k / (2 * a * root))

        return d, partial(a, b, q1, q2), partial(b, a, q2, q1)

    def second_partials(self, k, q1, q2, gain=1.0):
        xp = namespace(k)
        a, b = 1 + q1, 1 + q2
        root = xp.sqrt(a * b - k * k)
        rest = 1 - q1 * q2
        dd = 1 / root + (1 + rest + a * b) / root**3 + 3 * k * k / root**5

        def partial(a, b, q):
            value = -q / (a * b) - rest / (a**2 * b)
            value = value / root - (rest / a + b) / (2 * root**3)
            return k * (value - 1.5 * b / root**5 - 1 / (2 * a * root))

        scale = gain / (2 * pi)
        return scale * dd, scale * partial(a, b, q2), scale * partial(b, a, q1)


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
