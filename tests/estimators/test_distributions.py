"""Quantiles, intervals and log densities against SciPy and against drawn samples."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import norm

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
)
from adaptive_kernels.estimators.distributions import NormalMixture

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3))
Y = np.sin(2 * X[:, 0]) + 0.2 * RNG.standard_normal(60)
Y2 = np.stack([Y, 10 + X[:, 1] + RNG.standard_normal(60)], axis=1)
NEW = RNG.standard_normal((7, 3))
OBSERVED = np.sin(2 * NEW[:, 0])
LEVELS = [0.025, 0.3, 0.5, 0.99]
SEARCH = {"widths": (0.1, np.inf), "cv": 2, "max_iter": 5}


@pytest.fixture(scope="module", params=[Y, Y2], ids=["one output", "two"])
def search(request):
    found = AdaptiveKernelRegressorCV(**SEARCH).fit(X, request.param)
    # Both candidates, whatever the data say.
    models = [*found.members_, found.best_estimator_]
    other = AdaptiveKernelRegressor(width=0.1, alpha=0.5, optimizer=None)
    found.members_ = [models[0], other.fit(X, request.param)]
    found.weights_ = [0.3, 0.7]
    return found


@pytest.mark.parametrize("make", [NNGPRegressor, AdaptiveKernelRegressor])
@pytest.mark.parametrize("targets", [Y, Y2], ids=["one output", "two"])
def test_normal_of_a_single_fit(make, targets):
    model = make().fit(X, targets)
    mean, std = model.predict(NEW, return_std=True)
    quantiles = model.predict_quantiles(NEW, LEVELS)
    assert quantiles.shape == (*mean.shape, 4)
    for i, level in enumerate(LEVELS):
        assert_allclose(quantiles[..., i], norm.ppf(level, mean, std))
    interval = model.predict_interval(NEW, level=0.8)
    low, high = norm.interval(0.8, mean, std)
    assert_allclose(interval, np.stack([low, high], axis=-1))
    observed = OBSERVED if targets is Y else np.stack([OBSERVED, OBSERVED + 9], axis=1)
    expected = norm.logpdf(observed, mean, std).reshape(7, -1).sum(axis=1)
    assert_allclose(model.predict_log_density(NEW, observed), expected)


def test_mixture_of_a_search(search):
    """Each row's density is the one of its quantiles, and integrates to one."""
    levels = np.linspace(0.001, 0.999, 41)
    quantiles = search.predict_quantiles(NEW, levels)
    assert (np.diff(quantiles, axis=-1) > 0).all()
    moments = [member.predict(NEW, return_std=True) for member in search.members_]
    shares = np.stack(
        [w / std for w, (_, std) in zip((0.3, 0.7), moments, strict=True)]
    )
    shares = shares / shares.sum(axis=0)
    for i, level in enumerate(levels):
        below = sum(
            share * norm.cdf(quantiles[..., i], *moment)
            for share, moment in zip(shares, moments, strict=True)
        )
        assert_allclose(below, level, atol=1e-10)


def test_density_of_a_search_integrates_to_one():
    shares = np.array([0.2, 0.8]).reshape(2, 1, 1)
    means = np.array([-2.0, 1.0]).reshape(2, 1, 1)
    stds = np.array([0.3, 1.5]).reshape(2, 1, 1)
    mixture = NormalMixture(shares, means, stds, is_vector=True)

    def density(y):
        return float(np.exp(mixture.log_density(np.array([[y]]))[0]))

    assert quad(density, -20, 20, points=[-2])[0] == pytest.approx(1, abs=1e-8)
    median = mixture.quantiles(np.array([0.5]))[0, 0, 0]
    assert quad(density, -20, median, points=[-2])[0] == pytest.approx(0.5, abs=1e-8)


def test_far_apart_and_equal_members():
    """Quantiles between two spikes, and of members that agree."""
    ones = np.ones((2, 1, 1))
    apart = NormalMixture(
        0.5 * ones, ones * np.array([0.0, 1e6]).reshape(2, 1, 1), 1e-3 * ones, True
    )
    low, high = apart.quantiles(np.array([0.25, 0.75]))[0, 0]
    assert_allclose([low, high], [0.0, 1e6], atol=1e-2)
    equal = NormalMixture(0.5 * ones, 3 * ones, 2 * ones, True)
    assert_allclose(equal.quantiles(np.array([0.9]))[0, 0, 0], norm.ppf(0.9, 3, 2))


def test_search_shapes_and_coverage(search):
    outputs = search.members_[0].predict(NEW).shape[1:]
    interval = search.predict_interval(NEW, 0.9)
    assert interval.shape == (7, *outputs, 2)
    mean = search.predict(NEW)
    assert ((interval[..., 0] < mean) & (mean < interval[..., 1])).all()
    assert search.predict_log_density(NEW, mean).shape == (7,)


@pytest.mark.parametrize("quantiles", [0.5, [], [0.0], [0.5, 1.0], [[0.5]], [np.nan]])
def test_invalid_quantiles(quantiles):
    model = NNGPRegressor().fit(X, Y)
    with pytest.raises(ValueError, match="quantiles must be a list"):
        model.predict_quantiles(NEW, quantiles)


def test_invalid_level_and_targets():
    model = NNGPRegressor().fit(X, Y)
    for level in (0, 1, -0.5, np.nan, [0.5]):
        with pytest.raises(ValueError, match="level must be between 0 and 1"):
            model.predict_interval(NEW, level)
    with pytest.raises(ValueError, match="same shape"):
        model.predict_log_density(NEW, Y2[:7])
    with pytest.raises(ValueError, match="same shape"):
        model.predict_log_density(NEW, Y[:6])
    with pytest.raises(ValueError, match="NaN"):
        model.predict_log_density(NEW, np.full(7, np.nan))
