"""The kernel that adapts to the labels of two clouds: free energy and solution."""

import numpy as np
import pytest
from _adapted_networks import NOISE, READOUT, WIDTH, adapted, clouds, log_nc1, network
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from adaptive_kernels.datasets import make_gaussian_classes
from adaptive_kernels.inference.evidence import (
    Data,
    Hyperparameters,
    RegularizedEvidence,
)
from adaptive_kernels.theory import gaussian_adaptation


def random_covariance(d, seed=0):
    root = np.eye(d) + 0.4 * np.random.default_rng(seed).standard_normal((d, d))
    return root @ root.T / d


# --- the free energy, written down apart from the package ----------------------------


def matrix_and_slopes(covariance, X, activation):
    """Q with K = X Sigma X', dQ_ij / dK_ij off the diagonal, and dQ_ij / dK_ii."""
    K = X @ covariance @ X.T
    q = np.diag(K)[:, None]
    if activation == "erf":
        P = (1 + 2 * q) * (1 + 2 * q.T)
        c = 2 * K / np.sqrt(P)
        Q = 2 / np.pi * np.arcsin(c)
        G = 4 / np.pi / np.sqrt(P - 4 * K**2)
        v = -2 / np.pi * c / np.sqrt(1 - c**2) / (1 + 2 * q)
    else:
        P = q * q.T
        rows = X @ np.linalg.cholesky(covariance) / np.sqrt(q)
        gaps = rows[:, None] - rows[None]
        # Of unit vectors; an arc cosine would lose half of the digits.
        angle = 2 * np.arctan2(
            np.linalg.norm(gaps, axis=2),
            np.linalg.norm(gaps - 2 * rows[:, None], axis=2),
        )
        Q = (np.sqrt(P) * np.sin(angle) + K * (np.pi - angle)) / (2 * np.pi)
        G = (np.pi - angle) / (2 * np.pi)
        v = np.sqrt(q.T / q) * np.sin(angle) / (4 * np.pi)
    return READOUT * Q, READOUT * G, READOUT * v


def free_energy(covariance, X, y, activation="erf"):
    """width / 2 [d tr Sigma - log det Sigma] + [log det C + y' C^-1 y] / 2."""
    C = matrix_and_slopes(covariance, X, activation)[0] + NOISE * np.eye(len(y))
    prior = len(covariance) * np.trace(covariance) - np.linalg.slogdet(covariance)[1]
    fit = np.linalg.slogdet(C)[1] + y @ np.linalg.solve(C, y)
    return WIDTH / 2 * prior + fit / 2


def inverse_map(covariance, X, y, activation="erf"):
    """d I + d tr(A Q) / d Sigma / width, which is 1 / Sigma at a stationary point."""
    Q, G, v = matrix_and_slopes(covariance, X, activation)
    inverse = np.linalg.inv(Q + NOISE * np.eye(len(y)))
    A = inverse - np.outer(inverse @ y, inverse @ y)
    ends = 2 * np.sum(A * v, axis=1)
    slope = X.T @ (A * G) @ X + X.T @ (ends[:, None] * X)
    return len(covariance) * np.eye(len(covariance)) + slope / WIDTH


def residual(covariance, X, y, activation="erf"):
    """|Sigma / Sigma(Sigma) - I|, per root feature."""
    d = len(covariance)
    gap = covariance @ inverse_map(covariance, X, y, activation) - np.eye(d)
    return np.linalg.norm(gap) / d**0.5


def numerical_gradient(covariance, X, y, activation="erf"):
    """dF / dSigma by central differences, Sigma symmetric."""
    d, step = len(covariance), 1e-5 / len(covariance)
    gradient = np.empty((d, d))
    for i, j in zip(*np.tril_indices(d), strict=True):
        shift = np.zeros((d, d))
        shift[i, j] += step / 2
        shift[j, i] += step / 2
        up, down = (
            free_energy(covariance + sign * shift, X, y, activation) for sign in (1, -1)
        )
        gradient[i, j] = gradient[j, i] = (up - down) / (2 * step)
    return gradient


def normalisation(n, d):
    """What minus the package's objective leaves out of the free energy."""
    return WIDTH / 2 * d * (1 + np.log(d)) - n / 2 * np.log(2 * np.pi)


def package_objective(X, y, activation):
    template = Hyperparameters(network(activation).network(), NOISE)
    data = Data(X, y[:, None])
    return RegularizedEvidence(data, template, width=WIDTH, covariance_type="full")


def vector_of(problem, covariance):
    root = np.linalg.cholesky(len(covariance) * covariance)
    return problem.pack(Hyperparameters(problem.template.network, NOISE, root))


@pytest.mark.parametrize("activation", ["erf", "relu"])
@pytest.mark.parametrize("d", [1, 2, 8])
def test_objective_is_minus_the_free_energy(d, activation):
    X, y = make_gaussian_classes(60, d, random_state=0)
    problem = package_objective(X, y, activation)
    for seed in range(3):
        covariance = random_covariance(d, seed)
        value = problem(vector_of(problem, covariance))[0]
        expected = normalisation(60, d) - free_energy(covariance, X, y, activation)
        assert_allclose(value, expected, rtol=1e-8)


@pytest.mark.parametrize("n_samples", [128, [30, 90]], ids=str)
def test_regressor_is_the_theory(n_samples):
    X, y = make_gaussian_classes(n_samples, 3, random_state=0)
    model = adapted(X, y)
    theory = gaussian_adaptation(network(), X, y, noise=NOISE, width=WIDTH, tol=1e-4)
    covariance = model.weight_covariance_
    # Gradients of 1e-4 nats leave entries of 1e-4 / width, give or take an order.
    assert_allclose(covariance, theory.weight_covariance, atol=1e-5)
    expected = normalisation(len(y), 3) - free_energy(covariance, X, y)
    assert_allclose(theory.objective, expected, rtol=1e-8)


# ReLU fits few features so badly that rounding of the free energy, 1e7, would show.
differentiable = pytest.mark.parametrize(
    ("d", "activation"), [(1, "erf"), (2, "erf"), (8, "erf"), (8, "relu")]
)


@differentiable
def test_gradient_of_the_objective(d, activation):
    X, y = make_gaussian_classes(60, d, random_state=0)
    problem = package_objective(X, y, activation)
    vector = vector_of(problem, random_covariance(d))
    gradient, numerical = problem(vector)[1], []
    for shift in 1e-5 * np.eye(len(vector)):
        metrics = [problem.unpack(vector + sign * shift).metric() for sign in (1, -1)]
        up, down = (free_energy(metric / d, X, y, activation) for metric in metrics)
        numerical.append((down - up) / 2e-5)
    close = 1e-6 * np.max(np.abs(gradient))
    assert_allclose(gradient, numerical, rtol=0, atol=close)


@differentiable
def test_fixed_point_map_is_the_gradient(d, activation):
    """Two derivations of the same: neither uses the package."""
    X, y = make_gaussian_classes(60, d, random_state=0)
    covariance = random_covariance(d)
    gap = inverse_map(covariance, X, y, activation) - np.linalg.inv(covariance)
    expected = numerical_gradient(covariance, X, y, activation)
    close = 1e-6 * np.max(np.abs(expected))
    assert_allclose(WIDTH / 2 * gap, expected, rtol=0, atol=close)


# --- the solution --------------------------------------------------------------------


@pytest.mark.parametrize("d", [1, 2, 8])
def test_free_energy_is_flat_at_the_solution(d):
    X, y = make_gaussian_classes(128, d, random_state=0)
    covariance = adapted(X, y).weight_covariance_
    gradient = numerical_gradient(covariance, X, y)
    gap = 2 / WIDTH * covariance @ gradient
    assert np.linalg.norm(gap) / d**0.5 < 1e-5
    # The prior, for comparison, is not stationary.
    assert residual(np.eye(d) / d, X, y) > 0.05


@pytest.mark.parametrize("d", [1, 2, 8, 32])
def test_fixed_point_equation_is_solved(d):
    for X, y in clouds(128, d, seeds=3):
        model = adapted(X, y)
        assert model.converged_
        assert residual(model.weight_covariance_, X, y) < 1e-5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "d", [pytest.param(8, marks=pytest.mark.slow, id="8"), pytest.param(32, id="32")]
)
def test_fixed_point_equation_of_relu_is_solved(d):
    X, y = make_gaussian_classes(128, d, random_state=0)
    covariance = adapted(X, y, network("relu")).weight_covariance_
    assert residual(covariance, X, y, "relu") < 1e-5


def test_default_tolerance_is_enough():
    """Slopes of 0.2 nats are residuals of 0.2 / width = 4e-4; NC1 moves as much."""
    for d in (1, 2, 8, 32):
        X, y = make_gaussian_classes(128, d, random_state=0)
        default, exact = adapted(X, y, tol=0.2), adapted(X, y)
        assert residual(default.weight_covariance_, X, y) < 1e-3
        scores = [log_nc1(X, y, model.kernel_) for model in (default, exact)]
        assert_allclose(*scores, rtol=0, atol=1e-3)


def lowest(X, y, start):
    """Minimum of the free energy over roots R of Sigma = R R', from a start."""
    d = len(start)

    def objective(vector):
        root = vector.reshape(d, d)
        covariance = root @ root.T
        gap = inverse_map(covariance, X, y) - np.linalg.inv(covariance)
        return free_energy(covariance, X, y), (WIDTH * gap @ root).ravel()

    return minimize(objective, start.ravel(), jac=True, method="BFGS").fun


@pytest.mark.parametrize("d", [1, 2, 8])
def test_no_start_leads_lower(d):
    X, y = make_gaussian_classes(64, d, random_state=0)
    ours = free_energy(adapted(X, y).weight_covariance_, X, y)
    rng = np.random.default_rng(0)
    starts = [scale / d * rng.standard_normal((d, d)) for scale in (0.3, 1, 1, 3)]
    others = [lowest(X, y, start) for start in starts]
    # A gradient of g nats is g^2 / width from the minimum: rounding, here.
    assert ours < min(others) + 1e-6
    assert min(others) < ours + 1e-3


@pytest.mark.parametrize("d", [2, 8, 32])
def test_one_direction_grows_and_it_is_that_of_the_classes(d):
    for X, y in clouds(128, d, seeds=3):
        values, vectors = np.linalg.eigh(d * adapted(X, y).weight_covariance_)
        direction = X[y > 0].mean(axis=0) - X[y < 0].mean(axis=0)
        direction /= np.linalg.norm(direction)
        assert abs(vectors[:, -1] @ direction) > 0.99
        assert 1.3 < values[-1] < 2
        assert 0.8 < values[0] and values[-2] < 1.005
