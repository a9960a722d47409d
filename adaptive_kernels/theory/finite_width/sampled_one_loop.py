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
    """One-loop results as sums over the neurons i of the tree level.

    coefficients : array (n_neurons,), with f_1(x) = sum_i coefficients_i phi_i(x)
    weights : array (n_neurons,), with <O>_1 = sum_i weights_i O_i
    shift : array (n,), change of the dual vector u
    """

    coefficients: Array
    weights: Array
    shift: Array


def one_loop_sums(problem, neurons, solution):
    """Expand around the tree level, in the notation of `sampled_neurons.py`.

    With B = M^{-1} for the Hessian M, b = phi'B phi, tau = <b w2> and
    w3 = 3 p1 g / N + p1^3, the slope of log det M and the shift of u are

        L' = N <a phi>,    a = b w3 - tau p1 - 2 w2 phi'B m + 2 (m'B m) p1,
        shift = B L' / 2.

    Here a and b are numbers of every neuron, and m is a vector over training rows. The
    mean f_1 = f + K_*t shift - L'_* / 2 and any other average <O> become

        f_1(x) = N <(p1 + w2 phi'shift - p1 m'shift - a / 2) phi(x)>,
        <O>_1 = <O> + Cov(c, O),    c = p1 phi'shift + p1 phi'B m - w2 b / 2.
    """
    state, factor = solution.state, solution.factor
    xp, weights, width = namespace(state.u), state.weights, problem.width
    p1, w2 = couplings(problem, state)
    w3 = (3 * problem.gain / width + p1**2) * p1
    m = neurons.average(weights * p1)
    Bm = cho_solve(factor, m[:, None])[:, 0]
    b, phi_Bm = _leverages(neurons, factor), neurons.project(Bm)
    tau, m_Bm = float(weights @ (b * w2)), float(m @ Bm)
    a = b * w3 - 2 * w2 * phi_Bm + (2 * m_Bm - tau) * p1
    slope = width * neurons.average(weights * a)
    shift = cho_solve(factor, slope[:, None])[:, 0] / 2
    phi_shift, m_shift = neurons.project(shift), float(m @ shift)
    coefficients = p1 + (w2 * phi_shift - p1 * m_shift - a / 2)
    c = p1 * (phi_shift + phi_Bm) - w2 * b / 2
    # Cov(c, O) = <(c - <c>) O>
    mean_c = xp.sum(weights * c)
    return _Loop(
        coefficients=width * weights * coefficients,
        weights=weights * (1 + c - mean_c),
        shift=shift,
    )


def _leverages(neurons, factor):
    """The leverage b = phi' M^{-1} phi of every neuron, M = L L' with L the factor."""
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
