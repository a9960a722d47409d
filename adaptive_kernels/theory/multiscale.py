"""Output statistics of finite networks, from standard to mean-field scaling.

Given the NNGP kernel K0 of the training rows, a network of `width` N whose kernel keeps
its shape has outputs that are Gaussian with kernel s K0 at fixed scale s = |a|^2 / g_a,
whose prior is Gamma(N / 2, rate N / 2). This is exact for a linear network with one
hidden layer, and the kernel-rescaling approximation for any other. The theories
differ in how they treat s; all cost O(n) once the spectrum of K0 is known:

- `tree_level`: saddle point of the field theory, without fluctuations;
- `one_loop`: its first correction, of relative order n / N;
- `scale_saddle`: all orders in n / N, by the saddle point of the scale;
- `exact`: the integral over the scale.

See arXiv:2502.03210; Li and Sompolinsky 2021; Pacelli et al. 2023.
"""

import warnings
from dataclasses import dataclass, replace
from math import isinf, log, pi

import numpy as np
from scipy.optimize import brentq
from sklearn.exceptions import ConvergenceWarning

from .._array import asarray_like, namespace
from ._scale import ScaleLikelihood

_MAX_ITER = 2000


@dataclass(frozen=True)
class OutputStatistics:
    """Posterior of a network's outputs in the eigenbasis of its NNGP kernel.

    With P = k0(x)' V the projections (m, r) of new rows and k0(x, x') their kernel,

        mean = P `dual`,
        covariance of output o = sum_c R_oc^2 [p_c k0(x, x') - P diag(q_c) P'] + D D',

    where R is `rotation`, p `prior_scale`, q `reduction` and D = P `drift`.

    Attributes
    ----------
    theory : str
        "tree", "one_loop", "rescaling" or "exact"; "nngp" at infinite width.
    scale : ndarray (C, C)
        Scale of the kernel in the mean: Q at tree level, Q_eff at one loop, s at the
        scale saddle, E[s] for the exact theory.
    dual : ndarray (r, C)
    prior_scale : ndarray (C,)
    reduction : ndarray (r, C)
    rotation : ndarray (C, C)
    drift : ndarray (r, k)
        Fluctuations of the scale move the mean together at all rows: the direction in
        which the outputs vary more than those of any rescaled Gaussian process.
    log_evidence : float
    effective_dof : float
        Effective degrees of freedom, tr[(noise + s K0)^{-1} s K0], mean over outputs.
        Divided by the width it is the size of the one-loop correction.
    tilt : ndarray (r, k)
    loss : ndarray (r,)
        Of the weight covariance, see :meth:`weight_covariance`.
    width : float
    converged : bool
    """

    theory: str
    scale: np.ndarray
    dual: np.ndarray
    prior_scale: np.ndarray
    reduction: np.ndarray
    rotation: np.ndarray
    drift: np.ndarray
    log_evidence: float
    effective_dof: float
    tilt: np.ndarray
    loss: np.ndarray
    width: float
    converged: bool = True

    def mean(self, projections):
        """Mean (m, C) of f at rows with projections k0(x)' V (m, r)."""
        return projections @ asarray_like(self.dual, projections)

    def variance(self, projections, prior):
        """Variance (m, C) of f, from projections and kernel diagonal (m,)."""
        scale, reduction, mixing, drift = self._like(projections)
        rotated = prior[:, None] * scale - projections**2 @ reduction
        moved = namespace(prior).sum((projections @ drift) ** 2, axis=1)
        return rotated @ mixing + moved[:, None]

    def covariance(self, projections, prior):
        """Covariance (m, m, C) of f, from projections and kernel (m, m) of the rows."""
        scale, reduction, mixing, drift = self._like(projections)
        rotated = [
            scale[c] * prior - (projections * reduction[:, c]) @ projections.T
            for c in range(scale.shape[0])
        ]
        moved = projections @ drift
        spread = namespace(prior).stack(rotated, axis=-1) @ mixing
        return spread + (moved @ moved.T)[:, :, None]

    def _like(self, array):
        mixing = self.rotation.T**2
        fields = self.prior_scale, self.reduction, mixing, self.drift
        return tuple(asarray_like(field, array) for field in fields)

    def weight_covariance(self, projections):
        """Covariance (p, p) of a hidden unit's input weights in a linear network.

        In whitened coordinates, where the prior is the identity and
        K0 = gain F F' with the gain of readout and activation:
        I + (gain / N) F'V [T T' - diag(l)] V'F, with `tilt` T and `loss` l. The tilt
        grows a spike along F'u, the loss is the shrinkage by what the data determine.

        Parameters
        ----------
        projections : array (p, r)
            gain^{1/2} F'V.

        Returns
        -------
        ndarray (p, p)
            Widths below the number of outputs belong to no network: there its
            negative eigenvalues are set to zero.
        """
        spike = projections @ self.tilt
        shrink = (projections * self.loss) @ projections.T
        covariance = np.eye(len(projections))
        if isinf(self.width):
            return covariance
        covariance += (spike @ spike.T - shrink) / self.width
        if self.width >= len(self.scale) or not np.any(self.loss):
            return covariance
        values, vectors = np.linalg.eigh(covariance)
        return (vectors * np.maximum(values, 0.0)) @ vectors.T


def fixed_scale(theory, spectrum, noise, width, scale, **known):
    """Statistics of the Gaussian process with kernel `scale` K0, before fluctuations.

    `known` replaces what a theory knows better.
    """
    s, rotation = np.linalg.eigh(np.asarray(scale))
    c, _ = spectrum.rotated(rotation)
    lam = spectrum.eigenvalues[:, None]
    spread = noise + lam * s
    shrunk = c / spread
    fields = {
        "dual": (shrunk * s) @ rotation.T,
        "prior_scale": s,
        "reduction": s**2 / spread,
        "rotation": rotation,
        "drift": np.zeros((len(lam), 0)),
        "log_evidence": _gaussian_evidence(spectrum, noise, s, rotation),
        "effective_dof": float(np.sum(lam * s / spread)) / len(s),
        "tilt": shrunk * np.sqrt(s),
        "loss": np.sum(s / spread, axis=1),
    }
    return OutputStatistics(
        theory=theory, scale=np.asarray(scale), width=width, **{**fields, **known}
    )


def _with_prior(saddle, terms):
    """The evidence with what the prior of the scale gives, N / 2 times the terms."""
    evidence = saddle.log_evidence + saddle.width / 2 * float(np.sum(terms))
    return replace(saddle, log_evidence=evidence)


def _gaussian_evidence(spectrum, noise, scales, rotation):
    """Log density of the targets under kernels s_c K0 of the rotated outputs."""
    c, null = spectrum.rotated(rotation)
    variance = noise + spectrum.eigenvalues[:, None] * scales
    total = np.sum(np.log(2 * pi * variance) + c**2 / variance)
    if spectrum.null_rows:
        total += len(scales) * spectrum.null_rows * log(2 * pi * noise)
        total += np.sum(null) / noise
    return -0.5 * float(total)


def infinite_width(spectrum, noise):
    """Statistics of the Gaussian process that all theories share at infinite width."""
    return fixed_scale("nngp", spectrum, noise, np.inf, np.eye(spectrum.outputs))


def one_output(spectrum, name, cure):
    """Raise where a theory is known for one output only."""
    if spectrum.outputs > 1:
        raise ValueError(
            f"approximation='{name}' has one output, got {spectrum.outputs}: {cure}."
        )


def tree_level(spectrum, *, noise, width):
    """Saddle point of the network's field theory: the limit of mean-field scaling.

    Solves 1/Q = 1 - u'K0 u / N with u = (noise + Q K0)^{-1} y, a monotone scalar
    equation, or its matrix form for several outputs.

    Parameters
    ----------
    spectrum : Spectrum
        Of the NNGP kernel and the targets.
    noise : float
        Noise variance.
    width : float
        Number of hidden units N.

    Returns
    -------
    OutputStatistics
        The mean is right where n / (N Q) is small, as in mean-field scaling. The
        covariance has the kernel Q K0 + (2 Q^2 / N) K0 u u'K0 (one output), or Q K0
        alone (several, an approximation); the evidence includes fluctuations to one
        loop, for several outputs to the same approximation.

    Raises
    ------
    ValueError
        If the noise is zero and the kernel matrix singular.

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
        scale, converged = _matrix_saddle(spectrum, noise, width, loops=0)
        known = {"loss": np.zeros(len(spectrum.eigenvalues)), "converged": converged}
        saddle = fixed_scale("tree", spectrum, noise, width, scale, **known)
        q = saddle.prior_scale
        return _with_prior(saddle, np.log(q) + 1 / q - 1)
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
    """Drift of the mean with the scale, and the evidence to one loop.

    The Hessian of the action is M = noise + Q K0 + beta v v', v = K0 u,
    beta = 2 Q^2 / N, so that outputs fluctuate with the kernel Q K0 + beta v v'.
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


def scale_saddle(spectrum, *, noise, width):
    """Kernel rescaling to all orders in n / N: the saddle point of the scale.

    Solves 1/s = 1 - u'K0 u / N + tr[(noise + s K0)^{-1} K0] / N, the equation of the
    proportional limit n ~ N. Of several roots the most probable is taken.

    Parameters
    ----------
    spectrum : Spectrum
        Of the NNGP kernel and the targets.
    noise : float
        Noise variance.
    width : float
        Number of hidden units N.

    Returns
    -------
    OutputStatistics
        For a linear network the mean is right within 1 % at any scaling, covariance
        and evidence (Laplace approximation) likewise; with several outputs the
        covariance takes the scale for certain and the evidence is that of the saddle.

    Raises
    ------
    ValueError
        If the noise is zero and the kernel matrix singular.

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
        scale, converged = _matrix_saddle(spectrum, noise, width, loops=1)
        known = {"converged": converged}
        saddle = fixed_scale("rescaling", spectrum, noise, width, scale, **known)
        s = saddle.prior_scale
        return _with_prior(saddle, np.log(s) + 1 - s)
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


def exact(spectrum, *, noise, width):
    """The integral over the scale, by quadrature: exact for a linear network.

    For any other network it is the mixture of its rescaled Gaussian processes, which
    ignores that the shape of the kernel adapts.

    Parameters
    ----------
    spectrum : Spectrum
        Of the NNGP kernel and the targets; one output.
    noise : float
        Noise variance.
    width : float
        Number of hidden units N.

    Returns
    -------
    OutputStatistics
        Mean, covariance, evidence and weight covariance, all exact.

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
    one_output(spectrum, "exact", "take 'rescaling', or sample the network")
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


def _matrix_saddle(spectrum, noise, width, *, loops):
    """Scale (C, C) of several outputs, and whether the iteration converged.

    Iterates S (I + T/N) = I + S^{1/2} (U'K0 U / N) S^{1/2}, damped by a half, with
    T = tr[(noise + S K0)^{-1} K0] for `loops` = 1 and without it at tree level.
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
