"""Top of a kernel's spectrum, and kernels whose spectrum is modified.

A kernel k = sum_i lam_i phi_i phi_i becomes k_g = sum_i g(lam_i) phi_i phi_i. A sample
of n rows with kernel matrix K = V diag(l) V' estimates both parts,

    lam_i ~ l_i / n,    phi_i(x) ~ sqrt(n) / l_i  k_x' v_i,    k_x = (k(x, x_j))_j.
"""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from sklearn.base import clone
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state

from .._array import (
    as_float64,
    asarray_like,
    check_memory,
    cholesky,
    eigh,
    index_like,
    is_numpy,
    mirror_lower,
    namespace,
    solve_triangular,
    to_numpy,
)
from ._base import _as_rows, _Operators
from ._recursion import slices_of

SPECTRA = {"flat": 0.0, "identity": 1.0}

# Kernels guard divisions by the smallest numbers there are; these are no signal.
VANISHING = np.finfo(float).tiny / np.finfo(float).eps

# Measured for n up to 4000: Lanczos is up to 30 times faster than the dense routine
# for few components, and as fast at about n / 12 of them.
_LANCZOS_SHARE = 20
_BLOCK_BYTES = 2**27
_SUBSAMPLE = 4000


def top_eigenpairs(K, n_components, *, random_state=None):
    """Largest eigenvalues of a kernel matrix, and their eigenvectors.

    Few components of a large matrix come from Lanczos iterations, checked to have
    missed no copy of a repeated eigenvalue; other cases, and other libraries than
    NumPy, from a dense routine.

    Parameters
    ----------
    K : array (n, n)
        Symmetric and positive semi-definite.
    n_components : int
        At most n are returned.
    random_state : int, RandomState or None, default=None
        For the starting vector of Lanczos iterations.

    Returns
    -------
    eigenvalues : ndarray (k,)
        Largest first, not negative.
    vectors : array (n, k)

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


def _dense(K, k):
    n = K.shape[0]
    return linalg.eigh(K, subset_by_index=(n - k, n - 1))


def _lanczos(K, k, rng):
    n = K.shape[0]
    start = rng.standard_normal(n)
    try:
        values, vectors = eigsh(K, k, v0=start)

        def deflated(v):
            return K @ v - vectors @ (values * (vectors.T @ v))

        rest = LinearOperator((n, n), matvec=deflated, dtype=float)
        left = eigsh(rest, 1, v0=start, tol=1e-2, return_eigenvectors=False)
    except ArpackError:
        return _dense(K, k)
    missed = np.max(left) > (1 + 1e-6) * np.min(values)
    return _dense(K, k) if missed else (values, vectors)


@dataclass(frozen=True)
class KernelRows:
    """Kernel matrix between X and Y (None: X) that multiplies in blocks of rows."""

    kernel: object
    X: object
    Y: object = None

    @property
    def shape(self):
        """Rows and columns of the matrix."""
        return self.X.shape[0], self._columns.shape[0]

    @property
    def _columns(self):
        return self.X if self.Y is None else self.Y

    def __matmul__(self, vectors):
        n, columns = self.shape
        blocks = [
            self.kernel(self.X[rows, :], self._columns) @ vectors
            for rows in slices_of(n, max(16, _BLOCK_BYTES // (8 * columns)))
        ]
        return namespace(*blocks).concat(blocks, axis=0)


def nystrom_eigenpairs(
    kernel, X, n_components, *, n_subsample=_SUBSAMPLE, random_state=None
):
    """Approximate top eigenpairs of a kernel matrix that is never formed.

    Eigenvectors of a subsample extend to all rows, as in EigenPro. With them as a
    basis Q one pass through K in blocks of rows gives K Q, and K Q (Q'KQ)^{-1} Q'K has
    the pairs returned: never larger than the true ones, and as good as after one step
    of subspace iteration.

    Parameters
    ----------
    kernel : callable
        kernel(X, Y) is the kernel matrix between rows.
    X : array (n, d)
    n_components : int
        The basis holds twice as many.
    n_subsample : int, default=4000
        Rows of the subsample.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    eigenvalues : ndarray (k,)
        Of the n x n matrix, largest first.
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


def _one_pass(K, basis):
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


def check_n_components(n_components):
    """Raise unless there are components to speak of."""
    if not isinstance(n_components, Integral) or n_components < 1:
        raise ValueError(f"n_components must be an integer >= 1, got {n_components!r}.")


def _significant(eigenvalues, n):
    """How many of the eigenvalues, largest first, stand above rounding."""
    rounding = n * np.finfo(float).eps * eigenvalues[0]
    return int(np.sum(eigenvalues > max(rounding, VANISHING)))


def significant_eigenpairs(eigenvalues, vectors, n_components):
    """The first pairs, without those that are rounding: ndarray (k,), array (n, k)."""
    k = min(n_components, _significant(eigenvalues, vectors.shape[0]))
    if k == 0:
        raise ValueError("The kernel matrix is zero: it has no spectrum to modify.")
    return eigenvalues[:k], vectors[:, :k]


def modified_eigenvalues(eigenvalues, spectrum, n):
    """New eigenvalues g of the first modes of an n x n kernel matrix.

    Parameters
    ----------
    eigenvalues : ndarray (k,)
        Of the matrix, largest first and positive.
    spectrum : {"flat", "identity"}, float or callable
        A number p means g = l_k (l / l_k)^p, with l_k the smallest of the eigenvalues
        given: 1 or "identity" changes nothing, and 0 or "flat" makes all of them l_k.
        A function maps eigenvalues of the kernel's integral operator, l / n, to new
        ones.
    n : int
        Rows of the matrix.

    Returns
    -------
    ndarray (k,)
        Of the matrix.

    Raises
    ------
    ValueError
        If `spectrum` is none of these, or gives anything but finite numbers >= 0.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.kernels._spectrum import modified_eigenvalues
    >>> modified_eigenvalues(np.array([16.0, 4.0]), 0.5, 2)
    array([8., 4.])
    >>> modified_eigenvalues(np.array([16.0, 4.0]), np.sqrt, 2).round(3)
    array([5.657, 2.828])
    """
    if callable(spectrum):
        new = n * np.asarray(spectrum(eigenvalues / n), dtype=float)
    else:
        exponent = _exponent(spectrum)
        new = eigenvalues[-1] * (eigenvalues / eigenvalues[-1]) ** exponent
    if new.shape != eigenvalues.shape or not np.all(np.isfinite(new) & (new >= 0)):
        raise ValueError(
            "spectrum must map every eigenvalue to a finite number >= 0, and "
            f"{spectrum!r} does not."
        )
    return new


def _exponent(spectrum):
    if isinstance(spectrum, str) and spectrum in SPECTRA:
        return SPECTRA[spectrum]
    if isinstance(spectrum, Real) and np.isfinite(spectrum):
        return float(spectrum)
    raise ValueError(
        "spectrum must be 'flat', 'identity', a finite number or a function of "
        f"eigenvalues, got {spectrum!r}."
    )


class ModifiedSpectrum(_Operators, Kernel):
    """A kernel with the eigenfunctions of another one, and other eigenvalues.

    Both are estimated on a sample of the input distribution, with an error that falls
    as one over the square root of its size. The modified kernel is fixed: it has no
    `theta`, so fit the variances of `base` first.

    Parameters
    ----------
    base : kernel
        The kernel to modify, for instance `NTK`.
    sample : array-like (n, d)
        Rows that define the eigenfunctions, the training rows or some thousand of them.
        An argument, because scikit-learn clones kernels by their arguments.
    spectrum : {"flat", "identity"}, float or callable, default="flat"
        New eigenvalues of the first modes. A number p means lam_k (lam / lam_k)^p with
        lam_k the smallest of them: 1 or "identity" changes nothing, and 0 or "flat"
        makes all of them lam_k. A function maps the eigenvalues of the integral
        operator of `base`, those of the sample's kernel matrix over n, to new ones.
    n_components : int, default=50
        How many modes are modified; modes that are rounding are not among them.
    keep_tail : bool, default=True
        Whether all other modes stay as they are; otherwise they are dropped, and the
        kernel has rank `n_components`.

    References
    ----------
    Geifman et al., arXiv:2307.14531.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.kernels import NTK, ModifiedSpectrum
    >>> X = np.linspace(-1, 1, 6)[:, None]
    >>> kernel = ModifiedSpectrum(NTK("relu"), X, n_components=3)
    >>> np.linalg.eigvalsh(NTK("relu")(X))[::-1].round(2)
    array([1.69, 1.54, 0.11, 0.03, 0.02, 0.01])
    >>> np.linalg.eigvalsh(kernel(X))[::-1].round(2)
    array([0.11, 0.11, 0.11, 0.03, 0.02, 0.01])
    """

    def __init__(
        self, base, sample, *, spectrum="flat", n_components=50, keep_tail=True
    ):
        self.base = base
        self.sample = sample
        self.spectrum = spectrum
        self.n_components = n_components
        self.keep_tail = keep_tail

    def __call__(self, X, Y=None, eval_gradient=False):
        """Kernel matrix in double precision.

        Parameters
        ----------
        X : array (n, d)
        Y : array (m, d), default=None
            None means X.
        eval_gradient : bool, default=False
            Only for `Y=None`.

        Returns
        -------
        K : array (n, m)
        gradient : array (n, n, 0)
            Only with `eval_gradient`: empty, as there is no `theta`.

        Raises
        ------
        ValueError
            If a parameter is unusable; the message names it.
        MemoryError
            If the kernel matrix of `sample` does not fit in memory.
        """
        if eval_gradient and Y is not None:
            raise ValueError("Gradient can only be evaluated when Y is None.")
        X = as_float64(_as_rows(X))
        left, weights = self._modes(X)
        right = left if Y is None else self._modes(as_float64(_as_rows(Y)))[0]
        K = (left * weights) @ right.T
        if self.keep_tail:
            K = K + self.base(X, None if Y is None else as_float64(_as_rows(Y)))
        K = mirror_lower(K) if Y is None else K
        return (K, np.empty((*K.shape, 0))) if eval_gradient else K

    def diag(self, X):
        """Diagonal of the kernel matrix of X: array (n,)."""
        X = as_float64(_as_rows(X))
        modes, weights = self._modes(X)
        change = namespace(X).sum(weights * modes**2, axis=1)
        return change + self.base.diag(X) if self.keep_tail else change

    def is_stationary(self):
        """Whether the kernel depends on differences of inputs only: no."""
        return False

    def _modes(self, X):
        """k_x' v_i of every row x (n, k), and the weights (k,) of their products."""
        values, vectors = self._eigenpairs()
        n = vectors.shape[0]
        new = modified_eigenvalues(values, self.spectrum, n)
        weights = (new - values if self.keep_tail else new) / values**2
        cross = self.base(X, asarray_like(self.sample, X))
        return cross @ asarray_like(vectors, X), asarray_like(weights, X)

    def _eigenpairs(self):
        """Eigenpairs of the sample, computed again only where they may have changed."""
        source = self.base, self.n_components
        known = getattr(self, "_known", None)
        if known and known[0] is self.sample and known[1] == source:
            return known[2]
        check_n_components(self.n_components)
        sample = as_float64(_as_rows(self.sample))
        check_memory(sample, sample.shape[0], 3)
        pairs = top_eigenpairs(self.base(sample), self.n_components, random_state=0)
        pairs = significant_eigenpairs(*pairs, self.n_components)
        # A copy of base, whose parameters may be set later.
        self._known = self.sample, (clone(self.base), self.n_components), pairs
        return pairs

    def __eq__(self, other):
        if type(self) is not type(other):
            return False
        ours, theirs = self.get_params(), other.get_params()
        return all(np.array_equal(ours[name], theirs[name]) for name in ours)

    def __repr__(self):
        return (
            f"ModifiedSpectrum({self.base!r}, spectrum={self.spectrum!r}, "
            f"n_components={self.n_components}, keep_tail={self.keep_tail})"
        )
