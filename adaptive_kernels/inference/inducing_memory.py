"""Memory of exact fits and of fits with inducing points, checked beforehand."""

from .._arrays import FEWER_ROWS, Array, check_memory, memory

# Matrices of m x m that a fit by m inducing points holds at its peak, the sample's
# 4 m x m included, and the m that is recommended where memory is no limit.
INDUCING_MATRICES = 20
USUAL_INDUCING = 1000
# What to do where an exact fit does not fit in memory.
CURE = f"set n_inducing, or {FEWER_ROWS}"


def check_exact_memory(like: Array, n: int, matrices: int) -> None:
    """Raise MemoryError, with an `n_inducing` that fits, where n x n does not fit."""

    def cure(free: float) -> str:
        fits = min(USUAL_INDUCING, int((free / (8 * INDUCING_MATRICES)) ** 0.5 / 2))
        return f"set n_inducing={max(fits, 1)}, or {FEWER_ROWS}"

    check_memory(like, n, matrices, cure=cure)


def check_inducing_memory(like: Array, m: int) -> None:
    """Raise MemoryError where the matrices of m inducing points cannot fit."""
    free = memory.free_bytes(like)
    need = INDUCING_MATRICES * 8 * m * m
    if free is not None and need > free:
        raise MemoryError(
            f"n_inducing={m} needs {need / 2**30:.1f} GiB for its matrices, and "
            f"{free / 2**30:.1f} GiB are free: lower n_inducing."
        )
