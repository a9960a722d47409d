"""The contract: any input gives a finite, right-looking result or an error naming it.

In a campaign (`python dev.py fuzz`) failures are collected by kind; otherwise the first
one fails its test.
"""

import os
import pickle
import re
import signal
import sys
import time
import traceback
import warnings
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import sklearn
from hypothesis import settings

import adaptive_kernels

CASES = "FUZZ_CASES"
# Of a case; the usual one takes less than one.
SECONDS = 60
OURS = str(Path(adaptive_kernels.__file__).parent)
SKLEARN = str(Path(sklearn.__file__).parent)
# Checks of scikit-learn. Users know the messages of these.
CHECKS = tuple(
    str(Path(SKLEARN, *path))
    for path in (
        ("utils", "validation.py"),
        ("utils", "multiclass.py"),
        ("utils", "_param_validation.py"),
        ("utils", "class_weight.py"),
        ("model_selection",),
        ("metrics",),
        ("gaussian_process", "_gpr.py"),
        ("gaussian_process", "_gpc.py"),
    )
)
NOT_OURS = tuple(
    str(Path(SKLEARN, *path))
    for path in (("gaussian_process",), ("utils", "validation.py"))
)
DATA = ("X", "y", "sample_weight", "groups")
UNWANTED = (RuntimeWarning, DeprecationWarning, FutureWarning)


def share(part):
    """Settings of a test that gets this part of all cases."""
    cases = settings.default.max_examples
    return settings(max_examples=max(1, round(part * cases)))


# --- report of a campaign -------------------------------------------------------------


@dataclass
class Report:
    """Number of cases; for each kind of failure its number and shortest case."""

    cases: int = 0
    refused: int = 0
    started: float = field(default_factory=time.perf_counter)
    failures: dict = field(default_factory=dict)

    def add(self, kind, case, error):
        text = f"{case}\n    {str(error)[:300]}"
        count, shortest = self.failures.get(kind, (0, text))
        self.failures[kind] = count + 1, min(shortest, text, key=len)

    def lines(self):
        found = sum(count for count, _ in self.failures.values())
        yield (
            f"{self.cases} cases in {time.perf_counter() - self.started:.0f} s: "
            f"{self.refused} refused with a named error, {found} failures of "
            f"{len(self.failures)} kinds."
        )
        for kind, (count, text) in sorted(
            self.failures.items(), key=lambda item: -item[1][0]
        ):
            yield f"{count} x {kind}\n    {text}"


REPORT = Report()


class ContractError(AssertionError):
    """A case that breaks the contract."""


def _kind(error):
    """What failed, and the last line of the package or of the tests that it passed."""
    cause = error.__cause__ if isinstance(error, ContractError) else error
    places = [
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in traceback.extract_tb((cause or error).__traceback__)
        if frame.filename.startswith(OURS)
    ]
    what = str(error).split("\n")[0] if cause is not error else repr(error)
    return f"{re.sub(r'[-+]?[0-9.]+(e[-+]?[0-9]+)?', '#', what)[:110]} {places[-1:]}"


@contextmanager
def counted(case):
    """Count the case. In a campaign a failure is noted, and the test goes on."""
    REPORT.cases += 1
    try:
        with _time_limit():
            yield
    except Exception as error:
        if CASES not in os.environ:
            raise
        REPORT.add(_kind(error), case, error)


def _expired(*_):
    raise ContractError(f"It takes more than {SECONDS} seconds.")


@contextmanager
def _time_limit():
    """Raise ContractError after `SECONDS`, where the system has alarms."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGALRM, _expired)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- the contract ---------------------------------------------------------------------


@contextmanager
def honoured(names, inputs=(), culprits=()):
    """Check errors and warnings of the block, and that the inputs stay as they are.

    names : words of which an error has to show one
    culprits : the only words that will do, and then an error has to come
    """
    before = [deepcopy(given) for given in inputs]
    raised = None
    with _no_warnings():
        try:
            yield
        except Exception as error:
            _check_error(error, culprits or names, bool(culprits))
            raised = error
    for given, old in zip(inputs, before, strict=True):
        if not _same(given, old):
            raise ContractError("The caller's object was changed.")
    if raised is not None:
        REPORT.refused += 1
    elif culprits:
        raise ContractError(f"No error names {culprits[0]}.")


def _same(given, old):
    if hasattr(given, "equals"):  # tables; caches inside them may change
        return given.equals(old)
    return pickle.dumps(np.array(given)) == pickle.dumps(np.array(old))


def _check_error(error, names, strict):
    if isinstance(error, ContractError):
        raise error
    message = str(error)
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    known = [path for path in frames if path.startswith((OURS, *CHECKS))]
    from_check = bool(known) and known[-1].startswith(CHECKS)
    shown = any(
        re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) for name in names
    )
    if isinstance(error, MemoryError) and not strict:
        return
    usual = isinstance(error, ValueError | TypeError)
    if usual and (shown or (from_check and not strict)):
        return
    name = type(error).__name__
    fault = "names none of its inputs" if usual else "is not the type to raise"
    raise ContractError(f"{name} {fault}: {message[:200]}") from error


@contextmanager
def _no_warnings():
    """Raise ContractError after the block if the package let a warning through."""
    found = []

    def note(message, category, *_, **__):
        frame, place = sys._getframe(), "elsewhere"
        while frame is not None:
            path = frame.f_code.co_filename
            if path.startswith(OURS):
                place = f"{Path(path).name}:{frame.f_lineno}"
                break
            # Sums of scikit-learn over infinities, and its processes, are not ours.
            if path.startswith(NOT_OURS):
                return
            frame = frame.f_back
        if issubclass(category, UNWANTED):
            found.append(f"{category.__name__} at {place}: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        yield
    if found:
        raise ContractError(found[0])


def require(condition, message):
    if not condition:
        raise ContractError(message)


def check_array(name, values, shape, *, least=-np.inf, kinds="f"):
    """Check shape, type and finiteness of a result."""
    require(isinstance(values, np.ndarray), f"{name} is a {type(values).__name__}.")
    require(values.shape == shape, f"{name} has shape {values.shape}, not {shape}.")
    require(values.dtype.kind in kinds, f"{name} has type {values.dtype}.")
    require(np.all(np.isfinite(values)), f"{name} is not finite.")
    require(np.all(values >= least), f"{name} is below {least}.")


def names_of(estimator):
    """Words that an error may show: the data, and parameters at any depth."""
    deep = {name.split("__")[-1] for name in estimator.get_params()}
    if {"kernel", "kernels"} & deep:
        from adaptive_kernels.kernels import NNGP

        deep |= {*NNGP().get_params()}
    return (*DATA, *deep)
