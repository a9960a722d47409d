"""Boosted trees, all with their defaults on one thread."""


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


def ngboost_regressor(X, y, seed):
    """Fit and predict with the standard deviation of NGBoost's normal."""
    from ngboost import NGBRegressor

    model = NGBRegressor(verbose=False, random_state=seed).fit(X, y)

    def predict(rows):
        normal = model.pred_dist(rows)
        return normal.params["loc"], normal.params["scale"]

    return predict
