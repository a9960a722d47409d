"""Gradient flow against its differential equation, and against trained networks."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import expm

from adaptive_kernels import NTKRegressor
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.kernels._activations import ACTIVATIONS
from adaptive_kernels.theory.kernel_regression.gradient_flow import (
    GradientFlow,
    generalised_cross_validation,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 3))
X_NEW = RNG.standard_normal((5, 3))
Y = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], X[:, 0] * X[:, 2] - 1], axis=1)
COUNTS = RNG.integers(1, 4, 20)
EVERYWHERE = np.vstack([X, X_NEW])
KERNELS = {
    "relu": NTK("relu", bias_variance=0.5),
    "deep erf": NTK("erf", depth=3, weight_variance=2.0),
}
# A ReLU kernel between equal rows that does not know them to be equal is off by 1e-8.
CLOSE = {"relu": 1e-7, "deep erf": 1e-9}
WEIGHTS = {"equal": None, "counts": 1.0 * COUNTS, "fractions": COUNTS / 3}
kernels = pytest.mark.parametrize("name", KERNELS)
weightings = pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
INFINITY = float("inf")


def initial_kernel(kernel):
    return NNGP(**kernel.get_params())


def propagators(kernel, weights, time, alpha):
    """A, B of f_t = A f_0 + B y on all rows, by the exponential of the linear flow.

    df/dt = -(1/n) [K W (f_X - y) + alpha (f - f_0)], n = sum of W.
    """
    rows, n = len(X), len(EVERYWHERE)
    pull = np.zeros((n, n))
    pull[:, :rows] = kernel(EVERYWHERE)[:, :rows] * weights
    moving = -(pull + alpha * np.eye(n)) / np.sum(weights)
    source = np.hstack([alpha * np.eye(n), pull[:, :rows]]) / np.sum(weights)
    joint = np.zeros((2 * n + rows, 2 * n + rows))
    joint[:n, :n], joint[:n, n:] = moving, source
    flow = expm(time * joint)
    return flow[:n, :n] + flow[:n, n : 2 * n], flow[:n, 2 * n :]


@kernels
@weightings
@pytest.mark.parametrize("alpha", [0.0, 0.7])
@pytest.mark.parametrize("time", [0.3, 5.0, 200.0])
def test_mean_and_covariance_follow_the_differential_equation(
    name, weights, alpha, time
):
    kernel, atol = KERNELS[name], CLOSE[name]
    model = NTKRegressor(kernel, alpha=alpha, time=time, normalize_y=False)
    model.fit(X, Y, weights)
    given = np.ones(20) if weights is None else weights
    carry, follow = propagators(kernel, given, time, alpha)
    mean, covariance = model.predict(EVERYWHERE, return_cov=True)
    assert_allclose(mean, follow @ Y, rtol=1e-8, atol=atol)
    expected = carry @ initial_kernel(kernel)(EVERYWHERE) @ carry.T
    for output in range(2):
        assert_allclose(covariance[:, :, output], expected, rtol=1e-7, atol=atol)


@weightings
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_pure_functions_follow_the_differential_equation(weights, alpha):
    kernel, given = KERNELS["deep erf"], np.ones(20) if weights is None else weights
    flow = GradientFlow.of_kernel(kernel(X), Y, weights)
    cross = kernel(EVERYWHERE, X)
    _, follow = propagators(kernel, given, 9.0, alpha)
    assert_allclose(flow.apply(cross, 9.0, alpha), follow, rtol=1e-8, atol=1e-10)
    mean = cross @ flow.dual(9.0, alpha)
    assert_allclose(mean, follow @ Y, rtol=1e-8, atol=1e-10)


def test_flow_at_its_ends():
    K = KERNELS["deep erf"](X)
    flow = GradientFlow.of_kernel(K, Y)
    assert_array_equal(flow.dual(0.0), np.zeros((20, 2)))
    ridge = np.linalg.solve(K + 0.3 * np.eye(20), Y)
    assert_allclose(flow.dual(INFINITY, 0.3), ridge, rtol=1e-9)
    assert_allclose(K @ flow.dual(INFINITY), Y, rtol=1e-8, atol=1e-8)
    assert_allclose(flow.eigenvalues, np.linalg.eigvalsh(K)[::-1], rtol=1e-9)


@pytest.mark.parametrize("time", [1e4, 1e18, 1e300, INFINITY])
def test_directions_without_kernel_stay_still(time):
    """Repeats with contrary targets end at their mean, however long it takes."""
    twice = np.repeat(np.arange(10), 2)
    contrary = np.where(np.arange(20) % 2, 1.0, -1.0)[:, None]
    kernel = NTK("erf")
    flow = GradientFlow.of_kernel(kernel(X[twice]), Y[twice] + contrary)
    assert np.sum(flow.eigenvalues > 0) == 10 and np.all(flow.eigenvalues >= 0)
    mean = kernel(X_NEW, X[twice]) @ flow.dual(time)
    single = GradientFlow.of_kernel(kernel(X[:10]), Y[:10], np.full(10, 2.0))
    expected = kernel(X_NEW, X[:10]) @ single.dual(time)
    # Rounding of 1e-16, times the condition number of the ten distinct rows.
    condition = np.linalg.cond(kernel(X[:10]))
    assert_allclose(mean, expected, rtol=0, atol=1e-14 * condition)


@pytest.mark.parametrize("alpha", [0.0, 50.0])
def test_times_span_the_learning_of_all_modes(alpha):
    flow = GradientFlow.of_kernel(KERNELS["relu"](X), Y, COUNTS.astype(float))
    times = flow.times(alpha)
    assert np.all(np.diff(times) > 0) and times[-1] == INFINITY
    rates = (flow.eigenvalues + alpha) / np.sum(COUNTS)
    assert 1 - np.exp(-times[0] * rates[0]) < 0.1
    assert np.exp(-times[-2] * rates[-1]) < 1e-4
    # Between neighbours no mode jumps: its share changes at most by log(ratio) / e.
    assert np.max(np.diff(np.log(times[:-1]))) / np.e < 0.1


def smoother_score(H, Y, n):
    """n |y - H y|^2 / (n - tr H)^2."""
    return n * np.sum((Y - H @ Y) ** 2) / (n - np.trace(H)) ** 2


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_validation_scores_by_brute_force(alpha):
    K, times = KERNELS["relu"](X), np.array([0.1, 3.0, 20.0, 80.0])
    flow = GradientFlow.of_kernel(K, Y)
    identity = GradientFlow.of_kernel(K, np.eye(20))
    expected = [smoother_score(K @ identity.dual(time, alpha), Y, 20) for time in times]
    assert_allclose(flow.validation_scores(times, alpha), expected, rtol=1e-8)


def test_validation_scores_do_not_depend_on_the_scale_of_weights():
    K, times = KERNELS["relu"](X), np.array([0.1, 3.0, 20.0, 80.0])
    small, large = (
        GradientFlow.of_kernel(K, Y, c * COUNTS).validation_scores(times)
        for c in (0.01, 5.0)
    )
    assert_allclose(small / small[0], large / large[0], rtol=1e-8)


def test_generalised_cross_validation_is_that_of_the_smoother():
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((30, 30)))[0]
    left = rng.uniform(0.2, 1, size=(3, 30))
    coefficients = rng.standard_normal((30, 2))
    expected = [
        smoother_score(basis * (1 - share) @ basis.T, basis @ coefficients, 30)
        for share in left
    ]
    scores = generalised_cross_validation(left, coefficients)
    assert_allclose(scores, expected, rtol=1e-10)


def test_generalised_cross_validation_does_not_judge_interpolation():
    left = np.array([[0.0, 0.0], [1e-17, 1e-9], [0.0, 0.05], [0.0, 0.5]])
    scores = generalised_cross_validation(left, np.ones((2, 1)))
    assert_array_equal(scores[:3], INFINITY)
    # 2 * 0.5^2 / 0.5^2.
    assert_allclose(scores[3], 2.0)


@weightings
def test_array_libraries_agree(weights):
    xp = pytest.importorskip("array_api_strict")
    twice = np.repeat(np.arange(10), 2)
    K = KERNELS["deep erf"](X[twice])
    expected = GradientFlow.of_kernel(K, Y, weights)
    given = None if weights is None else xp.asarray(weights)
    flow = GradientFlow.of_kernel(xp.asarray(K), xp.asarray(Y), given)
    times = expected.times(0.1)
    assert_allclose(flow.times(0.1), times)
    for time in (5.0, INFINITY):
        dual, applied = flow.dual(time, 0.1), flow.apply(xp.asarray(K), time, 0.1)
        assert type(dual) is type(applied) is type(xp.asarray(K))
        assert_allclose(np.asarray(dual), expected.dual(time, 0.1), atol=1e-8)
        assert_allclose(np.asarray(applied), expected.apply(K, time, 0.1), atol=1e-8)
    scores = flow.validation_scores(times, 0.1)
    assert_allclose(scores, expected.validation_scores(times, 0.1), rtol=1e-6)


@dataclass
class FiniteNetwork:
    """A network with all weights N(0, 1), in the parameterisation of the NTK.

    u_1 = sqrt(w/d) W x + sqrt(b) c, u_{l+1} = sqrt(w/N) W phi(u_l) + sqrt(b) c,
    f = sqrt(r/N) a.phi(u_L).
    """

    kernel: NTK
    width: int
    seed: int

    def __post_init__(self):
        rng = np.random.default_rng(self.seed)
        sizes = [X.shape[1]] + [self.width] * self.kernel.depth
        self.layers = [
            (rng.standard_normal((b, a)), rng.standard_normal(b))
            for a, b in zip(sizes, sizes[1:], strict=False)
        ]
        self.readout = rng.standard_normal(self.width)
        self.phi = ACTIVATIONS[self.kernel.activation]

    def forward(self, rows):
        """Outputs, the inputs of all layers, and their pre-activations."""
        inputs, before = [rows], []
        for W, c in self.layers:
            gain = np.sqrt(self.kernel.weight_variance / W.shape[1])
            u = gain * inputs[-1] @ W.T + np.sqrt(self.kernel.bias_variance) * c
            before.append(u)
            inputs.append(self.phi(u))
        gain = np.sqrt(self.kernel.readout_variance / self.width)
        return gain * inputs[-1] @ self.readout, inputs, before

    def gradient(self, rows, cotangent):
        """Of sum_i cotangent_i f(x_i), by (W, c) of the layers and the readout."""
        _, inputs, before = self.forward(rows)
        gain = np.sqrt(self.kernel.readout_variance / self.width)
        readout = gain * cotangent @ inputs[-1]
        back, layers = gain * cotangent[:, None] * self.readout, []
        for (W, _), entering, u in zip(
            self.layers[::-1], inputs[-2::-1], before[::-1], strict=True
        ):
            back = back * self.phi.derivative(u)
            gain = np.sqrt(self.kernel.weight_variance / W.shape[1])
            bias = np.sqrt(self.kernel.bias_variance) * back.sum(axis=0)
            layers.append((gain * back.T @ entering, bias))
            back = gain * back @ W
        return [part for layer in layers[::-1] for part in layer] + [readout]

    @property
    def parameters(self):
        return [part for layer in self.layers for part in layer] + [self.readout]

    @parameters.setter
    def parameters(self, values):
        self.layers = list(zip(values[:-1:2], values[1:-1:2], strict=True))
        self.readout = values[-1]

    def tangent_kernel(self, rows):
        jacobian = [
            np.concatenate([g.ravel() for g in self.gradient(rows, unit)])
            for unit in np.eye(len(rows))
        ]
        return np.array(jacobian) @ np.transpose(jacobian)

    def train(self, rows, targets, time, alpha, step):
        """Runge-Kutta steps down (|y - f|^2 + alpha |w - w_0|^2) / (2 n)."""
        start, n = self.parameters, len(rows)

        def velocity(parameters):
            self.parameters = parameters
            slopes = self.gradient(rows, self.forward(rows)[0] - targets)
            return [
                -(g + alpha * (w - w0)) / n
                for g, w, w0 in zip(slopes, parameters, start, strict=True)
            ]

        def moved(parameters, velocities, h):
            return [w + h * v for w, v in zip(parameters, velocities, strict=True)]

        w, h = start, step
        for _ in range(round(time / step)):
            k1 = velocity(w)
            k2 = velocity(moved(w, k1, h / 2))
            k3 = velocity(moved(w, k2, h / 2))
            k4 = velocity(moved(w, k3, h))
            sums = zip(k1, k2, k3, k4, strict=True)
            w = moved(w, [a + 2 * b + 2 * c + d for a, b, c, d in sums], h / 6)
        self.parameters = w
        return self


NETWORKS = [
    (NTK("erf", weight_variance=2.0, readout_variance=1.5), 2000, 64),
    (NTK("relu", bias_variance=0.5), 2000, 64),
    (NTK("erf", depth=2, weight_variance=1.5, bias_variance=0.3), 300, 48),
]


@pytest.mark.parametrize("kernel, width, _", NETWORKS)
def test_tangent_kernel_is_that_of_networks(kernel, width, _):
    """The finite network is of the kernel's parameterisation, at its start."""
    rows, seeds = X[:6], 30
    nets = [FiniteNetwork(kernel, width, seed) for seed in range(seeds)]
    samples = np.array([net.tangent_kernel(rows) for net in nets])
    outputs = np.array([net.forward(rows)[0] for net in nets])
    error = samples.std(axis=0, ddof=1) / np.sqrt(seeds)
    # Beyond depth one the mean is off by an order of 1 / width.
    close = 5 * error + (kernel.depth > 1) * 5 / width
    assert np.all(np.abs(samples.mean(axis=0) - kernel(rows)) < close)
    assert np.max(error) < 0.02 * np.max(kernel(rows))
    prior = initial_kernel(kernel)(rows)
    white = np.linalg.solve(np.linalg.cholesky(prior), outputs.T)
    # A mean square of 180 standard normals.
    assert abs(np.mean(white**2) - 1) < 4 * np.sqrt(2 / 180)


@pytest.mark.slow
@pytest.mark.parametrize("kernel, width, seeds", NETWORKS)
@pytest.mark.parametrize("alpha", [0.0, 0.8])
def test_trained_networks(kernel, width, seeds, alpha):
    """Mean and spread are those of networks that were really trained."""
    time, targets = 12.0, Y[:, 0]
    model = NTKRegressor(kernel, alpha=alpha, time=time, normalize_y=False)
    mean, std = model.fit(X, targets).predict(EVERYWHERE, return_std=True)
    carry, _ = propagators(kernel, np.ones(20), time, alpha)
    starts, ends = [], []
    for seed in range(seeds):
        net = FiniteNetwork(kernel, width, seed)
        starts.append(net.forward(EVERYWHERE)[0])
        net.train(X, targets, time, alpha, step=0.5)
        ends.append(net.forward(EVERYWHERE)[0])
    starts, ends = np.array(starts), np.array(ends)
    # Without the start's part, one network differs from the theory by the changes of
    # its kernel, an order of 1 / sqrt(width), and the mean by their average.
    lazy = ends - starts @ carry.T
    scale = np.std(targets)
    assert np.sqrt(np.mean((lazy - mean) ** 2)) < 1.5 * scale / np.sqrt(width)
    error = lazy.std(axis=0, ddof=1) / np.sqrt(seeds)
    assert np.all(np.abs(lazy.mean(axis=0) - mean) < 5 * error + 10 * scale / width)
    assert np.all(np.abs(ends.mean(axis=0) - mean) < 4.5 * std / np.sqrt(seeds))
    spread = ends.std(axis=0, ddof=1) / std
    assert np.all(np.abs(spread - 1) < 4.5 / np.sqrt(2 * seeds))
    # The training moved the outputs well beyond all of these.
    assert np.sqrt(np.mean((mean - targets.mean()) ** 2)) > 0.3 * scale
