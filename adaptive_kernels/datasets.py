"""Seeded tasks on which theories and networks are compared."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "coef": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_ising(n_samples=100, n_features=20, *, coef=False, random_state=None):
    """Linearly separable Ising task: random signs, labelled by a random direction.

    Parameters
    ----------
    n_samples : int, default=100
    n_features : int, default=20
    coef : bool, default=False
        Whether to return the direction too.
    random_state : int, RandomState or None, default=None
        The direction is drawn first: a longer draw does not change it.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        Independent entries -1 or 1.
    y : ndarray of shape (n_samples,)
        Labels -1 or 1: the sign of the projection on the direction.
    direction : ndarray of shape (n_features,)
        Only with `coef`; of unit length.

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
