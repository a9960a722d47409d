"""Simulated data sets on which theories and networks are compared."""

from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
from numpy.polynomial import hermite_e
from sklearn.utils import check_array, check_random_state

from ._arrays import ArrayLike
from ._sklearn import Interval, validate_params


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "coef": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_ising(
    n_samples: int = 100,
    n_features: int = 20,
    *,
    coef: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, ...]:
    """Linearly separable Ising task: random signs, labelled by a random direction.

    Use it to compare theories of finite networks: one direction is to be learned.

    Parameters
    ----------
    n_samples : int, default=100
        Number of rows.
    n_features : int, default=20
        Number of columns.
    coef : bool, default=False
        Whether to return the direction too.
    random_state : int, RandomState or None, default=None
        Seed. The direction is drawn first, so it does not depend on `n_samples`.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Independent entries -1 or 1.
    y : ndarray of shape (n_samples,)
        Labels -1 or 1: the sign of the projection on the direction.
    direction : ndarray of shape (n_features,)
        Direction of unit length; only with `coef`.

    References
    ----------
    The task of figure 2 of arXiv:2502.03210.

    Examples
    --------
    >>> from adaptive_kernels.datasets import make_ising
    >>> X, y = make_ising(50, 10, random_state=0)
    >>> X.shape, sorted(set(y.tolist()))
    ((50, 10), [-1.0, 1.0])
    """
    rng = check_random_state(random_state)
    direction = rng.standard_normal(n_features)
    X = 2.0 * rng.randint(0, 2, size=(n_samples, n_features)) - 1
    y = np.where(X @ direction >= 0, 1.0, -1.0)
    direction = direction / np.linalg.norm(direction)
    return (X, y, direction) if coef else (X, y)


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "means": ["array-like"],
        "scale": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_gaussian_classes(
    n_samples: int | Sequence[int] = 128,
    n_features: int = 8,
    *,
    means: ArrayLike = (-2.0, 2.0),
    scale: float = 0.5,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Classes of isotropic Gaussian rows, in random order.

    Use it to see how kernels separate classes, for instance with `nc1_score`.

    Parameters
    ----------
    n_samples : int or sequence of int, default=128
        Number of all rows, in classes of nearly equal size, or the size of each class.
    n_features : int, default=8
        Number of columns.
    means : array-like of shape (n_classes,) or (n_classes, n_features), \
default=(-2.0, 2.0)
        Class means; one number is the mean of every feature.
    scale : float, default=0.5
        Standard deviation of every feature in a class.
    random_state : int, RandomState or None, default=None
        Seed of the rows and of their order.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,)
        Labels in the order of the means, with steps of 2 and a mean of 0: -1 and 1 for
        two classes; -3, -1, 1 and 3 for four.

    Raises
    ------
    ValueError
        If `means` does not fit `n_features`, or `n_samples` does not fit `means`.

    References
    ----------
    The task of arXiv:2406.02105.

    Examples
    --------
    >>> from adaptive_kernels.datasets import make_gaussian_classes
    >>> X, y = make_gaussian_classes([10, 30], 2, random_state=0)
    >>> X.shape, round(float(X[y == 1].mean()), 1), int((y == 1).sum())
    ((40, 2), 2.0, 30)
    """
    rng = check_random_state(random_state)
    means = _class_means(means, n_features)
    classes = len(means)
    index = rng.permutation(
        np.repeat(range(classes), _class_counts(n_samples, classes))
    )
    X = means[index] + scale * rng.standard_normal((len(index), n_features))
    return X, 2.0 * index - (classes - 1)


def _class_means(means, n_features):
    means = np.asarray(means, dtype=float)
    means = means[:, None] if means.ndim == 1 else means
    if means.ndim != 2 or means.shape[1] not in (1, n_features):
        raise ValueError(
            f"means must be of shape (n_classes,) or (n_classes, {n_features}), got "
            f"{means.shape}: match n_features."
        )
    return means


def _class_counts(n_samples, classes):
    if isinstance(n_samples, Integral):
        return np.diff(np.arange(classes + 1) * n_samples // classes)
    counts = np.asarray(n_samples)
    if counts.shape != (classes,) or counts.dtype.kind not in "iu" or min(counts) < 1:
        raise ValueError(
            f"n_samples must be an int or {classes} counts, one for each of the means, "
            f"got {n_samples!r}."
        )
    return counts


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "hermite_coefficients": ["array-like"],
        "noise": [Interval(Real, 0, None, closed="left")],
        "coef": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_single_index(
    n_samples: int = 100,
    n_features: int = 20,
    *,
    hermite_coefficients: ArrayLike = (0.0, 1.0, 0.5),
    noise: float = 0.3,
    coef: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, ...]:
    """Regression on a polynomial of one random projection of normal inputs.

    Use it to see which polynomials a model learns, and how well it finds the direction.

    Parameters
    ----------
    n_samples : int, default=100
        Number of rows.
    n_features : int, default=20
        Number of columns.
    hermite_coefficients : array-like, default=(0, 1, 0.5)
        Coefficients c_k of the polynomial sum_k c_k He_k in probabilists' Hermite
        polynomials, whose variance is k!. The default is g + (g^2 - 1) / 2 of the
        projection g.
    noise : float, default=0.3
        Standard deviation of the normal noise.
    coef : bool, default=False
        Whether to return the direction too.
    random_state : int, RandomState or None, default=None
        Seed. The direction is drawn first, then X row by row, then the noise.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Independent standard normal entries.
    y : ndarray of shape (n_samples,)
        Targets, with noise.
    direction : ndarray of shape (n_features,)
        Direction of unit length; only with `coef`.

    Raises
    ------
    ValueError
        If `hermite_coefficients` is not a sequence of finite numbers.

    References
    ----------
    The model of arXiv:2310.07891.

    Examples
    --------
    >>> from adaptive_kernels.datasets import make_single_index
    >>> X, y, direction = make_single_index(100, 5, noise=0, coef=True, random_state=0)
    >>> g = X @ direction
    >>> bool(abs(y - g - (g**2 - 1) / 2).max() < 1e-12)
    True
    """
    coefficients = check_array(
        hermite_coefficients,
        ensure_2d=False,
        ensure_min_samples=0,
        dtype=float,
        input_name="hermite_coefficients",
    )
    if coefficients.ndim != 1 or not len(coefficients):
        raise ValueError(
            "hermite_coefficients must be a sequence of numbers c_0, c_1, ...; got "
            f"shape {coefficients.shape}."
        )
    rng = check_random_state(random_state)
    direction = rng.standard_normal(n_features)
    direction /= np.linalg.norm(direction)
    X = rng.standard_normal((n_samples, n_features))
    signal = hermite_e.hermeval(X @ direction, coefficients)
    y = signal + noise * rng.standard_normal(n_samples)
    return (X, y, direction) if coef else (X, y)
