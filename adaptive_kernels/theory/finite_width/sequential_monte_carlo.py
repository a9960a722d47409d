"""Neurons of the tilted density by sequential Monte Carlo from the prior.

The notation is that of `sampled_neurons.py`. See Del Moral, Doucet and Jasra,
"Sequential Monte Carlo samplers", 2006.
"""

from dataclasses import replace
from math import log

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from ..._arrays import asarray_like, index_like, namespace, to_numpy
from ...kernels._recursion import slices_of
from .tilted_distribution import BLOCK_BYTES, Neurons, newton

# Digits of the quasi-random points.
SOBOL_BITS = 30
# Largest number of times that neurons are drawn anew.
MAX_STAGES = 100
# Hamiltonian trajectories that move a neuron each time, and their leapfrog steps.
TRAJECTORIES = 8
LEAPS = 10

# Effective sample sizes, as shares of the neurons, at which Newton steps stop for new
# neurons, and at which the last neurons are good enough. The second is larger, because
# tails of the tilted density that hardly any neuron has reached matter too.
STAGE_SHARE = 0.8
LAST_SHARE = 0.9


def neurons_of_prior(F, activation, n_points, rng):
    """Draw neurons from the prior: quasi-random if p is not too large for Sobol's."""
    p = F.shape[1]
    if p <= qmc.Sobol.MAXDIM:
        uniform = qmc.Sobol(p, rng=rng, bits=SOBOL_BITS).random(n_points)
        normal = ndtri(uniform + 0.5 ** (SOBOL_BITS + 1))
    else:
        normal = rng.standard_normal((n_points, p))
    points = asarray_like(normal, F)
    return Neurons(F, activation, points, 0 * points[:, 0] - log(n_points)).cached()


def sequential_monte_carlo(problem, neurons, rng):
    """Minimise Psi, and draw new neurons whenever the effective sample is too small.

    If the neurons of the prior are good enough to the end, they are not moved and stay
    quasi-random. Returns neurons, Solution and number of Newton steps.
    """
    n_points, u = neurons.points.shape[0], 0 * problem.y
    n_iter, step_size = 0, 0.4
    for _ in range(MAX_STAGES):
        solution = newton(problem, neurons, u, STAGE_SHARE * n_points)
        u, n_iter = solution.state.u, n_iter + solution.n_iter
        if solution.state.size >= LAST_SHARE * n_points:
            break
        neurons, step_size = _resample_move(
            problem, neurons, solution.state, step_size, rng
        )
    return neurons, solution, n_iter


def _resample_move(problem, neurons, state, step_size, rng):
    """Resample neurons by their weights at u and move them; also the new step size."""
    xp, n_points = namespace(state.u), neurons.points.shape[0]
    edges = np.cumsum(to_numpy(state.weights))
    chosen = np.searchsorted(edges, (np.arange(n_points) + rng.random()) / n_points)
    chosen = index_like(np.minimum(chosen, n_points - 1), state.z)
    points = xp.take(neurons.points, chosen, axis=0)
    moved = replace(neurons, points=points, cache=None)
    for _ in range(TRAJECTORIES):
        moved, accepted = _trajectory(problem, moved, state.u, step_size, rng)
        step_size *= 1.1 if accepted > 0.8 else 0.8
    moved = moved.cached()
    log_ratio = state.log_mean - log(n_points) - problem.tilt(moved.project(state.u))
    return replace(moved, log_ratio=log_ratio), step_size


def _trajectory(problem, neurons, u, step_size, rng):
    """Move every neuron by Hamiltonian Monte Carlo; also the share accepted."""
    xp, shape = namespace(u), neurons.points.shape
    momenta = asarray_like(rng.standard_normal(shape), u)
    threshold = asarray_like(-rng.standard_exponential(shape[0]), u)
    step_size *= rng.uniform(0.8, 1.2)
    parts, accepted = [], 0.0
    size = max(1, BLOCK_BYTES // (32 * neurons.F.shape[0]))
    for rows in slices_of(shape[0], size):
        start = neurons.points[rows, :]
        end, change = _leapfrog(problem, neurons, u, start, momenta[rows, :], step_size)
        accept = threshold[rows] < change
        parts.append(xp.where(accept[:, None], end, start))
        accepted += float(xp.sum(xp.astype(accept, u.dtype)))
    return replace(neurons, points=xp.concat(parts, axis=0)), accepted / shape[0]


def _leapfrog(problem, neurons, u, points, momenta, step_size):
    """End of a trajectory under the tilted density, and minus its change of energy."""
    xp = namespace(u)
    value, slope = _log_density(problem, neurons, u, points)
    before = value - xp.sum(momenta**2, axis=1) / 2
    for _ in range(LEAPS):
        momenta = momenta + step_size / 2 * slope
        points = points + step_size * momenta
        value, slope = _log_density(problem, neurons, u, points)
        momenta = momenta + step_size / 2 * slope
    return points, value - xp.sum(momenta**2, axis=1) / 2 - before


def _log_density(problem, neurons, u, points):
    """Log of the tilted density at weights (b, p), up to a constant; its gradient."""
    xp, F = namespace(u), neurons.F
    h = points @ F.T
    z = neurons.activation(h) @ u
    slope = (neurons.activation.derivative(h) * u) @ F
    value = problem.tilt(z) - xp.sum(points**2, axis=1) / 2
    return value, problem.gain / problem.width * z[:, None] * slope - points
