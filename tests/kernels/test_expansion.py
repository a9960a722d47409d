"""Hermite expansions of activations, and the activations that have names."""

from math import factorial, pi

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, special, stats

from adaptive_kernels.kernels import NNGP
from adaptive_kernels.kernels._base import resolve_activation
from adaptive_kernels.kernels._expansion import expansion

FUNCTIONS = {
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "gelu": lambda z: z * stats.norm.cdf(z),
    "softplus": lambda z: np.logaddexp(0, z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "tanh": np.tanh,
    "erf": special.erf,
    "sin": np.sin,
    "rbf": lambda z: np.sqrt(2) * np.sin(z + pi / 4),
    "identity": lambda z: z + 0.0,
}
named = pytest.mark.parametrize("name", FUNCTIONS)
NEW = ["tanh", "softplus", "elu"]
# Acceptance case T1 and more, by quadrature of another program.
REFERENCE = {
    "relu": (0.39894228, 0.5, 0.19947114, 0, -0.0166226),
    "tanh": (0, 0.60570551, 0, -0.06059923, 0, 0.00570978),
    "gelu": (0.2821, 0.5, 0.2116, 0),
    "softplus": (0.8061, 0.5, 0.1033, 0),
    "elu": (0.1605, 0.7616, 0.1308, -0.0229),
}


def shifted(z):
    return np.tanh(z + 0.8)


def expectation(function, points=(0.0,)):
    """E f(z) over a standard normal by adaptive quadrature, split at kinks."""
    edges = [-13.0, *points, 13.0]
    pieces = zip(edges[:-1], edges[1:], strict=True)
    return sum(
        integrate.quad(
            lambda z: function(z) * stats.norm.pdf(z), a, b, epsabs=1e-13, limit=200
        )[0]
        for a, b in pieces
    )


def coefficient(function, k):
    return expectation(lambda z: function(z) * special.eval_hermitenorm(k, z)) / (
        factorial(k)
    )


# Coefficients


@named
def test_coefficients_are_those_of_quadrature(name):
    found = expansion(name)
    truth = [coefficient(FUNCTIONS[name], k) for k in range(8)]
    assert_allclose(found.coefficients[:8], truth, rtol=0, atol=1e-10)
    assert found.mean == found.coefficients[0]
    assert found.linear == found.coefficients[1]
    energy = expectation(lambda z: FUNCTIONS[name](z) ** 2)
    assert_allclose(found.energy, energy, rtol=1e-10)
    rest = energy - truth[0] ** 2 - truth[1] ** 2
    assert_allclose(found.nonlinear, rest, rtol=0, atol=1e-10)


@named
def test_a_function_has_the_coefficients_of_its_name(name):
    found = expansion(FUNCTIONS[name])
    assert_allclose(found.coefficients, expansion(name).coefficients, atol=1e-10)


@pytest.mark.parametrize("name", REFERENCE)
def test_reference_coefficients(name):
    truth = REFERENCE[name]
    atol = 1e-6 if name in ("relu", "tanh") else 5e-5
    assert_allclose(expansion(name).coefficients[: len(truth)], truth, atol=atol)


def test_coefficients_of_a_shifted_function():
    truth = (0.4553, 0.5003, -0.119, -0.0298)
    assert_allclose(expansion(shifted).coefficients[:4], truth, atol=5e-5)
    wave = (0.233, 0.339, -0.262, -0.127, 0.049)
    found = expansion(lambda z: np.sin(1.5 * z + 0.8)).coefficients[:5]
    assert_allclose(found, wave, atol=5e-4)


@pytest.mark.parametrize(
    "activation", ["abs", "cos", np.ones_like, np.square, lambda z: np.cos(3 * z)]
)
def test_an_activation_without_a_linear_part_is_refused(activation):
    with pytest.raises(ValueError, match="no linear part"):
        expansion(activation)


def test_small_linear_parts_are_not_refused():
    assert_allclose(expansion(lambda z: z**2 + 1e-4 * z).linear, 1e-4, rtol=1e-6)


def test_which_degrees_are_there():
    present = {
        "relu": [1, 2, 4],
        "tanh": [1, 3, 5],
        "identity": [1],
        "elu": [1, 2, 3, 4, 5],
    }
    for name, degrees in present.items():
        found = [k for k in range(1, 6) if expansion(name).has_degree(k)]
        assert found == degrees, name


@pytest.mark.parametrize("place", [0.0, 0.3, -1.7, np.pi])
def test_jumps_are_noticed(place):
    assert expansion(lambda z: np.sign(z - place)).jumps
    assert expansion(lambda z: z + 0.1 * (z > place)).jumps


@named
def test_kinks_are_no_jumps(name):
    assert not expansion(FUNCTIONS[name]).jumps
    assert not expansion(lambda z: FUNCTIONS[name](z - 0.3)).jumps


@named
def test_centred_has_mean_zero(name):
    found = expansion(name)
    z = np.linspace(-4, 4, 81).reshape(9, 9)
    before = z.copy()
    truth = FUNCTIONS[name](z) - expectation(FUNCTIONS[name])
    assert_allclose(found.centred(z), truth, rtol=0, atol=1e-10)
    assert_allclose(z, before, rtol=0)


@pytest.mark.parametrize(
    "function, mean",
    [
        (lambda z: z > 0.5, stats.norm.sf(0.5)),
        (lambda z: (z > 0).astype(int), 0.5),
        (lambda z: np.broadcast_to(z, z.shape), 0.0),
    ],
    ids=["bool", "int", "read-only"],
)
def test_centred_of_any_type_of_values(function, mean):
    z = np.linspace(-2, 2, 8)
    found = expansion(function).centred(z)
    assert_allclose(found, function(z) - mean, atol=1e-7)


# Mean at a shifted argument


def shifted_relu(t):
    return t * stats.norm.cdf(t) + stats.norm.pdf(t) - stats.norm.pdf(0)


SHIFTED = {
    "relu": shifted_relu,
    "sin": lambda t: np.sin(t) * np.exp(-0.5),
    "erf": lambda t: special.erf(t / np.sqrt(3)),
    "identity": lambda t: t,
}


# 10 is the largest shift at gain 1; a search over the gain may well try 20.
@pytest.mark.parametrize("reach", [0.3, 3.0, 10.0, 200.0])
@pytest.mark.parametrize("name", SHIFTED)
def test_shifted_mean_in_closed_form(name, reach):
    t = np.linspace(-reach, reach, 401)
    found = expansion(name).shifted_mean(reach)(t)
    # Spline of order 6 on knots 0.05 apart: h^6 f^(6) = 1e-8 f^(6), times a constant.
    assert_allclose(found, SHIFTED[name](t), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["tanh", "softplus", "elu", "gelu", "leaky_relu"])
def test_shifted_mean_against_quadrature(name):
    function, mean = FUNCTIONS[name], expectation(FUNCTIONS[name])
    t = np.array([-5.9, -2.0, -0.3, 0.0, 0.7, 6.0])
    truth = [expectation(lambda z, s=s: function(z + s), (-s,)) - mean for s in t]
    assert_allclose(expansion(name).shifted_mean(6.0)(t), truth, rtol=0, atol=1e-8)


def test_shifted_mean_has_the_coefficients_as_slopes():
    # d^k/dt^k E phi(z + t) = k! c_k at t = 0.
    mean = expansion(shifted).shifted_mean(1.0)
    for k in (1, 2):
        slope = float(mean.derivative(k)(0.0))
        assert_allclose(slope, factorial(k) * coefficient(shifted, k), atol=1e-5)


# Activations with a name


@pytest.mark.parametrize("name", NEW)
def test_values(name):
    z = np.concatenate([np.linspace(-30, 30, 121), [-800.0, 800.0, 0.0]])
    with np.errstate(over="raise", invalid="raise"):
        found = resolve_activation(name)(z)
    assert_allclose(found, FUNCTIONS[name](z), rtol=1e-13, atol=1e-16)


@named
def test_derivatives_are_those_of_differences(name):
    z = np.linspace(-5.03, 5.07, 60)
    step = 1e-5
    truth = (FUNCTIONS[name](z + step) - FUNCTIONS[name](z - step)) / (2 * step)
    found = resolve_activation(name).derivative(z)
    # h^2 / 6 and rounding, 1e-16 * 5 / h.
    assert_allclose(found, truth, rtol=0, atol=3e-10)


def test_derivative_of_a_function():
    z = np.linspace(-3, 3, 31)
    found = resolve_activation(shifted).derivative(z)
    assert_allclose(found, 1 / np.cosh(z + 0.8) ** 2, atol=1e-8)


@named
def test_values_and_derivatives_in_single_precision(name):
    z = np.linspace(-4, 4, 41)
    activation, single = resolve_activation(name), z.astype(np.float32)
    for function in (activation, activation.derivative):
        found = function(single)
        assert found.dtype == np.float32
        assert_allclose(found, function(single.astype(float)), rtol=0, atol=2e-6)


@named
def test_values_and_derivatives_of_array_libraries(name):
    xp = pytest.importorskip("array_api_strict")
    activation = resolve_activation(name)
    z = np.linspace(-4, 4, 41)
    for function in (activation, activation.derivative):
        found = function(xp.asarray(z))
        assert type(found) is type(xp.asarray(z))
        assert_allclose(np.asarray(found), function(z), rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", NEW)
def test_kernel_of_a_name_is_that_of_the_function(name):
    X = np.random.default_rng(0).standard_normal((12, 3))
    found = NNGP(name, depth=2)(X)
    assert_allclose(found, NNGP(FUNCTIONS[name], depth=2)(X), rtol=1e-9)


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("correlation", [-0.9, 0.2, 0.7])
def test_dual_against_quadrature(name, correlation):
    """E[phi(u) phi(v)] of a pair of variances 1.3 and 0.4."""
    function, (q1, q2) = FUNCTIONS[name], (1.3, 0.4)
    # Panels meet at the kink of phi(u); that of phi(v) is of second order at most.
    x, w = np.polynomial.legendre.leggauss(60)
    edges = np.linspace(-9, 9, 13)
    half = np.diff(edges)[:, None] / 2
    z = (edges[:-1, None] + half * (1 + x)).ravel()
    weight = (half * w).ravel() * stats.norm.pdf(z)
    u = np.sqrt(q1) * z[:, None]
    v = np.sqrt(q2) * (correlation * z[:, None] + np.sqrt(1 - correlation**2) * z)
    truth = weight @ (function(u) * function(v)) @ weight
    kernel = NNGP(name, weight_variance=2.0, bias_variance=0.0)
    rows = np.array([[1.0, 0.0], [correlation, np.sqrt(1 - correlation**2)]])
    K = kernel(rows * np.sqrt([[q1], [q2]]))
    assert_allclose(K[0, 1], truth, rtol=1e-5)


def test_unknown_name():
    with pytest.raises(ValueError, match="softplus"):
        expansion("swish")
