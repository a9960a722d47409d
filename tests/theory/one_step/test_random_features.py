"""Random features in the proportional limit: equations, limits and sampled features."""

from math import pi, sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adaptive_kernels.kernels._expansion import expansion
from adaptive_kernels.theory.one_step.random_features import bulk_edge, bulk_resolvent


def shifted_tanh(z):
    return np.tanh(z + 0.8)


def sizes(n, d, n_components):
    return {"n_samples": n, "n_features": d, "n_components": n_components}


def sampled_features(rng, n, d, n_components, function):
    """Inputs, and features whose mean over standard normal inputs is removed."""
    z, weights = np.polynomial.hermite_e.hermegauss(100)
    X = rng.standard_normal((n, d))
    W = rng.standard_normal((n_components, d))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    mean = weights @ function(z) / sqrt(2 * pi)
    return X, (function(X @ W.T) - mean) / sqrt(n_components)


def relu(z):
    return np.maximum(z, 0.0)


FUNCTIONS = {"relu": relu, "tanh": np.tanh, "identity": lambda z: z}
SHAPES = [
    sizes(1500, 750, 1125),
    sizes(1000, 1500, 700),
    sizes(300, 900, 1200),
    sizes(500, 500, 500),
]
GRID = [
    (alpha, shape, activation)
    for alpha in (1e-6, 0.05, 1.0, 300.0)
    for shape in SHAPES
    for activation in FUNCTIONS
]


@pytest.mark.parametrize(
    "lam, shape, traces, slopes",
    [
        (0.05, SHAPES[0], (7.476359, 3.340338), (-86.8665, -29.8761)),
        (0.5, SHAPES[0], (1.168703, 0.827536), (-1.49689, -0.828475)),
        (0.1, SHAPES[1], (3.953688, 3.164767), (-21.7076, -15.9420)),
    ],
)
def test_reference_numbers(lam, shape, traces, slopes):
    alpha = lam * shape["n_samples"] / shape["n_components"]
    bulk = bulk_resolvent(alpha, **shape)
    assert_allclose((bulk.trace, bulk.input_trace), traces, rtol=1e-5)
    assert_allclose((bulk.trace_slope, bulk.input_trace_slope), slopes, rtol=1e-4)


@pytest.mark.parametrize("alpha, shape, activation", GRID)
def test_published_equations(alpha, shape, activation):
    """The fixed point in the two traces, without the scalar that we solve for."""
    bulk = bulk_resolvent(alpha, **shape, activation=activation)
    found = expansion(activation)
    m1, m2, linear = bulk.trace, bulk.input_trace, found.linear**2
    phi = shape["n_features"] / shape["n_samples"]
    psi = shape["n_features"] / shape["n_components"]
    shared = linear * m1 * m2 * (alpha * m1 - 1)
    first = phi * (m1 - m2) * (found.nonlinear * m1 + linear * m2) + shared
    second = phi / psi * (linear * m1 * m2 + phi * (m2 - m1)) + shared
    # Rounding of the largest terms.
    size = m1 * m2 * (1 + alpha * m1 + m1 / m2) * max(1.0, phi / psi, phi)
    assert abs(first) < 1e-12 * max(size, m1**2)
    assert abs(second) < 1e-12 * max(size, phi**2 / psi * m1)


@pytest.mark.parametrize("alpha, shape, activation", GRID)
def test_inflation_is_that_of_the_neurons_resolvent(alpha, shape, activation):
    """tr (F'F/N + alpha)^{-1} has the eigenvalues of tr (FF'/N + alpha)^{-1}."""
    bulk = bulk_resolvent(alpha, **shape, activation=activation)
    ratio = shape["n_samples"] / shape["n_components"]
    companion = 1 - ratio * (1 - alpha * bulk.trace)
    # For few neurons the difference of order one cancels down to 1 / inflation.
    assert_allclose(companion, 1 / bulk.inflation, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("alpha", [1e-4, 0.05, 3.0])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", FUNCTIONS)
def test_slopes_are_derivatives(alpha, shape, activation):
    h = 1e-3
    names = ("trace", "input_trace", "inflation")

    def traces(step):
        moved = bulk_resolvent(alpha * np.exp(step), **shape, activation=activation)
        return np.array([getattr(moved, name) for name in names])

    # Stencil in log alpha: error h^4 / 30 times a fifth derivative, rounding / h.
    near, far = (traces(k * h) - traces(-k * h) for k in (1, 2))
    expected = (8 * near - far) / (12 * h * alpha)
    bulk = bulk_resolvent(alpha, **shape, activation=activation)
    actual = [getattr(bulk, name + "_slope") for name in names]
    value = np.array([getattr(bulk, name) for name in names])
    assert_allclose(actual, expected, rtol=1e-9, atol=1e-12 * value.max() / alpha)


def test_slopes_stay_accurate_for_a_small_penalty():
    # More neurons than rows: finite, analytic traces at alpha = 0.
    shape = sizes(500, 400, 2000)
    slopes = [bulk_resolvent(a, **shape).trace_slope for a in (1e-12, 1e-7)]
    assert_allclose(*slopes, rtol=1e-4)


def marchenko_pastur_trace(ratio, alpha):
    """tr (Z Z' / N + alpha)^{-1} / n for n = ratio * N rows of white noise."""
    b = 1 - ratio + alpha
    return (-b + sqrt(b**2 + 4 * alpha * ratio)) / (2 * ratio * alpha)


def test_high_dimension_is_white_noise():
    alpha, scale = 0.3, 0.5 - 1 / (2 * pi)
    bulk = bulk_resolvent(alpha, **sizes(300, 3 * 10**9, 400))
    expected = marchenko_pastur_trace(300 / 400, alpha / scale) / scale
    # The rest is of order n / d.
    assert_allclose(bulk.trace, expected, rtol=1e-6)
    assert_allclose(bulk.input_trace, expected, rtol=1e-6)
    edge = bulk_edge(**sizes(300, 3 * 10**9, 400))
    assert_allclose(edge, sqrt(scale) * (1 + sqrt(300 / 400)), rtol=1e-3)


def test_many_neurons_are_a_kernel():
    alpha, cgt = 0.3, 0.25 - 1 / (2 * pi)
    shape = sizes(300, 200, 3 * 10**9)
    bulk = bulk_resolvent(alpha, **shape)
    assert_allclose(bulk.inflation, 1, rtol=1e-6)
    # X X' / d is white noise with d columns, times c_1^2 = 1/4.
    expected = 4 * marchenko_pastur_trace(300 / 200, 4 * (alpha + cgt))
    assert_allclose(bulk.trace, expected, rtol=1e-6)
    share = 4 * (1 - (alpha + cgt) * expected)
    assert_allclose(bulk.input_trace, share, rtol=1e-6)
    top = sqrt(0.25 * (1 + sqrt(300 / 200)) ** 2 + cgt)
    assert_allclose(bulk_edge(**shape), top, rtol=1e-3)


def test_edge_of_a_product_of_square_gaussians():
    shape = sizes(500, 500, 500)
    assert_allclose(bulk_edge(**shape, activation="identity"), sqrt(27 / 4))


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("shape", [(1000, 300, 200), (70, 900, 400)])
def test_edge_is_symmetric_in_rows_and_neurons(shape, activation):
    """As the Gaussian equivalent c_1 X W' + sqrt(cgt) Z is."""
    n, d, n_components = shape
    one = bulk_edge(**sizes(n, d, n_components), activation=activation)
    other = bulk_edge(**sizes(n_components, d, n), activation=activation)
    assert_allclose(one * sqrt(n_components), other * sqrt(n), rtol=1e-9)


def sampled_traces(rng, alpha, n, d, n_components, function):
    X, F = sampled_features(rng, n, d, n_components, function)
    inverse = np.linalg.inv(F @ F.T + alpha * np.eye(n))
    projected = inverse @ X
    return (
        np.trace(inverse) / n,
        np.sum(X * projected) / (n * d),
        -np.sum(inverse**2) / n,
        -np.sum(projected**2) / (n * d),
    )


SAMPLED = [
    (0.2, sizes(500, 300, 400), "relu", relu),
    (0.05, sizes(350, 500, 600), shifted_tanh, shifted_tanh),
    (0.2, sizes(500, 300, 200), "identity", FUNCTIONS["identity"]),
]


@pytest.mark.parametrize("alpha, shape, activation, function", SAMPLED)
def test_sampled_traces(alpha, shape, activation, function):
    rng = np.random.default_rng(0)
    draws = [sampled_traces(rng, alpha, *shape.values(), function) for _ in range(2)]
    bulk = bulk_resolvent(alpha, **shape, activation=activation)
    theory = (
        bulk.trace,
        bulk.input_trace,
        bulk.trace_slope,
        bulk.input_trace_slope,
    )
    # Corrections are of order 1 / n, amplified in the slopes.
    assert_allclose(np.mean(draws, axis=0), theory, rtol=0.025)


@pytest.mark.slow
def test_sampled_traces_of_many_rows():
    rng = np.random.default_rng(0)
    shape = sizes(1500, 900, 1200)
    for lam in (0.3, 0.02):
        alpha = lam * 1500 / 1200
        draw = sampled_traces(rng, alpha, *shape.values(), relu)
        bulk = bulk_resolvent(alpha, **shape)
        theory = bulk.trace, bulk.input_trace, bulk.trace_slope, bulk.input_trace_slope
        assert_allclose(draw, theory, rtol=0.01)


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize(
    "shape", [(400, 800, 600), (800, 400, 500), (500, 800, 300), (300, 400, 900)]
)
def test_sampled_edge(shape, activation):
    rng = np.random.default_rng(0)
    tops = []
    for _ in range(3):
        F = sampled_features(rng, *shape, FUNCTIONS[activation])[1]
        tops.append(np.linalg.norm(F, 2))
    edge = bulk_edge(**sizes(*shape), activation=activation)
    # Scatter and bias are of relative order n^{-2/3}.
    assert_allclose(np.mean(tops), edge, rtol=1.5 * min(shape) ** (-2 / 3))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": np.inf}, "alpha"),
        ({"n_samples": 0}, "n_samples"),
        ({"n_features": 2.5}, "n_features"),
        ({"n_components": -1}, "n_components"),
        ({"activation": "unknown"}, "activation"),
        ({"activation": "abs"}, "no linear part"),
    ],
)
def test_bad_arguments(change, message):
    given = {"alpha": 0.1, **sizes(10, 5, 8)} | change
    with pytest.raises(ValueError, match=message):
        bulk_resolvent(**given)
    if "alpha" not in change:
        del given["alpha"]
        with pytest.raises(ValueError, match=message):
            bulk_edge(**given)
