"""Derivatives of kernel matrices against finite differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adaptive_kernels import _arrays
from adaptive_kernels._arrays import blocks
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.kernels._activations import ACTIVATIONS
from adaptive_kernels.kernels._derivatives import vector_jacobian
from adaptive_kernels.kernels._recursion import variances

N, D = 12, 4
WEIGHT, BIAS, READOUT = 1.7, 0.2, 0.8

rng = np.random.default_rng(0)
X = rng.standard_normal((N, D))
ROOT = np.eye(D) + rng.standard_normal((D, D)) / 5
METRIC = ROOT @ ROOT.T
COTANGENT = rng.standard_normal((N, N))
COTANGENT += COTANGENT.T
SMOOTH = ["erf", "gelu", "sin", "rbf"]

NETWORKS = [
    pytest.param(cls, activation, depth, id=f"{cls.__name__}-{activation}-{depth}")
    for cls in (NNGP, NTK)
    for activation in ACTIVATIONS
    for depth in (1, 3)
] + [pytest.param(NTK, np.tanh, 2, id="NTK-tanh-2")]


def make(cls, activation, depth, *, metric=METRIC, weight=WEIGHT, bias=BIAS):
    return cls(
        activation,
        depth=depth,
        weight_variance=weight,
        bias_variance=bias,
        readout_variance=READOUT,
        metric=metric,
    )


def pull_back(kernel, X, cotangent=COTANGENT):
    """Derivative of sum(cotangent * kernel(X)) by log weight, bias and metric."""
    network, d = kernel.network(), X.shape[1]
    F = kernel._features(X, network)
    xp = _arrays.namespace(X)
    result = vector_jacobian(
        X,
        F,
        network,
        variances(F, network),
        # A copy: the sweep overwrites the diagonal of what it gets.
        lambda i, j: xp.asarray(cotangent[i, j], copy=True),
        _arrays.diagonal(cotangent),
    )
    # First-layer covariance: Sigma = weight / d * metric.
    scale = kernel.weight_variance / d
    metric = scale * result.covariance(X)
    by_diagonal = scale * result.covariance(X, diagonal=True)
    root = np.eye(d) if kernel.metric is None else kernel.metric
    full = np.diag(root) if np.ndim(root) == 1 else root
    log_weight = float(np.sum(_arrays.to_numpy(metric) * full)) + result.log_weight
    return log_weight, result.bias_variance, metric, by_diagonal


def central_difference(function, h=1e-3):
    """d/dt at t = 0 to fourth order: truncation h^4 = 1e-12, rounding 1e-16 / h."""
    near, far = function(h) - function(-h), function(2 * h) - function(-2 * h)
    return (8 * near - far) / (12 * h)


def loss(kernel, X=X):
    return np.sum(COTANGENT * kernel(X))


def tolerance(activation):
    """Of derivatives: closed forms differ by rounding, 1e-16 / 1e-3, and truncation.

    A Hermite table moves with the variances, and its interpolation error (1e-11) is
    divided by the step.
    """
    return 1e-7 if callable(activation) else 1e-9


# --- vector-Jacobian products --------------------------------------------------------


@pytest.mark.parametrize("cls, activation, depth", NETWORKS)
def test_variance_derivatives(cls, activation, depth):
    log_weight, bias, _, _ = pull_back(make(cls, activation, depth), X)
    # Sums of signed terms are as accurate as their largest, a few times the trace.
    close = tolerance(activation) * np.abs(COTANGENT).sum()
    numeric = central_difference(
        lambda t: loss(make(cls, activation, depth, weight=WEIGHT * np.exp(t)))
    )
    assert_allclose(log_weight, numeric, rtol=0, atol=close)
    numeric = central_difference(
        lambda t: loss(make(cls, activation, depth, bias=BIAS + 0.1 * t))
    )
    assert_allclose(bias, numeric / 0.1, rtol=0, atol=close)


@pytest.mark.parametrize("cls, activation, depth", NETWORKS)
def test_metric_derivatives(cls, activation, depth):
    _, _, full, _ = pull_back(make(cls, activation, depth), X)
    close = tolerance(activation) * np.abs(COTANGENT).sum()
    assert_allclose(full, full.T, atol=1e-10 * np.abs(full).max())
    for seed in range(2):
        direction = np.random.default_rng(seed).standard_normal((D, D))
        direction += direction.T

        def moved(t, direction=direction):
            return loss(make(cls, activation, depth, metric=METRIC + t * direction))

        numeric = central_difference(moved)
        assert_allclose(np.sum(full * direction), numeric, rtol=0, atol=close)


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_diagonal_metric_derivatives(cls, activation):
    start = np.array([0.3, 1.0, 2.0, 0.7])
    _, _, full, diagonal = pull_back(make(cls, activation, 3, metric=start), X)
    assert_allclose(diagonal, np.diag(full), rtol=1e-12)
    for i, unit in enumerate(np.eye(D)):

        def moved(t, unit=unit):
            return loss(make(cls, activation, 3, metric=start + t * unit))

        assert_allclose(diagonal[i], central_difference(moved), rtol=0, atol=1e-7)


@pytest.mark.parametrize("cls, activation, depth", NETWORKS)
def test_products_contract_the_gradient_tensor(cls, activation, depth):
    """Reverse and forward mode are separate code."""
    kernel = make(cls, activation, depth)
    K, tensor = kernel(X, eval_gradient=True)
    bias, readout, weight = np.einsum("ij,ijp->p", COTANGENT, tensor)
    log_weight, bias_variance, _, _ = pull_back(kernel, X)
    scale = np.abs(COTANGENT).sum() * np.abs(tensor).max()
    assert_allclose(log_weight, weight, rtol=0, atol=1e-13 * scale)
    assert_allclose(BIAS * bias_variance, bias, rtol=0, atol=1e-13 * scale)
    assert_allclose(readout, np.sum(COTANGENT * K), rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("block", [1, 5])
@pytest.mark.parametrize("cls, activation, depth", NETWORKS[::3])
def test_block_size_does_not_matter(cls, activation, depth, block, monkeypatch):
    kernel = make(cls, activation, depth)
    whole = pull_back(kernel, X)
    monkeypatch.setattr(blocks, "CPU_BLOCK", block)
    for one, other in zip(whole, pull_back(kernel, X), strict=True):
        scale = np.abs(COTANGENT).sum() + np.abs(whole[2]).max()
        assert_allclose(other, one, rtol=0, atol=1e-13 * scale)


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
@pytest.mark.parametrize("cls, activation, depth", NETWORKS[::3])
def test_array_libraries_agree(cls, activation, depth, library):
    xp = pytest.importorskip(library)
    kernel = make(cls, activation, depth)
    truth = pull_back(kernel, X)
    result = pull_back(kernel, xp.asarray(X), xp.asarray(COTANGENT))
    for one, other in zip(truth, result, strict=True):
        scale = np.abs(COTANGENT).sum() + np.abs(truth[2]).max()
        assert_allclose(np.asarray(other), one, rtol=0, atol=1e-12 * scale)


def test_only_the_lower_blocks_are_asked_for(monkeypatch):
    monkeypatch.setattr(blocks, "CPU_BLOCK", 5)
    kernel, asked = make(NTK, "erf", 2), []
    F = kernel._features(X, kernel.network())

    def cotangent(i, j):
        asked.append((i.start, j.start))
        return COTANGENT[i, j].copy()

    v = variances(F, kernel.network())
    vector_jacobian(X, F, kernel.network(), v, cotangent, np.diag(COTANGENT))
    assert sorted(asked) == [(0, 0), (5, 0), (5, 5), (10, 0), (10, 5), (10, 10)]


# --- degenerate rows -----------------------------------------------------------------


@pytest.mark.parametrize("bias", [0.0, BIAS])
@pytest.mark.parametrize("cls, activation, depth", NETWORKS)
def test_degenerate_rows_have_finite_derivatives(cls, activation, depth, bias):
    rows = X.copy()
    rows[5] = rows[4] = rows[1]
    rows[6] = -rows[1]
    rows[3] = rows[8] = 0.0
    kernel = make(cls, activation, depth, bias=bias)
    for value in pull_back(kernel, rows):
        assert np.all(np.isfinite(value))
    assert np.all(np.isfinite(kernel(rows, eval_gradient=True)[1]))


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", [*SMOOTH, "relu", "abs"])
def test_duplicate_rows_add_their_cotangents(cls, activation, depth):
    """The kernel of repeated rows is P K P', whose cotangent is P' A P."""
    copies = np.array([0, 1, 2, 3, 4, 5, 6, 7, 1, 1, 4, 7])
    P = np.eye(8)[copies]
    kernel = make(cls, activation, depth)
    repeated = pull_back(kernel, X[copies])
    unique = pull_back(kernel, X[:8], P.T @ COTANGENT @ P)
    # At correlation 1 a ReLU angle is known to sqrt(2 eps) = 2e-8, and the slope of
    # its slope, that times its own inverse, to nothing: but there it is multiplied by
    # the change of the angle, which is zero to eps.
    relative = 1e-11 if activation in SMOOTH else 1e-6
    for one, other in zip(unique, repeated, strict=True):
        scale = np.abs(COTANGENT).sum() + np.abs(unique[2]).max()
        assert_allclose(other, one, rtol=0, atol=relative * scale)


@pytest.mark.parametrize("cls, activation, depth", NETWORKS)
def test_no_rows_but_one(cls, activation, depth):
    kernel = make(cls, activation, depth)
    log_weight, bias, _, _ = pull_back(kernel, X[:1], np.ones((1, 1)))
    close = 10 * tolerance(activation)
    numeric = central_difference(
        lambda t: make(cls, activation, depth, weight=WEIGHT * np.exp(t)).diag(X[:1])[0]
    )
    assert_allclose(log_weight, numeric, rtol=close)
    numeric = central_difference(
        lambda t: make(cls, activation, depth, bias=BIAS + 0.1 * t).diag(X[:1])[0]
    )
    assert_allclose(bias, numeric / 0.1, rtol=close)


# --- the gradient tensor that scikit-learn asks for ----------------------------------


def compositions():
    relu, erf = make(NNGP, "relu", 1), make(NTK, "erf", 3, metric=None)
    return {
        "scaled": 2.0 * relu,
        "shifted": erf + 0.5,
        "sum": relu + erf,
        "product": relu * erf,
        "power": erf**2,
        "sum in a product": 2.0 * (relu + erf),
    }


def check_gradient_tensor(kernel, relative):
    K, tensor = kernel(X, eval_gradient=True)
    assert_allclose(K, kernel(X), rtol=0, atol=1e-14 * K.max())
    assert tensor.shape == (N, N, kernel.n_dims)
    for p, unit in enumerate(np.eye(kernel.n_dims)):

        def moved(t, unit=unit):
            return kernel.clone_with_theta(kernel.theta + t * unit)(X)

        numeric = central_difference(moved)
        assert_allclose(tensor[..., p], numeric, rtol=0, atol=relative * K.max())


@pytest.mark.parametrize("cls, activation, depth", NETWORKS)
def test_gradient_tensor(cls, activation, depth):
    check_gradient_tensor(make(cls, activation, depth), tolerance(activation))


@pytest.mark.parametrize("name", compositions())
def test_gradient_tensor_of_compositions(name):
    check_gradient_tensor(compositions()[name], 1e-9)


def test_gradient_tensor_holds_the_free_parameters_only():
    fixed = make(NTK, "gelu", 2).set_params(bias_variance_bounds="fixed")
    free = make(NTK, "gelu", 2)
    expected = free(X, eval_gradient=True)[1][..., 1:]
    assert_allclose(fixed(X, eval_gradient=True)[1], expected, rtol=1e-14)
    check_gradient_tensor(fixed, 1e-9)
