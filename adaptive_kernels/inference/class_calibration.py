"""Class probabilities from Gaussian predictions of one-hot labels.

One-hot columns share the kernel, so one factorisation and one variance serve all
classes. Leave-one-out predictions have a closed form. From the leave-one-out means m_c
and standard deviation s of a row, the logit of class c is

    logit_c = slope m_c / s + offset_c.

Slope and offsets maximise the likelihood of the labels times weak priors. The offsets
are close to the log class frequencies, which are the prediction far from all data. The
slope is such that a change of 1 in m_c changes the logit by about 4 at the typical s.
The noise variance has the smallest mean log loss. The probabilities are mixed with the
class frequencies, which count as one extra row. Without this mixture the confidence
would grow without limit if every left-out row agreed with its label.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import log, log1p
from typing import NamedTuple, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from .._arrays import Array, asarray_like, diagonal, namespace, to_numpy
from ..kernels._recursion import features, symmetric_matrices
from .evidence import Data, Hyperparameters
from .factorization import factorize, leave_one_out
from .inducing_calibration import InducingClasses
from .inducing_posterior import InducingPosterior
from .local_calibration import LocalClasses
from .local_posterior import LocalPosterior
from .posterior import GaussianPosterior

# Gaussian evidence of +-1 labels does not give a good noise variance. It is only the
# start of the line search, which ends at these shares of the kernel's mean diagonal.
NOISE_RANGE = (1e-3, 10.0**0.5)
NOISE_STEP = 10**0.5
# Further starts with neighbours, as shares of the kernel's mean diagonal.
LOCAL_NOISE = (0.01, 0.1, 1.0)
# Prior mode of the slope: a mean of 1 against 0 then means odds of e^4 = 55 to 1.
TYPICAL_LOGIT = 4.0
# Standard deviations of the priors of log slope and offsets. They weigh as much as nine
# and four rows: to their precisions, 4 and 1, a row with logit x adds at most
# x^2 p (1 - p) <= 0.44 and p (1 - p) <= 0.25.
SLOPE_SPREAD, OFFSET_SPREAD = 0.5, 1.0


@dataclass(frozen=True)
class Calibration:
    """Class probabilities from standardised means.

    slope : float
    offsets : ndarray (C,)
    floor : ndarray (C,), smallest probability of each class
    """

    slope: float
    offsets: np.ndarray
    floor: np.ndarray

    def log_probabilities(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Log probabilities (m, C) from means (m, C) and standard deviations (m,)."""
        logs = log_softmax(self.slope * mean / std[:, None] + self.offsets, axis=1)
        return np.logaddexp(log1p(-np.sum(self.floor)) + logs, np.log(self.floor))


def fit_calibration(
    mean: np.ndarray, std: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> tuple[Calibration, float]:
    """Fit the calibration: the posterior mode of slope and offsets.

    Parameters
    ----------
    mean : ndarray (n, C), leave-one-out means of centred one-hot labels
    std : ndarray (n,)
    labels : ndarray (n, C), one-hot
    weights : ndarray (n,)

    Returns
    -------
    Calibration
    float, its mean log loss
    """
    size = np.sum(weights)
    # Every class counts as half a row at least: its log frequency must be finite.
    frequencies = np.maximum(weights @ labels, 0.5)
    frequencies /= np.sum(frequencies)
    center = np.log(frequencies)
    standard = mean / std[:, None]
    typical = log(TYPICAL_LOGIT * float(weights @ std) / size)

    def objective(vector: np.ndarray) -> tuple[float, np.ndarray]:
        # With weights of a million a line search may try a slope that overflows.
        factor = np.exp(min(vector[0], 100.0))
        logs = log_softmax(factor * standard + vector[1:], axis=1)
        pull = weights[:, None] * (np.exp(logs) - labels)
        shift = (vector - start) / spread
        value = 0.5 * shift @ shift - np.sum(weights[:, None] * labels * logs)
        slope = factor * np.sum(pull * standard)
        return value, np.r_[slope, np.sum(pull, axis=0)] + shift / spread

    start = np.r_[typical, center]
    spread = np.r_[SLOPE_SPREAD, np.full(len(center), OFFSET_SPREAD)]
    best = minimize(objective, start, jac=True, method="L-BFGS-B").x
    calibration = Calibration(
        float(np.exp(best[0])), best[1:], frequencies / (size + 1)
    )
    logs = calibration.log_probabilities(mean, std)
    return calibration, -float(weights @ np.sum(labels * logs, axis=1)) / size


@dataclass(frozen=True)
class ClassPosterior:
    """Gaussian posterior of centred one-hot labels, with its calibration.

    posterior : GaussianPosterior, InducingPosterior or LocalPosterior
    loss : float, mean leave-one-out log loss
    left_out : ndarray (n,), log probabilities of the labels of the rows left out
    shares : ndarray (n,), weights of these rows in the loss
    """

    posterior: GaussianPosterior | InducingPosterior | LocalPosterior
    calibration: Calibration
    loss: float
    left_out: np.ndarray
    shares: np.ndarray

    @property
    def noise(self) -> float:
        """Noise variance of a row of unit weight."""
        return self.posterior.point.alpha

    def log_probabilities(self, X: Array) -> np.ndarray:
        """Log probabilities of the classes at new rows: ndarray (m, C)."""
        X = asarray_like(X, self.posterior.F)
        mean, variance = (to_numpy(a) for a in self.posterior.variance(X))
        std = np.sqrt(variance[:, 0] + self.noise)
        return self.calibration.log_probabilities(mean, std)


@dataclass(frozen=True)
class ExactClasses:
    """Rows with their full kernel matrix, and centred one-hot labels as targets.

    held_out : Data, the rows that are left out one by one: all rows
    point : Hyperparameters
    F : array (n, d + 1), features
    K : array (n, n), lower triangle
    """

    held_out: Data
    point: Hyperparameters
    F: Array
    K: Array

    @classmethod
    def of(cls, data: Data, point: Hyperparameters) -> Self:
        """Compute the kernel matrix at a point."""
        F = features(data.X, point.network, point.metric_sqrt)
        K = symmetric_matrices(F, point.network, lower=True)
        return cls(data, point, F, K[int(point.network.is_ntk)])

    @property
    def prior(self) -> Array:
        """Prior variances of the rows."""
        return diagonal(self.K)

    def leave_one_out(self, noise: float) -> tuple[Array, Array]:
        """Mean (n, C) and variance (n,) of f at each row given the others."""
        own = self.held_out.noise(noise)
        factored = factorize(1.0 * self.K, self.held_out.Y, own)
        mean, variance = leave_one_out(factored, self.held_out.Y)
        return mean, variance - own

    def posterior(self, noise: float) -> GaussianPosterior:
        """Posterior of f given all rows."""
        point = replace(self.point, alpha=noise)
        factored = factorize(self.K, self.held_out.Y, self.held_out.noise(noise))
        return GaussianPosterior(point, self.F, factored.factor, factored.dual)


def fit_class_posterior(
    rows: ExactClasses | InducingClasses | LocalClasses,
    labels: np.ndarray,
    row_weights: np.ndarray | None = None,
) -> ClassPosterior:
    """Choose noise and calibration by leave-one-out log loss at a fixed kernel.

    A line search changes the noise in factors of `NOISE_STEP`. It starts from the noise
    of the evidence; with neighbours, from the best of that and of `LOCAL_NOISE`.

    Parameters
    ----------
    rows : ExactClasses, InducingClasses or LocalClasses
        With the kernel and noise that the evidence chose. Do not use it afterwards:
        the last step, `ExactClasses.posterior`, overwrites its kernel matrix.
    labels : ndarray (n, C), one-hot, of the rows of `held_out`
    row_weights : ndarray (n,) or None
        Weight of each of these rows in the log loss. None takes their own weights, or
        ones if they have none.

    Returns
    -------
    ClassPosterior
    """
    if row_weights is None:
        own = rows.held_out.weights
        row_weights = np.ones(len(labels)) if own is None else to_numpy(own)
    prior_variances = rows.prior
    unit = float(namespace(prior_variances).mean(prior_variances)) or 1.0

    def trial(noise: float) -> _Trial:
        mean, variance = (to_numpy(a) for a in rows.leave_one_out(noise))
        std = np.sqrt(np.maximum(variance, 0) + noise)
        calibration, loss = fit_calibration(mean, std, labels, row_weights)
        logs = np.sum(labels * calibration.log_probabilities(mean, std), axis=1)
        return _Trial(loss, noise, calibration, logs)

    lowest, highest = (unit * share for share in NOISE_RANGE)
    starts = [rows.point.alpha]
    if isinstance(rows, LocalClasses):  # a trial is cheap
        starts += [unit * share for share in LOCAL_NOISE]
    first = min((trial(noise) for noise in starts), key=lambda found: found.loss)
    best = _line_search(trial, first, lowest, highest)
    posterior = rows.posterior(best.noise)
    return ClassPosterior(
        posterior, best.calibration, best.loss, best.logs, row_weights
    )


class _Trial(NamedTuple):
    """Log loss and calibration at a noise variance; log probabilities of the labels."""

    loss: float
    noise: float
    calibration: Calibration
    logs: np.ndarray


def _line_search(
    trial: Callable[[float], _Trial], first: _Trial, lowest: float, highest: float
) -> _Trial:
    """Lower the noise while the loss falls; raise it only if lowering does not help."""
    best = first
    # Only the end ahead is a limit: the first noise may lie outside.
    for factor, is_allowed in (
        (1 / NOISE_STEP, lambda noise: noise > lowest),
        (NOISE_STEP, lambda noise: noise < highest),
    ):
        while is_allowed(best.noise * factor):
            following = trial(best.noise * factor)
            if following.loss >= best.loss:
                break
            best = following
        if best is not first:
            break
    return best
