"""The convex problem of the theory of sampled neurons, and its Newton steps.

The notation is that of `sampled_neurons.py`.
"""

from dataclasses import dataclass, replace
from math import isfinite

from ..._arrays import (
    Array,
    LinAlgError,
    add_to_diagonal,
    cho_solve,
    cholesky,
    diagonal,
    namespace,
)
from ...kernels._activations import Activation
from ...kernels._recursion import slices_of

# Size of a block of phi, and the largest phi that is kept in memory.
BLOCK_BYTES = 2**25
CACHE_BYTES = 2**30
# Largest number of Newton steps for one sample of neurons.
MAX_ITER = 100


@dataclass(frozen=True)
class Problem:
    """Parameters of Psi.

    y : array (n,), targets
    noise : float or array (n,), kappa
    gain : float, g
    width : float, N
    """

    y: Array
    noise: float | Array
    gain: float
    width: float

    def tilt(self, z):
        """Exponent (g / 2 N) z^2 of the tilted density."""
        return self.gain / (2 * self.width) * z**2


@dataclass(frozen=True)
class Neurons:
    """A weighted sample of the prior of a neuron, evaluated on rows F, in blocks.

    F : array (n, p), features of the rows
    points : array (M, p), weights w of the neurons
    log_ratio : array (M,), log of prior / (M times the density the points are from)
    cache : array (M, n) or None, phi on the rows
    """

    F: Array
    activation: Activation
    points: Array
    log_ratio: Array
    cache: Array | None = None

    def cached(self):
        """The same neurons, with phi kept where it fits in `CACHE_BYTES`."""
        if 8 * self.points.shape[0] * self.F.shape[0] > CACHE_BYTES:
            return self
        return replace(self, cache=self.activation(self.points @ self.F.T))

    def on(self, F):
        """The same neurons on other rows."""
        return replace(self, F=F, cache=None)

    def take(self, group):
        """Some of the neurons, by a slice."""
        points, log_ratio = self.points[group, :], self.log_ratio[group]
        cache = None if self.cache is None else self.cache[group, :]
        return replace(self, points=points, log_ratio=log_ratio, cache=cache)

    def blocks(self, n_others=0):
        """Yield slices of the neurons and their phi on the rows, (b, n).

        Blocks are small enough for `n_others` rows in place of n.
        """
        size = max(1, BLOCK_BYTES // (8 * max(self.F.shape[0], n_others)))
        for rows in slices_of(self.points.shape[0], size):
            if self.cache is None:
                yield rows, self.activation(self.points[rows, :] @ self.F.T)
            else:
                yield rows, self.cache[rows, :]

    def project(self, vector):
        """Product phi' v of every neuron with a vector v (n,): (M,)."""
        return namespace(vector).concat([phi @ vector for _, phi in self.blocks()])

    def average(self, linear):
        """Sum over neurons of linear * phi, with linear (M,): (n,)."""
        return sum(phi.T @ linear[rows] for rows, phi in self.blocks())

    def moments(self, linear, quadratic):
        """Sums over neurons of linear * phi (n,) and quadratic * phi phi' (n, n)."""
        root = namespace(self.F).sqrt(quadratic)
        mean, gram = 0.0, 0.0
        for rows, phi in self.blocks():
            weighted = root[rows][:, None] * phi
            mean = mean + phi.T @ linear[rows]
            gram = gram + weighted.T @ weighted
        return mean, gram


@dataclass(frozen=True)
class State:
    """Psi at a dual vector.

    u : array (n,), dual vector
    z : array (M,), overlaps u' phi of the neurons
    psi : float
    weights : array (M,), of the neurons under the tilted density, with sum one
    log_mean : float, log E_w exp[(g / 2 N) z^2]
    """

    u: Array
    z: Array
    psi: float
    weights: Array
    log_mean: float

    @property
    def size(self):
        """Effective sample size."""
        return 1 / float(namespace(self.u).sum(self.weights**2))


def evaluate(problem, neurons, u, z):
    """The State at u, with overlaps z of the neurons."""
    xp = namespace(u)
    exponent = problem.tilt(z) + neurons.log_ratio
    top = xp.max(exponent)
    shares = xp.exp(exponent - top)
    total = xp.sum(shares)
    quadratic = float(u @ (problem.noise * u)) / 2 - float(u @ problem.y)
    log_mean = float(top + xp.log(total))
    psi = quadratic + problem.width * log_mean
    return State(u, z, psi, shares / total, log_mean)


def couplings(problem, state):
    """p1 = g z / N and w2 = g / N + p1^2 of every neuron."""
    ratio = problem.gain / problem.width
    p1 = ratio * state.z
    return p1, ratio + p1**2


def curvature(problem, neurons, state):
    """m, (n,), and N [<w2 phi phi'> - m m'], (n, n), on the rows of the neurons."""
    p1, w2 = couplings(problem, state)
    m, gram = neurons.moments(state.weights * p1, state.weights * w2)
    return m, problem.width * (gram - m[:, None] * m)


def slopes(problem, neurons, state):
    """Gradient and Hessian of Psi."""
    m, hessian = curvature(problem, neurons, state)
    gradient = problem.noise * state.u - problem.y + problem.width * m
    return gradient, add_to_diagonal(hessian, problem.noise)


def _factor(hessian):
    """Cholesky factor of the Hessian; if it fails, with rounding on the diagonal."""
    entries = diagonal(hessian)
    rounding = 1e-14 * hessian.shape[0] * float(namespace(entries).max(entries))
    for extra in (0.0, rounding):
        try:
            # Of a copy: it is overwritten.
            return cholesky(add_to_diagonal(1 * hessian, extra))
        except LinAlgError:
            continue
    raise LinAlgError(
        "The Hessian of the dual problem is not positive definite in double "
        "precision: raise the noise (alpha), or drop duplicate rows."
    )


def _shorten(problem, neurons, state, step, decrement, enough):
    """The State after the first of the steps 1, 1/2, 1/4, ... that lowers Psi enough.

    None if no step does, or if all make the effective sample too small.
    """
    dz = neurons.project(step)
    rounding = 1e-13 * (1 + abs(state.psi)) + 1e-14 * problem.width
    length = 1.0
    while length > 1e-8:
        new = evaluate(problem, neurons, state.u + length * step, state.z + length * dz)
        bound = state.psi - length * decrement / 4 + rounding
        if isfinite(new.psi) and new.psi <= bound and new.size >= enough / 2:
            return new
        length /= 2
    return None


@dataclass(frozen=True)
class Solution:
    """Where Newton's method stopped.

    state : State
    factor : array (n, n), lower Cholesky factor of the Hessian M
    n_iter : int
    decrement : float, Newton decrement, twice the expected decrease of Psi
    residual : float, largest gradient entry relative to the largest target
    """

    state: State
    factor: Array
    n_iter: int
    decrement: float
    residual: float

    @property
    def converged(self):
        """Whether decrement and residual are small enough."""
        return self.decrement <= 1e-8 and self.residual <= 1e-6


def newton(problem, neurons, u, enough=0.0):
    """Minimise Psi from u; stop if the effective sample size falls below `enough`."""
    xp = namespace(u)
    state = evaluate(problem, neurons, u, neurons.project(u))
    scale = float(xp.max(xp.abs(problem.y))) or 1.0
    for n_iter in range(MAX_ITER):
        gradient, hessian = slopes(problem, neurons, state)
        factor = _factor(hessian)
        step = -cho_solve(factor, gradient[:, None])[:, 0]
        decrement = -float(gradient @ step)
        residual = float(xp.max(xp.abs(gradient))) / scale
        stop = Solution(state, factor, n_iter, decrement, residual)
        if (decrement <= 1e-16 and residual <= 1e-9) or state.size < enough:
            break
        state = _shorten(problem, neurons, state, step, decrement, enough)
        if state is None:
            break
    return stop
