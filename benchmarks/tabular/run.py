"""Run what has no result yet: all models of a fold of a table, one after another."""

import json
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dev import ROOT

from .environments import VARIABLES, interpreters, load, machine, without_places
from .models import MODELS
from .protocol import load_fold
from .results import Results, key
from .whole_tables import ALL
from .worker import NOT_INSTALLED

WALL_FACTOR = 5  # a worker may wait for the processor so many times its own limit
STARTUP = 60.0  # seconds to import


@dataclass(frozen=True)
class Plan:
    """What to run.

    datasets, models, groups : names
    folds : numbers
    limit : CPU seconds for fit and prediction
    """

    datasets: list
    models: list
    folds: list
    groups: list
    limit: float

    def fits(self, fold, dataset):
        """Models and numbers of training rows; the groups may ask for the same one."""
        fits = [
            (name, MODELS[name].rows(group, len(fold.y)))
            for name in self.models
            for group in self.groups
            if MODELS[name].task == fold.task
            and group in MODELS[name].groups
            and (group == "whole") == ALL[dataset].whole
        ]
        return list(dict.fromkeys(fits))


def run(plan, results=Results()):  # noqa: B008, frozen
    """Carry out the plan; every result is written at once, so it may be stopped."""
    pythons = interpreters({MODELS[name].environment for name in plan.models})
    finished = results.finished()
    for number in plan.folds:
        for dataset in plan.datasets:
            fold = load_fold(dataset, number)
            for name, n_rows in plan.fits(fold, dataset) if fold else ():
                row = describe(dataset, name, fold, n_rows)
                if key(row) in finished:
                    continue
                python = pythons[MODELS[name].environment]
                row |= attempt(python, name, fold.first(n_rows), plan.limit)
                results.add(row)
                print(progress(row), flush=True)


def describe(dataset, name, fold, n_rows):
    """The part of a result that is known before the fit."""
    return {
        "task": ALL[dataset].task,
        "dataset": dataset,
        "model": name,
        "fold": fold.number,
        "rows": n_rows,
        "train_rows": len(fold.y),
        "test_rows": len(fold.y_test),
        "features": fold.X.shape[1],
        "machine": machine(),
        "load": load(),
    }


def attempt(python, name, fold, limit):
    """Fit in a new process: status, and scores and timings or what went wrong."""
    if python.problem:
        return {"status": "not installed", "error": python.problem}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        job = {"model": name, "seed": fold.number, "limit": limit}
        (folder / "job.json").write_text(json.dumps(job))
        parts = {"X": fold.X, "y": fold.y, "X_test": fold.X_test, "y_test": fold.y_test}
        np.savez(folder / "arrays.npz", **parts)
        wall_limit = STARTUP + WALL_FACTOR * limit
        try:
            worker = start(python, folder, wall_limit)
        except subprocess.TimeoutExpired:
            return {"status": "timeout", "error": f"more than {wall_limit:g} seconds"}
        if worker.returncode == -getattr(signal, "SIGXCPU", NOT_INSTALLED):
            return {"status": "timeout", "error": f"more than {limit:g} CPU seconds"}
        if worker.returncode:
            return failure(worker)
        return {"status": "ok"} | json.loads((folder / "result.json").read_text())


def start(python, folder, wall_limit):
    """Run the worker to its end."""
    return subprocess.run(
        [python.path, "-m", "benchmarks.tabular.worker", str(folder)],
        cwd=ROOT,
        env={**os.environ, **VARIABLES},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        timeout=wall_limit,
    )


def failure(worker):
    """The result of a worker that failed or could not import its model."""
    lines = worker.stderr.strip().splitlines() or ["no message"]
    message = without_places(lines[-1])[:160]
    if worker.returncode == NOT_INSTALLED:
        return {"status": "not installed", "error": message}
    if worker.returncode < 0:
        message = f"ended by signal {-worker.returncode}"
    return {"status": "error", "error": message}


def progress(row):
    """A line about a result."""
    place = f"{row['dataset']} {row['fold']} {row['model']} {row['rows']} rows"
    if row["status"] != "ok":
        return f"{place}: {row['status']}, {row['error']}"
    scores = (f"{name} {row[name]:.4g}" for name in ("rmse", "log_loss") if name in row)
    return f"{place}: {', '.join(scores)}, {row['fit_cpu_s']:.1f} CPU s"
