"""Where an exact fit spends its time: BLAS and LAPACK, or anything else.

    python benchmarks/exact_fit.py [--rows 5000]

A thread looks 200 times a second at which line of the package the fit is, and counts
the time since it last looked for that line. The share of BLAS and LAPACK is that of the
functions that wrap LAPACK and of lines that multiply matrices, not counting those that
other threads work on: kernels are made in as many threads as BLAS may use, and the fit
waits for them. OPENBLAS_NUM_THREADS=1 in front limits both.
"""

import argparse
import linecache
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

import adaptive_kernels
from adaptive_kernels import AdaptiveKernelRegressor
from adaptive_kernels.inference import factorization as _linalg
from adaptive_kernels.theory import RegularizedEvidence

HOME = Path(adaptive_kernels.__file__).parent
WRAPPERS = ("cholesky", "inverse_from_cholesky", "cho_solve", "solve_triangular")
SHOWN = 8


class Watch:
    """Seconds spent in each line of the package, of the thread that enters it."""

    def __enter__(self):
        self.seconds, self.ended = Counter(), threading.Event()
        self.watched = threading.get_ident()
        self.interval = sys.getswitchinterval()
        # Else the watching thread would wait for its turn longer than it sleeps.
        sys.setswitchinterval(1e-4)
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        sys.setswitchinterval(self.interval)

    def _look(self):
        last = time.perf_counter()
        while not self.ended.wait(0.005):
            frame = sys._current_frames().get(self.watched)
            while frame and HOME not in Path(frame.f_code.co_filename).parents:
                frame = frame.f_back
            now = time.perf_counter()
            if frame:
                code = frame.f_code
                place = code.co_filename, frame.f_lineno, code.co_name
                self.seconds[place] += now - last
            last = now


def text_of(place):
    return linecache.getline(*place[:2]).strip()


def is_linear_algebra(place):
    return place[2] in WRAPPERS or " @ " in text_of(place)


def counted(owner, name, calls):
    """Count the calls of owner.name that are on matrices of all rows."""
    original = getattr(owner, name)

    def counting(*args, **kwargs):
        calls[name, len(args[0].data.X if name == "__call__" else args[0])] += 1
        return original(*args, **kwargs)

    setattr(owner, name, counting)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5000)
    n = parser.parse_args().rows
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 8))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + np.abs(X[:, 3])
    y += 0.3 * rng.standard_normal(n)

    calls = Counter()
    counted(_linalg, "cholesky", calls)
    counted(_linalg, "inverse_from_cholesky", calls)
    counted(RegularizedEvidence, "__call__", calls)
    with Watch() as watch:
        AdaptiveKernelRegressor().fit(X, y)

    threads = max(
        pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"
    )
    total = sum(watch.seconds.values())
    algebra = sum(s for place, s in watch.seconds.items() if is_linear_algebra(place))
    steps, factors, inverses = (
        calls[name, n] for name in ("__call__", "cholesky", "inverse_from_cholesky")
    )
    print(f"Exact fit, {n} x 8, {threads} threads: {total:.0f} s")
    print(f"  {steps} evidences with gradient on all rows, beside smaller samples")
    print(f"  {factors} Cholesky factors and {inverses} inverses of {n} x {n}")
    print(f"  {algebra / total:.0%} of the time in BLAS and LAPACK; most of it all in")
    for place, seconds in watch.seconds.most_common(SHOWN):
        file = Path(place[0]).relative_to(HOME)
        print(f"  {seconds / total:5.1%}  {file}:{place[1]}  {text_of(place)}")


if __name__ == "__main__":
    main()
