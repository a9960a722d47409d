"""Runs of the optimizer that go on from what others have learned of the curvature."""

from math import inf

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize

from adaptive_kernels import AdaptiveKernelRegressor
from adaptive_kernels.inference import optimization
from adaptive_kernels.inference.evidence import Data, Hyperparameters
from adaptive_kernels.inference.evidence_problem import EvidenceProblem
from adaptive_kernels.inference.moments import target_variance
from adaptive_kernels.inference.optimization import (
    NOISE_BOUNDS,
    maximize_evidence,
    warm_start,
)
from adaptive_kernels.inference.preconditioning import MARGIN, Preconditioner, updated
from adaptive_kernels.kernels import NNGP

rng = np.random.default_rng(0)
P = 5
HALF = rng.standard_normal((P, P))
HESSIAN = HALF @ HALF.T + 0.1 * np.eye(P)
FREE_LIMITS = np.tile([-50.0, 50.0], (P, 1))
BOUNDS = dict.fromkeys(
    ("weight_variance", "bias_variance", "readout_variance"), (1e-5, 1e5)
)


def table(n, noise=0.1, seed=0):
    X = np.random.default_rng(seed).standard_normal((n, 4))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    y += noise * np.random.default_rng(seed + 100).standard_normal(n)
    return Data(X, ((y - y.mean()) / y.std())[:, None])


TEMPLATE = Hyperparameters(NNGP("erf").network(), 0.1)


def problem_of(data, tol=0.2, **changes):
    """At width 3 with a diagonal covariance, unless changed."""
    given = {"bounds": {**BOUNDS, "alpha": NOISE_BOUNDS}, "width": 3.0}
    given |= {"covariance_type": "diag", "tol": tol, **changes}
    return EvidenceProblem(data, TEMPLATE, **given)


@pytest.fixture
def evaluations(monkeypatch):
    """Rows of the data of every evaluation of an objective."""
    rows = []

    class Counted(optimization._NegatedObjective):
        def __call__(self, vector):
            rows.append(self.objective.data.X.shape[0])
            return super().__call__(vector)

    monkeypatch.setattr(optimization, "_NegatedObjective", Counted)
    return rows


def test_preconditioned_coordinates_turn_the_curvature_into_one():
    origin = rng.standard_normal(P)
    ours = Preconditioner.of(origin, FREE_LIMITS, HESSIAN)
    enter, pull = ours.to_preconditioned, ours.gradient_to_preconditioned
    S = ours.transform
    assert_allclose(S.T @ HESSIAN @ S, np.eye(P), atol=1e-12)
    point, gradient = rng.standard_normal((2, P))
    assert_allclose(ours.to_original(enter(point)), point)
    assert_allclose(enter(origin), 0, atol=1e-15)
    # Slopes are the same number in both: g dx = g_z dz.
    moved = enter(point + 0.1) - enter(point)
    assert_allclose(pull(gradient) @ moved, 0.1 * gradient.sum())
    assert_allclose(ours.gradient_to_original(pull(gradient)), gradient)


def test_entries_near_a_bound_keep_it():
    limits = np.array([[-MARGIN / 2, 50.0]] * 2 + [[-50.0, 50.0]] * 3)
    coordinates = Preconditioner.of(np.zeros(P), limits, HESSIAN)
    assert np.all(np.isinf(coordinates.box[2:]))
    for entry in (0, 1):
        z = np.zeros(P)
        z[entry] = coordinates.box[entry, 0]
        expected = np.zeros(P)
        expected[entry] = -MARGIN / 2
        assert_allclose(coordinates.to_original(z), expected)
    far = coordinates.transform[2:, 2:]
    assert_allclose(far.T @ HESSIAN[2:, 2:] @ far, np.eye(3), atol=1e-12)
    assert coordinates.inside(np.zeros(P))
    assert not coordinates.inside(np.array([0, 0, 0, 0, 51.0]))


@pytest.mark.parametrize("known", [None, np.eye(P) + HESSIAN / 2], ids=["none", "some"])
def test_the_curvature_of_a_quadratic_is_learned(known):
    points = []
    minimize(
        lambda x: (0.5 * x @ HESSIAN @ x, HESSIAN @ x),
        np.arange(1.0, P + 1),
        jac=True,
        method="L-BFGS-B",
        callback=points.append,
        options={"maxcor": 3, "gtol": 1e-12, "ftol": 0},
    )
    found = updated(known, points, [HESSIAN @ x for x in points])
    assert_allclose(found, found.T)
    # A quasi-Newton method converges to the Hessian along the directions it took.
    assert_allclose(found, HESSIAN, atol=0.05 * np.linalg.norm(HESSIAN))
    last = points[-1] - points[-2]
    assert_allclose(found @ last, HESSIAN @ last, rtol=1e-6, atol=1e-12)


def test_nothing_is_learned_from_no_step_or_a_concave_one():
    one = [np.ones(P)]
    assert updated(None, one, one) is None
    backwards = [np.zeros(P), np.ones(P)], [np.ones(P), np.zeros(P)]
    assert updated(None, *backwards) is None
    assert_array_equal(updated(HESSIAN, *backwards), HESSIAN)


def test_no_bound_holds_what_moves_inwards():
    coordinates = Preconditioner.of(np.zeros(3), np.tile([-1.0, 1.0], (3, 1)))
    nearly = np.array([-1 + 1e-15, 1.0, 0.0])
    assert list(coordinates.free(nearly, np.array([1.0, -1.0, 1.0]))) == [0, 0, 1]
    assert list(coordinates.free(nearly, np.array([-1.0, 1.0, 1.0]))) == [1, 1, 1]


def test_a_curvature_that_is_none_is_not_used():
    wrong = np.diag([1.0, 1.0, -1.0, 1.0, 1.0])
    assert Preconditioner.of(np.zeros(P), FREE_LIMITS, wrong).transform is None
    # The entry near its bound has no curvature to be scaled by.
    flat = np.diag([0.0, 1.0, 1.0, 1.0, 1.0])
    limits = np.array([[-MARGIN / 2, 50.0]] + [[-50.0, 50.0]] * 4)
    assert Preconditioner.of(np.zeros(P), limits, flat).transform is None


def hessian_by_differences(data, problem, solution):
    z, step = problem.pack(solution.point), 1e-4
    columns = [
        (problem(z + step * e)[1] - problem(z - step * e)[1]) / (2 * step)
        for e in np.eye(len(z))
    ]
    return -np.array(columns) / data.observations()


def test_the_curvature_of_the_evidence_is_learned():
    data = table(150)
    problem = problem_of(data, 1e-2, width=5.0)
    found = maximize_evidence(problem, TEMPLATE)
    expected = hessian_by_differences(data, problem.objective(TEMPLATE), found)
    assert np.linalg.eigvalsh(expected)[0] > 0
    # Where the curvature is large the optimizer has met it most: to a factor of 3,
    # which a change of coordinates can live with.
    values, vectors = np.linalg.eigh(expected)
    learned = np.diag(vectors.T @ found.curvature @ vectors)
    assert np.all(np.abs(np.log(learned[-3:] / values[-3:])) < np.log(3))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diag", "full"])
def test_more_rows_need_fewer_steps(evaluations, kind):
    spent = {"plain": 0, "white": 0}
    for seed in range(2):
        few, many = table(150, seed=seed), table(350, seed=seed)
        few, many = (problem_of(data, covariance_type=kind) for data in (few, many))
        start = maximize_evidence(few, TEMPLATE)
        exact = problem_of(many.data, 1e-3, covariance_type=kind)
        best = maximize_evidence(exact, start.point).value
        for name, curvature in (("plain", None), ("white", start.curvature)):
            evaluations.clear()
            found = maximize_evidence(many, start.point, curvature=curvature)
            spent[name] += len(evaluations)
            # Both stop where no entry of the gradient is much above 0.2 nats.
            assert found.converged and found.value > best - 0.5
    assert spent["white"] <= 0.75 * spent["plain"]


def test_the_residual_is_that_of_the_gradient():
    problem = problem_of(table(200))
    few = maximize_evidence(problem_of(table(100)), TEMPLATE)
    found = warm_start(problem, few)
    objective = problem.objective(TEMPLATE)
    gradient = objective(objective.pack(found.point))[1]
    assert_allclose(found.residual, np.abs(gradient).max(), rtol=1e-3)


def test_a_useless_curvature_does_no_harm():
    problem = problem_of(table(200), 0.01)
    expected = maximize_evidence(problem, TEMPLATE)
    for wrong in (1e6 * np.eye(8), 1e-6 * np.eye(8), np.eye(3)):
        found = maximize_evidence(problem, TEMPLATE, curvature=wrong)
        assert_allclose(found.value, expected.value, atol=0.3)


def test_bounds_hold_with_a_curvature():
    data = table(300, noise=0.0)
    few = maximize_evidence(problem_of(table(150, noise=0.0)), TEMPLATE)
    found = warm_start(problem_of(data), few)
    lowest = NOISE_BOUNDS[0] * target_variance(data)
    assert found.point.alpha >= lowest * (1 - 1e-6)
    plain = maximize_evidence(problem_of(data), few.point)
    assert_allclose(found.point.alpha, plain.point.alpha, rtol=0.1)
    assert_allclose(found.value, plain.value, atol=2)


def test_an_optimum_behind_a_distant_bound_is_found():
    # The optimizer starts with margin and wants to go far below the least noise.
    data, how = table(200, noise=0.0), {"width": inf, "covariance_type": None}
    bounds = {**BOUNDS, "alpha": (1e-2, 1e2)}
    narrow = problem_of(data, bounds=bounds, max_iter=100, **how)
    first = maximize_evidence(problem_of(table(100), **how), TEMPLATE)
    begin = Hyperparameters(first.point.network, 0.2)
    found = maximize_evidence(narrow, begin, curvature=first.curvature)
    assert_allclose(found.point.alpha, 1e-2 * target_variance(data), rtol=1e-3)
    assert found.converged


def test_rows_of_a_row_space_hand_nothing_on():
    wide = Data(rng.standard_normal((10, 20)), rng.standard_normal((10, 1)))
    problem = problem_of(wide, width=5.0, covariance_type="full")
    found = maximize_evidence(problem, TEMPLATE)
    assert found.curvature is None


def test_a_fit_goes_on_with_what_its_samples_have_taught(monkeypatch):
    handed = []

    def noting(problem, point, *, curvature=None, **how):
        found = maximize_evidence(problem, point, curvature=curvature, **how)
        handed.append((problem.data.X.shape[0], curvature, found.curvature))
        return found

    monkeypatch.setattr(optimization, "maximize_evidence", noting)
    data = table(500)
    AdaptiveKernelRegressor().fit(data.X, data.Y[:, 0])
    (*_, (few, _, learned), (many, given, _)) = handed
    assert (few, many) == (400, 500)
    assert given is learned and given.shape == (8, 8)
