"""Multi-scale theory of a finite network's output: the all-order scale saddle.

Given the NNGP kernel K0 = V diag(eigenvalues) V' of the training rows, the outputs of a
network of `width` N are Gaussian with kernel s K0 at fixed scale s = |a|^2 / g_a, whose
prior is Gamma(N / 2, rate N / 2). With c = V'y and noise variance kappa the log
posterior of t = log s is, up to a constant,

    l(t) = (N/2) (t - e^t) - (1/2) sum [log(kappa + s lam) + c^2 / (kappa + s lam)],

and its maximum solves 1/s = 1 - q(s) + T(s) / N, the kernel-rescaling equation of the
proportional limit (Li and Sompolinsky 2021; Pacelli et al. 2023; arXiv:2502.03210).
"""

from dataclasses import dataclass
from math import exp, isinf, lgamma, log, pi

import numpy as np
from scipy.optimize import brentq

_GRID = np.linspace(-30.0, 30.0, 601)
_MAX_ITER = 2000


@dataclass(frozen=True)
class ScaleSaddle:
    """Solution of the scale saddle.

    scale : array (C, C), symmetric: the kernel's factor, s for one output
    curvature : float, -l''(log s) for one output, else inf: no fluctuation term
    log_evidence : float, Laplace approximation for one output, else at the saddle
    converged : bool
    """

    scale: np.ndarray
    curvature: float
    log_evidence: float
    converged: bool


def scale_saddle(eigenvalues, projections, noise, width):
    """Solve for the kernel's scale at finite width.

    Parameters
    ----------
    eigenvalues : array (n,)
        Of the NNGP kernel matrix; negative rounding is clipped.
    projections : array (n, C)
        V'Y.
    noise : float
        Noise variance, positive.
    width : float
        Number of hidden units; infinite gives scale one.

    Returns
    -------
    ScaleSaddle

    Raises
    ------
    ValueError
        If `noise` is not positive.
    """
    if not noise > 0:
        raise ValueError(
            "The scale saddle needs a positive noise variance: raise alpha."
        )
    lam = np.maximum(np.asarray(eigenvalues, dtype=float), 0.0)
    c = np.asarray(projections, dtype=float)
    outputs = c.shape[1]
    if isinf(width):
        value = _gaussian_evidence(lam, c, noise, np.ones(outputs))
        return ScaleSaddle(np.eye(outputs), np.inf, value, True)
    if outputs == 1:
        return _scalar_saddle(lam, c[:, 0], noise, width)
    return _matrix_saddle(lam, c, noise, width)


def _gaussian_evidence(lam, c, noise, scales):
    variance = noise + lam[:, None] * scales
    return -0.5 * float(np.sum(np.log(2 * pi * variance) + c**2 / variance))


def _scalar_saddle(lam, c, noise, width):
    def slope(t):
        gain = exp(t) * lam
        variance = noise + gain
        pull = np.sum(gain * (c**2 / variance - 1) / variance)
        return width * (1 - exp(t)) + float(pull)

    def value(t):
        prior = width / 2 * (log(width / 2) + t - exp(t)) - lgamma(width / 2)
        return prior + _gaussian_evidence(lam, c[:, None], noise, np.exp([t]))

    slopes = np.array([slope(t) for t in _GRID])
    down = np.flatnonzero((slopes[:-1] > 0) & (slopes[1:] <= 0))
    roots = [brentq(slope, _GRID[i], _GRID[i + 1], xtol=1e-14) for i in down]
    t = max(roots, key=value)
    gain = exp(t) * lam
    variance = noise + gain
    curvature = 0.5 * float(
        width * exp(t)
        + np.sum(gain * noise / variance**2)
        - np.sum(c**2 * gain * (noise - gain) / variance**3)
    )
    evidence = value(t) + 0.5 * log(2 * pi / curvature)
    return ScaleSaddle(np.array([[exp(t)]]), curvature, evidence, True)


def _matrix_saddle(lam, c, noise, width):
    """Iterate S (I + T/N) = I + S^{1/2} (U' K0 U / N) S^{1/2}, damped by a half."""
    scale = np.eye(c.shape[1])
    for _ in range(_MAX_ITER):
        s, rotation = np.linalg.eigh(scale)
        variance = noise + lam[:, None] * s
        dual = (c @ rotation) / variance
        overlap = (dual * lam[:, None]).T @ dual / width
        root = np.sqrt(s)
        shrink = 1 / np.sqrt(1 + np.sum(lam[:, None] / variance, axis=0) / width)
        update = np.eye(len(s)) + root[:, None] * overlap * root
        update = rotation @ (shrink[:, None] * update * shrink) @ rotation.T
        change = np.max(np.abs(update - scale)) / np.max(np.abs(scale))
        scale = (scale + update) / 2
        if change < 1e-12:
            break
    s, rotation = np.linalg.eigh(scale)
    evidence = _gaussian_evidence(lam, c @ rotation, noise, s)
    evidence += width / 2 * float(np.sum(np.log(s) + 1 - s))
    return ScaleSaddle(scale, np.inf, evidence, bool(change < 1e-10))
