"""Finite-width theory with sampled neurons: tree level and one loop, any activation.

A network with one hidden layer of N units has the pre-activations h = F w of its
neurons, w ~ N(0, I) a priori, and the output f = sum_i a_i phi(h_i) with readout
variance g / N. For targets y with noise variance kappa, and z = u' phi(F w),

    p(y) = int du exp Psi(i u) / (2 pi)^n,
    Psi(u) = -u'y + (kappa / 2) u'u + N log E_w exp[(g / 2 N) z^2],

which is convex. At its minimum neurons follow the tilted density, prior times
exp[(g / 2 N) z^2], and with averages < > over it

    y = kappa u + g <z phi>,    f(x) = g <z phi(x)>                    (tree level),
    M = Psi'' = kappa I + N [<w2 phi phi'> - m m'],
    p1 = g z / N,    w2 = g / N + p1^2,    m = <p1 phi>,
    log p(y) = Psi - (1/2) log det M - (n/2) log 2 pi.

One loop adds the slope of log det M to the mean, L'_k = d log det M / d u_k, also for
a new row in place of k:

    f_1 = f + (1/2) K_*t M^{-1} L' - (1/2) L'_*,    K_ab = N [<w2 phi_a phi_b'> - m m'].

Averages are over sampled neurons, so nothing is assumed of phi or of the density, which
is far from Gaussian where a network learns much. The neurons are those of the prior as
long as their weights are even enough, else of the tilted density, by sequential Monte
Carlo (Del Moral, Doucet and Jasra 2006) with Hamiltonian moves.
"""

from dataclasses import dataclass, replace
from math import isfinite, log, log2, pi
from warnings import warn

import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc
from sklearn.exceptions import ConvergenceWarning

from .._array import (
    LinAlgError,
    add_to_diagonal,
    as_float64,
    asarray_like,
    cho_solve,
    cholesky,
    diagonal,
    index_like,
    namespace,
    solve_triangular,
    to_numpy,
)
from ..kernels._recursion import slices_of

_BLOCK_BYTES = 2**25
_CACHE_BYTES = 2**30
_ROWS = 1024
_SOBOL_BITS = 30
_MAX_ITER = 100
_MAX_STAGES = 100
_TRAJECTORIES = 8
_LEAPS = 10
_LEAST_SIZE = 500

# Effective sample sizes, as shares of the neurons, that suffice to go on, and to end:
# tails of the tilted density that hardly any neuron has reached yet count as well.
_STAGE_SHARE = 0.8
_LAST_SHARE = 0.9


@dataclass(frozen=True)
class _Problem:
    """What Psi depends on: y (n,), noise variance, readout variance and width."""

    y: object
    noise: float
    gain: float
    width: float

    def tilt(self, z):
        return self.gain / (2 * self.width) * z**2


@dataclass(frozen=True)
class _Neurons:
    """A weighted sample of the prior of a neuron, evaluated on rows F, in blocks.

    F : array (n, p)
    points : array (M, p), weights of the neurons
    log_ratio : array (M,), log of the prior over M times the density of the points
    cache : array (M, n) or None, phi on the rows
    """

    F: object
    activation: object
    points: object
    log_ratio: object
    cache: object = None

    def cached(self):
        """The same neurons, with phi kept where it fits in `_CACHE_BYTES`."""
        if 8 * self.points.shape[0] * self.F.shape[0] > _CACHE_BYTES:
            return self
        return replace(self, cache=self.activation(self.points @ self.F.T))

    def on(self, F):
        """The same neurons on other rows."""
        return replace(self, F=F, cache=None)

    def blocks(self, n_others=0):
        """Yield slices of the neurons and their phi on the rows, (b, n).

        Blocks are small enough for `n_others` rows in place of n.
        """
        size = max(1, _BLOCK_BYTES // (8 * max(self.F.shape[0], n_others)))
        for rows in slices_of(self.points.shape[0], size):
            if self.cache is None:
                yield rows, self.activation(self.points[rows, :] @ self.F.T)
            else:
                yield rows, self.cache[rows, :]

    def project(self, vector):
        """The products phi' v of every neuron, (M,), with a vector (n,)."""
        return namespace(vector).concat([phi @ vector for _, phi in self.blocks()])

    def average(self, linear):
        """Sum of linear * phi over the neurons."""
        return sum(phi.T @ linear[rows] for rows, phi in self.blocks())

    def moments(self, linear, quadratic):
        """Sums of linear * phi, (n,), and of quadratic * phi phi', (n, n)."""
        root = namespace(self.F).sqrt(quadratic)
        mean, gram = 0.0, 0.0
        for rows, phi in self.blocks():
            weighted = root[rows][:, None] * phi
            mean = mean + phi.T @ linear[rows]
            gram = gram + weighted.T @ weighted
        return mean, gram


@dataclass(frozen=True)
class _State:
    """Psi at a dual vector.

    u : array (n,)
    z : array (M,)
    psi : float
    weights : array (M,), of the neurons under the tilted density, with sum one
    log_mean : float, log E_w exp[(g / 2 N) z^2]
    """

    u: object
    z: object
    psi: float
    weights: object
    log_mean: float

    @property
    def size(self):
        """Effective sample size."""
        return 1 / float(namespace(self.u).sum(self.weights**2))


def _state(problem, neurons, u, z):
    xp = namespace(u)
    exponent = problem.tilt(z) + neurons.log_ratio
    top = xp.max(exponent)
    shares = xp.exp(exponent - top)
    total = xp.sum(shares)
    quadratic = problem.noise / 2 * float(u @ u) - float(u @ problem.y)
    log_mean = float(top + xp.log(total))
    psi = quadratic + problem.width * log_mean
    return _State(u, z, psi, shares / total, log_mean)


def _couplings(problem, state):
    """p1 and w2 of every neuron."""
    ratio = problem.gain / problem.width
    p1 = ratio * state.z
    return p1, ratio + p1**2


def _curvature(problem, neurons, state):
    """m, (n,), and N [<w2 phi phi'> - m m'], (n, n), on the rows of the neurons."""
    p1, w2 = _couplings(problem, state)
    m, gram = neurons.moments(state.weights * p1, state.weights * w2)
    return m, problem.width * (gram - m[:, None] * m)


def _slopes(problem, neurons, state):
    """Gradient and Hessian of Psi."""
    m, curvature = _curvature(problem, neurons, state)
    gradient = problem.noise * state.u - problem.y + problem.width * m
    return gradient, add_to_diagonal(curvature, problem.noise)


def _factor(hessian):
    try:
        return cholesky(hessian)
    except LinAlgError:
        raise LinAlgError(
            "The Hessian of the dual problem is not positive definite in double "
            "precision: raise noise, or drop duplicate rows."
        ) from None


def _shorten(problem, neurons, state, step, decrement, enough):
    """The first of the steps 1, 1/2, 1/4, ... that lowers Psi enough, or None."""
    dz = neurons.project(step)
    rounding = 1e-13 * (1 + abs(state.psi)) + 1e-14 * problem.width
    length = 1.0
    while length > 1e-8:
        new = _state(problem, neurons, state.u + length * step, state.z + length * dz)
        bound = state.psi - length * decrement / 4 + rounding
        if isfinite(new.psi) and new.psi <= bound and new.size >= enough / 2:
            return new
        length /= 2
    return None


@dataclass(frozen=True)
class _Solution:
    """Where Newton's method stopped; `residual` is relative to the targets."""

    state: _State
    factor: object
    n_iter: int
    decrement: float
    residual: float

    @property
    def converged(self):
        return self.decrement <= 1e-8 and self.residual <= 1e-6


def _newton(problem, neurons, u, enough=0.0):
    """Minimise Psi from u, while the effective sample size is `enough`."""
    xp = namespace(u)
    state = _state(problem, neurons, u, neurons.project(u))
    scale = float(xp.max(xp.abs(problem.y))) or 1.0
    for n_iter in range(_MAX_ITER):
        gradient, hessian = _slopes(problem, neurons, state)
        factor = _factor(hessian)
        step = -cho_solve(factor, gradient[:, None])[:, 0]
        decrement = -float(gradient @ step)
        residual = float(xp.max(xp.abs(gradient))) / scale
        stop = _Solution(state, factor, n_iter, decrement, residual)
        if (decrement <= 1e-16 and residual <= 1e-9) or state.size < enough:
            break
        state = _shorten(problem, neurons, state, step, decrement, enough)
        if state is None:
            break
    return stop


def _from_prior(F, activation, n_points, rng):
    """Neurons of the prior, quasi-random up to the dimensions that Sobol's has."""
    p = F.shape[1]
    if p <= qmc.Sobol.MAXDIM:
        uniform = qmc.Sobol(p, rng=rng, bits=_SOBOL_BITS).random(n_points)
        normal = ndtri(uniform + 0.5 ** (_SOBOL_BITS + 1))
    else:
        normal = rng.standard_normal((n_points, p))
    points = asarray_like(normal, F)
    return _Neurons(F, activation, points, 0 * points[:, 0] - log(n_points)).cached()


def _anneal(problem, neurons, rng):
    """Sequential Monte Carlo: Newton steps as far as the neurons serve, then new ones.

    Neurons that serve to the end are never moved and stay quasi-random.
    """
    n_points, u = neurons.points.shape[0], 0 * problem.y
    n_iter, step_size = 0, 0.4
    for _ in range(_MAX_STAGES):
        solution = _newton(problem, neurons, u, _STAGE_SHARE * n_points)
        u, n_iter = solution.state.u, n_iter + solution.n_iter
        if solution.state.size >= _LAST_SHARE * n_points:
            break
        neurons, step_size = _moved(problem, neurons, solution.state, step_size, rng)
    return neurons, solution, n_iter


def _moved(problem, neurons, state, step_size, rng):
    """Equally weighted neurons of the tilted density at u, and a step size."""
    xp, n_points = namespace(state.u), neurons.points.shape[0]
    edges = np.cumsum(to_numpy(state.weights))
    chosen = np.searchsorted(edges, (np.arange(n_points) + rng.random()) / n_points)
    chosen = index_like(np.minimum(chosen, n_points - 1), state.z)
    points = xp.take(neurons.points, chosen, axis=0)
    moved = replace(neurons, points=points, cache=None)
    for _ in range(_TRAJECTORIES):
        moved, accepted = _trajectory(problem, moved, state.u, step_size, rng)
        step_size *= 1.1 if accepted > 0.8 else 0.8
    moved = moved.cached()
    log_ratio = state.log_mean - log(n_points) - problem.tilt(moved.project(state.u))
    return replace(moved, log_ratio=log_ratio), step_size


def _trajectory(problem, neurons, u, step_size, rng):
    """One Hamiltonian Monte Carlo step of every neuron; also the share accepted."""
    xp, shape = namespace(u), neurons.points.shape
    momenta = asarray_like(rng.standard_normal(shape), u)
    threshold = asarray_like(-rng.standard_exponential(shape[0]), u)
    step_size *= rng.uniform(0.8, 1.2)
    parts, accepted = [], 0.0
    size = max(1, _BLOCK_BYTES // (32 * neurons.F.shape[0]))
    for rows in slices_of(shape[0], size):
        start = neurons.points[rows, :]
        end, change = _leapfrog(problem, neurons, u, start, momenta[rows, :], step_size)
        accept = threshold[rows] < change
        parts.append(xp.where(accept[:, None], end, start))
        accepted += float(xp.sum(xp.astype(accept, u.dtype)))
    return replace(neurons, points=xp.concat(parts, axis=0)), accepted / shape[0]


def _leapfrog(problem, neurons, u, points, momenta, step_size):
    """End of a trajectory under the tilted density, and its change of log density."""
    xp = namespace(u)
    value, slope = _log_density(problem, neurons, u, points)
    before = value - xp.sum(momenta**2, axis=1) / 2
    for _ in range(_LEAPS):
        momenta = momenta + step_size / 2 * slope
        points = points + step_size * momenta
        value, slope = _log_density(problem, neurons, u, points)
        momenta = momenta + step_size / 2 * slope
    return points, value - xp.sum(momenta**2, axis=1) / 2 - before


def _log_density(problem, neurons, u, points):
    """Log of the tilted density and its gradient, at given weights (b, p)."""
    xp, F = namespace(u), neurons.F
    h = points @ F.T
    z = neurons.activation(h) @ u
    slope = (neurons.activation.derivative(h) * u) @ F
    value = problem.tilt(z) - xp.sum(points**2, axis=1) / 2
    return value, problem.gain / problem.width * z[:, None] * slope - points


def _second_moment(neurons, weights):
    points = neurons.points
    return points.T @ (weights[:, None] * points)


@dataclass(frozen=True)
class _Loop:
    """What one loop takes from the sample at the tree level.

    coefficients : array (M,), f(x) = phi(x)' coefficients
    weights : array (M,), the averages of functions of one neuron's weights
    shift : array (n,), of the dual vector
    """

    coefficients: object
    weights: object
    shift: object


def _one_loop(problem, neurons, solution):
    """Expand around the tree level.

    With b = phi' B phi, B = M^{-1},

    L'_k = N <a phi_k>,    tau = <b w2>,    w3 = 3 p1 g / N + p1^3,
    a = b w3 - tau p1 - 2 w2 phi'B m + 2 (m'B m) p1,

    and d <O> = - (1/2) Cov(w2 b - 2 p1 phi'B m - p1 phi'B L', O).
    """
    state, factor = solution.state, solution.factor
    xp, weights, width = namespace(state.u), state.weights, problem.width
    p1, w2 = _couplings(problem, state)
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


def _log_evidence(problem, solution):
    """Psi - (1/2) log det M - (n/2) log 2 pi."""
    xp = namespace(problem.y)
    log_det = 2 * float(xp.sum(xp.log(diagonal(solution.factor))))
    return solution.state.psi - log_det / 2 - problem.y.shape[0] / 2 * log(2 * pi)


@dataclass(frozen=True)
class SampledTheory:
    """Posterior of a finite network's output; made by `sampled`.

    Attributes
    ----------
    train_mean : array (n,)
        Posterior mean of f at the training rows.
    dual : array (n,)
        (targets - train_mean) / noise.
    log_evidence : float
        Log density of the targets, to one loop. Its sampling error is `width` times
        the relative error of an average over neurons.
    weight_covariance : array (p, p)
        Posterior second moment of a neuron's weights; the prior's is the identity.
        To the order of `loops`.
    effective_sample_size : float
        Of the neurons, under the tilted density. Moved neurons keep some correlation,
        which it does not count.
    converged : bool
    n_iter : int
        Newton steps.
    loops : int
    """

    train_mean: object
    dual: object
    log_evidence: float
    weight_covariance: object
    effective_sample_size: float
    converged: bool
    n_iter: int
    loops: int
    _problem: _Problem
    _neurons: _Neurons
    _solution: _Solution
    _coefficients: object

    def mean(self, F):
        """Posterior mean of f at the rows of F, (m, p): (m,)."""
        parts = [new.average(self._coefficients) for new in self._at(F)]
        return namespace(*parts).concat(parts)

    def variance(self, F):
        """Posterior variance of f at the rows of F, (m, p): (m,); at tree level."""
        parts = [self._variance(new) for new in self._at(F)]
        return namespace(*parts).concat(parts)

    def covariance(self, F):
        """Posterior covariance of f at the rows of F, (m, p): (m, m); at tree level."""
        new = self._neurons.on(as_float64(F))
        m, prior = _curvature(self._problem, new, self._solution.state)
        half = self._explained(new, m)
        return prior - half.T @ half

    def _at(self, F):
        F = as_float64(F)
        for rows in slices_of(F.shape[0], _ROWS):
            yield self._neurons.on(F[rows, :])

    def _variance(self, new):
        state = self._solution.state
        p1, w2 = _couplings(self._problem, state)
        m, xp = new.average(state.weights * p1), namespace(new.F)
        squares = sum(
            (phi**2).T @ (state.weights * w2)[rows] for rows, phi in new.blocks()
        )
        half = self._explained(new, m)
        variance = self._problem.width * (squares - m**2) - xp.sum(half**2, axis=0)
        return xp.maximum(variance, 0 * variance)

    def _explained(self, new, m):
        """L^{-1} Psi'' between training and new rows, (n, m), where M = L L'."""
        state, train = self._solution.state, self._neurons
        p1, w2 = _couplings(self._problem, state)
        cross, m_train = 0.0, 0.0
        for rows, phi in new.blocks(train.F.shape[0]):
            on_train = train.activation(train.points[rows, :] @ train.F.T)
            m_train = m_train + on_train.T @ (state.weights * p1)[rows]
            quadratic = (state.weights * w2)[rows]
            cross = cross + on_train.T @ (quadratic[:, None] * phi)
        cross = self._problem.width * (cross - m_train[:, None] * m)
        return solve_triangular(self._solution.factor, cross)


def sampled(
    F,
    y,
    activation,
    *,
    noise,
    width,
    readout_variance=1.0,
    loops=1,
    n_points=2**15,
    random_state=0,
):
    """Posterior of a network of finite width and one hidden layer, by sampled neurons.

    Unlike the kernel rescaling and the Gaussian variational kernel, this assumes
    nothing about the distribution of the adapted weights. A Newton step takes
    ``n_points * n**2`` operations. Where a network learns much, neurons are moved, at
    ``200 * n_points * p * n`` operations for each of the few times. Memory is about
    ``8 * n_points * (3 * p + n)`` bytes; neuron outputs beyond 1 GiB are not kept but
    computed again.

    Parameters
    ----------
    F : array (n, p)
        Features of the training rows, of any array-API library: pre-activations are
        F w with weights w ~ N(0, I) a priori. Computed with in double precision.
    y : array (n,)
        Targets.
    activation : callable
        Elementwise, on arrays of the library of `F`; with a method ``derivative``.
    noise : float
        Noise variance, in squared units of the targets.
    width : float
        Number of hidden units.
    readout_variance : float, default=1.0
        Prior variance of the readout weights, times `width`.
    loops : {0, 1}, default=1
        Order of the mean and of the weight covariance: the saddle point, or with its
        fluctuations, which matter where rows are not few against `width`.
    n_points : int, default=2**15
        Number of sampled neurons, a power of two. Errors fall with its root.
    random_state : int, Generator or None, default=0
        Of the quasi-random points.

    Returns
    -------
    SampledTheory

    Raises
    ------
    ValueError
        If a parameter is out of range, or an array has the wrong shape or is not
        finite.
    LinAlgError
        If `noise` is too small for double precision.

    Warns
    -----
    ConvergenceWarning
        If Newton's method stops early, or few neurons represent the tilted density.

    References
    ----------
    The saddle point and its one-loop correction are those of arXiv:2502.03210.

    Examples
    --------
    A network of 40 ReLU units without biases, on a line:

    >>> import numpy as np
    >>> from adaptive_kernels.kernels import NNGP
    >>> from adaptive_kernels.theory.sampled import sampled
    >>> F = np.array([[-1.0], [0.5], [1.0]])
    >>> y = np.array([0.0, 0.5, 1.0])
    >>> activation = NNGP("relu").network().activation
    >>> theory = sampled(F, y, activation, noise=0.01, width=40)
    >>> theory.mean(np.array([[-2.0], [2.0]])).round(1)
    array([0., 2.])
    """
    _check(activation, noise, width, readout_variance, loops, n_points)
    F, y = _checked_data(F, y)
    problem = _Problem(y, float(noise), float(readout_variance), float(width))
    rng = np.random.default_rng(random_state)
    neurons = _from_prior(F, activation, n_points, rng)
    neurons, solution, n_iter = _anneal(problem, neurons, rng)
    _warn(solution)
    return _theory(problem, neurons, solution, loops, n_iter)


def _theory(problem, neurons, solution, loops, n_iter):
    state = solution.state
    weights, shift = state.weights, 0 * state.u
    coefficients = problem.gain * weights * state.z
    if loops:
        loop = _one_loop(problem, neurons, solution)
        coefficients, weights, shift = loop.coefficients, loop.weights, loop.shift
    dual = state.u + shift
    return SampledTheory(
        train_mean=problem.y - problem.noise * dual,
        dual=dual,
        log_evidence=_log_evidence(problem, solution),
        weight_covariance=_second_moment(neurons, weights),
        effective_sample_size=state.size,
        converged=solution.converged,
        n_iter=n_iter,
        loops=loops,
        _problem=problem,
        _neurons=neurons.on(neurons.F),
        _solution=solution,
        _coefficients=coefficients,
    )


def _check(activation, noise, width, readout_variance, loops, n_points):
    if not hasattr(activation, "derivative"):
        raise ValueError(
            "activation must have a method derivative: use "
            "NNGP(activation).network().activation."
        )
    positive = {"noise": noise, "width": width, "readout_variance": readout_variance}
    for name, value in positive.items():
        if not (value > 0 and isfinite(value)):
            raise ValueError(f"{name} must be positive and finite, got {value!r}.")
    if loops not in (0, 1):
        raise ValueError(f"loops must be 0 or 1, got {loops!r}.")
    if n_points < 2 or log2(n_points) % 1:
        raise ValueError(
            f"n_points must be a power of two, 2 or more, got {n_points!r}."
        )


def _checked_data(F, y):
    if F.ndim != 2 or 0 in F.shape:
        raise ValueError(f"F must be a matrix with rows and columns, got {F.shape}.")
    F = as_float64(F)
    if not _is_finite(F):
        raise ValueError("F must be finite.")
    y = as_float64(y)
    if y.ndim > 1:
        raise ValueError(
            f"y must be one output, of shape (n,), got {y.shape}; for several outputs "
            "use approximation='rescaling' or sampling.sample_network."
        )
    if y.shape != (F.shape[0],):
        raise ValueError(f"y must have one entry per row of F, got {y.shape}.")
    if not _is_finite(y):
        raise ValueError("y must be finite.")
    return F, y


def _is_finite(x):
    xp = namespace(x)
    return bool(xp.all(xp.isfinite(x)))


def _warn(solution):
    if not solution.converged:
        warn(
            "Newton's method for the dual problem stopped with a relative residual of "
            f"{solution.residual:.1e}: raise noise.",
            ConvergenceWarning,
            stacklevel=3,
        )
    if solution.state.size < _LEAST_SIZE:
        warn(
            f"The neurons are worth {solution.state.size:.0f} independent ones, fewer "
            f"than {_LEAST_SIZE}: raise n_points, or width.",
            ConvergenceWarning,
            stacklevel=3,
        )
