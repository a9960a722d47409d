"""Statistical theory of wide networks: pure functions of arrays."""

from .adaptation import GaussianAdaptation, gaussian_adaptation
from .deep import layer_scales
from .descent import (
    Descent,
    Preconditioner,
    iterations_needed,
    kernel_gradient_descent,
    preconditioned_step,
    predicted_residual,
)
from .gradient_flow import GradientFlow
from .gradient_step import SpikeComponent
from .learning_curves import (
    LearningCurveTheory,
    predicted_error,
    predicted_pool_error,
)
from .multiscale import OutputStatistics, exact, scale_saddle, tree_level
from .neurons import SampledTheory, sampled
from .one_loop import one_loop
from .one_step import (
    RidgeAsymptotics,
    StepDirection,
    direction_alignment,
    ridge_asymptotics,
)
from .random_features import BulkResolvent, bulk_edge, bulk_resolvent
from .spectrum import Spectrum
from .spike_gain import (
    gain_from_exponent,
    gain_from_step_size,
    hermite_coefficients,
    spike_exponents,
    visible_gain,
)
from .target_polynomial import TargetPolynomial
from .variational import (
    Data,
    Hyperparameters,
    RegularizedEvidence,
    log_evidence,
)

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
