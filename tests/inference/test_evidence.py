"""Regularised evidence: value, gradient and optimum against plain NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adaptive_kernels import AdaptiveKernelRegressor
from adaptive_kernels.inference.evidence import (
    VARIANCES,
    Data,
    Hyperparameters,
    RegularizedEvidence,
    combine_metric_sqrts,
    log_evidence,
)
from adaptive_kernels.inference.factorization import factorize
from adaptive_kernels.kernels import NNGP, NTK

KERNELS = [
    NNGP("erf", weight_variance=1.7, bias_variance=0.3, readout_variance=0.8),
    NNGP("relu", depth=2, weight_variance=1.2, bias_variance=0.2),
    NTK("erf", weight_variance=0.9, readout_variance=1.4),
]
ALL = (*VARIANCES, "alpha")
ALPHA, WIDTH = 0.07, 3.0


def make_data(*, outputs=1, weighted=False, n=12, d=3):
    rng = np.random.default_rng(n + outputs)
    X = rng.standard_normal((n, d))
    Y = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], X[:, 0] * X[:, 1]], axis=1)
    weights = rng.uniform(0.3, 3, n) if weighted else None
    return Data(X, Y[:, :outputs], weights)


def make_point(kernel, covariance_type, d=3):
    rng = np.random.default_rng(5)
    root = None
    if covariance_type == "diag":
        root = rng.uniform(0.4, 2, d)
    elif covariance_type == "full":
        root = np.tril(rng.normal(0, 0.5, (d, d)), -1) + np.diag(rng.uniform(0.4, 2, d))
    return Hyperparameters(kernel.network(), ALPHA, root)


def gaussian_log_density(K, Y):
    _, log_det = np.linalg.slogdet(2 * np.pi * K)
    return -0.5 * (np.sum(Y * np.linalg.solve(K, Y)) + Y.shape[1] * log_det)


def brute_objective(kernel, data, point, width=WIDTH):
    """Evidence of rows with noise alpha / w, less the divergence from the prior."""
    variances = {name: getattr(point.network, name) for name in VARIANCES}
    kernel = type(kernel)(kernel.activation, depth=kernel.depth, **variances)
    kernel.metric = point.metric()
    w = np.ones(len(data.X)) if data.weights is None else data.weights
    value = gaussian_log_density(kernel(data.X) + np.diag(point.alpha / w), data.Y)
    logs = (w - 1) * np.log(2 * np.pi * point.alpha) + np.log(w)
    value -= 0.5 * data.Y.shape[1] * np.sum(logs)
    if kernel.metric is None:
        return value
    M = np.diag(kernel.metric) if kernel.metric.ndim == 1 else kernel.metric
    divergence = 0.5 * (np.trace(M) - np.linalg.slogdet(M)[1] - len(M))
    return value - width * divergence


def finite_differences(function, vector, step=1e-5):
    slopes = []
    for shift in step * np.eye(len(vector)):
        slopes.append((function(vector + shift) - function(vector - shift)) / 2 / step)
    return np.array(slopes)


def check_value_and_gradient(kernel, data, covariance_type, free):
    point = make_point(kernel, covariance_type, data.X.shape[1])
    problem = RegularizedEvidence(
        data, point, width=WIDTH, covariance_type=covariance_type, free=free
    )
    vector = problem.pack(point)
    value, gradient = problem(vector)
    assert_allclose(value, brute_objective(kernel, data, point), rtol=1e-10)
    expected = finite_differences(
        lambda v: brute_objective(kernel, data, problem.unpack(v)), vector
    )
    # Central differences: truncation step^2, and the rounding of an ill-conditioned
    # solve over the step.
    rounding = 1e-8 * np.max(np.abs(expected), initial=0)
    assert_allclose(gradient, expected, rtol=1e-6, atol=max(1e-6, rounding))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("covariance_type", [None, "diag", "full"])
@pytest.mark.parametrize("kernel", KERNELS, ids=["erf", "relu2", "ntk"])
def test_value_and_gradient(kernel, covariance_type, outputs, weighted):
    data = make_data(outputs=outputs, weighted=weighted)
    check_value_and_gradient(kernel, data, covariance_type, ALL)


def test_gradient_with_an_activation_function():
    kernel = NNGP(np.tanh, weight_variance=2.0)
    check_value_and_gradient(kernel, make_data(), "diag", ALL)


@pytest.mark.parametrize("covariance_type", [None, "diag", "full"])
@pytest.mark.parametrize(
    "kernel", [NNGP("relu"), NNGP("identity"), NTK("erf", depth=2)]
)
def test_gradient_over_several_blocks(kernel, covariance_type):
    data = make_data(weighted=True, n=210, d=2)
    check_value_and_gradient(kernel, data, covariance_type, ALL)


@pytest.mark.parametrize("covariance_type", [None, "diag", "full"])
@pytest.mark.parametrize("free", [(), ("alpha",), ("weight_variance",), VARIANCES])
def test_gradient_with_fixed_variances(free, covariance_type):
    check_value_and_gradient(KERNELS[0], make_data(), covariance_type, free)


def test_zero_variance_is_never_free():
    kernel = NNGP("erf", bias_variance=0)
    check_value_and_gradient(kernel, make_data(), "diag", ALL)
    point = make_point(kernel, "diag")
    problem = RegularizedEvidence(
        make_data(), point, width=WIDTH, covariance_type="diag", free=ALL
    )
    assert problem.free == ["readout_variance", "weight_variance", "alpha"]


def test_infinite_width_drops_the_covariance():
    point = make_point(KERNELS[0], None)
    problem = RegularizedEvidence(
        make_data(), point, width=np.inf, covariance_type="full", free=ALL
    )
    assert len(problem.pack(point)) == len(ALL)


@pytest.mark.parametrize("outputs", [1, 2])
def test_evidence_of_integer_weights_is_that_of_repeated_rows(outputs):
    data, counts = make_data(outputs=outputs), np.arange(12) % 3 + 1
    point = make_point(KERNELS[0], None)
    K = KERNELS[0](np.repeat(data.X, counts, axis=0)) + ALPHA * np.eye(counts.sum())
    expected = gaussian_log_density(K, np.repeat(data.Y, counts, axis=0))
    weighted = Data(data.X, data.Y, counts.astype(float))
    assert_allclose(log_evidence(weighted, point), expected, rtol=1e-10)


@pytest.mark.parametrize("outer", ["diag", "full"])
@pytest.mark.parametrize("inner", ["diag", "full"])
def test_combined_roots_map_inputs_one_after_the_other(outer, inner):
    roots = [make_point(KERNELS[0], kind).metric_sqrt for kind in (outer, inner)]
    expected = np.eye(3)
    for root in roots:
        expected = expected @ (np.diag(root) if root.ndim == 1 else root)
    combined = combine_metric_sqrts(*roots)
    combined = np.diag(combined) if combined.ndim == 1 else combined
    assert_allclose(combined, expected, rtol=1e-14)


def test_missing_roots_are_identities():
    root = make_point(KERNELS[0], "full").metric_sqrt
    assert combine_metric_sqrts(None, None) is None
    assert_allclose(combine_metric_sqrts(None, root), root)
    assert_allclose(combine_metric_sqrts(root, None), root)


def test_indefinite_matrix_says_to_raise_alpha():
    with pytest.raises(np.linalg.LinAlgError, match="raise alpha"):
        factorize(np.ones((3, 3)), np.ones((3, 1)), -0.1)


def teacher(D, n, n_test):
    """Data of the acceptance cases of multiscale.md, section 7."""
    rng = np.random.RandomState(0)
    w = rng.standard_normal(D)
    X = 2.0 * rng.randint(0, 2, size=(n + n_test, D)) - 1
    y = np.where(X @ w >= 0, 1.0, -1.0)
    return X[:n], y[:n], X[n:], y[n:]


# Acceptance case 9, rows "full": objective, train and test discrepancy, and largest
# eigenvalue over the prior's, from another implementation of the same theory.
CASE_9 = [
    ("erf", 1, -23.582386, 0.154206, 0.449407, 1.34182),
    ("erf", 40, -285.481810, 0.047794, 0.376456, 7.85595),
    ("relu", 1, -26.199861, 0.167009, 0.549232, 1.35835),
    ("relu", 40, -318.029941, 0.057014, 0.463319, 6.21108),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("activation, chi, objective, train, test, top", CASE_9)
def test_acceptance_case_9(activation, chi, objective, train, test, top):
    X, y, X_test, y_test = teacher(10, 20, 200)
    model = AdaptiveKernelRegressor(
        NNGP(activation, bias_variance=0, readout_variance=1 / chi),
        alpha=0.1 / chi,
        optimizer=None,
        normalize_y=False,
        covariance_type="full",
        width=40,
        max_iter=10_000,
        tol=1e-10,
    ).fit(X, y)
    values = np.linalg.eigvalsh(10 * model.weight_covariance_)
    divergence = 0.5 * np.sum(values - np.log(values) - 1)
    regularized = model.log_marginal_likelihood_value_ - 40 * divergence
    # Tolerances are those of the acceptance case.
    assert_allclose(regularized, objective, atol=1e-4)
    assert_allclose(np.mean(y * (y - model.predict(X))), train, atol=1e-5)
    residual = y_test - model.predict(X_test)
    assert_allclose(np.mean(y_test * residual), test, atol=1e-4)
    assert_allclose(values[-1], top, atol=1e-3)
