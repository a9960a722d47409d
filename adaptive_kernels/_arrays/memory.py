"""Free memory, checked before large matrices are allocated."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

import array_api_compat as compat

from .namespaces import _cupy
from .types import Array

FEWER_ROWS = "fit on fewer rows"
# Files of a control group by version: its limit, its use, and the line of memory.stat
# for cached files, which can be dropped.
_GROUP_FILES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}


def check_memory(
    like: Array, n: int, matrices: int, *, cure: Callable[[int], str] | None = None
) -> None:
    """Raise MemoryError where n x n matrices cannot fit, before any is allocated.

    cure : callable, (free bytes) -> what the user can do; None says to take fewer rows
    """
    what = f"An exact fit of {n} rows needs {{}} for its kernel matrix"
    check_bytes(like, matrices * 8 * n * n, what, cure or (lambda free: FEWER_ROWS))


def check_bytes(
    like: Array, need: int, what: str, cure: str | Callable[[int], str]
) -> None:
    """Raise MemoryError where `need` bytes of arrays like `like` are not free.

    what : str, with {} where the size goes
    cure : str or callable of the free bytes, what the user can do
    """
    free = free_bytes(like)
    if free is None or need <= free:
        return
    advice = cure if isinstance(cure, str) else cure(free)
    needed = what.format(f"{need / 2**30:.1f} GiB")
    raise MemoryError(f"{needed}, and {free / 2**30:.1f} GiB are free: {advice}.")


def free_bytes(like: Array) -> int | None:
    """Bytes that an array like `like` may take, or None where nobody knows."""
    if compat.is_cupy_array(like):
        with like.device:
            return _free_on_device(_cupy())
    known = [_free_on_machine(), _free_in_container(), _free_addresses()]
    return min((free for free in known if free is not None), default=None)


def _free_on_machine() -> int | None:
    """What the machine has free."""
    try:
        return int(_fields("/proc/meminfo")["MemAvailable:"]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _free_in_container(
    groups: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup"
) -> int | None:
    """The least memory left under any limit on this process; None without a limit.

    A control group limits the memory of all its processes, also of those in groups
    below it. So the limits of this process's groups and of all their parents count.
    Under each, limit - usage + cached files is left: the system can drop cached files.

    groups : path of the file that lists the control groups of this process
    root : path of the folder in which the system shows all control groups
    """
    left = []
    for folder, limit_file, usage_file, cached_key in _limited_groups(groups, root):
        try:
            limit = int((folder / limit_file).read_text())
            usage = int((folder / usage_file).read_text())
            cached = int(_fields(folder / "memory.stat").get(cached_key, 0))
        except (OSError, ValueError):
            continue
        left.append(limit - usage + cached)
    return min(left, default=None)


@cache
def _limited_groups(groups: str, root: str) -> tuple[tuple[Path, str, str, str], ...]:
    """Control groups with a limit: (folder, limit file, usage file, cached key).

    The last three are the names in `_GROUP_FILES`. The groups of this process and all
    their parents are looked up once, because they hardly change.
    """
    try:
        with open(groups) as file:
            lines = [line.strip().split(":", 2) for line in file]
    except OSError:
        return ()
    found = []
    for _, controllers, path in lines:
        version = 2 if controllers == "" else 1
        if version == 1 and "memory" not in controllers.split(","):
            continue
        names, top = _GROUP_FILES[version], Path(root, "" if version == 2 else "memory")
        group = top / path.lstrip("/")
        # Within a container its own group is the top, and the path is not there.
        for folder in (group, *group.parents):
            if folder == top or top in folder.parents:
                found += [(folder, *names)] if _has_limit(folder / names[0]) else []
    return tuple(found)


def _has_limit(file: Path) -> bool:
    try:
        most = file.read_text().strip()
    except OSError:
        return False
    # Version 1 has a number beyond all memory in place of "max".
    return most != "max" and int(most) < 2**60


def _free_addresses() -> int | None:
    """What is left of a limit on the address space, as `ulimit -v` sets it."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        with open("/proc/self/statm") as file:
            return limit - int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return None


def _fields(path: str | Path) -> dict[str, str]:
    """First and second word of every line of a file."""
    with open(path) as file:
        return {words[0]: words[1] for words in map(str.split, file)}


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
