"""Statistical theory of wide networks: pure functions of arrays."""

from .adaptation import GaussianAdaptation, gaussian_adaptation
from .deep import layer_scales
from .multiscale import OutputStatistics, exact, scale_saddle, tree_level
from .neurons import SampledTheory, sampled
from .one_loop import one_loop
from .spectrum import Spectrum
from .variational import (
    Data,
    Hyperparameters,
    RegularizedEvidence,
    log_evidence,
)

__all__ = [
    "Data",
    "GaussianAdaptation",
    "Hyperparameters",
    "OutputStatistics",
    "RegularizedEvidence",
    "SampledTheory",
    "Spectrum",
    "exact",
    "gaussian_adaptation",
    "layer_scales",
    "log_evidence",
    "one_loop",
    "sampled",
    "scale_saddle",
    "tree_level",
]
