"""Left-out class predictions from neighbours against those from all rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adaptive_kernels.inference.class_calibration import ExactClasses
from adaptive_kernels.inference.evidence import Data, Hyperparameters
from adaptive_kernels.inference.local_calibration import LocalClasses
from adaptive_kernels.inference.local_posterior import local_data
from adaptive_kernels.kernels import NNGP, NTK

RNG = np.random.default_rng(0)
N = 60
X = RNG.standard_normal((N, 3))
LABELS = np.eye(3)[RNG.integers(3, size=N)]
WEIGHTS = RNG.uniform(0.5, 2, N)
SAMPLE = np.array([3, 7, 11, 40])


@pytest.mark.parametrize("kernel", [NNGP("erf"), NTK("relu")])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("noise", [1e-3, 0.1, 3.0])
def test_all_others_as_neighbours_is_exact(kernel, weights, noise):
    rows = Data(X, LABELS - LABELS.mean(axis=0), weights)
    point = Hyperparameters(kernel.network(), 0.5)
    exact = ExactClasses.of(rows, point)
    local = LocalClasses.of(local_data(rows, N - 1, None), point, SAMPLE)
    assert_allclose(local.prior, exact.prior[SAMPLE], rtol=1e-12)
    mean, variance = exact.leave_one_out(noise)
    found, spread = local.leave_one_out(noise)
    assert_allclose(found, mean[SAMPLE], atol=1e-10)
    assert_allclose(spread, variance[SAMPLE], atol=1e-10)
