"""Log posterior of the kernel's scale in a network of finite width, one output.

With t = log s, eigenvalues lam of the kernel and projections c of the targets,

    l(t) = log Gamma(e^t; N/2, rate N/2) + t
           - (1/2) sum [log 2 pi (noise + s lam) + c^2 / (noise + s lam)].
"""

from math import lgamma, log, pi

import numpy as np
from scipy.optimize import brentq

# Quadrature ends where the density is e^-40 = 4e-18 of its mode, below rounding errors.
_DEPTH = 40.0
_FIRST_NODES, _MAX_NODES = 33, 2**14 + 1
# Values of t among which several modes are looked for.
_SCAN = np.linspace(-60.0, 60.0, 241)


class ScaleLikelihood:
    """l(t), its slope and curvature, its mode, and the integral of e^l."""

    def __init__(self, spectrum, noise, width):
        self.lam, self.c2 = spectrum.eigenvalues, spectrum.projections[:, 0] ** 2
        self.noise, self.width = noise, width
        rounding = len(self.lam) * np.finfo(float).eps * np.max(self.lam)
        self.rank = int(np.count_nonzero(self.lam > rounding))
        self.constant = _gamma_constant(width)
        if spectrum.null_rows:
            self.constant -= 0.5 * (
                spectrum.null_rows * log(2 * pi * noise)
                + float(spectrum.null_squares[0, 0]) / noise
            )

    def value(self, t):
        """The log posterior l(t), for a number or an array."""
        variance = self.noise + np.multiply.outer(np.exp(t), self.lam)
        fit = np.sum(np.log(2 * pi * variance) + self.c2 / variance, axis=-1)
        return self.constant + self.width / 2 * (t - np.expm1(t)) - 0.5 * fit

    def slope(self, t):
        """2 dl/dt, for a number or an array."""
        gain = np.multiply.outer(np.exp(t), self.lam)
        variance = self.noise + gain
        pull = np.sum(gain * (self.c2 / variance - 1) / variance, axis=-1)
        return pull - self.width * np.expm1(t)

    def curvature(self, t):
        """-d2l/dt2, for a number."""
        gain = np.exp(t) * self.lam
        variance = self.noise + gain
        terms = gain * self.noise / variance**2
        terms -= self.c2 * gain * (self.noise - gain) / variance**3
        return 0.5 * float(self.width * np.exp(t) + np.sum(terms))

    def modes(self):
        """All local maxima. There is one only if the kernel's rank is <= the width."""
        if self.rank <= self.width:
            low, high = -1.0, 1.0
            while self.slope(low) < 0:
                low *= 2
            while self.slope(high) > 0:
                high *= 2
            return [self._root(low, high)]
        slopes = self.slope(_SCAN)
        down = np.flatnonzero((slopes[:-1] > 0) & (slopes[1:] <= 0))
        if len(down) == 0:
            raise ValueError(
                "The kernel's scale has no most probable value at this noise variance, "
                "which is zero or far below the kernel: raise alpha."
            )
        return [self._root(_SCAN[i], _SCAN[i + 1]) for i in down]

    def _root(self, low, high):
        return brentq(self.slope, low, high, xtol=1e-15, maxiter=500)

    def mode(self):
        """The most probable t."""
        return max(self.modes(), key=self.value)

    def quadrature(self):
        """Scales (k,), their probabilities (k,), and the log of the integral of e^l.

        The trapezoidal rule converges exponentially for such an integrand. The number
        of nodes is doubled until the integral does not change.
        """
        modes = self.modes()
        peak = max(self.value(t) for t in modes)
        low = self._edge(min(modes), peak, -1.0)
        high = self._edge(max(modes), peak, 1.0)
        nodes, before = _FIRST_NODES, np.inf
        rounding = 1e-12 + 1e-15 * abs(peak)
        while True:
            t = np.linspace(low, high, nodes)
            shares = np.exp(self.value(t) - peak)
            integral = float(np.sum(shares)) * (t[1] - t[0])
            if abs(integral / before - 1) < rounding or nodes >= _MAX_NODES:
                break
            nodes, before = 2 * nodes - 1, integral
        kept = shares > 1e-18
        shares = shares[kept] / np.sum(shares)
        return np.exp(t[kept]), shares, peak + log(integral)

    def _edge(self, t, peak, direction):
        """A point beyond which the density is negligible."""
        step = direction / np.sqrt(self.curvature(t))
        while self.value(t + step) > peak - _DEPTH:
            t, step = t + step, 1.5 * step
        return t + step


def _gamma_constant(width):
    """N/2 log(N/2) - N/2 - log Gamma(N/2), without cancellation at large N."""
    if width > 1e4:
        return 0.5 * log(width / (4 * pi)) - 1 / (6 * width)
    half = width / 2
    return half * log(half) - half - lgamma(half)
