"""One scale per layer: kernel rescaling of a network with several hidden layers.

In a network with L hidden layers of N units the second moment of the activations of
layer l, as the next layer sees it, is that of the NNGP times a scale s_l. The prior of
s_l is Gamma(N / 2, rate N / 2). The saddle point of

    sum_l (N / 2) (t_l - e^{t_l}) + log evidence of K(s_1, ..., s_L),    t = log s,

gives the renormalised kernel of the proportional limit n ~ N (Li and Sompolinsky 2021,
exact for linear networks; Pacelli et al. 2023 for others): K follows the layer
recursion with the gain of layer l multiplied by s_l.
"""

import warnings
from dataclasses import replace
from math import isinf

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from ...inference.evidence import Data, Hyperparameters, kernel_factor, trace_slopes
from ...inference.factorization import evidence_cotangent
from .._checks import check_width

# Bound of the log scales, far beyond any solution: e^40 = 2e17.
_BOUND = 40.0


def layer_scales(data: Data, point: Hyperparameters, *, width: float) -> np.ndarray:
    """Scale of the kernel in each layer of a deep network of finite width.

    Use it to see how far a network of this width is from its Gaussian process, which
    has the scales 1. The search starts there and finds the nearest saddle point. Each
    step costs one factorisation of the kernel matrix.

    Parameters
    ----------
    data : Data
        Training rows and one output.
    point : Hyperparameters
        Kernel, noise and metric.
    width : float
        Number of units in every hidden layer.

    Returns
    -------
    ndarray (depth,)
        Scales from the first to the last hidden layer.

    Raises
    ------
    ValueError
        If there are several outputs, or the width is not positive.

    Warns
    -----
    ConvergenceWarning
        If the search stops at a gradient above 1e-3 nats.

    References
    ----------
    Li and Sompolinsky, Physical Review X 2021; Pacelli et al., Nature Machine
    Intelligence 2023.

    Examples
    --------
    >>> from adaptive_kernels.datasets import make_ising
    >>> from adaptive_kernels.kernels import NNGP
    >>> from adaptive_kernels.theory import Data, Hyperparameters, layer_scales
    >>> X, y = make_ising(20, 10, random_state=0)
    >>> point = Hyperparameters(NNGP("erf", depth=2).network(), 0.1)
    >>> layer_scales(Data(X, y[:, None]), point, width=60).shape
    (2,)
    """
    if data.Y.shape[1] > 1:
        raise ValueError(
            "approximation='rescaling' at depth > 1 has one output, got "
            f"{data.Y.shape[1]}: fit the outputs one by one, or use depth=1."
        )
    check_width(width)
    depth, size = point.network.depth, data.observations()
    if isinf(width):
        return np.ones(depth)

    def negated_objective(t):
        """Per observation, so that tolerances do not depend on their number."""
        value, gradient = _log_posterior(data, point, width, t)
        return -value / size, -gradient / size

    solution = minimize(
        negated_objective,
        np.zeros(depth),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-_BOUND, _BOUND)] * depth,
        options={"ftol": 1e-15, "gtol": 1e-10},
    )
    slope = size * np.max(np.abs(solution.jac))
    if slope > 1e-3:
        warnings.warn(
            f"The search for the layers' scales stopped at a gradient of {slope:.1e} "
            "nats: raise alpha or width.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return np.exp(solution.x)


def _log_posterior(data, point, width, t):
    """Log posterior of the log scales t up to a constant, and its gradient."""
    scales = tuple(np.exp(t).tolist())
    point = replace(point, network=replace(point.network, scales=scales))
    F, v, factored = kernel_factor(data, point)
    value = factored.log_evidence + width / 2 * float(np.sum(t - np.expm1(t)))
    cotangent = evidence_cotangent(factored)
    cotangents, _, readout = trace_slopes(data, point, F, v, factored, cotangent)
    gains = np.array([*cotangents.log_gains, readout])
    return value, -0.5 * gains - width / 2 * np.expm1(t)
