"""The theories by name, what each requires, and the posterior each gives."""

from math import isinf

from ..kernels._activations import PiecewiseLinear
from .inducing import InducingData, InducingPosterior
from .multiscale import exact, scale_saddle, tree_level
from .one_loop import one_loop
from .posterior import GaussianPosterior
from .rescaled_posterior import RescaledPosterior, linear_gain
from .sampled_posterior import SampledPosterior

RESCALING = {
    "tree": tree_level,
    "one_loop": one_loop,
    "rescaling": scale_saddle,
    "exact": exact,
}
GAUSSIAN = {"gaussian", "gaussian_tree"}
APPROXIMATIONS = {"sampled", *GAUSSIAN, *RESCALING}
_ONE_OUTPUT = {"one_loop", "exact", "sampled"}


def check_theory(name, network, outputs):
    """Raise ValueError where a theory does not exist for a network."""
    if name in GAUSSIAN:
        return
    if network.tangent:
        raise ValueError(
            f"approximation={name!r} is a theory of Bayesian networks, whose kernel is "
            "NNGP: take that instead of NTK, or approximation='gaussian'."
        )
    if network.depth > 1 and name != "rescaling":
        raise ValueError(
            f"approximation={name!r} has one hidden layer, got depth={network.depth}: "
            "take 'rescaling' or 'gaussian', or depth=1."
        )
    if name == "exact" and linear_gain(network) is None:
        raise ValueError(
            "approximation='exact' needs a linear network, activation='identity': "
            "take 'rescaling' or 'sampled' for other activations."
        )
    if outputs > 1 and (name in _ONE_OUTPUT or network.depth > 1):
        raise ValueError(
            f"approximation={name!r} at depth={network.depth} has one output, got "
            f"{outputs}: take 'rescaling' at depth=1 or 'gaussian', or fit the outputs "
            "one by one."
        )


def solve_theory(name, data, point, width, neighbour=None):
    """Posterior of a theory at given hyperparameters, and its log evidence.

    `neighbour` is the posterior of the same theory at another scaling, whose
    eigendecomposition serves again for kernels that only change their size.
    """
    if name in GAUSSIAN or (name == "sampled" and isinf(width)):
        if isinstance(data, InducingData):
            return InducingPosterior.fit(data, point)
        return GaussianPosterior.fit(data, point)
    if name == "sampled":
        return SampledPosterior.fit(data, point, width)
    relative = None
    if neighbour is not None and _keeps_its_shape(point.network):
        old, new = neighbour.point.network, point.network
        relative = neighbour, new.weight_variance / old.weight_variance
    return RescaledPosterior.fit(data, point, RESCALING[name], width, relative)


def _keeps_its_shape(network):
    """Whether the weight variance only multiplies the kernel."""
    homogeneous = isinstance(network.activation, PiecewiseLinear)
    only_weights = network.bias_variance == 0 and network.weight_variance > 0
    return homogeneous and only_weights and network.depth == 1
