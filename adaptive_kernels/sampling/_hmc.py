"""Hamiltonian Monte Carlo with a step size and a trajectory length that adapt."""

from dataclasses import dataclass
from math import ceil, exp, log, sqrt

import numpy as np

from .._arrays import ArrayLike, small_problem_threads
from ..kernels import NNGP
from ._run import check_counts, generator, prepare, progress_bar
from ._samples import NetworkSamples

# Target of the acceptance rate, as in the No-U-Turn sampler of Stan.
ACCEPTANCE = 0.8
# Learning rate of the trajectory length, that of Hoffman, Radul and Sountsov.
RATE = 0.025
# Largest number of leapfrog steps of a trajectory.
MAX_LEAPFROGS = 1000


def sample_network(
    kernel: NNGP,
    X: ArrayLike,
    y: ArrayLike,
    *,
    alpha: float,
    width: int,
    X_test: ArrayLike | None = None,
    n_chains: int = 24,
    n_warmup: int = 500,
    n_samples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    progress: bool = False,
) -> NetworkSamples:
    """Draw networks of finite width from their posterior by Hamiltonian Monte Carlo.

    Use it as the truth to which theories are compared, on small tables: a gradient of
    every chain takes O(n (d + depth width) width) operations, and a draw takes up to
    1000 of them. For linear networks `sample_linear_network` is faster.

    Parameters
    ----------
    kernel : NNGP
        Kernel of any activation and depth. It defines the prior over the weights. A
        function with jumps makes chains slow, since its gradient does not show them.
    X : array-like of shape (n_samples, n_features)
        Training rows.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets, used as given.
    alpha : float
        Noise variance of the targets, in their squared units.
    width : int
        Number of units of each hidden layer.
    X_test : array-like of shape (n_test, n_features), default=None
        Further rows at which the network's values are kept.
    n_chains : int, default=24
        Number of chains, 2 or more. The trajectory length is learned from their spread.
    n_warmup : int, default=500
        First draws of each chain, which are discarded, 1 or more.
    n_samples : int, default=1000
        Number of draws of each chain that are kept, 4 or more.
    random_state : int, RandomState or None, default=None
        Seed of the draws.
    progress : bool, default=False
        Whether to show a progress bar, which needs the package rich.

    Returns
    -------
    NetworkSamples

    Raises
    ------
    ValueError
        If a parameter or the data are not valid; the message names it.
    MemoryError
        If the draws do not fit in memory.
    ImportError
        If `progress` is set and rich is not installed.

    Warns
    -----
    ConvergenceWarning
        If the chains disagree, or if there are too few effective draws.

    Notes
    -----
    All chains have the same step size and trajectory length, which adapt during
    warm-up: the step size by dual averaging of the acceptance rate, the length by the
    ChEES criterion. A trajectory that overflows is rejected.

    References
    ----------
    Hoffman and Gelman, "The No-U-Turn Sampler", JMLR 2014 (dual averaging).
    Hoffman, Radul and Sountsov, "An Adaptive-MCMC Scheme for Setting Trajectory Lengths
    in Hamiltonian Monte Carlo", AISTATS 2021 (ChEES).

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.datasets import make_ising
    >>> from adaptive_kernels.kernels import NNGP
    >>> from adaptive_kernels.sampling import sample_network
    >>> X, y = make_ising(10, 5, random_state=0)
    >>> samples = sample_network(
    ...     NNGP("erf"), X, y, alpha=0.1, width=20, n_samples=100, random_state=0
    ... )
    >>> samples.train.shape
    (24, 100, 10, 1)
    """
    counts = check_counts(n_chains, n_warmup, n_samples, (2, 1, 4))
    posterior, record = prepare(kernel, X, y, alpha, width, X_test, counts)
    rng, tuner, acceptance = generator(random_state), Tuner(), 0.0
    state = _start(posterior, n_chains, rng)
    threads, total = small_problem_threads(len(posterior.F)), n_warmup + n_samples
    with threads, progress_bar(progress, total) as advance:
        for _ in range(n_warmup):
            state = _transition(posterior, state, tuner, rng, adapt=True)[0]
            advance()
        tuner.freeze()
        for draw in range(n_samples):
            state, accepted = _transition(posterior, state, tuner, rng)
            record.keep(draw, posterior.split(state.position), state.outputs)
            acceptance += accepted / n_samples
            advance()
    return record.samples(acceptance, tuner.step_size, tuner.length)


def _start(posterior, n_chains, rng):
    with np.errstate(over="ignore", invalid="ignore"):
        state = posterior.state(posterior.prior_draws(n_chains, rng))
    if not np.all(np.isfinite(state.energy)):
        raise ValueError(
            "Networks drawn from the prior overflow: lower the kernel's variances, or "
            "choose an activation that grows more slowly."
        )
    return state


def _transition(posterior, state, tuner, rng, adapt=False):
    """The next state of each chain, and the mean acceptance probability."""
    momentum = rng.standard_normal(state.position.shape)
    before = state.energy + np.sum(momentum**2, axis=1) / 2
    with np.errstate(over="ignore", invalid="ignore"):
        proposal = _leapfrog(posterior, state, momentum, *tuner.next_trajectory())
        gain = before - proposal.energy - np.sum(momentum**2, axis=1) / 2
        probability = np.exp(np.minimum(gain, 0))
    probability[~np.isfinite(gain)] = 0
    if adapt:
        tuner.update(state.position, proposal.position, momentum, probability)
    accept = rng.random(len(probability)) < probability
    return proposal.where(accept, state), float(np.mean(probability))


def _leapfrog(posterior, state, momentum, step_size, n_steps):
    """The state at the end of a trajectory; `momentum` is overwritten."""
    momentum -= step_size / 2 * state.gradient
    for step in range(n_steps):
        position = state.position + step_size * momentum
        state = posterior.state(position)
        half = 0.5 if step == n_steps - 1 else 1.0
        momentum -= half * step_size * state.gradient
    return state


@dataclass
class Tuner:
    """Step size and trajectory length, learned during warm-up and then frozen.

    The step size follows Nesterov's dual averaging of the acceptance probability. The
    longest trajectory maximises the change of the squared distance from the chains'
    mean, E[(|q'|^2 - |q|^2)^2] / 4 (ChEES), by Adam without momentum on its logarithm.
    The length of a trajectory is a fraction of the longest, from a van der Corput
    sequence.
    """

    step_size: float = 0.1
    length: float = 1.0
    count: int = 0
    shortfall: float = 0.0
    mean_log_step: float = 0.0
    mean_log_length: float = 0.0
    slope_square: float = 0.0
    fraction: float = 0.5

    def next_trajectory(self):
        """Step size and number of leapfrog steps."""
        self.count += 1
        self.fraction = _van_der_corput(self.count)
        steps = ceil(self.fraction * self.length / self.step_size)
        return self.step_size, min(steps, MAX_LEAPFROGS)

    def update(self, start, end, momentum, probability):
        """Learn from one transition of all chains."""
        self._update_length(start, end, momentum, probability)
        self._update_step_size(np.mean(probability))

    def _update_step_size(self, acceptance):
        weight = 1 / (self.count + 10)
        self.shortfall += weight * (ACCEPTANCE - acceptance - self.shortfall)
        log_step = -20 * sqrt(self.count) * self.shortfall
        self.mean_log_step += self.count**-0.75 * (log_step - self.mean_log_step)
        self.step_size = exp(log_step)

    def _update_length(self, start, end, momentum, probability):
        usable = probability > 1e-4
        if np.sum(usable) > 1:
            start, end, momentum = start[usable], end[usable], momentum[usable]
            slope = _chees_slope(start, end, momentum, probability[usable])
            slope *= self.fraction
            self.slope_square += 0.05 * (slope**2 - self.slope_square)
            size = sqrt(self.slope_square / (1 - 0.95**self.count))
            self.length *= exp(RATE * slope / size) if size > 0 else 1.0
        change = log(self.length) - self.mean_log_length
        self.mean_log_length += change / sqrt(self.count)

    def freeze(self):
        """Use the averages of warm-up from now on."""
        self.step_size = exp(self.mean_log_step)
        self.length = exp(self.mean_log_length)


def _chees_slope(start, end, momentum, probability):
    """d/dt of E[(|q'|^2 - |q|^2)^2] / 4, up to a factor, at the trajectories' ends."""
    end = end - np.mean(end, axis=0)
    start = start - np.mean(start, axis=0)
    change = np.sum(end**2, axis=1) - np.sum(start**2, axis=1)
    return np.average(change * np.sum(end * momentum, axis=1), weights=probability)


def _van_der_corput(index):
    """The binary digits of the index in reverse order, after the point: in (0, 1)."""
    digits = f"{index:b}"
    return int(digits[::-1], 2) / 2 ** len(digits)
