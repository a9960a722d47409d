"""Boosted trees on one thread: with their defaults, or tuned for about a minute."""

from time import process_time

import numpy as np

# CPU seconds after which no further candidate is tried.
BUDGET = 60.0
LIGHTGBM_GRID = {
    "learning_rate": [0.02, 0.05, 0.1],
    "n_estimators": [300, 1000, 3000],
    "num_leaves": [15, 31, 63, 127, 255],
    "min_child_samples": [5, 20, 60],
    "subsample": [0.7, 1.0],
    "subsample_freq": [1],
    "colsample_bytree": [0.6, 0.8, 1.0],
    "reg_lambda": [0.0, 1.0, 10.0],
}
CATBOOST_GRID = {
    "learning_rate": [0.03, 0.06, 0.1],
    "iterations": [1000, 2000],
    "depth": [4, 6, 8, 10],
    "l2_leaf_reg": [1.0, 3.0, 10.0],
}


def gradient_boosting_regressor(X, y, seed):
    from sklearn.ensemble import HistGradientBoostingRegressor

    return HistGradientBoostingRegressor(random_state=seed)


def gradient_boosting_classifier(X, y, seed):
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed)


def lightgbm_regressor(X, y, seed):
    from lightgbm import LGBMRegressor

    return LGBMRegressor(random_state=seed, n_jobs=1, verbose=-1)


def lightgbm_classifier(X, y, seed):
    from lightgbm import LGBMClassifier

    return LGBMClassifier(random_state=seed, n_jobs=1, verbose=-1)


def xgboost_regressor(X, y, seed):
    from xgboost import XGBRegressor

    return XGBRegressor(random_state=seed, n_jobs=1)


def xgboost_classifier(X, y, seed):
    from xgboost import XGBClassifier

    return XGBClassifier(random_state=seed, n_jobs=1)


def catboost_regressor(X, y, seed):
    from catboost import CatBoostRegressor

    return CatBoostRegressor(**_catboost_options(seed))


def catboost_classifier(X, y, seed):
    from catboost import CatBoostClassifier

    return CatBoostClassifier(**_catboost_options(seed))


def _catboost_options(seed):
    quiet = {"verbose": 0, "allow_writing_files": False}
    return {"random_seed": seed, "thread_count": 1, **quiet}


def tuned_lightgbm_regressor(X, y, seed):
    return _tuned(lightgbm_regressor, LIGHTGBM_GRID, _squared_error, X, y, seed)


def tuned_lightgbm_classifier(X, y, seed):
    return _tuned(lightgbm_classifier, LIGHTGBM_GRID, _log_loss, X, y, seed)


def tuned_catboost_regressor(X, y, seed):
    return _tuned(catboost_regressor, CATBOOST_GRID, _squared_error, X, y, seed)


def tuned_catboost_classifier(X, y, seed):
    return _tuned(catboost_classifier, CATBOOST_GRID, _log_loss, X, y, seed)


def _tuned(build, grid, loss, X, y, seed):
    """The defaults or a random candidate of the grid, by a fifth of the rows."""
    began, rng = process_time(), np.random.RandomState(seed)
    order = rng.permutation(len(y))
    held_out, kept = np.split(order, [len(y) // 5])
    tried, options = [], {}
    while not tried or process_time() - began < BUDGET:
        model = build(X, y, seed).set_params(**options).fit(X[kept], y[kept])
        tried.append((loss(model, X[held_out], y[held_out]), options))
        options = {
            name: values[rng.randint(len(values))] for name, values in grid.items()
        }
    return build(X, y, seed).set_params(**min(tried, key=lambda pair: pair[0])[1])


def _squared_error(model, X, y):
    return np.mean((model.predict(X) - y) ** 2)


def _log_loss(model, X, y):
    from sklearn.metrics import log_loss

    return log_loss(y, model.predict_proba(X), labels=model.classes_)


def ngboost_regressor(X, y, seed):
    """Fit and predict with the standard deviation of NGBoost's normal."""
    from ngboost import NGBRegressor

    model = NGBRegressor(verbose=False, random_state=seed).fit(X, y)

    def predict(rows):
        normal = model.pred_dist(rows)
        return normal.params["loc"], normal.params["scale"]

    return predict
