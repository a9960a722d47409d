"""Sizes of blocks, so that large matrices are computed piece by piece."""

from types import ModuleType

from .namespaces import is_numpy, namespace
from .types import Array

# Rows and columns of a square block. On a CPU it has 0.3 MB: a few temporaries fit in
# the second-level cache of a core. On a GPU it has 128 MiB, enough to keep it busy.
CPU_BLOCK = 192
DEVICE_BLOCK = 4096
# Size of a block of rows with all its columns.
CPU_BLOCK_BYTES = 2**22
DEVICE_BLOCK_BYTES = 2**28


def block_size(xp: ModuleType) -> int:
    """Rows, and columns, of a square block of arrays of a library."""
    return CPU_BLOCK if is_numpy(xp) else DEVICE_BLOCK


def rows_per_block(like: Array, n_columns: int) -> int:
    """Rows of `n_columns` double-precision entries in a block: 16 or more."""
    on_host = is_numpy(namespace(like))
    limit = CPU_BLOCK_BYTES if on_host else DEVICE_BLOCK_BYTES
    return max(16, limit // (8 * n_columns))
