"""Predictive distributions of regressors: quantiles, intervals and log densities."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Self

import numpy as np
from scipy.optimize.elementwise import find_root
from scipy.special import logsumexp
from scipy.stats import norm

from .._arrays import Array, ArrayLike, asarray_like, is_array, to_numpy
from ..metrics._validation import check_columns


@dataclass(frozen=True)
class NormalMixture:
    """Mixtures of k normals, one for each row and output.

    shares, means, stds : ndarrays (k, m, C)
    is_vector : bool, whether the targets are a vector
    """

    shares: np.ndarray
    means: np.ndarray
    stds: np.ndarray
    is_vector: bool

    @classmethod
    def of_members(
        cls, shares: Sequence[Array], means: Sequence[Array], stds: Sequence[Array]
    ) -> Self:
        """From lists of arrays (m,) or (m, C), one for each member."""
        stacked = [
            np.stack([to_numpy(values) for values in part])
            for part in (shares, means, stds)
        ]
        is_vector = stacked[0].ndim == 2
        q, m, s = (a[..., None] if is_vector else a for a in stacked)
        return cls(q, m, s, is_vector)

    def quantiles(self, levels: np.ndarray) -> np.ndarray:
        """Quantiles (m, C, levels).

        With sum_k q_k Phi((y - m_k) / s_k) = p, y is between the quantiles of the
        components.
        """
        z = norm.ppf(levels)
        each = self.means[..., None] + self.stds[..., None] * z
        low, high = each.min(axis=0), each.max(axis=0)
        if len(each) == 1:
            return low

        def excess(y, level, *components):
            shares, means, stds = np.split(np.stack(components), 3)
            return np.sum(shares * norm.cdf((y - means) / stds), axis=0) - level

        parts = (self.shares, self.means, self.stds)
        components = [a[..., None] + 0 * low for part in parts for a in part]
        # Rounding must not move an end of the bracket across the root.
        margin = 1e-9 * (np.abs(high) + np.abs(low) + high - low)
        bracket = low - margin, high + margin
        return find_root(excess, bracket, args=(levels + 0 * low, *components)).x

    def log_density(self, y: np.ndarray) -> np.ndarray:
        """Log densities (m,) of targets (m, C), summed over outputs."""
        logs = norm.logpdf(y, self.means, self.stds)
        return np.sum(logsumexp(logs, axis=0, b=self.shares), axis=1)


class PredictsDistributions:
    """Mixin of regressors whose predictions are normals, or mixtures of normals.

    Subclasses have `_distribution(X)`, and `_predicted(X, return_std=True)` if that is
    not overridden.
    """

    def _distribution(self, X):
        """The `NormalMixture` at the rows X."""
        mean, std = self._predicted(X, return_std=True)
        return NormalMixture.of_members([0 * mean + 1], [mean], [std])

    def predict_quantiles(
        self, X: ArrayLike, quantiles: ArrayLike = (0.05, 0.5, 0.95)
    ) -> Array:
        """Predict quantiles of new observations, noise included.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs.
        quantiles : array-like of shape (n_quantiles,), default=(0.05, 0.5, 0.95)
            Probabilities between 0 and 1.

        Returns
        -------
        array of shape (n_samples, n_quantiles) or \
(n_samples, n_outputs, n_quantiles)
            In the units of y. Exact for the mixture of a search.

        Raises
        ------
        ValueError
            If a probability is not between 0 and 1.
        """
        levels = np.asarray(quantiles, dtype=float)
        if (
            levels.ndim != 1
            or not levels.size
            or not np.all((levels > 0) & (levels < 1))
        ):
            raise ValueError(
                "quantiles must be a list of probabilities between 0 and 1, got "
                f"{quantiles!r}."
            )
        mixture = self._distribution(X)
        found = mixture.quantiles(levels)
        return like_rows(found[:, 0, :] if mixture.is_vector else found, X)

    def predict_interval(self, X: ArrayLike, level: float = 0.9) -> Array:
        """Predict central intervals of new observations, noise included.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs.
        level : float, default=0.9
            Probability of the interval, between 0 and 1. On either side of it half of
            the rest is left.

        Returns
        -------
        array of shape (n_samples, 2) or (n_samples, n_outputs, 2)
            Lower and upper ends, in the units of y.

        Raises
        ------
        ValueError
            If `level` is not between 0 and 1.
        """
        if not (isinstance(level, Real) and 0 < level < 1):
            raise ValueError(f"level must be between 0 and 1, got {level!r}.")
        return self.predict_quantiles(X, [(1 - level) / 2, (1 + level) / 2])

    def predict_log_density(self, X: ArrayLike, y: ArrayLike) -> Array:
        """Log density of observations under their predictions; higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Observations, in the units of the training targets.

        Returns
        -------
        array of shape (n_samples,)
            In nats, summed over outputs. Exact for the mixture of a search.

        Raises
        ------
        ValueError
            If y does not have the shape of the predictions, or values are missing.
        """
        mixture = self._distribution(X)
        targets, _ = check_columns(y=y, predictions=mixture.means[0])
        return like_rows(mixture.log_density(targets), X)


def like_rows(values, X):
    """Values as an array of the library of X; NumPy for lists and tables."""
    return asarray_like(values, X) if is_array(X) else values
