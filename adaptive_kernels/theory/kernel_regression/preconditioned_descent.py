"""Gradient descent on a kernel, preconditioned in its top eigendirections.

For a squared loss each eigendirection of K = V diag(l) V' of the residual r = y - f
shrinks independently. This holds for kernel gradient descent, and for a network that is
wide enough to be linear in its weights. The preconditioner S modifies the first k,

    S = I - V_k diag(1 - g / l) V_k',    r_t = (I - step_size K S)^t r_0,

so that K S has eigenvalues g_1 .. g_k, l_{k+1} .. l_n. The limit of descent does not
depend on S: every increment lies in the span of the kernel's rows. S is never formed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..._arrays import Array, ArrayLike, as_float64, asarray_like, namespace, to_numpy
from ...kernels._eigenpairs import (
    check_n_components,
    significant_eigenpairs,
    top_eigenpairs,
)
from ...kernels._spectrum import modified_eigenvalues
from .._checks import check_noise

_DIVERGED = 1e10  # relative residual from which descent counts as diverged


@dataclass(frozen=True)
class Preconditioner:
    """Changes how fast descent learns the k top eigendirections V of a kernel.

    S = I - V diag(1 - ratio) V'. Make it with :meth:`of_kernel` or
    :meth:`of_eigenpairs`; each use costs O(n k).

    Attributes
    ----------
    vectors : array (n, k)
        V, orthonormal columns.
    ratio : array (k,)
        New eigenvalues over old ones, g / l.
    largest : float
        Largest eigenvalue of the kernel matrix times S.

    References
    ----------
    Geifman et al., arXiv:2307.14531.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.theory import Preconditioner
    >>> K = np.diag([8.0, 4.0, 2.0, 1.0])
    >>> S = Preconditioner.of_kernel(K, 2)
    >>> S.apply(np.ones(4))
    array([0.5, 1. , 1. , 1. ])
    >>> S.eigenvalues(np.array([8.0, 4.0, 2.0, 1.0]))
    array([4., 4., 2., 1.])
    """

    vectors: Array
    ratio: Array
    largest: float

    @classmethod
    def of_kernel(
        cls,
        K: Array,
        n_components: int,
        *,
        spectrum: str | float | Callable[[np.ndarray], np.ndarray] = "flat",
        ridge: float = 0.0,
        random_state: int | np.random.RandomState | None = None,
    ) -> Self:
        """Make S for a kernel matrix, or for the kernel J J' of a Jacobian J.

        Parameters
        ----------
        K : array (n, n)
            Symmetric and positive semi-definite.
        n_components : int
            Number of directions to modify, without those that are rounding errors.
        spectrum : {"flat", "identity"}, float or callable, default="flat"
            New eigenvalues. A number p means l_k (l / l_k)^p with l_k the smallest of
            them: 0 or "flat" makes all of them l_k, 1 or "identity" changes nothing. A
            function maps eigenvalues of the kernel's integral operator, those of the
            matrix over n, to new ones, all positive.
        ridge : float, default=0.0
            S is made for K + ridge I.
        random_state : int, RandomState or None, default=None
            Seed of the eigenvalue routine.

        Raises
        ------
        ValueError
            If a parameter is out of its domain; the message names it.
        """
        check_n_components(n_components)
        pairs = top_eigenpairs(K, n_components + 1, random_state=random_state)
        return cls.of_eigenpairs(*pairs, n_components, spectrum=spectrum, ridge=ridge)

    @classmethod
    def of_eigenpairs(
        cls,
        eigenvalues: np.ndarray,
        vectors: Array,
        n_components: int,
        *,
        spectrum: str | float | Callable[[np.ndarray], np.ndarray] = "flat",
        ridge: float = 0.0,
    ) -> Self:
        """Make S from eigenpairs of K, largest first: n_components + 1 or more.

        The first pair that is not modified, if there is one, limits the step size.
        """
        check_noise(ridge, "ridge")
        check_n_components(n_components)
        values = eigenvalues + ridge
        kept, directions = significant_eigenpairs(values, vectors, n_components)
        new = modified_eigenvalues(kept, spectrum, vectors.shape[0])
        if not np.all(new > 0):
            raise ValueError(
                f"spectrum={spectrum!r} makes eigenvalues zero, where descent would "
                "learn nothing: it must be positive."
            )
        rest = values[len(kept) : len(kept) + 1]
        ratio = asarray_like(new / kept, vectors)
        return cls(directions, ratio, float(np.max(np.concat([new, rest]))))

    @property
    def step_size(self) -> float:
        """A step size with which every direction converges: 1 / `largest`."""
        return 1 / self.largest

    def apply(self, residual: Array) -> Array:
        """S residual in O(n k): array (n,) or (n, C)."""
        columns = residual[:, None] if residual.ndim == 1 else residual
        change = (1 - self.ratio)[:, None] * (self.vectors.T @ columns)
        columns = columns - self.vectors @ change
        return columns[:, 0] if residual.ndim == 1 else columns

    def eigenvalues(self, eigenvalues: ArrayLike) -> np.ndarray:
        """Eigenvalues of K S from those of K, largest first, in the same order.

        With a ridge, those of (K + ridge I) S from those of K + ridge I.
        """
        modified = np.array(eigenvalues, dtype=float)
        modified[: self.ratio.shape[0]] *= to_numpy(self.ratio)
        return modified


@dataclass(frozen=True)
class Descent:
    """Result of kernel gradient descent.

    Attributes
    ----------
    dual_coef : array (n,) or (n, C)
        The function is K(x, X) @ dual_coef.
    n_iter : int
        Number of iterations.
    residual_curve : ndarray (n_iter + 1,)
        Norm of y - (K + ridge I) dual_coef over that of y, before every iteration and
        at the end.
    converged : bool
        Whether the residual fell to `tol` before `max_iter`, without divergence.
    step_size : float
        Step size that was used.
    """

    dual_coef: Array
    n_iter: int
    residual_curve: np.ndarray
    converged: bool
    step_size: float


def kernel_gradient_descent(
    K: Array,
    y: Array,
    *,
    preconditioner: Preconditioner | None = None,
    ridge: float = 0.0,
    step_size: float | None = None,
    tol: float = 1e-3,
    max_iter: int = 1000,
) -> Descent:
    """Solve (K + ridge I) dual = y by preconditioned gradient descent.

    Use it if K is too large to factorise: an iteration costs one product K @ dual.

    Parameters
    ----------
    K : array (n, n), or object with ``K @ dual``
        Kernel matrix, for instance in blocks of rows that are computed when needed.
    y : array (n,) or (n, C)
        Targets.
    preconditioner : Preconditioner, default=None
        S, made with the same ridge. None means plain descent.
    ridge : float, default=0.0
        Added to the diagonal of K.
    step_size : float, default=None
        None means one over the largest eigenvalue of (K + ridge I) S, which without a
        preconditioner needs K as an array. Descent converges below twice that.
    tol : float, default=1e-3
        Stop when the norm of the residual is this share of that of y.
    max_iter : int, default=1000
        Largest number of iterations.

    Returns
    -------
    Descent

    References
    ----------
    Geifman et al., arXiv:2307.14531.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels.theory import Preconditioner
    >>> from adaptive_kernels.theory import kernel_gradient_descent
    >>> K, y = np.diag([100.0, 10.0, 1.0]), np.ones(3)
    >>> kernel_gradient_descent(K, y).n_iter
    633
    >>> S = Preconditioner.of_kernel(K, 3)
    >>> kernel_gradient_descent(K, y, preconditioner=S).n_iter
    1
    """
    check_noise(ridge, "ridge")
    y = as_float64(y)
    if step_size is None:
        step_size = _step_size(K, preconditioner, ridge)
    dual, residual = 0 * y, y
    scale = _norm(y) or 1.0  # targets of zero need no iteration
    curve = [_norm(y) / scale]
    while tol < curve[-1] < _DIVERGED and len(curve) <= max_iter:
        step = residual if preconditioner is None else preconditioner.apply(residual)
        dual = dual + step_size * step
        residual = y - K @ dual - ridge * dual
        curve.append(_norm(residual) / scale)
    return Descent(
        dual, len(curve) - 1, np.array(curve), bool(curve[-1] <= tol), step_size
    )


def _norm(values):
    return float(namespace(values).sum(values * values)) ** 0.5


def _step_size(K, preconditioner, ridge):
    if preconditioner is not None:
        return preconditioner.step_size
    largest = top_eigenpairs(K, 1, random_state=0)[0][0] + ridge
    if not largest > 0:
        raise ValueError("K is zero: nothing can be fitted with it.")
    return 1 / float(largest)


def predicted_residual(
    eigenvalues: ArrayLike,
    coefficients: ArrayLike,
    n_iter: int | ArrayLike,
    *,
    step_size: float,
) -> float | np.ndarray:
    """Exact norm of the residual after some iterations, relative to the start.

    Parameters
    ----------
    eigenvalues : array-like (n,)
        Eigenvalues of (K + ridge I) S, from `Preconditioner.eigenvalues`.
    coefficients : array-like (n,) or (n, C)
        V'y, the targets in the kernel's eigenvectors.
    n_iter : int or array-like (T,) of int
        Numbers of iterations.
    step_size : float
        Step size of the descent.

    Returns
    -------
    float or ndarray (T,)

    Examples
    --------
    >>> from adaptive_kernels.theory import predicted_residual
    >>> predicted_residual([1.0, 0.5], [3.0, 4.0], [0, 1, 2], step_size=1.0)
    array([1. , 0.4, 0.2])
    """
    power = np.asarray(coefficients, dtype=float) ** 2
    power = power if power.ndim == 1 else power.sum(axis=1)
    left = (1 - step_size * np.asarray(eigenvalues, dtype=float)) ** 2
    curve = left ** np.asarray(n_iter)[..., None] @ power
    return np.sqrt(curve / (np.sum(power) or 1.0))[()]


def iterations_needed(
    eigenvalues: ArrayLike, shrinkage: float, *, step_size: float
) -> np.ndarray:
    """Iterations until each mode of the residual has shrunk to a given share.

    Parameters
    ----------
    eigenvalues : array-like (n,)
        Eigenvalues of (K + ridge I) S, from `Preconditioner.eigenvalues`.
    shrinkage : float
        The share, between 0 and 1.
    step_size : float
        Step size of the descent.

    Returns
    -------
    ndarray (n,)
        Whole numbers, or infinity if a mode does not shrink.

    Raises
    ------
    ValueError
        If `shrinkage` is not between 0 and 1.

    Examples
    --------
    >>> from adaptive_kernels.theory import iterations_needed
    >>> iterations_needed([1.0, 0.1, 0.001], 0.01, step_size=1.0)
    array([1.000e+00, 4.400e+01, 4.603e+03])
    """
    if not 0 < shrinkage < 1:
        raise ValueError(f"shrinkage must be between 0 and 1, got {shrinkage!r}.")
    move = step_size * np.asarray(eigenvalues, dtype=float)
    with np.errstate(divide="ignore"):
        slow, fast = np.minimum(move, 1), np.maximum(move - 1, 0)
        rate = np.where(move < 1, np.log1p(-slow), np.log(fast))
        needed = np.ceil(np.log(shrinkage) / rate)
    return np.where(rate < 0, np.maximum(needed, 1), np.inf)


def preconditioned_step(
    jacobian: Array,
    residual: Array,
    preconditioner: Preconditioner,
    *,
    step_size: float | None = None,
) -> Array:
    """Weight increment of one step of preconditioned descent on a network.

    The increment is step_size J' S (y - f), for the loss |y - f|^2 / 2. In a framework
    with vector-Jacobian products J is not needed: use
    ``step_size * preconditioner.apply(residual)`` as the cotangent of the outputs.

    Parameters
    ----------
    jacobian : array (n, p) or (n, C, p)
        Derivatives J of the outputs by the weights, at the current weights.
    residual : array (n,) or (n, C)
        y - f, targets minus current outputs.
    preconditioner : Preconditioner
        Made for the `NTK` of the infinitely wide network, or for the network's own
        kernel J J' at initialisation. All outputs share it.
    step_size : float, default=None
        None means that of the preconditioner. If its kernel is larger than J J' by some
        factor, multiply the step size by this factor.

    Returns
    -------
    array (p,)
        Add it to the weights.

    Raises
    ------
    ValueError
        If the shapes of `jacobian` and `residual` do not fit.

    References
    ----------
    Geifman et al., arXiv:2307.14531.

    Examples
    --------
    A model that is linear in its weights is fitted in one step:

    >>> import numpy as np
    >>> from adaptive_kernels.theory import Preconditioner, preconditioned_step
    >>> J, y = np.array([[3.0, 1.0], [0.0, 1.0]]), np.array([1.0, 2.0])
    >>> S = Preconditioner.of_kernel(J @ J.T, 2)
    >>> weights = preconditioned_step(J, y, S)
    >>> J @ weights
    array([1., 2.])
    """
    if tuple(jacobian.shape[:-1]) != tuple(residual.shape):
        raise ValueError(
            f"jacobian has shape {tuple(jacobian.shape)}, and residual "
            f"{tuple(residual.shape)}: it must be that of residual and one more axis."
        )
    step_size = preconditioner.step_size if step_size is None else step_size
    xp, cotangent = namespace(residual), preconditioner.apply(residual)
    rows = xp.reshape(jacobian, (-1, jacobian.shape[-1]))
    return step_size * (rows.T @ xp.reshape(cotangent, (-1,)))
