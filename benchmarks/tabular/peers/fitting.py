"""From builders of scikit-learn style estimators to fit(X, y, seed)."""

import numpy as np

TUNING_ROWS = 1200


def point(build):
    """A regressor that predicts a mean."""

    def fit(X, y, seed):
        model = build(X, y, seed).fit(X, y)
        return lambda rows: (model.predict(rows),)

    return fit


def with_std(build):
    """A regressor that predicts a mean and a standard deviation."""

    def fit(X, y, seed):
        model = build(X, y, seed).fit(X, y)
        return lambda rows: model.predict(rows, return_std=True)

    return fit


def classes(build):
    """A classifier."""

    def fit(X, y, seed):
        return build(X, y, seed).fit(X, y).predict_proba

    return fit


def tuned(estimator, grid, X, y, seed):
    """The estimator with its best parameters, by three folds on at most 1200 rows."""
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV

    rows = np.random.RandomState(seed).permutation(len(y))[:TUNING_ROWS]
    search = GridSearchCV(estimator, grid, cv=3).fit(X[rows], y[rows])
    return clone(estimator).set_params(**search.best_params_)


def gammas(X):
    """Inverse squared length scales around 1 / d."""
    return [factor / X.shape[1] for factor in (0.05, 0.2, 1.0, 3.0)]
