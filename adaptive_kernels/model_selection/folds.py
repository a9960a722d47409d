"""Folds of cross-validation, with as many rows as a fold needs."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_consistent_length

from .._arrays import namespace, to_numpy
from .._sklearn import CVIterableWrapper, safe_indexing
from ..inference import subsampling
from ..inference.subsampling import random_rows, stratified_rows

# Folds where rows are few.
MOST_FOLDS = 5


def default_folds(n_samples):
    """More folds where rows are few: there they cost little and every row counts."""
    return min(MOST_FOLDS, n_samples) if n_samples <= 300 else 3


def without_zero_weights(X, y, weights, groups):
    """The rows of positive weight, and a mask of them; None where that is all rows.

    Folds are of these rows only, so that weight zero is the same as removal.
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
    """Checked folds of the rows, see `checked_folds`.

    splitter : from `check_cv`, or one of scikit-learn's
    kept : ndarray (n_given,) of bool or None, which of the given rows these are: a list
        of folds counts all given rows
    """
    n_samples = X.shape[0]
    folds = splitter.split(X, y, groups)
    if kept is None or not isinstance(splitter, CVIterableWrapper):
        return checked_folds(folds, n_samples)
    place = np.cumsum(kept) - 1
    folds = checked_folds(folds, len(kept))
    folds = [[place[side[kept[side]]] for side in fold] for fold in folds]
    return checked_folds(folds, n_samples)


def checked_folds(folds, n_samples):
    """A list of (train, test) places from whatever a splitter or a user gives.

    Places are integers, in any sequence, or masks.

    Raises
    ------
    ValueError
        If there is no fold, one is empty, or a place is no row.
    """
    checked = [tuple(_places(side, n_samples) for side in fold) for fold in folds]
    if not checked:
        raise ValueError(
            "cv gives no folds: a list is empty, or a generator was used up by another "
            "fit. Give a list of (train, test) or a splitter."
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
        raise ValueError(f"A fold of cv names rows beyond the {n_samples} given.")
    return places.astype(int) % max(n_samples, 1)


@dataclass(frozen=True)
class Fold:
    """Places of a fold's rows.

    train : ndarray of int, to learn from
    relevance : ndarray of int, to see relevance of features in
    held_out : ndarray of int, to be scored on
    """

    train: np.ndarray
    relevance: np.ndarray
    held_out: np.ndarray

    @property
    def many(self):
        """Rows to learn from where some structure shows in no fewer of them."""
        rows = random_rows(len(self.relevance), subsampling.FINALIST_ROWS)
        return self.relevance[rows]


def random_folds(folds):
    """Folds of random rows where there are more than a fold needs.

    folds : iterable of (train, test), arrays of places
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
    """The same with every class at its frequency, and rare ones where rows are learned.

    codes : ndarray (n,) of int
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
