"""Theories against networks whose posterior was sampled, as a table.

python benchmarks/networks.py

Train and test discrepancy, mean of y (y - f), on the Ising task; linear networks by
Gibbs sweeps, erf and ReLU by Hamiltonian Monte Carlo. Each theory's error in per cent
of the sampled value, whose standard error stands beside it.
"""

import warnings

import numpy as np
from threadpoolctl import threadpool_limits

from adaptive_kernels import AdaptiveKernelRegressor
from adaptive_kernels.datasets import make_ising
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.metrics import discrepancy
from adaptive_kernels.sampling import sample_linear_network, sample_network

N_TEST = 200
NOISE = 0.1
# Activation, features, rows, width.
NETWORKS = [
    ("identity", 20, 15, 50),
    ("identity", 100, 80, 100),
    ("identity", 30, 60, 40),
    ("erf", 10, 20, 40),
    ("erf", 30, 40, 60),
    ("relu", 10, 20, 40),
    ("relu", 30, 40, 60),
]
THEORIES = {
    "identity": ("tree", "one_loop", "rescaling", "exact"),
    "erf": ("rescaling", "gaussian", "sampled"),
    "relu": ("rescaling", "gaussian", "sampled"),
}


def truth(kernel, X, y, X_test, y_test, noise, width):
    """Sampled train and test discrepancy, each with its standard error."""
    linear = kernel.activation == "identity"
    sample = sample_linear_network if linear else sample_network
    draws = sample(kernel, X, y, alpha=noise, width=width, X_test=X_test)

    def statistic(labels):
        return lambda f: np.mean(labels * (labels - f[..., 0]), axis=-1)

    return draws.estimate(statistic(y)), draws.estimate(statistic(y_test), rows="test")


def main():
    """Print one line for each network and scaling."""
    for activation, d, n, width in NETWORKS:
        X, y = make_ising(n + N_TEST, d, random_state=0)
        names = THEORIES[activation]
        print(f"\n{activation}, {n} x {d}, width {width}: error in % of train / test")
        print("| scaling | sampled | " + " | ".join(names) + " |")
        print("|---" * (len(names) + 2) + "|")
        for chi in (1.0, width**0.5, float(width)):
            kernel = NNGP(activation, bias_variance=0, readout_variance=1 / chi)
            pairs = (X[:n], y[:n]), (X[n:], y[n:])
            sampled = truth(kernel, *pairs[0], *pairs[1], NOISE / chi, width)
            cells = [f"{m:.4f} ± {e:.4f}" for m, e in sampled]
            row = [f"{chi:.3g}", " / ".join(cells)]
            for name in names:
                model = AdaptiveKernelRegressor(
                    kernel,
                    width=width,
                    approximation=name,
                    covariance_type="full",
                    alpha=NOISE / chi,
                    optimizer=None,
                    normalize_y=False,
                    max_iter=1000,
                ).fit(*pairs[0])
                found = [discrepancy(t, model.predict(inputs)) for inputs, t in pairs]
                errors = [
                    f"{100 * (f / m - 1):+.1f}"
                    for f, (m, _) in zip(found, sampled, strict=True)
                ]
                row.append(" / ".join(errors))
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        main()
