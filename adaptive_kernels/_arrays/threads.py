"""Threads of BLAS and of this package, so that both together fit the cores."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from functools import cache, partial
from threading import Lock
from typing import Any, TypeVar

from joblib import effective_n_jobs
from threadpoolctl import ThreadpoolController

from .namespaces import is_numpy, namespace
from .types import Array

Part = TypeVar("Part")
Result = TypeVar("Result")


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


class _OneBlasThread:
    """Limit BLAS to one thread until every thread that entered has left.

    The limit holds in the whole process. It is set once and counted, because limits
    that overlap in several threads would restore each other's.
    """

    limit: Any  # of threadpoolctl, None if nobody is inside

    def __init__(self) -> None:
        self.lock, self.inside, self.limit = Lock(), 0, None

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.limit = _blas().limit(limits=1)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.limit.restore_original_limits()


_one_blas_thread = _OneBlasThread()


def small_problem_threads(n: int, threshold: int = 500) -> AbstractContextManager[None]:
    """One BLAS thread for n < `threshold`, where more cost more than they gain."""
    return nullcontext() if n >= threshold else _one_blas_thread


def in_threads(
    work: Callable[[list[Part]], Result], parts: list[Part], like: Array
) -> list[Result]:
    """Results of `work` on lists of the parts, in as many threads as BLAS may use.

    Every thread gets two parts or more, evenly spaced. BLAS uses one thread meanwhile.
    A device is parallel itself: there is one list of all parts.
    """
    limits = (library.num_threads for library in _blas().lib_controllers)
    threads = min(min(limits, default=1), len(parts) // 2)
    if threads < 2 or not is_numpy(namespace(like)):
        return [work(parts)]
    lists = [parts[start::threads] for start in range(threads)]
    # A new thread does not inherit the context that holds NumPy's error handling.
    calls = [partial(copy_context().run, work, some) for some in lists]
    with _one_blas_thread, ThreadPoolExecutor(threads) as pool:
        return [task.result() for task in [pool.submit(call) for call in calls]]


def threads_for_workers(n_jobs: int | None) -> AbstractContextManager[None]:
    """One BLAS thread while several joblib workers run, which may be threads."""
    return _one_blas_thread if effective_n_jobs(n_jobs) > 1 else nullcontext()
