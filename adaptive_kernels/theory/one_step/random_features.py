"""Random features in the proportional limit: resolvent traces and the spectrum's edge.

There are n rows X of standard normal inputs in d dimensions, and N neurons with weights
W uniform on the unit sphere: F = phi(X W') - c_0. Given X, the columns of F are
independent with covariance Phi = c_1^2 X X' / d + cgt I, cgt = sum_{k >= 2} k! c_k^2
(the Gaussian equivalent). Let n, d and N grow in proportion. Then F F' / N + gamma I
and (gamma / kappa) (Phi + kappa I) have inverses with equal traces. So have, with
t = cgt + kappa, c_1^2 X X' / d + t I and (t / mu) (c_1^2 + mu) I. Here

    gamma = kappa [1 - (n / N) (1 - kappa g)],    g = tr (Phi + kappa)^{-1} / n,
    t = mu [1 - (n / d) c_1^2 / (c_1^2 + mu)],    g = (mu / t) / (c_1^2 + mu).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log, sqrt
from numbers import Integral, Real

from scipy.optimize import brentq, minimize_scalar

from ..._arrays import Array
from ..._sklearn import Interval, validate_params
from ...kernels._activations import Activation
from ...kernels._expansion import expansion

SIZE = [Interval(Integral, 1, None, closed="left")]
ACTIVATION = [str, callable, Activation]
ALPHA = [Interval(Real, 0, None, closed="neither")]


@dataclass(frozen=True)
class BulkResolvent:
    """Traces of (F F' / N + alpha I)^{-1} in the proportional limit.

    Attributes
    ----------
    trace : float
        m_1 = tr (F F' / N + alpha I)^{-1} / n.
    input_trace : float
        m_2 = tr X' (F F' / N + alpha I)^{-1} X / (n d).
    inflation : float
        kappa / alpha = 1 / (alpha tr (F' F / N + alpha I)^{-1} / N). kappa is the
        penalty of the same regression with infinitely many neurons.
    trace_slope, input_trace_slope, inflation_slope : float
        Their derivatives by `alpha` at fixed sizes.
    """

    trace: float
    input_trace: float
    inflation: float
    trace_slope: float
    input_trace_slope: float
    inflation_slope: float


@validate_params(
    {
        "alpha": ALPHA,
        "n_samples": SIZE,
        "n_features": SIZE,
        "n_components": SIZE,
        "activation": ACTIVATION,
    },
    prefer_skip_nested_validation=True,
)
def bulk_resolvent(
    alpha: float,
    *,
    n_samples: int,
    n_features: int,
    n_components: int,
    activation: str | Callable[[Array], Array] = "relu",
) -> BulkResolvent:
    """Resolvent traces of untrained random features on standard normal inputs.

    Errors of ridge regression on these features follow from them, see
    `ridge_asymptotics`. It costs a one-dimensional root search.

    Parameters
    ----------
    alpha : float
        Penalty of scikit-learn's ``Ridge`` on features divided by sqrt(`n_components`):
        |y - F a / sqrt(N)|^2 + alpha |a|^2.
    n_samples, n_features, n_components : int
        Rows n, input dimension d and neurons N; only their ratios matter.
    activation : str or callable, default="relu"
        Activation of the neurons: a name that
        :class:`~adaptive_kernels.kernels.NNGP` knows, or a vectorised function.

    Returns
    -------
    BulkResolvent

    Raises
    ------
    ValueError
        If a size or `alpha` is not positive, or the activation has no linear part.

    Notes
    -----
    The traces solve the fixed-point equations of arXiv:2310.07891, reduced to one
    unknown number.

    Examples
    --------
    >>> from adaptive_kernels.theory import bulk_resolvent
    >>> bulk = bulk_resolvent(0.5, n_samples=300, n_features=150, n_components=300)
    >>> round(bulk.trace, 4), round(bulk.input_trace, 4)
    (1.4592, 0.9523)
    """
    shape = _Shape.of(activation, n_samples, n_features, n_components)
    return shape.resolvent(float(alpha), shape.effective_alpha(float(alpha)))


@dataclass(frozen=True)
class _Shape:
    """The equations of this module, in a form without cancellation.

    linear : float, c_1^2
    nonlinear : float, cgt
    rows_per_feature : float, n / d
    rows_per_neuron : float, n / N
    """

    linear: float
    nonlinear: float
    rows_per_feature: float
    rows_per_neuron: float

    @classmethod
    def of(cls, activation, n_samples, n_features, n_components):
        found = expansion(activation)
        energies = float(found.linear) ** 2, float(found.nonlinear)
        return cls(*energies, n_samples / n_features, n_samples / n_components)

    def _inner(self, kappa):
        """The solution mu of the second equation at t = cgt + kappa, and d mu / d t."""
        t = self.nonlinear + kappa
        b = self.linear * (1 - self.rows_per_feature) - t
        root = sqrt(b**2 + 4 * t * self.linear)
        mu = (root - b) / 2 if b < 0 else 2 * t * self.linear / (root + b)
        return mu, (mu + self.linear) / root

    def _trace(self, kappa, mu):
        """g, the trace of (Phi + kappa)^{-1} over n."""
        return mu / ((self.nonlinear + kappa) * (self.linear + mu))

    def effective_alpha(self, alpha):
        """The penalty kappa of infinitely many neurons that acts as alpha does on N.

        It is the root of the first equation of this module at gamma = alpha,

            kappa [1 - (n / N) (1 - kappa g(kappa))] = alpha,

        with g(kappa) from the second. It is searched for on a logarithmic scale.
        """

        def excess(log_kappa):
            """Left side minus right side of the equation."""
            kappa = exp(log_kappa)
            share = 1 - kappa * self._trace(kappa, self._inner(kappa)[0])
            return kappa * (1 - self.rows_per_neuron * share) - alpha

        # The root is kappa = alpha + (n / N) kappa (1 - kappa g). The last factor,
        # kappa (1 - kappa g), lies between zero and tr Phi / n = c_1^2 + cgt.
        most = alpha + self.rows_per_neuron * (self.linear + self.nonlinear)
        low, high = log(alpha) - 1e-9, log(most) + 1e-9
        return exp(brentq(excess, low, high, xtol=1e-15, rtol=1e-15))

    def resolvent(self, alpha, kappa):
        """The traces, and their derivatives by the implicit function theorem."""
        mu, mu_slope = self._inner(kappa)
        g = self._trace(kappa, mu)
        # 1 / g = mu + c_1^2 (1 - n / d), and c_1^2 `linear` = 1 - t g.
        g_slope = -(g**2) * mu_slope
        linear = 1 / (self.linear + mu)
        linear_slope = -(linear**2) * mu_slope
        # tr Phi (Phi + kappa)^{-2} / n, the slope of kappa g.
        spread = -self.linear * linear_slope - self.nonlinear * g_slope
        kappa_slope = 1 / (alpha / kappa + kappa * self.rows_per_neuron * spread)
        inflation = kappa / alpha
        inflation_slope = -self.rows_per_neuron * spread * kappa_slope * inflation**2
        return BulkResolvent(
            trace=inflation * g,
            input_trace=inflation * linear,
            inflation=inflation,
            trace_slope=inflation_slope * g + inflation * g_slope * kappa_slope,
            input_trace_slope=inflation_slope * linear
            + inflation * linear_slope * kappa_slope,
            inflation_slope=inflation_slope,
        )

    def edge(self):
        """Largest eigenvalue of F F' / N in the bulk.

        Above the bulk z = zeta [1 + (n / N) int t / (zeta - t) dH(t)], with H the
        distribution of Phi's eigenvalues. The edge is the minimum of z over all zeta
        above these. The integral follows from the second equation at mu = -nu.
        """
        low = 1 + sqrt(self.rows_per_feature)

        def position(log_excess):
            nu = self.linear * (low + exp(log_excess))
            beyond = nu - self.linear
            zeta = self.nonlinear + nu * (
                1 + self.rows_per_feature * self.linear / beyond
            )
            mean = zeta / (beyond + self.rows_per_feature * self.linear)
            return zeta * (1 + self.rows_per_neuron * (mean - 1))

        # From zeta = (1 + sqrt(n / N)) max t on, z increases.
        top = low**2 + self.nonlinear / self.linear
        high = log(top * (1 + sqrt(self.rows_per_neuron)))
        found = minimize_scalar(
            position, bounds=(-35.0, high), method="bounded", options={"xatol": 1e-9}
        )
        return found.fun


@validate_params(
    {
        "n_samples": SIZE,
        "n_features": SIZE,
        "n_components": SIZE,
        "activation": ACTIVATION,
    },
    prefer_skip_nested_validation=True,
)
def bulk_edge(
    *,
    n_samples: int,
    n_features: int,
    n_components: int,
    activation: str | Callable[[Array], Array] = "relu",
) -> float:
    """Largest singular value of untrained random features F / sqrt(N), in the limit.

    Use it to tell spikes from the bulk. Larger singular values come from a trained
    direction or, if the activation has a large even part, from rows of different
    length.

    Parameters
    ----------
    n_samples, n_features, n_components : int
        Rows n, input dimension d and neurons N; only their ratios matter.
    activation : str or callable, default="relu"
        Activation of the neurons: a name that
        :class:`~adaptive_kernels.kernels.NNGP` knows, or a vectorised function.

    Returns
    -------
    float
        Edge of (phi(X W') - c_0) / sqrt(`n_components`) for standard normal X and rows
        of W on the unit sphere. At finite size the largest singular value varies about
        it by a fraction of order n^{-2/3}.

    Raises
    ------
    ValueError
        If a size is not positive, or the activation has no linear part.

    Examples
    --------
    >>> from adaptive_kernels.theory import bulk_edge
    >>> round(bulk_edge(n_samples=300, n_features=150, n_components=300), 4)
    1.5693
    """
    return sqrt(_Shape.of(activation, n_samples, n_features, n_components).edge())
