"""Gaussian adaptation at tree level and in full, and one scale per layer."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import gamma
from sklearn.exceptions import ConvergenceWarning

from adaptive_kernels.datasets import make_ising
from adaptive_kernels.inference.evidence_problem import EvidenceProblem
from adaptive_kernels.inference.optimization import _RowSpace, maximize_evidence
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.kernels._activations import ACTIVATIONS
from adaptive_kernels.kernels._recursion import Network
from adaptive_kernels.metrics import discrepancy
from adaptive_kernels.theory import (
    Data,
    Hyperparameters,
    RegularizedEvidence,
    Spectrum,
    exact,
    gaussian_adaptation,
    layer_scales,
    tree_level,
)
from adaptive_kernels.theory.finite_width import deep_networks as deep
from adaptive_kernels.theory.finite_width.deep_networks import _log_posterior
from adaptive_kernels.theory.finite_width.gaussian_adaptation import (
    adapt,
    spike_metric_sqrt,
)

# Acceptance numbers of another implementation: objective, train and test discrepancy,
# largest weight variance over the prior.
SET_B = {
    ("erf", 1, True): (-16.452976, 0.153720, 0.449857, 1.35568),
    ("erf", 1, False): (-23.582386, 0.154206, 0.449407, 1.34182),
    ("erf", 40, True): (-316.276054, 0.048075, 0.376643, 7.85455),
    ("erf", 40, False): (-285.481810, 0.047794, 0.376456, 7.85595),
    ("relu", 1, True): (-17.724090, 0.163845, 0.550022, 1.38686),
    ("relu", 1, False): (-26.199861, 0.167009, 0.549232, 1.35835),
    ("relu", 40, True): (-343.173900, 0.056669, 0.463874, 6.24546),
    ("relu", 40, False): (-318.029941, 0.057014, 0.463319, 6.21108),
}


@pytest.mark.parametrize("case", SET_B)
def test_reference_numbers(case):
    activation, chi, tree = case
    X, y = make_ising(220, 10, random_state=0)
    kernel = NNGP(activation, bias_variance=0, readout_variance=1 / chi)
    found = gaussian_adaptation(
        kernel, X[:20], y[:20], noise=0.1 / chi, width=40, tree=tree
    )
    assert found.converged
    f = found.posterior.mean(X)[:, 0]
    objective, train, test, top = SET_B[case]
    assert_allclose(found.objective, objective, atol=1e-4)
    assert_allclose(discrepancy(y[:20], f[:20]), train, atol=1e-5)
    assert_allclose(discrepancy(y[20:], f[20:]), test, atol=1e-4)
    spectrum = 10 * np.linalg.eigvalsh(found.weight_covariance)
    assert_allclose(spectrum[-1], top, atol=1e-3)


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize(("d", "n"), [(20, 15), (6, 30), (40, 12)])
@pytest.mark.parametrize("chi", [1.0, 50.0])
def test_linear_networks_adapt_as_their_closed_form_says(outputs, d, n, chi):
    X, y = make_ising(n + 10, d, random_state=1)
    Y = np.column_stack([y, X[:, : outputs - 1]])
    kernel = NNGP("identity", bias_variance=0, weight_variance=1 / chi)
    adapted = gaussian_adaptation(
        kernel, X[:n], Y[:n], noise=0.2 / chi, width=50, tree=True
    )
    K = kernel(X)
    spectrum = Spectrum.of_kernel(K[:n, :n], Y[:n])
    tree = tree_level(spectrum, noise=0.2 / chi, width=50)
    mean = K[:, :n] @ spectrum.vectors @ tree.dual
    assert_allclose(adapted.posterior.mean(X), mean, atol=1e-6)
    F = X[:n] / np.sqrt(d * chi)
    sigma = tree.weight_covariance(F.T @ spectrum.vectors)
    assert_allclose(d * chi * adapted.weight_covariance, sigma, atol=1e-4)


def test_a_metric_shapes_the_prior():
    X, y = make_ising(40, 4, random_state=0)
    metric = np.array([[2.0, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 0.3, 0], [0, 0, 0, 1]])
    root = np.linalg.cholesky(metric)
    with_metric = gaussian_adaptation(
        NNGP("erf", metric=metric), X, y, noise=0.1, width=20
    )
    moved = gaussian_adaptation(NNGP("erf"), X @ root, y, noise=0.1, width=20)
    assert_allclose(with_metric.objective, moved.objective, rtol=1e-8)
    expected = root @ moved.weight_covariance @ root.T
    assert_allclose(with_metric.weight_covariance, expected, atol=1e-5)
    again = gaussian_adaptation(
        NNGP("erf", metric=metric), X, y, noise=0.1, width=20, start=with_metric
    )
    assert_allclose(again.objective, with_metric.objective, rtol=1e-8)


@pytest.mark.parametrize("activation", ["erf", "relu", "identity", "rbf"])
@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_gradient_of_the_tree_objective(activation, covariance_type):
    rng = np.random.default_rng(0)
    data = Data(rng.standard_normal((12, 3)), rng.standard_normal((12, 2)))
    root = np.tril(0.3 * rng.standard_normal((3, 3)), -1) + np.diag([0.8, 1.2, 1.0])
    root = root if covariance_type == "full" else np.diag(root)
    point = Hyperparameters(NNGP(activation).network(), 0.2, root)
    problem = RegularizedEvidence(
        data, point, width=7.0, covariance_type=covariance_type, tree=True
    )
    vector = problem.pack(point)
    value, gradient = problem(vector)

    metric = point.metric()
    K = NNGP(activation, metric=metric)(data.X) + 0.2 * np.eye(12)
    fit = 0.5 * np.sum(data.Y * np.linalg.solve(K, data.Y))
    M = np.diag(metric) if metric.ndim == 1 else metric
    divergence = 0.5 * (np.trace(M) - np.linalg.slogdet(M)[1] - 3)
    assert_allclose(value, -fit - 7.0 * divergence, rtol=1e-10)
    shifts = 1e-5 * np.eye(len(vector))
    numeric = [(problem(vector + s)[0] - problem(vector - s)[0]) / 2e-5 for s in shifts]
    assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("activation", ["erf", "relu"])
@pytest.mark.parametrize("tree", [False, True])
def test_more_features_than_rows_are_adapted_in_the_span_of_the_rows(activation, tree):
    rng = np.random.default_rng(1)
    data = Data(rng.standard_normal((6, 9)), rng.standard_normal((6, 1)))
    network = NNGP(activation).network()
    start = Hyperparameters(network, 0.05, np.diag(rng.uniform(0.5, 2, 9)))
    template = Hyperparameters(network, 0.05)
    kind = {"width": 5.0, "covariance_type": "full", "tree": tree}
    limits = {"max_iter": 500, "tol": 1e-7}
    found = maximize_evidence(EvidenceProblem(data, template, **kind, **limits), start)
    problem = RegularizedEvidence(data, template, **kind)
    # The same objective over all nine features is stationary there.
    value, gradient = problem(
        problem.pack(
            replace(found.point, metric_sqrt=np.linalg.cholesky(found.point.metric()))
        )
    )
    assert_allclose(value, found.value, rtol=1e-9)
    assert_allclose(gradient, 0, atol=1e-5)
    away = np.linalg.svd(data.X)[2][6:]
    assert_allclose(found.point.metric() @ away.T, away.T, atol=1e-12)


def test_variances_are_tuned_the_same_in_the_span_of_the_rows():
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((6, 5)), rng.standard_normal((6, 1))
    # Two more features that are zero: three rows' worth of span less than features.
    wide = Data(np.hstack([X, np.zeros((6, 2))]), Y)
    network = NNGP("erf", weight_variance=7.0).network()
    template = Hyperparameters(network, 0.1)
    bounds, kind = (
        {"weight_variance": (1e-5, 1e5)},
        {"width": 5.0, "covariance_type": "full"},
    )
    found = maximize_evidence(
        EvidenceProblem(wide, template, bounds, tol=1e-6, **kind), template
    )
    problem = RegularizedEvidence(wide, template, free=("weight_variance",), **kind)
    vector = problem.pack(
        replace(found.point, metric_sqrt=np.linalg.cholesky(found.point.metric()))
    )
    assert_allclose(problem(vector)[0], found.value, rtol=1e-9)
    assert_allclose(problem(vector)[1], 0, atol=1e-4)


@pytest.mark.slow
def test_the_better_of_several_maxima_is_kept():
    # A Hermite-3 teacher in mean field: the prior and the spike lead to two maxima.
    X = np.random.default_rng(0).standard_normal((50, 10))
    y = (X[:, 0] ** 3 - 3 * X[:, 0]) / np.sqrt(6)
    kernel = NNGP("erf", bias_variance=0, readout_variance=1 / 50)
    data, template = Data(X, y[:, None]), Hyperparameters(kernel.network(), 0.05 / 50)
    problem = EvidenceProblem(
        data, template, width=50.0, covariance_type="full", max_iter=80, tol=0.05
    )
    roots = [None, spike_metric_sqrt(data, template, 50.0)]
    values = [
        maximize_evidence(problem, replace(template, metric_sqrt=r)).value
        for r in roots
    ]
    assert abs(values[0] - values[1]) > 10
    for start in ([], roots[1:]):
        assert adapt(problem, start).value > max(values) - 0.1


DEEP = [("identity", 0.0, 2), ("erf", 0.1, 2), ("relu", 0.2, 3), ("erf", 0.0, 1)]


@pytest.mark.parametrize(("activation", "bias", "depth"), DEEP)
def test_layer_scales_are_a_stationary_point(activation, bias, depth):
    X, y = make_ising(30, 8, random_state=0)
    kernel = NNGP(activation, depth=depth, bias_variance=bias)
    point = Hyperparameters(kernel.network(), 0.1)
    data = Data(X, y[:, None])
    t = np.log(layer_scales(data, point, width=40.0))

    def log_posterior(t):
        # Layer by layer in n x n matrices, from the definition.
        K = bias + X @ X.T / 8
        dual = ACTIVATIONS[activation].dual
        for layer, scale in enumerate(np.exp(t)):
            q = np.diag(K).copy()
            S = dual(K.copy(), q[:, None], q[None, :], derivative=False)[0]
            K = scale * S + (bias if layer < depth - 1 else 0)
        K = K + 0.1 * np.eye(30)
        value = 20.0 * np.sum(t - np.exp(t))
        log_det = np.linalg.slogdet(K)[1]
        return value - 0.5 * (y @ np.linalg.solve(K, y) + log_det)

    steps = 1e-4 * np.eye(depth)
    slopes = [(log_posterior(t + s) - log_posterior(t - s)) / 2e-4 for s in steps]
    assert_allclose(slopes, 0, atol=1e-5)
    _, gradient = _log_posterior(data, point, 40.0, t + 0.1)
    numeric = [
        (log_posterior(t + 0.1 + s) - log_posterior(t + 0.1 - s)) / 2e-4 for s in steps
    ]
    assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5)


def test_a_layer_scale_multiplies_the_second_moment_of_its_layer():
    network = Network(ACTIVATIONS["erf"], depth=2, weight_variance=3.0)
    scaled = replace(network, scales=(0.5, 2.0))
    assert (scaled.gain(0), scaled.gain(1)) == (1.5, 2.0)


@pytest.mark.parametrize("chi", [1.0, 5.0])
def test_deep_linear_networks_against_the_product_of_gammas(chi):
    """Two hidden layers: f given the scales is Gaussian with kernel s1 s2 K0."""
    X, y = make_ising(40, 20, random_state=0)
    n, width, noise = 15, 50, 0.2 / chi**2
    kernel = NNGP("identity", depth=2, bias_variance=0, weight_variance=1 / chi)
    K = kernel(X)
    point = Hyperparameters(kernel.network(), noise)
    scales = layer_scales(Data(X[:n], y[:n, None]), point, width=width)
    assert_allclose(scales[0], scales[1], rtol=1e-6)
    # Quadrature over both log scales.
    t = np.linspace(-2.5, 3.5, 500)
    prior = gamma(width / 2, scale=2 / width).logpdf(np.exp(t)) + t
    product = np.exp(np.add.outer(t, t)).ravel()
    lam, V = np.linalg.eigh(K[:n, :n])
    c = V.T @ y[:n]
    variance = noise + np.multiply.outer(product, np.maximum(lam, 0))
    log = np.add.outer(prior, prior).ravel()
    log -= 0.5 * np.sum(np.log(variance) + c**2 / variance, axis=1)
    shares = np.exp(log - log.max())
    mean = shares @ (product[:, None] * np.maximum(lam, 0) * c / variance)
    truth = discrepancy(y[:n], V @ mean / shares.sum())
    scale = np.prod(scales)
    f = K[:n, :n] @ np.linalg.solve(scale * K[:n, :n] + noise * np.eye(n), y[:n])
    # The saddle is exact in the limit n ~ N; corrections are of relative order 1 / N.
    assert abs(discrepancy(y[:n], scale * f) / truth - 1) < 2 / width
    assert_allclose(scale, shares @ product / shares.sum(), rtol=2 / width)
    shallow = exact(Spectrum.of_kernel(K[:n, :n], y[:n]), noise=noise, width=width)
    assert abs(scale / shallow.scale[0, 0] - 1) > 0.03 or chi == 1


def test_scales_without_a_width():
    data = Data(np.eye(3), np.ones((3, 1)))
    point = Hyperparameters(NNGP("erf", depth=2).network(), 0.1)
    assert_allclose(layer_scales(data, point, width=np.inf), [1, 1])
    with pytest.raises(ValueError, match="width must be positive"):
        layer_scales(data, point, width=0)


def test_a_search_for_scales_that_fails_warns(monkeypatch):
    def stopped(*args, **kwargs):
        return minimize(*args, **{**kwargs, "options": {"maxiter": 1}})

    monkeypatch.setattr(deep, "minimize", stopped)
    X, y = make_ising(30, 8, random_state=0)
    point = Hyperparameters(NNGP("erf", depth=2).network(), 0.01)
    with pytest.warns(ConvergenceWarning, match="raise alpha or width"):
        layer_scales(Data(X, y[:, None]), point, width=10.0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"noise": -1.0}, "noise must be finite and not negative"),
        ({"width": 0}, "width must be positive"),
        ({"covariance_type": "low"}, "covariance_type must be 'full' or 'diag'"),
    ],
)
def test_bad_parameters_of_the_adaptation_are_named(parameters, message):
    X, y = make_ising(10, 3, random_state=0)
    good = {"noise": 0.1, "width": 5, "covariance_type": "full"}
    with pytest.raises(ValueError, match=message):
        gaussian_adaptation(NNGP("erf"), X, y, **{**good, **parameters})


def test_an_adaptation_that_stops_early_warns():
    X, y = make_ising(20, 5, random_state=0)
    kernel = NNGP("erf", readout_variance=0.02)
    with pytest.warns(ConvergenceWarning, match="raise max_iter or tol"):
        found = gaussian_adaptation(kernel, X, y, noise=1e-3, width=40, max_iter=2)
    assert not found.converged


def test_spike_root_is_the_metric_of_the_tree_level():
    X, y = make_ising(15, 6, random_state=0)
    kernel = NNGP("identity", bias_variance=0, weight_variance=0.1)
    data = Data(X, y[:, None])
    point = Hyperparameters(kernel.network(), 0.02)
    root = spike_metric_sqrt(data, point, 20.0)
    spectrum = Spectrum.of_kernel(kernel(X), y)
    tree = tree_level(spectrum, noise=0.02, width=20.0)
    sigma = tree.weight_covariance((0.1 / 6) ** 0.5 * X.T @ spectrum.vectors)
    assert_allclose(root @ root.T, sigma, atol=1e-9)
    assert spike_metric_sqrt(data, replace(point, alpha=0.0), 20.0) is None
    assert spike_metric_sqrt(replace(data, Y=0 * data.Y), point, 20.0) is None


@pytest.mark.parametrize("dimensions", [1, 2])
def test_the_span_of_the_rows_keeps_the_kernel(dimensions):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4, 7))
    root = rng.uniform(0.5, 2, 7) if dimensions == 1 else rng.standard_normal((7, 7))
    space = _RowSpace(X)
    point = Hyperparameters(NNGP("erf", weight_variance=3.0).network(), 0.1, root)
    inside = space.enter(point)
    M, m = point.metric(), inside.metric()
    M = np.diag(M) if M.ndim == 1 else M
    expected = 3.0 / 7 * X @ M @ X.T
    found = inside.network.weight_variance / 4 * space.inputs @ m @ space.inputs.T
    assert_allclose(found, expected, rtol=1e-10)
    back = space.leave(inside)
    assert_allclose(back.network.weight_variance, 3.0)
    assert_allclose(X @ back.metric() @ X.T, X @ M @ X.T, rtol=1e-9)


def test_iterations_are_limited_and_counted_in_the_span_of_the_rows():
    X, y = make_ising(6, 9, random_state=0)
    data = Data(X, y[:, None])
    template = Hyperparameters(NNGP("erf").network(), 1e-3)
    kind = {"width": 5.0, "covariance_type": "full"}
    problem = EvidenceProblem(data, template, max_iter=3, tol=1e-9, **kind)
    assert maximize_evidence(problem, template).n_iter <= 3
    assert 3 < adapt(problem, []).n_iter <= 6


def test_deep_rescaling_has_one_output():
    point = Hyperparameters(NNGP("erf", depth=2).network(), 0.1)
    with pytest.raises(ValueError, match="one output, got 2"):
        layer_scales(Data(np.eye(3), np.ones((3, 2))), point, width=10.0)
