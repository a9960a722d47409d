"""Ranks and means over tables of one task and one group of models."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .models import GROUPS, MODELS
from .results import SCORES, TIMINGS
from .whole_tables import ALL

BASELINE = {"regression": "gpr_ard", "classification": "gpc_rbf"}
# Processes of all pairs of rows cannot take part here.
WHOLE_BASELINE = {"regression": "catboost", "classification": "catboost_clf"}
DECISIVE = {"regression": "rmse", "classification": "log_loss"}
MADE_UP = {"four_of_32"}
WORDS = {"timeout": "time", "error": "failed", "not installed": "absent"}


@dataclass(frozen=True)
class Comparison:
    """Models on tables.

    results : results by table and model: a row of numbers averaged over folds, or the
        status of the fold that has none
    """

    task: str
    name: str
    results: dict

    @property
    def baseline(self):
        """The model that errors are relative to."""
        return (WHOLE_BASELINE if self.name == "whole" else BASELINE)[self.task]

    @property
    def score(self):
        """The score that decides: lower is better."""
        return DECISIVE[self.task]

    @cached_property
    def tables(self):
        """Tables with a result, in the order of the registry."""
        return [name for name in ALL if any(name == t for t, _ in self.results)]

    @property
    def datasets(self):
        """The real ones of the tables."""
        return [name for name in self.tables if name not in MADE_UP]

    @cached_property
    def models(self):
        """Models with a result, in the order of the registry."""
        return [name for name in MODELS if any(name == m for _, m in self.results)]

    def value(self, table, model, score):
        """A number, None where there is none."""
        result = self.results.get((table, model))
        return result.get(score) if isinstance(result, dict) else None

    def cell(self, table, model, *scores, digits=3):
        """Scores as text, or a word for what happened."""
        result = self.results.get((table, model))
        if isinstance(result, str):
            return WORDS[result]
        values = [self.value(table, model, score) for score in scores]
        if any(value is None for value in values):
            return "-"
        return " / ".join(f"{value:.{digits}f}" for value in values)

    def size(self, table):
        """Most training rows of a model, and columns."""
        rows = [
            result
            for (name, _), result in self.results.items()
            if name == table and isinstance(result, dict)
        ]
        if not rows:
            return "-"
        most = max(result["rows"] for result in rows)
        return f"{most:.0f} x {rows[0]['features']:.0f}"

    def best_peer(self, table):
        """The peer of lowest error on a table, None where none has a result."""
        peers = [
            name
            for name in self.models
            if not MODELS[name].ours and self.value(table, name, self.score) is not None
        ]
        return min(peers, key=lambda p: self.value(table, p, self.score), default=None)

    @cached_property
    def mean_ranks(self):
        """Mean rank of each model over the real tables that it was tried on."""
        ranks = {name: [] for name in self.models}
        for table in self.datasets:
            tried = [
                name
                for name in self.models
                if self.results.get((table, name), "not installed") != "not installed"
            ]
            errors = [self.value(table, name, self.score) for name in tried]
            errors = np.array([np.inf if e is None else e for e in errors], float)
            for name, error in zip(tried, errors, strict=True):
                ahead, level = np.sum(errors < error), np.sum(errors == error)
                ranks[name].append(ahead + (level + 1) / 2)
        return {n: float(np.mean(r)) if r else None for n, r in ranks.items()}

    def by_rank(self):
        """Models from best to worst; without a rank last."""
        ranks = self.mean_ranks
        return sorted(
            self.models, key=lambda m: np.inf if ranks[m] is None else ranks[m]
        )

    def finished(self, model):
        """Real tables with a result of a model."""
        return len(self._values(model, self.score))

    def mean(self, model, score):
        """Mean over the real tables, None where there is none."""
        values = list(self._values(model, score).values())
        return float(np.mean(values)) if values else None

    def geometric_mean(self, model, score):
        """Geometric mean over the real tables; times are at least a millisecond."""
        values = list(self._values(model, score).values())
        return (
            float(np.exp(np.mean(np.log(np.maximum(values, 1e-3))))) if values else None
        )

    def ratios(self, model):
        """Error relative to the baseline, by table that both have finished."""
        base = self._values(self.baseline, self.score)
        own = self._values(model, self.score)
        return {table: own[table] / base[table] for table in own if table in base}

    def relative(self, model):
        """Geometric mean of the ratios."""
        ratios = list(self.ratios(model).values())
        return float(np.exp(np.mean(np.log(ratios)))) if ratios else None

    def _values(self, model, score):
        values = {table: self.value(table, model, score) for table in self.datasets}
        return {table: value for table, value in values.items() if value is not None}


def comparisons(rows):
    """The comparisons that have results: each task, each group."""
    found = []
    for task in ("regression", "classification"):
        for group in GROUPS:
            results = _by_table_and_model(
                row for row in rows if row["task"] == task and _belongs(row, group)
            )
            if results:
                found.append(Comparison(task, group, results))
    return found


def _belongs(row, group):
    model = MODELS[row["model"]]
    n_rows = model.rows(group, int(row["train_rows"]))
    suits = (group == "whole") == ALL[row["dataset"]].whole
    return suits and group in model.groups and n_rows == int(row["rows"])


def _by_table_and_model(rows):
    folds = {}
    for row in rows:
        folds.setdefault((row["dataset"], row["model"]), []).append(row)
    return {place: _average(results) for place, results in folds.items()}


def _average(results):
    """Numbers averaged over folds; the status of one of them if any has none."""
    failed = [row["status"] for row in results if row["status"] != "ok"]
    if failed:
        return failed[0]
    names = (*SCORES, *TIMINGS, "rows", "features")
    return {
        name: float(np.mean([float(row[name]) for row in results]))
        for name in names
        if all(row[name] for row in results)
    }
