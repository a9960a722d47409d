"""Pictures of fitted adaptive kernels, in the manner of scikit-learn's displays."""

from ._importances import FeatureImportancesDisplay
from ._intervals import PredictionIntervalDisplay
from ._scaling_path import ScalingPathDisplay
from ._weight_covariance import WeightCovarianceDisplay
from ._width_path import WidthPathDisplay

__all__ = [
    "FeatureImportancesDisplay",
    "PredictionIntervalDisplay",
    "ScalingPathDisplay",
    "WeightCovarianceDisplay",
    "WidthPathDisplay",
]
