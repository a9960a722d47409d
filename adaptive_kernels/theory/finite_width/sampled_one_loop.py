"""One-loop corrections and sampling errors of the theory of sampled neurons."""

from dataclasses import dataclass, replace

from ..._arrays import Array, cho_solve, clip, eigh, namespace, solve_triangular
from .tilted_distribution import couplings


def second_moment(neurons, weights):
    """Weighted second moment (d, d) of the neurons' input weights."""
    points = neurons.points
    return points.T @ (weights[:, None] * points)


@dataclass(frozen=True)
class _Loop:
    """One-loop results as sums over the M neurons of the tree level.

    coefficients : array (M,), with f(x) = phi(x)' coefficients
    weights : array (M,), of averages of a function of one neuron's weights
    shift : array (n,), change of the dual vector u
    """

    coefficients: Array
    weights: Array
    shift: Array


def one_loop_sums(problem, neurons, solution):
    """Expand around the tree level, in the notation of `sampled_neurons.py`.

    With b = phi' B phi, B = M^{-1},

    L'_k = N <a phi_k>,    tau = <b w2>,    w3 = 3 p1 g / N + p1^3,
    a = b w3 - tau p1 - 2 w2 phi'B m + 2 (m'B m) p1,

    and d <O> = - (1/2) Cov(w2 b - 2 p1 phi'B m - p1 phi'B L', O).
    """
    state, factor = solution.state, solution.factor
    xp, weights, width = namespace(state.u), state.weights, problem.width
    p1, w2 = couplings(problem, state)
    w3 = (3 * problem.gain / width + p1**2) * p1
    m = neurons.average(weights * p1)
    Bm = cho_solve(factor, m[:, None])[:, 0]
    b, pull = _leverages(neurons, factor), neurons.project(Bm)
    tau, spread = float(weights @ (b * w2)), float(m @ Bm)
    a = b * w3 - 2 * w2 * pull + (2 * spread - tau) * p1
    slope = width * neurons.average(weights * a)
    shift = cho_solve(factor, slope[:, None])[:, 0] / 2
    push = neurons.project(shift)
    fluctuation = w2 * push - p1 * float(m @ shift) - a / 2
    change = p1 * (push + pull) - w2 * b / 2
    return _Loop(
        width * weights * (p1 + fluctuation),
        weights * (1 + change - xp.sum(weights * change)),
        shift,
    )


def _leverages(neurons, factor):
    """The leverage phi' M^{-1} phi of every neuron."""
    xp, parts = namespace(factor), []
    for _, phi in neurons.blocks():
        half = solve_triangular(factor, phi.T)
        parts.append(xp.sum(half * half, axis=0))
    return xp.concat(parts)


def positive_definite(covariance):
    """The covariance with its negative eigenvalues, which are errors, set to zero."""
    values, vectors = eigh(covariance)
    if float(values[0]) >= 0:
        return covariance
    return (vectors * clip(values, 0.0)) @ vectors.T


def sampling_errors(problem, neurons, solution, precision, loops):
    """Sampling errors of leave-one-out predictions: a list of tree level and one loop.

    The predictions are y - u / precision. Their errors follow from the spread of u over
    eight groups of the neurons. For quasi-random neurons of the prior this is an upper
    bound: all together they are more even than a group.
    """
    xp, state, duals = namespace(problem.y), solution.state, []
    residual = problem.noise * state.u - problem.y
    for group in (slice(start, None, GROUPS) for start in range(GROUPS)):
        some = neurons.take(group)
        weights = state.weights[group] / xp.sum(state.weights[group])
        part = replace(state, z=state.z[group], weights=weights)
        p1, _ = couplings(problem, part)
        slope = residual + problem.width * some.average(weights * p1)
        tree = -cho_solve(solution.factor, slope[:, None])[:, 0]
        orders = [tree]
        if loops:
            loop = one_loop_sums(problem, some, replace(solution, state=part))
            orders.append(tree + loop.shift)
        duals.append(xp.stack(orders))
    spread = xp.std(xp.stack(duals), axis=0, correction=1) / GROUPS**0.5
    left_out = xp.sum((spread / precision) ** 2, axis=1)
    size = float(xp.sum(problem.y**2)) or 1.0
    return [(float(square) / size) ** 0.5 for square in left_out]


# Number of groups of neurons that `sampling_errors` compares.
GROUPS = 8
