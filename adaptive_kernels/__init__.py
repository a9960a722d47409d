"""Kernels that adapt to data, built on the theory of wide neural networks."""

from ._classification import AdaptiveKernelClassifier, NNGPClassifier
from ._classification_search import AdaptiveKernelClassifierCV
from ._features import OneStepSpikeFeatures
from ._learning_curve import learning_curve_theory
from ._modified_spectrum import ModifiedSpectrumRegressor
from ._ntk import NTKClassifier, NTKRegressor
from ._regression import AdaptiveKernelRegressor, NNGPRegressor
from ._scaling_path import scaling_path
from ._search import AdaptiveKernelRegressorCV
from ._spike_spectrum import spike_spectrum

__version__ = "0.1.0.dev0"

__all__ = [
    "AdaptiveKernelClassifier",
    "AdaptiveKernelClassifierCV",
    "AdaptiveKernelRegressor",
    "AdaptiveKernelRegressorCV",
    "ModifiedSpectrumRegressor",
    "NNGPClassifier",
    "NNGPRegressor",
    "NTKClassifier",
    "NTKRegressor",
    "OneStepSpikeFeatures",
    "learning_curve_theory",
    "scaling_path",
    "spike_spectrum",
]
