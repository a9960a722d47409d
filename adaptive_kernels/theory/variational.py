"""Gaussian-variational adaptive kernel: regularised evidence of the weight covariance.

The hidden weights of a network of `width` N are given a Gaussian distribution
N(0, Sigma), Sigma = (weight_variance / d) M, whose kernel K(Sigma) maximises

    log evidence(K(Sigma) + noise) - N KL(N(0, Sigma) || N(0, Sigma_0)),

with Sigma_0 = (weight_variance / d) I, so that KL = (tr M - log det M - d) / 2.
Infinite width is the NNGP. At tree level the log determinant of the evidence is left
out. The stationarity condition is the self-consistent equation
of multi-scale adaptive theory (arXiv:2502.03210) in its Gaussian approximation.
"""

from dataclasses import dataclass, replace
from math import isinf, log, pi

import numpy as np

from .._array import LinAlgError, namespace, to_numpy
from .._linalg import evidence_cotangent, factorize, fit_cotangent
from ..kernels._derivatives import vector_jacobian
from ..kernels._recursion import Network, features, symmetric_matrices, variances

VARIANCES = ("readout_variance", "weight_variance", "bias_variance")


@dataclass(frozen=True)
class Hyperparameters:
    """A point in the space that evidence is maximised over.

    network : Network, with the three variances
    alpha : float, noise variance
    root : None (M = I), array (d,) with M = diag(root^2), or lower (d, d), M = R R'
    """

    network: Network
    alpha: float
    root: object = None

    def metric(self):
        """M, the weight covariance relative to its prior: None, (d,) or (d, d)."""
        if self.root is None:
            return None
        return self.root**2 if self.root.ndim == 1 else self.root @ self.root.T

    def with_covariance(self, covariance_type, d):
        """The same point with `root` in the shape of a covariance type."""
        root = self.root
        if covariance_type is None:
            root = None
        elif covariance_type == "diag" and (root is None or root.ndim == 2):
            root = np.ones(d) if root is None else np.sqrt(np.sum(root**2, axis=1))
        elif covariance_type == "full" and (root is None or root.ndim == 1):
            root = np.diag(np.ones(d) if root is None else root)
        return replace(self, root=root)


def combine_roots(outer, inner):
    """Root R_o R_i of a metric from two roots, each None, (d,) or (d, d)."""
    if outer is None or inner is None:
        return inner if outer is None else outer
    if outer.ndim == 1:
        return outer * inner if inner.ndim == 1 else outer[:, None] * inner
    return outer * inner if inner.ndim == 1 else outer @ inner


@dataclass(frozen=True)
class Data:
    """Training rows of an evidence: X (n, d), Y (n, C), weights (n,) or None."""

    X: object
    Y: object
    weights: object = None

    def observations(self):
        """Number of observations: weights summed, times outputs."""
        rows = self.Y.shape[0]
        if self.weights is not None:
            rows = float(namespace(self.weights).sum(self.weights))
        return rows * self.Y.shape[1]

    def shares(self):
        """Weights of the rows, summing to one: (n,)."""
        xp = namespace(self.Y)
        weights = xp.ones_like(self.Y[:, 0]) if self.weights is None else self.weights
        return weights / xp.sum(weights)

    def noise(self, alpha):
        """Noise variance of the rows: a number or (n,)."""
        return alpha if self.weights is None else alpha / self.weights

    def take(self, rows):
        """The given rows, an integer array."""
        xp = namespace(self.X)
        weights = None if self.weights is None else xp.take(self.weights, rows)
        return Data(
            xp.take(self.X, rows, axis=0), xp.take(self.Y, rows, axis=0), weights
        )

    def at(self, point):
        """What a climb from a point sees: here the rows themselves."""
        return self

    def core(self):
        """Rows that are few enough for n x n matrices: here all."""
        return self

    def objective(self, template, **kind):
        """The regularised evidence of these rows; see there for the arguments."""
        return RegularizedEvidence(self, template, **kind)

    def weight_term(self, alpha):
        """What weights add to the evidence beyond noise alpha / w, and d/d log alpha.

        A row of weight w counts like w repeated rows with noise alpha each.
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


def kernel_factor(data, point):
    """Features, variances, and factored kernel matrix plus noise of the rows."""
    F = features(data.X, point.network, point.root)
    v = variances(F, point.network)
    K = symmetric_matrices(F, point.network, v, lower=True)[point.network.tangent]
    return F, v, factorize(K, data.Y, data.noise(point.alpha))


def _fit(data, factored):
    """Tr Y'U."""
    return float(namespace(data.Y).sum(data.Y * factored.dual))


def trace_slopes(data, point, F, v, factored, cotangent):
    """Slopes of tr A (K + noise) with A held fixed, which `evidence_cotangent` gives.

    Returns
    -------
    cotangents : Cotangents
    noise, readout : float
        By the logarithms of the noise and, for the A of the evidence, of the readout
        variance: tr A (K + noise) = n C - tr Y'U spares a pass over K.
    """
    block, diagonal = cotangent
    cotangents = vector_jacobian(data.X, F, point.network, v, block, diagonal)
    noise = float(namespace(F).sum(diagonal * data.noise(point.alpha)))
    n, outputs = data.Y.shape
    return cotangents, noise, n * outputs - _fit(data, factored) - noise


def log_evidence(data, point):
    """Log marginal likelihood of the training targets, all outputs summed."""
    return kernel_factor(data, point)[2].log_evidence + data.weight_term(point.alpha)[0]


def regularized_evidence(data, point, width):
    """The objective above at a point: one Cholesky."""
    value = log_evidence(data, point)
    if isinf(width) or point.root is None:
        return value
    return value - width * RegularizedEvidence.divergence(point.root)[0]


class RegularizedEvidence:
    """The objective above as a function of a vector, with its gradient.

    Parameters
    ----------
    data : Data
    width : float
        Number of hidden units; infinite drops the covariance from the vector.
    covariance_type : {"diag", "full"} or None
    free : sequence of str
        Which of "readout_variance", "weight_variance", "bias_variance" and "alpha"
        are in the vector, as logarithms; zero variances never are.
    template : Hyperparameters
        Supplies what is not in the vector.
    tree : bool, default=False
        Leave out the log determinant, and the hyperparameters, which would run away
        without it.
    """

    def __init__(self, data, template, *, width, covariance_type, free=(), tree=False):
        self.data, self.template, self.width = data, template, width
        self.tree = tree
        free = () if tree else free
        self.covariance_type = None if isinf(width) else covariance_type
        self.d = data.X.shape[1]
        self.free = [
            name
            for name in (*VARIANCES, "alpha")
            if name in free and _value(template, name) > 0
        ]
        self._lower = np.tril_indices(self.d)

    def pack(self, point):
        """The vector of a point."""
        point = point.with_covariance(self.covariance_type, self.d)
        scalars = np.log([_value(point, name) for name in self.free])
        if self.covariance_type is None:
            return scalars
        if self.covariance_type == "diag":
            return np.concatenate([scalars, 2 * np.log(point.root)])
        factor = point.root.copy()
        np.fill_diagonal(factor, np.log(np.diag(factor)))
        return np.concatenate([scalars, factor[self._lower]])

    def unpack(self, vector):
        """The point of a vector."""
        split = len(self.free)
        values = dict(zip(self.free, np.exp(vector[:split]).tolist(), strict=True))
        alpha = values.pop("alpha", self.template.alpha)
        network = replace(self.template.network, **values)
        if self.covariance_type is None:
            return Hyperparameters(network, alpha)
        if self.covariance_type == "diag":
            return Hyperparameters(network, alpha, np.exp(vector[split:] / 2))
        root = np.zeros((self.d, self.d))
        root[self._lower] = vector[split:]
        np.fill_diagonal(root, np.exp(np.diag(root)))
        return Hyperparameters(network, alpha, root)

    def __call__(self, vector):
        """Objective and gradient: one Cholesky, one inverse, O(n^2 d) besides."""
        point = self.unpack(vector)
        value, cotangents, noise, readout = self._evidence(point)
        covariance = self._covariance_gradient(cotangents, point)
        slopes = {
            "readout_variance": readout,
            "weight_variance": covariance[0] + cotangents.log_weight,
            "bias_variance": point.network.bias_variance * cotangents.bias_variance,
            "alpha": noise,
        }
        scalars = np.array([-0.5 * slopes[name] for name in self.free])
        if self.covariance_type is None:
            return value, scalars
        divergence, slope = self.divergence(point.root)
        gradient = self._to_vector(-0.5 * covariance[1] - self.width * slope, point)
        return value - self.width * divergence, np.concatenate([scalars, gradient])

    def _evidence(self, point):
        """Value and, times -2, its slopes: `Cotangents`, log noise, log readout."""
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

    def _covariance_gradient(self, cotangents, point):
        """d/d log weight_variance of the first layer, and d/d root."""
        root, scale = point.root, point.network.weight_variance / self.d
        full = self.covariance_type == "full"
        slope = cotangents.covariance(self.data.X, diagonal=not full)
        slope = scale * to_numpy(slope)
        if root is None:
            return float(np.sum(slope)), None
        gradient = 2 * slope * root if root.ndim == 1 else 2 * slope @ root
        return 0.5 * float(np.sum(gradient * root)), gradient

    @staticmethod
    def divergence(root):
        """KL divergence from the prior per hidden unit, and d/d root."""
        if root.ndim == 1:
            return 0.5 * float(np.sum(root**2 - 2 * np.log(root) - 1)), root - 1 / root
        pivots = np.diag(root)
        value = 0.5 * float(np.sum(root**2) - np.sum(2 * np.log(pivots) + 1))
        return value, root - np.diag(1 / pivots)

    def _to_vector(self, gradient, point):
        """Chain d/d root to the vector, whose (pivot) entries are logarithms."""
        if self.covariance_type == "diag":
            return gradient * point.root / 2
        pivots = np.diag(point.root)
        np.fill_diagonal(gradient, np.diag(gradient) * pivots)
        return gradient[self._lower]


def _value(point, name):
    return point.alpha if name == "alpha" else getattr(point.network, name)
