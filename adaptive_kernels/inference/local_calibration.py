"""Leave-one-out predictions of class labels from neighbours."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from .._arrays import Array
from ..kernels._recursion import variances
from .evidence import Data, Hyperparameters
from .local_posterior import LocalData, LocalPosterior
from .local_sites import Sites


@dataclass(frozen=True)
class LocalClasses:
    """Sampled rows to leave out one by one, each predicted from its neighbours.

    It is to a posterior from neighbours what `class_calibration.ExactClasses` is to an
    exact one.

    data : LocalData, all rows, with centred one-hot labels as targets
    sample : ndarray of int, the rows to leave out
    local : LocalPosterior of all rows, without inducing points, at some noise
    near : ndarray (n, k) of int, neighbours of the sampled rows
    """

    data: LocalData
    sample: np.ndarray
    local: LocalPosterior
    near: np.ndarray

    @classmethod
    def of(cls, data: LocalData, point: Hyperparameters, sample: np.ndarray) -> Self:
        """Find the neighbours of the sampled rows at a point."""
        local, _ = LocalPosterior.fit(data, point, with_global=False)
        return cls(data, sample, local, local.neighbours_of(sample))

    @property
    def held_out(self) -> Data:
        """The sampled rows."""
        return self.data.rows.at(self.sample)

    @property
    def point(self) -> Hyperparameters:
        """Kernel and noise."""
        return self.local.point

    @property
    def prior(self) -> Array:
        """Prior variances of the sampled rows."""
        network, F = self.point.network, self.local.sites.take(self.sample).F
        return variances(F, network).kernel(network.is_ntk)

    def leave_one_out(self, noise: float) -> tuple[Array, Array]:
        """Mean (n, C) and variance (n,) of f at sampled rows given their neighbours."""
        point, sites = replace(self.point, alpha=noise), self.local.sites
        own = 0 * sites.noise + self.data.rows.noise(noise)
        at = replace(self.local, point=point, sites=Sites(sites.F, None, own))
        mean, variance = at.left_out(self.sample, self.near)
        return mean, variance[:, 0]

    def posterior(self, noise: float) -> LocalPosterior:
        """Posterior of f given all rows, on top of what inducing points explain."""
        return LocalPosterior.fit(self.data, replace(self.point, alpha=noise))[0]
