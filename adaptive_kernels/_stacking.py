"""Stacking: the mixture of predictive densities that is likeliest out of fold."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_random_state

from ._array import namespace

# Log likelihood that a smaller mixture may lose: what a fitted weight gains by chance.
SLACK = 1.0
TOLERANCE = 0.05
MAX_ITER = 10_000


@dataclass(frozen=True)
class Mixture:
    """Members of a mixture, as columns of a table of densities, and their weights.

    indices : ndarray (k,), by decreasing weight
    weights : ndarray (k,), summing to one
    log_likelihood : float, of the observations under the mixture
    """

    indices: np.ndarray
    weights: np.ndarray
    log_likelihood: float


def best_mixture(log_densities, indices, counts, start=None):
    """The mixture of the given columns of largest log likelihood, by EM.

    The log likelihood is concave in the weights, so n (max_k g_k - 1), with g the
    factors that EM multiplies the weights by, bounds what is missing to its maximum.

    log_densities : ndarray (n, m), of every observation under every candidate
    indices : ndarray (k,), candidates to mix
    counts : ndarray (n,), how often each observation counts
    start : ndarray (k,), positive; equal weights by default
    """
    table = log_densities[:, indices]
    top = table.max(axis=1)
    densities = np.exp(table - top[:, None])
    total = counts.sum()
    start = np.ones(len(indices)) if start is None else start
    weights = start / start.sum()
    for _ in range(MAX_ITER):
        mixed = densities @ weights
        factors = (counts / mixed) @ densities / total
        if total * (factors.max() - 1) < TOLERANCE:
            break
        weights = weights * factors
    order = np.argsort(-weights, kind="stable")
    weights = weights / weights.sum()
    log_likelihood = counts @ (np.log(densities @ weights) + top)
    return Mixture(indices[order], weights[order], float(log_likelihood))


def sparse_mixture(log_densities, best, counts):
    """A mixture of few candidates that is nearly as likely as the best of all.

    The lightest member is left out, again and again, while the log likelihood stays
    within `SLACK` of the maximum; the candidate `best` alone is taken if that is.
    Candidates with an undefined density are not mixed.
    """
    alone = Mixture(np.array([best]), np.ones(1), counts @ log_densities[:, best])
    usable = np.flatnonzero(np.isfinite(log_densities).all(axis=0))
    if best not in usable:
        return alone
    mixture = best_mixture(log_densities, usable, counts)
    enough = mixture.log_likelihood - SLACK
    if alone.log_likelihood >= enough:
        return alone
    while len(mixture.indices) > 1:
        heavier = mixture.indices[:-1], counts, mixture.weights[:-1]
        fewer = best_mixture(log_densities, *heavier)
        if fewer.log_likelihood < enough:
            break
        mixture = fewer
    return mixture


def predict_mixture(members, weights, X, return_std=False, return_cov=False):
    """Mean, and standard deviation or covariance if asked for, of the mixture.

    mean = sum_k w_k mean_k
    covariance = sum_k w_k [covariance_k + (mean_k - mean) (mean_k - mean)']
    """
    predictions = [member.predict(X, return_std, return_cov) for member in members]
    if len(members) == 1:
        return predictions[0]
    if not (return_std or return_cov):
        return _average(weights, predictions)
    means, spreads = zip(*predictions, strict=True)
    mean = _average(weights, means)
    gaps = [m - mean for m in means]
    if return_cov:
        apart = [gap[:, None, ...] * gap[None, ...] for gap in gaps]
        return mean, _average(weights, spreads) + _average(weights, apart)
    squares = [std**2 + gap**2 for std, gap in zip(spreads, gaps, strict=True)]
    return mean, namespace(mean).sqrt(_average(weights, squares))


def sample_mixture(members, weights, X, n_samples, random_state):
    """Draws from the mixture: every draw is one member's, at all rows and outputs."""
    rng = check_random_state(random_state)
    if len(members) == 1:
        return members[0].sample_y(X, n_samples, rng)
    chosen = rng.choice(len(members), size=n_samples, p=weights)
    draws = [
        member.sample_y(X, np.count_nonzero(chosen == k), rng)
        for k, member in enumerate(members)
        if np.any(chosen == k)
    ]
    place = np.argsort(np.argsort(chosen, kind="stable"), kind="stable")
    return np.concatenate(draws, axis=-1)[..., place]


def _average(weights, values):
    return sum(w * v for w, v in zip(weights, values, strict=True))
