"""The posterior over the weights of a Bayesian network of finite width.

With features F of the rows of X and all weights standard normal a priori,

    h_1 = F w_1,    h_{l+1} = sqrt(bias_variance) b_{l+1}
                              + sqrt(weight_variance / N) phi(h_l) w_{l+1},
    f = sqrt(readout_variance / N) phi(h_depth) a,    y = f + N(0, alpha).

All chains are computed together: weights of a layer are arrays (chains, inputs, units).
"""

from dataclasses import dataclass
from functools import cached_property
from math import prod, sqrt

import numpy as np

from ..kernels._recursion import Network


@dataclass(frozen=True)
class State:
    """State of all chains.

    position : ndarray (chains, weights)
    energy : ndarray (chains,), -log p(weights, Y) up to a constant
    gradient : ndarray (chains, weights), of the energy by the position
    outputs : ndarray (chains, n, C), of the network at the training rows
    """

    position: np.ndarray
    energy: np.ndarray
    gradient: np.ndarray
    outputs: np.ndarray

    def where(self, accept, other):
        """The chains of this state where `accept` is true, of `other` elsewhere."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return State(*(_choose(accept, new, old) for new, old in pairs))


def _choose(accept, new, old):
    return np.where(accept.reshape(-1, *[1] * (new.ndim - 1)), new, old)


@dataclass(frozen=True)
class Posterior:
    """Posterior of the whitened weights of a network, chains along the first axis.

    F : array (n, p), inputs of the first layer
    Y : array (n, C), or (chains, n, C)
    """

    network: Network
    width: int
    alpha: float
    F: np.ndarray
    Y: np.ndarray

    @cached_property
    def shapes(self):
        inputs = [self.F.shape[1]] + [self.bias + self.width] * (self.network.depth - 1)
        layers = [(p, self.width) for p in inputs]
        return [*layers, (self.width, self.Y.shape[-1])]

    @property
    def n_weights(self):
        return sum(prod(shape) for shape in self.shapes)

    @property
    def bias(self):
        """Rows of a hidden layer's weights that are biases: 0 or 1."""
        return int(self.network.bias_variance > 0)

    @property
    def gain(self):
        return sqrt(self.network.weight_variance / self.width)

    @property
    def readout_gain(self):
        return sqrt(self.network.readout_variance / self.width)

    def prior_draws(self, n_chains, rng):
        return rng.standard_normal((n_chains, self.n_weights))

    def split(self, position):
        """Weights of each layer as views (chains, inputs, units)."""
        ends = np.cumsum([prod(shape) for shape in self.shapes])
        parts = np.split(position, ends[:-1], axis=1)
        return [
            part.reshape(-1, *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]

    def preactivations(self, units, weights, layer):
        """Pre-activations of a layer, from the units of the layer below, or from F."""
        if layer == 0:
            return units @ weights[0]
        H = units @ weights[layer][:, self.bias :]
        H *= self.gain
        if self.bias:
            H += sqrt(self.network.bias_variance) * weights[layer][:, :1]
        return H

    def outputs(self, F, weights):
        """Network values (chains, rows of F, C)."""
        units = F
        for layer in range(self.network.depth):
            units = self.network.activation(self.preactivations(units, weights, layer))
        return self.readout_gain * (units @ weights[-1])

    def state(self, position):
        """The State at a position, with its energy and gradient."""
        weights, gradient = self.split(position), position.copy()
        slopes, fields, units = self.split(gradient), [], [self.F]
        for layer in range(self.network.depth):
            fields.append(self.preactivations(units[-1], weights, layer))
            units.append(self.network.activation(fields[-1]))
        outputs = self.readout_gain * (units[-1] @ weights[-1])
        residual = outputs - self.Y
        energy = np.sum(residual**2, axis=(1, 2)) / (2 * self.alpha)
        energy += np.sum(position**2, axis=1) / 2
        residual *= self.readout_gain / self.alpha
        slopes[-1] += units[-1].mT @ residual
        signal = residual @ weights[-1].mT
        for layer in reversed(range(self.network.depth)):
            # An inexact derivative lowers the acceptance rate, but draws stay exact:
            # leapfrog steps along any field are reversible and keep volume.
            signal *= self.network.activation.derivative(fields[layer])
            signal = self._backward(signal, units[layer], weights, slopes, layer)
        return State(position, energy, gradient, outputs)

    def _backward(self, signal, units, weights, slopes, layer):
        """Add to the gradient of a layer; return the signal for the units below it."""
        if layer == 0:
            slopes[0] += units.T @ signal
            return None
        if self.bias:
            bias = np.sum(signal, axis=1, keepdims=True)
            slopes[layer][:, :1] += sqrt(self.network.bias_variance) * bias
        signal *= self.gain
        slopes[layer][:, self.bias :] += units.mT @ signal
        return signal @ weights[layer][:, self.bias :].mT
