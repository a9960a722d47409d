"""Class probabilities from Gaussian predictions of one-hot labels.

One-hot columns share the kernel, hence one factorisation and one variance for all
classes. Each row left out in closed form, its mean m_c and standard deviation s give

    logit_c = slope m_c / s + offset_c,

and slope, offsets and the noise are those of largest likelihood of the labels, with
weak priors: offsets about the log frequencies of the classes, which far from all data
are the answer, and a logit of 4 between a label and its absence at the typical s. One
further row that knows nothing but the frequencies is mixed in, because labels that no
row left out contradicts would otherwise be believed without limit.
"""

from dataclasses import dataclass, replace
from math import log, log1p

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from .._array import asarray_like, namespace, to_numpy
from .._linalg import factorize, leave_one_out
from ..kernels._recursion import features, symmetric_matrices
from .posterior import GaussianPosterior
from .variational import Data

# Noise variances to try besides that of the evidence, relative to the kernel's mean
# diagonal: the evidence of labels taken for Gaussian numbers is no judge of it.
NOISES = tuple((10.0 ** np.arange(-3, 0.6, 0.5)).tolist())
TYPICAL_LOGIT = 4.0
SLOPE_SPREAD, OFFSET_SPREAD = 0.5, 1.0


@dataclass(frozen=True)
class Calibration:
    """From standardised means to probabilities.

    slope : float
    offsets : ndarray (C,)
    floor : ndarray (C,), least probabilities
    """

    slope: float
    offsets: np.ndarray
    floor: np.ndarray

    def log_probabilities(self, mean, std):
        """(m, C) from means (m, C) and standard deviations (m,)."""
        logs = log_softmax(self.slope * mean / std[:, None] + self.offsets, axis=1)
        return np.logaddexp(log1p(-np.sum(self.floor)) + logs, np.log(self.floor))


def fit_calibration(mean, std, labels, weights):
    """The calibration of largest posterior density, and its mean log loss.

    Parameters
    ----------
    mean : ndarray (n, C), leave-one-out means of centred one-hot labels
    std : ndarray (n,)
    labels : ndarray (n, C), one-hot
    weights : ndarray (n,)

    Returns
    -------
    Calibration
    float
    """
    size = np.sum(weights)
    frequencies = np.maximum(weights @ labels / size, 0.5 / size)
    center = np.log(frequencies)
    standard = mean / std[:, None]
    typical = log(TYPICAL_LOGIT * float(weights @ std) / size)

    def objective(vector):
        logs = log_softmax(np.exp(vector[0]) * standard + vector[1:], axis=1)
        pull = weights[:, None] * (np.exp(logs) - labels)
        shift = (vector - start) / spread
        value = 0.5 * shift @ shift - np.sum(weights[:, None] * labels * logs)
        slope = np.exp(vector[0]) * np.sum(pull * standard)
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

    loss : float, mean leave-one-out log loss
    """

    posterior: GaussianPosterior
    calibration: Calibration
    loss: float

    @property
    def noise(self):
        """Noise variance of a row of unit weight."""
        return self.posterior.point.alpha

    def log_probabilities(self, X):
        """Log probabilities of the classes at new rows: ndarray (m, C)."""
        X = asarray_like(X, self.posterior.F)
        mean, variance = (to_numpy(a) for a in self.posterior.variance(X))
        std = np.sqrt(variance[:, 0] + self.noise)
        return self.calibration.log_probabilities(mean, std)


def fit_class_posterior(X, labels, weights, point):
    """Noise and calibration of least leave-one-out log loss, kernel held fixed.

    Parameters
    ----------
    X : array (n, d)
    labels : ndarray (n, C), one-hot
    weights : array (n,) or None
    point : Hyperparameters
        Kernel and noise, as the evidence chose them.

    Returns
    -------
    ClassPosterior
    """
    shares = np.ones(len(labels)) if weights is None else to_numpy(weights)
    mean = shares @ labels / np.sum(shares)
    data = Data(X, asarray_like(labels - mean, X), weights)
    tried = []
    for noise, moments in _leave_one_out_path(data, point):
        calibration, loss = fit_calibration(*moments, labels, shares)
        tried.append((loss, noise, calibration))
    loss, noise, calibration = min(tried, key=lambda trial: trial[0])
    posterior, _ = GaussianPosterior.fit(data, replace(point, alpha=noise))
    return ClassPosterior(posterior, calibration, loss)


def _leave_one_out_path(data, point):
    """Noise variances, each with the means (n, C) and std (n,) of rows left out."""
    F = features(data.X, point.network, point.root)
    K = symmetric_matrices(F, point.network, lower=True)[int(point.network.tangent)]
    xp = namespace(K)
    unit = float(xp.mean(xp.linalg.diagonal(K))) or 1.0
    for noise in (point.alpha, *(unit * share for share in NOISES)):
        own = data.noise(noise)
        mean, variance = leave_one_out(factorize(1.0 * K, data.Y, own), data.Y)
        variance = to_numpy(variance - own)
        std = np.sqrt(np.maximum(variance, 0) + noise)
        yield noise, (to_numpy(mean), std)
