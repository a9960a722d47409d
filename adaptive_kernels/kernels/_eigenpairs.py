"""Largest eigenvalues of a kernel matrix and their eigenvectors.

Three methods: a dense routine, Lanczos iterations, and the Nystrom method for matrices
that do not fit in memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from sklearn.utils import check_random_state

from .._arrays import (
    Array,
    as_float64,
    cholesky,
    eigh,
    index_like,
    is_numpy,
    namespace,
    solve_triangular,
    to_numpy,
)
from ._recursion import slices_of

# Eigenvalues up to this are no signal: kernels add a tiny number to denominators.
VANISHING = np.finfo(float).tiny / np.finfo(float).eps
# Lanczos is used for up to n / 20 components. Measured for n up to 4000: it is up to 30
# times faster than the dense routine for few components, and as fast at n / 12.
_LANCZOS_SHARE = 20
_BLOCK_BYTES = 2**27
# Rows of the Nystrom subsample: their matrix takes 128 MB.
_SUBSAMPLE = 4000


def top_eigenpairs(
    K: Array,
    n_components: int,
    *,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, Array]:
    """Largest eigenvalues of a kernel matrix, and their eigenvectors.

    A few components of a large NumPy matrix are computed by Lanczos iterations, with a
    check that no copy of a repeated eigenvalue is missing. All other cases use a dense
    routine, which costs O(n^3).

    Parameters
    ----------
    K : array (n, n)
        Symmetric and positive semi-definite.
    n_components : int
        At most n are returned.
    random_state : int, RandomState or None, default=None
        Seed of the starting vector of Lanczos iterations.

    Returns
    -------
    eigenvalues : ndarray (k,)
        Largest first, not negative.
    vectors : array (n, k)
        Eigenvectors in columns.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.kernels._spectrum import top_eigenpairs
    >>> top_eigenpairs(np.diag([1.0, 3.0, 2.0]), 2)[0]
    array([3., 2.])
    """
    check_n_components(n_components)
    K, n = as_float64(K), K.shape[0]
    k = min(n_components, n)
    if not is_numpy(namespace(K)):
        values, vectors = eigh(K)
        values, vectors = to_numpy(values)[n - k :], vectors[:, n - k :]
    elif _LANCZOS_SHARE * k > n or n < 500:
        values, vectors = _dense(K, k)
    else:
        values, vectors = _lanczos(K, k, check_random_state(random_state))
    return np.maximum(values[::-1], 0), namespace(vectors).flip(vectors, axis=1)


def _dense(K: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    n = K.shape[0]
    return linalg.eigh(K, subset_by_index=(n - k, n - 1))


def _lanczos(
    K: np.ndarray, k: int, rng: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray]:
    n = K.shape[0]
    start = rng.standard_normal(n)
    try:
        values, vectors = eigsh(K, k, v0=start)

        def deflated(v: np.ndarray) -> np.ndarray:
            return K @ v - vectors @ (values * (vectors.T @ v))

        rest = LinearOperator((n, n), matvec=deflated, dtype=float)
        left = eigsh(rest, 1, v0=start, tol=1e-2, return_eigenvectors=False)
    except ArpackError:
        return _dense(K, k)
    missed = np.max(left) > (1 + 1e-6) * np.min(values)
    return _dense(K, k) if missed else (values, vectors)


@dataclass(frozen=True)
class KernelRows:
    """Kernel matrix between X and Y (None: X) that is never formed as a whole.

    Products with it are computed in blocks of rows.
    """

    kernel: Callable[..., Array]
    X: Array
    Y: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.X.shape[0], self._columns.shape[0]

    @property
    def _columns(self) -> Array:
        return self.X if self.Y is None else self.Y

    def __matmul__(self, vectors: Array) -> Array:
        n, columns = self.shape
        blocks = [
            self.kernel(self.X[rows, :], self._columns) @ vectors
            for rows in slices_of(n, max(16, _BLOCK_BYTES // (8 * columns)))
        ]
        return namespace(*blocks).concat(blocks, axis=0)


def nystrom_eigenpairs(
    kernel: Callable[..., Array],
    X: Array,
    n_components: int,
    *,
    n_subsample: int = _SUBSAMPLE,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, Array]:
    """Approximate top eigenpairs of a kernel matrix that is never formed.

    Eigenvectors of a subsample are extended to all rows, as in EigenPro, and give a
    basis Q. One pass through K in blocks of rows gives K Q. The pairs returned are
    those of K Q (Q'KQ)^{-1} Q'K. Their eigenvalues are never larger than the true ones,
    and as accurate as after one step of subspace iteration.

    Parameters
    ----------
    kernel : callable
        kernel(X, Y=None) is the kernel matrix between rows.
    X : array (n, d)
        All rows.
    n_components : int
        Largest number k of pairs; the basis has at most twice as many columns.
    n_subsample : int, default=4000
        Rows of the subsample.
    random_state : int, RandomState or None, default=None
        Seed of the subsample and of Lanczos iterations.

    Returns
    -------
    eigenvalues : ndarray (k,)
        Eigenvalues of the n x n matrix, largest first.
    vectors : array (n, k)
        Orthonormal columns.

    References
    ----------
    Ma and Belkin, arXiv:1806.06144; Frangella, Tropp and Udell, arXiv:2110.02820.
    """
    check_n_components(n_components)
    X, rng = as_float64(X), check_random_state(random_state)
    xp, n = namespace(X), X.shape[0]
    rows = np.sort(rng.choice(n, min(n_subsample, n), replace=False))
    sample = xp.take(X, index_like(rows, X), axis=0)
    values, vectors = top_eigenpairs(kernel(sample), 2 * n_components, random_state=rng)
    vectors = vectors[:, : _significant(values, len(rows))]
    basis = xp.linalg.qr(KernelRows(kernel, X, sample) @ vectors)[0]
    values, vectors = _one_pass(KernelRows(kernel, X), basis)
    return values[:n_components], vectors[:, :n_components]


def _one_pass(K: KernelRows, basis: Array) -> tuple[np.ndarray, Array]:
    """Eigenpairs of K Q (Q'KQ)^{-1} Q'K, shifted so that Q'KQ has a factor."""
    xp, image = namespace(basis), K @ basis
    largest = float(xp.max(xp.abs(image)))
    shift = basis.shape[0] ** 0.5 * float(np.finfo(float).eps) * largest
    image = image + shift * basis
    core = basis.T @ image
    factor = cholesky((core + core.T) / 2)
    half = solve_triangular(factor, image.T)
    vectors, values, _ = xp.linalg.svd(half.T, full_matrices=False)
    return np.maximum(to_numpy(values) ** 2 - shift, 0), vectors


def check_n_components(n_components: int) -> None:
    """Raise ValueError unless n_components is a positive integer."""
    if not isinstance(n_components, Integral) or n_components < 1:
        raise ValueError(f"n_components must be an integer >= 1, got {n_components!r}.")


def _significant(eigenvalues: np.ndarray, n: int) -> int:
    """How many of the eigenvalues, largest first, are larger than rounding errors."""
    rounding = n * np.finfo(float).eps * eigenvalues[0]
    return int(np.sum(eigenvalues > max(rounding, VANISHING)))


def significant_eigenpairs(
    eigenvalues: np.ndarray, vectors: Array, n_components: int
) -> tuple[np.ndarray, Array]:
    """The first pairs, without rounding errors: ndarray (k,) and array (n, k)."""
    k = min(n_components, _significant(eigenvalues, vectors.shape[0]))
    if k == 0:
        raise ValueError("The kernel matrix is zero: it has no spectrum to modify.")
    return eigenvalues[:k], vectors[:, :k]
