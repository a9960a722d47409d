"""xRFM, as its documentation says: a fifth of the training rows to validate with."""

from functools import partial
from itertools import product

import numpy as np

DEFAULT = [(10.0, 1e-3)]
GRID = list(product((3.0, 10.0, 30.0), (1e-4, 1e-2, 1e-1)))  # bandwidths x ridges


def regressor(X, y, seed, candidates=DEFAULT):
    """The candidate of least squared error on the validation rows."""
    import torch

    targets = torch.as_tensor(y.astype(np.float32))
    build = partial(_machine, tuning_metric="mse", seed=seed)

    def predict(model, rows):
        return np.ravel(model.predict(_tensor(rows)))

    def loss(model, rows):
        return np.mean((predict(model, X[rows]) - y[rows]) ** 2)

    best = _best(build, candidates, loss, X, targets, seed)
    return lambda rows: (predict(best, rows),)


def classifier(X, y, seed, candidates=DEFAULT):
    """The candidate of least Brier score on the validation rows."""
    import torch

    targets = torch.as_tensor(y.astype(np.int64))
    build = partial(_machine, tuning_metric="brier", seed=seed)

    def predict(model, rows):
        return np.asarray(model.predict_proba(_tensor(rows)))

    def loss(model, rows):
        probabilities = predict(model, X[rows])
        truth = np.eye(probabilities.shape[1])[y[rows]]
        return np.mean(np.sum((probabilities - truth) ** 2, axis=1))

    best = _best(build, candidates, loss, X, targets, seed)
    return lambda rows: predict(best, rows)


def _best(build, candidates, loss, X, targets, seed):
    order = np.random.RandomState(seed).permutation(len(X))
    n_validation = max(len(X) // 5, 1)
    held_out, kept = order[:n_validation], order[n_validation:]
    models = []
    for bandwidth, ridge in candidates:
        model = build(bandwidth, ridge)
        parts = _tensor(X[kept]), targets[kept], _tensor(X[held_out]), targets[held_out]
        model.fit(*parts)
        models.append((loss(model, held_out), model))
    return min(models, key=lambda pair: pair[0])[1]


def _machine(bandwidth, ridge, tuning_metric, seed):
    import torch
    from xrfm import xRFM

    model = {
        "kernel": "l2",
        "bandwidth": bandwidth,
        "exponent": 1.0,
        "diag": False,
        "bandwidth_mode": "constant",
    }
    fit = {
        "reg": ridge,
        "iters": 5,
        "verbose": False,
        "early_stop_rfm": True,
        "return_best_params": True,
        "get_agop_best_model": True,
    }
    return xRFM(
        rfm_params={"model": model, "fit": fit},
        device=torch.device("cpu"),
        tuning_metric=tuning_metric,
        random_state=seed,
        verbose=False,
    )


def _tensor(rows):
    import torch

    return torch.as_tensor(rows.astype(np.float32))
