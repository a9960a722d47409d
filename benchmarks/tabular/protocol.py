"""From a table to the arrays of one fold: rows, split, encoding, units.

Tables above 4500 rows are subsampled once, with seed 0. There are five folds, three
above 3000 rows, shuffled with seed 0 and stratified for classes. Numbers are imputed by
their median and standardised, categories become one column a level (20 levels, one
column for two): all by the training fold alone. The training rows of a fold are kept up
to a cap, by a permutation with the fold as seed. The target of a regression is in units
of the standard deviation of the rows kept.

Whole tables keep all rows. They have five folds, and at most 10,000 rows of the test
fold are predicted.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from .whole_tables import ALL

MAX_TABLE = 4500
MAX_LEVELS = 20
MAX_PREDICTED = 10_000


@dataclass(frozen=True)
class Fold:
    """Encoded rows of one fold.

    X : ndarray (n, d), y : ndarray (n,), training rows
    X_test, y_test : the same of the test rows
    """

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    number: int
    task: str

    def first(self, n_rows):
        """The fold with at most `n_rows` training rows, and its target scaled."""
        X, y, y_test = self.X, self.y, self.y_test
        if n_rows < len(y):
            rows = np.random.RandomState(self.number).permutation(len(y))[:n_rows]
            X, y = X[rows], y[rows]
        if self.task == "regression":
            mean, std = y.mean(), y.std()
            y, y_test = (y - mean) / std, (y_test - mean) / std
        return Fold(X, y, self.X_test, y_test, self.number, self.task)


def load_fold(name, number):
    """One fold of a table, None where it has fewer."""
    dataset = ALL[name]
    frame, y = dataset.load()
    if dataset.task == "classification":
        y = np.unique(y, return_inverse=True)[1]
    else:
        y = np.asarray(y, dtype=float)
    if len(y) > MAX_TABLE and not dataset.whole:
        kept = np.random.RandomState(0).choice(len(y), MAX_TABLE, replace=False)
        frame, y = frame.iloc[kept].reset_index(drop=True), y[kept]
    splitter = StratifiedKFold if dataset.task == "classification" else KFold
    n_folds = 3 if len(y) > 3000 and not dataset.whole else 5
    folds = splitter(n_folds, shuffle=True, random_state=0)
    splits = list(folds.split(frame, y))
    if number >= len(splits):
        return None
    train, test = splits[number]
    if len(test) > MAX_PREDICTED:
        test = np.random.RandomState(0).choice(test, MAX_PREDICTED, replace=False)
    encoded = encode(frame, train)
    parts = encoded[train], y[train], encoded[test], y[test]
    return Fold(*parts, number, dataset.task)


def encode(frame, train):
    """The rows of a DataFrame as numbers, by what the training rows are like."""
    numeric = frame.select_dtypes(include="number").columns
    numbers = frame[numeric].astype(float)
    numbers = numbers.fillna(numbers.iloc[train].median())
    mean, std = numbers.iloc[train].mean(), numbers.iloc[train].std(ddof=0)
    varies = std > 1e-12 * (1 + mean.abs())
    parts = [((numbers - mean) / std.where(varies, 1)).loc[:, varies].to_numpy()]
    for name in frame.columns.difference(numeric, sort=False):
        column = frame[name].astype(str)
        levels = column.iloc[train].value_counts().index[:MAX_LEVELS]
        levels = levels[:1] if len(levels) == 2 else levels
        parts.append(np.stack([column == level for level in levels], axis=1))
    return np.hstack(parts).astype(float)
