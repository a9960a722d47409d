"""Folds of cross-validation, with as many rows as a fold needs."""

from dataclasses import dataclass

import numpy as np

from ..inference import subsampling
from ..inference.subsampling import random_rows, stratified_rows

# Folds where rows are few.
MOST_FOLDS = 5


def default_folds(n_samples):
    """More folds where rows are few: there they cost little and every row counts."""
    return MOST_FOLDS if n_samples <= 300 else 3


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
