"""Cross-validation of every model on the same folds."""

import time
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score, root_mean_squared_error
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline, make_pipeline

from ..metrics import predictive_log_density
from ._input_table import encoder
from ._messages import InputError, reason

COVERAGE = 0.9


@dataclass(frozen=True)
class Evaluation:
    """Scores of all models and one fitted pipeline to draw.

    `scores` has one row for each model and fold. `pipeline` is the last model
    fitted on the first fold, and `held_out` the row numbers it did not see.
    """

    scores: pd.DataFrame
    notes: list[str]
    pipeline: Pipeline
    held_out: np.ndarray


def evaluate(problem, models, n_folds, on_step):
    """Fit each model on each fold; call `on_step(name, fold)` before each fit."""
    folds = list(
        KFold(n_folds, shuffle=True, random_state=0).split(problem.X, problem.y)
    )
    rows, notes = [], []
    for model in models:
        events = []
        for number, (train, test) in enumerate(folds):
            on_step(model.name, number)
            try:
                fitted, row, remarks = fit_and_score(model, problem, train, test)
            except (ValueError, MemoryError) as error:
                raise InputError(
                    f"{model.name} cannot learn from this table ({reason(error)})"
                ) from error
            rows.append({"model": model.name, "fold": number, **row})
            events.append(remarks)
            if number == 0:
                pipeline = fitted
        notes += describe(model.name, events)
    return Evaluation(pd.DataFrame(rows), notes, pipeline, folds[0][1])


def fit_and_score(model, problem, train, test):
    """Return the fitted pipeline, its scores and what was remarkable."""
    pipeline = make_pipeline(encoder(problem.X), clone(model.estimator))
    X, y = problem.X, problem.y
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        pipeline.fit(X.iloc[train], y[train])
        fitted = time.perf_counter()
        std = None
        if model.has_std:
            mean, std = pipeline.predict(X.iloc[test], return_std=True)
        else:
            mean = pipeline.predict(X.iloc[test])
        end = time.perf_counter()
    row = score(y[test], mean, std)
    row |= {"fit_seconds": fitted - start, "predict_seconds": end - fitted}
    return pipeline, row, remarkable(pipeline[-1], caught)


def score(y, mean, std=None):
    """Return RMSE, R2 and, given a standard deviation, log loss and coverage."""
    row = {
        "rmse": root_mean_squared_error(y, mean),
        "r2": r2_score(y, mean),
        "log_loss": np.nan,
        "coverage": np.nan,
    }
    if std is not None:
        inside = np.abs(y - mean) <= norm.ppf((1 + COVERAGE) / 2) * std
        row["log_loss"] = -predictive_log_density(y, mean, std)
        row["coverage"] = inside.mean()
    return row


def remarkable(estimator, caught):
    """Return the events of one fit that a reader of the table should know."""
    events = set()
    if getattr(getattr(estimator, "optimizer", None), "stopped", False):
        events.add("stopped at the time limit")
    if hasattr(estimator, "best_params_"):
        events.add(choice(**estimator.best_params_))
    for warning in caught:
        # An irrelevant feature takes its length scale to the bound: no failure.
        at_bound = "close to the specified" in str(warning.message)
        if issubclass(warning.category, ConvergenceWarning) and not at_bound:
            events.add("did not converge")
    return events


def choice(kernel, covariance_type, width, scaling):
    """Return what a search has chosen, in words."""
    name = getattr(kernel, "activation", kernel)
    return f"chose {name}, {covariance_type}, width {width:g}, scaling {scaling:g}"


def describe(name, events):
    """Return a line about the events over the folds, or no line."""
    kinds = sorted(set().union(*events))
    counts = [sum(kind in fold for fold in events) for kind in kinds]
    parts = [
        f"{kind} in {count} of {len(events)} fits"
        for kind, count in zip(kinds, counts, strict=True)
    ]
    return [f"{name} {'; '.join(parts)}"] if parts else []
