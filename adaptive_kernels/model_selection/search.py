"""Search for regressors and classifiers: score candidates, mix, refit the members."""

import warnings
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from .results import evaluated_keys, results_table
from .stacking import Mixture, sparse_mixture
from .width_path_search import WidthPathSearch


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    models : list of fitted estimators: the members of the mixture by decreasing weight,
        then candidates that are not members. One of `models` is the best candidate.
    weights : list of float, weights of the members
    place_of_best : int, index of the best candidate in `models`
    rows : list of int, rows of `models` in `cv_results`
    cv_results : dict of arrays
    """

    models: list
    weights: list
    place_of_best: int
    rows: list
    cv_results: dict

    def weighed_again(self, densities, counts, tolerance=None):
        """The result with another mixture of the models, and another best one.

        Models that are neither members of this mixture nor the best are dropped.

        densities : ndarray (n, len(models)), log densities of rows left out
        counts : ndarray (n,), weights of these rows
        tolerance : float or None, as for `search`
        """
        best = int(np.argmax(counts @ densities))
        mixture = sparse_mixture(densities, best, counts, tolerance)
        order = list(dict.fromkeys([*mixture.indices.tolist(), best]))
        return SearchResult(
            [self.models[i] for i in order],
            mixture.weights.tolist(),
            order.index(best),
            [self.rows[i] for i in order],
            self.cv_results,
        )

    def attributes(self):
        """Fitted attributes of a search estimator: dict, name -> value."""
        best_index = self.rows[self.place_of_best]
        return {
            "members_": self.models[: len(self.weights)],
            "best_estimator_": self.models[self.place_of_best],
            "cv_results_": self.cv_results,
            "best_index_": best_index,
            "best_score_": float(self.cv_results["mean_test_score"][best_index]),
            "best_params_": self.cv_results["params"][best_index],
            "weights_": self.weights,
        }


def search(
    templates,
    strategy,
    score,
    folds,
    data,
    *,
    final_data=None,
    tolerance=None,
    weigh_later=False,
    n_jobs,
):
    """Compare candidates on folds, choose a mixture, and fit its members to all rows.

    Parameters
    ----------
    templates : dict, (kernel index, covariance type) -> AdaptiveKernelRegressor
    strategy : callable
        Called with a `WidthPathSearch`; it runs the candidates to compare.
    score : HeldOutScore
    folds : list of Fold
    data : tuple of X, y, sample weights or None
        All rows. `folds` has indices of these rows.
    final_data : tuple of X, y, sample weights or None
        Rows for the final fits; None means `data`.
    tolerance : float or None
        Log likelihood that a smaller mixture may lose. None means a tolerance that
        grows with the number of rows. Then finalists are also scored again after
        learning from more rows, if folds have learned from few of many rows.
    weigh_later : bool
        Whether the caller will weigh the models again. Then all finalists are fitted,
        and none is scored again before.
    n_jobs : int or None
        Number of joblib workers.

    Returns
    -------
    SearchResult
    """
    paths = WidthPathSearch(templates, data, folds, score, n_jobs)
    strategy(paths)
    keys = evaluated_keys(paths.paths)
    kernels = {k: template.kernel for (k, _), template in templates.items()}
    results = results_table(paths.paths, keys, kernels)
    _check_scores(results["mean_test_score"])
    best = int(np.argmin(results["rank_test_score"]))
    mixture = _mixture(paths.densities(keys), best, paths.counts(folds), tolerance)
    rescored = tolerance is None and paths.is_thinned() and not weigh_later
    if rescored:
        mixture, best = _rescored_finalists(paths, keys, mixture, best)
    # Members, then the best candidate if it is not one of them.
    chosen = list(dict.fromkeys([*mixture.indices.tolist(), best]))
    if weigh_later:
        chosen = paths.finalists(keys, chosen, rigid=True)
    final_data = data if final_data is None else final_data
    models = paths.refit([keys[i] for i in chosen], final_data)
    weights, place = mixture.weights.tolist(), chosen.index(best)
    paths.warn_if_missed(models[place])
    return SearchResult(models, weights, place, chosen, results)


def _check_scores(scores):
    """Raise if no score is finite, and warn if some are not: they are not chosen."""
    finite = np.isfinite(scores)
    if not finite.any():
        raise ValueError(
            "No candidate has a finite score on the rows held out: check scoring, and "
            "whether every fold of cv has rows on which it is defined."
        )
    if not finite.all():
        warnings.warn(
            f"{np.sum(~finite)} of {len(scores)} candidates have no finite score on "
            "some fold, and are not chosen: see cv_results_.",
            UserWarning,
            stacklevel=4,
        )


def _mixture(densities, best, counts, tolerance=None):
    """The sparse mixture of the candidates, or the best alone without densities.

    counts : weights of the rows held out, see `WidthPathSearch.counts`
    """
    if densities is None:
        return Mixture(np.array([best]), np.ones(1), np.nan)
    return sparse_mixture(densities, best, counts, tolerance)


def _rescored_finalists(paths, keys, mixture, best):
    """Mixture and best candidate, with finalists that learn from more rows."""
    chosen = paths.finalists(keys, [*mixture.indices.tolist(), best])
    scores, densities = paths.score_again([keys[i] for i in chosen])
    best = int(np.argmax(np.where(np.isfinite(scores), scores, -inf)))
    mixture = _mixture(densities, best, paths.counts(paths.folds[:1]))
    return replace(mixture, indices=np.array(chosen)[mixture.indices]), chosen[best]
