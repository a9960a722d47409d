"""Kernels of infinitely wide networks, as scikit-learn kernel objects.

NNGP stands for neural-network Gaussian process, NTK for neural tangent kernel.
"""

from ._activations import GELU, Erf, PiecewiseLinear, Sine
from ._base import NNGP, NTK
from ._spectrum import ModifiedSpectrum

__all__ = [
    "GELU",
    "NNGP",
    "NTK",
    "Erf",
    "ModifiedSpectrum",
    "PiecewiseLinear",
    "Sine",
]
