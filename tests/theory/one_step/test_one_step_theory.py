"""Ridge regression after one gradient step: closed forms, limits and simulations."""

from dataclasses import astuple
from math import exp, factorial, pi, sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import ndtr

from adaptive_kernels.theory.one_step.random_features import bulk_resolvent
from adaptive_kernels.theory.one_step.ridge_asymptotics import (
    direction_alignment,
    ridge_asymptotics,
)
from adaptive_kernels.theory.one_step.spike_gain import (
    gain_from_exponent,
    gain_from_step_size,
    hermite_coefficients,
    spike_exponents,
    visible_gain,
)

SHAPE = {"n_samples": 1500, "n_features": 750, "n_components": 1125}
LAM = 0.05
ALPHA = LAM * 1500 / 1125
TASK = {"target": [0, 1, 0.5], "noise": 0.09, "alpha": ALPHA, **SHAPE}


def shifted_tanh(z):
    return np.tanh(z + 0.8)


def relu(z):
    return np.maximum(z, 0.0)


SECOND = {
    "target": [0, 0.8, 0.6, 0.2],
    "noise": 0.25,
    "alpha": 0.01 * 1200 / 600,
    "activation": shifted_tanh,
    **{"n_samples": 1200, "n_features": 900, "n_components": 600},
}


def errors(**arguments):
    found = ridge_asymptotics(**arguments)
    return np.array([found.train_objective, found.train_error, found.test_error])


@pytest.mark.parametrize(
    "activation, expected",
    [
        ("relu", (0.39894228, 0.5, 0.19947114, 0, -0.0166226)),
        ("tanh", (0, 0.60570551, 0, -0.06059923, 0, 0.00570978)),
        ("sin", [exp(-0.5) * s / factorial(k) for k, s in enumerate([0, 1, 0, -1, 0])]),
    ],
)
def test_hermite_coefficients(activation, expected):
    actual = hermite_coefficients(activation, len(expected) - 1)
    assert_allclose(actual, expected, atol=1e-6)


def test_hermite_coefficients_are_a_copy():
    hermite_coefficients("relu")[:] = 0.0
    assert hermite_coefficients("relu")[1] > 0.4


def test_ranges_of_exponents_follow_one_another():
    ranges = [spike_exponents(n) for n in (1, 2, 3, 4)]
    expected = [(0, 1 / 4), (1 / 4, 1 / 3), (1 / 3, 3 / 8), (3 / 8, 2 / 5)]
    assert_allclose(ranges, expected)


def test_gain_is_the_size_of_the_shift():
    direction = direction_alignment(
        [0, 1, 0.5], noise=0.09, n_features=750, n_step_samples=1500
    )
    assert_allclose(direction.squared_cosine, 0.557103, rtol=1e-5)
    assert_allclose(direction.gradient_norm, sqrt(1.795))
    sizes = {"n_components": 1125, "gradient_norm": direction.gradient_norm}
    for exponent, expected in ((0.0, 0.019972), (0.4, 0.372274)):
        actual = gain_from_exponent(exponent, n_samples=1500, **sizes)
        assert_allclose(actual, expected, rtol=1e-4)
    negative = gain_from_step_size(3.0, activation=lambda z: -2.0 * z, **sizes)
    assert_allclose(negative, 6 * sqrt(1.795 / 1125))


def sampled_mean_shift(activation, gain, shape, rng):
    """E phi(z + s g alpha) - E phi(z) for sampled rows and neurons, by quadrature."""
    g, alpha = (rng.standard_normal(shape[k]) for k in ("n_samples", "n_components"))
    z, w = np.polynomial.hermite_e.hermegauss(80)
    shifts = np.linspace(-25, 25, 4001)
    means = activation(z + shifts[:, None]) @ w / sqrt(2 * pi)
    mean = activation(z) @ w / sqrt(2 * pi)
    return np.interp(gain * np.outer(g, alpha), shifts, means - mean)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, degree, place", [("relu", 1, 0), ("relu", 2, 1), ("tanh", 3, 1)]
)
def test_visible_gain_lifts_the_spike_to_the_edge(name, degree, place):
    shape = {"n_samples": 1000, "n_features": 500, "n_components": 750}
    gain = visible_gain(degree, **shape, activation=name)
    activation = {"relu": relu, "tanh": np.tanh}[name]
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((1000, 500)), rng.standard_normal((750, 500))
    z = X @ (W / np.linalg.norm(W, axis=1, keepdims=True)).T
    edge = np.linalg.norm(activation(z) - (name == "relu") / sqrt(2 * pi), 2)
    spikes = [
        np.linalg.svdvals(sampled_mean_shift(activation, gain, shape, rng))[place]
        for _ in range(12)
    ]
    # The edge is off by n^{-2/3}; fourth powers make large spikes scatter.
    error = 3 * np.std(spikes) / sqrt(len(spikes))
    assert_allclose(np.mean(spikes), edge, atol=error + 0.03 * edge)


@pytest.mark.parametrize(
    "activation, degree", [("relu", 3), ("tanh", 2), ("identity", 2), ("gelu", 5)]
)
def test_degrees_that_an_activation_lacks_never_show(activation, degree):
    shape = {"n_samples": 10, "n_features": 5, "n_components": 7}
    with pytest.raises(ValueError, match="its spike never appears"):
        visible_gain(degree, **shape, activation=activation)


@pytest.mark.parametrize("residual, expected", [("target", 0.456), ("full", 0.371)])
def test_alignment_of_sampled_gradients(residual, expected):
    n, d, n_components = 800, 600, 700
    direction = direction_alignment(
        [5.0, 1, 0.5], noise=0.09, n_features=d, n_step_samples=n, residual=residual
    )
    assert_allclose(direction.squared_cosine, expected, atol=6e-4)
    cosines, norms = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((n, d))
        y = X[:, 0] + 0.5 * (X[:, 0] ** 2 - 1) + 0.3 * rng.standard_normal(n)
        if residual == "full":
            W = rng.standard_normal((n_components, d))
            W /= np.linalg.norm(W, axis=1, keepdims=True)
            a = rng.standard_normal(n_components) / sqrt(n_components)
            y -= (relu(X @ W.T) - 1 / sqrt(2 * pi)) @ a
        beta = X.T @ y / n
        norms.append(np.linalg.norm(beta))
        cosines.append(beta[0] ** 2 / norms[-1] ** 2)
    for draws, theory in (
        (cosines, direction.squared_cosine),
        (norms, direction.gradient_norm),
    ):
        error = np.std(draws, ddof=1) / sqrt(len(draws))
        assert abs(np.mean(draws) - theory) < 3 * error + 0.01


@pytest.mark.parametrize(
    "n_spikes, fit_intercept, test_error, objective",
    [
        (None, True, 1.451399, 0.516759),
        (None, False, 1.451399, 0.516759),
        (1, True, 1.153630, 0.392698),
        (2, True, 0.912466, 0.315352),
        (2, False, 0.992854, 0.341134),
    ],
)
def test_strong_spikes(n_spikes, fit_intercept, test_error, objective):
    found = ridge_asymptotics(**TASK, n_spikes=n_spikes, fit_intercept=fit_intercept)
    assert_allclose(found.test_error, test_error, rtol=1e-4)
    assert_allclose(found.train_objective, objective, rtol=1e-4)
    assert_allclose(found.squared_cosine, 0.557103, rtol=1e-5)
    assert_allclose(
        found.train_error, (ALPHA * found.resolvent_trace) ** 2 * found.test_error
    )
    assert found.gain == (0.0 if n_spikes is None else None)


@pytest.mark.parametrize("fit_intercept, factor", [(True, 2), (False, 4 / 3)])
def test_gains_of_strong_spikes_in_closed_form(fit_intercept, factor):
    c1, c2, n0 = 0.9, 0.4, 1100
    task = TASK | {"target": [0, c1, c2, 0.3], "n_step_samples": n0}
    values = [
        ridge_asymptotics(**task, n_spikes=n, fit_intercept=fit_intercept)
        for n in (None, 1, 2)
    ]
    bulk = bulk_resolvent(ALPHA, **SHAPE)
    power = c1**2 + 750 / n0 * (c1**2 + 2 * c2**2 + 6 * 0.3**2 + 0.09)
    ratio = (750 / 1125) / (750 / 1500) * LAM
    objectives = np.diff([v.train_objective for v in values])
    first = ratio * c1**4 * bulk.input_trace / power
    second = factor * ratio * c1**4 * c2**2 * bulk.trace / power**2
    assert_allclose(objectives, [-first, -second], rtol=1e-12)
    rho2 = c1**2 / power
    tests = np.diff([v.test_error for v in values]) * bulk.trace**2
    first = c1**2 * rho2 * bulk.input_trace_slope
    second = factor * c2**2 * rho2**2 * bulk.trace_slope
    assert_allclose(tests, [first, second], rtol=1e-12)


def test_strong_spikes_of_another_activation():
    objectives, tests = [], []
    for n_spikes in (None, 1, 2, 3):
        free = ridge_asymptotics(**SECOND, n_spikes=n_spikes, fit_intercept=False)
        objectives.append(free.train_objective)
        tests.append(ridge_asymptotics(**SECOND, n_spikes=n_spikes).test_error)
    assert_allclose(-np.diff(objectives[:3]), (0.0596, 0.0262), atol=6e-5)
    assert_allclose(tests, (2.612, 2.438, 2.316, 2.303), atol=1e-3)


@pytest.mark.parametrize("gain, expected", [(0.019972, 1.40035), (0.372274, 0.931323)])
def test_finite_gain(gain, expected):
    found = ridge_asymptotics(**TASK, gain=gain)
    assert_allclose(found.test_error, expected, rtol=1e-3)
    assert found.gain == gain


def spike_formula(alpha, gain, fit_intercept, n, c, noise, rho, shape):
    """Q of ReLU features by the singular vectors of M, all in Hermite coordinates."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(90)
    root = np.sqrt(weights / sqrt(2 * pi))
    t = gain * np.outer(nodes, nodes)
    density = np.exp(-(t**2) / 2) / sqrt(2 * pi)
    M = t * ndtr(t) + density - 1 / sqrt(2 * pi)
    U, S, _ = np.linalg.svd(root[:, None] * M * root)
    U, S = U[:, S > 1e-13], S[S > 1e-13]
    hermite = [
        np.polynomial.hermite_e.hermeval(nodes, np.eye(61)[k]) / sqrt(factorial(k))
        for k in range(61)
    ]
    u = (np.array(hermite) * root) @ U
    bulk = bulk_resolvent(alpha, **shape)
    w = np.full(61, bulk.trace)
    w[1] = bulk.input_trace
    w[0] *= not fit_intercept
    y = np.zeros(61)
    y[: len(c)] = [sqrt(factorial(k)) * v * rho**k for k, v in enumerate(c)]
    e = shape["n_samples"] / shape["n_components"] * (1 - alpha * bulk.trace)
    b, B = u.T @ (w * y), (u.T * w) @ u
    rest = sum(factorial(k) * v**2 for k, v in enumerate(c) if k > 1) + noise
    untrained = c[1] ** 2 * bulk.input_trace + rest * bulk.trace
    learned = b @ np.linalg.solve(np.diag(1 / (S**2 * (1 - e) * n)) + B, b)
    return untrained - learned


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("gain", [0.02, 0.1, 0.4, 1.0])
@pytest.mark.parametrize("alpha", [0.02, 0.5])
def test_finite_gain_against_singular_vectors(alpha, gain, fit_intercept):
    c, noise = [0, 1.0, 0.5, 0.2], 0.3
    shape = {"n_samples": 900, "n_features": 400, "n_components": 1300}
    task = {"target": c, "noise": noise, "alpha": alpha, "n_step_samples": 500}
    found = ridge_asymptotics(**task, **shape, gain=gain, fit_intercept=fit_intercept)
    rho = sqrt(found.squared_cosine)
    rest = gain, fit_intercept, 900, c, noise, rho, shape
    Q = spike_formula(alpha, *rest)
    h = 1e-3 * alpha
    near, far = (
        spike_formula(alpha + k * h, *rest) - spike_formula(alpha - k * h, *rest)
        for k in (1, 2)
    )
    slope = (8 * near - far) / (12 * h)
    m1 = bulk_resolvent(alpha, **shape).trace
    expected = alpha * Q, -(alpha**2) * slope, -slope / m1**2
    actual = found.train_objective, found.train_error, found.test_error
    # The reference ends its expansion at degree 60, which matters at large gain.
    assert_allclose(actual, expected, rtol=1e-6 if gain < 0.5 else 1e-4)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gain_zero_is_no_step(fit_intercept):
    untrained = ridge_asymptotics(**TASK, fit_intercept=fit_intercept)
    zero = ridge_asymptotics(**TASK, gain=0, fit_intercept=fit_intercept)
    assert zero == untrained
    tiny = ridge_asymptotics(**TASK, gain=1e-7, fit_intercept=fit_intercept)
    assert_allclose(astuple(tiny)[:-1], astuple(untrained)[:-1], rtol=1e-9)
    assert ridge_asymptotics(**TASK, gain=0.01).test_error < zero.test_error


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_spikes", [1, 2, 3])
def test_spikes_of_a_polynomial_reach_the_strong_limit(n_spikes, fit_intercept):
    """There are no higher spikes at any gain, and their cost falls like 1 / n."""
    c = [0.0, 1.0, -0.6, 0.3][: n_spikes + 1]

    def polynomial(z):
        return np.polynomial.hermite_e.hermeval(z, c)

    task = SECOND | {"activation": polynomial, "fit_intercept": fit_intercept}
    gaps = []
    for n in (10**8, 10**9):
        shape = {"n_samples": n, "n_features": n // 2, "n_components": n}
        strong = errors(**task | shape, n_spikes=n_spikes)
        finite = errors(**task | shape, gain=0.5)
        gaps.append(np.max(np.abs(finite / strong - 1)))
    assert_allclose(gaps[0], 10 * gaps[1], rtol=0.05)
    assert gaps[1] < 1e-4


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_spikes, exponent", [(1, 0.125), (2, 0.3)])
def test_large_samples_reach_the_strong_limit(n_spikes, exponent, fit_intercept):
    """Spike k costs 1 / (n s^{2k}) for s = n^{exponent - 1/2}."""
    gaps = []
    for n in (10**6, 10**9, 10**12):
        shape = {"n_samples": n, "n_features": n // 2, "n_components": n}
        task = SECOND | shape | {"fit_intercept": fit_intercept}
        strong = errors(**task, n_spikes=n_spikes)
        finite = errors(**task, gain=float(n) ** (exponent - 0.5))
        gaps.append(np.max(np.abs(finite / strong - 1)))
    slow = 1e3 ** min(n_spikes * (1 - 2 * exponent) - 1, 0)
    assert gaps[2] < gaps[1] < gaps[0] < 1
    assert gaps[2] < 1.5 * slow * gaps[1] < 0.2


def test_spikes_that_the_activation_lacks_learn_nothing():
    task = TASK | {"target": [0, 1, 0.5, 0.4]}
    two, three = (errors(**task, n_spikes=n) for n in (2, 3))
    assert_allclose(three, two, rtol=1e-13)
    # tanh has odd spikes only, so that with or without intercept nothing even is fit.
    odd = task | {"activation": "tanh"}
    one, two, three = (
        [errors(**odd, n_spikes=n, fit_intercept=f) for f in (True, False)]
        for n in (1, 2, 3)
    )
    assert_allclose(two, one, rtol=1e-13)
    assert_allclose(three[0], three[1], rtol=1e-13)
    assert np.all(three[0] < 0.999 * one[0])


def test_linear_features_learn_what_is_linear():
    linear = TASK | {"activation": "identity", "gain": 0.5}
    with_quadratic = errors(**linear)
    noisy = errors(**linear | {"target": [0, 1], "noise": 0.09 + 2 * 0.5**2})
    assert_allclose(with_quadratic, noisy, rtol=1e-10)


@pytest.mark.parametrize("size", [{"gain": 0.4}, {"n_spikes": 2}, {"gain": 0.0}])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_target_without_linear_part_is_not_learned(size, fit_intercept):
    task = TASK | {"target": [0, 0, 1.0, 0.3], "fit_intercept": fit_intercept}
    assert ridge_asymptotics(**task, **size).squared_cosine == 0
    assert_allclose(errors(**task, **size), errors(**task), rtol=1e-13)


@pytest.mark.parametrize("size", [{"gain": 0.4}, {"n_spikes": 2}])
def test_rows_of_the_step_only_set_the_direction(size):
    few, same, many = (
        ridge_asymptotics(**TASK, n_step_samples=n0, **size)
        for n0 in (500, 1500, 10**12)
    )
    assert same == ridge_asymptotics(**TASK, **size)
    assert few.test_error > 1.02 * same.test_error > 1.04 * many.test_error
    assert few.resolvent_trace == many.resolvent_trace
    direction = direction_alignment(
        [0, 1, 0.5], noise=0.09, n_features=750, n_step_samples=500
    )
    assert few.squared_cosine == direction.squared_cosine
    assert_allclose(many.squared_cosine, 1, rtol=1e-8)


def test_full_residual_only_blurs_the_direction():
    plain, full = (
        ridge_asymptotics(**TASK, n_spikes=2, residual=r) for r in ("target", "full")
    )
    assert plain.squared_cosine > full.squared_cosine
    share = full.squared_cosine / 0.557103
    bulk = bulk_resolvent(ALPHA, **SHAPE)
    linear = 1 - 0.557103 * share
    rest = 0.09 + 0.5 * (1 - (0.557103 * share) ** 2)
    expected = -(linear * bulk.input_trace_slope + rest * bulk.trace_slope)
    assert_allclose(full.test_error, expected / bulk.trace**2, rtol=1e-5)


@pytest.mark.parametrize("size", [{}, {"gain": 0.3}, {"n_spikes": 2}])
def test_mean_of_the_target(size):
    moved = TASK | {"target": [7.0, 1, 0.5]}
    assert ridge_asymptotics(**moved, **size) == ridge_asymptotics(**TASK, **size)
    with pytest.raises(ValueError, match="fit_intercept=True"):
        ridge_asymptotics(**moved, **size, fit_intercept=False)


def test_trailing_zeros_and_signs_of_the_target_do_not_matter():
    expected = errors(**TASK, gain=0.3)
    for target in ([0, 1, 0.5, 0, 0], [0, -1, 0.5], [0, 1, -0.5]):
        actual = errors(**TASK | {"target": target}, gain=0.3)
        assert_allclose(actual, expected, rtol=1e-10)
    noise = TASK | {"target": [0.0], "noise": 1.0}
    assert_allclose(errors(**noise, gain=0.3), errors(**noise), rtol=1e-13)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"gain": 0.1, "n_spikes": 1}, "exclude each other"),
        ({"gain": -0.1}, "gain"),
        ({"gain": np.nan}, "gain"),
        ({"n_spikes": 0}, "n_spikes"),
        ({"alpha": 0.0}, "alpha"),
        ({"noise": -1.0}, "noise"),
        ({"n_samples": 0}, "n_samples"),
        ({"n_features": 7.5}, "n_features"),
        ({"n_components": 0}, "n_components"),
        ({"n_step_samples": 0}, "n_step_samples"),
        ({"residual": "none"}, "residual"),
        ({"activation": "abs"}, "no linear part"),
        ({"target": [[0, 1]]}, "one-dimensional"),
        ({"target": [0, np.nan]}, "NaN"),
        ({"target": []}, "target|minimum of 1"),
        ({"target": np.ones(62)}, "degree 61"),
        ({"target": [3.0, 0.0], "noise": 0.0}, "both zero"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        ridge_asymptotics(**TASK | change)
