"""Few, constant, repeated and far rows; no signal, no noise: finite predictions."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
)
from adaptive_kernels.kernels import NNGP, NTK

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 3))
Y = np.sin(X[:, 0]) + 0.1 * RNG.standard_normal(30)


def nngp(**parameters):
    return NNGPRegressor(**parameters)


def diag(**parameters):
    return AdaptiveKernelRegressor(**parameters)


def full(**parameters):
    return AdaptiveKernelRegressor(covariance_type="full", **parameters)


def rescaling(**parameters):
    return AdaptiveKernelRegressor(approximation="rescaling", width=20, **parameters)


def relu(**parameters):
    return AdaptiveKernelRegressor(NNGP("relu"), **parameters)


def ntk(**parameters):
    return AdaptiveKernelRegressor(NTK("erf"), **parameters)


def search(**parameters):
    small = {"widths": (1, np.inf), "covariance_types": ("diag",), "cv": 2}
    return AdaptiveKernelRegressorCV([NNGP("erf")], **(small | parameters))


one_fit = pytest.mark.parametrize("make", [nngp, diag, full, rescaling, relu, ntk])
every = pytest.mark.parametrize(
    "make", [nngp, diag, full, rescaling, relu, ntk, search]
)


def finite_prediction(model, rows):
    mean, std = model.predict(rows, return_std=True)
    assert np.all(np.isfinite(mean)) and np.all(np.isfinite(std)) and np.all(std > 0)
    return mean, std


@one_fit
def test_one_row(make):
    mean, _ = finite_prediction(make().fit(X[:1], Y[:1]), X[:1])
    # One centred target is zero, and so is its posterior mean.
    assert_allclose(mean, Y[:1], rtol=1e-12)


@every
def test_fewer_rows_than_features(make):
    rows = np.random.default_rng(2).standard_normal((6, 20))
    mean, std = finite_prediction(make().fit(rows, Y[:6]), rows)
    # No conflict between rows: they are fitted within the noise.
    assert np.all(np.abs(mean - Y[:6]) < 3 * std)


@every
def test_repeated_rows_with_different_targets(make):
    rng = np.random.default_rng(1)
    rows = np.repeat(rng.standard_normal((8, 3)), 10, axis=0)
    groups = np.repeat(5 * rng.standard_normal(8), 10)
    order = rng.permutation(80)
    targets = groups + 0.5 * rng.standard_normal(80)
    mean, std = finite_prediction(make().fit(rows[order], targets[order]), rows)
    # Four standard errors: of a mean of 10, and of a spread from 80.
    assert_allclose(mean, groups, atol=4 * 0.5 / np.sqrt(10))
    assert_allclose(std, 0.5, rtol=4 / np.sqrt(160))


@every
def test_constant_column(make):
    rows = np.column_stack([X, np.full(30, 2.0)])
    model = make().fit(rows, Y)
    mean, _ = finite_prediction(model, rows)
    assert np.std(mean - Y) < 0.2
    if hasattr(model, "feature_importances_"):
        assert model.feature_importances_[3] < 1e-12


@every
@pytest.mark.parametrize("value", [0.0, 3.0, -1e8, 1e-8])
def test_constant_target(make, value):
    mean, _ = finite_prediction(make().fit(X, np.full(30, value)), 3 * X)
    # Rounding of the mean of y and of the sum that adds it back.
    assert_allclose(mean, value, rtol=1e-13, atol=1e-13)


@every
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_rows_all_alike(make, value):
    model = make().fit(np.full((30, 3), value), Y)
    mean, std = finite_prediction(model, np.full((2, 3), value))
    if make is not search:
        # Centred targets are orthogonal to a constant kernel.
        assert_allclose(mean, np.mean(Y), atol=1e-8)
    # All is noise: within two standard errors of a spread from 30.
    assert_allclose(std, np.std(Y), rtol=2 / np.sqrt(60))


@every
@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_scales_of_x_and_y(make, factor):
    expected = make().fit(X, Y).predict(X, return_std=True)
    actual = make().fit(factor * X, Y).predict(factor * X, return_std=True)
    assert_allclose(actual, expected, rtol=1e-5)
    actual = make().fit(X, factor * Y).predict(X, return_std=True)
    assert_allclose(actual, factor * np.array(expected), rtol=1e-5)


@every
def test_target_far_from_zero(make):
    mean, std = make().fit(X, Y).predict(X, return_std=True)
    far = make().fit(X, Y + 1e8).predict(X, return_std=True)
    # The sum rounds to 1e-8 of a unit.
    assert_allclose(far, [mean + 1e8, std], rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:sample_weight sums")
@one_fit
@pytest.mark.parametrize("weight", [1e-12, 1e8])
def test_extreme_weights(make, weight):
    mean, _ = finite_prediction(make().fit(X, Y, np.full(30, weight)), X)
    # Weights say how sure the targets are: hardly, or entirely.
    expected = np.mean(Y) if weight < 1 else Y
    assert_allclose(mean, np.broadcast_to(expected, 30), atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["weight_variance", "readout_variance"])
@pytest.mark.parametrize("make", [nngp, diag, full, rescaling])
def test_kernel_without_signal_predicts_the_mean(make, name):
    model = make(kernel=NNGP("erf", **{name: 0.0})).fit(X, Y)
    mean, std = finite_prediction(model, X)
    assert_allclose(mean, np.mean(Y), atol=1e-8)
    assert_allclose(std, np.std(Y), rtol=2 / np.sqrt(60))


TWICE = np.arange(30) // 2


@pytest.mark.parametrize("targets", [Y, Y[TWICE]], ids=["different", "same"])
@pytest.mark.parametrize("make", [nngp, diag])
def test_no_noise_and_repeated_rows(make, targets):
    with pytest.raises(np.linalg.LinAlgError, match="alpha"):
        make(alpha=0, optimizer=None).fit(X[TWICE], targets)


@pytest.mark.parametrize("make", [nngp, diag])
def test_no_noise_interpolates(make):
    model = make(alpha=0, optimizer=None, kernel=NNGP("relu")).fit(X, Y)
    assert_allclose(model.predict(X), Y, atol=1e-6)


def test_rescaling_of_a_singular_kernel_needs_noise():
    with pytest.raises(ValueError, match="raise alpha"):
        rescaling(kernel=NNGP("identity"), alpha=0, optimizer=None).fit(X, Y)


@pytest.mark.parametrize("make", [nngp, diag])
def test_search_from_zero_noise_finds_the_noise(make):
    # alpha is documented as a starting value; four standard errors of 30 values.
    noise = np.sqrt(make(alpha=0).fit(X, Y).alpha_) * np.std(Y)
    assert_allclose(noise, 0.1, rtol=4 / np.sqrt(60))


@every
def test_ordinary_data_gives_no_warnings(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finite_prediction(make().fit(X, Y), 10 * X)
