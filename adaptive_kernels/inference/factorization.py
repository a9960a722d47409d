"""Gaussian linear algebra: factorise K + noise, evidence, its gradient, leave-one-out.

With U = (K + noise)^{-1} Y and A = C (K + noise)^{-1} - U U' for C outputs,

    log evidence = - (1/2) tr Y'U - (C/2) log det (K + noise) - (n C / 2) log 2 pi,
    d log evidence = - (1/2) tr (A dK).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi

from .._arrays import (
    Array,
    LinAlgError,
    add_to_diagonal,
    cho_solve,
    cholesky,
    diagonal,
    identity,
    inverse_from_cholesky,
    mirror_lower,
    namespace,
    solve_triangular,
)

# Columns of an inverse that are computed at once: 8 MB for every 1000 rows.
_COLUMNS = 1024


@dataclass(frozen=True)
class Factored:
    """Cholesky factor of K + noise, with the dual and the evidence of targets Y.

    factor : array (n, n), lower triangle
    dual : array (n, C), (K + noise)^{-1} Y
    log_evidence : float, summed over outputs
    """

    factor: Array
    dual: Array
    log_evidence: float

    def inverse(self) -> Array:
        """Lower triangle of (K + noise)^{-1}; the factor is overwritten."""
        return inverse_from_cholesky(self.factor)


def factorize(K: Array, Y: Array, noise: float | Array) -> Factored:
    """Factorise K + diag(noise). Reads the lower triangle of K and overwrites K.

    Parameters
    ----------
    K : array (n, n)
    Y : array (n, C)
    noise : float or array (n,)

    Returns
    -------
    Factored

    Raises
    ------
    LinAlgError
        If the matrix is not positive definite in double precision.
    """
    xp = namespace(K)
    n, outputs = Y.shape
    try:
        factor = cholesky(add_to_diagonal(K, noise))
    except LinAlgError:
        raise LinAlgError(
            "The kernel matrix plus noise is not positive definite in double "
            "precision: raise alpha (1e-8 of the kernel's diagonal is usually enough), "
            "or drop duplicate rows."
        ) from None
    dual = cho_solve(factor, Y)
    # -(1/2) [tr Y'U + C log det (K + noise) + n C log 2 pi]
    log_det = 2 * float(xp.sum(xp.log(diagonal(factor))))
    fit = float(xp.sum(Y * dual))
    evidence = -0.5 * (fit + outputs * log_det + n * outputs * log(2 * pi))
    return Factored(factor, dual, evidence)


def evidence_cotangent(
    factored: Factored,
) -> tuple[Callable[[slice, slice], Array], Array]:
    """A = C (K + noise)^{-1} - U U' as a function of a block, and its diagonal.

    The function takes a slice of rows and a slice of columns of the lower triangle of
    blocks. The factor is overwritten.
    """
    dual = factored.dual
    inverse = factored.inverse()
    outputs = dual.shape[1]

    def block(rows: slice, columns: slice) -> Array:
        part = inverse[rows, columns]
        if rows == columns:
            part = mirror_lower(part)
        part = outputs * part if outputs > 1 else part
        return part - dual[rows, :] @ dual[columns, :].T

    squares = namespace(dual).sum(dual * dual, axis=1)
    return block, outputs * diagonal(inverse) - squares


def fit_cotangent(factored: Factored) -> tuple[Callable[[slice, slice], Array], Array]:
    """-U U', the part of A that comes from -(1/2) tr Y'U, and its diagonal."""
    dual = factored.dual

    def block(rows: slice, columns: slice) -> Array:
        return -(dual[rows, :] @ dual[columns, :].T)

    return block, -namespace(dual).sum(dual * dual, axis=1)


def inverse_diagonal(factor: Array) -> Array:
    """Diagonal (n,) of (L L')^{-1}; the factor L is not overwritten."""
    xp, n, parts = namespace(factor), factor.shape[0], []
    for start in range(0, n, _COLUMNS):
        columns = identity(factor, n, min(_COLUMNS, n - start), start=start)
        half = solve_triangular(factor, columns)
        parts.append(xp.sum(half * half, axis=0))
    return xp.concat(parts)


def leave_one_out(factored: Factored, Y: Array) -> tuple[Array, Array]:
    """Leave-one-out predictive mean (n, C) and observation variance (n,).

    In closed form at fixed hyperparameters: with P = (K + noise)^{-1} the mean of row i
    is y_i - U_i / P_ii and its variance 1 / P_ii. The factor is overwritten. See
    Rasmussen and Williams (2006), section 5.4.2.
    """
    precision = diagonal(factored.inverse())
    return Y - factored.dual / precision[:, None], 1 / precision
