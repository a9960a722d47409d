"""scikit-learn's own checks: every estimator, and one at the end of a pipeline."""

from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._array_api import _check_array_api_dispatch
from sklearn.utils.estimator_checks import parametrize_with_checks

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
)
from adaptive_kernels.kernels import NNGP

ESTIMATORS = [
    NNGPRegressor(),
    AdaptiveKernelRegressor(),
    AdaptiveKernelRegressor(
        approximation="rescaling", width=50, covariance_type="full"
    ),
    AdaptiveKernelRegressorCV(
        kernels=[NNGP("erf")], widths=(1,), covariance_types=("diag",), cv=2
    ),
    make_pipeline(StandardScaler(), AdaptiveKernelRegressor()),
]


def failures_of_every_pipeline(estimator):
    """scikit-learn's own list for Pipeline; our estimators have none."""
    if not isinstance(estimator, Pipeline):
        return {}
    reason = "scikit-learn's Pipeline.fit replaces its parameter `steps`"
    return {
        "check_dont_overwrite_parameters": reason,
        "check_estimators_overwrite_params": reason,
    }


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=failures_of_every_pipeline)
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_array_api_checks_are_not_skipped():
    # Raises if SCIPY_ARRAY_API came too late; the checks above would skip in silence.
    _check_array_api_dispatch(True)
