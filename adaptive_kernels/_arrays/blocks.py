"""Sizes of the blocks of rows and columns that are worked on at once."""

from types import ModuleType

from .namespaces import is_numpy, namespace
from .types import Array

# Temporaries of this many rows and columns stay in a core's second-level cache.
CPU_BLOCK = 192
DEVICE_BLOCK = 4096
# A block of rows that is worked on at once, all its columns together.
CPU_BLOCK_BYTES = 2**22
DEVICE_BLOCK_BYTES = 2**28


def block_size(xp: ModuleType) -> int:
    return CPU_BLOCK if is_numpy(xp) else DEVICE_BLOCK


def rows_per_block(like: Array, n_columns: int) -> int:
    """Rows of `n_columns` entries of the type of `like` to work on at once."""
    on_host = is_numpy(namespace(like))
    limit = CPU_BLOCK_BYTES if on_host else DEVICE_BLOCK_BYTES
    return max(16, limit // (8 * n_columns))
