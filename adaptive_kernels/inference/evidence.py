"""Gaussian-variational adaptive kernel: regularised evidence of the weight covariance.

The hidden weights of a network of `width` N are given a Gaussian distribution
N(0, Sigma), Sigma = (weight_variance / d) M, whose kernel K(Sigma) maximises

    log evidence(K(Sigma) + noise) - N KL(N(0, Sigma) || N(0, Sigma_0)),

with Sigma_0 = (weight_variance / d) I, so that KL = (tr M - log det M - d) / 2.
Infinite width is the NNGP. At tree level the log determinant of the evidence is left
out. At a maximum the gradient vanishes, which is the self-consistent equation of
multi-scale adaptive theory (arXiv:2502.03210) in its Gaussian approximation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf, isinf, log, pi
from typing import Any, Protocol, Self, cast

import numpy as np

from .._arrays import (
    Array,
    LinAlgError,
    as_float64,
    index_like,
    namespace,
    to_numpy,
)
from ..kernels._derivatives import Cotangents, vector_jacobian
from ..kernels._recursion import (
    Network,
    Variances,
    apply_metric_sqrt,
    centered,
    features,
    symmetric_matrices,
    variances,
)
from .covariance import MODELS, CovarianceModel, FullCovariance, kl_from_prior
from .factorization import Factored, evidence_cotangent, factorize, fit_cotangent

VARIANCES = ("readout_variance", "weight_variance", "bias_variance")


@dataclass(frozen=True)
class Hyperparameters:
    """A point in the space that evidence is maximised over.

    network : Network, with the three variances
    alpha : float, noise variance
    metric_sqrt : root R of the metric M = R R': None for the identity, (d,) a diagonal,
        or lower triangular (d, d)
    """

    network: Network
    alpha: float
    metric_sqrt: np.ndarray | None = None

    def metric(self) -> np.ndarray | None:
        """M, the weight covariance relative to its prior: None, (d,) or (d, d)."""
        R = self.metric_sqrt
        if R is None:
            return None
        return R**2 if R.ndim == 1 else R @ R.T


def combine_metric_sqrts(
    outer: np.ndarray | None, inner: np.ndarray | None
) -> np.ndarray | None:
    """Product R_o R_i of two metric roots, each None, (d,) or (d, d)."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    if outer.ndim == 1:
        return outer * inner if inner.ndim == 1 else outer[:, None] * inner
    return outer * inner if inner.ndim == 1 else outer @ inner


@dataclass(frozen=True)
class Data:
    """Training rows for the evidence: X (n, d), Y (n, C), weights (n,) or None."""

    X: Array
    Y: Array
    weights: Array | None = None

    def observations(self) -> float:
        """Number of observations: weights summed, times outputs."""
        rows = self.Y.shape[0]
        if self.weights is not None:
            rows = float(namespace(self.weights).sum(self.weights))
        return rows * self.Y.shape[1]

    def shares(self) -> Array:
        """Weights of the rows, summing to one: (n,)."""
        xp = namespace(self.Y)
        weights = xp.ones_like(self.Y[:, 0]) if self.weights is None else self.weights
        return weights / xp.sum(weights)

    def noise(self, alpha: float) -> float | Array:
        """Noise variance of the rows: a number or (n,)."""
        return alpha if self.weights is None else alpha / self.weights

    def take(self, rows: Array) -> Data:
        """The given rows, an integer array."""
        xp = namespace(self.X)
        weights = None if self.weights is None else xp.take(self.weights, rows)
        return Data(
            xp.take(self.X, rows, axis=0), xp.take(self.Y, rows, axis=0), weights
        )

    def at(self, rows: np.ndarray) -> Data:
        """The given rows as plain data in double precision."""
        part = Data.take(self, index_like(rows, self.X))
        return replace(part, X=as_float64(part.X))

    def with_inducing_points(self, point: Hyperparameters) -> Self:
        """The data that an optimizer at a point works on: all rows, unchanged."""
        return self

    def inducing_subset(self) -> Data:
        """The rows for computations with n x n matrices: all rows."""
        return self

    def objective(self, template: Hyperparameters, **kind: Any) -> RegularizedEvidence:
        """`RegularizedEvidence` of these rows; `kind` are its other arguments."""
        return RegularizedEvidence(self, template, **kind)

    def weight_term(self, alpha: float) -> tuple[float, float]:
        """Correction of the evidence for weights, and its d/d log alpha.

        A row of weight w counts like w repeated rows with noise alpha each. Noise
        alpha / w alone misses -(C / 2) sum_i [(w_i - 1) log(2 pi alpha) + log w_i].
        """
        if self.weights is None:
            return 0.0, 0.0
        xp, outputs = namespace(self.weights), self.Y.shape[1]
        excess = float(xp.sum(self.weights)) - self.weights.shape[0]
        logs = float(xp.sum(xp.log(self.weights)))
        if alpha == 0:
            raise LinAlgError("Repeated or weighted rows need noise: raise alpha.")
        value = -0.5 * outputs * (excess * log(2 * pi * alpha) + logs)
        return value, -0.5 * outputs * excess


def kernel_factor(
    data: Data, point: Hyperparameters
) -> tuple[Array, Variances, Factored]:
    """Features and variances of the rows, and their factorised K + noise."""
    F = features(data.X, point.network, point.metric_sqrt)
    v = variances(F, point.network)
    K = symmetric_matrices(F, point.network, v, lower=True)[point.network.is_ntk]
    return F, v, factorize(K, data.Y, data.noise(point.alpha))


def _fit(data: Data, factored: Factored) -> float:
    """Fit to the targets, tr Y'U with U = (K + noise)^{-1} Y."""
    return float(namespace(data.Y).sum(data.Y * factored.dual))


def trace_slopes(
    data: Data,
    point: Hyperparameters,
    F: Array,
    v: Variances,
    factored: Factored,
    cotangent: tuple[Callable[[slice, slice], Array], Array],
) -> tuple[Cotangents, float, float]:
    """Derivatives of tr A (K + noise) at fixed A, as `evidence_cotangent` gives it.

    Returns
    -------
    cotangents : Cotangents
    noise, readout : float
        Derivatives by the logarithms of noise and readout variance. The latter is
        tr A K = n C - tr Y'U - tr A noise, without a pass over K: right for the A of
        the evidence only.
    """
    block, diagonal = cotangent
    cotangents = vector_jacobian(data.X, F, point.network, v, block, diagonal)
    noise = float(namespace(F).sum(diagonal * data.noise(point.alpha)))
    n, outputs = data.Y.shape
    return cotangents, noise, n * outputs - _fit(data, factored) - noise


def log_evidence(data: Data, point: Hyperparameters) -> float:
    """Log marginal likelihood of the training targets, summed over outputs."""
    return kernel_factor(data, point)[2].log_evidence + data.weight_term(point.alpha)[0]


def regularized_evidence(data: Data, point: Hyperparameters, width: float) -> float:
    """Log evidence minus width times KL at a point; costs one factorisation."""
    value = log_evidence(data, point)
    if isinf(width) or point.metric_sqrt is None:
        return value
    return value - width * kl_from_prior(point.metric_sqrt)


class _Slopes(Protocol):
    """Derivatives by the kernel's parameters: `Cotangents`, or sums of them."""

    @property
    def log_weight(self) -> float: ...

    @property
    def bias_variance(self) -> float: ...

    def covariance(self, X: Array, *, diagonal: bool = False) -> Array: ...


class RegularizedEvidence:
    """The regularised evidence as a function of a vector, with its gradient.

    Parameters
    ----------
    data : Data
        Training rows.
    template : Hyperparameters
        Values of the hyperparameters that are not in the vector.
    width : float
        Number of hidden units; infinite drops the covariance from the vector.
    covariance_type : {"diag", "full"} or None
        Shape of the learned weight covariance; None learns none.
    free : sequence of str
        Which of "readout_variance", "weight_variance", "bias_variance" and "alpha"
        are in the vector, as logarithms; zero variances never are.
    tree : bool, default=False
        Leave out the log determinant. Hyperparameters then stay fixed, because they
        would diverge without it.
    """

    def __init__(
        self,
        data: Data,
        template: Hyperparameters,
        *,
        width: float,
        covariance_type: str | None,
        free: Sequence[str] = (),
        tree: bool = False,
    ) -> None:
        self.data, self.template, self.width = data, template, width
        self.tree = tree
        free = () if tree else free
        adapts = covariance_type is not None and not isinf(width)
        self.covariance: CovarianceModel | None = None
        if adapts:
            self.covariance = MODELS[cast(str, covariance_type)](data.X.shape[1])
        self.free = [
            name
            for name in (*VARIANCES, "alpha")
            if name in free and _value(template, name) > 0
        ]

    def pack(self, point: Hyperparameters) -> np.ndarray:
        """Convert a point to a vector."""
        scalars = np.log([_value(point, name) for name in self.free])
        if self.covariance is None:
            return scalars
        R = self.covariance.root(point.metric_sqrt)
        return np.concatenate([scalars, self.covariance.pack(R)])

    def unpack(self, vector: np.ndarray) -> Hyperparameters:
        """Convert a vector to a point."""
        split = len(self.free)
        values = dict(zip(self.free, np.exp(vector[:split]).tolist(), strict=True))
        alpha = values.pop("alpha", self.template.alpha)
        network = replace(self.template.network, **values)
        if self.covariance is None:
            return Hyperparameters(network, alpha)
        return Hyperparameters(network, alpha, self.covariance.unpack(vector[split:]))

    def __call__(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Objective and gradient: one factorisation, one inverse, O(n^2 d) besides."""
        point = self.unpack(vector)
        R: Array = point.metric_sqrt
        gradient: Array
        value, cotangents, noise, readout = self._evidence(point)
        weight, gradient = self._covariance_gradient(cotangents, point)
        slopes = {
            "readout_variance": readout,
            "weight_variance": weight + cotangents.log_weight,
            "bias_variance": point.network.bias_variance * cotangents.bias_variance,
            "alpha": noise,
        }
        scalars = np.array([-0.5 * slopes[name] for name in self.free])
        if self.covariance is None:
            return value, scalars
        # log evidence - width KL
        divergence, slope = self.covariance.divergence(R)
        gradient = -0.5 * gradient - self.width * slope
        gradient = self.covariance.to_vector(gradient, R)
        return value - self.width * divergence, np.concatenate([scalars, gradient])

    def _evidence(self, point: Hyperparameters) -> tuple[float, _Slopes, float, float]:
        """Evidence, and -2 times its derivatives: by kernel, log noise, log readout."""
        data = self.data
        F, v, factored = kernel_factor(data, point)
        extra, extra_slope = data.weight_term(point.alpha)
        cotangent = (fit_cotangent if self.tree else evidence_cotangent)(factored)
        value = factored.log_evidence + extra
        if self.tree:
            value = -0.5 * _fit(data, factored)
        cotangents, noise, readout = trace_slopes(
            data, point, F, v, factored, cotangent
        )
        return value, cotangents, noise - 2 * extra_slope, readout

    def _covariance_gradient(
        self, cotangents: _Slopes, point: Hyperparameters
    ) -> tuple[float, np.ndarray | None]:
        """d/d log weight_variance through the first layer, and d/dR."""
        R: Array
        R, d = point.metric_sqrt, self.data.X.shape[1]
        full = isinstance(self.covariance, FullCovariance)
        slope = cotangents.covariance(self.data.X, diagonal=not full)
        slope = point.network.weight_variance / d * to_numpy(slope)
        if self.covariance is None:
            return float(np.sum(slope)), None
        gradient = self.covariance.gradient(slope, R)
        return 0.5 * float(np.sum(gradient * R)), gradient


def evidence_slopes(
    data: Data, point: Hyperparameters, names: Sequence[str]
) -> tuple[float, np.ndarray]:
    """Log evidence, and its derivatives by the logarithms of the named variances."""
    origin = point.network.origin
    mapped = apply_metric_sqrt(centered(data.X, origin), point.metric_sqrt)
    network = replace(point.network, origin=None)
    evidence = RegularizedEvidence(
        replace(data, X=mapped),
        Hyperparameters(network, point.alpha),
        width=inf,
        covariance_type=None,
        free=names,
    )
    value, gradient = evidence(evidence.pack(evidence.template))
    return value, gradient[[evidence.free.index(name) for name in names]]


def _value(point: Hyperparameters, name: str) -> float:
    return point.alpha if name == "alpha" else getattr(point.network, name)
