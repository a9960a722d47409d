"""Arrays of NumPy, CuPy and torch: one file for each concern, all names here."""

from .blocks import block_size, rows_per_block
from .dense_factors import (
    LinAlgError,
    add_to_diagonal,
    cho_solve,
    cholesky,
    diagonal,
    eigh,
    identity,
    inverse_from_cholesky,
    mirror_lower,
    set_diagonal,
    solve_triangular,
)
from .fused_kernels import fused
from .memory import (
    FEWER_ROWS,
    check_bytes,
    check_memory,
    device_memory_errors,
    free_bytes,
)
from .namespaces import (
    as_float,
    as_float64,
    asarray_like,
    check_device,
    clip,
    empty,
    in_place,
    index_like,
    is_array,
    is_numpy,
    namespace,
    on_device,
    special_function,
    to_device,
    to_numpy,
)
from .ranges import check_range
from .rounding import round_columns
from .threads import in_threads, small_problem_threads, threads_for_workers
from .types import Array, ArrayLike

__all__ = [
    "Array",
    "ArrayLike",
    "FEWER_ROWS",
    "LinAlgError",
    "add_to_diagonal",
    "as_float",
    "as_float64",
    "asarray_like",
    "block_size",
    "check_device",
    "check_bytes",
    "check_memory",
    "check_range",
    "cho_solve",
    "cholesky",
    "clip",
    "device_memory_errors",
    "diagonal",
    "eigh",
    "empty",
    "free_bytes",
    "fused",
    "identity",
    "in_place",
    "in_threads",
    "index_like",
    "inverse_from_cholesky",
    "is_array",
    "is_numpy",
    "mirror_lower",
    "namespace",
    "on_device",
    "round_columns",
    "rows_per_block",
    "set_diagonal",
    "small_problem_threads",
    "solve_triangular",
    "special_function",
    "threads_for_workers",
    "to_device",
    "to_numpy",
]
