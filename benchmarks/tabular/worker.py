"""One fit in a process of its own: `python -m benchmarks.tabular.worker FOLDER`.

The folder holds `job.json` (model, seed, limit) and `arrays.npz`; scores and timings
go to `result.json` there. A model that cannot be imported ends it with NOT_INSTALLED.
The clock starts after the imports. NumPy and what the model needs are enough to run it.
"""

import importlib
import json
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

from .models import MODELS
from .scores import classification_scores, regression_scores

NOT_INSTALLED = 3


def main(folder):
    """Fit, predict, write what came out."""
    warnings.filterwarnings("ignore")
    job = json.loads((folder / "job.json").read_text())
    model = MODELS[job["model"]]
    with np.load(folder / "arrays.npz") as arrays:
        X, y, X_test, y_test = (arrays[name] for name in ("X", "y", "X_test", "y_test"))
    try:
        versions = import_packages(model.packages)
    except Exception as error:  # a broken installation raises anything
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    limit_processor_time(job["limit"])
    prediction, timings = measure(model.fit, X, y, X_test, job["seed"])
    result = timings | score(model.task, y_test, prediction) | {"versions": versions}
    (folder / "result.json").write_text(json.dumps(result))


def import_packages(packages):
    """Import the modules and return the versions of the distributions."""
    for modules in packages.values():
        for module in modules:
            importlib.import_module(module)
    return ", ".join(f"{name} {version(name)}" for name in packages)


def limit_processor_time(seconds):
    """Let the system end this process after so many more CPU seconds, where it can."""
    try:
        import resource
    except ImportError:  # Windows: only the limit of the clock on the wall, by `run`
        return
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    end = int(np.ceil(time.process_time() + seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (end, most))


def measure(fit, X, y, X_test, seed):
    """Predictions, and timings in seconds with the peak of memory in MB."""
    before = reset_peak_memory()
    wall, processor = time.perf_counter(), time.process_time()
    predict = fit(X, y, seed)
    fitted, spent = time.perf_counter(), time.process_time() - processor
    prediction = predict(X_test)
    timings = {
        "fit_cpu_s": spent,
        "fit_s": fitted - wall,
        "predict_s": time.perf_counter() - fitted,
    }
    if before is not None:
        timings["peak_mb"] = memory("VmHWM") - before
    return prediction, timings


def reset_peak_memory():
    """Resident MB now, None where the system has no /proc; peaks count from here."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return memory("VmRSS")
    except OSError:
        return None


def memory(key):
    """An entry of the process's status in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return float("nan")


def score(task, y_test, prediction):
    """Scores of a regressor's (mean, std) or a classifier's probabilities."""
    if not np.all(np.isfinite(np.asarray(prediction))):
        raise FloatingPointError("predictions that are not finite")
    if task == "regression":
        return regression_scores(y_test, *prediction)
    return classification_scores(y_test, np.asarray(prediction))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
