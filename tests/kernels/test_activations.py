"""Dual activations against quadrature, finite differences and finite networks.

The functions and their slopes are written out here, to share nothing with the package.
"""

from functools import cache

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss
from numpy.testing import assert_allclose
from scipy import special, stats

from adaptive_kernels.kernels import GELU, NNGP, NTK, Erf, PiecewiseLinear, Sine
from adaptive_kernels.kernels._activations import ACTIVATIONS
from adaptive_kernels.kernels._base import resolve_activation
from adaptive_kernels.kernels._hermite import HermiteActivation, breakpoints

PHI = {
    "erf": (special.erf, lambda z: 2 / np.sqrt(np.pi) * np.exp(-z * z)),
    "relu": (lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0)),
    "leaky_relu": (
        lambda z: np.maximum(z, 0.01 * z),
        lambda z: np.where(z > 0, 1.0, 0.01),
    ),
    "abs": (np.abs, np.sign),
    "gelu": (
        lambda z: z * stats.norm.cdf(z),
        lambda z: stats.norm.cdf(z) + z * stats.norm.pdf(z),
    ),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda z: -np.sin(z)),
    "rbf": (
        lambda z: np.sqrt(2) * np.sin(z + np.pi / 4),
        lambda z: np.sqrt(2) * np.cos(z + np.pi / 4),
    ),
    "identity": (lambda z: z, np.ones_like),
}
TANH = (np.tanh, lambda z: 1 / np.cosh(z) ** 2)

# (activation, phi, phi'): every name, and parameters that no name has.
CASES = {name: (ACTIVATIONS[name], *PHI[name]) for name in PHI} | {
    "PiecewiseLinear": (
        PiecewiseLinear(-0.3, 1.7),
        lambda z: np.where(z > 0, 1.7, -0.3) * z,
        lambda z: np.where(z > 0, 1.7, -0.3),
    ),
    "Sine": (
        Sine(1.3, 0.7, 0.4),
        lambda z: 1.3 * np.sin(0.7 * z + 0.4),
        lambda z: 1.3 * 0.7 * np.cos(0.7 * z + 0.4),
    ),
    "tanh": (HermiteActivation(np.tanh).for_variances(np.array([0.2, 3.0])), *TANH),
    "np.cos": (
        HermiteActivation(np.cos).for_variances(np.array([0.2, 3.0])),
        *PHI["cos"],
    ),
}
VARIANCES = np.array([0.3, 1.0, 2.5])
CORRELATIONS = np.array([-0.9, -0.4, 0.0, 0.3, 0.8])
Q1, Q2, RHO = (grid.ravel() for grid in np.meshgrid(VARIANCES, VARIANCES, CORRELATIONS))
K = RHO * np.sqrt(Q1 * Q2)
GAIN = 1.7


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def panels(edges, order):
    """Gauss-Legendre nodes and weights on each interval between the edges."""
    x, w = leggauss(order)
    left, half = np.array(edges[:-1])[:, None], np.diff(edges)[:, None] / 2
    return (left + half * (x + 1)).ravel(), (half * w).ravel()


def expectation(f, g, k, q1, q2):
    """E f(u) g(v) in polar coordinates: exact also where f and g are kinked at 0.

    u = sqrt(q1) r cos(t) and v = sqrt(q2) r cos(t - w) have correlation cos(w).
    """
    w = np.arccos(np.clip(k / np.sqrt(q1 * q2), -1, 1))
    t, t_weight = panels(np.pi * np.array([-0.5, w / np.pi - 0.5, 0.5]), 40)
    t, t_weight = np.append(t, t + np.pi), np.append(t_weight, t_weight)
    r, r_weight = panels(np.linspace(0, 12, 9), 16)
    u = np.sqrt(q1) * r[:, None] * np.cos(t)
    v = np.sqrt(q2) * r[:, None] * np.cos(t - w)
    return (r_weight * r * np.exp(-r * r / 2)) @ (f(u) * g(v)) @ t_weight / (2 * np.pi)


expectations = np.vectorize(expectation, excluded=(0, 1))


def central_difference(function, x, h=5e-4):
    """Fourth-order derivative: truncation h^4 / 30 = 2e-15, rounding 1e-16 / h = 2e-13.

    Both times the size of what they multiply: a fifth derivative, and the function.
    """
    near, far = function(x + h) - function(x - h), function(x + 2 * h)
    return (8 * near - (far - function(x - 2 * h))) / (12 * h)


def test_every_name_has_an_independent_truth():
    assert set(ACTIVATIONS) == set(PHI)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"tanh", "np.cos"}))
def test_activation_is_its_function(name):
    activation, phi, _ = CASES[name]
    z = np.linspace(-3, 3, 13)
    assert_allclose(activation(z), phi(z), rtol=1e-14, atol=1e-15)


def test_dual_is_the_gaussian_expectation(case):
    activation, phi, slope = case
    s, d = activation.dual(K, Q1, Q2, GAIN)
    # The quadrature is exact to rounding. A Hermite series of degree 60 leaves
    # 0.9^60 = 2e-3 times a few a_k^2, k > 60, and k times that in D: for tanh, whose
    # a_k fall like exp(-pi sqrt(k / 2 q)), 1e-9 and 1e-7 at variance 2.5.
    s_bound, d_bound = (1e-8, 1e-7) if phi is np.tanh else (1e-12, 1e-12)
    truth_s = GAIN * expectations(phi, phi, K, Q1, Q2)
    truth_d = GAIN * expectations(slope, slope, K, Q1, Q2)
    assert_allclose(s, truth_s, rtol=0, atol=s_bound)
    assert_allclose(d, truth_d, rtol=0, atol=d_bound)


def test_dual_without_derivative(case):
    activation = case[0]
    s, d = activation.dual(K, Q1, Q2, GAIN, derivative=False)
    assert_allclose(s, activation.dual(K, Q1, Q2, GAIN)[0], rtol=1e-15)
    assert d is None or np.all(d == activation.dual(K, Q1, Q2, GAIN)[1])


@pytest.mark.parametrize("order", ["first", "second"])
def test_partials_are_finite_differences(case, order):
    activation = case[0]
    which = {"first": 0, "second": 1}[order]
    partials = getattr(activation, f"{order}_partials")(K, Q1, Q2, GAIN)
    at = [K, Q1, Q2]
    for i, partial in enumerate(partials):

        def moved(x, i=i):
            return activation.dual(*(at[:i] + [x] + at[i + 1 :]), GAIN)[which]

        # Near |rho| = 0.9 the fifth derivatives of ReLU slopes reach 1e7.
        assert_allclose(partial, central_difference(moved, at[i]), rtol=1e-7, atol=1e-9)


def test_diagonal_is_the_gaussian_expectation(case):
    activation, phi, slope = case
    moments = activation.diagonal(VARIANCES, GAIN)
    args = VARIANCES, VARIANCES, VARIANCES
    # Also for tanh: the diagonal comes from quadrature, not from the series.
    assert_allclose(moments.s, GAIN * expectations(phi, phi, *args), rtol=1e-11)
    assert_allclose(moments.d, GAIN * expectations(slope, slope, *args), rtol=1e-11)


def test_diagonal_slopes_are_finite_differences(case):
    activation = case[0]
    moments = activation.diagonal(VARIANCES, GAIN)
    for name, slope in (("s", moments.ds_dq), ("d", moments.dd_dq)):
        numeric = central_difference(
            lambda q, name=name: getattr(activation.diagonal(q, GAIN), name), VARIANCES
        )
        assert_allclose(slope, numeric, rtol=1e-8, atol=1e-9)


def test_zero_variance(case):
    activation, phi, _ = case
    zero, q = np.zeros(3), VARIANCES
    at_zero = phi(np.zeros(1))[0]
    s, d = activation.dual(zero, zero, q)
    # The constant phi(0) against phi(v); TINY = 1e-300 stands for a zero variance.
    mean = expectations(phi, np.ones_like, zero, q, q)
    assert_allclose(s, at_zero * mean, rtol=1e-12, atol=1e-30)
    assert np.all(np.isfinite(d))
    assert_allclose(activation.diagonal(zero).s, at_zero**2, rtol=1e-14, atol=1e-140)
    for partials in (activation.first_partials, activation.second_partials):
        assert np.all(np.isfinite(partials(zero, zero, q)))


# The closed forms on the diagonal, k = q1 = q2 = q, without differences of large terms.
def erf_diagonal(q):
    root = np.sqrt(1 + 4 * q)
    return 2 / np.pi * np.arctan2(2 * q, root), 4 / np.pi / root


def gelu_diagonal(q):
    root = np.sqrt(1 + 2 * q)
    angle = np.arctan2(q, root)
    s = q / 4 + (2 * q * (q / (1 + q)) / root + q * angle) / (2 * np.pi)
    rest = 1 / (1 + 2 * q) + 2 / (1 + q)
    return s, 1 / 4 + (angle + q / root * rest) / (2 * np.pi)


@pytest.mark.parametrize("q", [1e-300, 1e-20, 1.0, 1e5, 1e8, 1e12, 1e17, 1e100])
@pytest.mark.parametrize(
    "activation, exact", [(Erf(), erf_diagonal), (GELU(), gelu_diagonal)]
)
def test_diagonal_at_extreme_variances(activation, exact, q):
    moments = activation.diagonal(np.array([q]))
    # A determinant without cancellation costs a few roundings.
    assert_allclose((moments.s[0], moments.d[0]), exact(q), rtol=1e-12)
    assert np.isfinite(moments.ds_dq[0]) and np.isfinite(moments.dd_dq[0])


def test_resolve_activation():
    assert resolve_activation("erf") == Erf()
    assert resolve_activation(GELU()) == GELU()
    assert resolve_activation(np.tanh) == HermiteActivation(np.tanh)
    with pytest.raises(ValueError, match="activation must be one of 'erf'"):
        resolve_activation("nope")


# --- Hermite route -------------------------------------------------------------------


@pytest.mark.parametrize(
    "phi, s, d",
    [
        (lambda z: z**2, 2 * K**2 + Q1 * Q2, 4 * K),
        (
            lambda z: z**3,
            6 * K**3 + 9 * K * Q1 * Q2,
            9 * (2 * K**2 + Q1 * Q2),
        ),
    ],
    ids=["square", "cube"],
)
def test_hermite_is_exact_for_polynomials(phi, s, d):
    """By Isserlis' theorem."""
    dual = HermiteActivation(phi).for_variances(Q1, Q2)
    for value, truth in zip(dual.dual(K, Q1, Q2), (s, d), strict=True):
        assert_allclose(value, truth, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize(
    "name, tolerance",
    # Degree 60 on generic rows, |rho| < 0.9: smooth functions converge geometrically,
    # ReLU like 60^(-5/2) 0.9^60 (measured before this package: 8e-8 and 3e-6).
    [("erf", 1e-9), ("gelu", 1e-9), ("sin", 1e-9), ("relu", 1e-5)],
)
def test_hermite_agrees_with_closed_form(cls, name, tolerance):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((25, 20))
    settings = dict(depth=2, weight_variance=1.7, bias_variance=0.2)
    exact = cls(name, **settings)(X)
    hermite = cls(PHI[name][0], **settings)(X)
    assert_allclose(hermite, exact, rtol=0, atol=tolerance * exact.max())
    assert_allclose(np.diag(hermite), np.diag(exact), rtol=1e-10)


@pytest.mark.parametrize("q", [1.0, 30.0, 1e3, 1e5])
def test_hermite_diagonal_of_a_steep_function(q):
    """At large variances tanh is a step, and its slope a spike, for the quadrature."""
    u, weight = panels([0, 1, 2, 4, 8, 16, *np.linspace(17, 17 + 10 * q**0.5, 50)], 30)
    weight = 2 * weight * stats.norm.pdf(u / q**0.5) / q**0.5
    truth = [weight @ np.tanh(u) ** 2, weight @ TANH[1](np.minimum(u, 300)) ** 2]
    dual = HermiteActivation(np.tanh).for_variances(np.array([q]))
    moments = dual.diagonal(np.array([q]))
    assert_allclose((moments.s[0], moments.d[0]), truth, rtol=1e-6)


def hard_tanh(z):
    return np.clip(z, -1, 1)


def offset_relu(z):
    return np.maximum(z - 0.5, 0)


KINKED = {
    "hard_tanh": (hard_tanh, [-1.0, 1.0], [(1, -1.0), (-1, 1.0)], -1.0),
    "offset_relu": (offset_relu, [0.5], [(1, 0.5)], 0.0),
}


@pytest.mark.parametrize("name", KINKED)
@pytest.mark.parametrize("reach", [3.0, 12.0, 47.3])
def test_breakpoints_hold_the_kinks(name, reach):
    function, kinks, _, _ = KINKED[name]
    found = breakpoints(function, reach)
    # A kink misplaced by e costs the dual e^2; 0 is always among the points.
    distance = np.abs(found[:, None] - np.array([*kinks, 0.0]))
    assert distance.min(axis=0).max() < 1e-6 * reach, "a kink was missed"


@pytest.mark.parametrize(
    "rough",
    [lambda z: np.sin(1e7 * z), lambda z: np.floor(1e5 * z), lambda z: (1e9 * z) % 1],
    ids=["fast", "stairs", "noise"],
)
def test_rough_functions_are_refused(rough):
    with pytest.raises(ValueError, match="activation is too rough"):
        breakpoints(rough, 12.0)


def expected_ramps(mean, sd, ramps, constant):
    """E of constant + sum of c max(v - a, 0), and of its slope, for Gaussian v."""
    value, slope = constant + 0 * mean, 0 * mean
    for c, a in ramps:
        z = (mean - a) / sd
        value = value + c * ((mean - a) * special.ndtr(z) + sd * stats.norm.pdf(z))
        slope = slope + c * special.ndtr(z)
    return value, slope


def conditional_quadrature(function, kinks, ramps, constant, k, q1, q2):
    """S and D: v given u in closed form, then quadrature between the kinks in u."""
    root = np.sqrt(q1)
    edges = np.union1d(np.linspace(-12, 12, 49), np.array(kinks) / root)
    z, weight = panels(edges, 20)
    u, weight = root * z, weight * stats.norm.pdf(z)
    value, slope = expected_ramps(k / q1 * u, np.sqrt(q2 - k**2 / q1), ramps, constant)
    below, above = function(u - 1e-7), function(u + 1e-7)
    own_slope = np.round((above - below) / 2e-7)  # piecewise linear, slopes 0 and 1
    return weight @ (function(u) * value), weight @ (own_slope * slope)


@pytest.mark.parametrize("name", KINKED)
def test_hermite_of_kinked_functions(name):
    q1, q2 = (q.ravel() for q in np.meshgrid(VARIANCES, VARIANCES))
    k = 0.6 * np.sqrt(q1 * q2)
    dual = HermiteActivation(KINKED[name][0]).for_variances(q1, q2)
    pairs = np.stack([k, q1, q2], axis=1)
    truth = [conditional_quadrature(*KINKED[name], *pair) for pair in pairs]
    # 0.6^60 = 5e-14; a missed kink would cost the coefficients 1e-3 or more.
    assert_allclose(np.transpose(dual.dual(k, q1, q2)), truth, rtol=1e-10)


# --- finite networks -----------------------------------------------------------------

WIDTH, NETS = 2048, 24
SETTINGS = dict(weight_variance=1.7, bias_variance=0.2, readout_variance=0.8)
NETWORK_PHI = {name: PHI[name] for name in ("erf", "relu", "gelu", "rbf")}
NETWORK_PHI["tanh"] = TANH


def sampled_kernels(X, depth, rng):
    """NNGP and NTK of one random network per activation: {name: (2, n, n)}.

    f = sqrt(readout / width) a.phi(h_L), h_1 = sqrt(w / d) W x + sqrt(b) b_1 and so on;
    the NTK is the Jacobian of f by all parameters times its transpose, layer by layer.
    """
    w, b, readout = SETTINGS.values()
    n, d = X.shape

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    hidden = [normal(WIDTH, WIDTH) * (w / WIDTH) ** 0.5 for _ in range(depth - 1)]
    biases = [normal(WIDTH, 1) * b**0.5 for _ in range(depth)]
    first = (w / d) ** 0.5 * normal(WIDTH, d) @ X.T.astype(np.float32)
    output = normal(WIDTH, 1) * (readout / WIDTH) ** 0.5
    kernels = {}
    for name, (phi, slope) in NETWORK_PHI.items():
        h, layers = first + biases[0], []
        for weights, bias in zip([*hidden, None], [*biases[1:], None], strict=True):
            layers.append((phi(h).astype(np.float32), slope(h).astype(np.float32)))
            h = None if weights is None else weights @ layers[-1][0] + bias
        nngp = readout / WIDTH * layers[-1][0].T @ layers[-1][0]
        ntk, delta = nngp, output
        inputs = [w / d * X @ X.T] + [w / WIDTH * a.T @ a for a, _ in layers[:-1]]
        for layer in reversed(range(depth)):
            delta = delta * layers[layer][1]
            ntk = ntk + (inputs[layer] + b) * (delta.T @ delta)
            delta = hidden[layer - 1].T @ delta if layer else None
        kernels[name] = np.stack([nngp, ntk])
    return kernels


@cache
def network_sample(depth):
    rng = np.random.default_rng(depth)
    X = rng.standard_normal((6, 4))
    X[1] = 0.9 * X[0] + 0.1 * X[1]
    nets = [sampled_kernels(X, depth, rng) for _ in range(NETS)]
    return X, {name: np.stack([net[name] for net in nets]) for name in NETWORK_PHI}


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize("name", NETWORK_PHI)
def test_kernel_is_the_mean_of_finite_networks(cls, name, depth):
    X, samples = network_sample(depth)
    activation = np.tanh if name == "tanh" else name
    K = cls(activation, depth=depth, **SETTINGS)(X)
    sample = samples[name][:, int(cls is NTK)]
    error = np.linalg.norm(sample.mean(axis=0) - K)
    standard_error = np.linalg.norm(sample.std(axis=0, ddof=1)) / NETS**0.5
    # One hidden layer is unbiased at any width; each further one costs O(1 / width).
    bias = 2 * (depth - 1) / WIDTH * np.linalg.norm(K)
    assert error < 3 * standard_error + bias
    # Acceptance bounds of the specification, and what makes the first line sharp.
    assert error < (0.05 if cls is NTK else 0.03) * np.linalg.norm(K)
    assert standard_error < 0.02 * np.linalg.norm(K)
