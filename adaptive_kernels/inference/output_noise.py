"""Outputs that share a kernel and have a noise variance each.

In the eigenbasis of the kernel the evidence of an output costs O(n) at any noise. With
weights W, W^1/2 K W^1/2 = V diag(lam) V' and z = V' W^1/2 y,

    -2 log evidence = sum_i [log(lam_i + alpha) + z_i^2 / (lam_i + alpha)]
                      + (sum_i w_i - n) log alpha + sum_i w_i log 2 pi.

With inducing points (`collapsed_bound.py`) K_mm = L L', A = L^{-1} K_mn, G = A W A' and
c = A W y. Then G = V diag(lam) V' and z = V' c, and

    -2 bound = sum_i log(lam_i + alpha) + (sum_i w_i - m) log alpha
               + [y'Wy - sum_i z_i^2 / (lam_i + alpha) + tr W (K - Q)] / alpha
               + sum_i w_i log 2 pi.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import log, pi
from typing import Self

import numpy as np

from .._arrays import (
    Array,
    asarray_like,
    eigh,
    namespace,
    solve_triangular,
    to_numpy,
)
from ..kernels._recursion import features, symmetric_matrices
from .evidence import Data, Hyperparameters, log_evidence
from .inducing_points import InducingData
from .optimization import NOISE_BOUNDS
from .posterior import KernelPosterior

# Sizes of three grids of log noise. The second and third lie between the neighbours of
# the best point of the grid before. The points of the last are 0.0004 apart.
_TRIED = (100, 30, 30)


@dataclass(frozen=True)
class OutputSpectrum:
    """The targets of several outputs in the eigenbasis of their kernel.

    point : Hyperparameters, whose noise is not used
    rows : array (r, d), training rows, or the inducing points
    F : array (r, d + 1), features of these rows
    factor : array (r, k); the kernel K(x, rows) @ factor is in the eigenbasis
    eigenvalues : ndarray (k,), lam
    targets : ndarray (k, C), z
    size : float, sum of the weights
    squares : ndarray (C,) or None, y'Wy; None without inducing points
    unexplained : float, tr W (K - Q)
    """

    point: Hyperparameters
    rows: Array
    F: Array
    factor: Array
    eigenvalues: np.ndarray
    targets: np.ndarray
    size: float
    squares: np.ndarray | None = None
    unexplained: float = 0.0

    @classmethod
    def of(cls, data: Data, point: Hyperparameters) -> Self:
        """Decompose the kernel of all rows, or of the inducing points."""
        if isinstance(data, InducingData):
            return cls._of_inducing(data, point)
        F = features(data.X, point.network, point.metric_sqrt)
        K: Array = symmetric_matrices(F, point.network)[int(point.network.is_ntk)]
        xp, Y, size = namespace(K), data.Y, float(K.shape[0])
        if data.weights is not None:
            root = xp.sqrt(data.weights)
            K, Y = root[:, None] * K * root, root[:, None] * Y
            size = float(xp.sum(data.weights))
        values, vectors = eigh(K)
        targets = to_numpy(vectors.T @ Y)
        if data.weights is not None:
            vectors = root[:, None] * vectors
        values = np.maximum(to_numpy(values), 0.0)
        return cls(
            point=point,
            rows=data.X,
            F=F,
            factor=vectors,
            eigenvalues=values,
            targets=targets,
            size=size,
        )

    @classmethod
    def _of_inducing(cls, data: InducingData, point: Hyperparameters) -> Self:
        """Decompose G = V diag(lam) V' (m, m), summed over all rows, with z = V' c.

        The basis of f is then K(x, Z) L^{-T} V, for the inducing points Z.
        """
        data, basis, statistics = data.sufficient_statistics(point)
        G, c = statistics.gram, statistics.projection
        lam, V = eigh(G)
        return cls(
            point=point,
            rows=data.inducing(),
            F=basis.F,
            factor=solve_triangular(basis.factor, V, transposed=True),  # L^{-T} V
            eigenvalues=np.maximum(to_numpy(lam), 0.0),
            targets=to_numpy(V.T @ c),
            size=statistics.size,
            squares=to_numpy(statistics.squares),
            unexplained=statistics.unexplained,
        )

    def evidence(self, noise: np.ndarray) -> np.ndarray:
        """Log evidence, or its bound, of every output: (t, C) at noise (t, C)."""
        spread = self.eigenvalues[:, None] + noise[:, None, :]
        fit = np.sum(self.targets**2 / spread, axis=1)
        # log det (K + noise): eigenvectors, and the rest of sum(w) observations
        volume = np.sum(np.log(spread), axis=1)
        volume += (self.size - len(self.eigenvalues)) * np.log(noise)
        if self.squares is not None:
            fit = (self.squares - fit + self.unexplained) / noise
        return -0.5 * (volume + fit + self.size * log(2 * pi))

    def best_noise(self, unit: float) -> np.ndarray:
        """The noise variance (C,) of largest evidence for every output.

        unit : float, by which `NOISE_BOUNDS` are multiplied
        """
        lowest, highest = np.log(NOISE_BOUNDS) + log(unit)
        n_outputs = self.targets.shape[1]
        low, high = np.full(n_outputs, lowest), np.full(n_outputs, highest)
        for n_tried in _TRIED:
            tried = np.linspace(low, high, n_tried)
            best = np.argmax(self.evidence(np.exp(tried)), axis=0)
            around = np.clip([best - 1, best + 1], 0, n_tried - 1)
            low, high = np.take_along_axis(tried, around, axis=0)
        return np.exp(tried[best, np.arange(n_outputs)])


@dataclass
class OutputNoisePosterior(KernelPosterior):
    """Posterior of f if every output has a noise variance of its own.

    point : Hyperparameters, with the noise that all outputs shared
    spectrum : OutputSpectrum
    noise : array (C,)
    dual : array (r, C), coefficients of the mean K(x, rows) dual
    reduction : array (k, C), by which the prior variance is reduced in the eigenbasis
    """

    point: Hyperparameters
    spectrum: OutputSpectrum
    noise: Array
    dual: Array
    reduction: Array

    @classmethod
    def fit(cls, spectrum: OutputSpectrum, noise: np.ndarray) -> tuple[Self, float]:
        """The posterior and the log evidence, or its bound, of all outputs."""
        factor, lam = spectrum.factor, spectrum.eigenvalues[:, None]
        dual = factor @ asarray_like(spectrum.targets / (lam + noise), factor)
        share = 1.0 if spectrum.squares is None else lam
        posterior = cls(
            spectrum.point,
            spectrum,
            asarray_like(noise, factor),
            dual,
            asarray_like(share / (lam + noise), factor),
        )
        value = float(np.sum(spectrum.evidence(noise[None])))
        return posterior, value

    @property
    def F(self) -> Array:
        """Features of the training rows, or of the inducing points."""
        return self.spectrum.F

    def inducing_points(self) -> Array | None:
        """The inducing points (m, d), or None."""
        return None if self.spectrum.squares is None else self.spectrum.rows

    def observation_noise(self) -> Array:
        """Noise variances (C,) of the outputs."""
        return self.noise

    def evidence_terms(
        self, data: Data, point: Hyperparameters
    ) -> Iterator[tuple[Data, Hyperparameters]]:
        """Data and hyperparameters of each output, with its noise."""
        for c, noise in enumerate(to_numpy(self.noise).tolist()):
            yield replace(data, Y=data.Y[:, c : c + 1]), replace(point, alpha=noise)

    def evidence(self, data: Data, point: Hyperparameters) -> float:
        """Log evidence of the targets at another point, with the same noise."""
        return sum(log_evidence(*term) for term in self.evidence_terms(data, point))

    def leave_one_out(self, data: Data) -> tuple[Array, Array]:
        """Mean (n, C) and variance (n, C) of f at each row given the other rows."""
        # Diagonals of (K + noise)^{-1}, as in `factorization.leave_one_out`.
        precision = self.spectrum.factor**2 @ self.reduction
        noise = self.noise
        if data.weights is not None:
            noise = noise / data.weights[:, None]
        return data.Y - self.dual / precision, 1 / precision - noise

    def effective_dof(self, data: Data) -> float:
        """Tr[(K + noise)^{-1} K], mean over outputs."""
        lam = self.spectrum.eigenvalues[:, None]
        shares = lam / (lam + to_numpy(self.noise))
        return float(np.sum(np.mean(shares, axis=1)))

    def _spread(self, cross: Array, prior: Array) -> Array:
        projections = cross @ self.spectrum.factor
        return prior[:, None] - projections**2 @ self.reduction

    def _joint_spread(self, cross: Array, prior: Array) -> Array:
        projections = cross @ self.spectrum.factor
        reduced = [
            prior - (projections * self.reduction[:, c]) @ projections.T
            for c in range(self.reduction.shape[1])
        ]
        return namespace(cross).stack(reduced, axis=-1)
