"""Draws of networks: recorded while chains run, summarised afterwards."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from warnings import warn

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._arrays import ArrayLike
from ..kernels._recursion import slices_of
from ._diagnostics import BLOCK, effective_sample_size, split_r_hat, standard_error
from ._posterior import Posterior

# Limits of the warning. At 1.05 means of split chains vary by 0.32 standard deviations;
# with 100 effective draws a posterior mean has an error of a tenth of one.
MAX_R_HAT = 1.05
MIN_SAMPLE_SIZE = 100


@dataclass(frozen=True)
class NetworkSamples:
    """Posterior draws of networks of finite width.

    Attributes
    ----------
    train : ndarray of shape (n_chains, n_draws, n_samples, n_outputs)
        Values f of the network at the training rows, without noise, in units of y.
    test : ndarray of shape (n_chains, n_draws, n_test, n_outputs) or None
        The same at the rows of `X_test`.
    readout_scale : ndarray of shape (n_chains, n_draws, n_outputs, n_outputs)
        a'a / width of the readout weights a, in units in which their prior variance is
        one. The prior mean is the identity.
    weight_covariance : ndarray of shape (n_chains, n_features, n_features)
        Second moment of a hidden unit's input weights, averaged over units and draws,
        in the coordinates of X and without bias. The prior is
        weight_variance / n_features times the metric.
    acceptance_rate, step_size, trajectory_length : float or None
        Of Hamiltonian Monte Carlo after warm-up, with the largest length; None for
        Gibbs sampling.
    """

    train: np.ndarray
    test: np.ndarray | None
    readout_scale: np.ndarray
    weight_covariance: np.ndarray
    acceptance_rate: float | None = None
    step_size: float | None = None
    trajectory_length: float | None = None

    @cached_property
    def r_hat(self) -> float:
        """Largest split R-hat of the training outputs and the readout's scale."""
        return float(max(np.nanmax(split_r_hat(d)) for d in self._monitored))

    @cached_property
    def effective_sample_size(self) -> float:
        """Smallest effective sample size of training outputs and readout's scale."""
        sizes = [np.nanmin(effective_sample_size(d)) for d in self._monitored]
        return float(min(sizes))

    @property
    def _monitored(self):
        scale = np.diagonal(self.readout_scale, axis1=2, axis2=3)
        # Constant outputs, as of a network with zero readout variance, are left out.
        return [d for d in (self.train, scale) if np.ptp(d) > 0]

    def estimate(
        self,
        statistic: Callable[[np.ndarray], ArrayLike],
        *,
        rows: Literal["train", "test"] = "train",
    ) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean of a function of f, and its Monte Carlo standard error.

        Parameters
        ----------
        statistic : callable
            Maps draws of f, (n_chains, n_draws, n_rows, n_outputs), to an array
            (n_chains, n_draws, ...).
        rows : {"train", "test"}, default="train"
            The rows at which f is taken.

        Returns
        -------
        mean, error : ndarrays of the statistic's trailing shape

        Raises
        ------
        ValueError
            If `rows` is unknown, there are no test rows, or the statistic has no
            value for each draw.
        """
        if rows not in ("train", "test"):
            raise ValueError(f"rows must be 'train' or 'test', got {rows!r}.")
        draws = self.train if rows == "train" else self.test
        if draws is None:
            raise ValueError("There are no test rows: sample with X_test.")
        values = np.asarray(statistic(draws), dtype=float)
        if values.shape[:2] != draws.shape[:2]:
            raise ValueError(
                f"statistic must keep the first two axes {draws.shape[:2]} of f, but "
                f"returned shape {values.shape}."
            )
        return values.mean(axis=(0, 1)), standard_error(values)


@dataclass(frozen=True)
class Record:
    """Arrays that are filled with the draws.

    posterior : Posterior, of the network that is sampled
    F_test : array (m, p) or None, first-layer inputs of the test rows
    input_root : array (d, d), maps whitened input weights to the coordinates of X
    train, test, readout_scale : arrays, the attributes of `NetworkSamples`
    moment : array (chains, d, d), sum over draws of w w' / width
    """

    posterior: Posterior
    F_test: np.ndarray | None
    input_root: np.ndarray
    train: np.ndarray
    test: np.ndarray | None
    readout_scale: np.ndarray
    moment: np.ndarray

    @classmethod
    def empty(cls, posterior, F_test, input_root, counts):
        """Allocate the arrays for counts of chains, warm-up and draws."""
        chains, _, draws = counts
        n, C = posterior.Y.shape
        train = np.empty((chains, draws, n, C))
        test = None if F_test is None else np.empty((chains, draws, len(F_test), C))
        scale, moment = np.empty((chains, draws, C, C)), np.zeros_like(input_root)
        moment = np.repeat(moment[None], chains, axis=0)
        return cls(posterior, F_test, input_root, train, test, scale, moment)

    def keep(self, draw, weights, outputs):
        """Record a draw of all chains."""
        self.train[:, draw] = outputs
        readout, width = weights[-1], self.posterior.width
        self.readout_scale[:, draw] = readout.mT @ readout / width
        W = weights[0][:, -len(self.input_root) :]
        self.moment[...] += W @ W.mT / width
        if self.F_test is not None:
            rows = max(1, BLOCK // (len(readout) * width))
            for block in slices_of(len(self.F_test), rows):
                outputs = self.posterior.outputs(self.F_test[block], weights)
                self.test[:, draw, block] = outputs

    def samples(self, *tuning):
        """The `NetworkSamples`, with a warning if the chains have not converged."""
        moment = self.moment / self.train.shape[1]
        covariance = self.input_root @ moment @ self.input_root.T
        arrays = self.train, self.test, self.readout_scale, covariance
        samples = NetworkSamples(*arrays, *tuning)
        _warn_of_few_draws(samples)
        return samples


def _warn_of_few_draws(samples):
    r_hat, size = samples.r_hat, samples.effective_sample_size
    if not r_hat <= MAX_R_HAT or not size >= MIN_SAMPLE_SIZE:
        warn(
            f"The chains have not converged: r_hat is {r_hat:.3f} (want <= "
            f"{MAX_R_HAT}) and the effective sample size {size:.0f} (want >= "
            f"{MIN_SAMPLE_SIZE}). Raise n_warmup, n_samples or n_chains.",
            ConvergenceWarning,
            stacklevel=4,
        )
