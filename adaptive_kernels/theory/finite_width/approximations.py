"""The theories by name, their requirements, and their posteriors."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isinf

from ...inference.inducing_points import InducingData
from ...inference.inducing_posterior import InducingPosterior
from ...inference.local_posterior import LocalData, LocalPosterior
from ...inference.posterior import GaussianPosterior
from ...kernels._activations import PiecewiseLinear
from .exact_linear import exact
from .one_loop import one_loop
from .output_statistics import OutputStatistics
from .rescaled_posterior import RescaledPosterior, linear_gain
from .rescaling import scale_saddle
from .sampled_posterior import SampledPosterior
from .tree_level import tree_level


@dataclass(frozen=True)
class Approximation:
    """A theory of the finite network: how it is solved, and what it requires.

    rescaling : callable or None, (spectrum, noise, width) -> OutputStatistics, for a
        theory that rescales the kernel
    gaussian : bool, whether it learns a weight covariance
    all_rows : bool, whether it needs all training rows at once
    nngp : bool, whether the kernel must be an NNGP, that of a Bayesian network
    one_layer : bool, whether it is limited to one hidden layer
    one_output : bool, whether it is limited to one output, at any depth
    linear : bool, whether the activation must be linear
    """

    rescaling: Callable[..., OutputStatistics] | None = None
    gaussian: bool = False
    all_rows: bool = True
    nngp: bool = True
    one_layer: bool = True
    one_output: bool = False
    linear: bool = False

    def check(self, name, network, outputs):
        """Raise ValueError if a requirement is not met, and say what to use instead."""
        if self.nngp and network.is_ntk:
            raise ValueError(
                f"approximation={name!r} is a theory of Bayesian networks, whose "
                "kernel is NNGP: take that instead of NTK, or approximation='gaussian'."
            )
        if self.one_layer and network.depth > 1:
            raise ValueError(
                f"approximation={name!r} is for one hidden layer, got "
                f"depth={network.depth}: take 'rescaling' or 'gaussian', or depth=1."
            )
        if self.linear and linear_gain(network) is None:
            raise ValueError(
                f"approximation={name!r} needs a linear network, "
                "activation='identity': take 'rescaling' or 'sampled' for other "
                "activations."
            )
        # Each layer has one scale. The theory does not cover several outputs that share
        # the scales of several layers.
        several_scales = self.rescaling is not None and network.depth > 1
        if outputs > 1 and (self.one_output or several_scales):
            raise ValueError(
                f"approximation={name!r} at depth={network.depth} has one output, got "
                f"{outputs}: take 'rescaling' at depth=1 or 'gaussian', or fit the "
                "outputs one by one."
            )


APPROXIMATIONS = {
    "gaussian": Approximation(
        gaussian=True, all_rows=False, nngp=False, one_layer=False
    ),
    "gaussian_tree": Approximation(gaussian=True, nngp=False, one_layer=False),
    "rescaling": Approximation(scale_saddle, one_layer=False),
    "tree": Approximation(tree_level),
    "one_loop": Approximation(one_loop, one_output=True),
    "exact": Approximation(exact, one_output=True, linear=True),
    "sampled": Approximation(one_output=True),
}


def check_theory(name, network, outputs):
    """Raise ValueError if a theory does not apply to a network."""
    APPROXIMATIONS[name].check(name, network, outputs)


def solve_theory(name, data, point, width, neighbour=None):
    """Posterior of a theory at given hyperparameters, and its log evidence.

    Parameters
    ----------
    name : str
        A key of `APPROXIMATIONS`.
    data : Data
        Training rows. Which posterior fits depends on the type.
    point : Hyperparameters
        Kernel, noise and metric. For the Gaussian theories the metric already is the
        learned weight covariance.
    width : float
        Number of hidden units.
    neighbour : RescaledPosterior or None
        Posterior of the same theory and data at another `scaling`, the parameter of
        `AdaptiveKernelRegressor` that divides the weight variance. If the weight
        variance only multiplies the kernel, its eigendecomposition is used again.
    """
    theory = APPROXIMATIONS[name]
    # Once the weight covariance is learned, a Gaussian theory has the ordinary Gaussian
    # process posterior with the kernel of `point`. An infinitely wide network is a
    # Gaussian process too, so at infinite width "sampled" has the same posterior.
    if theory.gaussian or (name == "sampled" and isinf(width)):
        if isinstance(data, LocalData):
            return LocalPosterior.fit(data, point)
        if isinstance(data, InducingData):
            return InducingPosterior.fit(data, point)
        return GaussianPosterior.fit(data, point)
    if name == "sampled":
        return SampledPosterior.fit(data, point, width)
    relative = None
    if neighbour is not None and _keeps_its_shape(point.network):
        # K_new = (new weight variance / old weight variance) K_old
        old, new = neighbour.point.network, point.network
        relative = neighbour, new.weight_variance / old.weight_variance
    return RescaledPosterior.fit(data, point, theory.rescaling, width, relative)


def _keeps_its_shape(network):
    """Whether the weight variance only multiplies the kernel."""
    homogeneous = isinstance(network.activation, PiecewiseLinear)
    only_weights = network.bias_variance == 0 and network.weight_variance > 0
    return homogeneous and only_weights and network.depth == 1
