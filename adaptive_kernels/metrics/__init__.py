"""Scores of predictions, and of features and kernels against labels."""

from ._kernels import effective_dimension, kernel_target_alignment
from ._neural_collapse import NeuralCollapse, nc1_score, neural_collapse
from ._predictions import discrepancy, interval_coverage, predictive_log_density

__all__ = [
    "NeuralCollapse",
    "discrepancy",
    "effective_dimension",
    "interval_coverage",
    "kernel_target_alignment",
    "nc1_score",
    "neural_collapse",
    "predictive_log_density",
]
