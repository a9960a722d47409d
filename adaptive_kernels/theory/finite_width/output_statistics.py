"""Output statistics of finite networks, from standard to mean-field scaling.

Let K0 be the NNGP kernel of the training rows, and N the width of a network whose
kernel keeps its shape. At fixed scale s = |a|^2 / g_a of the readout weights its
outputs are Gaussian with kernel s K0. The prior of s is Gamma(N / 2, rate N / 2). This
is exact for a linear network with one hidden layer. For any other network it is the
kernel-rescaling approximation. The theories differ in how they treat s. All cost O(n)
once the spectrum of K0 is known:

- `tree_level`: saddle point of the field theory, without fluctuations;
- `one_loop`: its first correction, of relative order n / N;
- `scale_saddle`: all orders in n / N, by the saddle point of the scale;
- `exact`: the integral over the scale.

See arXiv:2502.03210; Li and Sompolinsky 2021; Pacelli et al. 2023.
"""

from dataclasses import dataclass, replace
from math import isinf, log, pi

import numpy as np

from ..._arrays import Array, asarray_like, namespace


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
        Coefficients of the mean.
    prior_scale : ndarray (C,)
        p, scale of the kernel of each rotated output before the data are known.
    reduction : ndarray (r, C)
        q, by which the data reduce the covariance of each rotated output.
    rotation : ndarray (C, C)
        R, eigenvectors of `scale`.
    drift : ndarray (r, k)
        Direction in which the mean moves when the scale fluctuates. A network's outputs
        vary along it more than those of any rescaled Gaussian process.
    log_evidence : float
        Log density of the targets.
    effective_dof : float
        Effective degrees of freedom, tr[(noise + s K0)^{-1} s K0], mean over outputs.
        Divided by the width it is the size of the one-loop correction.
    tilt : ndarray (r, k)
        Growth of the weight covariance, see :meth:`weight_covariance`.
    loss : ndarray (r,)
        Shrinkage of the weight covariance, see :meth:`weight_covariance`.
    width : float
        Number of hidden units N.
    converged : bool
        Whether the equations of the theory were solved.
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

    def mean(self, projections: Array) -> Array:
        """Mean (m, C) of f at rows with projections k0(x)' V (m, r)."""
        return projections @ asarray_like(self.dual, projections)

    def variance(self, projections: Array, prior: Array) -> Array:
        """Variance (m, C) of f, from projections and kernel diagonal (m,)."""
        scale, reduction, mixing, drift = self._like(projections)
        rotated = prior[:, None] * scale - projections**2 @ reduction
        moved = namespace(prior).sum((projections @ drift) ** 2, axis=1)
        return rotated @ mixing + moved[:, None]

    def covariance(self, projections: Array, prior: Array) -> Array:
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

    def weight_covariance(self, projections: np.ndarray) -> np.ndarray:
        """Covariance (p, p) of a hidden unit's input weights in a linear network.

        In coordinates in which the prior is the identity and K0 = gain F F', where the
        gain is that of readout and activation, it is

            I + (gain / N) F'V [T T' - diag(l)] V'F,    `tilt` T, `loss` l.

        T adds a spike along F'u. l shrinks the directions that the data determine.

        Parameters
        ----------
        projections : array (p, r)
            gain^{1/2} F'V.

        Returns
        -------
        ndarray (p, p)
            If the width is below the number of outputs no such network exists, and
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
    """Statistics of the Gaussian process with kernel `scale` K0.

    With the eigenvalues s and eigenvectors R of `scale` (C, C) the rotated outputs Y R
    are independent: output j has the kernel s_j K0. In the eigenbasis of K0 its
    targets have coefficients c_ij with the variances v_ij = lam_i s_j + noise. So

        dual = (s c / v) R',    reduction = s^2 / v,
        tilt = sqrt(s) c / v,   loss_i = sum_j s_j / v_ij.

    `known` replaces fields that a theory computes otherwise.
    """
    s, R = np.linalg.eigh(np.asarray(scale))
    c, _ = spectrum.rotated(R)
    lam = spectrum.eigenvalues[:, None]
    v = noise + lam * s
    c_over_v = c / v
    fields = {
        "dual": (c_over_v * s) @ R.T,
        "prior_scale": s,
        "reduction": s**2 / v,
        "rotation": R,
        "drift": np.zeros((len(lam), 0)),
        "log_evidence": _gaussian_evidence(spectrum, noise, s, R),
        "effective_dof": float(np.sum(lam * s / v)) / len(s),
        "tilt": c_over_v * np.sqrt(s),
        "loss": np.sum(s / v, axis=1),
    }
    return OutputStatistics(
        theory=theory, scale=np.asarray(scale), width=width, **{**fields, **known}
    )


def with_prior(saddle, terms):
    """Statistics with N / 2 times the terms, of the scale's prior, in the evidence."""
    evidence = saddle.log_evidence + saddle.width / 2 * float(np.sum(terms))
    return replace(saddle, log_evidence=evidence)


def _gaussian_evidence(spectrum, noise, scales, rotation):
    """Log density of the targets under a Gaussian process.

    Rotated output j has kernel scales[j] * K0, plus noise: `scales` (C,) are the
    eigenvalues of the scale of the kernel, `rotation` (C, C) its eigenvectors.
    """
    coefficients, null_squares = spectrum.rotated(rotation)
    variance = noise + spectrum.eigenvalues[:, None] * scales
    # -2 log N(c; 0, variance); in the null space of K0 the variance is the noise
    minus_two_log = np.sum(np.log(2 * pi * variance) + coefficients**2 / variance)
    if spectrum.null_rows:
        minus_two_log += len(scales) * spectrum.null_rows * log(2 * pi * noise)
        minus_two_log += np.sum(null_squares) / noise
    return -0.5 * float(minus_two_log)


def infinite_width(spectrum, noise):
    """Statistics of the Gaussian process that all theories share at infinite width."""
    return fixed_scale("nngp", spectrum, noise, np.inf, np.eye(spectrum.outputs))


def one_output(spectrum, name, cure):
    """Raise ValueError if there are several outputs, with the cure in the message."""
    if spectrum.outputs > 1:
        raise ValueError(
            f"approximation='{name}' has one output, got {spectrum.outputs}: {cure}."
        )
