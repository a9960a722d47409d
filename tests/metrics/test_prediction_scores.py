"""`predictive_log_density` and `interval_coverage` by their definitions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from adaptive_kernels.metrics import interval_coverage, predictive_log_density


@pytest.mark.parametrize("shape", [(9,), (9, 2)])
@pytest.mark.parametrize("weighted", [False, True])
def test_predictive_log_density(shape, weighted):
    rng = np.random.default_rng(2)
    y, mean, std = rng.standard_normal((3, *shape))
    std, weights = np.exp(std), rng.uniform(0, 2, 9) if weighted else None
    density = norm.logpdf(y, mean, std).reshape(9, -1).sum(axis=1)
    expected = np.average(density, weights=weights)
    actual = predictive_log_density(y, mean, std, sample_weight=weights)
    assert_allclose(actual, expected, rtol=1e-12)


@pytest.mark.parametrize("std", [0.0, -1.0])
def test_predictive_log_density_needs_positive_std(std):
    with pytest.raises(ValueError, match="std must be positive"):
        predictive_log_density([0.0, 1.0], [0.0, 1.0], [1.0, std])


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_interval_coverage_of_normal_draws(level):
    rng = np.random.default_rng(0)
    mean, std = rng.standard_normal(4000), np.exp(rng.standard_normal(4000))
    y = mean + std * rng.standard_normal(4000)
    error = (level * (1 - level) / 4000) ** 0.5
    assert abs(interval_coverage(y, mean, std, level=level) - level) < 4 * error


def test_interval_coverage_counts_outputs_and_ends():
    mean, std = np.zeros((2, 2)), np.ones((2, 2))
    y = norm.ppf(0.95) + np.array([[0.0, 1e-9], [-1e-9, 5.0]])
    assert interval_coverage(y, mean, std) in (0.5, 0.25)
    assert interval_coverage(-y, mean, std) == interval_coverage(y, mean, std)
    assert interval_coverage([[1.0, 5.0]], [[0.0, 0.0]], [[1.0, 9.0]], level=0.7) == 1.0


@pytest.mark.parametrize("level", [0, 1, -0.1, 90, np.nan])
def test_interval_coverage_needs_a_probability(level):
    with pytest.raises(ValueError, match="level must be between 0 and 1"):
        interval_coverage([0.0], [0.0], [1.0], level=level)


def test_interval_coverage_needs_positive_std():
    with pytest.raises(ValueError, match="std must be positive"):
        interval_coverage([0.0, 1.0], [0.0, 0.0], [1.0, 0.0])
