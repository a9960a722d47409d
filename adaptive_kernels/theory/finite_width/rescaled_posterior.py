"""Posterior of a function under a theory that rescales the kernel."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import isinf

import numpy as np

from ..._arrays import Array, asarray_like, namespace, to_numpy
from ...inference.evidence import Hyperparameters
from ...inference.posterior import KernelPosterior
from ...kernels._activations import PiecewiseLinear
from ...kernels._recursion import features, symmetric_matrices
from ..kernel_regression.spectrum import Spectrum
from .deep_networks import layer_scales
from .output_statistics import OutputStatistics
from .rescaling import scale_saddle


@dataclass
class RescaledPosterior(KernelPosterior):
    """Posterior under a theory that rescales the kernel.

    The noise of a row of weight w is alpha / w. Whitening, by diag(w)^{1/2}, makes it
    the same for all rows.

    point : Hyperparameters
    X : array (n, d), training rows
    theory : callable, (spectrum, noise, width) -> OutputStatistics
    spectrum : Spectrum, of the whitened kernel matrix and targets
    factor : array (n, r), diag(w)^{1/2} V, with eigenvectors V of the whitened matrix
    statistics : OutputStatistics
    """

    point: Hyperparameters
    X: Array
    theory: Callable[..., OutputStatistics]
    spectrum: Spectrum
    factor: Array
    statistics: OutputStatistics

    @cached_property
    def F(self):
        """Features (n, d + 1) of the training rows."""
        return self.features(self.X)

    @cached_property
    def dual(self):
        """Coefficients (n, C) of the mean."""
        return self.factor @ asarray_like(self.statistics.dual, self.factor)

    @property
    def scale(self):
        """Scale of the kernel: (C, C), or one number for each layer (depth,)."""
        depth, last = self.network.depth, self.statistics.scale
        if depth == 1:
            return last
        lower = self.network.scales[:-1] or (1.0,) * (depth - 1)
        return np.array([*lower, last[0, 0]])

    @property
    def converged(self):
        """Whether the theory's equations were solved."""
        return self.statistics.converged

    def effective_dof(self, data):
        """Tr[(s K0 + noise)^{-1} s K0], per output."""
        return self.statistics.effective_dof

    @classmethod
    def fit(cls, data, point, theory, width, relative=None):
        """The posterior of a theory at finite width, and its log evidence.

        `relative` is None, or a posterior of the same data and the factor from its
        kernel to this one. Its eigendecomposition is then used again.
        """
        if point.network.depth > 1 and theory is scale_saddle and not isinf(width):
            point = _with_layer_scales(data, point, width=width)
        if relative is None:
            spectrum = _spectrum(data, point)
            vectors = spectrum.vectors
            if data.weights is not None:
                vectors = _white(data)[:, None] * vectors
        else:
            spectrum = relative[0].spectrum.scaled(relative[1])
            vectors = relative[0].factor
        statistics = theory(spectrum, noise=point.alpha, width=width)
        evidence = statistics.log_evidence + data.weight_term(point.alpha)[0]
        evidence += _white_jacobian(data)
        if point.network.scales:
            # Priors of these scales; their fluctuations are left out.
            t = np.log(point.network.scales)
            evidence += width / 2 * float(np.sum(t - np.expm1(t)))
        return cls(point, data.X, theory, spectrum, vectors, statistics), evidence

    def evidence(self, data, point):
        """Log evidence of the targets at another point, for this theory and width."""
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
            # Outside the span of V the inverse of K + noise is (I - V V') / noise.
            outside = _white(data)[:, None] ** 2 / self.point.alpha
            inverse = inverse - 1 / self.point.alpha
        precision = self.factor**2 @ inverse + outside
        residual = self.factor @ (c * inverse) + outside * (data.Y @ rotation)
        mean = data.Y @ rotation - residual / precision
        noise = data.noise(self.point.alpha) + 0 * mean[:, 0]
        return mean @ rotation.T, (1 / precision - noise[:, None]) @ (rotation.T**2)

    def _spread(self, cross, prior):
        return self.statistics.variance(cross @ self.factor, prior)

    def _joint_spread(self, cross, prior):
        return self.statistics.covariance(cross @ self.factor, prior)

    def weight_covariance(self, data):
        """Whitened input-weight covariance (d, d) of a linear network, else None."""
        gain = linear_gain(self.network)
        if gain is None:
            return None
        inputs = gain**0.5 * (self.F[:, 1:].T @ self.factor)
        return self.statistics.weight_covariance(to_numpy(inputs))


def _with_layer_scales(data, point, width):
    """The point with the scales of all layers but the last, which the theory finds."""
    scales = layer_scales(data, point, width=width)
    network = replace(point.network, scales=(*scales[:-1].tolist(), 1.0))
    return replace(point, network=network)


def linear_gain(network):
    """The number g with K0 = g F F' of a linear network with one layer, or None."""
    activation = network.activation
    linear = isinstance(activation, PiecewiseLinear) and network.depth == 1
    if not linear or activation.negative != activation.positive or network.is_ntk:
        return None
    return network.readout_variance * activation.positive**2


def _spectrum(data, point):
    """Spectrum of the whitened kernel matrix and targets."""
    F = features(data.X, point.network, point.metric_sqrt)
    white, gain = _white(data)[:, None], linear_gain(point.network)
    if gain is not None and F.shape[1] < F.shape[0]:
        return Spectrum.of_features(gain**0.5 * white * F, white * data.Y)
    K = symmetric_matrices(F, point.network)[int(point.network.is_ntk)]
    if data.weights is not None:
        K = white * K * white[:, 0]
    return Spectrum.of_kernel(K, white * data.Y)


def _white(data):
    """Square roots (n,) of the weights."""
    xp = namespace(data.X)
    if data.weights is None:
        return xp.ones_like(data.X[:, 0])
    return xp.sqrt(data.weights)


def _white_jacobian(data):
    """Log determinant of the whitening: from whitened targets to those given."""
    if data.weights is None:
        return 0.0
    xp = namespace(data.weights)
    return 0.5 * data.Y.shape[1] * float(xp.sum(xp.log(data.weights)))
