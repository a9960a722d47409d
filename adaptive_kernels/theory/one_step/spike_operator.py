"""The mean shift of the features as an operator, whose singular values are the spikes.

A step of gain s moves the input of a neuron by s alpha g, with standard normal g (over
rows) and alpha (over neurons). On average over the untrained input z this adds

    M(g, alpha) = E[phi(z + s alpha g)] - c_0

to the features: an operator between functions of g and of alpha. It depends on the
product of the two, so that its even and its odd part act apart.
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
    """M of an `Expansion`, as a matrix between functions of unit square on NODES."""
    # Weights are below exp(-30) where the clipping acts.
    shifts = gain * np.clip(np.outer(NODES, NODES), -60, 60)
    means = found.shifted_mean(60 * gain)(shifts)
    return means * np.outer(ROOT_WEIGHTS, ROOT_WEIGHTS)


def spike_size(found, gain, degree):
    """Singular value of M that starts, at small gain, as |c_k| s^k (2k - 1)!!.

    Among those of its parity they start in the order of their degrees, and singular
    values of one parity do not cross.
    """
    M = mean_shift_operator(found, gain)
    part = (M + (-1) ** degree * M[::-1]) / 2
    alike = range(2 - degree % 2, degree + 1, 2)
    place = sum(found.has_degree(k) for k in alike) - 1
    return float(svdvals(part)[place])
