"""The bound by inducing points against dense matrices, and the fits made of it."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from numpy.testing import assert_allclose

from adaptive_kernels.inference import inducing_points
from adaptive_kernels.inference.collapsed_bound import (
    JITTER,
    Basis,
    CollapsedBound,
    SufficientStatistics,
)
from adaptive_kernels.inference.evidence import Data, Hyperparameters, log_evidence
from adaptive_kernels.inference.inducing_points import (
    InducingData,
    inducing_rows,
    spread_rows,
)
from adaptive_kernels.inference.inducing_posterior import InducingPosterior
from adaptive_kernels.inference.posterior import GaussianPosterior
from adaptive_kernels.kernels import NNGP, NTK

N, D, M = 40, 3, 9
ALPHA, WIDTH = 0.3, 5.0
FREE = ("readout_variance", "weight_variance", "bias_variance", "alpha")

rng = np.random.default_rng(0)
X = rng.standard_normal((N, D))
Y = rng.standard_normal((N, 2))
WEIGHTS = rng.uniform(0.3, 3, N)
INDEX = np.arange(0, N, N // M)[:M]
ROOTS = {
    None: None,
    "diag": np.array([0.7, 1.0, 1.4]),
    "full": np.tril(np.eye(D) + rng.standard_normal((D, D)) / 5),
}

NETWORKS = [
    pytest.param(cls, activation, depth, id=f"{cls.__name__}-{activation}-{depth}")
    for cls in (NNGP, NTK)
    for activation in ("erf", "relu", "gelu", "sin", "rbf", "identity")
    for depth in (1, 2)
] + [pytest.param(NNGP, np.tanh, 1, id="NNGP-tanh-1")]


def at(cls=NNGP, activation="erf", depth=1, *, metric_sqrt=None, alpha=ALPHA):
    kernel = cls(activation, depth=depth, weight_variance=1.3, readout_variance=0.8)
    return Hyperparameters(kernel.network(), alpha, metric_sqrt)


def rows(weights=None, **changes):
    return replace(InducingData(X, Y, weights, n_inducing=M, index=INDEX), **changes)


def kernel_matrix(point, A, B):
    kernel = NTK if point.network.is_ntk else NNGP
    network = point.network
    return kernel(
        network.activation,
        depth=network.depth,
        weight_variance=network.weight_variance,
        bias_variance=network.bias_variance,
        readout_variance=network.readout_variance,
        metric=point.metric(),
    )(A, B)


def dense(point, weights):
    """Q, K_nm and the diagonal of K, all at once."""
    Z = X[INDEX]
    K_mm = kernel_matrix(point, Z, None)
    K_mm += JITTER * np.mean(np.diag(K_mm)) * np.eye(M)
    K_nm = kernel_matrix(point, X, Z)
    Q = K_nm @ np.linalg.solve(K_mm, K_nm.T)
    return Q, K_nm, np.diag(kernel_matrix(point, X, None))


def dense_bound(point, weights):
    Q, _, prior = dense(point, weights)
    w = np.ones(N) if weights is None else weights
    S = Q + point.alpha * np.diag(1 / w)
    value = -0.5 * np.sum(Y * np.linalg.solve(S, Y))
    value -= 0.5 * Y.shape[1] * (np.linalg.slogdet(S)[1] + N * np.log(2 * np.pi))
    value -= 0.5 * Y.shape[1] * w @ (prior - np.diag(Q)) / point.alpha
    # A row of weight w counts like w repeated rows.
    extra = np.sum((w - 1) * np.log(2 * np.pi * point.alpha) + np.log(w))
    return value - 0.5 * Y.shape[1] * extra


def bound(data, point):
    basis = Basis.of(data.inducing(), point)
    return CollapsedBound.of(
        SufficientStatistics.of(basis, data.own_blocks()), point.alpha
    ).value


def objective(data, point, covariance_type):
    width = inf if covariance_type is None else WIDTH
    kind = {"covariance_type": covariance_type, "free": FREE, "width": width}
    return data.objective(point, **kind)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize(("cls", "activation", "depth"), NETWORKS)
def test_bound_is_that_of_dense_matrices(cls, activation, depth, weights):
    if activation == "relu" and cls is NTK:
        pytest.skip("a cusp at rows that are inducing points limits precision")
    point = at(cls, activation, depth, metric_sqrt=ROOTS["full"])
    assert_allclose(bound(rows(weights), point), dense_bound(point, weights), rtol=1e-6)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("covariance_type", [None, "diag", "full"])
@pytest.mark.parametrize(("cls", "activation", "depth"), NETWORKS)
def test_gradient_is_that_of_finite_differences(
    cls, activation, depth, covariance_type, weights
):
    if activation == "relu" and cls is NTK:
        pytest.skip("a cusp at rows that are inducing points is not differentiable")
    point = at(cls, activation, depth, metric_sqrt=ROOTS[covariance_type])
    problem = objective(rows(weights), point, covariance_type)
    vector = problem.pack(point)
    _, gradient = problem(vector)
    steps = 1e-5 * np.eye(len(vector))
    slopes = [(problem(vector + s)[0] - problem(vector - s)[0]) / 2e-5 for s in steps]
    # Truncation 1e-10, and rounding of a value of 100 through a jitter of 1e-8.
    assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-4)


def test_gradient_of_the_tangent_kernel_with_a_cusp():
    # Inducing points beside the rows: no pair is on the cusp.
    outside = np.vstack([X[INDEX] + 0.1, X])
    data = InducingData(outside, np.vstack([Y[INDEX], Y]), index=np.arange(M))
    point = at(NTK, "relu", 2, metric_sqrt=ROOTS["diag"])
    problem = objective(data, point, "diag")
    vector = problem.pack(point)
    steps = 1e-3 * np.eye(len(vector))
    slopes = [(problem(vector + s)[0] - problem(vector - s)[0]) / 2e-3 for s in steps]
    assert_allclose(problem(vector)[1], slopes, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize(("cls", "activation", "depth"), NETWORKS)
def test_bound_is_below_the_evidence(cls, activation, depth, weights):
    point = at(cls, activation, depth, metric_sqrt=ROOTS["diag"])
    exact = log_evidence(Data(X, Y, weights), point)
    assert bound(rows(weights), point) <= exact + 1e-6 * abs(exact)


def test_all_rows_as_inducing_points_give_the_exact_posterior():
    point, new = at(metric_sqrt=ROOTS["full"]), rng.standard_normal((7, D))
    data = rows(WEIGHTS, n_inducing=N)
    approximate, value = InducingPosterior.fit(data, point)
    exact, evidence = GaussianPosterior.fit(Data(X, Y, WEIGHTS), point)
    assert_allclose(value, evidence, rtol=1e-5)
    for ours, theirs in zip(
        approximate.variance(new), exact.variance(new), strict=True
    ):
        assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert_allclose(approximate.covariance(new)[1], exact.covariance(new)[1], atol=1e-5)
    dof = exact.effective_dof(Data(X, Y, WEIGHTS))
    assert_allclose(approximate.effective_dof(None), dof, rtol=1e-4)


@pytest.fixture
def fixed_points(monkeypatch):
    monkeypatch.setattr(inducing_points, "inducing_rows", lambda *_: INDEX)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_posterior_is_that_of_dense_matrices(fixed_points, weights):
    point, new = at(metric_sqrt=ROOTS["diag"]), rng.standard_normal((7, D))
    posterior, value = InducingPosterior.fit(rows(weights), point)
    assert_allclose(value, dense_bound(point, weights), rtol=1e-7)
    Q, _, _ = dense(point, weights)
    w = np.ones(N) if weights is None else weights
    S = Q + point.alpha * np.diag(1 / w)
    Z = X[INDEX]
    K_mm = kernel_matrix(point, Z, None)
    K_mm += JITTER * np.mean(np.diag(K_mm)) * np.eye(M)
    K_sm = kernel_matrix(point, new, Z)
    Q_sn = K_sm @ np.linalg.solve(K_mm, kernel_matrix(point, Z, X))
    # Deterministic training conditional: the mean of Q, exact prior variance.
    mean = Q_sn @ np.linalg.solve(S, Y)
    spread = kernel_matrix(point, new, None) - Q_sn @ np.linalg.solve(S, Q_sn.T)
    assert_allclose(posterior.mean(new), mean, atol=1e-7)
    assert_allclose(posterior.variance(new)[1][:, 0], np.diag(spread), atol=1e-7)
    assert_allclose(posterior.covariance(new)[1][..., 1], spread, atol=1e-7)


@pytest.mark.parametrize("size", [1, 7, N])
def test_size_of_blocks_changes_nothing(monkeypatch, size):
    point = at(metric_sqrt=ROOTS["full"])
    value, gradient = (problem := objective(rows(WEIGHTS), point, "full"))(
        problem.pack(point)
    )
    monkeypatch.setattr(inducing_points, "rows_per_block", lambda *_: size)
    again, slopes = problem(problem.pack(point))
    assert_allclose(again, value, rtol=1e-10)
    assert_allclose(slopes, gradient, rtol=1e-7, atol=1e-7)


def test_weights_count_like_repeated_rows():
    point, counts = at(), rng.integers(1, 4, N)
    repeated = np.repeat(np.arange(N), counts)
    places = np.searchsorted(repeated, INDEX)
    long = InducingData(X[repeated], Y[repeated], index=places)
    short = rows(counts.astype(float))
    assert_allclose(bound(short, point), bound(long, point), rtol=1e-10)


def test_rows_of_no_weight_count_nothing():
    point, weights = at(), WEIGHTS.copy()
    weights[INDEX[-1] + 1 :] = 0
    kept = weights > 0
    fewer = InducingData(X[kept], Y[kept], weights[kept], index=INDEX)
    assert_allclose(bound(rows(weights), point), bound(fewer, point), rtol=1e-12)


def test_spread_rows_are_the_greedy_choice():
    point = at(metric_sqrt=ROOTS["diag"])
    K, chosen = kernel_matrix(point, X, None), []
    for _ in range(M):
        known = K[:, chosen] @ np.linalg.solve(K[np.ix_(chosen, chosen)], K[chosen])
        chosen.append(int(np.argmax(np.diag(K - known))))
    assert spread_rows(X, point, M).tolist() == chosen


def test_spread_rows_stop_where_all_is_explained():
    twice = np.vstack([X[:6], X[:6]])
    assert len(spread_rows(twice, at(), 12)) == 6
    linear = at(activation="identity")
    assert len(spread_rows(X, linear, 20)) == D + 1


def test_inducing_rows_follow_the_density_in_the_metric():
    groups = rng.integers(0, 8, 400)
    centres = rng.permutation(np.arange(8.0)) * 4
    table = np.stack([centres[groups], 50 * rng.standard_normal(400)], axis=1)
    # The second column is large, but the metric does not see it.
    point = at(metric_sqrt=np.array([1.0, 1e-6]))
    chosen = inducing_rows(table, point, 8)
    assert sorted(table[chosen, 0]) == sorted(centres)
    assert len(inducing_rows(np.vstack([X[:5]] * 4), at(), 12)) == 5
