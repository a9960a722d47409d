"""Kernels of infinitely wide networks, as scikit-learn kernel objects.

NNGP stands for neural-network Gaussian process, NTK for neural tangent kernel.
"""

from ._activations import GELU, Erf, PiecewiseLinear, Sine
from ._base import NNGP, NTK

__all__ = ["GELU", "NNGP", "NTK", "Erf", "PiecewiseLinear", "Sine"]
