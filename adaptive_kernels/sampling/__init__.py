"""Reference samplers of Bayesian networks of finite width, to test theories.

The network is that of an `NNGP` kernel at a given width. Its limit of infinite width is
the Gaussian process of the kernel.
"""

from ._diagnostics import effective_sample_size, split_r_hat
from ._gibbs import sample_linear_network
from ._hmc import sample_network
from ._samples import NetworkSamples

__all__ = [
    "NetworkSamples",
    "effective_sample_size",
    "sample_linear_network",
    "sample_network",
    "split_r_hat",
]
