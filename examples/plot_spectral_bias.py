"""
Spectral bias, and descent without it
=====================================

Wide networks under gradient descent learn low frequencies first. How long a frequency
takes can be read off the eigenvalues of the neural tangent kernel: for ReLU it grows as
a power of the frequency. Modifying the top of that spectrum, by a preconditioner from
`arXiv:2307.14531 <https://arxiv.org/abs/2307.14531>`_, makes all of these frequencies
equally fast, and leaves the solution as it is.
"""

# %%
# Iterations per frequency
# ------------------------
# Inputs are points on a circle, targets are cosines. The kernel matrix foretells the
# iterations of plain gradient descent until 1 % of a cosine is left; preconditioned
# descent, here in the top 40 directions, is run.

import matplotlib.pyplot as plt
import numpy as np

from adaptive_kernels import ModifiedSpectrumRegressor
from adaptive_kernels.kernels import NTK
from adaptive_kernels.theory import (
    Preconditioner,
    iterations_needed,
    kernel_gradient_descent,
    preconditioned_step,
)


def circle(angle):
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


kernel = NTK("relu", weight_variance=2.0)
angle = 2 * np.pi * np.arange(400) / 400
K = kernel(circle(angle))
S = Preconditioner.of_kernel(K, 40)
frequencies = np.arange(1, 31)
cosines = np.cos(frequencies[:, None] * angle)

eigenvalues = np.sum(cosines * (cosines @ K), axis=1) / np.sum(cosines**2, axis=1)
step_size = Preconditioner.of_kernel(K, 1).step_size
plain = iterations_needed(eigenvalues, 0.01, step_size=step_size)
preconditioned = [
    kernel_gradient_descent(K, y, preconditioner=S, tol=0.01).n_iter for y in cosines
]

_, ax = plt.subplots(layout="constrained")
ax.loglog(frequencies, plain, "o-", label="gradient descent")
ax.loglog(frequencies, preconditioned, "s-", label="preconditioned, top 40")
ax.axvline(20, color="0.7", linestyle=":", label="frequency of the 40th direction")
ax.set(xlabel="frequency", ylabel="iterations until 1 % is left")
ax.legend()
plt.show()

# %%
# A function with high frequencies
# --------------------------------
# The same in a regressor: after 30 iterations plain descent has drawn the slow part
# only. With `tol=0` the regressor stops after `max_iter` iterations on purpose.

rows = circle(angle[::4])
y = np.cos(angle) + np.cos(6 * angle) / 2 + np.cos(15 * angle) / 3

_, ax = plt.subplots(layout="constrained")
ax.plot(angle, y, color="0.7", linewidth=4, label="target")
for spectrum, label in (("identity", "gradient descent"), ("flat", "preconditioned")):
    model = ModifiedSpectrumRegressor(
        kernel, alpha=0, spectrum=spectrum, n_components=40, max_iter=30, tol=0
    ).fit(rows, y[::4])
    left = f"{label}, {model.residual_curve_[-1]:.0%} left"
    ax.plot(angle, model.predict(circle(angle)), label=left)
ax.set(xlabel="angle", ylabel="y", title="After 30 iterations", ylim=(-1.8, 2.8))
ax.legend()
plt.show()

# %%
# A network of one's own
# ----------------------
# The preconditioner turns residuals into increments of the weights of any network. This
# one has 4000 ReLU units and is written in NumPy. Its directions come from the kernel
# of the infinitely wide network, so that they cost nothing but 40 x 40 matrices. Large
# steps need a wide network: in a narrow one the kernel changes on the way.


class Network:
    """One hidden layer in the scaling of the kernel; outputs count from its start."""

    def __init__(self, X, width, seed):
        rng = np.random.default_rng(seed)
        bias = np.full((len(X), 1), kernel.bias_variance**0.5)
        scale = (kernel.weight_variance / X.shape[1]) ** 0.5
        self.inputs = np.hstack([bias, scale * X])
        self.hidden = rng.standard_normal((width, self.inputs.shape[1]))
        self.readout = rng.standard_normal(width)
        self.start = self.outputs()

    def outputs(self):
        units = np.maximum(self.inputs @ self.hidden.T, 0)
        return units @ self.readout / len(self.readout) ** 0.5

    def jacobian(self):
        z = self.inputs @ self.hidden.T
        slopes = (z > 0) * self.readout
        hidden = slopes[:, :, None] * self.inputs[:, None, :]
        parts = np.maximum(z, 0), hidden.reshape(len(z), -1)
        return np.hstack(parts) / len(self.readout) ** 0.5

    def train(self, y, preconditioner, n_iter):
        """Share of y that is left after every iteration, until 5 %."""
        curve, width = [1.0], len(self.readout)
        while curve[-1] > 0.05 and len(curve) <= n_iter:
            residual = y - (self.outputs() - self.start)
            step = preconditioned_step(self.jacobian(), residual, preconditioner)
            self.readout = self.readout + step[:width]
            self.hidden = self.hidden + step[width:].reshape(self.hidden.shape)
            residual = y - (self.outputs() - self.start)
            curve.append(np.linalg.norm(residual) / np.linalg.norm(y))
        return curve


angle = 2 * np.pi * np.arange(40) / 40
X = circle(angle)
K = kernel(X)
ways = {
    "gradient descent": Preconditioner.of_kernel(K, 1, spectrum="identity"),
    "preconditioned": Preconditioner.of_kernel(K, 30),
}
figure, ax = plt.subplots(layout="constrained")
for frequency, color in ((1, "C0"), (3, "C1"), (5, "C2")):
    y = np.cos(frequency * angle)
    for (label, preconditioner), style in zip(ways.items(), ("-", "s--"), strict=True):
        curve = Network(X, 4000, seed=0).train(y, preconditioner, 1500)
        name = f"frequency {frequency}, {label}: {len(curve) - 1}"
        ax.plot(np.arange(1, len(curve)), curve[1:], style, color=color, label=name)
ax.set(
    xscale="log",
    xlabel="iteration",
    ylabel="share of the target left",
    title="A ReLU network of width 4000: iterations until 5 % is left",
)
figure.legend(loc="outside lower center", ncols=2, fontsize="small")

# %%
# The same in PyTorch
# -------------------
# A framework that differentiates needs no Jacobian: the preconditioned residual, times
# the step size, is the cotangent of the outputs. This part is skipped without PyTorch.

try:
    import torch
except ImportError:
    torch = None


def torch_iterations(y, preconditioner, width=4000):
    """Iterations until 5 % of y is left."""
    torch.manual_seed(0)
    inputs = torch.from_numpy(Network(X, 1, seed=0).inputs)
    hidden = torch.randn(width, inputs.shape[1], dtype=inputs.dtype, requires_grad=True)
    readout = torch.randn(width, dtype=inputs.dtype, requires_grad=True)
    start, n_iter = 0.0, 0
    while True:
        outputs = torch.relu(inputs @ hidden.T) @ readout / width**0.5
        start = outputs.detach() if n_iter == 0 else start
        residual = y - (outputs.detach() - start).numpy()
        if np.linalg.norm(residual) <= 0.05 * np.linalg.norm(y):
            return n_iter
        cotangent = preconditioner.step_size * preconditioner.apply(residual)
        increments = torch.autograd.grad(
            outputs, (hidden, readout), torch.from_numpy(cotangent)
        )
        with torch.no_grad():
            hidden += increments[0]
            readout += increments[1]
        n_iter += 1


if torch is not None:
    for label, preconditioner in ways.items():
        n_iter = torch_iterations(np.cos(3 * angle), preconditioner)
        print(f"PyTorch, frequency 3, {label}: {n_iter} iterations")

plt.show()
