"""Statistical theory of wide networks, as pure functions of arrays.

Estimators call these functions. Use them directly to compare theories with each other
or with sampled networks.
"""

from ..inference.evidence import (
    Data,
    Hyperparameters,
    RegularizedEvidence,
    log_evidence,
)
from .finite_width.deep_networks import layer_scales
from .finite_width.exact_linear import exact
from .finite_width.gaussian_adaptation import GaussianAdaptation, gaussian_adaptation
from .finite_width.one_loop import one_loop
from .finite_width.output_statistics import OutputStatistics
from .finite_width.rescaling import scale_saddle
from .finite_width.sampled_neurons import SampledTheory, sampled
from .finite_width.tree_level import tree_level
from .kernel_regression.gradient_flow import GradientFlow
from .kernel_regression.learning_curves import (
    LearningCurveTheory,
    predicted_error,
    predicted_pool_error,
)
from .kernel_regression.preconditioned_descent import (
    Descent,
    Preconditioner,
    iterations_needed,
    kernel_gradient_descent,
    preconditioned_step,
    predicted_residual,
)
from .kernel_regression.spectrum import Spectrum
from .one_step.gradient_step import SpikeComponent
from .one_step.random_features import BulkResolvent, bulk_edge, bulk_resolvent
from .one_step.ridge_asymptotics import (
    RidgeAsymptotics,
    StepDirection,
    direction_alignment,
    ridge_asymptotics,
)
from .one_step.spike_gain import (
    gain_from_exponent,
    gain_from_step_size,
    hermite_coefficients,
    spike_exponents,
    visible_gain,
)
from .one_step.target_polynomial import TargetPolynomial

__all__ = [
    "BulkResolvent",
    "Data",
    "Descent",
    "GaussianAdaptation",
    "GradientFlow",
    "Hyperparameters",
    "LearningCurveTheory",
    "OutputStatistics",
    "Preconditioner",
    "RegularizedEvidence",
    "RidgeAsymptotics",
    "SampledTheory",
    "SpikeComponent",
    "Spectrum",
    "StepDirection",
    "TargetPolynomial",
    "bulk_edge",
    "bulk_resolvent",
    "direction_alignment",
    "exact",
    "gain_from_exponent",
    "gain_from_step_size",
    "gaussian_adaptation",
    "hermite_coefficients",
    "iterations_needed",
    "kernel_gradient_descent",
    "layer_scales",
    "log_evidence",
    "one_loop",
    "preconditioned_step",
    "predicted_error",
    "predicted_pool_error",
    "predicted_residual",
    "ridge_asymptotics",
    "sampled",
    "scale_saddle",
    "spike_exponents",
    "tree_level",
    "visible_gain",
]
