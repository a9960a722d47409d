"""Tree level: output statistics to leading order at mean-field scaling."""

from math import isinf, log, pi

import numpy as np
from scipy.optimize import brentq

from ..kernel_regression.spectrum import Spectrum
from .output_statistics import (
    OutputStatistics,
    fixed_scale,
    infinite_width,
    with_prior,
)
from .rescaling import matrix_saddle


def tree_level(spectrum: Spectrum, *, noise: float, width: float) -> OutputStatistics:
    """Posterior of a finite network in the limit of mean-field scaling.

    Use it where n / (N Q) is small, as at mean-field scaling; elsewhere `one_loop` or
    `scale_saddle` are more accurate. It costs O(n) operations per step once the
    spectrum is known.

    Parameters
    ----------
    spectrum : Spectrum
        Spectrum of the NNGP kernel, with the targets.
    noise : float
        Noise variance.
    width : float
        Number of hidden units N.

    Returns
    -------
    OutputStatistics
        With one output, the covariance has the kernel Q K0 + (2 Q^2 / N) K0 u u'K0, and
        the evidence includes fluctuations to one loop. With several outputs the kernel
        is Q K0 alone, and the evidence has the same approximation.

    Raises
    ------
    ValueError
        If the noise is zero and the kernel matrix singular.

    Warns
    -----
    ConvergenceWarning
        If the iteration for several outputs stops early.

    Notes
    -----
    It is the saddle point of the network's field theory. With one output it solves
    1/Q = 1 - u'K0 u / N, u = (noise + Q K0)^{-1} y, an equation with one solution. With
    several outputs it solves the same equation for matrices.

    References
    ----------
    arXiv:2502.03210.

    Examples
    --------
    >>> from adaptive_kernels.datasets import make_ising
    >>> from adaptive_kernels.theory import Spectrum, tree_level
    >>> X, y = make_ising(15, 20, random_state=0)
    >>> spectrum = Spectrum.of_features(X / 20**0.5, y)
    >>> float(tree_level(spectrum, noise=0.2, width=50).scale[0, 0].round(3))
    1.171
    """
    spectrum.check(noise, width)
    if isinf(width):
        return infinite_width(spectrum, noise)
    if spectrum.outputs > 1:
        scale, converged = matrix_saddle(spectrum, noise, width, loops=0)
        known = {"loss": np.zeros(len(spectrum.eigenvalues)), "converged": converged}
        saddle = fixed_scale("tree", spectrum, noise, width, scale, **known)
        q = saddle.prior_scale
        return with_prior(saddle, np.log(q) + 1 / q - 1)
    Q = tree_scale(spectrum, noise, width)
    u = spectrum.projections[:, 0] / (noise + Q * spectrum.eigenvalues)
    drift, evidence = fluctuations(spectrum, noise, width, Q, Q, u)
    return fixed_scale(
        "tree",
        spectrum,
        noise,
        width,
        [[Q]],
        drift=drift,
        log_evidence=evidence,
        loss=np.zeros(len(u)),
    )


def tree_scale(spectrum, noise, width):
    """Q of one output, by Brent's method on 1 - 1/Q - u'K0 u / N, which increases."""
    lam, c2 = spectrum.eigenvalues, spectrum.projections[:, 0] ** 2

    def excess(t):
        q = np.sum(lam * c2 / (noise + np.exp(t) * lam) ** 2) / width
        return -np.expm1(-t) - q

    high = 1.0
    while excess(high) < 0:
        high *= 2
    return float(np.exp(brentq(excess, 0.0, high, xtol=1e-15, maxiter=500)))


def fluctuations(spectrum, noise, width, Q, scale, u):
    """Drift of the mean when the scale fluctuates, and the evidence to one loop.

    The Hessian of the action is M = noise + Q K0 + beta v v' with v = K0 u and
    beta = 2 Q^2 / N. So outputs fluctuate with the kernel Q K0 + beta v v'.
    """
    lam, c = spectrum.eigenvalues, spectrum.projections[:, 0]
    beta, v, spread = 2 * Q**2 / width, lam * u, noise + scale * lam
    stretch = 1 + beta * float(np.sum(v**2 / spread))
    drift = np.sqrt(beta / stretch) * noise * u / spread
    action = float(noise / 2 * np.sum(u**2) - np.sum(u * c)) + width / 2 * log(Q)
    log_det = float(np.sum(np.log(spread))) + log(stretch)
    rows = len(u) + spectrum.null_rows
    if spectrum.null_rows:
        action -= 0.5 * float(spectrum.null_squares[0, 0]) / noise
        log_det += spectrum.null_rows * log(noise)
    return drift[:, None], action - 0.5 * (log_det + rows * log(2 * pi))
