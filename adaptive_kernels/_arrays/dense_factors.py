"""Dense symmetric matrices: factors, inverses, triangles and diagonals."""

from functools import cache

import array_api_compat as compat
import numpy as np
from scipy.linalg import lapack

from .namespaces import _cupy, is_numpy, namespace
from .types import Array

LinAlgError = np.linalg.LinAlgError
# Rows of a factor that are inverted at once on a device: 32 MiB for a square block.
INVERSE_BLOCK = 2048


def cholesky(matrix: Array) -> Array:
    """Lower Cholesky factor of the matrix whose lower triangle is given.

    Only the lower triangle of the result is valid. Arrays of NumPy and CuPy are
    overwritten.

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
    # An entry that is not finite makes the diagonal entry of its row not finite.
    if not bool(xp.all(xp.isfinite(diagonal(factor)))):
        raise LinAlgError("matrix is not positive definite")
    return factor


def _device_cholesky(matrix: Array) -> Array:
    if not compat.is_cupy_array(matrix):
        return namespace(matrix).linalg.cholesky(mirror_lower(matrix))
    # CuPy's own function would copy the matrix.
    from cupy.cuda import device
    from cupy_backends.cuda.libs import cublas, cusolver

    cupy, n = _cupy(), matrix.shape[0]
    with matrix.device:
        matrix = cupy.ascontiguousarray(matrix, dtype=cupy.float64)
        # cuSOLVER stores by columns: our lower triangle is its upper one.
        upper, place = cublas.CUBLAS_FILL_MODE_UPPER, matrix.data.ptr
        problem = device.get_cusolver_handle(), upper, n, place, n
        size = cusolver.dpotrf_bufferSize(*problem)
        workspace = cupy.empty(size, dtype=cupy.float64)
        info = cupy.empty(1, dtype=cupy.int32)
        cusolver.dpotrf(*problem, workspace.data.ptr, size, info.data.ptr)
        if int(info[0]) != 0:
            raise LinAlgError("matrix is not positive definite")
    return matrix


def inverse_from_cholesky(factor: Array) -> Array:
    """Lower triangle of (L L')^{-1} from the factor L, which is overwritten.

    The libraries of a device lack the routine, and there the work goes by blocks of
    rows. First W = L^{-1} from the top: left of the diagonal W_i = -L_ii^{-1} L_i W.
    Then W'W from the top: its row i needs no row of W before i. This takes 2 n^3 / 3
    operations, nearly all in matrix products. Two triangular solves would take 2 n^3.
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


def identity(
    like: Array, n: int, columns: int | None = None, *, start: int = 0
) -> Array:
    """Columns of the n x n identity from `start` on, of the library of `like`."""
    return namespace(like).eye(
        n, columns, k=-start, dtype=like.dtype, device=compat.device(like)
    )


def solve_triangular(factor: Array, rhs: Array, *, transposed: bool = False) -> Array:
    """Solve L x = rhs, or L' x = rhs, with a lower-triangular L."""
    xp = namespace(factor)
    if is_numpy(xp):
        return lapack.dtrtrs(factor.T, rhs, lower=0, trans=int(not transposed))[0]
    if compat.is_cupy_namespace(xp):
        from cupyx.scipy.linalg import solve_triangular as solve

        # CuPy's solver stores by columns: the transpose needs no copy.
        return solve(factor.T, rhs, lower=False, trans=int(not transposed))
    factor = xp.tril(factor)
    if compat.is_torch_namespace(xp):
        import torch

        matrix = factor.T if transposed else factor
        return torch.linalg.solve_triangular(matrix, rhs, upper=transposed)
    return xp.linalg.solve(factor.T if transposed else factor, rhs)


def cho_solve(factor: Array, rhs: Array) -> Array:
    """Solve (L L') x = rhs."""
    if is_numpy(namespace(factor)):
        return lapack.dpotrs(factor.T, rhs, lower=0)[0]
    return solve_triangular(factor, solve_triangular(factor, rhs), transposed=True)


def solve_sets(matrices: Array, rhs: Array) -> Array:
    """Solve M_b x_b = rhs_b for small positive definite M (b, k, k) and rhs (b, k, c).

    Both may be overwritten. Only the lower triangles are read on the host.
    """
    xp = namespace(matrices)
    if not is_numpy(xp):
        solved = xp.linalg.solve(matrices, rhs)
        if not bool(xp.all(xp.isfinite(solved))):
            raise LinAlgError("matrix is not positive definite")
        return solved
    solved = np.empty_like(rhs)
    for place, matrix in enumerate(matrices):
        _, solved[place], info = lapack.dposv(
            matrix.T, rhs[place], lower=0, overwrite_a=1
        )
        if info != 0:
            raise LinAlgError("matrix is not positive definite")
    return solved


def eigh(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues (ascending) and eigenvectors of a full symmetric matrix."""
    values, vectors = namespace(matrix).linalg.eigh(matrix)
    return values, vectors


@cache
def _strictly_lower(n: int) -> np.ndarray:
    return np.tri(n, k=-1)


def mirror_lower(matrix: Array) -> Array:
    """A new symmetric matrix with the lower triangle of `matrix`."""
    xp = namespace(matrix)
    if is_numpy(xp):
        lower = matrix * _strictly_lower(matrix.shape[0])
        return set_diagonal(lower + lower.T, diagonal(matrix))
    return xp.tril(matrix) + xp.tril(matrix, k=-1).T


def add_to_diagonal(matrix: Array, values: Array | float) -> Array:
    """`matrix` + diag(values), overwritten where the library allows it."""
    return set_diagonal(matrix, diagonal(matrix) + values)


def diagonal(matrix: Array) -> Array:
    """Diagonal of a matrix: (n,)."""
    return namespace(matrix).linalg.diagonal(matrix)


def clip_diagonal(covariance: Array) -> Array:
    """Set variances that rounding made negative to 0, in (m, m) or (m, m, C)."""
    xp, m = namespace(covariance), covariance.shape[0]
    on = xp.eye(m, dtype=xp.bool, device=compat.device(covariance))
    on = xp.reshape(on, (m, m) + (1,) * (covariance.ndim - 2))
    return xp.where(on & (covariance < 0), 0 * covariance, covariance)


def set_diagonal(matrix: Array, values: Array) -> Array:
    """`matrix` with the given diagonal, overwritten where the library allows it."""
    xp = namespace(matrix)
    n = matrix.shape[0]
    strided = is_numpy(xp) or compat.is_cupy_namespace(xp)
    if strided and matrix.flags.c_contiguous:
        matrix.reshape(-1)[:: n + 1] = values
        return matrix
    on = xp.eye(n, dtype=xp.bool, device=compat.device(matrix))
    return xp.where(on, values[:, None], matrix)
