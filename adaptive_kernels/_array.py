"""The one file that names an array library: namespaces, devices, dense factors."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from functools import cache, lru_cache, partial, wraps
from threading import Lock

import array_api_compat as compat
import numpy as np
from joblib import effective_n_jobs
from scipy import special
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

# Rows of a factor that are inverted at once on a device.
INVERSE_BLOCK = 2048

# Matrices of m x m that a fit by m inducing points holds at its peak, the sample's
# 4 m x m included, and the m that is recommended where memory is no limit.
INDUCING_MATRICES = 20
USUAL_INDUCING = 1000

# Types of the variables that stand for CuPy's arrays while it traces a formula.
_TRACED = set()

# Grid of `round_columns`, relative to the spread of a column: far below what a kernel
# with a noise variance of 1e-5 resolves, and far above the rounding errors of a column
# of unit spread at an origin of 1e4.
GRID = 2.0**-20


def namespace(*arrays):
    """The array-API namespace shared by the arrays; NumPy if there are none."""
    if all(type(a) is np.ndarray for a in arrays):
        return np
    if not _TRACED.isdisjoint(map(type, arrays)):
        from array_api_compat import cupy

        return cupy
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
        value = _moved(value, like)
    return namespace(value).astype(value, like.dtype, copy=False)


def index_like(rows, like):
    """Host integers as an index into `like`."""
    return rows if is_numpy(namespace(like)) else _moved(rows, like)


def _moved(value, like):
    if is_numpy(namespace(like)):
        return to_numpy(value)
    if compat.is_cupy_array(like):
        if compat.is_cupy_array(value) and value.device == like.device:
            return value
        # Scikit-learn would go through DLPack, which CuPy has for its own arrays only.
        with like.device:
            return _cupy().asarray(to_numpy(value))
    return move_to(value, xp=namespace(like), device=compat.device(like))


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
    if compat.is_cupy_array(x):
        # Without array API dispatch scikit-learn takes CuPy's arrays for NumPy's.
        return x.get()
    return move_to(x, xp=np, device="cpu")


def on_device(x):
    """Whether `x` is an array of another library than NumPy."""
    return compat.is_array_api_obj(x) and not is_numpy(namespace(x))


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
    """Lower Cholesky factor, reading the lower triangle; NumPy's and CuPy's in place.

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
        factor = _device_cholesky(matrix)
    except Exception as error:
        if "inAlg" not in type(error).__name__:
            raise
        raise LinAlgError("matrix is not positive definite") from error
    # What is not finite in a row reaches its pivot.
    if not bool(xp.all(xp.isfinite(diagonal(factor)))):
        raise LinAlgError("matrix is not positive definite")
    return factor


def _device_cholesky(matrix):
    if not compat.is_cupy_array(matrix):
        return namespace(matrix).linalg.cholesky(mirror_lower(matrix))
    # CuPy's own function would copy the matrix.
    from cupy.cuda import device
    from cupy_backends.cuda.libs import cublas, cusolver

    cupy, n = _cupy(), matrix.shape[0]
    with matrix.device:
        matrix = cupy.ascontiguousarray(matrix, dtype=cupy.float64)
        # The lower triangle is the upper one in cuSOLVER's order of memory.
        upper, place = cublas.CUBLAS_FILL_MODE_UPPER, matrix.data.ptr
        problem = device.get_cusolver_handle(), upper, n, place, n
        size = cusolver.dpotrf_bufferSize(*problem)
        workspace = cupy.empty(size, dtype=cupy.float64)
        info = cupy.empty(1, dtype=cupy.int32)
        cusolver.dpotrf(*problem, workspace.data.ptr, size, info.data.ptr)
        if int(info[0]) != 0:
            raise LinAlgError("matrix is not positive definite")
    return matrix


def inverse_from_cholesky(factor):
    """Lower triangle of the inverse from a lower factor, which is overwritten.

    On a device, whose libraries lack the routine, in blocks of rows: first W = L^{-1}
    from the top, row W_i = -L_ii^{-1} L_i W above the diagonal; then W'W, also from the
    top, as its row i needs no rows of W before i. 2 n^3 / 3 operations, all but
    those on diagonal blocks in matrix products, where two triangular solves take 2 n^3.
    """
    if is_numpy(namespace(factor)):
        inverse, _ = lapack.dpotri(factor.T, lower=0, overwrite_c=1)
        return inverse.T
    xp, n = namespace(factor), factor.shape[0]
    starts = range(0, n, INVERSE_BLOCK)
    rows = [slice(start, min(start + INVERSE_BLOCK, n)) for start in starts]
    for a, i in enumerate(rows):
        own = solve_triangular(factor[i, i], identity(factor, i.stop - i.start))
        if a > 0:
            left = slice(0, i.start)
            sums = [
                factor[i, j.start : i.start] @ factor[j.start : i.start, j]
                for j in rows[:a]
            ]
            factor[i, left] = -(own @ xp.concat(sums, axis=1))
        factor[i, i] = own
    for a, i in enumerate(rows):
        below = slice(i.start, n)
        for j in rows[: a + 1]:
            factor[i, j] = factor[below, i].T @ factor[below, j]
    return factor


def identity(like, n, columns=None, *, start=0):
    """Columns `start` on of the n x n identity, all by default, like an array."""
    return namespace(like).eye(
        n, columns, k=-start, dtype=like.dtype, device=compat.device(like)
    )


def solve_triangular(factor, rhs, *, transposed=False):
    """Solve L x = rhs, or L' x = rhs, with a lower-triangular L."""
    xp = namespace(factor)
    if is_numpy(xp):
        return lapack.dtrtrs(factor.T, rhs, lower=0, trans=int(not transposed))[0]
    if compat.is_cupy_namespace(xp):
        from cupyx.scipy.linalg import solve_triangular as solve

        # In CuPy's order of memory the factor is the upper one: no copy is made.
        return solve(factor.T, rhs, lower=False, trans=int(not transposed))
    factor = xp.tril(factor)
    if compat.is_torch_namespace(xp):
        import torch

        matrix = factor.T if transposed else factor
        return torch.linalg.solve_triangular(matrix, rhs, upper=transposed)
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


def clip(x, low=None, high=None):
    """`x` within the limits that are given."""
    xp = namespace(x)
    if not compat.is_cupy_namespace(xp):
        return xp.clip(x, low, high)
    # The standard's clip assigns through masks there, which waits for the device.
    x = x if low is None else xp.maximum(x, low)
    return x if high is None else xp.minimum(x, high)


def fused(method):
    """Make one kernel of `method(self, k, q1, q2, gain, *flags)` on CuPy's arrays.

    The method is elementwise and gives a tuple of arrays proportional to `gain`, or
    such an array and None. CuPy takes the kernel from the formula itself, by a call
    with variables that record what is done to them. `self` and the flags are constants
    of the kernel and must be hashable; `gain`, which every step of a search changes, is
    an argument. All other arrays go through the method as it stands.
    """

    @wraps(method)
    def call(self, k, q1, q2, gain=1.0, *flags, **named):
        if type(k) is np.ndarray or not compat.is_cupy_array(k):
            return method(self, k, q1, q2, gain, *flags, **named)
        kernel = _fused_kernel(method, self, flags, *named.items())
        parts = kernel(k, q1, q2, float(gain))
        return parts if len(parts) > 1 else (*parts, None)

    return call


@lru_cache(maxsize=256)
def _fused_kernel(method, owner, flags, *named):
    import cupy

    def formula(k, q1, q2, gain):
        _TRACED.add(type(k))
        parts = method(owner, k, q1, q2, 1.0, *flags, **dict(named))
        # Not inside: what CuPy computes from numbers alone may be in half precision.
        scaled = [(part.dtype, gain * part) for part in parts if part is not None]
        # Before version 14 a number times single precision is double.
        return tuple(part.astype(dtype, copy=False) for dtype, part in scaled)

    name = f"{type(owner).__name__}_{method.__name__}"
    return cupy.fuse(kernel_name=name)(formula)


def round_columns(x):
    """Values on a grid for each column that suits its spread: see `GRID`."""
    spread = np.std(to_numpy(x), axis=0)
    # The nearest power of two: standardised columns are far from where it changes.
    grid = GRID * 2.0 ** np.round(np.log2(np.where(spread > 0, spread, 1.0)))
    grid = asarray_like(grid, x)
    return namespace(x).round(x / grid) * grid


def special_function(name, x):
    """Elementwise function `name` of scipy.special."""
    if compat.is_cupy_array(x):
        # SciPy would hand over only where SCIPY_ARRAY_API is set.
        from cupyx.scipy import special as device_special

        return getattr(device_special, name)(x)
    return getattr(special, name)(x)


def add_to_diagonal(matrix, values):
    """`matrix` + diag(values), overwritten where the library allows it."""
    return set_diagonal(matrix, diagonal(matrix) + values)


def diagonal(matrix):
    return namespace(matrix).linalg.diagonal(matrix)


def set_diagonal(matrix, values):
    """`matrix` with the given diagonal, overwritten where the library allows it."""
    xp = namespace(matrix)
    n = matrix.shape[0]
    strided = is_numpy(xp) or compat.is_cupy_namespace(xp)
    if strided and matrix.flags.c_contiguous:
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


def _free_on_device(cupy):
    pool = cupy.get_default_memory_pool()
    # The pool keeps what was freed, and gives it out again.
    free = cupy.cuda.runtime.memGetInfo()[0] + pool.free_bytes()
    limit = pool.get_limit()
    return min(free, limit - pool.used_bytes()) if limit else free


@contextmanager
def device_memory_errors(*, inducing=False):
    """Say what to do about it where a device runs out of memory.

    With `inducing` the message names `n_inducing`.
    """
    try:
        yield
    except MemoryError as error:
        if not type(error).__module__.startswith("cupy"):
            raise
        cure = "set n_inducing, or fit" if inducing else "fit"
        raise MemoryError(
            f"The GPU ran out of memory: {cure} on fewer rows, or set device=None. "
            f"({error})"
        ) from error


@cache
def _blas():
    return ThreadpoolController().select(user_api="blas")


class _OneBlasThread:
    """Limits BLAS, in the whole process, until the last one leaves who has entered.

    Limits that overlap in several threads would restore each other's.
    """

    def __init__(self):
        self.lock, self.inside, self.limit = Lock(), 0, None

    def __enter__(self):
        with self.lock:
            if self.inside == 0:
                self.limit = _blas().limit(limits=1)
            self.inside += 1

    def __exit__(self, *_):
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.limit.restore_original_limits()


_one_blas_thread = _OneBlasThread()


def small_problem_threads(n, threshold=500):
    """One BLAS thread while matrices are small: spinning up more costs more."""
    return nullcontext() if n >= threshold else _one_blas_thread


def in_threads(work, parts, like):
    """Results of `work` on lists of the parts, in as many threads as BLAS may use.

    Every thread has two parts or more, evenly spaced, and BLAS one thread meanwhile. On
    a device, which is parallel itself, there is one list of all parts.
    """
    limits = (library.num_threads for library in _blas().lib_controllers)
    threads = min(min(limits, default=1), len(parts) // 2)
    if threads < 2 or not is_numpy(namespace(like)):
        return [work(parts)]
    lists = [parts[start::threads] for start in range(threads)]
    # Threads begin without the context that holds NumPy's handling of errors.
    calls = [partial(copy_context().run, work, some) for some in lists]
    with _one_blas_thread, ThreadPoolExecutor(threads) as pool:
        return [task.result() for task in [pool.submit(call) for call in calls]]


def threads_for_workers(n_jobs):
    """One BLAS thread while several of joblib's workers, which may be threads, work."""
    return _one_blas_thread if effective_n_jobs(n_jobs) > 1 else nullcontext()
