"""Ridge regression on random features after one gradient step of their weights.

Inputs x ~ N(0, I_d), labels y = sum_k c*_k He_k(x . b) + noise with |b| = 1. Neurons
phi(w . x), w uniform on the unit sphere, with readouts a_i = alpha_i / sqrt(N),
alpha_i ~ N(0, 1). A full-batch step of size eta along beta = X0' r / n0 turns the
features into

    phi(w_i . x + s alpha_i g) - c_0,    g = x . beta / |beta|,
    s = |c_1| eta |beta| / sqrt(N),

with the gain s: untrained features F0 and spikes M(g, alpha) = E phi(z + s alpha g) -
c_0 ~ sum_k c_k s^k g^k alpha^k. Both g and x . b are standard normal with correlation
rho, so that ridge regression on the spikes learns the part sum_k c*_k rho^k He_k(g) of
the target. With F0 replaced by its resolvent (see `random_features.py`), the objective
over functions f(g) = E_alpha M(g, alpha) a(alpha) is

    alpha [m_2 |linear part of the residual|^2 + m_1 |the rest and noise|^2
           + kappa / (alpha n) E a^2],

The last term is the penalty on readout weights, which the spikes share with F0.

The spikes and their exponents are those of arXiv:2310.07891; the test error, the
intercept and errors at finite gain were derived for this package.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from numbers import Integral, Real
from typing import Literal, cast

import numpy as np
from scipy.linalg import lstsq
from scipy.special import factorial
from sklearn.utils import check_array

from ..._arrays import Array, ArrayLike
from ..._sklearn import Interval, StrOptions, validate_params
from ...kernels._expansion import expansion
from ...kernels._hermite import DEGREE, hermite_values
from .random_features import ACTIVATION, ALPHA, SIZE, bulk_resolvent
from .spike_operator import NODES, ROOT_WEIGHTS, mean_shift_operator

_STEP = {
    "target": ["array-like"],
    "noise": [Interval(Real, 0, None, closed="left")],
    "n_features": SIZE,
    "activation": ACTIVATION,
    "residual": [StrOptions({"target", "full"})],
}


@dataclass(frozen=True)
class StepDirection:
    """Direction of a gradient step in the proportional limit.

    Attributes
    ----------
    squared_cosine : float
        rho^2, the squared cosine with the direction of the target.
    gradient_norm : float
        |beta|, from which :func:`~adaptive_kernels.theory.gain_from_step_size` computes
        the gain of a step.
    """

    squared_cosine: float
    gradient_norm: float


@validate_params(_STEP | {"n_step_samples": SIZE}, prefer_skip_nested_validation=True)
def direction_alignment(
    target: ArrayLike,
    *,
    noise: float,
    n_features: int,
    n_step_samples: int,
    activation: str | Callable[[Array], Array] = "relu",
    residual: Literal["target", "full"] = "target",
) -> StepDirection:
    """How well one gradient step finds the direction of a single-index target.

    Use it to see how many rows a gradient step needs, before `OneStepSpikeFeatures`.

    Parameters
    ----------
    target : array-like of shape (degree + 1,)
        Hermite coefficients c*_k: the labels are sum_k c*_k He_k(x . b) plus noise. The
        mean c*_0 is removed before the step.
    noise : float
        Variance of the noise.
    n_features, n_step_samples : int
        Input dimension d and rows n0 of the step.
    activation : str or callable, default="relu"
        Activation of the neurons: a name that
        :class:`~adaptive_kernels.kernels.NNGP` knows, or a vectorised function.
    residual : {"target", "full"}, default="target"
        Whether the step follows the labels alone, or the labels minus the outputs of
        the network with its random readouts of variance 1 / N. These outputs are of
        order one and make the direction less accurate.

    Returns
    -------
    StepDirection

    Raises
    ------
    ValueError
        If an argument is out of range, or target and noise are both zero.

    Notes
    -----
    With E = sum_k k! c*_k^2 + noise, |beta|^2 = c*_1^2 + E d / n0 and
    rho^2 = c*_1^2 / |beta|^2. With "full" the outputs add c_1^2 to |beta|^2, and their
    mean square to E.

    References
    ----------
    arXiv:2310.07891.

    Examples
    --------
    >>> from adaptive_kernels.theory import direction_alignment
    >>> sizes = {"n_features": 750, "n_step_samples": 1500}
    >>> round(direction_alignment([0, 1, 0.5], noise=0.09, **sizes).squared_cosine, 4)
    0.5571
    """
    labels, found = _orthonormal(target), expansion(activation)
    norm = labels[1] ** 2
    energy = labels[1:] @ labels[1:] + noise
    if energy == 0:
        raise ValueError("target and noise are both zero: there is no gradient.")
    if residual == "full":
        norm += found.linear**2
        energy += found.linear**2 + found.nonlinear
    norm += n_features / n_step_samples * energy
    return StepDirection(float(labels[1] ** 2 / norm), float(sqrt(norm)))


def _orthonormal(target):
    """Coefficients sqrt(k!) c*_k in polynomials of unit mean square, two or more."""
    target = check_array(target, ensure_2d=False, dtype=float, input_name="target")
    if target.ndim != 1:
        raise ValueError(
            "target must be one-dimensional, the Hermite coefficients c*_0, c*_1, ...; "
            f"got shape {target.shape}."
        )
    if len(target) > DEGREE + 1:
        raise ValueError(
            f"target has degree {len(target) - 1}: the highest is {DEGREE}."
        )
    target = np.pad(target, (0, max(0, 2 - len(target))))
    return target * np.sqrt(factorial(np.arange(len(target))))


@dataclass(frozen=True)
class RidgeAsymptotics:
    """Errors of ridge regression in the proportional limit.

    Attributes
    ----------
    train_objective : float
        (|y - F a / sqrt(N)|^2 + alpha |a|^2) / n at its minimum.
    train_error : float
        Mean squared error on the training rows.
    test_error : float
        Mean squared error on new rows, label noise included.
    squared_cosine : float
        rho^2 between the step's direction and the target's.
    resolvent_trace, input_resolvent_trace : float
        m_1 and m_2 of :func:`~adaptive_kernels.theory.bulk_resolvent`.
    gain : float or None
        Gain s of the step: zero without a step, None in the limit of strong spikes.
    """

    train_objective: float
    train_error: float
    test_error: float
    squared_cosine: float
    resolvent_trace: float
    input_resolvent_trace: float
    gain: float | None


@validate_params(
    _STEP
    | {
        "n_samples": SIZE,
        "n_components": SIZE,
        "alpha": ALPHA,
        "n_step_samples": [*SIZE, None],
        "gain": [Interval(Real, 0, None, closed="left"), None],
        "n_spikes": [Interval(Integral, 1, DEGREE, closed="both"), None],
        "fit_intercept": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def ridge_asymptotics(
    target: ArrayLike,
    *,
    noise: float,
    n_samples: int,
    n_features: int,
    n_components: int,
    alpha: float,
    n_step_samples: int | None = None,
    activation: str | Callable[[Array], Array] = "relu",
    gain: float | None = None,
    n_spikes: int | None = None,
    residual: Literal["target", "full"] = "target",
    fit_intercept: bool = True,
) -> RidgeAsymptotics:
    """Errors of ridge regression on random features after one gradient step.

    Use it to see what a gradient step gains over fixed random features. It takes about
    10 ms and simulates nothing. The result is the limit of many rows, features
    and neurons in proportion. It assumes standard normal inputs, a target that depends
    on one direction, a step of rank one (or, to leading order, the exact gradient), and
    independent rows for step and regression. If the regression uses the rows of the
    step again, its training error is lower.

    Parameters
    ----------
    target : array-like of shape (degree + 1,)
        Hermite coefficients c*_k: the labels are sum_k c*_k He_k(x . b) plus noise,
        |b| = 1. The mean c*_0 must be zero without an intercept; with one it has no
        effect.
    noise : float
        Variance of the noise.
    n_samples, n_features, n_components : int
        Rows n of the ridge regression, input dimension d, neurons N.
    alpha : float
        Penalty of scikit-learn's ``Ridge`` on features divided by sqrt(`n_components`).
    n_step_samples : int, default=None
        Rows of the gradient step; None for `n_samples`.
    activation : str or callable, default="relu"
        Activation of the neurons: a name that
        :class:`~adaptive_kernels.kernels.NNGP` knows, or a vectorised function.
    gain : float, default=None
        Dimensionless gain s of the step. It should be well below one: a larger step
        also changes the bulk.
    n_spikes : int, default=None
        Number l, instead of `gain`: the limit in which spikes of degree 1 to l are so
        large that the penalty does not matter for them, and higher ones are lost in the
        bulk. A degree that the activation lacks has no spike. With neither `gain` nor
        `n_spikes` no step is made.
    residual : {"target", "full"}, default="target"
        Whether the step follows the labels alone, or the labels minus the outputs of
        the network at initialisation.
    fit_intercept : bool, default=True
        Whether the ridge regression has an intercept.

    Returns
    -------
    RidgeAsymptotics

    Raises
    ------
    ValueError
        If an argument is out of range, `gain` and `n_spikes` are both given, the target
        has a mean but the regression no intercept, target and noise are both zero, or
        the activation has no linear part.

    References
    ----------
    Spikes and their exponents: arXiv:2310.07891. Test error, intercept and finite gain
    were derived for this package.

    Examples
    --------
    >>> from adaptive_kernels.theory import ridge_asymptotics
    >>> task = {"target": [0, 1, 0.5], "noise": 0.09, "alpha": 0.1}
    >>> shape = {"n_samples": 1500, "n_features": 750, "n_components": 1125}
    >>> for gain in (0.0, 0.1, 0.4):
    ...     print(round(ridge_asymptotics(**task, **shape, gain=gain).test_error, 2))
    1.36
    1.1
    0.87
    """
    if gain is not None and n_spikes is not None:
        raise ValueError("gain and n_spikes exclude each other: give one of them.")
    labels, found = _orthonormal(target), expansion(activation)
    if not fit_intercept and labels[0] != 0:
        raise ValueError(
            f"target has the mean c*_0={labels[0]:.3g}, which needs fit_intercept=True."
        )
    direction = direction_alignment(
        target,
        noise=noise,
        n_features=n_features,
        n_step_samples=n_samples if n_step_samples is None else n_step_samples,
        activation=activation,
        residual=residual,
    )
    bulk = bulk_resolvent(
        alpha,
        n_samples=n_samples,
        n_features=n_features,
        n_components=n_components,
        activation=activation,
    )
    energies = np.array([labels[1] ** 2, labels[2:] @ labels[2:] + noise, 0.0])
    if gain or n_spikes is not None:
        visible = labels * direction.squared_cosine ** (np.arange(len(labels)) / 2)
        visible[0] = 0.0
        if n_spikes is None:
            spikes = _Spikes.of_gain(found, float(cast(float, gain)), 1 / n_samples)
        else:
            spikes = _Spikes.free(found, n_spikes, len(labels))
        energies -= spikes.learned(visible, bulk, fit_intercept)
    values = bulk.input_trace, bulk.trace, bulk.inflation
    slopes = bulk.input_trace_slope, bulk.trace_slope, bulk.inflation_slope
    test_error = -float(energies @ slopes) / bulk.trace**2
    return RidgeAsymptotics(
        train_objective=float(alpha * (energies @ values)),
        train_error=(alpha * bulk.trace) ** 2 * test_error,
        test_error=test_error,
        squared_cosine=direction.squared_cosine,
        resolvent_trace=bulk.trace,
        input_resolvent_trace=bulk.input_trace,
        gain=float(gain or 0.0) if n_spikes is None else None,
    )


@dataclass(frozen=True)
class _Spikes:
    """Functions of g that the spikes can fit.

    matrix : ndarray (p, k), k functions in p orthonormal coordinates
    polynomials : ndarray (q, p), orthonormal He_0, He_1, ... in the same coordinates
    cost : float, penalty on a unit coefficient, in units of kappa / alpha
    """

    matrix: np.ndarray
    polynomials: np.ndarray
    cost: float

    @classmethod
    def of_gain(cls, found, gain, cost):
        """Functions at a finite gain: the operator M(g, alpha) on nodes."""
        polynomials = hermite_values(NODES) * ROOT_WEIGHTS
        return cls(mean_shift_operator(found, gain), polynomials, cost)

    @classmethod
    def free(cls, found, n_spikes, n_coefficients):
        """Functions in the limit: powers g^k of unit mean square, without penalty."""
        size = max(n_spikes + 1, n_coefficients)
        multiply = np.diag(np.sqrt(np.arange(1, size)), 1)
        multiply += multiply.T
        powers = [np.eye(size)[0]]
        for _ in range(n_spikes):
            power = multiply @ powers[-1]
            powers.append(power / np.linalg.norm(power))
        kept = [powers[k] for k in range(1, n_spikes + 1) if found.has_degree(k)]
        return cls(np.stack(kept, axis=1), np.eye(size), 0.0)

    def learned(self, visible, bulk, fit_intercept):
        """Decrease of three energies: the linear one, the rest, and minus the penalty.

        The coefficients a minimise the objective of this module. So at the minimum its
        derivative by alpha is that through the traces alone.
        """
        constant, linear = self.polynomials[:2]
        matrix, labels = self.matrix, visible @ self.polynomials[: len(visible)]
        if fit_intercept:
            matrix = matrix - np.outer(constant, constant @ matrix)
        roots = sqrt(bulk.trace), sqrt(bulk.input_trace)

        def weigh(functions):
            along = np.multiply.outer(linear, linear @ functions)
            return roots[0] * functions + (roots[1] - roots[0]) * along

        k = matrix.shape[1]
        penalty = sqrt(self.cost * bulk.inflation) * np.eye(k)
        rows = np.concatenate([weigh(matrix), penalty])
        sides = np.concatenate([weigh(labels), np.zeros(k)])
        a = lstsq(rows, sides, lapack_driver="gelsy")[0]
        fit = matrix @ a
        along = (linear @ fit) * (2 * linear @ labels - linear @ fit)
        return np.array([along, fit @ (2 * labels - fit) - along, -self.cost * a @ a])
