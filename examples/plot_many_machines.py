"""
More rows than a worker can hold
================================

A file of 5e5 rows and 100 columns, 400 MB, is fitted by a Dask cluster whose workers
may use 350 MB each. The fit is that of one process, and it survives the death of a
worker.

The cluster is two processes on this machine. With the address of a scheduler elsewhere,
``Client("tcp://scheduler:8786")``, nothing else changes, as long as every worker can
read the file by the same name. Dask is an extra install: ``pip install
"dask[distributed]"``.
"""

import os
import signal
import tempfile
import threading
import time

import matplotlib.pyplot as plt
import numpy as np
import psutil
from joblib import parallel_config

from adaptive_kernels import AdaptiveKernelRegressor, NNGPRegressor

N_ROWS, N_COLUMNS = 500_000, 100
LIMIT = 350e6

# %%
# The file
# --------
# Only the first four columns matter. Rows are written block by block, and mapped when
# the file is read: the array ``X`` below takes no memory until its rows are used.


def write_rows(path):
    """Write the inputs to a file, and return noisy targets."""
    X = np.lib.format.open_memmap(path, "w+", float, (N_ROWS, N_COLUMNS))
    rng, y = np.random.default_rng(0), np.empty(N_ROWS)
    for rows in np.split(np.arange(N_ROWS), 20):
        block = rng.standard_normal((len(rows), N_COLUMNS))
        signal = np.sin(2 * block[:, 0]) + block[:, 1] * block[:, 2]
        y[rows] = signal + np.abs(block[:, 3]) + 0.3 * rng.standard_normal(len(rows))
        X[rows[0] : rows[-1] + 1] = block
    X.flush()
    return y


# %%
# Two steps
# ---------
# A metric is a small statistic of the data: 1500 rows teach which columns matter. Its
# kernel is then given all rows, through 200 inducing points. The pass over all rows is
# made of tasks that add up to matrices of 200 x 200. They run through joblib, so that
# ``parallel_config(backend="dask")`` is all there is to it. A task holds the name of
# the file, not its rows.


def learned_kernel(X, y):
    """A model of all rows, with the kernel that few of them have taught."""
    teacher = AdaptiveKernelRegressor().fit(X[:1500], y[:1500])
    return NNGPRegressor(
        teacher.kernel_, alpha=teacher.alpha_, optimizer=None, n_inducing=200
    )


def timed_fit(name, model, X, y):
    """Fit, print the time it took, and predict the first rows with their spread."""
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    print(f"{name}: {seconds:.1f} s")
    return np.stack(model.predict(X[:5000], return_std=True)), seconds


def memory_in_use():
    """Bytes that this process has in memory."""
    return psutil.Process().memory_info().rss


# %%
# A worker dies
# -------------
# In the third fit one worker is killed half-way. Dask gives its unfinished tasks to the
# other, and starts a new worker. The loky backend, joblib's own, raises an error
# (``TerminatedWorkerError``) and leaves the model as it was: fit again.


def compare(folder):
    """Fit alone, by the cluster, and by a cluster that loses a worker."""
    from dask.distributed import Client, LocalCluster

    path = os.path.join(folder, "rows.npy")
    y = write_rows(path)
    X = np.load(path, mmap_mode="r")
    model = learned_kernel(X, y)
    alone, _ = timed_fit("one process", model, X, y)
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=LIMIT,
            dashboard_address=None,
        ) as cluster,
        Client(cluster) as client,
        parallel_config(backend="dask"),
    ):
        together, seconds = timed_fit("two workers", model, X, y)
        memory = client.run(memory_in_use)
        print(f"  largest difference {np.max(np.abs(together - alone)):.1e}")
        processes = client.run(os.getpid)
        victim = next(iter(processes.values()))
        killer = threading.Timer(seconds / 2, os.kill, (victim, signal.SIGKILL))
        killer.start()
        after, _ = timed_fit("two workers, one killed", model, X, y)
        print(f"  killed half-way: {not killer.is_alive()}")
        print(f"  largest difference {np.max(np.abs(after - alone)):.1e}")
    for values in (together, after):
        np.testing.assert_allclose(values, alone, rtol=1e-8, atol=1e-8)
    error = np.sqrt(np.mean((alone[0] - y[:5000]) ** 2))
    print(f"RMSE {error:.3f}, of which 0.3 is noise")
    return {"file": X.nbytes, "limit": LIMIT, **named(memory)}


def named(memory):
    """The memory of every worker, by its number."""
    return {f"worker {i}": used for i, used in enumerate(memory.values(), 1)}


# %%
# The workers start as processes that import this file, hence the guard below. Most of
# their memory is Python and its libraries.

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sizes = compare(folder)
    fig, ax = plt.subplots(figsize=(5, 2.5), layout="constrained")
    ax.barh(list(sizes), np.array(list(sizes.values())) / 1e6)
    ax.invert_yaxis()
    ax.set(xlabel="megabytes", title="The file is larger than a worker")
    plt.show()
