"""Single steps of the samplers: gradients, leapfrog, the joint distribution."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adaptive_kernels.kernels import NNGP
from adaptive_kernels.sampling import (
    sample_linear_network,
    sample_network,
)
from adaptive_kernels.sampling._gibbs import Gibbs
from adaptive_kernels.sampling._hmc import Tuner, _leapfrog, _transition
from adaptive_kernels.sampling._run import prepare

pytestmark = pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")

SAMPLERS = {"gibbs": sample_linear_network, "hmc": sample_network}
samplers = pytest.mark.parametrize("sampler", SAMPLERS)


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
