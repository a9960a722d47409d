"""The gradient of the first layer against differences, loops and its wide limit."""

from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, stats

from adaptive_kernels.datasets import make_single_index
from adaptive_kernels.kernels._expansion import expansion
from adaptive_kernels.theory.one_step.gradient_step import (
    FirstGradient,
    first_gradient,
    monomials,
)

ACTIVATIONS = {
    "softplus": lambda z: np.logaddexp(0, z),
    "tanh": np.tanh,
    "gelu": lambda z: z * stats.norm.cdf(z),
}


class Problem:
    """A small network on a few rows, with brute-force losses."""

    def __init__(self, activation="softplus", n=20, d=5, N=7, q=1, seed=0):
        rng = np.random.default_rng(seed)
        self.function, self.expansion = ACTIVATIONS[activation], expansion(activation)
        self.X, self.Y = rng.standard_normal((n, d)), rng.standard_normal((n, q))
        self.W = rng.standard_normal((N, d))
        self.W /= np.linalg.norm(self.W, axis=1, keepdims=True)
        self.A = rng.standard_normal((N, q)) / np.sqrt(N)
        self.counts = rng.integers(0, 4, n)
        self.shares = (self.counts / self.counts.sum())[:, None]
        self.mean = integrate.quad(
            lambda z: self.function(z) * stats.norm.pdf(z), -12, 12, epsabs=1e-13
        )[0]

    def gradient(self, full=True, exact=True, *, moments=False, size=6, **changed):
        given = {**vars(self), **changed}
        X, Y, shares = given["X"], given["Y"], given["shares"]
        cuts = [slice(i, i + size) for i in range(0, len(X), size)]
        return first_gradient(
            [(X[rows], Y[rows], shares[rows]) for rows in cuts],
            given["W"],
            given["A"],
            self.expansion,
            full_residual=full,
            exact=exact,
            moments=moments,
        )

    def output(self, W):
        return (self.function(self.X @ W.T) - self.mean) @ self.A

    def loss(self, W, full):
        """Squared loss, or minus the correlation with the targets."""
        f = self.output(W)
        if full:
            return np.sum(self.shares * (self.Y - f) ** 2) / 2
        return -np.sum(self.shares * self.Y * f)

    def differences(self, full, h=1e-5):
        slope = np.empty_like(self.W)
        for j in np.ndindex(*self.W.shape):
            shift = np.zeros_like(self.W)
            shift[j] = h
            up, down = (self.loss(self.W + s * shift, full) for s in (1, -1))
            slope[j] = -(up - down) / (2 * h)
        return slope

    def direction(self, full):
        """sum_i p_i x_i r_i' by loops."""
        R = self.Y - self.output(self.W) if full else self.Y
        rows = zip(self.shares[:, 0], self.X, R, strict=True)
        return sum(p * np.outer(x, r) for p, x, r in rows)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_by_central_differences(activation, full, outputs):
    problem = Problem(activation, q=outputs)
    found = problem.gradient(full)
    truth = problem.differences(full)
    assert np.max(np.abs(found.gradient - truth)) < 1e-7 * np.max(np.abs(truth))


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("full", [True, False])
def test_direction_and_moments_by_loops(full, outputs, exact):
    problem = Problem(q=outputs)
    found = problem.gradient(full, exact, moments=True)
    assert found.direction.shape == (5, outputs)
    assert_allclose(found.direction, problem.direction(full), rtol=1e-11, atol=1e-14)
    rows = zip(problem.shares[:, 0], problem.X, strict=True)
    moment = sum(p * np.outer(x, x) for p, x in rows)
    assert_allclose(found.second_moment, moment, rtol=1e-12, atol=1e-14)
    assert (found.gradient is None) != exact


def test_moments_only_where_asked_for():
    assert Problem().gradient().second_moment is None


@pytest.mark.parametrize("full", [True, False])
def test_outputs_add_up(full):
    """Readouts are independent: each output has its own gradient."""
    problem = Problem(q=3)
    joint = problem.gradient(full)
    single = [
        problem.gradient(full, Y=problem.Y[:, [j]], A=problem.A[:, [j]])
        for j in range(3)
    ]
    total = sum(step.gradient for step in single)
    assert_allclose(joint.gradient, total, rtol=1e-12, atol=1e-15)
    columns = np.hstack([step.direction for step in single])
    assert_allclose(joint.direction, columns, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("size", [1, 7, 20, 100])
def test_blocks_do_not_matter(size):
    problem = Problem(q=2)
    found, expected = (problem.gradient(size=s, moments=True) for s in (size, 5))
    for name in ("gradient", "direction", "second_moment"):
        assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-15
        )


def test_shares_are_repeated_rows():
    problem = Problem(q=2)
    rows = np.repeat(np.arange(20), problem.counts)
    repeated = problem.gradient(
        X=problem.X[rows],
        Y=problem.Y[rows],
        shares=np.full((len(rows), 1), 1 / len(rows)),
        moments=True,
    )
    weighted = problem.gradient(moments=True)
    for name in ("gradient", "direction", "second_moment"):
        assert_allclose(
            getattr(weighted, name), getattr(repeated, name), rtol=1e-12, atol=1e-15
        )


def test_arguments_are_left_alone():
    problem = Problem(q=2)
    before = {k: v.copy() for k, v in vars(problem).items() if hasattr(v, "copy")}
    problem.gradient(moments=True).preconditioned(0.1)
    for name, value in before.items():
        assert_array_equal(getattr(problem, name), value)


# Preconditioner


@pytest.mark.parametrize("rows", [20, 3])
@pytest.mark.parametrize("outputs", [1, 3])
def test_preconditioner_by_dense_algebra(outputs, rows):
    problem = Problem(n=rows, q=outputs, seed=4)
    step = problem.gradient(moments=True)
    X = problem.X
    inverse = np.linalg.inv(X.T @ (problem.shares * X) + 0.3 * np.eye(5))
    # Twice, as nothing may be overwritten.
    for _ in range(2):
        found = step.preconditioned(0.3)
        assert_allclose(found.gradient, step.gradient @ inverse, atol=1e-12)
        assert_allclose(found.direction, inverse @ step.direction, atol=1e-12)
    leading = problem.gradient(exact=False, moments=True).preconditioned(0.3)
    assert leading.gradient is None
    assert_allclose(leading.direction, inverse @ step.direction, atol=1e-12)


def test_preconditioner_that_cannot_be_inverted():
    step = FirstGradient(np.ones((2, 1)), None, np.ones((2, 2)))
    with pytest.raises(ValueError, match="precondition=1e-20 is too small"):
        step.preconditioned(1e-20)


def test_preconditioned_direction_is_that_of_ridge_regression():
    problem = Problem(n=30)
    root = np.sqrt(problem.shares)
    stacked = np.vstack([root * problem.X, np.sqrt(0.2) * np.eye(5)])
    targets = np.vstack([root * problem.Y, np.zeros((5, 1))])
    coef = np.linalg.lstsq(stacked, targets, rcond=None)[0]
    found = problem.gradient(full=False, exact=False, moments=True).preconditioned(0.2)
    assert_allclose(found.direction, coef, atol=1e-12)


def test_large_ridge_is_no_preconditioner():
    step = Problem().gradient(moments=True)
    found = step.preconditioned(1e9)
    assert_allclose(1e9 * found.gradient, step.gradient, rtol=1e-7, atol=1e-12)


# Wide limit


def noise(n, seed):
    """|E| / |c_1 A B'| and |E| of G = c_1 A B' + E for relu."""
    d, N = n // 2, 3 * n // 4
    X, y = make_single_index(n, d, random_state=seed)
    rng = np.random.default_rng(seed + 100)
    W = rng.standard_normal((N, d))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    A = rng.standard_normal((N, 1)) / np.sqrt(N)
    block = X, y[:, None], np.full((n, 1), 1 / n)
    step = first_gradient(
        [block], W, A, expansion("relu"), full_residual=False, exact=True
    )
    leading = 0.5 * A @ step.direction.T
    rest = np.linalg.norm(step.gradient - leading, 2)
    return rest / np.linalg.norm(leading, 2), rest


@pytest.mark.slow
def test_noise_of_the_gradient_vanishes_in_wide_layers():
    """Acceptance case T3: one seed at each n gave these, means here."""
    expected = {300: 0.237, 600: 0.218, 1200: 0.163, 2400: 0.106}
    for n, ratio in expected.items():
        seeds = range(1 if n == 2400 else 4)
        ratios, norms = np.array([noise(n, seed) for seed in seeds]).T
        assert abs(ratios.mean() - ratio) < 0.03, (n, ratios)
        assert np.all(np.sqrt(n) * norms < 5), (n, norms)


def test_mean_over_networks_is_the_leading_part():
    """E[phi'(w.x)] = c_1 for |x| = 1 only up to 1 / d, so rows of length sqrt(d)."""
    rng = np.random.default_rng(1)
    d, N, n = 200, 4000, 10
    X = rng.standard_normal((n, d))
    X *= np.sqrt(d) / np.linalg.norm(X, axis=1, keepdims=True)
    Y, shares = rng.standard_normal((n, 2)), np.full((n, 1), 1 / n)
    W = rng.standard_normal((N, d))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    A = rng.standard_normal((N, 2)) / np.sqrt(N)
    step = first_gradient(
        [(X, Y, shares)], W, A, expansion("gelu"), full_residual=False, exact=True
    )
    # A' G estimates c_1 A'A B', with noise of relative size std(phi') / c_1 / sqrt(N),
    # 1.1 %, and the products of the two readouts that A'A leaves.
    found, truth = A.T @ step.gradient, 0.5 * A.T @ A @ step.direction.T
    error = np.linalg.norm(found - truth) / np.linalg.norm(truth)
    assert error < 4 * 0.011 * np.sqrt(2)


# Products of columns


@pytest.mark.parametrize("outputs", [1, 2, 3])
@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_monomials_expand_the_power_of_a_product(outputs, degree):
    rng = np.random.default_rng(0)
    G, A = rng.standard_normal((6, outputs)), rng.standard_normal((4, outputs))
    columns = monomials(G, degree)
    assert columns.shape == (6, comb(outputs + degree - 1, degree))
    found = columns @ monomials(A, degree, counted=True).T
    assert_allclose(found, (G @ A.T) ** degree, rtol=1e-11, atol=1e-13)


# Arrays


def test_single_precision():
    problem = Problem(q=2)
    single = {
        k: getattr(problem, k).astype(np.float32) for k in "X Y shares W A".split()
    }
    found = problem.gradient(moments=True, **single)
    expected = problem.gradient(moments=True)
    assert found.gradient.dtype == np.float32
    assert found.direction.dtype == found.second_moment.dtype == np.float64
    found, expected = (step.preconditioned(0.1) for step in (found, expected))
    assert found.gradient.dtype == np.float32
    for name in ("gradient", "direction", "second_moment"):
        assert_allclose(getattr(found, name), getattr(expected, name), atol=2e-6)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("outputs", [1, 2])
def test_array_libraries_agree(outputs, full):
    xp = pytest.importorskip("array_api_strict")
    problem = Problem(q=outputs)
    arrays = [xp.asarray(a) for a in (problem.X, problem.Y, problem.shares)]
    found = first_gradient(
        [arrays],
        xp.asarray(problem.W),
        xp.asarray(problem.A),
        problem.expansion,
        full_residual=full,
        exact=True,
        moments=True,
    ).preconditioned(0.1)
    expected = problem.gradient(full, moments=True).preconditioned(0.1)
    for name in ("gradient", "direction", "second_moment"):
        value = getattr(found, name)
        assert type(value) is type(arrays[0])
        assert_allclose(np.asarray(value), getattr(expected, name), atol=1e-13)
    powers = monomials(arrays[1], 3, counted=True)
    assert type(powers) is type(arrays[0])
    assert_allclose(np.asarray(powers), monomials(problem.Y, 3, counted=True))
