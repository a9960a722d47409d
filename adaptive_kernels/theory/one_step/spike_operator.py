"""The mean shift of the features as an operator, whose singular values are the spikes.

A step of gain s changes the input of a neuron by s alpha g, with standard normal g
(over rows) and alpha (over neurons). On average over the untrained input z this adds

    M(g, alpha) = E[phi(z + s alpha g)] - c_0

to the features. M is an operator between functions of g and functions of alpha. It
depends on the product alpha g only, so even and odd functions do not mix.
"""

from functools import lru_cache
from math import sqrt

import numpy as np
from scipy.linalg import svdvals

# Equispaced nodes integrate smooth functions over N(0, 1) to rounding.
NODES = np.linspace(-9.0, 9.0, 181)
ROOT_WEIGHTS = np.sqrt(0.1 / sqrt(2 * np.pi)) * np.exp(-(NODES**2) / 4)


@lru_cache(maxsize=32)
def mean_shift_operator(found, gain):
    """M of an `Expansion` as a matrix between orthonormal coordinates at NODES."""
    # Products are clipped only where the weights are below exp(-30).
    shifts = gain * np.clip(np.outer(NODES, NODES), -60, 60)
    means = found.shifted_mean(60 * gain)(shifts)
    return means * np.outer(ROOT_WEIGHTS, ROOT_WEIGHTS)


def spike_size(found, gain, degree):
    """Singular value of M that is |c_k| s^k (2k - 1)!! at small gain s, k = `degree`.

    At small gain the singular values of one parity are in the order of their degrees.
    They do not cross at larger gain, so the order gives the place of the value.
    """
    M = mean_shift_operator(found, gain)
    part = (M + (-1) ** degree * M[::-1]) / 2
    alike = range(2 - degree % 2, degree + 1, 2)
    place = sum(found.has_degree(k) for k in alike) - 1
    return float(svdvals(part)[place])
