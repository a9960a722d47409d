"""Shapes, seeds and warnings of sampled networks, and errors before any work."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.sampling import (
    _run,
    effective_sample_size,
    sample_linear_network,
    sample_network,
    split_r_hat,
)

pytestmark = pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 2))
X_NEW = RNG.standard_normal((2, 2))
Y = np.array([[1.0, -0.5], [-0.7, 0.3], [0.4, 1.2]])

SAMPLERS = {"gibbs": sample_linear_network, "hmc": sample_network}
samplers = pytest.mark.parametrize("sampler", SAMPLERS)


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
