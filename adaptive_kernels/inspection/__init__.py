"""Plots of fitted estimators, with the interface of scikit-learn's displays."""

from ._importances import FeatureImportancesDisplay
from ._intervals import PredictionIntervalDisplay
from ._kernel_spectrum import KernelSpectrumDisplay
from ._learning_curve import LearningCurveTheoryDisplay
from ._neural_collapse import NeuralCollapseDisplay
from ._reliability import ReliabilityDisplay
from ._scaling_path import ScalingPathDisplay
from ._spike_spectrum import SpikeSpectrumDisplay
from ._weight_covariance import WeightCovarianceDisplay
from ._width_path import WidthPathDisplay

__all__ = [
    "FeatureImportancesDisplay",
    "KernelSpectrumDisplay",
    "LearningCurveTheoryDisplay",
    "NeuralCollapseDisplay",
    "PredictionIntervalDisplay",
    "ReliabilityDisplay",
    "ScalingPathDisplay",
    "SpikeSpectrumDisplay",
    "WeightCovarianceDisplay",
    "WidthPathDisplay",
]
