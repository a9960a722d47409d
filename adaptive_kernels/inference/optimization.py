"""Maximise the regularised evidence from a starting point, by runs of L-BFGS."""

from dataclasses import dataclass, replace
from math import inf
from typing import cast

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from .._arrays import Array, LinAlgError, namespace, to_numpy
from .evidence import Hyperparameters, RegularizedEvidence
from .evidence_problem import EvidenceProblem
from .preconditioning import MOST, Preconditioner, updated

# Bounds of the noise as a share of the targets' variance: below, the kernel matrix may
# not be positive definite in double precision; above, everything is noise.
NOISE_BOUNDS = (1e-5, 1e2)
# Steps that L-BFGS remembers: more than SciPy's 10, as a factorisation costs far more.
MEMORY = 20
# Added to the largest loss so far where the objective cannot be evaluated: so much in
# nats per observation that every line search steps back.
_FAILED = 1e3
# A gain per observation up to this may be rounding: a few units of double precision.
FLAT = 1e-15


@dataclass(frozen=True)
class Solution:
    """Where the optimizer ended: the point, its objective, and how it stopped.

    point : Hyperparameters
    value : float, objective at the point
    converged : bool
    n_iter : int
    residual : float, largest gradient entry of the objective, in nats
    curvature : ndarray (p, p) or None, estimate by the optimizer of the second
        derivatives of minus the objective per observation
    """

    point: Hyperparameters
    value: float
    converged: bool
    n_iter: int
    residual: float
    curvature: np.ndarray | None = None


def maximize_evidence(
    problem: EvidenceProblem,
    point: Hyperparameters,
    *,
    max_iter: int | None = None,
    curvature: np.ndarray | None = None,
) -> Solution:
    """Maximise the objective of an `EvidenceProblem` from a point with L-BFGS.

    Where the kernel matrix is not positive definite the loss is set very high, so that
    the line search steps back. `curvature` is that of a nearby `Solution`, usually on
    fewer rows.
    """
    n, d = problem.data.X.shape
    full = problem.covariance_type == "full" and not problem.has_infinite_width()
    if full and n < d:
        return _maximize_in_row_space(problem, point, max_iter)
    objective = problem.objective(point)
    start = objective.pack(point)
    if len(start) == 0:
        return Solution(problem.template, 0.0, True, 0, 0.0)
    if curvature is not None and len(curvature) != len(start):
        curvature = None
    limit = problem.max_iter if max_iter is None else max_iter
    box = problem.box(objective)
    return _maximize(objective, start, box, limit, problem.tol, curvature)


def _maximize_in_row_space(
    problem: EvidenceProblem, point: Hyperparameters, max_iter: int | None
) -> Solution:
    """Maximise in the span of the rows: a full covariance, more features than rows."""
    space = _RowSpace(problem.data.X)
    reduced = maximize_evidence(
        replace(
            problem,
            data=replace(problem.data, X=space.inputs),
            template=space.enter(problem.template),
            starts=(),
        ),
        space.enter(point),
        max_iter=max_iter,
    )
    return replace(reduced, point=space.leave(reduced.point), curvature=None)


def warm_start(
    problem: EvidenceProblem, solution: Solution, *, max_iter: int | None = None
) -> Solution:
    """Maximise from the point and with the curvature of another problem's solution."""
    return maximize_evidence(
        problem, solution.point, max_iter=max_iter, curvature=solution.curvature
    )


def continued(
    problem: EvidenceProblem, solution: Solution, *, max_iter: int | None = None
) -> Solution:
    """Like `warm_start`, but count the iterations of both solutions."""
    found = warm_start(problem, solution, max_iter=max_iter)
    return replace(found, n_iter=found.n_iter + solution.n_iter)


def _maximize(
    objective: RegularizedEvidence,
    point: np.ndarray,
    box: np.ndarray,
    limit: int,
    tol: float,
    curvature: np.ndarray | None,
) -> Solution:
    """Runs of L-BFGS, each with a fresh memory, until the gradient is small enough."""
    negated = _NegatedObjective(objective)
    point, n_iter, learned = np.clip(point, box[:, 0], box[:, 1]), 0, curvature
    # A run ends when an iteration gains less than 1e-3 tol nats.
    least = 1e-3 * tol / negated.size
    loss = 0.0
    while True:
        run = _LbfgsRun(negated, point, box, curvature)
        run.minimize(limit - n_iter, tol, least)
        # A run without an iteration counts as one, so that the loop ends at the limit.
        n_iter += max(run.n_iter, 1)
        point, gain = run.end, loss - run.loss
        learned = learned if run.curvature is None else run.curvature
        stuck = gain <= FLAT and curvature is None
        if run.residual <= 10 * tol or stuck or n_iter >= limit:
            break
        # Old curvature may be the reason for slow progress: drop it, start a new run.
        loss, curvature = run.loss, None
    return Solution(
        objective.unpack(point),
        negated.value(run.loss),
        run.residual <= 10 * tol,
        n_iter,
        run.residual,
        learned,
    )


class _LbfgsRun:
    """One run of L-BFGS. The attributes hold its result after `minimize`.

    end : ndarray (p,), last point
    loss : float, per observation
    residual : float, largest gradient entry not held by a bound, in nats
    curvature : ndarray (p, p) or None, per observation
    """

    track: list[tuple[np.ndarray, np.ndarray]]

    def __init__(
        self,
        negated: "_NegatedObjective",
        point: np.ndarray,
        box: np.ndarray,
        curvature: np.ndarray | None,
    ) -> None:
        self.negated, self.curvature = negated, curvature
        # In nats, not per observation: good steps then have a length of about one.
        known = None if curvature is None else negated.size * curvature
        self.preconditioner = Preconditioner.of(point, box, known)
        self.end, self.track = point, []

    def minimize(self, limit: int, tol: float, least: float) -> None:
        """Run at most `limit` iterations, while each gains `least` or more."""
        preconditioner, size = self.preconditioner, self.negated.size
        result = minimize(
            self._loss,
            preconditioner.to_preconditioned(self.end),
            jac=True,
            method="L-BFGS-B",
            bounds=preconditioner.box,
            callback=lambda intermediate_result: self._stop(intermediate_result, tol),
            options={
                "maxiter": limit,
                "maxcor": MEMORY,
                "ftol": least,
                # With a preconditioner `_stop` tests the gradient of the original x.
                "gtol": 0.0 if preconditioner.transform is not None else tol / size,
            },
        )
        self.n_iter, self.loss = int(result.nit), float(result.fun)
        self.end = preconditioner.to_original(result.x)
        self.gradient = preconditioner.gradient_to_original(result.jac)
        if self.loss > self.negated.best[0]:
            # The line search has ended where the objective cannot be evaluated.
            self.loss, self.end, self.gradient = self.negated.best
        self.residual = self._residual()
        if len(self.end) <= MOST and self.track:
            points, gradients = zip(*self.track, strict=True)
            self.curvature = updated(self.curvature, points, gradients)

    def _loss(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        self.end = self.preconditioner.to_original(z)
        inside = self.preconditioner.inside(self.end)
        evaluate = self.negated if inside else self.negated.refuse
        loss, self.gradient = evaluate(self.end)
        if not self.track:
            self.track.append((self.end, self.gradient))
        return loss, self.preconditioner.gradient_to_preconditioned(self.gradient)

    def _stop(self, reached: OptimizeResult, tol: float) -> None:
        """Record the point of an iteration; stop if its gradient is small enough."""
        if np.array_equal(self.preconditioner.to_original(reached.x), self.end):
            self.track.append((self.end, self.gradient))
            if self._residual() <= tol:
                raise StopIteration

    def _residual(self) -> float:
        free = self.preconditioner.free(self.end, self.gradient)
        return float(np.max(np.abs(self.gradient) * free)) * self.negated.size


class _RowSpace:
    """Coordinates in the span of fewer rows than features.

    The data do not depend on directions outside the span. There M stays at its prior,
    the identity, so that an n x n matrix describes M completely.
    """

    def __init__(self, X: Array) -> None:
        basis, lower = namespace(X).linalg.qr(X.T)
        self.inputs, self.basis = lower.T, to_numpy(basis)
        self.share = X.shape[0] / X.shape[1]

    def _point(
        self, point: Hyperparameters, factor: float, R: np.ndarray | None
    ) -> Hyperparameters:
        weight = factor * point.network.weight_variance
        network = replace(point.network, weight_variance=weight)
        return replace(point, network=network, metric_sqrt=R)

    def enter(self, point: Hyperparameters) -> Hyperparameters:
        """Convert a point to coordinates of the span."""
        R = point.metric_sqrt
        if R is not None:
            rows = self.basis.T * R if R.ndim == 1 else self.basis.T @ R
            R = np.linalg.cholesky(rows @ rows.T)
        return self._point(point, self.share, R)

    def leave(self, point: Hyperparameters) -> Hyperparameters:
        """Convert a point back to all features."""
        inner = cast(np.ndarray, point.metric_sqrt) - np.eye(
            len(cast(np.ndarray, point.metric_sqrt))
        )
        R = np.eye(len(self.basis)) + self.basis @ inner @ self.basis.T
        return self._point(point, 1 / self.share, R)


class _NegatedObjective:
    """Minus the objective per observation, less its value at the first point."""

    first: float | None
    best: tuple[float, Array, Array]

    def __init__(self, objective: RegularizedEvidence) -> None:
        self.objective, self.size = objective, objective.data.observations()
        self.first, self.worst = None, 0.0
        self.best = inf, None, None

    def __call__(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        try:
            value, gradient = self.objective(vector)
        except LinAlgError:
            value, gradient = -inf, vector
        if not (np.isfinite(value) and np.all(np.isfinite(gradient))):
            return self.refuse(vector)
        self.first = value if self.first is None else self.first
        loss = (self.first - value) / self.size
        self.worst = max(self.worst, loss)
        if loss < self.best[0]:
            self.best = loss, vector.copy(), -gradient / self.size
        return loss, -gradient / self.size

    def refuse(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """A loss so large that a line search steps back, and a zero gradient."""
        return self.worst + _FAILED, np.zeros_like(vector)

    def value(self, loss: float) -> float:
        """Convert a loss to the objective; -inf if no point could be evaluated."""
        return -inf if self.first is None else self.first - loss * self.size
