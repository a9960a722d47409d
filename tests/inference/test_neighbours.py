"""Neighbours: the search, the density given them, and the posterior, by brute force."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adaptive_kernels.inference import subsampling
from adaptive_kernels.inference.evidence import Data, Hyperparameters, log_evidence
from adaptive_kernels.inference.local_posterior import LocalData, LocalPosterior
from adaptive_kernels.inference.neighbour_density import NeighbourData
from adaptive_kernels.inference.neighbours import NearestRows, earlier_neighbours
from adaptive_kernels.inference.posterior import GaussianPosterior
from adaptive_kernels.kernels import NNGP, NTK

RNG = np.random.default_rng(0)
KERNELS = [NNGP("erf"), NNGP("relu", depth=2), NTK("erf", depth=2), NTK("relu")]
VARIANCES = ("readout_variance", "weight_variance", "bias_variance", "alpha")


def table(n, weighted, d=3):
    X = RNG.standard_normal((n, d))
    Y = np.stack([np.sin(2 * X[:, 0]), X[:, 1]], axis=1)
    weights = RNG.uniform(0.5, 2, n) if weighted else None
    return Data(X, Y + 0.1 * RNG.standard_normal(Y.shape), weights)


def distances(X):
    return np.linalg.norm(X[:, None] - X[None], axis=2)


def test_nearest_other_rows():
    X = RNG.standard_normal((40, 3))
    X[1] = X[0]  # a row that repeats is a neighbour
    near = NearestRows(X).of_own(np.arange(40), 5)
    gaps = distances(X)
    np.fill_diagonal(gaps, np.inf)
    expected = np.sort(gaps, axis=1)[:, :5]
    assert_allclose(np.take_along_axis(gaps, near, axis=1), expected)


def test_rows_with_more_equal_rows_than_neighbours():
    near = NearestRows(np.zeros((9, 2))).of_own(np.arange(9), 3)
    assert near.shape == (9, 3)
    assert all(row not in others for row, others in enumerate(near))


@pytest.mark.parametrize(("n", "k"), [(70, 4), (9, 8), (5, 4)])
def test_earlier_neighbours_are_earlier_and_near(n, k):
    X = RNG.standard_normal((n, 2))
    found = list(earlier_neighbours(X, k))
    rows = np.concatenate([rows for rows, _ in found])
    assert_array_equal(rows, np.arange(k, n))
    gaps = distances(X)
    for some, near in found:
        for row, others in zip(some, near, strict=True):
            assert len(set(others)) == k
            assert (others < row).all()
    # With k times three candidates nearly all are the nearest earlier rows.
    exact = [
        set(others) == set(np.argsort(gaps[row, :row])[:k])
        for some, near in found
        for row, others in zip(some, near, strict=True)
    ]
    assert np.mean(exact) > 0.8


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
@pytest.mark.parametrize("kind", ["diag", "full", None])
def test_gradient_of_the_density(kernel, kind, weighted):
    data = NeighbourData.of(table(20 * 8, weighted), 20)
    lower = np.eye(3) + 0.1 * np.tri(3)
    root = {"diag": np.array([1.0, 2, 0.5]), "full": lower, None: None}[kind]
    point = Hyperparameters(kernel.network(), 0.1, root)
    objective = data.objective(point, width=2.0, covariance_type=kind, free=VARIANCES)
    vector = objective.pack(point)
    _, gradient = objective(vector)
    steps = 1e-6 * np.eye(len(vector))
    numeric = [
        (objective(vector + step)[0] - objective(vector - step)[0]) / 2e-6
        for step in steps
    ]
    assert_allclose(gradient, numeric, atol=1e-6 * np.abs(gradient).max())


def test_density_is_that_of_each_row_given_the_others():
    rows = table(5 * 7, False)
    point = Hyperparameters(NNGP("erf").network(), 0.1)
    data = NeighbourData.of(rows, 5)
    value, _ = data.objective(point, width=1.0, covariance_type=None, free=("alpha",))(
        np.log([0.1])
    )

    def evidence(X, Y):
        return log_evidence(Data(X, Y), point)

    expected = 0.0
    for i in range(5):
        near_X, near_Y = data.near.X[i], data.near.Y[i]
        both = np.vstack([near_X, data.X[i]]), np.vstack([near_Y, data.Y[i]])
        expected += evidence(*both) - evidence(near_X, near_Y)
    assert_allclose(value, expected, rtol=1e-10)


@pytest.fixture
def every_earlier_row(monkeypatch):
    monkeypatch.setattr(subsampling, "GLOBAL_NEIGHBORS", 79)


def posteriors(weighted, n_inducing, kernel=KERNELS[0]):
    rows = table(80, weighted)
    point = Hyperparameters(kernel.network(), 0.05, np.array([1.0, 0.5, 2]))
    data = LocalData(
        rows.X, rows.Y, rows.weights, rows=rows, n_neighbors=80, n_inducing=n_inducing
    )
    local, value = LocalPosterior.fit(data, point)
    local.n_neighbors = 80  # new rows may have all rows as neighbours
    exact, evidence = GaussianPosterior.fit(rows, point)
    return rows, local, value, exact, evidence


@pytest.mark.usefixtures("every_earlier_row")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n_inducing", [0, 15])
@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_all_rows_as_neighbours_are_exact(kernel, n_inducing, weighted):
    _, local, value, exact, evidence = posteriors(weighted, n_inducing, kernel)
    new = RNG.standard_normal((6, 3))
    for found, expected in zip(local.variance(new), exact.variance(new), strict=True):
        assert_allclose(found, expected, atol=1e-8)
    assert_allclose(local.covariance(new)[1], exact.covariance(new)[1], atol=1e-8)
    assert_allclose(value, evidence, atol=1e-6)


def test_leave_one_out_without_inducing_points_is_exact():
    rows, local, _, exact, _ = posteriors(True, 0)
    found, expected = local.leave_one_out(rows), exact.leave_one_out(rows)
    for values, others in zip(found, expected, strict=True):
        assert_allclose(values, others, atol=1e-8)
    assert_allclose(local.effective_dof(rows), exact.effective_dof(rows))


def test_few_neighbours_have_positive_variances_near_the_exact_ones():
    _, local, _, exact, _ = posteriors(False, 10)
    local.n_neighbors = 12
    new = 3 * RNG.standard_normal((50, 3))
    variance, expected = local.variance(new)[1], exact.variance(new)[1]
    assert (variance > 0).all()
    # Fewer rows know less, up to the error of the global part.
    assert np.median(variance / expected) > 0.95
    covariance = local.covariance(new[:5])[1][:, :, 0]
    assert_allclose(np.diag(covariance), variance[:5, 0])
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
