"""Finite-width theory with sampled neurons: tree level and one loop, any activation.

A network has one hidden layer of N units. A neuron has the pre-activations h = F w on
the training rows, with w ~ N(0, I) a priori. The output is f = sum_i a_i phi(h_i) with
readout variance g / N. For targets y with noise variance kappa, and z = u' phi(F w),

    p(y) = int du exp Psi(i u) / (2 pi)^n,
    Psi(u) = -u'y + (kappa / 2) u'u + N log E_w exp[(g / 2 N) z^2],

which is convex. At its minimum neurons follow the tilted density, the prior times
exp[(g / 2 N) z^2]. With averages < > over this density

    y = kappa u + g <z phi>,    f(x) = g <z phi(x)>                    (tree level),
    M = Psi'' = kappa I + N [<w2 phi phi'> - m m'],
    p1 = g z / N,    w2 = g / N + p1^2,    m = <p1 phi>,
    log p(y) = Psi - (1/2) log det M - (n/2) log 2 pi.

One loop adds the slope of log det M to the mean, L'_k = d log det M / d u_k, also for
a new row in place of k:

    f_1 = f + (1/2) K_*t M^{-1} L' - (1/2) L'_*,    K_ab = N [<w2 phi_a phi_b'> - m m'].

Averages are over sampled neurons. So nothing is assumed of phi or of the density, which
is far from Gaussian if a network learns much. Neurons are drawn from the prior as long
as their weights are even enough. Otherwise they are drawn from the tilted density, by
sequential Monte Carlo (Del Moral, Doucet and Jasra 2006) with Hamiltonian moves.
"""

from dataclasses import dataclass
from math import log, log2, pi
from typing import Literal
from warnings import warn

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..._arrays import (
    Array,
    as_float64,
    asarray_like,
    diagonal,
    namespace,
    solve_triangular,
    to_numpy,
)
from ...inference.factorization import inverse_diagonal
from ...kernels._activations import Activation
from ...kernels._recursion import slices_of
from .sampled_one_loop import (
    one_loop_sums,
    positive_definite,
    sampling_errors,
    second_moment,
)
from .sequential_monte_carlo import neurons_of_prior, sequential_monte_carlo
from .tilted_distribution import Neurons, Problem, Solution, couplings, curvature

# New rows that are predicted at once.
ROWS = 1024
# Smallest effective sample size without a warning: averages are then right to 5 %.
LEAST_SIZE = 500
# The sampling error of one loop is too large if it exceeds this share of the targets
# and this multiple of the tree level's error. Both levels use the same neurons, so a
# much larger error of one loop means that few of them carry the correction. In
# comparisons with sampled networks the ratio was below 4 where one loop was right, and
# above 7 where it was wrong.
LARGEST_ERROR = 0.03
LARGEST_RATIO = 5


def _log_evidence(problem, solution):
    """Psi - (1/2) log det M - (n/2) log 2 pi, whatever the order of the mean.

    log det M is the one-loop term. It needs only the minimum at tree level.
    """
    xp = namespace(problem.y)
    log_det = 2 * float(xp.sum(xp.log(diagonal(solution.factor))))
    return solution.state.psi - log_det / 2 - problem.y.shape[0] / 2 * log(2 * pi)


@dataclass(frozen=True)
class SampledTheory:
    """Posterior of a finite network's output, as `sampled` returns it.

    Attributes
    ----------
    train_mean : array (n,)
        Posterior mean of f at the training rows.
    dual : array (n,)
        (targets - train_mean) / noise.
    precision : array (n,)
        Diagonal of the inverse Hessian M^{-1}.
    log_evidence : float
        Log density of the targets, to one loop. Its sampling error is `width` times
        the relative error of an average over neurons.
    weight_covariance : array (p, p)
        Posterior second moment of a neuron's weights, to the order of `loops`; the
        prior's is the identity. Negative eigenvalues, which are errors of the
        expansion, are set to zero.
    effective_dof : float
        Effective degrees of freedom tr df/dy, at tree level. One loop is an expansion
        in their ratio to the width.
    effective_sample_size : float
        Effective number of neurons under the tilted density. The correlation of moved
        neurons is not counted.
    sampling_error : float
        Standard error of leave-one-out predictions from the sampling of neurons: root
        mean square over rows, relative to that of the targets.
    converged : bool
        Whether Newton's method found the minimum.
    n_iter : int
        Number of Newton steps.
    loops : int
        Order of mean and weight covariance, 0 or 1.
    """

    train_mean: Array
    dual: Array
    precision: Array
    log_evidence: float
    weight_covariance: Array
    effective_dof: float
    effective_sample_size: float
    sampling_error: float
    converged: bool
    n_iter: int
    loops: int
    _problem: Problem
    _neurons: Neurons
    _solution: Solution
    _coefficients: Array
    _settled: bool

    def mean(self, F: Array) -> Array:
        """Posterior mean of f at the rows of F, (m, p): (m,)."""
        parts = [new.average(self._coefficients) for new in self._at(F)]
        return namespace(*parts).concat(parts)

    def variance(self, F: Array) -> Array:
        """Posterior variance of f at the rows of F, (m, p): (m,); at tree level."""
        parts = [self._variance(new) for new in self._at(F)]
        return namespace(*parts).concat(parts)

    def covariance(self, F: Array) -> Array:
        """Posterior covariance of f at the rows of F, (m, p): (m, m); at tree level."""
        new = self._neurons.on(as_float64(F))
        m, prior = curvature(self._problem, new, self._solution.state)
        half = self._explained(new, m)
        return prior - half.T @ half

    def _at(self, F):
        F = as_float64(F)
        for rows in slices_of(F.shape[0], ROWS):
            yield self._neurons.on(F[rows, :])

    def _variance(self, new):
        state = self._solution.state
        p1, w2 = couplings(self._problem, state)
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
        p1, w2 = couplings(self._problem, state)
        cross, m_train = 0.0, 0.0
        for rows, phi in new.blocks(train.F.shape[0]):
            on_train = train.activation(train.points[rows, :] @ train.F.T)
            m_train = m_train + on_train.T @ (state.weights * p1)[rows]
            quadratic = (state.weights * w2)[rows]
            cross = cross + on_train.T @ (quadratic[:, None] * phi)
        cross = self._problem.width * (cross - m_train[:, None] * m)
        return solve_triangular(self._solution.factor, cross)


def sampled(
    F: Array,
    y: Array,
    activation: Activation,
    *,
    noise: float | Array,
    width: float,
    readout_variance: float = 1.0,
    loops: Literal[0, 1] = 1,
    n_points: int = 2**15,
    random_state: int | np.random.Generator | None = 0,
) -> SampledTheory:
    """Posterior of a finite network with one hidden layer, from a sample of neurons.

    It samples neurons from their distribution given the data. Averages over them give
    the mean and the variance at tree level, and the one-loop correction. The result is
    a `SampledTheory`, which predicts new rows.

    Use it for any activation where a network learns much: unlike kernel rescaling and
    the Gaussian variational kernel it assumes nothing about the distribution of the
    adapted weights. A Newton step takes ``n_points * n**2`` operations. If a network
    learns much, neurons are moved a few times, each at ``200 * n_points * p * n``
    operations. Memory is about ``8 * n_points * (3 * p + n)`` bytes; outputs of neurons
    that need more than 1 GiB are computed again instead of kept.

    Parameters
    ----------
    F : array (n, p)
        Features of the training rows, of any array-API library: pre-activations are
        F w with weights w ~ N(0, I) a priori. They are converted to double precision.
    y : array (n,)
        Targets.
    activation : callable
        Elementwise function of arrays of the library of `F`, with a method
        ``derivative``.
    noise : float or array (n,)
        Noise variance, in squared units of the targets; one for all or for each row.
    width : float
        Number of hidden units.
    readout_variance : float, default=1.0
        Prior variance of the readout weights, times `width`.
    loops : {0, 1}, default=1
        Order of the mean and of the weight covariance. 0 is the saddle point. 1 adds
        its fluctuations, which matter if the rows are not few against `width`.
    n_points : int, default=2**15
        Number of sampled neurons, a power of two. Errors fall with its square root.
    random_state : int, Generator or None, default=0
        Seed of the sampled neurons.

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
        If Newton's method stops early, if few neurons represent the tilted density, if
        the width is below the effective degrees of freedom, or if the one-loop
        correction depends on a few neurons, as it may at mean-field scaling of the
        hidden weights.

    References
    ----------
    The saddle point and its one-loop correction are those of arXiv:2502.03210.

    Examples
    --------
    A network of 40 ReLU units without biases, on a line:

    >>> import numpy as np
    >>> from adaptive_kernels.kernels import NNGP
    >>> from adaptive_kernels.theory import sampled
    >>> F = np.array([[-1.0], [0.5], [1.0]])
    >>> y = np.array([0.0, 0.5, 1.0])
    >>> activation = NNGP("relu").network().activation
    >>> theory = sampled(F, y, activation, noise=0.01, width=40)
    >>> theory.mean(np.array([[-2.0], [2.0]])).round(1)
    array([0., 2.])
    """
    _check(activation, noise, width, readout_variance, loops, n_points)
    F, y = _checked_data(F, y)
    noise = asarray_like(noise, y) if np.ndim(noise) else float(noise)
    problem = Problem(y, noise, float(readout_variance), float(width))
    rng = np.random.default_rng(random_state)
    neurons = neurons_of_prior(F, activation, n_points, rng)
    neurons, solution, n_iter = sequential_monte_carlo(problem, neurons, rng)
    theory = _theory(problem, neurons, solution, loops, n_iter)
    _warn(theory)
    return theory


def _theory(problem, neurons, solution, loops, n_iter):
    """The `SampledTheory` of a solution.

    loops : 0 for mean and weight covariance at tree level, 1 for one loop
    """
    state, xp = solution.state, namespace(solution.state.u)
    if loops == 0:
        # f(x) = g <z phi(x)>
        coefficients = problem.gain * state.weights * state.z
        weights, shift = state.weights, xp.zeros_like(state.u)
    else:
        loop = one_loop_sums(problem, neurons, solution)
        coefficients, weights, shift = loop.coefficients, loop.weights, loop.shift
    dual = state.u + shift
    precision = inverse_diagonal(solution.factor)
    # The error at tree level and, if loops is 1, then that of one loop.
    errors = sampling_errors(problem, neurons, solution, precision, loops)
    tree_error, error = errors[0], errors[loops]
    # f = y - kappa u and du/dy = M^{-1}, so tr df/dy = n - tr (kappa M^{-1}).
    noise_dof = float(xp.sum(problem.noise * precision))
    return SampledTheory(
        train_mean=problem.y - problem.noise * dual,
        dual=dual,
        precision=precision,
        log_evidence=_log_evidence(problem, solution),
        weight_covariance=positive_definite(second_moment(neurons, weights)),
        effective_dof=problem.y.shape[0] - noise_dof,
        effective_sample_size=state.size,
        sampling_error=error,
        converged=solution.converged,
        n_iter=n_iter,
        loops=loops,
        _problem=problem,
        # Without the outputs kept on the training rows, up to 1 GiB: predictions
        # compute them again in blocks.
        _neurons=neurons.on(neurons.F),
        _solution=solution,
        _coefficients=coefficients,
        # Always true at tree level.
        _settled=error <= max(LARGEST_ERROR, LARGEST_RATIO * tree_error),
    )


def _check(activation, noise, width, readout_variance, loops, n_points):
    if not hasattr(activation, "derivative"):
        raise ValueError(
            "activation must have a method derivative: use "
            "NNGP(activation).network().activation."
        )
    positive = {
        "noise (alpha)": noise,
        "width": width,
        "readout_variance": readout_variance,
    }
    for name, value in positive.items():
        least, most = np.min(to_numpy(value)), np.max(to_numpy(value))
        if not 0 < least <= most < np.inf:
            raise ValueError(f"{name} must be positive and finite, got {least}.")
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


def _warn(theory):
    if not theory.converged:
        problem = (
            "Newton's method for the dual problem stopped with a relative residual of "
            f"{theory._solution.residual:.1e}: raise noise (alpha)."
        )
    elif theory.effective_sample_size < LEAST_SIZE:
        problem = (
            "The effective number of sampled neurons is "
            f"{theory.effective_sample_size:.0f}, below {LEAST_SIZE}: raise the noise "
            "(alpha) or the width, or in theory.sampled raise n_points."
        )
    elif theory.loops and theory.effective_dof >= theory._problem.width:
        problem = (
            f"The effective degrees of freedom, {theory.effective_dof:.3g}, are not "
            f"below the width, {theory._problem.width:.3g}: one loop, an expansion in "
            "their ratio, is not to be trusted. Raise width or the noise (alpha)."
        )
    elif not theory._settled:
        problem = (
            "The one-loop correction hangs on few neurons and leaves predictions "
            f"uncertain by {theory.sampling_error:.0%} of the targets. Raise the "
            "noise (alpha) or the width, lower scaling, or in theory.sampled raise "
            "n_points or take loops=0."
        )
    else:
        return
    warn(problem, ConvergenceWarning, stacklevel=3)
