"""Posterior of a function at new rows: Gaussian, or with a kernel of random scale."""

from dataclasses import dataclass, replace
from math import isinf

import numpy as np

from .._array import (
    asarray_like,
    namespace,
    solve_triangular,
    to_numpy,
)
from .._linalg import leave_one_out
from ..kernels._activations import PiecewiseLinear
from ..kernels._recursion import (
    cross_blocks,
    cross_matrices,
    features,
    slices_of,
    symmetric_matrices,
    variances,
)
from .deep import layer_scales
from .multiscale import scale_saddle
from .spectrum import Spectrum
from .variational import kernel_factor, log_evidence

_ROWS = 512


@dataclass
class GaussianPosterior:
    """Posterior mean and variance of f under K(Sigma), hyperparameters fixed.

    point : Hyperparameters
    F : array (n, d + 1), features of the training rows
    factor : array (n, n), lower Cholesky factor of K + noise
    dual : array (n, C)
    """

    point: object
    F: object
    factor: object
    dual: object

    @classmethod
    def fit(cls, data, point):
        """The posterior and the log evidence of the training targets."""
        F, _, factored = kernel_factor(data, point)
        posterior = cls(point, F, factored.factor, factored.dual)
        evidence = factored.log_evidence + data.weight_term(point.alpha)[0]
        return posterior, evidence

    def evidence(self, data, point):
        """Log evidence of the targets at another point."""
        return log_evidence(data, point)

    def leave_one_out(self, data):
        """Mean (n, C) and variance (n, C) of f at each row given the other rows."""
        mean, variance = leave_one_out(kernel_factor(data, self.point)[2], data.Y)
        spread = variance - data.noise(self.point.alpha)
        return mean, spread[:, None] + 0 * mean

    @property
    def scale(self):
        """Scale of the kernel: one, since its shape adapts instead."""
        return 1.0

    @property
    def converged(self):
        """Whether the theory's equations were solved: here there are none."""
        return True

    def weight_covariance(self, data):
        """None: what is known of it is the metric of `point`."""
        return None

    def effective_dof(self, data):
        """Tr[(K + noise)^{-1} K], per output."""
        factor = self.factor
        n = factor.shape[0]
        half = solve_triangular(factor, asarray_like(np.eye(n), factor))
        inverse = namespace(half).sum(half * half, axis=0)
        noise = data.noise(self.point.alpha)
        return n - float(namespace(half).sum(inverse * noise))

    @property
    def network(self):
        """Architecture and variances of the kernel."""
        return self.point.network

    def features(self, X):
        """Features of new rows: (m, d + 1)."""
        return features(X, self.network, self.point.root)

    def mean(self, X):
        """(m, C), streamed: never more than a block of the (m, n) kernel."""
        F, network = self.features(X), self.network
        xp = namespace(X)
        mean = xp.zeros_like(F[:, :1]) * self.dual[:1, :]
        for i, j, nngp, ntk in cross_blocks(F, self.F, network):
            mean[i, :] += (ntk if network.tangent else nngp) @ self.dual[j, :]
        return mean

    def variance(self, X):
        """Mean (m, C) and variance (m, C), in blocks of rows."""
        parts = [self._block(X[i, :]) for i in slices_of(X.shape[0], _ROWS)]
        xp = namespace(X)
        return tuple(xp.concat(part, axis=0) for part in zip(*parts, strict=True))

    def _block(self, X):
        F = self.features(X)
        cross = self.cross(F)
        xp, v = namespace(F), variances(F, self.network)
        prior = v.ntk if self.network.tangent else v.nngp
        return cross @ self.dual, xp.maximum(
            self._spread(cross, prior), 0 * prior[:, None]
        )

    def _spread(self, cross, prior):
        half = solve_triangular(self.factor, cross.T)
        xp = namespace(cross)
        spread = prior - xp.sum(half * half, axis=0)
        return spread[:, None] + 0 * self.dual[:1, :]

    def covariance(self, X):
        """Mean (m, C) and covariance (m, m, C)."""
        F = self.features(X)
        cross = self.cross(F)
        half = solve_triangular(self.factor, cross.T)
        covariance = self._prior(F) - half.T @ half
        return cross @ self.dual, covariance[:, :, None] + 0 * self.dual[:1, :]

    def cross(self, F):
        """Kernel between new and training rows, given features: (m, n)."""
        return cross_matrices(F, self.F, self.network)[int(self.network.tangent)]

    def _prior(self, F):
        return symmetric_matrices(F, self.network)[int(self.network.tangent)]


@dataclass
class RescaledPosterior(GaussianPosterior):
    """Posterior under a theory that rescales the kernel.

    `factor` holds the eigenvectors of the whitened kernel matrix times its weights.

    theory : function of `multiscale` or `one_loop`
    spectrum : Spectrum
        Of the whitened kernel matrix and targets.
    statistics : OutputStatistics
    """

    theory: object = None
    spectrum: object = None
    statistics: object = None

    @property
    def scale(self):
        """Scale of the kernel: (C, C), or one number for each layer (depth,)."""
        if len(self.network.scales) > 1:
            return np.array([*self.network.scales[:-1], self.statistics.scale[0, 0]])
        return self.statistics.scale

    @property
    def converged(self):
        """Whether the theory's equations were solved."""
        return self.statistics.converged

    def effective_dof(self, data):
        """Tr[(s K0 + noise)^{-1} s K0], per output."""
        return self.statistics.effective_dof

    @classmethod
    def fit(cls, data, point, theory, width, spectrum=None):
        """The posterior of a theory at finite width, and its log evidence.

        `spectrum` spares the eigendecomposition where it is known.
        """
        if point.network.depth > 1 and theory is scale_saddle and not isinf(width):
            point = _with_layer_scales(data, point, width)
        F = features(data.X, point.network, point.root)
        if spectrum is None:
            spectrum = _spectrum(data, point, F)
        statistics = theory(spectrum, noise=point.alpha, width=width)
        vectors = _white(data)[:, None] * spectrum.vectors
        dual = vectors @ asarray_like(statistics.dual, vectors)
        evidence = statistics.log_evidence + data.weight_term(point.alpha)[0]
        evidence += _white_jacobian(data)
        if point.network.scales:
            # Their priors; fluctuations of the lower layers' scales are left out.
            t = np.log(point.network.scales)
            evidence += width / 2 * float(np.sum(t - np.expm1(t)))
        return cls(point, F, vectors, dual, theory, spectrum, statistics), evidence

    def evidence(self, data, point):
        """Log evidence of the targets at another point, same theory and width."""
        return self.fit(data, point, self.theory, self.statistics.width)[1]

    def leave_one_out(self, data):
        """Mean (n, C) and variance (n, C) of f, with the scale held fixed."""
        s, rotation = np.linalg.eigh(self.statistics.scale)
        spread = self.point.alpha + self.spectrum.eigenvalues[:, None] * s
        inverse, rotation, c = (
            asarray_like(a, data.Y)
            for a in (1 / spread, rotation, self.spectrum.projections @ rotation)
        )
        outside = 0.0
        if self.spectrum.null_rows:
            # The inverse outside the span is (I - V V') / noise.
            outside = _white(data)[:, None] ** 2 / self.point.alpha
            inverse = inverse - 1 / self.point.alpha
        precision = self.factor**2 @ inverse + outside
        residual = self.factor @ (c * inverse) + outside * (data.Y @ rotation)
        mean = data.Y @ rotation - residual / precision
        noise = data.noise(self.point.alpha) + 0 * mean[:, 0]
        return mean @ rotation.T, (1 / precision - noise[:, None]) @ (rotation.T**2)

    def _spread(self, cross, prior):
        return self.statistics.variance(cross @ self.factor, prior)

    def covariance(self, X):
        """Mean (m, C) and covariance (m, m, C)."""
        F = self.features(X)
        cross = self.cross(F)
        covariance = self.statistics.covariance(cross @ self.factor, self._prior(F))
        return cross @ self.dual, covariance

    def weight_covariance(self, data):
        """Whitened input-weight covariance (d, d) of a linear network, else None."""
        gain = linear_gain(self.network)
        if gain is None:
            return None
        inputs = gain**0.5 * (self.F[:, 1:].T @ self.factor)
        return self.statistics.weight_covariance(to_numpy(inputs))


def _with_layer_scales(data, point, width):
    """The point with all layers' scales but the last, which the theory solves for."""
    scales = layer_scales(data, point, width)
    network = replace(point.network, scales=(*scales[:-1].tolist(), 1.0))
    return replace(point, network=network)


def linear_gain(network):
    """K0 / (F F') of a linear network with one hidden layer, else None."""
    activation = network.activation
    linear = isinstance(activation, PiecewiseLinear) and network.depth == 1
    if not linear or activation.negative != activation.positive or network.tangent:
        return None
    return network.readout_variance * activation.positive**2


def _spectrum(data, point, F):
    """Spectrum of the whitened kernel matrix and targets."""
    white, gain = _white(data)[:, None], linear_gain(point.network)
    if gain is not None and F.shape[1] < F.shape[0]:
        return Spectrum.of_features(gain**0.5 * white * F, white * data.Y)
    K = symmetric_matrices(F, point.network)[int(point.network.tangent)]
    return Spectrum.of_kernel(white * K * white[:, 0], white * data.Y)


def _white(data):
    xp = namespace(data.X)
    if data.weights is None:
        return xp.ones_like(data.X[:, 0])
    return xp.sqrt(data.weights)


def _white_jacobian(data):
    """Log determinant of the whitening, for the density of the raw targets."""
    if data.weights is None:
        return 0.0
    xp = namespace(data.weights)
    return 0.5 * data.Y.shape[1] * float(xp.sum(xp.log(data.weights)))
