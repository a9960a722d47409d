"""Processes and threads together: time, and the BLAS threads that workers see.

    python benchmarks/threads.py [search] [sums]

`search` is a cross-validated search, `sums` the pass over all rows of a fit by inducing
points. Each line is a process of its own, and OMP is what OMP_NUM_THREADS was set to.
"BLAS" are the threads that a worker's BLAS may use, "in all" those of all workers, and
"after" those that this process is left with. More in all than cores is
oversubscription. CPU seconds include those of the workers.
"""

import multiprocessing
import os
import resource
import sys
import time
import warnings

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs, parallel_config
from joblib.externals.loky import get_reusable_executor
from threadpoolctl import threadpool_info

from adaptive_kernels import AdaptiveKernelRegressorCV, NNGPRegressor
from adaptive_kernels._arrays import threads_for_workers
from adaptive_kernels.kernels import NNGP

LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LINES = [
    ("loky", 1, None),
    ("loky", 1, "1"),
    ("loky", 2, None),
    ("loky", 2, "1"),
    ("threading", 2, None),
    ("threading", 2, "1"),
]


def search(rng):
    """Search on 800 x 8."""
    X = rng.standard_normal((800, 8))
    y = np.sin(2 * X[:, 0]) + 0.3 * rng.standard_normal(800)
    AdaptiveKernelRegressorCV([NNGP("erf")], widths=(1, 10, 100)).fit(X, y)


def sums(rng):
    """Pass over 60,000 x 20, 500 points."""
    X = rng.standard_normal((60_000, 20))
    y = np.sin(2 * X[:, 0]) + 0.3 * rng.standard_normal(len(X))
    NNGPRegressor(NNGP("erf"), alpha=0.1, optimizer=None, n_inducing=500).fit(X, y)


def probe():
    """A function that travels whole, since workers do not know this file."""

    def threads():
        import scipy.linalg  # noqa: F401, the workers of the package have it too

        time.sleep(0.2)
        found = threadpool_info()
        return max(i["num_threads"] for i in found if i["user_api"] == "blas")

    return threads


def cpu_seconds():
    own = resource.getrusage(resource.RUSAGE_SELF)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(u.ru_utime + u.ru_stime for u in (own, workers))


def measured(task, backend, n_jobs, limit):
    """One line of the table."""
    warnings.simplefilter("ignore")
    with parallel_config(backend, n_jobs=n_jobs):
        with threads_for_workers(None):  # as the package calls its workers
            inner = max(Parallel()(delayed(probe())() for _ in range(2 * n_jobs)))
        workers = effective_n_jobs(None)
        start, cpu = time.perf_counter(), cpu_seconds()
        task(np.random.default_rng(0))
        wall = time.perf_counter() - start
    get_reusable_executor().shutdown(wait=True)
    print(
        f"| {backend} | {n_jobs} | {limit or 'not set'} | {wall:.1f} "
        f"| {cpu_seconds() - cpu:.1f} | {inner} | {inner * workers} "
        f"| {probe()()} |",
        flush=True,
    )


def table(task):
    print(f"{task.__doc__} {os.cpu_count()} cores.\n")
    print("| backend | n_jobs | OMP | wall s | CPU s | BLAS | in all | after |")
    print("|---|---|---|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for backend, n_jobs, limit in LINES:
        for name in LIMITS:
            os.environ.pop(name, None)
        if limit:
            os.environ.update(dict.fromkeys(LIMITS, limit))
        process = context.Process(target=measured, args=(task, backend, n_jobs, limit))
        process.start()
        process.join()
        if process.exitcode:
            print(f"| {backend} | {n_jobs} | {limit} | ended by {process.exitcode}")
    print()


if __name__ == "__main__":
    parts = {function.__name__: function for function in (search, sums)}
    for name in sys.argv[1:] or parts:
        table(parts[name])
