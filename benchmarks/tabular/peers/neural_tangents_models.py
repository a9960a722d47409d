"""neural-tangents: an infinitely wide ReLU network of three layers, noise tuned."""

import numpy as np

NOISES = 10.0 ** np.arange(-5, 1.1, 0.5)
BLOCK = 200


def nngp(X, y, seed):
    return _fit(X, y, "nngp")


def ntk(X, y, seed):
    return _fit(X, y, "ntk")


def _fit(X, y, kind):
    """The noise of largest evidence, with its best variance, of 13 on a grid."""
    from scipy.linalg import cho_solve

    kernel = _kernel(kind)
    gram = np.array(kernel(X, X))
    size = np.trace(gram) / len(y)
    fits = [_solve(gram / size, y, noise) for noise in NOISES]
    _, noise, factor, dual, variance = max(fits, key=lambda fit: fit[0])

    def predict(rows):
        cross = np.array(kernel(rows, X)) / size
        explained = np.sum(cross * cho_solve(factor, cross.T).T, axis=1)
        prior = _diagonal(kernel, rows) / size
        spread = variance * (prior + noise - explained)
        return cross @ dual, np.sqrt(np.maximum(spread, 1e-10))

    return predict


def _kernel(kind):
    import jax
    from neural_tangents import stax

    jax.config.update("jax_enable_x64", True)
    layers = [stax.Dense(1, W_std=1.5, b_std=0.5)]
    for _ in range(3):
        layers += [stax.Relu(), stax.Dense(1, W_std=1.5, b_std=0.5)]
    *_, function = stax.serial(*layers)
    return jax.jit(lambda a, b: function(a, b, kind))


def _solve(gram, y, noise):
    from scipy.linalg import cho_factor, cho_solve

    factor = cho_factor(gram + noise * np.eye(len(y)), lower=True)
    dual = cho_solve(factor, y)
    variance = max(y @ dual / len(y), 1e-9)
    log_determinant = 2 * np.sum(np.log(np.diag(factor[0])))
    evidence = -0.5 * len(y) * np.log(variance) - 0.5 * log_determinant
    return evidence, noise, factor, dual, variance


def _diagonal(kernel, rows):
    blocks = np.array_split(rows, max(len(rows) // BLOCK, 1))
    return np.concatenate([np.diag(kernel(block, block)) for block in blocks])
