"""Interrupts, killed processes, little memory, read-only input and a full disk."""

import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from math import inf
from pathlib import Path

import numpy as np
import pytest

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    ModifiedSpectrumRegressor,
    NNGPClassifier,
    NNGPRegressor,
    NTKClassifier,
    NTKRegressor,
    OneStepSpikeFeatures,
)
from adaptive_kernels.kernels import NNGP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3))
Y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.1 * RNG.standard_normal(60)
CODES = np.digitize(Y, (-0.5, 0.5))
SHORT = {"widths": (1, inf), "max_iter": 10, "cv": 2}
REGRESSORS = {
    "NNGP": NNGPRegressor(),
    "diag": AdaptiveKernelRegressor(),
    "full": AdaptiveKernelRegressor(covariance_type="full", width=10),
    "rescaling": AdaptiveKernelRegressor(approximation="rescaling", width=10),
    "inducing": AdaptiveKernelRegressor(n_inducing=15),
    "neighbours": AdaptiveKernelRegressor(n_neighbors=15),
    "search": AdaptiveKernelRegressorCV(**SHORT),
    "NTK": NTKRegressor(),
    "spectrum": ModifiedSpectrumRegressor(n_components=10),
    "step": OneStepSpikeFeatures(400, gradient="exact", random_state=0),
}
CLASSIFIERS = {
    "NNGP classes": NNGPClassifier(),
    "diag classes": AdaptiveKernelClassifier(),
    "neighbours classes": AdaptiveKernelClassifier(n_neighbors=15),
    "search classes": AdaptiveKernelClassifierCV([NNGP("erf")], **SHORT),
    "NTK classes": NTKClassifier(),
}
MODELS = REGRESSORS | CLASSIFIERS
every = pytest.mark.parametrize("name", MODELS)
N_INSTANTS = 20
ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")
linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads the table of processes in /proc"
)


def targets(name):
    return CODES if "classes" in name else Y


def outputs(model, rows):
    """What a fitted model says of some rows."""
    if hasattr(model, "transform") and not hasattr(model, "predict"):
        return model.transform(rows)
    if hasattr(model, "predict_proba"):
        return model.predict_proba(rows)
    return model.predict(rows)


@contextmanager
def interrupted_after(seconds):
    """A KeyboardInterrupt in this block, as from the keyboard, unless it ends first."""

    def interrupt(*_):
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def seconds_of(fit):
    """How long it takes when everything has been imported."""
    fit()
    began = time.perf_counter()
    fit()
    return time.perf_counter() - began


@posix
@pytest.mark.slow
@every
def test_interrupt_at_any_instant_leaves_the_former_fit(name):
    model, y = MODELS[name], targets(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        duration = seconds_of(lambda: model.fit(X, y))
        complete = outputs(model, X[:5])
        interrupts = 0
        for share in np.random.default_rng(0).uniform(0.02, 0.9, N_INSTANTS):
            model.fit(X[:30, :2], y[:30])
            before, expected = dict(vars(model)), outputs(model, X[:5, :2])
            try:
                with interrupted_after(share * duration):
                    model.fit(X, y)
                continue  # it was faster this time
            except (KeyboardInterrupt, TypeError) as error:
                # NumPy turns an interrupt of this comparison into another error.
                if isinstance(error, TypeError) and "structured" not in str(error):
                    raise
                interrupts += 1
            if model.n_features_in_ == 3:  # only just too late
                np.testing.assert_array_equal(outputs(model, X[:5]), complete)
                continue
            assert vars(model).keys() == before.keys()
            assert all(vars(model)[key] is before[key] for key in before)
            np.testing.assert_array_equal(outputs(model, X[:5, :2]), expected)
    assert interrupts >= N_INSTANTS // 4


@pytest.mark.slow
@every
def test_read_only_arrays_and_files(name, tmp_path):
    model, y = MODELS[name], targets(name)
    weights = () if name in ("spectrum", "step") else (np.linspace(0.5, 2, 60),)
    read_only = []
    for i, values in enumerate((X, y, *weights)):
        path = tmp_path / f"{i}.npy"
        np.save(path, values)
        read_only.append(np.load(path, mmap_mode="r"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = outputs(model.fit(X, y, *weights), X)
        found = outputs(model.fit(*read_only), read_only[0])
        np.testing.assert_array_equal(found, expected)
        for values in read_only[1:]:
            assert not values.flags.writeable
        frozen = [np.array(values) for values in read_only]
        for values in frozen:
            values.flags.writeable = False
        np.testing.assert_array_equal(outputs(model.fit(*frozen), X), expected)


START = """
import os, resource, sys, threading, time, warnings
import numpy as np
from math import inf
from adaptive_kernels import *

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)

def rows(n, d):
    X = rng.standard_normal((n, d))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.standard_normal(n)
"""


def in_a_process(code, tmp_path, **options):
    """A Python process that has the package, with joblib's files in a folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {"PYTHONPATH": path, "JOBLIB_TEMP_FOLDER": str(tmp_path)}
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", START + code],
        env={**os.environ, **environment, **threads},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def said(process, seconds=120):
    """What a process has printed, line by line; it must end well, and in time."""
    try:
        out, error = process.communicate(timeout=seconds)
    finally:
        process.kill()
    assert process.returncode == 0, error
    return out.splitlines()


WORKERS = """
def workers(parent):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                of = int(file.read().rsplit(")", 1)[1].split()[1])
            with open(f"/proc/{pid}/cmdline") as file:
                is_worker = "popen_loky" in file.read()
        except OSError:
            continue
        if of == parent and is_worker:
            found.append(int(pid))
    return found
"""


@linux
@pytest.mark.slow
def test_killed_worker_ends_the_search_with_an_error(tmp_path):
    code = """
import signal

def kill_one():
    while len(workers(os.getpid())) < 2:
        time.sleep(0.02)
    time.sleep(0.5)
    os.kill(workers(os.getpid())[0], signal.SIGKILL)

X, y = rows(400, 4)
model = AdaptiveKernelRegressorCV(n_jobs=2, widths=(0.1, 1, 10), max_iter=200, tol=1e-6)
threading.Thread(target=kill_one, daemon=True).start()
try:
    model.fit(X, y)
except Exception as error:
    print(type(error).__name__)
    print(sorted(vars(model).keys() - model.get_params().keys()))
else:
    print("completed")
model.set_params(widths=(inf,), max_iter=5).fit(X[:40], y[:40])
print(model.predict(X[:3]).shape)
"""
    lines = said(in_a_process(WORKERS + code, tmp_path))
    assert lines in (
        ["TerminatedWorkerError", "[]", "(3,)"],
        ["completed", "(3,)"],
    )


@linux
@pytest.mark.slow
def test_killed_group_leaves_no_process_and_no_rows(tmp_path):
    """To kill the parent alone is not enough: see docs/reliability.md."""
    code = """
X, y = rows(400, 4)
def show():
    while len(workers(os.getpid())) < 2:
        time.sleep(0.02)
    print(*workers(os.getpid()), flush=True)
threading.Thread(target=show, daemon=True).start()
AdaptiveKernelRegressorCV(n_jobs=2, max_iter=500, tol=1e-9).fit(X, y)
"""
    process = in_a_process(WORKERS + code, tmp_path, start_new_session=True)
    with process:
        found = [int(pid) for pid in process.stdout.readline().split()]
        assert len(found) >= 2
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
        end = time.monotonic() + 10
        while any(is_running(pid) for pid in found) and time.monotonic() < end:
            time.sleep(0.05)
    # The process that removes loky's semaphores is killed with the others.
    for semaphore in Path("/dev/shm").glob(f"sem.loky-{process.pid}-*"):
        semaphore.unlink()
    assert not any(is_running(pid) for pid in found)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@linux
@pytest.mark.slow
def test_memory_limit_is_an_error_with_a_cure(tmp_path):
    """One process for all, since most of the time goes into the first import."""
    code = """
X, y = rows(3000, 4)
models = [
    NNGPRegressor(),
    AdaptiveKernelRegressor(),
    NTKRegressor(),
    ModifiedSpectrumRegressor(n_components=20),
    AdaptiveKernelRegressor(n_inducing=2500),
    AdaptiveKernelRegressorCV(widths=(1, inf), cv=2, max_iter=3),
]
expected = [model.fit(X[:30], y[:30]).predict(X[:3]) for model in models]
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 40 * 2**20,) * 2)
for model, known in zip(models, expected):
    try:
        model.fit(X, y)
    except MemoryError as error:
        cured = any(word in str(error) for word in ("n_inducing", "fewer rows"))
        print(cured, np.array_equal(model.predict(X[:3]), known))
"""
    assert said(in_a_process(code, tmp_path)) == ["True True"] * 6


@linux
@pytest.mark.slow
def test_full_disk_is_an_error(tmp_path):
    """A limit on the size of files stands for it; rows are sent by joblib's files."""
    code = """
X, y = rows(400, 3)
X = np.hstack([X] * 200)
model = AdaptiveKernelRegressorCV(n_jobs=2, widths=(inf,), cv=3, max_iter=2)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2)
try:
    model.fit(X, y)
except Exception as error:
    print(type(error).__name__, "File too large" in f"{error} {error.__cause__}")
print(sorted(vars(model).keys() - model.get_params().keys()))
model.set_params(n_jobs=None).fit(X[:40, :3], y[:40])
print(model.predict(X[:3, :3]).shape)
"""
    lines = said(in_a_process(code, tmp_path))
    assert lines == ["PicklingError True", "[]", "(3,)"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
