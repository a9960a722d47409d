"""First correction to the tree level of a network's outputs, by fluctuations.

The Hessian of the action is M = noise + Q K0 + beta v v' with v = K0 u and
beta = 2 Q^2 / N. With T = tr(M^{-1} K0) and r = v'M^{-1} v,

    d log det M / du = beta [(T + 4 Q r / N) v + 2 K0 M^{-1} v].

The strict form shifts u once by half of M^{-1} times this gradient. The self-consistent
form solves the equation of state of the one-loop effective action,

    y = noise u + Q_eff K0 u - beta K0 M^{-1} K0 u,
    Q_eff = Q - (Q^2 / N) (T + 4 Q r / N),    1/Q = 1 - u'K0 u / N,

In the eigenbasis it has three unknowns: log Q, Q_eff / Q and the logarithm of
gamma = 1 / (1 + beta v'(noise + Q K0)^{-1} v).
"""

import warnings
from math import isinf

import numpy as np
from scipy.optimize import root
from sklearn.exceptions import ConvergenceWarning

from ..kernel_regression.spectrum import Spectrum
from .output_statistics import OutputStatistics, fixed_scale, infinite_width, one_output
from .rescaling import scale_saddle
from .tree_level import fluctuations, tree_level, tree_scale

# Strengths of the loop terms, in steps from the tree level, if a direct solution fails.
_CONTINUATION = (0.1, 0.25, 0.5, 0.75, 1.0)


def one_loop(
    spectrum: Spectrum, *, noise: float, width: float, strict: bool = False
) -> OutputStatistics:
    """Posterior of a finite network: tree level plus its correction of order n / N.

    Use it while `effective_dof` / N is well below one, 0.2 for instance; near one use
    `scale_saddle`. It costs O(n) operations once the spectrum is known.

    Parameters
    ----------
    spectrum : Spectrum
        Spectrum of the NNGP kernel, with the targets of one output.
    noise : float
        Noise variance.
    width : float
        Number of hidden units N.
    strict : bool, default=False
        Whether to shift the tree level once instead of solving the self-consistent
        equation. The shift always exists. It is less accurate than the solution for
        `effective_dof` / N = 0.2, and more accurate for 0.6.

    Returns
    -------
    OutputStatistics
        `scale` is Q_eff; in the strict form it is the scale that fits the mean best.
        The covariance is that of the kernel Q_eff K0 plus a drift. The evidence is that
        of `tree_level`.

    Raises
    ------
    ValueError
        If there are several outputs, or the noise is zero and the kernel singular.

    Warns
    -----
    ConvergenceWarning
        If the self-consistent equation has no physical solution, which happens for
        `effective_dof` near N or beyond. The result is then that of `scale_saddle`,
        and its `theory` is "rescaling".

    Notes
    -----
    The train discrepancy of a linear network at standard scaling is wrong by 1 % for
    `effective_dof` / N = 0.2, and by 6 % for 0.6. At mean-field scaling the error is
    negligible.

    References
    ----------
    arXiv:2502.03210.

    Examples
    --------
    >>> from adaptive_kernels.datasets import make_ising
    >>> from adaptive_kernels.theory import Spectrum, one_loop
    >>> X, y = make_ising(15, 20, random_state=0)
    >>> spectrum = Spectrum.of_features(X / 20**0.5, y)
    >>> float(one_loop(spectrum, noise=0.2, width=50).scale[0, 0].round(3))
    0.975
    """
    spectrum.check(noise, width)
    one_output(spectrum, "one_loop", "use 'rescaling', or sample the network")
    if isinf(width):
        return infinite_width(spectrum, noise)
    problem = _Loop(spectrum, noise, width)
    if strict:
        return problem.strict()
    solution = problem.self_consistent()
    if solution is not None:
        return solution
    tree = tree_level(spectrum, noise=noise, width=width)
    warnings.warn(
        "The one-loop equation has no physical solution: the effective degrees of "
        f"freedom are {tree.effective_dof / width:.2g} times the width. The result is "
        "that of approximation='rescaling', which holds to all orders. For one loop "
        "raise width, scaling or alpha.",
        ConvergenceWarning,
        stacklevel=2,
    )
    return scale_saddle(spectrum, noise=noise, width=width)


class _Loop:
    """The equations of this module in the eigenbasis, around the tree level.

    lam, c : arrays (r,), eigenvalues of K0 and projections of the targets
    Q, u : scale and dual vector at tree level
    """

    def __init__(self, spectrum, noise, width):
        self.spectrum, self.noise, self.width = spectrum, noise, width
        self.lam, self.c = spectrum.eigenvalues, spectrum.projections[:, 0]
        self.Q = tree_scale(spectrum, noise, width)
        self.u = self.c / (noise + self.Q * self.lam)

    def _shares(self, Q, u, gamma=None):
        """v, a = noise + Q lam, beta, gamma, and Q_eff / Q - 1 at given Q and u."""
        v, a, beta = self.lam * u, self.noise + Q * self.lam, 2 * Q**2 / self.width
        r0 = float(np.sum(v**2 / a))
        gamma = 1 / (1 + beta * r0) if gamma is None else gamma
        trace = np.sum(self.lam / a) - beta * gamma * np.sum(self.lam * (v / a) ** 2)
        shift = -Q / self.width * (float(trace) + 4 * Q * gamma * r0 / self.width)
        return v, a, beta, gamma, shift

    def strict(self):
        """Shift the tree level's u by half of M^{-1} d log det M / du."""
        Q, u = self.Q, self.u
        v, a, beta, gamma, shift = self._shares(Q, u)

        def solve(w):
            # M^{-1} w by the Sherman-Morrison formula
            return w / a - beta * gamma * v / a * float(np.sum(v * w / a))

        # beta (T + 4 Q r / N) = -2 (Q_eff - Q).
        slope = -2 * Q * shift * u + 2 * beta * solve(v)
        step = 0.5 * solve(self.lam * slope)
        dual = Q * (u + step) + beta * u * float(np.sum(v * step)) - 0.5 * slope
        shifted = self.lam * (u + step)
        overlap = float(np.sum(shifted * (u + step)))
        scale = float(np.sum(shifted * dual)) / overlap if overlap > 0 else 1.0
        return self._statistics(Q, scale, u, dual)

    def self_consistent(self):
        """Statistics of the solution next to the tree level, or None without one."""
        for path in ((1.0,), _CONTINUATION):
            unknown = self._follow(path)
            if unknown is not None:
                break
        else:
            return None
        Q, ratio, gamma = np.exp(unknown[0]), unknown[1], np.exp(unknown[2])
        u, a, _ = self._response(Q, ratio, gamma, 1.0)
        dual = Q * ratio * u - 2 * Q**2 / self.width * gamma * self.lam * u / a
        return self._statistics(Q, Q * ratio, u, dual)

    def _follow(self, strengths):
        """Solve at ascending strengths of the loop terms, 1 last; None if it fails."""
        gamma = self._shares(self.Q, self.u)[3]
        unknown = np.array([np.log(self.Q), 1.0, np.log(gamma)])
        for strength in strengths:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                solution = root(
                    self._residual, unknown, strength, options={"xtol": 1e-14}
                )
            unknown = solution.x
            if not np.max(np.abs(solution.fun)) < 1e-9:
                return None
        Q, ratio, gamma = np.exp(unknown[0]), unknown[1], np.exp(unknown[2])
        denominator = self._response(Q, ratio, gamma, 1.0)[2]
        return unknown if ratio > 0 and np.all(denominator > 0) else None

    def _response(self, Q, ratio, gamma, strength):
        a = self.noise + Q * self.lam
        loop = strength * 2 * Q**2 / self.width * gamma * self.lam**2 / a
        denominator = self.noise + Q * ratio * self.lam - loop
        return self.c / denominator, a, denominator

    def _residual(self, unknown, strength):
        Q, ratio, gamma = np.exp(unknown[0]), unknown[1], np.exp(unknown[2])
        u, _, _ = self._response(Q, ratio, gamma, strength)
        v, a, beta, _, shift = self._shares(Q, u, gamma)
        return np.array(
            [
                1 / Q - 1 + float(np.sum(v * u)) / self.width,
                ratio - 1 - strength * shift,
                unknown[2] + np.log1p(beta * float(np.sum(v**2 / a))),
            ]
        )

    def _statistics(self, Q, scale, u, dual):
        tree = self.spectrum, self.noise, self.width
        return fixed_scale(
            "one_loop",
            *tree,
            [[scale]],
            dual=dual[:, None],
            drift=fluctuations(*tree, Q, scale, u)[0],
            log_evidence=fluctuations(*tree, self.Q, self.Q, self.u)[1],
        )
