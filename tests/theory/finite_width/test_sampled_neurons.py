import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq
from sklearn.exceptions import ConvergenceWarning

from adaptive_kernels.datasets import make_ising
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.kernels._activations import ACTIVATIONS
from adaptive_kernels.kernels._recursion import features
from adaptive_kernels.theory import sampled
from adaptive_kernels.theory.finite_width import sampled_neurons as neurons
from adaptive_kernels.theory.finite_width import sequential_monte_carlo as _annealing
from adaptive_kernels.theory.finite_width import tilted_distribution as _tilted

ERF, RELU = ACTIVATIONS["erf"], ACTIVATIONS["relu"]
RNG = np.random.default_rng(0)
F, F_NEW, Y = RNG.normal(size=(4, 2)), RNG.normal(size=(3, 2)), RNG.normal(size=4)
SMALL = {"noise": 0.1, "width": 5, "readout_variance": 1.7}


def small(activation=ERF, **parameters):
    return sampled(F, Y, activation, **SMALL | {"n_points": 2**10} | parameters)


# --- derivatives: cumulants are slopes of the generator of the same neurons ----------


class Generator:
    """Psi and log det M by the definition, of the neurons that a theory sampled."""

    def __init__(self, theory, activation):
        self.points = np.asarray(theory._neurons.points)
        self.base = np.asarray(theory._neurons.log_ratio)
        self.phi = activation(self.points @ F.T)
        self.phi_new = activation(self.points @ F_NEW.T)
        self.noise, self.width, self.gain = SMALL.values()

    def psi(self, u, source=0, squares=0):
        z = self.phi @ u + self.phi_new @ (source + np.zeros(3))
        exponent = self.gain / 2 * z**2 + squares
        log_mean = np.log(np.sum(np.exp(exponent / self.width + self.base)))
        return -u @ Y + self.noise / 2 * u @ u + self.width * log_mean

    def moments(self, u, source=0, squares=0):
        """Slope and curvature of psi in u."""
        z = self.phi @ u + self.phi_new @ (source + np.zeros(3))
        exponent = (self.gain / 2 * z**2 + squares) / self.width + self.base
        p = np.exp(exponent) / np.sum(np.exp(exponent))
        mean = self.gain * self.phi.T @ (p * z)
        weight = p * (self.gain + self.gain**2 * z**2 / self.width)
        M = (self.phi.T * weight) @ self.phi - np.outer(mean, mean) / self.width
        return self.noise * u - Y + mean, M + self.noise * np.eye(4)

    def value(self, u, source=0, squares=0, loops=1):
        """min Psi - (loops / 2) log det M."""
        for _ in range(50):
            slope, M = self.moments(u, source, squares)
            u = u - np.linalg.solve(M, slope)
        return self.psi(u, source, squares) - loops / 2 * np.linalg.slogdet(M)[1]


def slope_of(function, size=1e-4):
    """Central difference of fourth order at zero."""
    near = function(size) - function(-size)
    return (8 * near - function(2 * size) + function(-2 * size)) / (12 * size)


both = pytest.mark.parametrize("activation", [ERF, RELU], ids=["erf", "relu"])


@both
def test_psi_gradient_and_hessian(activation):
    theory = small(activation)
    neurons, problem = theory._neurons, theory._problem
    generator, u = Generator(theory, activation), np.array([0.3, -0.8, 0.5, 1.0])
    state = _tilted.evaluate(problem, neurons, u, neurons.project(u))
    assert_allclose(state.psi, generator.psi(u), rtol=1e-12)
    gradient, hessian = _tilted.slopes(problem, neurons, state)
    for k, e in enumerate(np.eye(4)):
        actual = slope_of(lambda t, e=e: generator.psi(u + t * e))
        assert_allclose(gradient[k], actual, rtol=1e-8)
        actual = slope_of(lambda t, e=e: generator.moments(u + t * e)[0])
        assert_allclose(hessian[k], actual, rtol=1e-8, atol=1e-10)


@both
def test_shift_is_the_slope_of_log_det(activation):
    theory, tree = small(activation), small(activation, loops=0)
    generator = Generator(theory, activation)
    assert_allclose(generator.moments(tree.dual)[0], 0, atol=1e-8)
    for k, e in enumerate(np.eye(4)):
        line = [tree.dual, e]
        actual = slope_of(
            lambda t, line=line: np.linalg.slogdet(
                generator.moments(line[0] + t * line[1])[1]
            )[1]
        )
        M = generator.moments(tree.dual)[1]
        assert_allclose(2 * (M @ (theory.dual - tree.dual))[k], actual, rtol=1e-7)


@both
@pytest.mark.parametrize("loops", [0, 1])
def test_mean_is_the_slope_of_the_generator(activation, loops):
    theory = small(activation, loops=loops)
    generator = Generator(theory, activation)
    for k, e in enumerate(np.eye(3)):
        actual = slope_of(lambda t, e=e: generator.value(theory.dual, t * e, 0, loops))
        assert_allclose(theory.mean(F_NEW)[k], actual, rtol=1e-7)
    assert_allclose(theory.mean(F), theory.train_mean, atol=1e-8)
    assert_allclose(theory.train_mean, Y - SMALL["noise"] * theory.dual)


@both
def test_covariance_is_the_curvature_of_the_generator(activation):
    theory = small(activation, loops=0)
    generator = Generator(theory, activation)
    for j, e in enumerate(np.eye(3)):
        for k, f in enumerate(np.eye(3)):
            actual = slope_of(
                lambda s, e=e, f=f: slope_of(
                    lambda t: generator.value(theory.dual, s * e + t * f, 0, 0), 1e-2
                ),
                1e-2,
            )
            # Differences of fourth order: 1e-2^4 against round-off of 1e-16 / 1e-4.
            assert_allclose(theory.covariance(F_NEW)[j, k], actual, atol=1e-6)
    assert_allclose(theory.variance(F_NEW), np.diag(theory.covariance(F_NEW)))


@both
@pytest.mark.parametrize("loops", [0, 1])
def test_weight_covariance_is_the_slope_of_the_generator(activation, loops):
    theory = small(activation, loops=loops)
    generator, (w, v) = Generator(theory, activation), theory._neurons.points.T
    for (j, k), product in {(0, 0): w * w, (0, 1): w * v, (1, 1): v * v}.items():
        actual = slope_of(
            lambda t, product=product: generator.value(
                theory.dual, 0, t * product, loops
            )
        )
        assert_allclose(theory.weight_covariance[j, k], actual, rtol=1e-6, atol=1e-8)


@both
def test_log_evidence_by_the_definition(activation):
    theory = small(activation)
    value = Generator(theory, activation).value(theory.dual)
    assert_allclose(theory.log_evidence, value - 2 * np.log(2 * np.pi), rtol=1e-9)


def test_leapfrog_is_of_third_order_per_step():
    theory = small()
    u, points = 2 * theory.dual, RNG.normal(size=(50, 2))
    momenta = RNG.normal(size=(50, 2))

    def error(step_size):
        start = theory._problem, theory._neurons, u, points, momenta
        return np.mean(np.abs(_annealing._leapfrog(*start, step_size)[1]))

    # Half the step at the same number of steps: an eighth of the error.
    assert_allclose(error(0.02) / error(0.01), 8, rtol=0.1)


# --- closed forms --------------------------------------------------------------------


def linear_network(K, y, noise, width):
    """Dual at tree level and one loop, and log evidence, of a linear network."""

    def dual(scale):
        return np.linalg.solve(noise * np.eye(len(y)) + scale * K, y)

    def mismatch(scale):
        u = dual(scale)
        return 1 - 1 / scale - u @ K @ u / width

    scale = brentq(mismatch, 1, 1e3, xtol=1e-14)
    u = dual(scale)
    v, ratio = K @ u, 2 * scale**2 / width
    M = noise * np.eye(len(y)) + scale * K + ratio * np.outer(v, v)
    B = np.linalg.inv(M)
    slope = (np.trace(B @ K) + 2 * ratio / scale * v @ B @ v) * v + 2 * K @ B @ v
    psi = noise / 2 * u @ u - u @ y + width / 2 * np.log(scale)
    log_det = np.linalg.slogdet(2 * np.pi * M)[1]
    return u, u + ratio / 2 * B @ slope, psi - log_det / 2


def repeated(*arguments, seeds=8, **parameters):
    return [sampled(*arguments, random_state=s, **parameters) for s in range(seeds)]


def assert_within_sampling_error(draws, truth):
    """Within five standard deviations of single draws."""
    draws = np.asarray(draws)
    assert np.all(np.abs(draws.mean(0) - truth) < 5 * draws.std(0, ddof=1))
    assert np.all(draws.std(0, ddof=1) < 0.02 * np.max(np.abs(truth)))


@pytest.mark.slow
@pytest.mark.parametrize("chi", [1, 20])
def test_linear_network(chi):
    rows, targets = make_ising(15, 20, random_state=0)
    K, noise = rows @ rows.T / 20 / chi, 0.2 / chi
    truth = linear_network(K, targets, noise, 50)
    parameters = {"noise": noise, "width": 50, "readout_variance": 1 / chi}
    runs = repeated(
        rows / 20**0.5, targets, ACTIVATIONS["identity"], n_points=2**13, **parameters
    )
    fits = [targets - noise * u for u in truth[:2]]
    trees = [targets - noise * run._solution.state.u for run in runs]
    assert_within_sampling_error(trees, fits[0])
    assert_within_sampling_error([run.train_mean for run in runs], fits[1])
    assert_within_sampling_error([run.log_evidence for run in runs], truth[2])
    # The loop is not lost in the errors.
    assert np.max(np.abs(fits[1] - fits[0])) > 0.005


@both
def test_infinite_width_is_the_nngp(activation):
    kernel = NNGP(activation, bias_variance=0.3)
    rows, new = RNG.normal(size=(6, 3)), RNG.normal(size=(4, 3))
    network, y = kernel.network(), RNG.normal(size=6)
    runs = repeated(features(rows, network), y, activation, noise=0.2, width=1e7)
    assert all(run.converged for run in runs)
    A, cross = kernel(rows) + 0.2 * np.eye(6), kernel(new, rows)
    mean = cross @ np.linalg.solve(A, y)
    covariance = kernel(new) - cross @ np.linalg.solve(A, cross.T)
    evidence = -(y @ np.linalg.solve(A, y) + np.linalg.slogdet(2 * np.pi * A)[1]) / 2
    G = features(new, network)
    assert_within_sampling_error([run.mean(G) for run in runs], mean)
    assert_within_sampling_error([run.covariance(G) for run in runs], covariance)
    assert_within_sampling_error([run.log_evidence for run in runs], evidence)
    assert_allclose(runs[0].weight_covariance, np.eye(4), atol=0.01)


# --- networks ------------------------------------------------------------------------


@both
def test_posterior_of_networks_drawn_from_the_prior(activation):
    """Networks of the prior, weighted by the likelihood; readouts integrated out."""
    width, noise, gain, draws = 40, 0.1, 3.0, 2**16
    y, rng = np.array([1.2, -0.4]), np.random.default_rng(1)
    rows, new = np.array([[1.0, 0.3], [-0.5, 1.0]]), np.array([[2.0, -1.0]])
    W = rng.normal(size=(draws, width, 2))
    phi, phi_new = activation(W @ rows.T), activation(W @ new.T)
    K = gain / width * np.swapaxes(phi, 1, 2) @ phi + noise * np.eye(2)
    cross = gain / width * np.swapaxes(phi_new, 1, 2) @ phi
    dual = np.linalg.solve(K, np.tile(y[:, None], (draws, 1, 1)))[:, :, 0]
    density = np.exp(-dual @ y / 2) / np.sqrt(np.linalg.det(2 * np.pi * K))
    share = density / density.sum()
    size = 1 / np.sum(share**2)
    means = np.einsum("rmn,rn->r", cross, dual)
    moments = np.einsum("rNp,rNq->rpq", W, W) / width
    theory = sampled(
        rows, y, activation, noise=noise, width=width, readout_variance=gain
    )

    def close(actual, values, rtol):
        truth = np.tensordot(share, values, 1)
        error = np.sqrt(np.tensordot(share, (values - truth) ** 2, 1) / size)
        assert np.all(np.abs(actual - truth) < 4 * error + rtol * np.max(np.abs(truth)))

    # What one loop leaves out is of order (rows / width)^2 = 0.0025.
    close(theory.mean(new)[0], means, 0.01)
    close(theory.weight_covariance, moments, 0.01)
    # Of the evidence, it is of order 1 / width.
    assert_allclose(theory.log_evidence, np.log(density.mean()), atol=4 / width)
    # Prior networks' kernel matrices vary by 1 / sqrt(width): tree level knows.
    variance = gain / width * np.sum(phi_new**2, axis=(1, 2))
    half = np.linalg.solve(K, np.swapaxes(cross, 1, 2))[:, :, 0]
    variance -= np.einsum("rn,rn->r", cross[:, 0], half)
    exact = share @ (variance + (means - share @ means) ** 2)
    assert_allclose(theory.variance(new), exact, rtol=0.1)


# Hamiltonian Monte Carlo over the hidden weights, readouts integrated out: 12 chains,
# 300 steps of 12 leaps to adapt and burn in, then 3000 (N = 40), 2000 (N = 100), 1000
# (N = 60) and 600 (N = 80); make_ising(n + 200, D, random_state=0), no bias,
# noise 0.1 / chi, readout variance 1 / chi. Train and test discrepancy y (y - f) and
# largest eigenvalue of the weight covariance, each with its standard error over chains.
HMC = {
    ("erf", 10, 20, 40, 1): (0.15626, 24e-5, 0.45862, 35e-5, 1.358, 0.003),
    ("erf", 10, 20, 40, 40**0.5): (0.08677, 4e-5, 0.41761, 27e-5, 2.416, 0.004),
    ("erf", 10, 20, 40, 40): (0.03851, 1e-5, 0.39382, 12e-5, 5.502, 0.003),
    ("erf", 10, 20, 100, 10): (0.09991, 6e-5, 0.42699, 22e-5, 1.973, 0.003),
    ("erf", 30, 40, 60, 1): (0.20261, 24e-5, 0.39565, 81e-5, 1.688, 0.004),
    ("erf", 30, 40, 60, 60): (0.03378, 1e-5, 0.30728, 22e-5, 9.148, 0.008),
    ("erf", 60, 80, 80, 1): (0.15771, 12e-5, 0.60353, 32e-5, 1.688, 0.002),
    ("relu", 10, 20, 40, 1): (0.16831, 15e-5, 0.56648, 42e-5, 1.355, 0.001),
    ("relu", 10, 20, 40, 40**0.5): (0.08336, 4e-5, 0.51763, 32e-5, 2.259, 0.002),
    ("relu", 10, 20, 40, 40): (0.03463, 1e-5, 0.49422, 41e-5, 4.406, 0.006),
    ("relu", 10, 20, 100, 1): (0.18080, 17e-5, 0.57810, 26e-5, 1.154, 0.002),
    ("relu", 10, 20, 100, 10): (0.09466, 3e-5, 0.52989, 40e-5, 1.909, 0.002),
    ("relu", 10, 20, 100, 100): (0.03369, 2e-5, 0.49762, 44e-5, 4.324, 0.004),
    ("relu", 30, 40, 60, 1): (0.20861, 23e-5, 0.55404, 70e-5, 1.559, 0.002),
    ("relu", 30, 40, 60, 60**0.5): (0.08422, 10e-5, 0.49427, 92e-5, 3.029, 0.005),
    ("relu", 30, 40, 60, 60): (0.02970, 2e-5, 0.49155, 85e-5, 6.452, 0.019),
}
CASES = [
    pytest.param(case, id="-".join(str(part)[:5] for part in case))
    if case[2] == 20
    else pytest.param(
        case, id="-".join(str(part)[:5] for part in case), marks=pytest.mark.slow
    )
    for case in HMC
]


@pytest.mark.parametrize("case", CASES)
def test_one_loop_is_the_trained_network(case):
    name, D, n, width, chi = case
    rows, y = make_ising(n + 200, D, random_state=0)
    G = rows / D**0.5
    theory = sampled(
        G[:n],
        y[:n],
        ACTIVATIONS[name],
        noise=0.1 / chi,
        width=width,
        readout_variance=1 / chi,
        n_points=2**13 if n == 20 else 2**14,
    )
    fit = np.concatenate([theory.train_mean, theory.mean(G[n:])])
    gaps = y * (y - fit)
    actual = [gaps[:n].mean(), gaps[n:].mean()]
    actual.append(np.linalg.eigvalsh(theory.weight_covariance)[-1])
    truth, error = np.reshape(HMC[case], (3, 2)).T
    # What one loop leaves out grows with rows per hidden unit.
    close = 0.04 if n >= width / 2 else 0.03
    assert_allclose(actual, truth, atol=3 * np.max(error / truth), rtol=close)
    assert theory.converged


# --- input ---------------------------------------------------------------------------


def quiet(*arguments, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return sampled(*arguments, **SMALL | {"n_points": 2**12} | parameters)


def test_one_row():
    theory = quiet(F[:1], Y[:1], ERF)
    assert 0 < theory.train_mean[0] / Y[0] < 1
    assert theory.covariance(F_NEW).shape == (3, 3)


def test_duplicate_rows_are_one_row_of_less_noise():
    twice = quiet(F[[0, 0, 1, 1]], Y[[0, 0, 1, 1]], ERF, loops=0)
    once = quiet(F[:2], Y[:2], ERF, loops=0, noise=SMALL["noise"] / 2)
    assert_allclose(twice.mean(F_NEW), once.mean(F_NEW), rtol=1e-6)
    assert_allclose(twice.covariance(F_NEW), once.covariance(F_NEW), atol=1e-8)


def test_zero_targets_have_mean_zero():
    theory = quiet(F, 0 * Y, ERF)
    assert theory.converged
    assert_array_equal(theory.mean(F_NEW), 0)
    # Data say that readouts of hidden units are small, in any direction.
    assert np.all(np.linalg.eigvalsh(theory.weight_covariance) < 1)


@pytest.mark.parametrize("width", [0.5, 1, 2])
def test_fewer_units_than_rows(width):
    # No expansion in rows / width is to be trusted here, and the theory says so.
    with pytest.warns(ConvergenceWarning, match="effective degrees of freedom"):
        theory = sampled(F, Y, ERF, **SMALL | {"width": width}, n_points=2**12)
    assert np.linalg.eigvalsh(theory.weight_covariance)[0] > -1e-12
    assert theory.converged
    assert np.all(np.isfinite(theory.mean(F_NEW)))
    tree = quiet(F, Y, ERF, width=width, loops=0)
    assert np.mean((tree.train_mean - Y) ** 2) < np.mean(Y**2)


@both
def test_tiny_noise_interpolates(activation):
    theory = quiet(F, Y, activation, noise=1e-10)
    assert_allclose(theory.train_mean, Y, atol=1e-6)
    assert np.all(theory.variance(F) < 1e-9)


def test_contradictory_rows_of_tiny_noise_are_averaged_or_warn():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        theory = sampled(
            F[[0, 0, 1, 2]], Y, ERF, **SMALL | {"noise": 1e-10}, n_points=2**10
        )
    warned = any(issubclass(w.category, ConvergenceWarning) for w in caught)
    assert warned != theory.converged
    assert np.all(np.isfinite(theory.mean(F_NEW)))
    assert_allclose(theory.mean(F[:1]), Y[:2].mean(), atol=1e-3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"activation": np.tanh}, "activation must have a method derivative"),
        ({"noise": 0}, "noise .alpha. must be positive"),
        ({"noise": np.inf}, "noise .alpha. must be positive and finite"),
        ({"noise": np.nan}, "noise"),
        ({"width": 0}, "width must be positive"),
        ({"width": np.inf}, "width must be positive and finite"),
        ({"readout_variance": -1}, "readout_variance"),
        ({"loops": 2}, "loops must be 0 or 1"),
        ({"n_points": 1000}, "n_points must be a power of two"),
        ({"n_points": 1}, "n_points"),
        ({"y": np.ones((4, 2))}, "several outputs use approximation='rescaling'"),
        ({"y": np.ones(3)}, "y must have one entry per row"),
        ({"y": np.array([1, 2, np.nan, 0])}, "y must be finite"),
        ({"F": np.full((4, 2), np.inf)}, "F must be finite"),
        ({"F": np.ones(4)}, "F must be a matrix"),
        ({"F": np.ones((0, 2)), "y": np.ones(0)}, "F must be a matrix"),
    ],
)
def test_bad_input_is_named(parameters, message):
    arguments = {"F": F, "y": Y, "activation": ERF} | SMALL | parameters
    with pytest.raises(ValueError, match=message):
        sampled(**arguments)


def test_any_function_is_an_activation():
    theory = quiet(F, Y, NNGP(lambda z: z).network().activation)
    expected = quiet(F, Y, ACTIVATIONS["identity"])
    # Its derivative is a difference, which moves neurons a little differently.
    assert_allclose(theory.mean(F_NEW), expected.mean(F_NEW), rtol=1e-3)


def test_few_neurons_warn():
    with pytest.warns(ConvergenceWarning, match="raise n_points"):
        theory = small(n_points=2**6)
    assert theory.effective_sample_size < 2**6


@pytest.mark.slow
def test_sampling_error_is_the_scatter_over_seeds():
    X, y = make_ising(240, 10, random_state=0)
    rows = X[:20] / np.sqrt(10)
    options = {"noise": 0.1 / 40, "width": 40, "readout_variance": 1 / 40}
    runs = [
        sampled(rows, y[:20], ERF, **options, n_points=2**11, random_state=seed)
        for seed in range(8)
    ]
    left_out = np.array([y[:20] - r.dual / r.precision for r in runs])
    scatter = np.sqrt(np.mean(left_out.var(axis=0, ddof=1)))
    estimates = np.array([r.sampling_error for r in runs])
    # A standard deviation of eight runs is known to a factor of about 1.5.
    assert 0.4 < np.median(estimates) / scatter < 2.5


def test_an_unsettled_correction_warns():
    # Mean-field scaling of the hidden weights of an erf network.
    X, y = make_ising(20, 10, random_state=0)
    rows = X / np.sqrt(10 * 40)
    with pytest.warns(ConvergenceWarning, match="one-loop correction hangs on few"):
        sampled(rows, y, ERF, noise=0.1 / 40, width=40, n_points=2**12)
    quiet(rows, y, ERF, noise=0.1 / 40, width=40, loops=0)


def test_noise_of_each_row_is_that_of_rescaled_rows():
    noise = np.array([0.1, 0.2, 0.05, 0.3])
    theory = sampled(F, Y, ERF, noise=noise, width=30, n_points=2**10)
    equal = sampled(
        np.repeat(F, [1, 1, 2, 1], axis=0),
        np.repeat(Y, [1, 1, 2, 1]),
        ERF,
        noise=np.array([0.1, 0.2, 0.1, 0.1, 0.3]),
        width=30,
        n_points=2**10,
    )
    assert_allclose(theory.mean(F_NEW), equal.mean(F_NEW), rtol=1e-6, atol=1e-9)
    assert_allclose(theory.train_mean, Y - noise * theory.dual)
    assert_allclose(theory.precision[:2], equal.precision[:2], rtol=1e-8)
    covariance = theory.covariance(F)
    # Psi'' = D + K^ at u, and Cov f = D - D Psi''^-1 D.
    assert_allclose(np.diag(covariance), noise - noise**2 * theory.precision, rtol=1e-8)


def test_an_early_stop_warns(monkeypatch):
    monkeypatch.setattr(_tilted, "MAX_ITER", 1)
    with pytest.warns(ConvergenceWarning, match="relative residual"):
        theory = small()
    assert not theory.converged


def test_seeds():
    assert_array_equal(small().mean(F_NEW), small().mean(F_NEW))
    assert np.all(small(random_state=1).dual != small().dual)
    generator = np.random.default_rng(0)
    assert_array_equal(small(random_state=generator).dual, small().dual)


def test_blocks_change_nothing(monkeypatch):
    expected = small()
    monkeypatch.setattr(_tilted, "CACHE_BYTES", 0)
    monkeypatch.setattr(_tilted, "BLOCK_BYTES", 3000)
    monkeypatch.setattr(neurons, "ROWS", 2)
    theory = small()
    for name in ("mean", "variance", "covariance"):
        actual, truth = (getattr(t, name)(F_NEW) for t in (theory, expected))
        assert_allclose(actual, truth, rtol=1e-8, atol=1e-12)
    assert_allclose(theory.log_evidence, expected.log_evidence, rtol=1e-10)


def test_pickle():
    theory = small()
    again = pickle.loads(pickle.dumps(theory))
    assert_array_equal(again.mean(F_NEW), theory.mean(F_NEW))
    assert_array_equal(again.covariance(F_NEW), theory.covariance(F_NEW))


def test_single_precision_is_computed_in_double():
    F32, Y32 = F.astype(np.float32), Y.astype(np.float32)
    theory = sampled(F32, Y32, ERF, **SMALL, n_points=2**10)
    expected = sampled(
        F32.astype(float), Y32.astype(float), ERF, **SMALL, n_points=1024
    )
    assert theory.dual.dtype == float
    assert_array_equal(theory.dual, expected.dual)


@both
@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_array_libraries_agree(activation, library):
    xp = pytest.importorskip(library)
    F_, Y_, F_NEW_ = (xp.asarray(a.copy()) for a in (F, Y, F_NEW))
    theory = sampled(F_, Y_, activation, **SMALL, n_points=2**10)
    expected = small(activation)
    for name in ("mean", "variance", "covariance"):
        actual = getattr(theory, name)(F_NEW_)
        assert type(actual) is type(F_)
        # Sums in another order; moves accept or reject with the same random numbers.
        truth = getattr(expected, name)(F_NEW)
        assert_allclose(np.asarray(actual), truth, rtol=1e-6, atol=1e-9)
    assert_allclose(np.asarray(theory.dual), expected.dual, rtol=1e-6)
    assert_allclose(theory.log_evidence, expected.log_evidence, rtol=1e-8)
