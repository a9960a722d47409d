"""AdaptiveKernelRegressor with kernel rescaling: exact linear networks, the saddle."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import gammaln

from adaptive_kernels import AdaptiveKernelRegressor, NNGPRegressor
from adaptive_kernels.kernels import NNGP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
X_NEW = RNG.standard_normal((7, 3))
NOISE = 0.1 * RNG.standard_normal((40, 2))
Y2 = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], X[:, 0] * X[:, 1]], axis=1) + NOISE
Y1 = Y2[:, 0]
COUNTS = RNG.integers(1, 4, 40)
ROWS = np.repeat(np.arange(40), COUNTS)


def predictions(model, rows=X_NEW):
    return np.array(model.predict(rows, return_std=True))


def teacher(D=20, n=15, n_test=50):
    """Set A of the acceptance cases of multiscale.md, section 7."""
    rng = np.random.RandomState(0)
    w = rng.standard_normal(D)
    rows = 2.0 * rng.randint(0, 2, size=(n + n_test, D)) - 1
    targets = np.where(rows @ w >= 0, 1.0, -1.0)
    return rows[:n], targets[:n], rows[n:], targets[n:]


def rescaled(chi=1.0, width=50.0, kernel=None, **parameters):
    return AdaptiveKernelRegressor(
        kernel or NNGP("identity", bias_variance=0),
        approximation="rescaling",
        optimizer=None,
        normalize_y=False,
        **{"alpha": 0.2 / chi, "scaling": chi, "width": width} | parameters,
    )


def test_rescaling_acceptance_numbers():
    rows, targets, rows_new, targets_new = teacher()
    model = rescaled().fit(rows, targets)
    # Acceptance case 3, "saddle", from another implementation, to its tolerance.
    assert_allclose(model.scale_, 0.9819376184, atol=1e-8)
    train = np.mean(targets * (targets - model.predict(rows)))
    test = np.mean(targets_new * (targets_new - model.predict(rows_new)))
    assert_allclose([train, test], [0.1789601129, 0.7414851298], atol=1e-8)


def exact_mixture(K, cross, prior, targets, noise, width):
    """Posterior of f and log evidence by quadrature over the log scale."""
    grid = np.linspace(-3, 6, 2001)
    logs, means, covariances = [], [], []
    for t in grid:
        C = noise * np.eye(len(K)) + np.exp(t) * K
        gain = np.exp(t) * np.linalg.solve(C, cross.T).T
        logs.append(width / 2 * (np.log(width / 2) + t - np.exp(t)))
        logs[-1] -= gammaln(width / 2) + np.linalg.slogdet(2 * np.pi * C)[1] / 2
        logs[-1] -= targets @ np.linalg.solve(C, targets) / 2
        means.append(gain @ targets)
        covariances.append(np.exp(t) * (prior - gain @ cross.T))
    share = np.exp(logs - np.max(logs))
    evidence = np.max(logs) + np.log(np.sum(share) * (grid[1] - grid[0]))
    share /= np.sum(share)
    mean = share @ np.array(means)
    spread = np.array(means) - mean
    covariance = np.tensordot(share, np.array(covariances), 1)
    return mean, covariance + (share[:, None] * spread).T @ spread, evidence


@pytest.mark.parametrize("chi", [1, 10, 50])
def test_rescaling_approximates_the_exact_linear_network(chi):
    rows, targets, rows_new, _ = teacher()
    model = rescaled(chi, alpha=0.2).fit(rows, targets)
    linear = [a @ b.T / (20 * chi) for a, b in [(rows, rows), (rows_new, rows)]]
    prior = rows_new @ rows_new.T / (20 * chi)
    mean, covariance, evidence = exact_mixture(*linear, prior, targets, 0.2, 50)
    # Laplace's expansion leaves out orders of 1 / width = 0.02. Without the scale's
    # fluctuation the covariance would miss 4 % and 8 % at chi = 10 and 50.
    close = {"rtol": 0, "atol": 0.02 * np.max(np.abs(mean))}
    actual = model.predict(rows_new, return_cov=True)
    assert_allclose(actual[0], mean, **close)
    close["atol"] = 0.02 * np.max(np.abs(covariance))
    assert_allclose(actual[1] - 0.2 * np.eye(50), covariance, **close)
    _, std = model.predict(rows_new, return_std=True)
    assert_allclose(std**2, np.diag(actual[1]))
    assert_allclose(model.log_marginal_likelihood_value_, evidence, atol=0.02)


@pytest.mark.parametrize("outputs", [1, 2])
def test_rescaling_at_large_width_is_the_nngp(outputs):
    model = rescaled(width=1e9, kernel=NNGP("relu")).fit(X, Y2[:, :outputs])
    nngp = NNGPRegressor(NNGP("relu"), alpha=0.2, optimizer=None, normalize_y=False)
    expected = predictions(nngp.fit(X, Y2[:, :outputs]))
    # The scale differs from one by n / width = 4e-8.
    assert_allclose(predictions(model), expected, rtol=1e-6)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_rescaling_solves_the_saddle_of_the_repeated_rows(outputs, weighted):
    kernel, width, alpha = NNGP("erf", readout_variance=0.3), 30.0, 0.1
    rows, targets = (a[ROWS] if weighted else a for a in (X, Y2[:, :outputs]))
    model = rescaled(kernel=kernel, width=width, alpha=alpha)
    model.fit(X, Y2[:, :outputs], COUNTS if weighted else None)
    K, scale = kernel(rows), np.reshape(model.scale_, (outputs, outputs))
    U = (targets - model.predict(rows)) / alpha
    # Y = alpha U + K U S,
    # S^-1 = I - U'K U / N + sum_k lam_k / (alpha + lam_k S) / N.
    assert_allclose(alpha * U + K @ U @ scale, targets, atol=1e-9)
    trace = sum(
        lam * np.linalg.inv(alpha * np.eye(outputs) + lam * scale)
        for lam in np.linalg.eigvalsh(K)
    )
    saddle = np.eye(outputs) - U.T @ K @ U / width + trace / width
    assert_allclose(np.linalg.inv(scale), saddle, rtol=1e-8, atol=1e-8)


def test_rescaling_evidence_of_weights_is_that_of_repeated_rows():
    kernel = NNGP("erf", readout_variance=0.3)
    weighted = rescaled(kernel=kernel).fit(X, Y1, COUNTS)
    K, one = kernel(X[ROWS]), np.zeros((1, len(ROWS)))
    evidence = exact_mixture(K, one, np.ones((1, 1)), Y1[ROWS], 0.2, 50)[2]
    assert_allclose(weighted.log_marginal_likelihood_value_, evidence, atol=0.02)


def test_rescaling_follows_a_rotation_of_the_outputs():
    angle = 0.6
    R = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    model, rotated = (rescaled(kernel=NNGP("erf")).fit(X, Y) for Y in (Y2, Y2 @ R))
    assert_allclose(rotated.predict(X_NEW), model.predict(X_NEW) @ R, atol=1e-9)
    assert_allclose(rotated.scale_, R.T @ model.scale_ @ R, atol=1e-9)


@pytest.mark.parametrize("weights", [None, COUNTS], ids=["equal", "weighted"])
def test_rescaling_leave_one_out_keeps_the_scale(weights):
    kernel = NNGP("erf", readout_variance=0.1)
    model = rescaled(kernel=kernel, width=3).fit(X, Y1, weights)
    actual = model.leave_one_out_predict(return_std=True)
    scaled = NNGP("erf", readout_variance=0.1 * model.scale_)
    nngp = NNGPRegressor(scaled, alpha=0.2, optimizer=None, normalize_y=False)
    expected = nngp.fit(X, Y1, weights).leave_one_out_predict(return_std=True)
    assert_allclose(actual, expected, rtol=1e-8)


def test_rescaling_log_marginal_likelihood_is_one_function():
    model = rescaled(kernel=NNGP("erf"), width=3).fit(X, Y1)
    again = model.log_marginal_likelihood(model.kernel_.theta)
    assert_allclose(again, model.log_marginal_likelihood())
