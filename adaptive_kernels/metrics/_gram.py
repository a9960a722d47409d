"""Inputs of the metrics of kernels: rows of features, or a Gram matrix in blocks."""

from dataclasses import dataclass

import numpy as np
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_array

from .._arrays import Array, as_float64, diagonal, is_numpy, namespace, to_numpy
from ..kernels._recursion import slices_of

# Distances count as equal if they differ by less than this, relative to the numbers
# from which they are computed.
ROUNDING = 8 * float(np.finfo(float).eps)

_BLOCK = 512
# Largest asymmetry of a Gram matrix relative to its entries: single precision passes.
_SYMMETRY = 1e-6


def read(X, input):
    """Feature rows as an array (n, p) if `input` is "features", otherwise a `Gram`."""
    if isinstance(input, Kernel):
        return Evaluated(_matrix(X), input)
    if not isinstance(input, str) or input not in ("features", "kernel"):
        raise ValueError(
            "input must be 'features', 'kernel' or a scikit-learn Kernel object, got "
            f"{input!r}."
        )
    X = _matrix(X)
    return X if input == "features" else Precomputed(_check_symmetric(X))


def _matrix(X):
    """X as a finite matrix in double precision, of the same library."""
    xp = namespace(X)
    if is_numpy(xp):
        return check_array(X, dtype=np.float64, input_name="X")
    if X.ndim != 2 or X.shape[0] == 0:
        raise ValueError(f"X must be a matrix with rows, got shape {X.shape}.")
    X = as_float64(X)
    if not bool(xp.all(xp.isfinite(X))):
        raise ValueError("X contains NaN or infinity: impute or drop these rows.")
    return X


def _check_symmetric(K):
    if K.shape[0] != K.shape[1]:
        raise ValueError(
            f"input='kernel' needs a square X, got shape {tuple(K.shape)}: for rows of "
            "features set input='features', or pass a Kernel object."
        )
    xp, close = namespace(K), _SYMMETRY * float(namespace(K).max(abs(K)))
    for i, j in _lower_pairs(K.shape[0]):
        if float(xp.max(abs(K[i, j] - K[j, i].T))) > close:
            raise ValueError(
                "input='kernel' needs a symmetric X: for rows of features set "
                "input='features'."
            )
    return K


def _lower_pairs(n):
    """Pairs of slices of rows and columns: the lower triangle of blocks."""
    slices = slices_of(n, _BLOCK)
    return [(i, j) for a, i in enumerate(slices) for j in slices[: a + 1]]


class Gram:
    """A symmetric positive semi-definite matrix K (n, n) of inner products.

    Subclasses have an attribute `rows`, an array of n rows on the device of K. Their
    methods `part(i, j)`, `diagonal()` and `whole()` return the block of two slices, the
    diagonal (n,), and the matrix.
    """

    rows: Array

    def blocks(self):
        """Yield row slice, column slice and block of K, in the lower triangle."""
        for i, j in _lower_pairs(self.rows.shape[0]):
            yield i, j, self.part(i, j)

    def mean_square(self):
        """Mean of the diagonal, to which rounding errors are relative."""
        return float(np.mean(to_numpy(self.diagonal())))

    def from_first_row(self):
        """K with the features counted from those of the first row.

        Distances do not change. But a large offset common to all rows is gone, so that
        sums lose fewer digits by cancellation.
        """
        column = self.part(slice(0, self.rows.shape[0]), slice(0, 1))[:, 0]
        return Moved(self.rows, self, column - self.diagonal()[0] / 2)


@dataclass(frozen=True)
class Precomputed(Gram):
    """A Gram matrix in memory."""

    rows: Array

    def part(self, i, j):
        return self.rows[i, j]

    def diagonal(self):
        return diagonal(self.rows)

    def whole(self):
        return self.rows


@dataclass(frozen=True)
class Evaluated(Gram):
    """The Gram matrix of a scikit-learn kernel among some rows."""

    rows: Array
    kernel: Kernel

    def part(self, i, j):
        X = self.rows
        same = i == j
        K = self.kernel(X[i, :]) if same else self.kernel(X[i, :], X[j, :])
        return as_float64(K)

    def diagonal(self):
        return as_float64(self.kernel.diag(self.rows))

    def whole(self):
        return as_float64(self.kernel(self.rows))


@dataclass(frozen=True)
class Moved(Gram):
    """K - r 1' - 1 r' for a vector r."""

    rows: Array
    gram: Gram
    shift: Array

    def part(self, i, j):
        return self.gram.part(i, j) - self.shift[i, None] - self.shift[None, j]

    def diagonal(self):
        return self.gram.diagonal() - 2 * self.shift


@dataclass(frozen=True)
class Classes:
    """Labels as numbers.

    names : ndarray (C,), distinct labels, sorted
    index : ndarray (n,) of int, class of each row
    counts : ndarray (C,), rows of each class
    """

    names: np.ndarray
    index: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, y, n):
        """Read n labels of any type that can be sorted."""
        y = check_length(to_numpy(y), n)
        if y.ndim != 1:
            raise ValueError(f"y must hold one label per row, got shape {y.shape}.")
        try:
            missing = bool(np.any(y != y))
            names, index, counts = np.unique(y, return_inverse=True, return_counts=True)
        except TypeError as error:
            raise ValueError(
                "y mixes types of labels, or some are missing: make them all strings."
            ) from error
        if missing:
            raise ValueError("y contains NaN: drop the rows without a label.")
        if len(names) < 2:
            raise ValueError("y has one class only: at least two are needed.")
        return cls(names, index, counts)

    def members(self):
        """Row numbers of each class."""
        order = np.argsort(self.index, kind="stable")
        return np.split(order, np.cumsum(self.counts)[:-1])

    def average(self, values):
        """Mean of values (n,) over each class: ndarray (C,)."""
        return np.bincount(self.index, weights=to_numpy(values)) / self.counts

    def indicators(self):
        """Indicator columns of the classes: ndarray (n, C)."""
        return np.eye(len(self.names))[self.index]


def check_length(y, n):
    """Return `y`, or raise ValueError if it does not have n rows."""
    if y.shape[:1] != (n,):
        raise ValueError(f"X has {n} rows, but y has shape {y.shape}.")
    return y
