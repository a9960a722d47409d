"""Size of a gradient step, and the spikes that it lifts out of the bulk.

A step of size eta along beta = X'y / n changes the pre-activation of neuron i by
s alpha_i g. Here g = x . beta / |beta|, alpha_i ~ N(0, 1) is sqrt(N) times its readout
weight, and the dimensionless gain is

    s = |c_1| eta |beta| / sqrt(N).

This adds the spikes c_k s^k g^k alpha^k to the features, with singular values
|c_k| s^k (2k - 1)!! sqrt(n N), where phi = sum_k c_k He_k. See arXiv:2310.07891.
"""

from collections.abc import Callable
from math import sqrt
from numbers import Integral, Real

import numpy as np
from scipy.optimize import brentq
from scipy.special import factorial2

from ..._arrays import Array
from ..._sklearn import Interval, validate_params
from ...kernels._expansion import any_expansion, expansion
from ...kernels._hermite import DEGREE
from .random_features import ACTIVATION, SIZE, bulk_edge
from .spike_operator import spike_size

# Largest gain to try: a step of this size leaves nothing of the untrained features.
_MAX_GAIN = 30
_DEGREE = [Interval(Integral, 0, DEGREE, closed="both")]
_SPIKES = [Interval(Integral, 1, DEGREE, closed="both")]
_NOT_NEGATIVE = [Interval(Real, 0, None, closed="left")]
_POSITIVE = [Interval(Real, 0, None, closed="neither")]


def _validated(**constraints):
    return validate_params(constraints, prefer_skip_nested_validation=True)


@_validated(activation=ACTIVATION, degree=_DEGREE)
def hermite_coefficients(
    activation: str | Callable[[Array], Array], degree: int = 5
) -> np.ndarray:
    """Coefficients of an activation in probabilists' Hermite polynomials.

    Use them to see which spikes a gradient step can make: degree k needs c_k != 0.

    Parameters
    ----------
    activation : str or callable
        A name that :class:`~adaptive_kernels.kernels.NNGP` knows, or a vectorised
        function.
    degree : int, default=5
        Highest degree, at most 60.

    Returns
    -------
    ndarray of shape (degree + 1,)
        c_k = E[phi(z) He_k(z)] / k! for standard normal z.

    Raises
    ------
    ValueError
        If the activation is unknown, or `degree` is out of range.

    Examples
    --------
    >>> from adaptive_kernels.theory import hermite_coefficients
    >>> hermite_coefficients("relu", degree=2).round(4).tolist()
    [0.3989, 0.5, 0.1995]
    """
    return any_expansion(activation).coefficients[: degree + 1].copy()


@_validated(n_spikes=_SPIKES)
def spike_exponents(n_spikes: int) -> tuple[float, float]:
    """Range of step exponents that make a given number of spikes, in the limit.

    For tables of finite size use :func:`visible_gain`: there constants matter more than
    exponents.

    Parameters
    ----------
    n_spikes : int
        Number l of spikes, from 1 to 60.

    Returns
    -------
    low, high : float
        A step of size n^a with low < a < high lifts the degrees 1 to l out of the bulk
        if n, d and N grow in proportion.

    References
    ----------
    arXiv:2310.07891.

    Examples
    --------
    >>> from adaptive_kernels.theory import spike_exponents
    >>> spike_exponents(2)
    (0.25, 0.3333333333333333)
    """
    return (n_spikes - 1) / (2 * n_spikes), n_spikes / (2 * n_spikes + 2)


@_validated(
    step_size=_NOT_NEGATIVE,
    gradient_norm=_POSITIVE,
    n_components=SIZE,
    activation=ACTIVATION,
)
def gain_from_step_size(
    step_size: float,
    *,
    gradient_norm: float,
    n_components: int,
    activation: str | Callable[[Array], Array] = "relu",
) -> float:
    """Dimensionless gain of a gradient step.

    Use it to convert the step size of a training loop to the `gain` of
    `OneStepSpikeFeatures`.

    Parameters
    ----------
    step_size : float
        eta of weights + eta * (minus gradient), for the loss |y - f|^2 / (2 n) and
        readouts of variance 1 / `n_components`.
    gradient_norm : float
        |beta| of beta = X'y / n, with the targets y of the step. In the limit
        :func:`~adaptive_kernels.theory.direction_alignment` gives it.
    n_components : int
        Number N of neurons.
    activation : str or callable, default="relu"
        A name that :class:`~adaptive_kernels.kernels.NNGP` knows, or a vectorised
        function.

    Returns
    -------
    float
        s = |c_1| eta |beta| / sqrt(N): the step moves the pre-activations of neuron i
        by s alpha_i g with standard normal alpha_i and g.

    Raises
    ------
    ValueError
        If an argument is out of range, or the activation has no linear part.

    Examples
    --------
    >>> from adaptive_kernels.theory import gain_from_step_size
    >>> round(gain_from_step_size(10.0, gradient_norm=1.5, n_components=225), 6)
    0.5
    """
    slope = abs(expansion(activation).linear)
    return float(slope * step_size * gradient_norm / sqrt(n_components))


@_validated(
    exponent=[Interval(Real, None, None, closed="neither")],
    n_samples=SIZE,
    gradient_norm=_POSITIVE,
    n_components=SIZE,
    activation=ACTIVATION,
)
def gain_from_exponent(
    exponent: float,
    *,
    n_samples: int,
    gradient_norm: float,
    n_components: int,
    activation: str | Callable[[Array], Array] = "relu",
) -> float:
    """Dimensionless gain of a gradient step of size ``n_samples ** exponent``.

    Parameters
    ----------
    exponent : float
        Exponent of the step size; see :func:`spike_exponents`.
    n_samples : int
        Rows n of the step.
    gradient_norm : float
        |beta| of beta = X'y / n, with the targets y of the step.
    n_components : int
        Number N of neurons.
    activation : str or callable, default="relu"
        A name that :class:`~adaptive_kernels.kernels.NNGP` knows, or a vectorised
        function.

    Returns
    -------
    float
        The gain s, as :func:`gain_from_step_size` gives it.

    Raises
    ------
    ValueError
        If an argument is out of range, or the activation has no linear part.

    Examples
    --------
    >>> from adaptive_kernels.theory import gain_from_exponent
    >>> sizes = {"n_samples": 1500, "n_components": 1125}
    >>> round(gain_from_exponent(0.4, gradient_norm=1.34, **sizes), 4)
    0.3723
    """
    step_size = float(n_samples) ** exponent
    return gain_from_step_size(
        step_size,
        gradient_norm=gradient_norm,
        n_components=n_components,
        activation=activation,
    )


@_validated(
    degree=_SPIKES,
    activation=ACTIVATION,
    n_samples=SIZE,
    n_features=SIZE,
    n_components=SIZE,
)
def visible_gain(
    degree: int,
    *,
    n_samples: int,
    n_features: int,
    n_components: int,
    activation: str | Callable[[Array], Array] = "relu",
) -> float:
    """Smallest gain at which a spike is as large as the edge of the bulk.

    Use it to choose the `gain` of `OneStepSpikeFeatures` for a table of given size.

    Parameters
    ----------
    degree : int
        Power k of the trained direction in the spike, from 1 to 60.
    n_samples, n_features, n_components : int
        Rows n, input dimension d and neurons N.
    activation : str or callable, default="relu"
        A name that :class:`~adaptive_kernels.kernels.NNGP` knows, or a vectorised
        function.

    Returns
    -------
    float
        Gain s at which the size of the spike, |c_k| s^k (2k - 1)!! sqrt(n) for small s,
        equals the edge. For k = 1 the bulk adds to the spike, and it shows at a
        somewhat smaller gain.

    Raises
    ------
    ValueError
        If the spike stays below the edge. This is so if c_k = 0 (ReLU has no odd spikes
        beyond the first, tanh no even ones), or if the activation saturates first.

    Examples
    --------
    >>> from adaptive_kernels.theory import visible_gain
    >>> shape = {"n_samples": 1000, "n_features": 500, "n_components": 750}
    >>> [round(visible_gain(k, **shape), 2) for k in (1, 2)]
    [0.1, 0.32]
    >>> round(visible_gain(3, **shape, activation="tanh"), 1)
    1.5
    """
    found = expansion(activation)
    if not found.has_degree(degree):
        raise ValueError(
            f"activation={activation!r} has no Hermite coefficient of degree {degree}: "
            "its spike never appears. Use another degree, or an activation that is "
            "neither odd nor linear plus even, such as 'elu'."
        )
    edge = bulk_edge(
        n_samples=n_samples,
        n_features=n_features,
        n_components=n_components,
        activation=activation,
    )

    def excess(gain):
        return sqrt(n_samples) * spike_size(found, gain, degree) / edge - 1

    size = abs(found.coefficients[degree]) * factorial2(2 * degree - 1)
    low = high = float((edge / (size * sqrt(n_samples))) ** (1 / degree))
    while excess(low) > 0:
        low /= 1.5
    while excess(high) < 0:
        high *= 1.5
        if high > _MAX_GAIN:
            raise ValueError(
                f"The spike of degree {degree} stays below the edge up to a gain of "
                f"{_MAX_GAIN}: it needs more rows, or an activation that does not "
                "saturate."
            )
    return high if low == high else brentq(excess, low, high, xtol=1e-6)
