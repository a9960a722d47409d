"""Several outputs with a noise each: every one as if it were fitted alone."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adaptive_kernels.inference.evidence import Data, Hyperparameters, log_evidence
from adaptive_kernels.inference.inducing_points import InducingData
from adaptive_kernels.inference.inducing_posterior import InducingPosterior
from adaptive_kernels.inference.optimization import NOISE_BOUNDS
from adaptive_kernels.inference.output_noise import (
    OutputNoisePosterior,
    OutputSpectrum,
)
from adaptive_kernels.inference.posterior import GaussianPosterior
from adaptive_kernels.kernels import NNGP, NTK

rng = np.random.default_rng(0)
X = rng.standard_normal((40, 3))
Y = np.sin(X) + np.array([0.01, 0.3, 1.0]) * rng.standard_normal((40, 3))
NEW = rng.standard_normal((25, 3))
NOISE = np.array([1e-3, 0.1, 0.7])
WEIGHTS = {"equal": None, "weights": rng.uniform(0.3, 3.0, 40)}
KERNELS = {"nngp": NNGP("erf"), "ntk": NTK("relu")}


@pytest.fixture(params=WEIGHTS)
def weights(request):
    return WEIGHTS[request.param]


@pytest.fixture(params=KERNELS)
def point(request):
    return Hyperparameters(KERNELS[request.param].network(), 0.2)


def alone(data, c):
    return replace(data, Y=data.Y[:, c : c + 1])


def compare(posterior, singles, data):
    """Everything that a posterior owes, with one that is fitted to each output."""
    pairs = [single for single, _ in singles]
    mean, variance = posterior.variance(NEW)
    joint = posterior.covariance(NEW)[1]
    for c, single in enumerate(pairs):
        expected_mean, expected_variance = single.variance(NEW)
        assert_allclose(mean[:, c], expected_mean[:, 0], atol=1e-8)
        assert_allclose(variance[:, c], expected_variance[:, 0], atol=1e-8)
        expected = single.covariance(NEW)[1]
        assert_allclose(joint[:, :, c], expected[:, :, 0], atol=1e-8)
        assert_allclose(posterior.dual[:, c], single.dual[:, 0], rtol=1e-5, atol=1e-6)
    assert_allclose(posterior.mean(NEW), mean, atol=1e-9)
    effective = np.mean([single.effective_dof(data) for single in pairs])
    assert_allclose(posterior.effective_dof(data), effective, rtol=1e-8)


def test_exact(point, weights):
    data = Data(X, Y, weights)
    posterior, evidence = OutputNoisePosterior.fit(
        OutputSpectrum.of(data, point), NOISE
    )
    singles = [
        GaussianPosterior.fit(alone(data, c), replace(point, alpha=NOISE[c]))
        for c in range(3)
    ]
    compare(posterior, singles, data)
    assert_allclose(evidence, sum(value for _, value in singles), rtol=1e-10)
    assert_allclose(posterior.evidence(data, point), evidence, rtol=1e-10)
    mean, variance = posterior.leave_one_out(data)
    for c, (single, _) in enumerate(singles):
        expected = single.leave_one_out(alone(data, c))
        assert_allclose(mean[:, c], expected[0][:, 0], atol=1e-8)
        assert_allclose(variance[:, c], expected[1][:, 0], atol=1e-8)
    assert posterior.inducing_points() is None


def test_inducing_points(point, weights):
    data = InducingData(X, Y, weights, n_inducing=12)
    spectrum = OutputSpectrum.of(data, point)
    posterior, bound = OutputNoisePosterior.fit(spectrum, NOISE)
    singles = [
        InducingPosterior.fit(alone(data, c), replace(point, alpha=NOISE[c]))
        for c in range(3)
    ]
    compare(posterior, singles, data)
    assert_allclose(bound, sum(value for _, value in singles), rtol=1e-10)
    assert_allclose(posterior.inducing_points(), singles[0][0].inducing)


def test_best_noise_is_a_maximum_of_the_evidence(point, weights):
    data = Data(X, Y, weights)
    noise = OutputSpectrum.of(data, point).best_noise(1.0)
    assert noise[0] <= noise[1] < noise[2]

    def value(c, log_noise):
        at = replace(point, alpha=float(np.exp(log_noise)))
        return log_evidence(alone(data, c), at)

    tried = np.linspace(*np.log(NOISE_BOUNDS), 400)
    for c in range(3):
        best = max(value(c, t) for t in tried)
        assert value(c, np.log(noise[c])) >= best - 1e-4


def test_best_noise_keeps_its_bounds(point):
    exact = np.column_stack([X[:, 0], 1e3 * rng.standard_normal(40)])
    linear = replace(point, network=NNGP("identity").network())
    noise = OutputSpectrum.of(Data(X, exact), linear).best_noise(2.0)
    assert_allclose(noise, 2 * np.array(NOISE_BOUNDS), rtol=1e-5)
