"""Outputs without variation change nothing of the others; variances never < 0."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
    NTKRegressor,
)
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.metrics import interval_coverage

FITS = {
    "nngp": NNGPRegressor(),
    "inducing points": NNGPRegressor(n_inducing=20),
    "streamed": NNGPRegressor(n_inducing=5),
    "not normalised": NNGPRegressor(normalize_y=False),
    "adaptive": AdaptiveKernelRegressor(width=5, max_iter=20),
    "mean field": AdaptiveKernelRegressor(width=50, scaling=5, max_iter=20),
    "tree": AdaptiveKernelRegressor(approximation="gaussian_tree", max_iter=20),
    "search": AdaptiveKernelRegressorCV(widths=(1, 10), max_iter=5, cv=2),
}
CONSTANTS = {"zero": 0.0, "five": 5.0, "tenth": 0.1, "large": 1e10}


def table(n=60, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    return X, np.sin(X[:, 0]) + 0.3 * rng.standard_normal(n)


def rounded(value, n):
    """A constant with rounding errors."""
    steps = np.random.default_rng(0).integers(-1, 2, n)
    return value * (1 + steps * np.finfo(float).eps)


@pytest.mark.parametrize("name", FITS)
def test_constant_outputs_change_nothing(name):
    X, y = table()
    zero = np.zeros(len(y))
    five = zero if name == "not normalised" else rounded(5.0, len(y))
    alone = FITS[name].fit(X, y).predict(X[:5], return_std=True)
    model = FITS[name].fit(X, np.column_stack([five, y, zero]))
    mean, std = model.predict(X[:5], return_std=True)
    assert_allclose(mean[:, 1], alone[0], atol=1e-9)
    assert_allclose(std[:, 1], alone[1], rtol=1e-9)
    assert_allclose(mean[:, 0], five[0], rtol=1e-14)
    assert_allclose(mean[:, 2], 0, atol=0)
    assert np.all(std[:, [0, 2]] < 0.01)
    _, covariance = model.predict(X[:5], return_cov=True)
    assert_allclose(np.diagonal(covariance).T, std**2, rtol=1e-10)
    assert model.sample_y(X[:5], 2).shape == (5, 3, 2)


def test_shapes_of_what_is_fitted():
    X, y = table()
    model = NNGPRegressor().fit(X, np.column_stack([y, np.ones_like(y)]))
    assert model.dual_coef_.shape == (60, 2)
    assert np.all(model.dual_coef_[:, 1] == 0)
    mean, std = model.leave_one_out_predict(return_std=True)
    assert mean.shape == std.shape == (60, 2)
    assert_allclose(mean[:, 1], 1, rtol=1e-15)
    assert model.log_marginal_likelihood_value_ == pytest.approx(
        NNGPRegressor().fit(X, y).log_marginal_likelihood_value_
    )


def test_intervals_cover_beside_constant_outputs():
    X, y = table(300)
    new, held_out = table(2000, seed=2)
    Y = np.column_stack([y, np.full((300, 9), 5.0)])
    mean, std = NNGPRegressor().fit(X, Y).predict(new, return_std=True)
    # Standard error of a coverage of 2000 rows is .007; the fit's own is twice that.
    assert 0.86 < interval_coverage(held_out, mean[:, 0], std[:, 0]) < 0.94


@pytest.mark.parametrize("value", CONSTANTS.values(), ids=CONSTANTS)
@pytest.mark.parametrize("name", ["nngp", "inducing points", "adaptive", "search"])
def test_standard_deviation_of_a_constant_does_not_depend_on_rounding(name, value):
    X, _ = table()
    exact = FITS[name].fit(X, np.full(60, value)).predict(X[:5], return_std=True)
    mean, std = FITS[name].fit(X, rounded(value, 60)).predict(X[:5], return_std=True)
    assert_allclose(exact[0], value, rtol=1e-15)
    assert_allclose(mean, value, rtol=1e-15)
    assert_allclose(std, exact[1], rtol=1e-12)
    # The smallest noise variance of a fit, 1e-5, for a scale of one.
    assert_allclose(std, 1e-5**0.5, rtol=0.01)


def test_rows_of_weight_zero_do_not_vary_an_output():
    X, y = table()
    weights = np.ones(60)
    weights[:3] = 0
    other = np.full(60, 5.0)
    other[:3] = [1e6, -4.0, 7.0]
    Y = np.column_stack([y, other])
    mean = NNGPRegressor().fit(X, Y, weights).predict(X[:5])
    kept = NNGPRegressor().fit(X[3:], y[3:]).predict(X[:5])
    assert_allclose(mean[:, 0], kept, atol=1e-9)
    assert_allclose(mean[:, 1], 5, rtol=1e-15)


EXACT = NNGP("erf", weight_variance=100.0)


@pytest.mark.parametrize("alpha", [0.0, 1e-12, 1e-8, 1e-2])
@pytest.mark.parametrize(
    "model",
    [
        NNGPRegressor(EXACT, optimizer=None),
        AdaptiveKernelRegressor(EXACT, optimizer=None, approximation="rescaling"),
        NTKRegressor(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_covariance_has_the_variances_on_its_diagonal(model, alpha):
    X, y = table()
    model = clone(model).set_params(alpha=alpha).fit(X, y)
    rows = np.vstack([X, table(600, seed=2)[0]])
    std = model.predict(rows, return_std=True)[1]
    variance = np.diagonal(model.predict(rows, return_cov=True)[1])
    assert np.all(variance >= 0)
    # Rounding relative to the prior variance, which is about one.
    assert_allclose(variance, std**2, rtol=1e-9, atol=1e-14)
