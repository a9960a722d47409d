"""Gibbs sampling of linear networks, layer by layer."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from .._arrays import ArrayLike, small_problem_threads
from ..kernels import NNGP, PiecewiseLinear
from ._posterior import Posterior
from ._run import check_counts, generator, prepare, progress_bar
from ._samples import NetworkSamples


def sample_linear_network(
    kernel: NNGP,
    X: ArrayLike,
    y: ArrayLike,
    *,
    alpha: float,
    width: int,
    X_test: ArrayLike | None = None,
    n_chains: int = 8,
    n_warmup: int = 200,
    n_samples: int = 1000,
    random_state: int | np.random.RandomState | None = None,
    progress: bool = False,
) -> NetworkSamples:
    """Draw linear networks from their posterior by Gibbs sampling.

    Use it for the exact posterior of a linear network, to test a theory. Given the
    other layers each layer is Gaussian and is drawn exactly, so there is neither a step
    size nor a rejection.

    Parameters
    ----------
    kernel : NNGP
        Kernel of any depth with activation "identity", or another linear function
        through zero. It defines the prior over the weights.
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
    n_chains : int, default=8
        Number of independent chains.
    n_warmup : int, default=200
        First draws of each chain, which are discarded.
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
        If the activation is not linear, or a parameter or the data are not valid; the
        message names it.
    MemoryError
        If the draws do not fit in memory.
    ImportError
        If `progress` is set and rich is not installed.

    Warns
    -----
    ConvergenceWarning
        If the chains disagree, or if there are too few effective draws.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.datasets import make_ising
    >>> from adaptive_kernels.kernels import NNGP
    >>> from adaptive_kernels.sampling import sample_linear_network
    >>> X, y = make_ising(15, 20, random_state=0)
    >>> kernel = NNGP("identity", bias_variance=0.0)
    >>> samples = sample_linear_network(
    ...     kernel, X, y, alpha=0.2, width=50, n_samples=200, random_state=0
    ... )
    >>> mean, error = samples.estimate(lambda f: np.mean(y * (y - f[..., 0]), axis=-1))
    >>> bool(abs(mean - 0.1821) < 4 * error)
    True
    """
    counts = check_counts(n_chains, n_warmup, n_samples, (1, 0, 4))
    posterior, record = prepare(kernel, X, y, alpha, width, X_test, counts)
    if not _is_linear(posterior.network.activation):
        raise ValueError(
            "sample_linear_network needs a linear activation such as 'identity', got "
            f"{kernel.activation!r}: use sample_network."
        )
    rng = generator(random_state)
    gibbs = Gibbs.of(posterior, n_chains, rng)
    weights = posterior.split(posterior.prior_draws(n_chains, rng))
    threads, total = small_problem_threads(len(posterior.F)), n_warmup + n_samples
    with threads, progress_bar(progress, total) as advance:
        for draw in range(-n_warmup, n_samples):
            weights = gibbs.sweep(weights)
            if draw >= 0:
                record.keep(draw, weights, posterior.outputs(posterior.F, weights))
            advance()
    return record.samples()


def _is_linear(activation):
    linear = isinstance(activation, PiecewiseLinear)
    return linear and activation.negative == activation.positive


@dataclass(frozen=True)
class Gibbs:
    """Draws the layers one after the other, each exactly given all others.

    Let H (n, p) be the inputs of a layer with weights W (p, units), A (units, outputs)
    the linear map from its units to the outputs, and T (n, outputs) the targets minus
    the contribution of biases above, so that T = H W A + noise. Matheron's rule turns a
    draw from the prior, W0 and noise e, into a draw from the posterior:

        W = W0 + H' V A',    alpha V + H H' V A'A = T - H W0 A - e.

    Weights, H, A and T of all chains are stacked along a first axis.

    U, s, Vt : singular value decomposition of the first layer's inputs
    """

    posterior: Posterior
    n_chains: int
    rng: np.random.Generator
    U: np.ndarray
    s: np.ndarray
    Vt: np.ndarray

    @classmethod
    def of(cls, posterior, n_chains, rng):
        """A sampler of a posterior; decomposes the training rows once."""
        return cls(
            posterior, n_chains, rng, *np.linalg.svd(posterior.F, full_matrices=False)
        )

    @property
    def slope(self):
        """Slope of the linear activation."""
        return self.posterior.network.activation.positive

    def sweep(self, weights):
        """New weights of every layer, from the first to the readout."""
        weights, units = list(weights), self.posterior.F
        for layer, (A, offset) in enumerate(self._above(weights)):
            T = self.posterior.Y - offset
            draw = self._hidden_layer if layer else self._first_layer
            weights[layer] = draw(units, A, T)
            units = self.posterior.preactivations(units, weights, layer)
            units *= self.slope
        weights[-1] = self._readout(self.posterior.readout_gain * units)
        return weights

    def _above(self, weights):
        """For each layer, the map A to the outputs, and what biases above add."""
        posterior = self.posterior
        A, offset = posterior.readout_gain * self.slope * weights[-1], 0.0
        above = [(A, offset)]
        for W in reversed(weights[1:-1]):
            if posterior.bias:
                offset = offset + sqrt(posterior.network.bias_variance) * W[:, :1] @ A
            A = posterior.gain * self.slope * W[:, posterior.bias :] @ A
            above.insert(0, (A, offset))
        return above

    def _first_layer(self, F, A, T):
        """Draw the first layer. Its inputs F = U s V' never change.

        F and T are multiplied by U' first: then H = s V' and H H' = diag(s^2).
        """
        H = self.s[:, None] * self.Vt

        def ridge(residual, scales):
            spread = self.posterior.alpha + self.s[:, None] ** 2 * scales[:, None, :]
            return H.T @ (residual / spread)

        return self._layer(H, A, self.U.T @ T, ridge)

    def _hidden_layer(self, units, A, T):
        """Draw a later layer, whose inputs are the units of the layer below."""
        H = self.posterior.gain * units
        if self.posterior.bias:
            ones = np.full_like(H[..., :1], sqrt(self.posterior.network.bias_variance))
            H = np.concatenate([ones, H], axis=-1)

        def ridge(residual, scales):
            each = residual.mT[..., None]
            solved = _ridge(H[:, None], each, self.posterior.alpha, scales)
            return solved[..., 0].mT

        return self._layer(H, A, T, ridge)

    def _layer(self, H, A, T, ridge):
        """Draw a layer by Matheron's rule, in the eigenbasis of A'A.

        There each column v of V solves (alpha + scale H H') v = residual with its own
        eigenvalue, the scale.

        ridge : callable, (residuals, scales) -> H' V
        """
        scales, rotation = np.linalg.eigh(A.mT @ A)
        W, noise = self._prior(H.shape[-1], A.shape[1]), self._noise(T.shape[-2:])
        residual = (T - H @ (W @ A) - noise) @ rotation
        W += ridge(residual, np.maximum(scales, 0)) @ (A @ rotation).mT
        return W

    def _readout(self, H):
        """Draw the readout from its inputs H, by Matheron's rule with A = 1."""
        Y, alpha = self.posterior.Y, self.posterior.alpha
        a = self._prior(H.shape[-1], Y.shape[-1])
        residual = Y - H @ a - self._noise(Y.shape[-2:])
        a += _ridge(H, residual, alpha, np.ones(len(H)))
        return a

    def _prior(self, n_inputs, n_units):
        """Standard normal weights of one layer, for all chains."""
        return self.rng.standard_normal((self.n_chains, n_inputs, n_units))

    def _noise(self, shape):
        noise = self.rng.standard_normal((self.n_chains, *shape))
        return sqrt(self.posterior.alpha) * noise


def _ridge(H, residual, alpha, scales):
    """H' (alpha + scale H H')^-1 residual, through H H' or H'H, the smaller one."""
    n, p = H.shape[-2:]
    gram = H @ H.mT if n <= p else H.mT @ H
    gram = scales[..., None, None] * gram
    gram += alpha * np.eye(min(n, p))
    if n <= p:
        return H.mT @ np.linalg.solve(gram, residual)
    return np.linalg.solve(gram, H.mT @ residual)
