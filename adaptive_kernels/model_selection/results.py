"""`cv_results_` of a search, in the format of scikit-learn's `GridSearchCV`."""

from math import inf

import numpy as np
from scipy.stats import rankdata


def evaluated_keys(paths):
    """Keys (pair, (width, scaling)) of all evaluated candidates, in fixed order.

    paths : dict, (kernel index, covariance type) -> list of Path, one for each fold
    """
    return [
        (pair, candidate)
        for pair in sorted(paths, key=str)
        for candidate in sorted(paths[pair][0].scores)
    ]


def results_table(paths, keys, kernels):
    """`cv_results_`: a dict of arrays, with an entry for each key.

    paths : dict, (kernel index, covariance type) -> list of Path, one for each fold
    keys : list of (pair, (width, scaling)), from `evaluated_keys`
    kernels : dict, kernel index -> kernel
    """
    table = np.array(
        [[path.scores[candidate] for path in paths[pair]] for pair, candidate in keys],
        dtype=float,
    )
    # One row for each key, one column for each fold.
    scores, fit_times, score_times = np.moveaxis(table, -1, 0)
    params = [
        {
            "kernel": kernels[kernel],
            "covariance_type": covariance_type,
            "width": width,
            "scaling": scaling,
        }
        for (kernel, covariance_type), (width, scaling) in keys
    ]
    results = {
        "mean_fit_time": fit_times.mean(axis=1),
        "std_fit_time": fit_times.std(axis=1),
        "mean_score_time": score_times.mean(axis=1),
        "std_score_time": score_times.std(axis=1),
    }
    for name in params[0]:
        values = np.ma.masked_all(len(params), dtype=object)
        values[:] = [p[name] for p in params]
        results[f"param_{name}"] = values
    results["params"] = params
    for i in range(scores.shape[1]):
        results[f"split{i}_test_score"] = scores[:, i]
    results["mean_test_score"] = scores.mean(axis=1)
    results["std_test_score"] = scores.std(axis=1)
    failures_last = np.where(np.isfinite(scores).all(axis=1), scores.mean(axis=1), -inf)
    results["rank_test_score"] = rankdata(-failures_last, method="min").astype(np.int32)
    return results
