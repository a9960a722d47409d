"""Scores of fitted models on rows held out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arrays import Array, to_numpy
from ..inference import subsampling
from ..inference.subsampling import random_order
from ..metrics._predictions import log_densities


@dataclass(frozen=True)
class HeldOutScore:
    """The score by which a search compares its candidates.

    log_density : callable, (model, X, y) -> log densities (n,) of y
    scorer : callable, (model, X, y, sample_weight=None) -> float, or None for the mean
        log density
    """

    log_density: Callable[[Any, Array, Array], np.ndarray]
    scorer: Callable[..., float] | None = None

    def __call__(self, model, X, y, sample_weight):
        """The score, and the log densities (n,) if the score is their mean, or None."""
        if self.scorer is None:
            weight = None if sample_weight is None else to_numpy(sample_weight)
            densities = self.log_density(model, X, y)
            return float(np.average(densities, weights=weight)), densities
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(self.scorer(model, X, y, **weight)), None


def left_out_densities(models):
    """Log densities (n, models) of left-out rows of the whole table, and their weights.

    models : list of regressors that predict from neighbours, fitted to the same rows
    """
    data = models[0]._training.data.rows
    n = data.X.shape[0]
    # The end of the order from the start of which fits take rows to learn from.
    rows = random_order(n, n)[-subsampling.MIXTURE_ROWS :]
    held_out, columns = data.at(rows), []
    for model in models:
        mean, variance = model._posterior.left_out(rows)
        std = to_numpy(variance + model._posterior.observation_noise()) ** 0.5
        columns.append(log_densities(to_numpy(held_out.Y), to_numpy(mean), std))
    counts = len(rows) * to_numpy(held_out.shares())
    return np.stack(columns, axis=1), counts


def gaussian_log_density(model, X, y):
    """Log density of every row under a regressor's predictions: ndarray (n,)."""
    mean, std = (to_numpy(a) for a in model.predict(X, return_std=True))
    return log_densities(to_numpy(y), mean, std)
