"""Weights of a mixture: the largest likelihood out of fold, with few members."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from scipy.stats import norm

from adaptive_kernels.model_selection.stacking import (
    LEAST_LOSS,
    LOSS_PER_ROW,
    TOLERANCE,
    best_mixture,
    sparse_mixture,
)


def densities(n=200, seed=0, spread=(0.5, 1.0, 3.0), shift=(0.0, 0.3, -1.0)):
    """Log densities of draws from a mixture of normals under three candidates."""
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(n) < 0.7, 0.5, 3.0) * rng.standard_normal(n)
    return norm.logpdf(y[:, None], shift, spread)


def log_likelihood(table, weights, counts=1.0):
    return np.sum(counts * logsumexp(table, b=weights, axis=1))


def maximum(table, counts=1.0):
    """By BFGS over the logits of the weights: knows nothing of EM."""

    def loss(logits):
        return -log_likelihood(table, softmax(logits), counts)

    return -minimize(loss, np.zeros(table.shape[1]), tol=1e-9).fun


def everything(table):
    return np.arange(table.shape[1])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_weights_maximise_the_likelihood(seed, weighted):
    table = densities(seed=seed)
    counts = (
        np.random.default_rng(seed).uniform(0, 3, 200) if weighted else np.ones(200)
    )
    mixture = best_mixture(table, everything(table), counts)
    reached = log_likelihood(table[:, mixture.indices], mixture.weights, counts)
    # EM stops where its own bound on the distance to the maximum is TOLERANCE.
    best = maximum(table, counts)
    assert best - TOLERANCE <= reached <= best + 1e-6
    assert_allclose(mixture.log_likelihood, reached, rtol=1e-12)
    assert_allclose(mixture.weights.sum(), 1, rtol=1e-14)
    assert np.all(mixture.weights >= 0) and np.all(np.diff(mixture.weights) <= 0)


def test_two_weights_against_a_grid():
    table = densities()[:, [0, 2]]
    shares = np.linspace(0.001, 0.999, 999)
    values = [log_likelihood(table, [p, 1 - p]) for p in shares]
    mixture = best_mixture(table, everything(table), np.ones(200))
    weight = mixture.weights[list(mixture.indices).index(0)]
    # Within the weights whose likelihood is TOLERANCE below the maximum.
    close = shares[np.array(values) > max(values) - TOLERANCE]
    assert close.min() - 1e-3 <= weight <= close.max() + 1e-3


def test_the_weights_of_a_mixture_are_recovered():
    table = densities(n=20_000, spread=(0.5, 3.0), shift=(0.0, 0.0))
    mixture = best_mixture(table, everything(table), np.ones(20_000))
    first, second = np.exp(table).T
    mixed = 0.7 * first + 0.3 * second
    error = np.sum(((first - second) / mixed) ** 2) ** -0.5
    # Four standard errors by the Fisher information, and what TOLERANCE allows.
    assert_allclose(mixture.weights[0], 0.7, atol=(4 + (2 * TOLERANCE) ** 0.5) * error)


def test_far_tails_do_not_underflow():
    table = densities() - 2000.0
    table[:, 1] -= 3000.0
    mixture = best_mixture(table, everything(table), np.ones(200))
    assert np.all(np.isfinite(mixture.weights)) and np.isfinite(mixture.log_likelihood)
    assert mixture.indices[-1] == 1


def test_repeated_observations_are_counts():
    table = densities()
    counts = np.random.default_rng(0).integers(0, 4, 200)
    counted = best_mixture(table, everything(table), counts.astype(float))
    n = int(counts.sum())
    repeated = best_mixture(
        np.repeat(table, counts, axis=0), everything(table), np.ones(n)
    )
    assert_allclose(counted.weights, repeated.weights, rtol=1e-10)


def test_identical_members_share():
    table = densities()[:, [0, 2, 2, 1]]
    mixture = best_mixture(table, everything(table), np.ones(200))
    weights = dict(zip(mixture.indices, mixture.weights, strict=True))
    assert_allclose(weights[1], weights[2], rtol=1e-12)
    apart = best_mixture(table, np.array([0, 1, 3]), np.ones(200))
    assert_allclose(mixture.log_likelihood, apart.log_likelihood, atol=TOLERANCE)


def test_sparse_mixture_keeps_one_of_identical_members():
    table = densities()[:, [0, 2, 2, 0, 1]]
    kept = sparse_mixture(table, table.sum(axis=0).argmax(), np.ones(200)).indices
    assert len(kept) == 2 and len(set(kept) & {1, 2}) == len(set(kept) & {0, 3}) == 1


def random_table(seed):
    rng = np.random.default_rng(seed)
    y = rng.standard_t(2, 150)
    return norm.logpdf(y[:, None], rng.normal(0, 0.5, 8), np.exp(rng.normal(0, 0.7, 8)))


@pytest.mark.parametrize("seed", range(6))
def test_sparse_mixture_is_nearly_the_best(seed):
    table = random_table(seed)
    best, ones = int(table.sum(axis=0).argmax()), np.ones(150)
    mixture = sparse_mixture(table, best, ones)
    weights = mixture.weights
    reached = log_likelihood(table[:, mixture.indices], weights)
    top = maximum(table)
    assert top - LEAST_LOSS - TOLERANCE <= reached <= top + 1e-6
    assert reached >= table[:, best].sum()
    assert_allclose(weights.sum(), 1, rtol=1e-14)
    if len(weights) > 1:
        # Neither the best alone, nor the mixture without its lightest, comes as close.
        assert table[:, best].sum() < top - LEAST_LOSS + TOLERANCE
        assert maximum(table[:, mixture.indices[:-1]]) < top - LEAST_LOSS + TOLERANCE


@pytest.mark.parametrize("seed", range(3))
def test_of_many_rows_a_smaller_share_is_given_up(seed):
    table = np.tile(random_table(seed), (20, 1))
    n = len(table)
    best = int(table.sum(axis=0).argmax())
    mixture = sparse_mixture(table, best, np.ones(n))
    reached = log_likelihood(table[:, mixture.indices], mixture.weights)
    top = maximum(table)
    assert top - LOSS_PER_ROW * n - TOLERANCE <= reached <= top + TOLERANCE
    if len(mixture.weights) > 1:
        fewer = maximum(table[:, mixture.indices[:-1]])
        assert fewer < top - LOSS_PER_ROW * n + TOLERANCE


def test_some_mixtures_are_sparse_and_some_are_not():
    sizes = {
        len(sparse_mixture(random_table(s), 0, np.ones(150)).weights) for s in range(6)
    }
    assert max(sizes) > 1 and max(sizes) < 8


@pytest.mark.parametrize("seed", range(4))
def test_order_of_candidates_and_of_rows_does_not_matter(seed):
    table = random_table(seed)
    best = int(table.sum(axis=0).argmax())
    order = np.random.default_rng(seed).permutation(8)
    rows = np.random.default_rng(seed).permutation(150)
    given = sparse_mixture(table, best, np.ones(150))
    place = int(np.flatnonzero(order == best)[0])
    other = sparse_mixture(table[rows][:, order], place, np.ones(150))
    assert_array_equal(given.indices, order[other.indices])
    assert_allclose(given.weights, other.weights, rtol=1e-8)


def test_a_candidate_with_undefined_density_is_left_out():
    table = np.insert(densities(), 1, np.nan, axis=1)
    mixture = sparse_mixture(table, 0, np.ones(200))
    assert 1 not in mixture.indices and np.all(np.isfinite(mixture.weights))
    alone = sparse_mixture(table, 1, np.ones(200))
    assert_array_equal(alone.indices, [1])
    assert_array_equal(alone.weights, [1.0])


def test_the_best_stands_alone_unless_a_mixture_gains_enough():
    one = densities()[:, [0]]
    for gain, members in ((0.5 * LEAST_LOSS, 1), (4 * LEAST_LOSS, 2)):
        # Better by `gain` on half the rows each: the mixture gains more than either.
        step = np.where(np.arange(200) % 2, 1.0, -1.0)[:, None]
        step = step * (2 * gain / 200) ** 0.5
        table = np.hstack([one + step, one - step])
        assert_allclose(maximum(table) - table[:, 0].sum(), gain, rtol=0.3)
        mixture = sparse_mixture(table, 0, np.ones(200))
        assert len(mixture.weights) == members


@pytest.mark.parametrize("seed", range(5))
def test_the_best_candidate_stands_for_others_that_are_as_good(seed):
    rng = np.random.default_rng(seed)
    table = norm.logpdf(rng.standard_normal(30)[:, None], rng.normal(0, 0.05, 6))
    best = int(table.sum(axis=0).argmax())
    assert maximum(table) - table[:, best].sum() < LEAST_LOSS - TOLERANCE
    assert_array_equal(sparse_mixture(table, best, np.ones(30)).indices, [best])
