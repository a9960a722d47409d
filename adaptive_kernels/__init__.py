"""Kernels that adapt to data, built on the theory of wide neural networks."""

from ._skops_types import SKOPS_TRUSTED_TYPES
from .analysis.learning_curve import learning_curve_theory
from .analysis.scaling_path import scaling_path
from .analysis.spike_spectrum import spike_spectrum
from .estimators.adaptive_classifier import AdaptiveKernelClassifier
from .estimators.adaptive_regressor import AdaptiveKernelRegressor
from .estimators.modified_spectrum import ModifiedSpectrumRegressor
from .estimators.neural_tangent import NTKClassifier, NTKRegressor
from .estimators.nngp_classifier import NNGPClassifier
from .estimators.nngp_regressor import NNGPRegressor
from .estimators.one_step_features import OneStepSpikeFeatures
from .model_selection.classifier_search import AdaptiveKernelClassifierCV
from .model_selection.regressor_search import AdaptiveKernelRegressorCV

__version__ = "0.1.0.dev0"

__all__ = [
    "SKOPS_TRUSTED_TYPES",
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
