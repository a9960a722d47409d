"""Folds of cross-validation, checked and limited to the row budgets."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.model_selection import KFold, check_cv
from sklearn.utils import check_consistent_length

from .._arrays import namespace, to_numpy
from .._sklearn import CVIterableWrapper, safe_indexing
from ..inference import subsampling
from ..inference.subsampling import random_rows, stratified_rows

# Number of folds up to 300 rows.
MOST_FOLDS = 5


def default_folds(n_samples):
    """Five folds up to 300 rows, where they cost little, and three beyond.

    Three folds of at most 50 iterations took 0.4 of the time, at 0.98 of the RMSE.
    """
    return min(MOST_FOLDS, n_samples) if n_samples <= 300 else 3


def regression_splitter(cv, n_samples, random_state):
    """The splitter of a parameter `cv`; a number of folds is shuffled."""
    if cv is not None and not isinstance(cv, Integral):
        return check_cv(cv)
    seed = 0 if random_state is None else random_state
    n_splits = default_folds(n_samples) if cv is None else cv
    return KFold(n_splits, shuffle=True, random_state=seed)


def without_zero_weights(X, y, weights, groups):
    """The rows of positive weight, and a mask of them; None where that is all rows.

    Folds are made of these rows only, so that a weight of zero removes a row.
    """
    if weights is None or bool(namespace(weights).all(weights > 0)):
        return (X, y, weights), groups, None
    kept = to_numpy(weights) > 0
    rows = np.flatnonzero(kept)
    data = tuple(safe_indexing(a, rows) for a in (X, y, weights))
    if groups is not None:
        check_consistent_length(X, groups)
        groups = safe_indexing(groups, rows)
    return data, groups, kept


def folds_of(splitter, X, y, groups, kept=None):
    """Checked folds of the rows of X, see `checked_folds`.

    splitter : from `check_cv`, or one of scikit-learn's
    kept : ndarray (n_given,) of bool or None, which rows given to `fit` are in X. The
        indices in a list of folds refer to all rows given.
    """
    n_samples = X.shape[0]
    try:
        folds = list(splitter.split(X, y, groups))
    except (TypeError, ValueError) as error:
        raise type(error)(f"cv cannot split these rows: {error}") from error
    if kept is None or not isinstance(splitter, CVIterableWrapper):
        return checked_folds(folds, n_samples)
    place = np.cumsum(kept) - 1
    folds = checked_folds(folds, len(kept))
    folds = [[place[side[kept[side]]] for side in fold] for fold in folds]
    return checked_folds(folds, n_samples)


def checked_folds(folds, n_samples):
    """Convert folds to a list of (train, test) arrays of row indices.

    folds : iterable of (train, test), each a sequence of integers or a mask

    Raises
    ------
    ValueError
        If there is no fold, a side is empty, or an index is out of range.
    """
    checked = [tuple(_places(side, n_samples) for side in fold) for fold in folds]
    if not checked:
        raise ValueError(
            "cv gives no folds: the list is empty, or the generator was used up by "
            "another fit. Give a list of (train, test), or a splitter."
        )
    for i, fold in enumerate(checked):
        if len(fold) != 2 or min(map(len, fold)) == 0:
            raise ValueError(
                f"Fold {i} of cv must be two sets of rows of positive weight, to learn "
                "from and to be scored on, got "
                f"{', '.join(str(len(side)) for side in fold)} rows."
            )
    return checked


def _places(side, n_samples):
    places = np.asarray(side).reshape(-1)
    if places.dtype == bool:
        if len(places) != n_samples:
            raise ValueError(
                f"A mask of cv has {len(places)} entries for {n_samples} rows."
            )
        return np.flatnonzero(places)
    if places.size and not np.issubdtype(places.dtype, np.integer):
        raise ValueError(
            f"Folds of cv must hold integers or masks, got {places.dtype}."
        )
    if places.size and (places.min() < -n_samples or places.max() >= n_samples):
        raise ValueError(f"A fold of cv has rows beyond the {n_samples} given.")
    return places.astype(int) % max(n_samples, 1)


@dataclass(frozen=True)
class Fold:
    """Indices of the rows of a fold.

    train : ndarray of int, rows to learn from
    relevance : ndarray of int, rows to measure the relevance of features on
    held_out : ndarray of int, rows to be scored on
    """

    train: np.ndarray
    relevance: np.ndarray
    held_out: np.ndarray

    @property
    def many(self):
        """More training rows, for finalists: some structure needs more than `train`."""
        rows = random_rows(len(self.relevance), subsampling.FINALIST_ROWS)
        return self.relevance[rows]


def random_folds(folds):
    """Folds for regression, each reduced to random rows if it exceeds the row budgets.

    folds : iterable of (train, test), arrays of row indices
    """
    rng = np.random.RandomState(0)

    def some(rows, size):
        kept = rng.permutation(len(rows))[:size]
        return rows if len(rows) <= size else rows[np.sort(kept)]

    return [
        Fold(
            some(train, subsampling.FOLD_ROWS),
            some(train, subsampling.RELEVANCE_ROWS),
            some(test, subsampling.VALIDATION_ROWS),
        )
        for train, test in folds
    ]


def stratified_folds(folds, codes):
    """Folds for classification, reduced to stratified rows.

    The rows to learn from contain rare classes with at least `LEAST_CLASS_ROWS` rows.

    folds : iterable of (train, test), arrays of row indices
    codes : ndarray (n,) of int, codes of the classes
    """
    budgets = subsampling.CLASS_FOLD_ROWS, subsampling.CLASS_VALIDATION_ROWS

    def some(rows, size, least):
        return rows[stratified_rows(codes[rows], size, least=least)]

    sized = [
        (
            some(train, budgets[0], subsampling.LEAST_CLASS_ROWS),
            some(test, budgets[1], 0),
        )
        for train, test in folds
    ]
    return [Fold(train, train, test) for train, test in sized]
