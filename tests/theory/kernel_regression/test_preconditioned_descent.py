"""Preconditioned descent against dense matrices, closed forms and a finite network."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adaptive_kernels.kernels import NTK
from adaptive_kernels.kernels._eigenpairs import KernelRows, top_eigenpairs
from adaptive_kernels.theory.kernel_regression.preconditioned_descent import (
    Preconditioner,
    iterations_needed,
    kernel_gradient_descent,
    preconditioned_step,
    predicted_residual,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 3))
Y = RNG.standard_normal((30, 2))
K = NTK("relu")(X)
EPS = np.finfo(float).eps


def circle(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def dense(spectrum, n_components, ridge=0.0):
    """S by its definition, for new eigenvalues spectrum(old)."""
    values, vectors = np.linalg.eigh(K)
    old = values[-n_components:] + ridge
    V = vectors[:, -n_components:]
    return np.eye(30) - (V * (1 - spectrum(old) / old)) @ V.T


SPECTRA = [
    ("flat", lambda old: np.full_like(old, old.min())),
    ("identity", lambda old: old),
    (0.5, lambda old: np.sqrt(old * old.min())),
    (lambda share: share**2, lambda old: 30 * (old / 30) ** 2),
]


@pytest.mark.parametrize("spectrum, rule", SPECTRA)
@pytest.mark.parametrize("n_components", [1, 8, 30])
@pytest.mark.parametrize("ridge", [0.0, 0.7])
def test_preconditioner(spectrum, rule, n_components, ridge):
    S = Preconditioner.of_kernel(K, n_components, spectrum=spectrum, ridge=ridge)
    expected = dense(rule, n_components, ridge)
    assert_allclose(S.apply(Y), expected @ Y, rtol=1e-9, atol=1e-10)
    assert_allclose(S.apply(Y[:, 0]), expected @ Y[:, 0], rtol=1e-9, atol=1e-10)
    matrix = K + ridge * np.eye(30)
    product = np.sort(np.linalg.eigvals(matrix @ expected).real)
    assert_allclose(S.largest, product[-1], rtol=1e-10)
    assert S.step_size == 1 / S.largest
    ours = S.eigenvalues(np.linalg.eigvalsh(matrix)[::-1])
    assert_allclose(np.sort(ours), product, rtol=1e-8)


def test_preconditioner_of_known_eigenpairs():
    """The step is limited by the first eigenvalue that is not modified."""
    values, vectors = top_eigenpairs(K, 30)
    S = Preconditioner.of_eigenpairs(
        values, vectors, 5, spectrum=lambda share: share / 1e6
    )
    assert_allclose(S.largest, values[5])
    assert S.vectors.shape == (30, 5)
    few = Preconditioner.of_eigenpairs(values[:5], vectors[:, :5], 5)
    assert_allclose(few.largest, values[4])


def test_directions_that_are_rounding_are_left_alone():
    singular = X @ X.T
    assert Preconditioner.of_kernel(singular, 10).ratio.shape == (3,)
    # With a ridge they carry its eigenvalue, and all is flat.
    S = Preconditioner.of_kernel(singular, 10, ridge=0.1)
    assert kernel_gradient_descent(singular, Y, preconditioner=S, ridge=0.1).n_iter == 1


def test_unusable_parameters():
    with pytest.raises(ValueError, match="must be positive"):
        Preconditioner.of_kernel(K, 5, spectrum=lambda share: 0 * share)
    with pytest.raises(ValueError, match="ridge"):
        Preconditioner.of_kernel(K, 5, ridge=-1.0)
    with pytest.raises(ValueError, match="ridge"):
        kernel_gradient_descent(K, Y, ridge=np.nan)
    for n_components in (0, -1, 2.5):
        with pytest.raises(ValueError, match="n_components"):
            Preconditioner.of_kernel(K, n_components)
    with pytest.raises(ValueError, match="zero"):
        kernel_gradient_descent(0 * K, Y)
    with pytest.raises(ValueError, match="shrinkage"):
        iterations_needed([1.0], 1.0, step_size=1.0)
    with pytest.raises(ValueError, match=r"\(30, 7\).*\(29,\)"):
        preconditioned_step(
            np.ones((30, 7)), np.ones(29), Preconditioner.of_kernel(K, 5)
        )


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("n_components", [None, 6])
def test_residual_model_is_the_run(ridge, n_components):
    S = None
    values, vectors = top_eigenpairs(K, 30)
    values = values + ridge
    if n_components:
        S = Preconditioner.of_kernel(K, n_components, spectrum=0.3, ridge=ridge)
        values = S.eigenvalues(values)
    run = kernel_gradient_descent(
        K, Y, preconditioner=S, ridge=ridge, tol=0, max_iter=300
    )
    assert run.n_iter == 300 and run.residual_curve.shape == (301,)
    assert_allclose(run.step_size, 1 / values.max(), rtol=1e-12)
    model = predicted_residual(
        values, vectors.T @ Y, np.arange(301), step_size=run.step_size
    )
    assert_allclose(run.residual_curve, model, rtol=0, atol=1e-10)
    last = np.linalg.norm(Y - (K + ridge * np.eye(30)) @ run.dual_coef)
    assert_allclose(run.residual_curve[-1], last / np.linalg.norm(Y), atol=1e-14)
    alone = predicted_residual(values, vectors.T @ Y[:, 0], 7, step_size=run.step_size)
    rest = (1 - run.step_size * values) ** 7 * (vectors.T @ Y[:, 0])
    assert_allclose(alone, np.linalg.norm(rest) / np.linalg.norm(Y[:, 0]))


def test_coefficients_follow_matrix_powers():
    """dual_t = (I - (I - step S K)^t) K^{-1} y."""
    S = Preconditioner.of_kernel(K, 6)
    matrix = dense(SPECTRA[0][1], 6) @ K
    for n_iter in (1, 2, 17):
        run = kernel_gradient_descent(K, Y, preconditioner=S, tol=0, max_iter=n_iter)
        left = np.linalg.matrix_power(np.eye(30) - S.step_size * matrix, n_iter)
        expected = (np.eye(30) - left) @ np.linalg.solve(K, Y)
        assert_allclose(run.dual_coef, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("n_components", [None, 4])
@pytest.mark.parametrize("mode", [0, 2, 5, 9])
@pytest.mark.parametrize("shrinkage", [0.3, 1e-2])
def test_forecast_is_the_count(n_components, mode, shrinkage):
    values, vectors = top_eigenpairs(K, 30)
    S = n_components and Preconditioner.of_kernel(K, n_components)
    run = kernel_gradient_descent(
        K, vectors[:, mode], preconditioner=S, tol=shrinkage, max_iter=10**5
    )
    modified = S.eigenvalues(values) if S else values
    forecast = iterations_needed(modified, shrinkage, step_size=run.step_size)
    assert run.converged
    assert abs(run.n_iter - forecast[mode]) <= 1


def test_forecast_of_odd_steps():
    needed = iterations_needed(
        [1.0, 1.5, 1.99, 2.0, 2.5, 0.0, -1e-9], 0.5, step_size=1.0
    )
    assert_array_equal(needed, [1, 1, 69, np.inf, np.inf, np.inf, np.inf])
    # log(1 - x) loses all digits of so small an x.
    slow = iterations_needed([1e-18], np.exp(-1), step_size=1.0)
    assert_allclose(slow, 1e18, rtol=1e-12)


def test_run_stops_where_it_should():
    assert kernel_gradient_descent(K, 0 * Y).n_iter == 0
    cut = kernel_gradient_descent(K, Y, max_iter=3)
    assert cut.n_iter == 3 and not cut.converged
    largest = np.linalg.eigvalsh(K)[-1]
    close = kernel_gradient_descent(K, Y, step_size=1.99 / largest, max_iter=50)
    assert close.residual_curve[-1] < 1
    wild = kernel_gradient_descent(K, Y, step_size=2.5 / largest, max_iter=10**6)
    assert wild.n_iter < 1000 and not wild.converged
    nothing = kernel_gradient_descent(K, np.full(30, np.nan))
    assert nothing.n_iter == 0 and not nothing.converged


def test_kernel_in_blocks_of_rows():
    # Not ReLU's, whose angle between equal rows has an error of 1e-9.
    kernel = NTK("erf")
    S = Preconditioner.of_kernel(kernel(X), 6)
    whole, blocks = (
        kernel_gradient_descent(matrix, Y, preconditioner=S, max_iter=20)
        for matrix in (kernel(X), KernelRows(kernel, X))
    )
    assert_allclose(blocks.dual_coef, whole.dual_coef, rtol=1e-9, atol=1e-9)


def counted(eigenvalues, coefficients, share, step_size):
    """First iteration whose residual is at most `share`, by bisection of the model."""

    def left(n_iter):
        return predicted_residual(
            eigenvalues, coefficients, n_iter, step_size=step_size
        )

    low, high = 0, 1
    while left(high) > share:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if left(middle) > share else (low, middle)
    return high


@pytest.mark.parametrize(
    "activation, frequency, gain", [("relu", 8, 1e3), ("erf", 10, 1e4)]
)
def test_speed_up_on_the_circle(activation, frequency, gain):
    """Plain descent learns a frequency late, preconditioned descent at once."""
    angles = 2 * np.pi * np.random.default_rng(0).uniform(size=400)
    kernel = NTK(activation)(circle(angles))
    values, vectors = top_eigenpairs(kernel, 400)
    y = np.cos(frequency * angles)
    S = Preconditioner.of_eigenpairs(values, vectors, 40)
    run = kernel_gradient_descent(kernel, y, preconditioner=S, tol=1e-2)
    plain = counted(values, vectors.T @ y, 1e-2, 1 / values[0])
    assert run.converged
    assert plain >= gain * run.n_iter
    # The model that counts plain descent is right where it can be run.
    easy = kernel_gradient_descent(kernel, np.cos(2 * angles), tol=1e-2)
    model = counted(values, vectors.T @ np.cos(2 * angles), 1e-2, 1 / values[0])
    assert abs(easy.n_iter - model) <= 1


def test_iterations_grow_with_frequency_as_the_activation_says():
    """ReLU: a power of the frequency. erf, which is analytic: exponentially."""
    angles = 2 * np.pi * np.arange(400) / 400
    needed = {}
    for activation in ("relu", "erf"):
        kernel = NTK(activation)(circle(angles))
        modes = np.cos(np.arange(2, 17, 2)[:, None] * angles)
        values = np.sum(modes * (modes @ kernel), axis=1) / np.sum(modes**2, axis=1)
        step = 1 / np.linalg.eigvalsh(kernel)[-1]
        needed[activation] = iterations_needed(values, 1e-2, step_size=step)
    powers = np.diff(np.log(needed["relu"])) / np.diff(np.log(np.arange(2, 17, 2)))
    # The tangent kernel's |angle| at equal points makes its series fall as m^-2.
    assert_allclose(powers[2:], 2, atol=0.5)
    # A ratio that stays: the last frequencies are rounding.
    factors = np.diff(np.log(needed["erf"][:6]))
    assert np.all(factors > np.log(10)) and np.ptp(factors) < 0.1


def test_all_spectra_end_at_the_same_function():
    rng = np.random.default_rng(3)
    angles = 2 * np.pi * rng.uniform(size=150)
    kernel = NTK("relu")
    matrix, at = kernel(circle(angles)), circle(np.linspace(0, 6, 200))
    y = np.sin(3 * angles) + 0.3 * rng.standard_normal(150)
    cross = kernel(at, circle(angles))
    expected = cross @ np.linalg.solve(matrix, y)
    scale = np.max(np.abs(expected))
    n_iter = {}
    for n_components in (30, 149):
        S = Preconditioner.of_kernel(matrix, n_components)
        run = kernel_gradient_descent(
            matrix, y, preconditioner=S, tol=1e-8, max_iter=10**6
        )
        assert run.converged
        assert_allclose(cross @ run.dual_coef, expected, rtol=0, atol=1e-7 * scale)
        n_iter[n_components] = run.n_iter
    assert n_iter[149] < 100 < n_iter[30]
    plain = kernel_gradient_descent(matrix, y, max_iter=5000)
    assert not plain.converged and plain.residual_curve[-1] > 1e-2


def test_steps_of_a_linear_model_are_kernel_descent():
    """f = J w: weights follow the descent of J J', outputs together or apart."""
    jacobian = RNG.standard_normal((20, 2, 50))
    shared = jacobian.copy()
    shared[:, 1] = 0
    S = Preconditioner.of_kernel(jacobian[:, 0] @ jacobian[:, 0].T, 5)
    y = RNG.standard_normal((20, 2))
    step = preconditioned_step(jacobian, y, S, step_size=0.1)
    residual = S.apply(y)
    expected = 0.1 * np.einsum("ncp,nc->p", jacobian, residual)
    assert_allclose(step, expected, rtol=1e-12)
    J, weights = jacobian[:, 0], np.zeros(50)
    for _ in range(12):
        weights = weights + preconditioned_step(J, y[:, 0] - J @ weights, S)
    run = kernel_gradient_descent(
        J @ J.T, y[:, 0], preconditioner=S, tol=0, max_iter=12
    )
    assert_allclose(weights, J.T @ run.dual_coef, rtol=1e-9, atol=1e-12)


TANGENT = NTK("relu", weight_variance=2.0)


class Network:
    """ReLU network with kernel TANGENT, whose start is taken off its outputs."""

    def __init__(self, width, X, seed):
        rng = np.random.default_rng(seed)
        bias = np.full((len(X), 1), TANGENT.bias_variance**0.5)
        scale = (TANGENT.weight_variance / X.shape[1]) ** 0.5
        self.inputs = np.hstack([bias, scale * X])
        self.hidden = rng.standard_normal((width, self.inputs.shape[1]))
        self.readout = rng.standard_normal(width)
        self.start = 0.0
        self.start = self.outputs()

    def outputs(self):
        z = self.inputs @ self.hidden.T
        return np.maximum(z, 0) @ self.readout / len(self.readout) ** 0.5 - self.start

    def jacobian(self):
        z = self.inputs @ self.hidden.T
        slopes = (z > 0) * self.readout
        by_hidden = slopes[:, :, None] * self.inputs[:, None, :]
        flat = by_hidden.reshape(len(z), -1)
        return np.hstack([np.maximum(z, 0), flat]) / len(self.readout) ** 0.5

    def move(self, step):
        width = len(self.readout)
        self.readout = self.readout + step[:width]
        self.hidden = self.hidden + step[width:].reshape(self.hidden.shape)

    def train(self, y, S, share, max_iter):
        """Iterations until the residual is `share` of y."""
        for n_iter in range(max_iter + 1):
            residual = y - self.outputs()
            if np.linalg.norm(residual) <= share * np.linalg.norm(y):
                return n_iter
            self.move(preconditioned_step(self.jacobian(), residual, S))
        return np.inf


def test_network_has_the_tangent_kernel():
    """The test's network against finite differences, and the kernel it tends to."""
    rows = circle(np.arange(6.0))
    network = Network(4000, rows, 0)
    jacobian = network.jacobian()
    direction = RNG.standard_normal(jacobian.shape[1])
    before = network.outputs()
    network.move(1e-7 * direction)
    expected = 1e-7 * jacobian @ direction
    # A few of the units may cross their kink.
    atol = 1e-2 * np.max(np.abs(expected))
    assert_allclose(network.outputs() - before, expected, atol=atol)
    # Sampling error 1 / sqrt(width), with fourth moments of the weights.
    expected = TANGENT(rows)
    assert_allclose(jacobian @ jacobian.T, expected, atol=0.15 * np.max(expected))


@pytest.mark.slow
def test_speed_up_of_a_finite_network():
    angles = 2 * np.pi * np.arange(60) / 60
    X, y = circle(angles), np.cos(5 * angles)
    kernel = TANGENT(X)
    plain = Preconditioner.of_kernel(kernel, 1, spectrum="identity")
    top = Preconditioner.of_kernel(kernel, 30)
    fast = Network(4096, X, 0).train(y, top, 0.05, 100)
    slow = Network(4096, X, 0).train(y, plain, 0.05, 50 * fast)
    assert fast < 10
    assert slow >= 50 * fast


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_other_array_libraries(library):
    xp = pytest.importorskip(library)
    matrix, y = xp.asarray(K), xp.asarray(Y)
    S = Preconditioner.of_kernel(matrix, 6, ridge=0.1)
    host = Preconditioner.of_kernel(K, 6, ridge=0.1)
    for rows in (y, y[:, 0]):
        assert type(S.apply(rows)) is type(y)
        assert_allclose(np.asarray(S.apply(rows)), host.apply(np.asarray(rows)))
    assert_allclose(S.eigenvalues(np.ones(30)), host.eigenvalues(np.ones(30)))
    ours, theirs = (
        kernel_gradient_descent(m, t, preconditioner=p, ridge=0.1, max_iter=20)
        for m, t, p in ((matrix, y, S), (K, Y, host))
    )
    assert_allclose(np.asarray(ours.dual_coef), theirs.dual_coef, rtol=1e-9, atol=1e-12)
    assert kernel_gradient_descent(matrix, y, max_iter=2).n_iter == 2
    jacobian = RNG.standard_normal((30, 2, 8))
    ours = preconditioned_step(xp.asarray(jacobian), y, S)
    assert_allclose(np.asarray(ours), preconditioned_step(jacobian, Y, host))


def test_single_precision_is_computed_in_double():
    run = kernel_gradient_descent(K, Y.astype(np.float32), max_iter=5)
    assert run.dual_coef.dtype == np.float64
