"""Kernels that adapt to data, built on the theory of wide neural networks."""

from ._regression import AdaptiveKernelRegressor, NNGPRegressor
from ._scaling_path import scaling_path
from ._search import AdaptiveKernelRegressorCV

__version__ = "0.1.0.dev0"

__all__ = [
    "AdaptiveKernelRegressor",
    "AdaptiveKernelRegressorCV",
    "NNGPRegressor",
    "scaling_path",
]
