"""Ridge regression after one gradient step, simulated without our features."""

from math import pi, sqrt

import numpy as np
import pytest

from adaptive_kernels.theory.one_step.ridge_asymptotics import ridge_asymptotics


def shifted_tanh(z):
    return np.tanh(z + 0.8)


def relu(z):
    return np.maximum(z, 0.0)


def errors(**arguments):
    found = ridge_asymptotics(**arguments)
    return np.array([found.train_objective, found.train_error, found.test_error])


def simulated_errors(rng, task, n_test=2000, free=0):
    """Objective, train and test error of one draw, for each choice of intercept.

    The rank-one step with its gain; or, with `free`, untrained features and that many
    powers of the step's direction as columns that cost next to nothing.
    """
    n, d, width = (task[k] for k in ("n_samples", "n_features", "n_components"))
    n0, phi, alpha = task["n_step_samples"], task["activation"], task["alpha"]
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    c0, c1 = (weights @ (phi(nodes) * h) / sqrt(2 * pi) for h in (1, nodes))

    def draw(rows):
        X = rng.standard_normal((rows, d))
        clean = np.polynomial.hermite_e.hermeval(X[:, 0], task["target"])
        return X, clean + sqrt(task["noise"]) * rng.standard_normal(rows)

    W = rng.standard_normal((width, d))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    X0, y0 = draw(n0)
    beta = X0.T @ y0 / n0
    direction = beta / np.linalg.norm(beta)
    shift = np.sign(c1) * rng.standard_normal(width)
    W += np.outer((0 if free else task["gain"]) * shift, direction)

    def features(X):
        F = (phi(X @ W.T) - c0) / sqrt(width)
        powers = [1e4 * (X @ direction) ** k for k in range(1, free + 1)]
        return np.column_stack([F, *powers])

    (X, y), (X_test, y_test) = draw(n), draw(n_test)
    F, F_test = features(X), features(X_test)
    for intercept in (True, False):
        f, t = (F.mean(axis=0), y.mean()) if intercept else (0.0, 0.0)
        centred = F - f
        gram = centred.T @ centred + alpha * np.eye(F.shape[1])
        a = np.linalg.solve(gram, centred.T @ (y - t))
        train = np.mean((y - t - centred @ a) ** 2)
        test = np.mean((y_test - t - (F_test - f) @ a) ** 2)
        yield train + alpha * a @ a / n, train, test


SIMULATED = [
    {
        "target": [0, 1.0, 0.6, 0.2],
        "noise": 0.2,
        "activation": shifted_tanh,
        "alpha": 0.05,
        "gain": 0.4,
        "n_step_samples": 900,
        **{"n_samples": 500, "n_features": 600, "n_components": 400},
    },
    {
        "target": [0, 1.0, -0.5],
        "noise": 0.1,
        "activation": relu,
        "alpha": 0.1,
        "gain": 0.25,
        "n_step_samples": 1000,
        **{"n_samples": 800, "n_features": 400, "n_components": 1200},
    },
]


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 2])
@pytest.mark.parametrize("task", SIMULATED)
def test_simulated_errors(task, free):
    size = {"gain": None, "n_spikes": 2} if free else {}
    tasks = (task, free, size), (task | {"gain": 0.0}, 0, {})
    draws, theory = [], []
    for each, columns, limit in tasks:
        rngs = map(np.random.default_rng, range(12))
        draws.append([list(simulated_errors(rng, each, free=columns)) for rng in rngs])
        theory.append([errors(**each | limit, fit_intercept=f) for f in (True, False)])
    draws, (trained, untrained) = np.array(draws), np.array(theory)
    # On the same draw most of the scatter of the labels cancels in the ratio.
    for ours, sampled in (
        (trained, draws[0]),
        (untrained, draws[1]),
        (trained / untrained, draws[0] / draws[1]),
    ):
        error = sampled.std(axis=0, ddof=1) / sqrt(12)
        # At finite gain the bulk changes too; otherwise only finite sizes tell.
        slack = 0.02 if free else 0.04
        assert np.all(np.abs(sampled.mean(axis=0) - ours) < 3 * error + slack * ours)
