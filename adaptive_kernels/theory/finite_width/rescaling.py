"""Kernel rescaling to all orders in n_samples / width: the saddle of the scale."""

import warnings
from math import isinf, log, pi

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..kernel_regression.spectrum import Spectrum
from .output_statistics import (
    OutputStatistics,
    fixed_scale,
    infinite_width,
    with_prior,
)
from .scale_likelihood import ScaleLikelihood

# Largest number of iterations for the scale of several outputs.
_MAX_ITER = 2000


def scale_saddle(spectrum: Spectrum, *, noise: float, width: float) -> OutputStatistics:
    """Posterior of a finite network by kernel rescaling, to all orders in n / N.

    Use it for any number of outputs, and where training rows are not few against the
    width. It costs O(n) operations per step once the spectrum is known.

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
        For a linear network with one output, mean, covariance and evidence (by the
        Laplace approximation) are right within 1 % at any scaling. With several outputs
        fluctuations of the scale are left out of covariance and evidence.

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
    It solves 1/s = 1 - u'K0 u / N + tr[(noise + s K0)^{-1} K0] / N, the equation of the
    proportional limit n ~ N. Of several roots the most probable one is used.

    References
    ----------
    Li and Sompolinsky, Physical Review X 2021; Pacelli et al., Nature Machine
    Intelligence 2023.

    Examples
    --------
    >>> from adaptive_kernels.datasets import make_ising
    >>> from adaptive_kernels.theory import Spectrum, scale_saddle
    >>> X, y = make_ising(15, 20, random_state=0)
    >>> spectrum = Spectrum.of_features(X / 20**0.5, y)
    >>> float(scale_saddle(spectrum, noise=0.2, width=50).scale[0, 0].round(3))
    0.982
    """
    spectrum.check(noise, width)
    if isinf(width):
        return infinite_width(spectrum, noise)
    if spectrum.outputs > 1:
        scale, converged = matrix_saddle(spectrum, noise, width, loops=1)
        known = {"converged": converged}
        saddle = fixed_scale("rescaling", spectrum, noise, width, scale, **known)
        s = saddle.prior_scale
        return with_prior(saddle, np.log(s) + 1 - s)
    likelihood = ScaleLikelihood(spectrum, noise, width)
    t = likelihood.mode()
    s, curvature = np.exp(t), likelihood.curvature(t)
    spread = noise + s * spectrum.eigenvalues[:, None]
    return fixed_scale(
        "rescaling",
        spectrum,
        noise,
        width,
        [[s]],
        drift=s * noise * spectrum.projections / spread**2 / np.sqrt(curvature),
        log_evidence=likelihood.value(t) + 0.5 * log(2 * pi / curvature),
    )


def matrix_saddle(spectrum, noise, width, *, loops):
    """Scale (C, C) of several outputs, and whether the iteration converged.

    The iteration solves S (I + T/N) = I + S^{1/2} (U'K0 U / N) S^{1/2} and goes half of
    the way in every step. T = tr[(noise + S K0)^{-1} K0] if `loops` is 1; at tree level
    it is 0.
    """
    lam, c = spectrum.eigenvalues[:, None], spectrum.projections
    scale = np.eye(c.shape[1])
    for _ in range(_MAX_ITER):
        s, rotation = np.linalg.eigh(scale)
        spread = noise + lam * s
        dual = (c @ rotation) / spread
        overlap = (dual * lam).T @ dual / width
        root = np.sqrt(s)
        shrink = 1 / np.sqrt(1 + loops * np.sum(lam / spread, axis=0) / width)
        update = np.eye(len(s)) + root[:, None] * overlap * root
        update = rotation @ (shrink[:, None] * update * shrink) @ rotation.T
        change = np.max(np.abs(update - scale)) / np.max(np.abs(scale))
        scale = (scale + update) / 2
        if change < 1e-12:
            break
    converged = bool(change < 1e-8)
    if not converged:
        warnings.warn(
            "The iteration for the scale of several outputs stopped at a relative "
            f"change of {change:.1e}: raise alpha or width.",
            ConvergenceWarning,
            stacklevel=3,
        )
    return scale, converged
