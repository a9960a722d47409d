"""Convergence of Markov chains: split R-hat and effective sample size."""

import numpy as np

from .._arrays import ArrayLike
from ..kernels._recursion import slices_of

# Numbers of a block that is worked on at once: 8 MiB.
BLOCK = 2**20


def _by_column(draws, function):
    """Apply a function to split chains, (n_draws // 2, 2 n_chains, variables)."""
    draws = np.asarray(draws, dtype=float)
    if draws.ndim < 2 or draws.shape[1] < 4:
        raise ValueError(
            "draws must have shape (n_chains, n_draws, ...) with at least 4 draws, "
            f"got {draws.shape}."
        )
    chains, n = draws.shape[:2]
    flat = draws.reshape(chains, n, -1)
    values = []
    for block in slices_of(flat.shape[2], max(1, BLOCK // (chains * n))):
        halves = [flat[:, : n // 2, block], flat[:, n - n // 2 :, block]]
        values.append(function(np.concatenate(halves).swapaxes(0, 1)))
    return np.concatenate(values).reshape(draws.shape[2:])[()]


def _variances(halves):
    """Variance within chains, and pooled over chains: two arrays (variables,)."""
    n = halves.shape[0]
    within = np.mean(np.var(halves, axis=0, ddof=1), axis=0)
    between = np.var(np.mean(halves, axis=0), axis=0, ddof=1)
    return within, within * (n - 1) / n + between


def _r_hat(halves):
    within, pooled = _variances(halves)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sqrt(pooled / within)


def split_r_hat(draws: ArrayLike) -> np.ndarray:
    """Whether chains agree: ratio of pooled to within-chain standard deviation.

    Use it to see if a sampler has converged: above 1.05 run it longer. Each chain is
    split into halves, so that a trend within a chain shows too.

    Parameters
    ----------
    draws : array-like of shape (n_chains, n_draws, ...)
        Draws of one or more quantities, at least 4 per chain.

    Returns
    -------
    ndarray of the trailing shape
        Near 1 if the chains agree; NaN if the draws are constant.

    Raises
    ------
    ValueError
        If there are fewer than 4 draws per chain.

    References
    ----------
    Vehtari et al., "Rank-normalization, folding, and localization: an improved R-hat",
    Bayesian Analysis 2021. Ranks are not used here.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.sampling import split_r_hat
    >>> draws = np.random.default_rng(0).standard_normal((4, 500))
    >>> bool(split_r_hat(draws) < 1.02)
    True
    """
    return _by_column(draws, _r_hat)


def effective_sample_size(draws: ArrayLike) -> np.ndarray:
    """Number of independent draws whose mean is as accurate as that of the chains.

    Use it to judge Monte Carlo errors: the standard error of a mean is the standard
    deviation over the square root of this number.

    Parameters
    ----------
    draws : array-like of shape (n_chains, n_draws, ...)
        Draws of one or more quantities, at least 4 per chain.

    Returns
    -------
    ndarray of the trailing shape
        NaN if the draws are constant.

    Raises
    ------
    ValueError
        If there are fewer than 4 draws per chain.

    Notes
    -----
    The autocorrelations of the split chains are summed over Geyer's initial monotone
    sequence of positive pairs.

    References
    ----------
    Vehtari et al., "Rank-normalization, folding, and localization: an improved R-hat",
    Bayesian Analysis 2021. Ranks are not used here.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.sampling import effective_sample_size
    >>> draws = np.random.default_rng(0).standard_normal((4, 500, 2))
    >>> effective_sample_size(draws) > 1500
    array([ True,  True])
    """
    return _by_column(draws, _sample_size)


def standard_error(draws):
    """Monte Carlo standard error of the mean; zero if the draws are constant."""
    return _by_column(draws, _standard_error)


def _standard_error(halves):
    _, pooled = _variances(halves)
    return np.sqrt(np.where(pooled > 0, pooled / _sample_size(halves), 0))


def _sample_size(halves):
    n, chains, _ = halves.shape
    total = n * chains
    within, pooled = _variances(halves)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = 1 - (within - _autocovariance(halves)) / pooled
    correlation[0] = np.where(pooled > 0, 1.0, np.nan)
    pairs = correlation[: n // 2 * 2].reshape(n // 2, 2, -1).sum(axis=1)
    positive = np.logical_and.accumulate(~(pairs <= 0), axis=0)
    time = 2 * np.sum(np.minimum.accumulate(pairs, axis=0) * positive, axis=0) - 1
    # Antithetic chains are better than independent draws. The limit is Vehtari's.
    return total / np.maximum(time, 1 / np.log10(total))


def _autocovariance(halves):
    """Mean over chains of the autocovariance at lags 0, 1, ..."""
    n = halves.shape[0]
    spectrum = np.fft.rfft(halves - halves.mean(axis=0), 2 * n, axis=0)
    power = np.mean(spectrum.real**2 + spectrum.imag**2, axis=1)
    return np.fft.irfft(power, axis=0)[:n] / n
