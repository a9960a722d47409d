"""Ascent of the regularised evidence from a starting point."""

from dataclasses import dataclass, replace
from math import inf, isinf

import numpy as np
from scipy.optimize import minimize

from .._array import LinAlgError, namespace, to_numpy
from ._whitening import MOST, Coordinates, updated
from .variational import Hyperparameters

NOISE_BOUNDS = (1e-5, 1e2)
METRIC_BOUNDS = (1e-9, 1e7)
# Steps that L-BFGS remembers.
MEMORY = 20
_FAILED = 1e3
# Gain per observation that may be rounding.
FLAT = 1e-15


@dataclass(frozen=True)
class Solution:
    """Where a climb ended: the point, its objective, and how it stopped.

    residual : float, largest gradient entry of the objective, in nats
    curvature : ndarray (p, p) or None, second derivatives of minus the objective per
        observation, as far as the climb has met them
    """

    point: Hyperparameters
    value: float
    converged: bool
    n_iter: int
    residual: float
    curvature: np.ndarray | None = None


@dataclass(frozen=True)
class Search:
    """What an evidence search may move, and how far it goes.

    template : Hyperparameters, supplies what stays fixed
    bounds : dict, name -> pair relative to its natural unit; absent names are fixed
    max_iter : int, iterations of the last climb
    tol : float, largest gradient entry of the objective at convergence, in nats
    starts : tuple of Hyperparameters, tried besides the natural ones
    """

    template: Hyperparameters
    bounds: dict
    max_iter: int = 200
    tol: float = 0.2
    starts: tuple = ()


def mean_over_rows(data, values):
    """Weighted mean of a vector over rows, or 1 where it vanishes."""
    return float(namespace(values).sum(data.shares() * values)) or 1.0


def mean_square(data):
    """Mean squared entry of X, or 1 where X is zero."""
    return mean_over_rows(data, namespace(data.X).mean(data.X * data.X, axis=1))


def target_variance(data):
    """Variance of the targets, averaged over outputs, or 1 if they are constant."""
    xp = namespace(data.Y)
    centre = xp.sum(data.shares()[:, None] * data.Y, axis=0)
    return mean_over_rows(data, xp.mean((data.Y - centre) ** 2, axis=1))


def _box(problem, search, data):
    """Box of the vector of `problem`; bounds are relative to natural units."""
    spread = target_variance(data)
    units = {"weight_variance": 1 / mean_square(data), "bias_variance": 1.0}
    box = []
    for name in problem.free:
        low, high = search.bounds[name]
        unit = units.get(name, spread)
        box.append((np.log(low * unit), np.log(high * unit)))
    low, high = np.log(METRIC_BOUNDS)
    if problem.covariance_type == "diag":
        box += [(low, high)] * problem.d
    elif problem.covariance_type == "full":
        for i in range(problem.d):
            box += [(-inf, inf)] * i + [(low / 2, high / 2)]
    return np.array(box).reshape(-1, 2)


def climb(
    data,
    search,
    point,
    *,
    width,
    covariance_type,
    tree=False,
    max_iter=None,
    curvature=None,
):
    """Follow the gradient of the regularised evidence from a point with L-BFGS.

    Where the kernel matrix is not positive definite the objective counts as very bad,
    so that the line search backs off. `tree` leaves the log determinant out.
    `curvature` is that of a `Solution` near by, of other rows.
    """
    n, d = data.X.shape
    if covariance_type == "full" and n < d and not isinf(width):
        space = _RowSpace(data.X)
        reduced = climb(
            replace(data, X=space.inputs),
            replace(search, template=space.enter(search.template), starts=()),
            space.enter(point),
            width=width,
            covariance_type="full",
            tree=tree,
            max_iter=max_iter,
        )
        point = space.leave(reduced.point)
        return replace(reduced, point=point, curvature=None)
    problem = data.at(point).objective(
        search.template,
        width=width,
        covariance_type=covariance_type,
        free=tuple(search.bounds),
        tree=tree,
    )
    limit = search.max_iter if max_iter is None else max_iter
    start = problem.pack(point)
    if len(start) == 0:
        return Solution(search.template, 0.0, True, 0, 0.0)
    if curvature is not None and len(curvature) != len(start):
        curvature = None
    box = _box(problem, search, data)
    return _ascend(problem, start, box, limit, search.tol, curvature)


def _ascend(problem, point, box, limit, tol, curvature):
    descent = _Descent(problem, problem.data.observations())
    point, n_iter, learned = np.clip(point, box[:, 0], box[:, 1]), 0, curvature
    least = 1e-3 * tol / descent.size
    loss = 0.0
    while True:
        leg = _Leg(descent, point, box, curvature).run(limit - n_iter, tol, least)
        point, n_iter, gain = leg.end, n_iter + leg.n_iter, loss - leg.loss
        learned = learned if leg.curvature is None else leg.curvature
        stuck = gain <= FLAT and curvature is None
        if leg.residual <= 10 * tol or stuck or n_iter >= limit:
            break
        # Slow progress may be stale curvature: go on with a fresh memory.
        loss, curvature = leg.loss, None
    return Solution(
        problem.unpack(point),
        descent.value(leg.loss),
        leg.residual <= 10 * tol,
        n_iter,
        leg.residual,
        learned,
    )


class _Leg:
    """One run of L-BFGS; afterwards where it came to and what it learned.

    end : ndarray (p,)
    loss : float, per observation
    residual : float, largest gradient entry not held by a bound, in nats
    curvature : ndarray (p, p) or None, per observation
    """

    def __init__(self, descent, point, box, curvature):
        self.descent, self.curvature = descent, curvature
        # In nats, so that a step of one is a usual one.
        known = None if curvature is None else descent.size * curvature
        self.coordinates = Coordinates.of(point, box, known)
        self.end, self.track = point, []

    def run(self, limit, tol, least):
        """At most `limit` iterations, and while they gain as much as `least`."""
        coordinates, size = self.coordinates, self.descent.size
        result = minimize(
            self._loss,
            coordinates.start(self.end),
            jac=True,
            method="L-BFGS-B",
            bounds=coordinates.box,
            callback=lambda intermediate_result: self._stop(intermediate_result, tol),
            options={
                "maxiter": limit,
                "maxcor": MEMORY,
                "ftol": least,
                "gtol": 0.0 if coordinates.transform is not None else tol / size,
            },
        )
        self.n_iter, self.loss = int(result.nit), float(result.fun)
        self.end = coordinates.point(result.x)
        self.gradient = coordinates.push(result.jac)
        if self.loss > self.descent.best[0]:
            # The line search has ended where the kernel matrix cannot be factorised.
            self.loss, self.end, self.gradient = self.descent.best
        self.residual = self._residual()
        if len(self.end) <= MOST and self.track:
            points, gradients = zip(*self.track, strict=True)
            self.curvature = updated(self.curvature, points, gradients)
        return self

    def _loss(self, z):
        self.end = self.coordinates.point(z)
        inside = self.coordinates.inside(self.end)
        evaluate = self.descent if inside else self.descent.refuse
        loss, self.gradient = evaluate(self.end)
        if not self.track:
            self.track.append((self.end, self.gradient))
        return loss, self.coordinates.pull(self.gradient)

    def _stop(self, reached, tol):
        """Note the point that an iteration has reached; end where it is good enough."""
        if np.array_equal(self.coordinates.point(reached.x), self.end):
            self.track.append((self.end, self.gradient))
            if self._residual() <= tol:
                raise StopIteration

    def _residual(self):
        free = self.coordinates.free(self.end, self.gradient)
        return float(np.max(np.abs(self.gradient) * free)) * self.descent.size


class _RowSpace:
    """Coordinates in the span of fewer rows than features.

    Outside the span nothing pulls the covariance from its prior, so that M is the
    identity there and n x n numbers say all.
    """

    def __init__(self, X):
        basis, lower = namespace(X).linalg.qr(X.T)
        self.inputs, self.basis = lower.T, to_numpy(basis)
        self.share = X.shape[0] / X.shape[1]

    def _point(self, point, factor, root):
        weight = factor * point.network.weight_variance
        return replace(
            point, network=replace(point.network, weight_variance=weight), root=root
        )

    def enter(self, point):
        """The point seen from inside the span."""
        root = point.root
        if root is not None:
            rows = self.basis.T * root if root.ndim == 1 else self.basis.T @ root
            root = np.linalg.cholesky(rows @ rows.T)
        return self._point(point, self.share, root)

    def leave(self, point):
        """The point on all features."""
        inner = point.root - np.eye(len(point.root))
        root = np.eye(len(self.basis)) + self.basis @ inner @ self.basis.T
        return self._point(point, 1 / self.share, root)


class _Descent:
    """Objective per observation, to be minimised, measured from its first value."""

    def __init__(self, problem, size):
        self.problem, self.size = problem, size
        self.first, self.worst = None, 0.0
        self.best = inf, None, None

    def __call__(self, vector):
        try:
            value, gradient = self.problem(vector)
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

    def refuse(self, vector):
        """So bad a value that a line search backs off."""
        return self.worst + _FAILED, np.zeros_like(vector)

    def value(self, loss):
        """The objective behind a loss; -inf if no point could be evaluated."""
        return -inf if self.first is None else self.first - loss * self.size
