"""Where fits run: the interpreters, the fixed threads, the machine."""

import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from dev import BENCHMARK_JAX, ROOT, InstallationError

VARIABLES = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@dataclass(frozen=True)
class Interpreter:
    """A Python to run fits with, or why there is none."""

    path: str
    problem: str = ""


def interpreters(names):
    """The interpreters of the named environments, made where they are missing."""
    found = {"bench": Interpreter(sys.executable)}
    if "jax" in names:
        found["jax"] = _jax_interpreter()
    return found


def _jax_interpreter():
    try:
        BENCHMARK_JAX.make()
    except InstallationError as error:
        return Interpreter("", str(error))
    return Interpreter(BENCHMARK_JAX.interpreter)


def machine():
    """Processor, cores, memory and versions of system and Python, in one line."""
    system = f"{platform.system()} {platform.release().split('-')[0]}"
    python = f"Python {platform.python_version()}"
    parts = [_processor(), f"{os.cpu_count()} cores", *_memory(), system, python]
    return ", ".join(parts)


def load():
    """Processes that wanted to run in the last minute, None on Windows."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def without_places(text):
    """A message without the folders of this machine."""
    for place in (ROOT, Path(sys.prefix), Path(sys.base_prefix), Path.home()):
        text = text.replace(str(place), "...")
    return text


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return " ".join(name.split())


def _memory():
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return []
    return [f"{pages / 2**30:.0f} GiB"]
