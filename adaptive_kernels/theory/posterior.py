"""Posterior of a function at new rows: Gaussian, or with a kernel of random scale."""

from dataclasses import dataclass
from math import inf

import numpy as np

from .._array import (
    asarray_like,
    eigh,
    namespace,
    solve_triangular,
    to_numpy,
)
from .._linalg import leave_one_out
from ..kernels._recursion import (
    cross_blocks,
    cross_matrices,
    features,
    slices_of,
    symmetric_matrices,
    variances,
)
from .multiscale import scale_saddle
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
    """Posterior under the kernel S K0 with the scale S of the saddle.

    `factor` holds the eigenvectors of the whitened kernel matrix times its weights.

    width : float
    saddle : ScaleSaddle
    eigenvalues : array (n,)
    drift : array (n, 1) or None, dual of d mean / d log s (one output)
    """

    width: float = inf
    saddle: object = None
    eigenvalues: object = None
    drift: object = None

    @classmethod
    def fit(cls, data, point, width):
        """The posterior and the Laplace log evidence at finite width."""
        F = features(data.X, point.network, point.root)
        K = symmetric_matrices(F, point.network)[int(point.network.tangent)]
        white = _white(data)
        eigenvalues, vectors = eigh(white[:, None] * K * white)
        c = vectors.T @ (white[:, None] * data.Y)
        saddle = scale_saddle(to_numpy(eigenvalues), to_numpy(c), point.alpha, width)
        s, rotation = _rotated_scales(saddle, c)
        vectors = white[:, None] * vectors
        spread = point.alpha + eigenvalues[:, None] * s
        dual = vectors @ ((c @ rotation) / spread * s) @ rotation.T
        drift = None
        if np.isfinite(saddle.curvature):
            drift = vectors @ (s * point.alpha * c / spread**2)
        evidence = saddle.log_evidence + data.weight_term(point.alpha)[0]
        evidence += _white_jacobian(data)
        posterior = cls(point, F, vectors, dual, width, saddle, eigenvalues, drift)
        return posterior, evidence

    def evidence(self, data, point):
        """Laplace log evidence of the targets at another point, same width."""
        return self.fit(data, point, self.width)[1]

    def leave_one_out(self, data):
        """Mean (n, C) and variance (n, C) of f, with the scale held fixed."""
        s, rotation = _rotated_scales(self.saddle, data.Y)
        spread = self.point.alpha + self.eigenvalues[:, None] * s
        precision = self.factor**2 @ (1 / spread)
        mean = data.Y @ rotation - (self.dual @ rotation) / s / precision
        noise = data.noise(self.point.alpha) + 0 * mean[:, 0]
        return mean @ rotation.T, (1 / precision - noise[:, None]) @ (rotation.T**2)

    def _reduction(self, cross):
        """Projections of the cross kernel, and each rotated output's kept share."""
        s, rotation = _rotated_scales(self.saddle, cross)
        share = s**2 / (self.point.alpha + self.eigenvalues[:, None] * s)
        return cross @ self.factor, share, s, rotation

    def _spread(self, cross, prior):
        projections, share, s, rotation = self._reduction(cross)
        rotated = prior[:, None] * s - projections**2 @ share
        spread = rotated @ (rotation.T**2)
        if self.drift is not None:
            spread = spread + (cross @ self.drift) ** 2 / self.saddle.curvature
        return spread

    def covariance(self, X):
        """Mean (m, C) and covariance (m, m, C)."""
        F = self.features(X)
        cross, prior, xp = self.cross(F), self._prior(F), namespace(F)
        projections, share, s, rotation = self._reduction(cross)
        rotated = xp.stack(
            [
                s[r] * prior - (projections * share[:, r]) @ projections.T
                for r in range(s.shape[0])
            ],
            axis=-1,
        )
        covariance = rotated @ (rotation.T**2)
        if self.drift is not None:
            drift = cross @ self.drift
            covariance = (
                covariance + (drift @ drift.T / self.saddle.curvature)[..., None]
            )
        return cross @ self.dual, covariance


def _rotated_scales(saddle, like):
    """Eigenvalues (C,) and eigenvectors (C, C) of the scale."""
    return tuple(asarray_like(a, like) for a in np.linalg.eigh(saddle.scale))


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
