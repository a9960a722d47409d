"""Exact output statistics of linear networks: an integral over the scale."""

from math import isinf

import numpy as np

from ..kernel_regression.spectrum import Spectrum
from .output_statistics import OutputStatistics, fixed_scale, infinite_width, one_output
from .scale_likelihood import ScaleLikelihood


def exact(spectrum: Spectrum, *, noise: float, width: float) -> OutputStatistics:
    """Exact posterior of a linear network with one hidden layer and one output.

    Use it as the truth to which other theories are compared. It integrates over the
    scale of the kernel by quadrature, in O(n) operations per node. For any other
    network it is the mixture of rescaled Gaussian processes: the adaptation of the
    kernel's shape is left out.

    Parameters
    ----------
    spectrum : Spectrum
        Spectrum of the NNGP kernel, with the targets of one output.
    noise : float
        Noise variance.
    width : float
        Number of hidden units N.

    Returns
    -------
    OutputStatistics
        Mean, covariance, evidence and weight covariance, all exact for a linear
        network.

    Raises
    ------
    ValueError
        If there are several outputs, or the noise is zero and the kernel singular.

    Examples
    --------
    >>> from adaptive_kernels.datasets import make_ising
    >>> from adaptive_kernels.theory import Spectrum, exact
    >>> X, y = make_ising(15, 20, random_state=0)
    >>> spectrum = Spectrum.of_features(X / 20**0.5, y)
    >>> float(exact(spectrum, noise=0.2, width=50).scale[0, 0].round(3))
    0.985
    """
    spectrum.check(noise, width)
    one_output(spectrum, "exact", "use 'rescaling', or sample the network")
    if isinf(width):
        return infinite_width(spectrum, noise)
    scales, shares, evidence = ScaleLikelihood(spectrum, noise, width).quadrature()
    lam, c = spectrum.eigenvalues[:, None], spectrum.projections
    inverse = 1 / (noise + lam * scales)
    means = scales * inverse * c
    dual = means @ shares
    return fixed_scale(
        "exact",
        spectrum,
        noise,
        width,
        [[float(scales @ shares)]],
        dual=dual[:, None],
        reduction=(scales**2 * inverse) @ shares[:, None],
        drift=(means - dual[:, None]) * np.sqrt(shares),
        log_evidence=evidence,
        effective_dof=float(np.sum(lam * (scales * inverse) @ shares[:, None])),
        tilt=inverse * c * np.sqrt(shares * scales),
        loss=(scales * inverse) @ shares,
    )
