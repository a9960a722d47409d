"""Posterior of a function under the theory of sampled neurons."""

from dataclasses import dataclass

from ...inference.evidence import Hyperparameters
from ...inference.posterior import Posterior
from ...kernels._recursion import features
from .sampled_neurons import SampledTheory, sampled


@dataclass
class SampledPosterior(Posterior):
    """Posterior of f by sampled neurons, at fixed hyperparameters and for one output.

    point : Hyperparameters
    width : float
    theory : SampledTheory
    """

    point: Hyperparameters
    width: float
    theory: SampledTheory

    @classmethod
    def fit(cls, data, point, width):
        """The posterior and the log evidence of the training targets."""
        network = point.network
        theory = sampled(
            features(data.X, network, point.metric_sqrt),
            data.Y[:, 0],
            network.activation,
            noise=data.noise(point.alpha),
            width=width,
            readout_variance=network.readout_variance,
        )
        evidence = theory.log_evidence + data.weight_term(point.alpha)[0]
        return cls(point, width, theory), evidence

    @property
    def dual(self):
        """Dual vector (n, 1): (Y - mean) / noise at the training rows."""
        return self.theory.dual[:, None]

    @property
    def converged(self):
        """Whether the theory's equations were solved."""
        return self.theory.converged

    def mean(self, X):
        """Mean (m, 1)."""
        return self.theory.mean(self.features(X))[:, None]

    def variance(self, X):
        """Mean (m, 1) and variance (m, 1)."""
        F = self.features(X)
        return self.theory.mean(F)[:, None], self.theory.variance(F)[:, None]

    def covariance(self, X):
        """Mean (m, 1) and covariance (m, m, 1)."""
        F = self.features(X)
        return self.theory.mean(F)[:, None], self.theory.covariance(F)[:, :, None]

    def evidence(self, data, point):
        """Log evidence of the targets at another point, for this width."""
        return self.fit(data, point, self.width)[1]

    def leave_one_out(self, data):
        """Mean (n, 1) and variance (n, 1) of f at each row given the other rows.

        By the formula of a Gaussian process, with the Hessian M in place of K + noise
        and the neurons held fixed.
        """
        precision = self.theory.precision[:, None]
        noise = data.noise(self.point.alpha) + 0 * precision[:, 0]
        return data.Y - self.dual / precision, 1 / precision - noise[:, None]

    def effective_dof(self, data):
        """Tr df/dy at tree level."""
        return self.theory.effective_dof

    def weight_covariance(self, data):
        """Covariance (d, d) of input weights relative to the prior, without biases."""
        return self.theory.weight_covariance[1:, 1:]
