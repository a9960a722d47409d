"""NNGP and NTK as scikit-learn kernel objects."""

from numbers import Integral, Real

import numpy as np
from sklearn.gaussian_process.kernels import (
    ConstantKernel,
    Exponentiation,
    Hyperparameter,
    Kernel,
    Product,
    Sum,
)

from .._arrays import Array, ArrayLike, as_float64, empty, namespace
from .._persistence import VersionedState
from ._activations import ACTIVATIONS, Activation, Function
from ._derivatives import parameter_derivative
from ._hermite import HERMITE_ACTIVATIONS, HermiteActivation
from ._inputs import as_rows, in_range, parameter_array, variance_bounds
from ._recursion import Network, cross_matrices, features, symmetric_matrices, variances

VARIANCES = ("weight_variance", "bias_variance", "readout_variance")


def resolve_activation(activation: str | Function | Activation) -> Activation:
    """Convert a name, a function or an `Activation` to an `Activation`."""
    if isinstance(activation, Activation):
        return activation
    named = ACTIVATIONS | HERMITE_ACTIVATIONS
    if isinstance(activation, str) and activation in named:
        return named[activation]
    if callable(activation):
        return HermiteActivation(activation)
    names = ", ".join(repr(name) for name in named)
    raise ValueError(
        f"activation must be one of {names}, or a vectorised function; "
        f"got {activation!r}."
    )


class _Operators(VersionedState):
    """Sums, products and powers of kernels that keep the arrays' library and type."""

    def __add__(self, other: Kernel | float) -> "_Sum":
        return _Sum(self, _as_kernel(other))

    def __radd__(self, other: Kernel | float) -> "_Sum":
        return _Sum(_as_kernel(other), self)

    def __mul__(self, other: Kernel | float) -> "_Product":
        return _Product(self, _as_kernel(other))

    def __rmul__(self, other: Kernel | float) -> "_Product":
        return _Product(_as_kernel(other), self)

    def __pow__(self, exponent: float) -> "_Power":
        return _Power(self, exponent)


class _Sum(_Operators, Sum):
    pass


class _Product(_Operators, Product):
    pass


class _Power(_Operators, Exponentiation):
    pass


class Constant(_Operators, ConstantKernel):
    """scikit-learn's constant kernel, on any array library."""

    def __call__(
        self, X: ArrayLike, Y: ArrayLike | None = None, eval_gradient: bool = False
    ) -> Array | tuple[Array, Array]:
        if eval_gradient:
            return super().__call__(X, Y, eval_gradient)
        X = as_rows(X)
        rows = X if Y is None else as_rows(Y)
        block = empty(X, (X.shape[0], rows.shape[0]))
        block[...] = self.constant_value
        return block

    def diag(self, X: ArrayLike) -> Array:
        return 0 * as_rows(X)[:, 0] + self.constant_value


def _as_kernel(value: Kernel | float) -> Kernel:
    return value if isinstance(value, Kernel) else Constant(value)


class WideKernel(_Operators, Kernel):
    """What `NNGP` and `NTK` have in common."""

    _tangent = False

    def __init__(
        self,
        activation: str | Function | Activation = "relu",
        *,
        depth: int = 1,
        weight_variance: float = 1.0,
        bias_variance: float = 0.1,
        readout_variance: float = 1.0,
        metric: ArrayLike | None = None,
        origin: ArrayLike | None = None,
        weight_variance_bounds: tuple[float, float] | str = (1e-5, 1e5),
        bias_variance_bounds: tuple[float, float] | str = (1e-5, 1e5),
        readout_variance_bounds: tuple[float, float] | str = (1e-5, 1e5),
    ) -> None:
        self.activation = activation
        self.depth = depth
        self.weight_variance = weight_variance
        self.bias_variance = bias_variance
        self.readout_variance = readout_variance
        self.metric = metric
        self.origin = origin
        self.weight_variance_bounds = weight_variance_bounds
        self.bias_variance_bounds = bias_variance_bounds
        self.readout_variance_bounds = readout_variance_bounds

    def _hyperparameter(self, name: str) -> Hyperparameter:
        bounds = variance_bounds(f"{name}_bounds", getattr(self, f"{name}_bounds"))
        if getattr(self, name) == 0:
            bounds = "fixed"
        return Hyperparameter(name, "numeric", bounds)

    @property
    def hyperparameter_weight_variance(self) -> Hyperparameter:
        """`weight_variance` as a `Hyperparameter` of scikit-learn, fixed if zero."""
        return self._hyperparameter("weight_variance")

    @property
    def hyperparameter_bias_variance(self) -> Hyperparameter:
        """`bias_variance` as a `Hyperparameter` of scikit-learn, fixed if zero."""
        return self._hyperparameter("bias_variance")

    @property
    def hyperparameter_readout_variance(self) -> Hyperparameter:
        """`readout_variance` as a `Hyperparameter` of scikit-learn, fixed if zero."""
        return self._hyperparameter("readout_variance")

    def network(self) -> Network:
        """The architecture and variances of this kernel as a `Network`.

        Raises
        ------
        ValueError
            If a parameter is out of its domain; the message names it.
        """
        if not isinstance(self.depth, Integral) or self.depth < 1:
            raise ValueError(f"depth must be an integer >= 1, got {self.depth!r}.")
        for name in VARIANCES:
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 <= value < np.inf:
                raise ValueError(f"{name} must be a finite number >= 0, got {value!r}.")
            variance_bounds(f"{name}_bounds", getattr(self, f"{name}_bounds"))
        return Network(
            resolve_activation(self.activation),
            int(self.depth),
            float(self.weight_variance),
            float(self.bias_variance),
            float(self.readout_variance),
            self._tangent,
            origin=None
            if self.origin is None
            else parameter_array("origin", self.origin),
        )

    def metric_sqrt(self, n_features: int) -> np.ndarray | None:
        """A root R of the metric M = R R' for d features: None, (d,) or (d, d).

        Raises
        ------
        ValueError
            If `metric` or `origin` does not fit X, or the metric is indefinite.
        """
        self._check_origin(n_features)
        if self.metric is None:
            return None
        metric = parameter_array("metric", self.metric)
        if metric.shape not in ((n_features,), (n_features, n_features)):
            raise ValueError(
                f"metric has shape {metric.shape}, but X has {n_features} features: "
                f"give None, ({n_features},) or ({n_features}, {n_features})."
            )
        if not np.all(np.isfinite(metric)) or not np.allclose(metric, metric.T):
            raise ValueError("metric must be finite and symmetric.")
        if metric.ndim == 1:
            values, root = metric, np.sqrt(np.maximum(metric, 0))
        else:
            values, vectors = np.linalg.eigh(metric)
            root = vectors * np.sqrt(np.maximum(values, 0))
        if values.min() < -1e-10 * values.max():
            raise ValueError("metric must be positive semi-definite.")
        return root

    def _check_origin(self, n_features: int) -> None:
        if self.origin is None:
            return
        origin = parameter_array("origin", self.origin)
        if origin.shape != (n_features,):
            raise ValueError(
                f"origin has shape {origin.shape}, but X has {n_features} features: "
                f"give None or ({n_features},)."
            )
        if not np.all(np.isfinite(origin)):
            raise ValueError("origin must be finite.")

    def _features(self, X: Array, network: Network, *, power: int = 2) -> Array:
        return in_range(features(X, network, self.metric_sqrt(X.shape[1])), power)

    def _matrices(self, X: ArrayLike, Y: ArrayLike | None, network: Network) -> tuple:
        X, Y = as_rows(X), None if Y is None else as_rows(Y)
        F = self._features(X, network)
        if Y is None:
            return symmetric_matrices(F, network)
        if Y.shape[1] != X.shape[1]:
            raise ValueError(f"X has {X.shape[1]} features, but Y has {Y.shape[1]}.")
        return cross_matrices(F, self._features(Y, network), network)

    def __call__(
        self, X: ArrayLike, Y: ArrayLike | None = None, eval_gradient: bool = False
    ) -> Array | tuple[Array, Array]:
        """Kernel matrix, and optionally its gradient by `theta`.

        Parameters
        ----------
        X : array (n, d)
        Y : array (m, d), default=None
            None means X.
        eval_gradient : bool, default=False
            Whether to return the gradient too; requires `Y=None`.

        Returns
        -------
        K : array (n, m)
        gradient : array (n, n, p)
            Derivatives by the p free log variances; only with `eval_gradient`.
        """
        if eval_gradient and Y is not None:
            raise ValueError("Gradient can only be evaluated when Y is None.")
        network = self.network()
        K = self._matrices(X, Y, network)[int(self._tangent)]
        return (K, self._gradient(X, K, network)) if eval_gradient else K

    def _gradient(self, X: ArrayLike, K: Array, network: Network) -> Array:
        # At zero variance, slopes of tabulated duals would overflow single precision.
        F = self._features(as_float64(as_rows(X)), network, power=4)
        derivatives = {
            "weight_variance": lambda: parameter_derivative(F, network, weight=True),
            "bias_variance": lambda: parameter_derivative(F, network, weight=False),
            "readout_variance": lambda: K,
        }
        free = [h.name for h in self.hyperparameters if not h.fixed]
        if not free:
            return empty(K, (*K.shape, 0))
        return namespace(K).stack([derivatives[name]() for name in free], axis=-1)

    def diag(self, X: ArrayLike) -> Array:
        """Diagonal of the kernel matrix of X, in O(n d): array (n,)."""
        network = self.network()
        v = variances(self._features(as_rows(X), network), network)
        return v.kernel(self._tangent)

    def is_stationary(self) -> bool:
        """Whether the kernel depends on differences of inputs only: no."""
        return False

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return False
        ours, theirs = self.get_params(), other.get_params()
        return all(np.array_equal(ours[name], theirs[name]) for name in ours)

    def __repr__(self) -> str:
        activation = getattr(self.activation, "__name__", self.activation)
        parts = [repr(activation) if isinstance(activation, str) else str(activation)]
        parts += [f"depth={self.depth}"] if self.depth != 1 else []
        for name in VARIANCES:
            value = getattr(self, name)
            short = f"{value:.3g}" if isinstance(value, Real) else repr(value)
            parts.append(f"{name}={short}")
        for name in ("metric", "origin"):
            parts += [] if getattr(self, name) is None else [f"{name}=..."]
        return f"{type(self).__name__}({', '.join(parts)})"


class NNGP(WideKernel):
    """Kernel of an infinitely wide Bayesian network: its Gaussian process (NNGP).

    Use it in this package's estimators, or as any scikit-learn kernel. A matrix of
    n x m entries takes O(n m (d + depth)) operations for d features.

    Parameters
    ----------
    activation : str or callable, default="relu"
        In closed form: "erf", "relu", "leaky_relu" (slope 0.01), "abs", "gelu", "sin",
        "cos", "identity", and "rbf", sqrt(2) sin(z + pi/4), whose NNGP of depth 1 is
        the RBF kernel exp(-weight_variance |x - z|^2 / (2 d)). By Hermite expansion to
        degree 60: "tanh", "softplus", "elu", or any vectorised function. Its error is
        1e-10 for smooth functions, about 1e-4 between near duplicates for kinked ones.
    depth : int, default=1
        Number of hidden layers.
    weight_variance : float, default=1.0
        Prior variance of all weights but the readout's, times their number per unit.
    bias_variance : float, default=0.1
        Prior variance of the biases. A variance of zero stays out of `theta`.
    readout_variance : float, default=1.0
        Prior variance of the readout weights, times their number.
    metric : None, array (d,) or array (d, d), default=None
        Input-weight covariance relative to its prior: x.z becomes x' metric z.
    origin : None or array (d,), default=None
        Subtracted from X. In fitted kernels it is the mean of the training rows.
        Neither `metric` nor `origin` is part of `theta`.
    weight_variance_bounds, bias_variance_bounds, readout_variance_bounds : pair of \
floats or "fixed", default=(1e-5, 1e5)
        Range of each variance when it is tuned.

    Notes
    -----
    The first layer has K_1 = bias_variance + weight_variance x.z / d. With S the dual
    of the activation, K_{l+1} = bias_variance + weight_variance S(K_l), and the NNGP is
    readout_variance S(K_depth).

    References
    ----------
    Lee et al., "Deep Neural Networks as Gaussian Processes", ICLR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.kernels import NNGP
    >>> NNGP("rbf")(np.array([[0.0], [1.0]])).round(4)
    array([[1.    , 0.6065],
           [0.6065, 1.    ]])
    """


class NTK(WideKernel):
    """Kernel of an infinitely wide network under gradient descent (NTK).

    Use it for what such a network learns, as in `NTKRegressor`. A kernel matrix takes
    1.2 to 2.2 times as long as that of `NNGP`.

    Parameters
    ----------
    activation : str or callable, default="relu"
        Name of an activation, see `NNGP` for the list, or a vectorised function.
    depth : int, default=1
        Number of hidden layers.
    weight_variance, bias_variance, readout_variance : float
        Variances at initialisation, scaled as in `NNGP`: 1.0, 0.1 and 1.0 by default.
    metric : None, array (d,) or array (d, d), default=None
        x.z becomes x' metric z.
    origin : None or array (d,), default=None
        Subtracted from the inputs.
    weight_variance_bounds, bias_variance_bounds, readout_variance_bounds : pair of \
floats or "fixed", default=(1e-5, 1e5)
        Range of each variance when it is tuned.

    Notes
    -----
    With D the dual of the activation's derivative, T_1 = K_1 and T_{l+1} = K_{l+1} +
    weight_variance D(K_l) T_l. The NTK is readout_variance (S(K_L) + D(K_L) T_L).

    References
    ----------
    Jacot et al., "Neural Tangent Kernel", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.kernels import NTK
    >>> NTK("identity", bias_variance=0.0)(np.array([[1.0], [2.0]]))
    array([[2., 4.],
           [4., 8.]])
    """

    _tangent = True

    def nngp_and_ntk(
        self, X: ArrayLike, Y: ArrayLike | None = None
    ) -> tuple[Array, Array]:
        """NNGP and NTK of the same network in one pass.

        Parameters
        ----------
        X : array (n, d)
        Y : array (m, d), default=None
            None means X.

        Returns
        -------
        nngp, ntk : arrays (n, m)
        """
        return self._matrices(X, Y, self.network())
