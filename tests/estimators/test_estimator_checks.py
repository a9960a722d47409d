"""scikit-learn's own checks on every estimator."""

import pytest
from sklearn.utils._array_api import _check_array_api_dispatch
from sklearn.utils.estimator_checks import parametrize_with_checks

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPClassifier,
    NNGPRegressor,
    NTKClassifier,
    NTKRegressor,
    OneStepSpikeFeatures,
)
from adaptive_kernels.kernels import NNGP

ESTIMATORS = [
    NNGPRegressor(),
    NNGPRegressor(NNGP("tanh")),
    AdaptiveKernelRegressor(),
    AdaptiveKernelRegressor(
        approximation="rescaling", width=50, covariance_type="full"
    ),
    AdaptiveKernelRegressorCV(
        kernels=[NNGP("erf")], widths=(1,), covariance_types=("diag",), cv=2
    ),
    NNGPClassifier(),
    AdaptiveKernelClassifier(),
    AdaptiveKernelClassifier(class_weight="balanced", width=100),
    AdaptiveKernelClassifierCV(
        kernels=[NNGP("erf")], widths=(10,), covariance_types=("diag",), cv=2
    ),
    NTKRegressor(),
    NTKRegressor(time=float("inf"), alpha=0.1),
    NTKClassifier(),
    OneStepSpikeFeatures(n_components=20),
    OneStepSpikeFeatures(
        n_components=20, gradient="exact", residual="full", precondition=0.1
    ),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:sample_weight sums")
@pytest.mark.contract
@parametrize_with_checks(ESTIMATORS)
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_array_api_checks_are_not_skipped():
    # Raises if SCIPY_ARRAY_API came too late; the checks above would skip in silence.
    _check_array_api_dispatch(True)
