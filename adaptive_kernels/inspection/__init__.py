"""Pictures of fitted adaptive kernels, in the manner of scikit-learn's displays."""

from ._importances import FeatureImportancesDisplay
from ._intervals import PredictionIntervalDisplay
from ._width_path import WidthPathDisplay

__all__ = [
    "FeatureImportancesDisplay",
    "PredictionIntervalDisplay",
    "WidthPathDisplay",
]
