"""Effective sample size and R-hat of chains."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adaptive_kernels.sampling import (
    effective_sample_size,
    split_r_hat,
)

pytestmark = pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")


def mean_and_error(draws):
    """Mean over chains and draws, and its standard error."""
    draws = np.asarray(draws)
    error = np.std(draws, axis=(0, 1)) / np.sqrt(effective_sample_size(draws))
    return draws.mean(axis=(0, 1)), error


def first_order_chain(rng, correlation, shape):
    draws = rng.standard_normal(shape)
    draws[:, 1:] *= np.sqrt(1 - correlation**2)
    for i in range(1, shape[1]):
        draws[:, i] += correlation * draws[:, i - 1]
    return draws


@pytest.mark.parametrize("correlation", [-0.4, 0.0, 0.5, 0.9])
def test_effective_sample_size_of_a_first_order_process(correlation):
    rng = np.random.default_rng(7)
    draws = first_order_chain(rng, correlation, (4, 4000, 60))
    share = effective_sample_size(draws) / 16_000
    mean, error = share.mean(), share.std() / np.sqrt(60)
    # (1 - r) / (1 + r); cutting the sum at the first negative pair costs up to 3 %.
    expected = (1 - correlation) / (1 + correlation)
    assert abs(mean - expected) < 4 * error + 0.03 * expected


def sample_size_by_loops(draws):
    half = draws.shape[1] // 2
    chains = [c for draw in draws for c in (draw[:half], draw[-half:])]
    within = np.mean([np.var(c, ddof=1) for c in chains])
    between = np.var([np.mean(c) for c in chains], ddof=1)
    pooled = within * (half - 1) / half + between

    def correlation(lag):
        centred = [c - np.mean(c) for c in chains]
        products = [np.sum(c[: half - lag] * c[lag:]) / half for c in centred]
        return 1 - (within - np.mean(products)) / pooled

    time, last = -1.0, np.inf
    for lag in range(0, half - 1, 2):
        first = 1.0 if lag == 0 else correlation(lag)
        pair = first + correlation(lag + 1)
        if pair <= 0:
            break
        last = min(pair, last)
        time += 2 * last
    return len(chains) * half / time


@pytest.mark.parametrize("seed", range(10))
def test_effective_sample_size_by_loops(seed):
    draws = first_order_chain(np.random.default_rng(seed), 0.8, (3, 40))
    assert_allclose(effective_sample_size(draws), sample_size_by_loops(draws))


def test_standard_error_is_the_spread_of_the_mean():
    rng = np.random.default_rng(8)
    draws = first_order_chain(rng, 0.8, (4, 1000, 400))
    mean, error = mean_and_error(draws)
    # 400 means estimate their spread to 1 / sqrt(800) = 3.5 %, the error has 3 % too.
    assert_allclose(np.std(mean), np.sqrt(np.mean(error**2)), rtol=0.15)


def test_effective_sample_size_is_that_of_each_variable():
    draws = np.random.default_rng(11).standard_normal((3, 101, 2, 4))
    sizes, r_hats = effective_sample_size(draws), split_r_hat(draws)
    assert sizes.shape == r_hats.shape == (2, 4)
    for i, j in np.ndindex(2, 4):
        assert_allclose(effective_sample_size(draws[..., i, j]), sizes[i, j])
        assert_allclose(split_r_hat(draws[..., i, j]), r_hats[i, j])


def test_r_hat_by_hand():
    draws = np.array([[1.0, 3.0, 2.0, 4.0], [0.0, 2.0, 5.0, 7.0]])
    # Halves of means 2, 3, 1, 6 and variance 2 each, of two draws.
    between = np.var([2, 3, 1, 6], ddof=1)
    assert_allclose(split_r_hat(draws), np.sqrt((1.0 + between) / 2.0))


@pytest.mark.parametrize("fault", ["stuck", "elsewhere", "drifting"])
def test_r_hat_sees_a_bad_chain(fault):
    draws = np.random.default_rng(9).standard_normal((4, 500))
    assert split_r_hat(draws) < 1.02
    if fault == "stuck":
        draws[0] = 4.0
    elif fault == "elsewhere":
        draws[0] += 3.0
    else:
        draws += np.linspace(0, 3, 500)
    assert split_r_hat(draws) > 1.1
    assert effective_sample_size(draws) < 200


def test_chains_that_never_move():
    draws = np.repeat(np.arange(4.0)[:, None], 10, axis=1)
    assert split_r_hat(draws) == np.inf
    assert effective_sample_size(draws) < 10
    assert np.isnan(split_r_hat(0 * draws))
    assert np.isnan(effective_sample_size(0 * draws))


@pytest.mark.parametrize("function", [split_r_hat, effective_sample_size])
@pytest.mark.parametrize("shape", [(10,), (4, 3)])
def test_draws_too_few(function, shape):
    with pytest.raises(ValueError, match="at least 4 draws"):
        function(np.zeros(shape))
