"""Kernels whose largest eigenvalues are replaced by others.

A kernel k = sum_i lam_i phi_i phi_i becomes k_g = sum_i g(lam_i) phi_i phi_i. A sample
of n rows with kernel matrix K = V diag(l) V' estimates both parts,

    lam_i ~ l_i / n,    phi_i(x) ~ sqrt(n) / l_i  k_x' v_i,    k_x = (k(x, x_j))_j.
"""

from collections.abc import Callable
from numbers import Real
from typing import TypeAlias

import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process.kernels import Kernel

from .._arrays import (
    Array,
    ArrayLike,
    as_float64,
    asarray_like,
    check_memory,
    mirror_lower,
    namespace,
)
from ._base import _Operators
from ._eigenpairs import check_n_components, significant_eigenpairs, top_eigenpairs
from ._inputs import as_rows

Spectrum: TypeAlias = str | float | Callable[[np.ndarray], np.ndarray]

SPECTRA = {"flat": 0.0, "identity": 1.0}


def modified_eigenvalues(
    eigenvalues: np.ndarray, spectrum: Spectrum, n: int
) -> np.ndarray:
    """New eigenvalues g of the first modes of an n x n kernel matrix.

    Parameters
    ----------
    eigenvalues : ndarray (k,)
        Eigenvalues l of the matrix, largest first and positive.
    spectrum : {"flat", "identity"}, float or callable
        A number p means g = l_k (l / l_k)^p, with l_k the smallest of the given
        eigenvalues: 1 or "identity" changes nothing, 0 or "flat" makes all of them l_k.
        A function maps eigenvalues of the kernel's integral operator, l / n, to new
        ones.
    n : int
        Number of rows of the matrix.

    Returns
    -------
    ndarray (k,)
        New eigenvalues of the matrix.

    Raises
    ------
    ValueError
        If `spectrum` is none of these, or gives a negative or infinite number.

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
        with np.errstate(over="ignore"):  # infinity is refused below
            new = eigenvalues[-1] * (eigenvalues / eigenvalues[-1]) ** exponent
    if new.shape != eigenvalues.shape or not np.all(np.isfinite(new) & (new >= 0)):
        raise ValueError(
            "spectrum must map every eigenvalue to a finite number >= 0, and "
            f"{spectrum!r} does not."
        )
    return new


def _exponent(spectrum: str | float) -> float:
    if isinstance(spectrum, str) and spectrum in SPECTRA:
        return SPECTRA[spectrum]
    if isinstance(spectrum, Real) and np.isfinite(spectrum):
        return float(spectrum)
    raise ValueError(
        "spectrum must be 'flat', 'identity', a finite number or a function of "
        f"eigenvalues, got {spectrum!r}."
    )


class ModifiedSpectrum(_Operators, Kernel):
    """A kernel with the eigenfunctions of another kernel and new eigenvalues.

    Use it to change which functions a kernel learns first: a flat spectrum learns its
    first modes equally fast. The eigenfunctions are estimated on a sample of n rows,
    with an error of order 1 / sqrt(n). This costs the kernel matrix of the sample and
    its first eigenvectors, once. The kernel has no `theta`: tune `base` first.

    Parameters
    ----------
    base : kernel
        The kernel to modify, for instance `NTK`.
    sample : array-like (n, d)
        Rows that define the eigenfunctions: the training rows or some thousand of them.
        An argument, because scikit-learn clones kernels by their arguments.
    spectrum : {"flat", "identity"}, float or callable, default="flat"
        New eigenvalues of the first modes. A number p means lam_k (lam / lam_k)^p with
        lam_k the smallest of them: 1 or "identity" changes nothing, and 0 or "flat"
        makes all of them lam_k. A function maps the eigenvalues of the integral
        operator of `base`, those of the sample's kernel matrix over n, to new ones.
    n_components : int, default=50
        Number of modes to modify; modes that are only rounding errors do not count.
    keep_tail : bool, default=True
        Whether all other modes are kept unchanged. Otherwise they are dropped, and the
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
        self,
        base: Kernel,
        sample: ArrayLike,
        *,
        spectrum: Spectrum = "flat",
        n_components: int = 50,
        keep_tail: bool = True,
    ) -> None:
        self.base = base
        self.sample = sample
        self.spectrum = spectrum
        self.n_components = n_components
        self.keep_tail = keep_tail

    def __call__(
        self, X: ArrayLike, Y: ArrayLike | None = None, eval_gradient: bool = False
    ) -> Array | tuple[Array, Array]:
        """Kernel matrix in double precision.

        Parameters
        ----------
        X : array (n, d)
            Rows.
        Y : array (m, d), default=None
            Other rows; None means X.
        eval_gradient : bool, default=False
            Whether to return the gradient too; requires `Y=None`.

        Returns
        -------
        K : array (n, m)
        gradient : array (n, n, 0)
            Empty, as there is no `theta`; only with `eval_gradient`.

        Raises
        ------
        ValueError
            If a parameter is out of its domain; the message names it.
        MemoryError
            If the kernel matrix of `sample` does not fit in memory.
        """
        if eval_gradient and Y is not None:
            raise ValueError("Gradient can only be evaluated when Y is None.")
        X = as_float64(as_rows(X))
        left, weights = self._modes(X)
        right = left if Y is None else self._modes(as_float64(as_rows(Y)))[0]
        K = (left * weights) @ right.T
        if self.keep_tail:
            K = K + self.base(X, None if Y is None else as_float64(as_rows(Y)))
        K = mirror_lower(K) if Y is None else K
        return (K, np.empty((*K.shape, 0))) if eval_gradient else K

    def diag(self, X: ArrayLike) -> Array:
        """Diagonal of the kernel matrix of X: array (n,)."""
        X = as_float64(as_rows(X))
        modes, weights = self._modes(X)
        change = namespace(X).sum(weights * modes**2, axis=1)
        return change + self.base.diag(X) if self.keep_tail else change

    def is_stationary(self) -> bool:
        """Whether the kernel depends on differences of inputs only: no."""
        return False

    def _modes(self, X: Array) -> tuple[Array, Array]:
        """k_x' v_i of every row x (n, k), and the weights (k,) of their products."""
        values, vectors = self._eigenpairs()
        n = vectors.shape[0]
        new = modified_eigenvalues(values, self.spectrum, n)
        weights = (new - values if self.keep_tail else new) / values**2
        cross = self.base(X, asarray_like(self.sample, X))
        return cross @ asarray_like(vectors, X), asarray_like(weights, X)

    def _eigenpairs(self) -> tuple[np.ndarray, Array]:
        """Eigenpairs of the sample, computed again only if a parameter has changed."""
        source = self.base, self.n_components
        known = getattr(self, "_known", None)
        if known and known[0] is self.sample and known[1] == source:
            return known[2]
        check_n_components(self.n_components)
        sample = as_float64(as_rows(self.sample))
        check_memory(sample, sample.shape[0], 3)
        pairs = top_eigenpairs(self.base(sample), self.n_components, random_state=0)
        pairs = significant_eigenpairs(*pairs, self.n_components)
        # A copy, because the parameters of `base` may be changed later.
        self._known = self.sample, (clone(self.base), self.n_components), pairs
        return pairs

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return False
        ours, theirs = self.get_params(), other.get_params()
        return all(np.array_equal(ours[name], theirs[name]) for name in ours)

    def __repr__(self) -> str:
        return (
            f"ModifiedSpectrum({self.base!r}, spectrum={self.spectrum!r}, "
            f"n_components={self.n_components}, keep_tail={self.keep_tail})"
        )
