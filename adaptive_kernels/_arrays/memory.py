"""Free memory, checked before large matrices are allocated."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import array_api_compat as compat

from .namespaces import _cupy
from .types import Array

FEWER_ROWS = "fit on fewer rows"


def check_memory(
    like: Array, n: int, matrices: int, *, cure: Callable[[int], str] | None = None
) -> None:
    """Raise MemoryError where n x n matrices cannot fit, before any is allocated.

    cure : callable, (free bytes) -> what the user can do; None says to take fewer rows
    """
    free = free_bytes(like)
    need = matrices * 8 * n * n
    if free is None or need <= free:
        return
    advice = FEWER_ROWS if cure is None else cure(free)
    raise MemoryError(
        f"An exact fit of {n} rows needs {need / 2**30:.1f} GiB for its kernel "
        f"matrix, and {free / 2**30:.1f} GiB are free: {advice}."
    )


def free_bytes(like: Array) -> int | None:
    """Bytes that an array like `like` may take, or None where nobody knows."""
    if compat.is_cupy_array(like):
        with like.device:
            return _free_on_device(_cupy())
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":") for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return None


def _free_on_device(cupy: ModuleType) -> int:
    pool = cupy.get_default_memory_pool()
    # The pool keeps what was freed, and gives it out again.
    free = cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes()
    limit = pool.get_limit()
    return min(free, limit - pool.used_bytes()) if limit else free


@contextmanager
def device_memory_errors(cure: str = FEWER_ROWS) -> Iterator[None]:
    """Say what to do about it where a device runs out of memory."""
    try:
        yield
    except MemoryError as error:
        if not type(error).__module__.startswith("cupy"):
            raise
        raise MemoryError(
            f"The GPU ran out of memory: {cure}, or set device=None. ({error})"
        ) from error
