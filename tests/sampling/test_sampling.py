"""Samplers of finite networks against quadrature, prior networks and each other."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import gammaln

from adaptive_kernels.datasets import make_ising
from adaptive_kernels.kernels import NNGP, Erf, PiecewiseLinear
from adaptive_kernels.sampling import (
    effective_sample_size,
    sample_linear_network,
    sample_network,
)
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


def wiggle(z):
    return np.sin(z) + 0.3 * z**2


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
