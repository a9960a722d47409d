"""Statistical theory of wide networks: pure functions of arrays."""

from .multiscale import ScaleSaddle, scale_saddle
from .variational import (
    Data,
    Hyperparameters,
    RegularizedEvidence,
    log_evidence,
)

__all__ = [
    "Data",
    "Hyperparameters",
    "RegularizedEvidence",
    "ScaleSaddle",
    "log_evidence",
    "scale_saddle",
]
