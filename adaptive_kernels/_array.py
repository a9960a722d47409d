"""The one file that names an array library: namespaces, devices, dense factors."""

from contextlib import contextmanager
from functools import cache

import array_api_compat as compat
import numpy as np
from scipy.linalg import lapack
from sklearn.utils._array_api import move_to
from threadpoolctl import ThreadpoolController

LinAlgError = np.linalg.LinAlgError

# Temporaries of this many rows and columns stay in a core's second-level cache.
CPU_BLOCK = 192
DEVICE_BLOCK = 4096

# A block of rows that is worked on at once, all its columns together.
CPU_BLOCK_BYTES = 2**22
DEVICE_BLOCK_BYTES = 2**28

# Matrices of m x m that a fit by m inducing points holds at its peak, the sample's
# 4 m x m included, and the m that is recommended where memory is no limit.
INDUCING_MATRICES = 20
USUAL_INDUCING = 1000


def namespace(*arrays):
    """The array-API namespace shared by the arrays; NumPy if there are none."""
    if all(type(a) is np.ndarray for a in arrays):
        return np
    arrays = [a for a in arrays if compat.is_array_api_obj(a)]
    return compat.array_namespace(*arrays) if arrays else np


def is_numpy(xp):
    return xp is np or compat.is_numpy_namespace(xp)


def block_size(xp):
    return CPU_BLOCK if is_numpy(xp) else DEVICE_BLOCK


def rows_per_block(like, n_columns):
    """Rows of `n_columns` entries of the type of `like` to work on at once."""
    on_host = is_numpy(namespace(like))
    limit = CPU_BLOCK_BYTES if on_host else DEVICE_BLOCK_BYTES
    return max(16, limit // (8 * n_columns))


def asarray_like(value, like):
    """`value` as an array of the library, device and type of `like`."""
    if type(value) is type(like) is np.ndarray:
        return value.astype(like.dtype, copy=False)
    xp = namespace(like)
    if not compat.is_array_api_obj(value):
        value = np.asarray(value)
    device = compat.device(like)
    # Without array API dispatch scikit-learn takes torch's arrays for NumPy's.
    if namespace(value) is not xp or compat.device(value) != device:
        value = move_to(value, xp=xp, device=device)
    return namespace(value).astype(value, like.dtype, copy=False)


def index_like(rows, like):
    """Host integers as an index into `like`."""
    xp = namespace(like)
    if is_numpy(xp):
        return rows
    return move_to(rows, xp=xp, device=compat.device(like))


def as_float64(x):
    """`x` in double precision, copied only where it is not already."""
    xp = namespace(x)
    return xp.astype(x, xp.float64, copy=False)


def as_float(x):
    """`x` in double precision, or in single precision if it came in it."""
    return x if x.dtype == namespace(x).float32 else as_float64(x)


def to_numpy(x):
    """`x` on the host as a NumPy array."""
    if isinstance(x, np.ndarray) or not compat.is_array_api_obj(x):
        return np.asarray(x)
    return move_to(x, xp=np, device="cpu")


def to_device(x, device):
    """Move `x` to `device`: None leaves it, "cuda" makes a CuPy array of it."""
    if device is None or not is_numpy(namespace(x)):
        return x
    return _cupy().asarray(x)


def check_device(device):
    """Raise at once if `device` is unknown or cannot be reached."""
    if device not in (None, "cuda"):
        raise ValueError(f"device must be None or 'cuda', got {device!r}.")
    if device == "cuda":
        _cupy()


def _cupy():
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() > 0:
            return cupy
    except Exception as error:
        raise RuntimeError(
            "device='cuda' needs CuPy and a CUDA GPU: install "
            "adaptive_kernels[gpu-cuda12] or [gpu-cuda13], or set device=None."
        ) from error
    raise RuntimeError("device='cuda' found no CUDA GPU: set device=None.")


def cholesky(matrix):
    """Lower Cholesky factor; of a NumPy matrix in place, reading its lower triangle.

    Only the lower triangle of the result is meaningful.

    Raises
    ------
    LinAlgError
        If the matrix is not numerically positive definite.
    """
    xp = namespace(matrix)
    if is_numpy(xp):
        factor, info = lapack.dpotrf(matrix.T, lower=0, overwrite_a=1, clean=0)
        if info:
            raise LinAlgError("matrix is not positive definite")
        return factor.T
    try:
        factor = xp.linalg.cholesky(mirror_lower(matrix))
    except Exception as error:
        if "inAlg" not in type(error).__name__:
            raise
        raise LinAlgError("matrix is not positive definite") from error
    if not bool(xp.all(xp.isfinite(factor))):
        raise LinAlgError("matrix is not positive definite")
    return factor


def inverse_from_cholesky(factor):
    """Lower triangle of the inverse from a lower factor, which NumPy overwrites."""
    xp = namespace(factor)
    if is_numpy(xp):
        inverse, _ = lapack.dpotri(factor.T, lower=0, overwrite_c=1)
        return inverse.T
    eye = xp.eye(factor.shape[0], dtype=factor.dtype, device=compat.device(factor))
    half = solve_triangular(factor, eye)
    return half.T @ half


def solve_triangular(factor, rhs, *, transposed=False):
    """Solve L x = rhs, or L' x = rhs, with a lower-triangular L."""
    xp = namespace(factor)
    if is_numpy(xp):
        return lapack.dtrtrs(factor.T, rhs, lower=0, trans=int(not transposed))[0]
    factor = xp.tril(factor)
    if compat.is_torch_namespace(xp):
        import torch

        matrix = factor.T if transposed else factor
        return torch.linalg.solve_triangular(matrix, rhs, upper=transposed)
    if compat.is_cupy_namespace(xp):
        from cupyx.scipy.linalg import solve_triangular as solve

        return solve(factor, rhs, lower=True, trans=int(transposed))
    return xp.linalg.solve(factor.T if transposed else factor, rhs)


def cho_solve(factor, rhs):
    """Solve (L L') x = rhs."""
    if is_numpy(namespace(factor)):
        return lapack.dpotrs(factor.T, rhs, lower=0)[0]
    return solve_triangular(factor, solve_triangular(factor, rhs), transposed=True)


def eigh(matrix):
    """Eigenvalues (ascending) and eigenvectors of a full symmetric matrix."""
    values, vectors = namespace(matrix).linalg.eigh(matrix)
    return values, vectors


def empty(like, shape):
    """An uninitialised array with the library, device and type of `like`."""
    xp = namespace(like)
    return xp.empty(shape, dtype=like.dtype, device=compat.device(like))


@cache
def _strictly_lower(n):
    return np.tri(n, k=-1)


def mirror_lower(matrix):
    """The symmetric matrix with the lower triangle of `matrix`; a copy."""
    xp = namespace(matrix)
    if is_numpy(xp):
        lower = matrix * _strictly_lower(matrix.shape[0])
        return set_diagonal(lower + lower.T, diagonal(matrix))
    return xp.tril(matrix) + xp.tril(matrix, k=-1).T


def in_place(name, x):
    """Elementwise function `name` of x, in the memory of x where there is a choice."""
    xp = namespace(x)
    if is_numpy(xp):
        return getattr(np, name)(x, out=x)
    return getattr(xp, name)(x)


def add_to_diagonal(matrix, values):
    """`matrix` + diag(values), overwritten where the library allows it."""
    return set_diagonal(matrix, diagonal(matrix) + values)


def diagonal(matrix):
    return namespace(matrix).linalg.diagonal(matrix)


def set_diagonal(matrix, values):
    """`matrix` with the given diagonal, overwritten where the library allows it."""
    xp = namespace(matrix)
    n = matrix.shape[0]
    if is_numpy(xp) and matrix.flags.c_contiguous:
        matrix.reshape(-1)[:: n + 1] = values
        return matrix
    on = xp.eye(n, dtype=xp.bool, device=compat.device(matrix))
    return xp.where(on, values[:, None], matrix)


def check_memory(like, n, matrices, *, inducing=False):
    """Raise MemoryError where n x n matrices cannot fit, before any is allocated.

    With `inducing` the message names an `n_inducing` that would fit.
    """
    free = free_bytes(like)
    need = matrices * 8 * n * n
    if free is None or need <= free:
        return
    cure = "fit on fewer rows"
    if inducing:
        fits = min(USUAL_INDUCING, int((free / (8 * INDUCING_MATRICES)) ** 0.5 / 2))
        cure = f"set n_inducing={max(fits, 1)}, or " + cure
    raise MemoryError(
        f"An exact fit of {n} rows needs {need / 2**30:.1f} GiB for its kernel "
        f"matrix, and {free / 2**30:.1f} GiB are free: {cure}."
    )


def check_inducing_memory(like, m):
    """Raise MemoryError where the matrices of m inducing points cannot fit."""
    free = free_bytes(like)
    need = INDUCING_MATRICES * 8 * m * m
    if free is not None and need > free:
        raise MemoryError(
            f"n_inducing={m} needs {need / 2**30:.1f} GiB for its matrices, and "
            f"{free / 2**30:.1f} GiB are free: lower n_inducing."
        )


def free_bytes(like):
    if compat.is_cupy_array(like):
        return _cupy().cuda.runtime.memGetInfo()[0]
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":") for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return None


@cache
def _blas():
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def small_problem_threads(n, threshold=500):
    """One BLAS thread while matrices are small: spinning up more costs more."""
    if n >= threshold:
        yield
        return
    with _blas().limit(limits=1):
        yield
