"""Samplers of finite networks against quadrature, prior networks and each other."""

import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln
from sklearn.exceptions import ConvergenceWarning

from adaptive_kernels.datasets import make_ising
from adaptive_kernels.kernels import NNGP, NTK, Erf, PiecewiseLinear
from adaptive_kernels.sampling import (
    _run,
    effective_sample_size,
    sample_linear_network,
    sample_network,
    split_r_hat,
)
from adaptive_kernels.sampling._gibbs import Gibbs
from adaptive_kernels.sampling._hmc import Tuner, _leapfrog, _transition
from adaptive_kernels.sampling._run import prepare

pytestmark = pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 2))
X_NEW = RNG.standard_normal((2, 2))
Y = np.array([[1.0, -0.5], [-0.7, 0.3], [0.4, 1.2]])
METRIC = np.array([[1.5, 0.4], [0.4, 0.6]])
SAMPLERS = {"gibbs": sample_linear_network, "hmc": sample_network}
samplers = pytest.mark.parametrize("sampler", SAMPLERS)


def mean_and_error(draws):
    """Mean over chains and draws, and its standard error."""
    draws = np.asarray(draws)
    error = np.std(draws, axis=(0, 1)) / np.sqrt(effective_sample_size(draws))
    return draws.mean(axis=(0, 1)), error


def over_chains(values):
    """Mean over independent chains, and its standard error."""
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))


def assert_agree(*estimates):
    """Two means agree within four combined standard errors; a truth has none."""
    (mean, error), (other, other_error) = estimates
    z = np.abs(mean - other) / np.hypot(error, other_error)
    assert np.max(z) < 4, (mean, other, z)


def posterior_of(kernel, outputs, *, alpha=0.3, width=4, n=5):
    rng = np.random.default_rng(1)
    rows, targets = rng.standard_normal((n, 3)), rng.standard_normal((n, outputs))
    return prepare(kernel, rows, targets, alpha, width, None, (3, 1, 4))[0]


def wiggle(z):
    return np.sin(z) + 0.3 * z**2


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("bias_variance", [0.0, 0.3])
@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("activation", ["erf", "relu", "gelu", wiggle])
def test_gradient_is_the_slope_of_the_energy(activation, depth, bias_variance, outputs):
    kernel = NNGP(activation, depth=depth, bias_variance=bias_variance)
    posterior, rng = posterior_of(kernel, outputs), np.random.default_rng(2)
    position = posterior.prior_draws(3, rng)
    direction = rng.standard_normal(position.shape)
    shifted = [posterior.state(position + h * direction) for h in (1e-5, -1e-5)]
    slope = (shifted[0].energy - shifted[1].energy) / 2e-5
    expected = np.sum(direction * posterior.state(position).gradient, axis=1)
    # Rounding of the energies, 1e-15 * 100, and of numerical derivatives, 1e-10.
    assert_allclose(slope, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("outputs", [1, 2])
def test_energy_is_minus_the_log_density(outputs):
    kernel = NNGP("erf", weight_variance=1.3, bias_variance=0.2, readout_variance=0.7)
    posterior = posterior_of(kernel, outputs, width=2)
    position = posterior.prior_draws(2, np.random.default_rng(3))
    energy = posterior.state(position).energy
    for q, actual in zip(position, energy, strict=True):
        w, a = q[:8].reshape(4, 2), q[8:].reshape(2, outputs)
        f = np.sqrt(0.7 / 2) * kernel.network().activation(posterior.F @ w) @ a
        assert_allclose(actual, q @ q / 2 + np.sum((posterior.Y - f) ** 2) / 0.6)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("activation", ["erf", "relu", "identity"])
def test_prior_covariance_of_a_wide_network_is_the_nngp(activation, depth):
    variances = {"weight_variance": 1.4, "bias_variance": 0.3, "readout_variance": 0.6}
    kernel = NNGP(activation, depth=depth, metric=METRIC, **variances)
    posterior, _ = prepare(kernel, X, Y[:, 0], 1.0, 100, None, (1, 1, 4))
    rng, products = np.random.default_rng(4), []
    for _ in range(40):
        weights = posterior.split(posterior.prior_draws(100, rng))
        f = posterior.outputs(posterior.F, weights)
        products.append(f @ f.mT)
    # At depth 2 the width leaves a relative 1 / 100, against an error of 2 %.
    assert_agree(over_chains(np.concatenate(products)), (kernel(X), 0))


def phi_of(activation):
    return NNGP(activation).network().activation


def prior_networks(kernel, width, outputs, draws, seed):
    """f at X and X_NEW, whitened readouts and input weights, from their priors."""
    rng, rows = np.random.default_rng(seed), np.concatenate([X, X_NEW])
    root = np.linalg.cholesky(np.eye(2) if kernel.metric is None else kernel.metric)
    w = root @ rng.standard_normal((draws, 2, width))
    w *= np.sqrt(kernel.weight_variance / 2)
    phi, spread = phi_of(kernel.activation), np.sqrt(kernel.bias_variance)
    z = phi(rows @ w + spread * rng.standard_normal((draws, 1, width)))
    for _ in range(kernel.depth - 1):
        v = rng.standard_normal((draws, width, width))
        h = np.sqrt(kernel.weight_variance / width) * z @ v
        z = phi(h + spread * rng.standard_normal((draws, 1, width)))
    a = rng.standard_normal((draws, width, outputs))
    return np.sqrt(kernel.readout_variance / width) * z @ a, a, w


class Coarse(Erf):
    """erf with a derivative that is off by up to a fifth."""

    def derivative(self, z):
        return self(z + 0.5) - self(z - 0.5)


def moments(f, a_square, w_square):
    """Statistics to compare, by name: the leading axes are draws."""
    return {
        "f": f,
        "products of rows": f @ f.mT,
        "products of outputs": f.mT @ f,
        "readout scale": a_square,
        "weights": w_square,
    }


@cache
def weighted_prior(activation, depth, outputs, bias_variance, metric, alpha):
    """Posterior moments by importance sampling: means and standard errors."""
    kernel = NNGP(activation, depth=depth, bias_variance=bias_variance)
    kernel.set_params(metric=METRIC if metric else None, readout_variance=1.5)
    f, a, w = prior_networks(kernel, 3, outputs, 200_000, 5)
    misfit = np.sum((Y[:, :outputs] - f[:, :3]) ** 2, axis=(1, 2))
    p = np.exp(-misfit / (2 * alpha))
    p /= p.sum()
    values = moments(f, a.mT @ a / 3, w @ w.mT / 3)
    estimates = {}
    for name, value in values.items():
        mean = np.tensordot(p, value, 1)
        error = np.sqrt(np.tensordot(p**2, (value - mean) ** 2, 1))
        estimates[name] = mean, error
    return kernel, estimates


CASES = [
    ("hmc", "erf", 1, 1, 0.2, False, 0.3),
    ("hmc", "erf", 2, 2, 0.2, True, 0.5),
    ("hmc", "relu", 1, 2, 0.0, True, 0.5),
    ("hmc", wiggle, 2, 1, 0.2, False, 0.5),
    # A wrong gradient costs acceptance, no more.
    ("hmc", Coarse(), 1, 1, 0.2, False, 0.5),
    ("gibbs", "identity", 1, 2, 0.2, True, 0.5),
    ("gibbs", PiecewiseLinear(0.7, 0.7), 2, 2, 0.2, True, 0.5),
    ("gibbs", "identity", 3, 1, 0.0, False, 0.3),
    ("gibbs", "identity", 3, 2, 0.4, False, 0.5),
]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_posterior_is_the_prior_weighted_by_the_likelihood(case):
    sampler, alpha, outputs = SAMPLERS[case[0]], case[-1], case[3]
    kernel, expected = weighted_prior(*case[1:])
    counts = {"n_chains": 24, "n_warmup": 200, "n_samples": 400, "random_state": 0}
    given = {"alpha": alpha, "width": 3, "X_test": X_NEW, **counts}
    samples = sampler(kernel, X, Y[:, :outputs], **given)
    f = np.concatenate([samples.train, samples.test], axis=2)
    draws = moments(f, samples.readout_scale, None)
    for name, value in draws.items():
        if name != "weights":
            assert_agree(mean_and_error(value), expected[name])
    assert_agree(over_chains(samples.weight_covariance), expected["weights"])


def joint_statistics(posterior, weights):
    """Statistics of weights and targets, one row per chain."""
    f = posterior.outputs(posterior.F, weights)
    y, total = posterior.Y, np.sum(f, axis=1)
    columns = [f**2, f * y, np.sum(y, axis=1) * total, total**2]
    columns += [W[:, :1] ** 2 for W in weights]
    columns += [np.sum(W**2, axis=(1, 2)) for W in weights]
    return np.concatenate([c.reshape(len(f), -1) for c in columns], axis=1)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("depth", [1, 2, 3])
@samplers
def test_a_step_keeps_the_joint_distribution(sampler, depth, outputs):
    """Targets drawn from networks: a step given them changes no expectation."""
    activation = "identity" if sampler == "gibbs" else "erf"
    kernel = NNGP(activation, depth=depth, bias_variance=2.0)
    rng = np.random.default_rng(10)
    posterior = posterior_of(kernel, outputs, width=3, alpha=0.05, n=4)
    position = posterior.prior_draws(10_000, rng)
    weights = posterior.split(position)
    f = posterior.outputs(posterior.F, weights)
    Y = f + np.sqrt(0.05) * rng.standard_normal(f.shape)
    posterior = replace(posterior, Y=Y)
    if sampler == "gibbs":
        moved = Gibbs.of(posterior, len(f), rng).sweep(weights)
    else:
        tuner, state = Tuner(step_size=0.15, length=0.6), posterior.state(position)
        state, acceptance = _transition(posterior, state, tuner, rng)
        assert 0.2 < acceptance < 0.9
        moved = posterior.split(state.position)
    before, after = (joint_statistics(posterior, w) for w in (weights, moved))
    assert_agree(over_chains(after - before), (0, 0))


def test_leapfrog_retraces_its_steps():
    posterior = posterior_of(NNGP("erf", depth=2), 2)
    start = posterior.state(posterior.prior_draws(3, np.random.default_rng(2)))
    momentum = np.random.default_rng(3).standard_normal(start.position.shape)
    first = momentum.copy()
    end = _leapfrog(posterior, start, momentum, 0.02, 7)
    momentum *= -1
    back = _leapfrog(posterior, end, momentum, 0.02, 7)
    assert_allclose(back.position, start.position, atol=1e-11)
    assert_allclose(momentum, -first, atol=1e-11)


def test_leapfrog_errs_by_the_square_of_the_step():
    posterior = posterior_of(NNGP("erf", depth=2), 2)
    start = posterior.state(posterior.prior_draws(3, np.random.default_rng(2)))
    first = np.random.default_rng(3).standard_normal(start.position.shape)
    errors = []
    for steps in (50, 100):
        momentum = first.copy()
        end = _leapfrog(posterior, start, momentum, 0.2 / steps, steps)
        kinetic = np.sum(momentum**2, axis=1) - np.sum(first**2, axis=1)
        errors.append(end.energy - start.energy + kinetic / 2)
    assert_allclose(errors[0], 4 * errors[1], rtol=0.02)


def exact_linear(kernel, rows, targets, rows_new, *, alpha, width):
    """Posterior of a linear network by quadrature over its scales.

    With s the readout scale and r that of the second layer, both Gamma(N / 2, N / 2),
    f is Gaussian given them, of covariance
    readout_variance s (bias_variance + weight_variance r K_1) at depth 2.
    """
    t = np.linspace(-9, 4, 400)
    prior = width / 2 * (np.log(width / 2) + t - np.exp(t)) - gammaln(width / 2)
    first = [np.vstack([rows, rows_new]), rows]
    K1 = kernel.bias_variance + kernel.weight_variance / rows.shape[1] * (
        first[0] @ first[1].T
    )
    inner = zip(prior, np.exp(t), strict=True) if kernel.depth == 2 else [(0, None)]
    logs, means = [], []
    for log_prior, r in inner:
        K = K1 if r is None else kernel.bias_variance + kernel.weight_variance * r * K1
        K = kernel.readout_variance * K
        lam, V = np.linalg.eigh(K[: len(rows)])
        c, spread = V.T @ targets, alpha + np.exp(t)[:, None] * np.maximum(lam, 0)
        fit = -0.5 * np.sum(np.log(spread) + c**2 / spread, axis=1)
        logs.append(log_prior + prior + fit)
        means.append((np.exp(t)[:, None] * c / spread) @ (K @ V).T)
    p = np.exp(np.array(logs) - np.max(logs))
    p /= p.sum()
    return p, np.exp(t), np.einsum("rs,rsk->k", p, np.array(means))


SMALL_X, SMALL_Y = make_ising(8, 4, random_state=3)
TWICE = np.repeat(np.arange(4), 2)
LINEAR = {
    "one unit": (NNGP("identity"), SMALL_X, SMALL_Y, 1),
    "three units": (NNGP("identity", bias_variance=0.0), SMALL_X, SMALL_Y, 3),
    "deep": (NNGP("identity", bias_variance=0.0, depth=2), SMALL_X, SMALL_Y, 4),
    "deep bias": (NNGP("identity", bias_variance=0.5, depth=2), SMALL_X, SMALL_Y, 4),
    "wider than rows": (NNGP("identity", depth=2), SMALL_X, SMALL_Y, 12),
    "one row": (NNGP("identity"), SMALL_X[:1], SMALL_Y[:1], 3),
    "duplicates": (NNGP("identity"), SMALL_X[TWICE], SMALL_Y, 3),
    "constant": (NNGP("identity"), SMALL_X, np.ones(8), 3),
}


@samplers
@pytest.mark.parametrize("case", LINEAR)
def test_linear_network_is_exact(sampler, case):
    kernel, rows, targets, width = LINEAR[case]
    kernel = kernel.clone_with_theta(kernel.theta)
    kernel.weight_variance, kernel.readout_variance = 1.2, 1.7
    given = {"alpha": 0.3, "width": width}
    new = np.arange(8.0).reshape(2, 4) / 4
    p, s, expected = exact_linear(kernel, rows, targets, new, **given)
    counts = {"n_warmup": 200, "n_samples": 600 if sampler == "gibbs" else 300}
    given |= counts | {"X_test": new, "n_chains": 16, "random_state": 1}
    samples = SAMPLERS[sampler](kernel, rows, targets, **given)
    f = np.concatenate([samples.train, samples.test], axis=2)[..., 0]
    assert_agree(mean_and_error(f), (expected, 0))
    scale = samples.readout_scale[..., 0, 0]
    marginal = p.sum(axis=0)
    mean = marginal @ s
    assert_agree(mean_and_error(scale), (mean, 0))
    if sampler == "gibbs":
        # At these widths HMC visits large scales too rarely for so few draws.
        variance = marginal @ (s - mean) ** 2
        assert_agree(mean_and_error((scale - mean) ** 2), (variance, 0))


def spike(samples, direction):
    """Weight covariance along a direction over its prior, and its standard error."""
    prior = 1 / len(direction)
    along = np.einsum("i,cij,j->c", direction, samples.weight_covariance, direction)
    return over_chains(along / prior)


def set_a_weight_covariance(rows, targets, width=50, alpha=0.2):
    """Second moment of the input weights over its prior, by quadrature."""
    n, d = rows.shape
    kernel = NNGP("identity", bias_variance=0.0)
    p, s, _ = exact_linear(kernel, rows, targets, rows[:0], alpha=alpha, width=width)
    moment = np.zeros((d, d))
    for share, scale in zip(p[0], s, strict=True):
        gain = np.linalg.solve(alpha * np.eye(n) + scale * rows @ rows.T / d, rows).T
        mean = scale / d * gain @ targets
        spread = scale / d * (np.eye(d) - scale / d * gain @ rows)
        moment += share / scale * (np.outer(mean, mean) + spread)
    return (1 - 1 / width) * np.eye(d) + d / width * moment


@samplers
def test_published_numbers_of_a_linear_network(sampler):
    rows, targets = make_ising(65, 20, random_state=0)
    rows, rows_new = rows[:15], rows[15:]
    targets, targets_new = targets[:15], targets[15:]
    kernel, counts = NNGP("identity", bias_variance=0.0), {"n_chains": 16}
    counts |= {"n_warmup": 200, "n_samples": 600 if sampler == "gibbs" else 300}
    given = {"alpha": 0.2, "width": 50, "X_test": rows_new, "random_state": 0}
    samples = SAMPLERS[sampler](kernel, rows, targets, **given, **counts)
    train = samples.estimate(
        lambda f: np.mean(targets * (targets - f[..., 0]), axis=-1)
    )
    test = samples.estimate(
        lambda f: np.mean(targets_new * (targets_new - f[..., 0]), axis=-1), rows="test"
    )
    assert_agree(train, (0.18209985, 0))
    assert_agree(test, (0.74203832, 0))
    scale = samples.readout_scale[..., 0, 0]
    assert_agree(mean_and_error(scale), (0.98475359, 0))
    assert_agree(mean_and_error((scale - 0.98475359) ** 2), (0.03423183, 0))
    covariance = set_a_weight_covariance(rows, targets)
    values, vectors = np.linalg.eigh(covariance)
    # Also a check of the quadrature, from another implementation.
    assert_allclose(values[-1], 1.17584986, rtol=1e-6)
    for k in (0, 10, 19):
        assert_agree(spike(samples, vectors[:, k]), (values[k], 0))


def summaries(samples):
    f, scale = samples.train, samples.readout_scale
    spread = samples.weight_covariance
    return [
        mean_and_error(f),
        mean_and_error(f.mT @ f),
        mean_and_error(scale),
        over_chains(np.trace(spread, axis1=1, axis2=2)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("depth, bias_variance", [(1, 0.0), (2, 0.3)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_samplers_agree_on_linear_networks(depth, bias_variance, outputs):
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((12, 5))
    targets = rows @ rng.standard_normal((5, outputs))
    kernel = NNGP("identity", depth=depth, bias_variance=bias_variance)
    given = {"alpha": 0.2, "width": 15, "n_chains": 24, "random_state": 0}
    gibbs = sample_linear_network(kernel, rows, targets, **given)
    hmc = sample_network(kernel, rows, targets, n_warmup=300, n_samples=600, **given)
    for ours, theirs in zip(summaries(gibbs), summaries(hmc), strict=True):
        assert_agree(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scaling, train, top",
    [(1, (0.15665, 0.00048), (1.359, 0.002)), (40, (0.03854, 8e-5), (5.501, 0.006))],
)
def test_erf_network_against_another_sampler(scaling, train, top):
    rows, targets = make_ising(220, 10, random_state=0)
    rows, targets = rows[:20], targets[:20]
    kernel = NNGP("erf", bias_variance=0.0, readout_variance=1 / scaling)
    given = {"alpha": 0.1 / scaling, "width": 40, "random_state": 0}
    samples = sample_network(kernel, rows, targets, n_warmup=300, **given)
    discrepancy = samples.estimate(
        lambda f: np.mean(targets * (targets - f[..., 0]), axis=-1)
    )
    assert_agree(discrepancy, train)
    _, vectors = np.linalg.eigh(samples.weight_covariance.mean(axis=0))
    assert_agree(spike(samples, vectors[:, -1]), top)
    # What tuning is for: a fifth of the draws count, at the acceptance asked for.
    assert samples.effective_sample_size > 0.2 * 24_000
    assert 0.7 < samples.acceptance_rate < 0.9


@samplers
def test_without_data_the_network_has_its_prior(sampler):
    activation = "identity" if sampler == "gibbs" else "erf"
    kernel = NNGP(activation, weight_variance=1.3, metric=[2.0, 0.5])
    given = {"alpha": 1e8, "width": 20, "X_test": X, "random_state": 0}
    counts = {"n_chains": 24, "n_warmup": 100, "n_samples": 300}
    samples = SAMPLERS[sampler](kernel, X_NEW[:1], [1.0], **given, **counts)
    # At depth 1 the covariance of f is the kernel at any width.
    covariance = samples.estimate(lambda f: f @ f.mT, rows="test")
    assert_agree(covariance, (kernel(X), 0))
    prior = np.diag([1.3, 0.325])
    assert_agree(over_chains(samples.weight_covariance), (prior, 0))
    assert_agree(mean_and_error(samples.readout_scale), (1.0, 0))


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


def small(sampler, **parameters):
    given = {"kernel": NNGP("identity"), "X": X, "y": Y[:, 0], "alpha": 0.3, "width": 3}
    counts = {"n_chains": 4, "n_warmup": 100, "n_samples": 200, "random_state": 0}
    return SAMPLERS[sampler](**(given | counts | parameters))


@samplers
def test_shapes_and_tuning(sampler):
    samples = small(sampler, y=Y, X_test=X_NEW)
    assert samples.train.shape == (4, 200, 3, 2)
    assert samples.test.shape == (4, 200, 2, 2)
    assert samples.readout_scale.shape == (4, 200, 2, 2)
    assert samples.weight_covariance.shape == (4, 2, 2)
    tuning = samples.acceptance_rate, samples.step_size, samples.trajectory_length
    if sampler == "gibbs":
        assert tuning == (None, None, None)
    else:
        assert all(value > 0 for value in tuning)
    assert small(sampler).test is None


@samplers
def test_test_rows_are_training_rows(sampler):
    samples = small(sampler, X_test=X)
    assert_allclose(samples.test, samples.train, rtol=1e-10, atol=1e-12)


def test_many_test_rows_come_in_blocks(monkeypatch):
    expected = small("hmc", X_test=X).test
    monkeypatch.setattr("adaptive_kernels.sampling._samples.BLOCK", 24)
    assert_allclose(small("hmc", X_test=X).test, expected, rtol=1e-10, atol=1e-12)


@samplers
def test_random_state(sampler):
    one, same, other = (small(sampler, random_state=s).train for s in (1, 1, 2))
    assert_array_equal(one, same)
    assert not np.allclose(one, other)
    state = small(sampler, random_state=np.random.RandomState(1)).train
    assert_array_equal(one, state)


@samplers
def test_worst_diagnostics(sampler):
    samples = small(sampler, y=Y)
    scale = np.diagonal(samples.readout_scale, axis1=2, axis2=3)
    both = samples.train, scale
    assert samples.r_hat == max(split_r_hat(draws).max() for draws in both)
    sizes = [effective_sample_size(draws).min() for draws in both]
    assert samples.effective_sample_size == min(sizes)


def test_estimate():
    samples = small("gibbs", X_test=X_NEW)
    mean, error = samples.estimate(lambda f: f[..., 0])
    assert_allclose(mean, samples.train[..., 0].mean(axis=(0, 1)))
    assert error.shape == (3,)
    mean, error = samples.estimate(lambda f: np.ones(f.shape[:2]), rows="test")
    assert (mean, error) == (1.0, 0.0)
    with pytest.raises(ValueError, match="rows must be"):
        samples.estimate(np.mean, rows="all")
    with pytest.raises(ValueError, match="statistic must keep"):
        samples.estimate(lambda f: f.mean(axis=0))
    with pytest.raises(ValueError, match="sample with X_test"):
        small("gibbs").estimate(np.mean, rows="test")


@samplers
def test_no_readout(sampler):
    samples = small(sampler, kernel=NNGP("identity", readout_variance=0.0))
    assert_array_equal(samples.train, 0)
    assert samples.r_hat < 1.05


@samplers
def test_too_few_draws_warn(sampler):
    cure = "Raise n_warmup, n_samples or n_chains"
    with pytest.warns(ConvergenceWarning, match=cure) as warning:
        small(sampler, n_warmup=1, n_samples=4)
    assert warning[0].filename == __file__


WRONG = [
    ({"kernel": NTK("identity")}, "kernel must be an NNGP"),
    ({"kernel": None}, "kernel must be an NNGP"),
    ({"kernel": NNGP("identity", depth=0)}, "depth"),
    ({"kernel": NNGP("identity", metric=[1.0])}, "metric has shape"),
    ({"alpha": 0}, "alpha must be a positive"),
    ({"alpha": np.inf}, "alpha must be a positive"),
    ({"alpha": "small"}, "alpha must be a positive"),
    ({"width": 0}, "width must be an integer >= 1"),
    ({"width": 2.5}, "width must be an integer >= 1"),
    ({"n_chains": 0}, "n_chains must be an integer >="),
    ({"n_warmup": -1}, "n_warmup must be an integer >="),
    ({"n_samples": 3}, "n_samples must be an integer >= 4"),
    ({"X": X[0]}, "Expected 2D array"),
    ({"y": Y[:2]}, "inconsistent numbers of samples"),
    ({"y": [1.0, np.nan, 2.0]}, "NaN"),
    ({"X_test": X_NEW[:, :1]}, "X_test has 1 features, but X has 2 features"),
    ({"X_test": np.full((1, 2), np.inf)}, "X_test contains infinity"),
    ({"random_state": "seed"}, "seed"),
]


@samplers
@pytest.mark.parametrize("wrong, message", WRONG)
def test_unusable_input(sampler, wrong, message):
    with pytest.raises(ValueError, match=message):
        small(sampler, **wrong)


@pytest.mark.parametrize("activation", ["erf", "relu", np.tanh])
def test_gibbs_needs_a_linear_activation(activation):
    with pytest.raises(ValueError, match="use sample_network"):
        small("gibbs", kernel=NNGP(activation))


@pytest.mark.parametrize("wrong", [{"n_chains": 1}, {"n_warmup": 0}])
def test_hmc_needs_chains_and_warmup(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be an integer"):
        small("hmc", **wrong)


def test_overflow_from_the_start():
    with pytest.raises(ValueError, match="prior overflow"):
        small("hmc", kernel=NNGP(lambda z: np.exp(500 * z**2)))


@samplers
@pytest.mark.parametrize(
    "large, cure",
    [
        ({"n_samples": 10**6}, "lower n_samples"),
        ({"X_test": np.ones((10**5, 2))}, "lower the rows of X_test"),
        ({"n_chains": 10**4, "n_samples": 4, "width": 100}, "lower n_chains"),
    ],
)
def test_memory_is_checked_first(sampler, large, cure, monkeypatch):
    monkeypatch.setattr(_run, "free_bytes", lambda like: 10**7)
    with pytest.raises(MemoryError, match=cure):
        small(sampler, **large)


@samplers
def test_progress(sampler, capsys):
    pytest.importorskip("rich")
    assert_array_equal(small(sampler, progress=True).train, small(sampler).train)
    assert "Sampling" in capsys.readouterr().out


def test_progress_without_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match="pip install rich"):
        small("gibbs", progress=True)
