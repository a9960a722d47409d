"""Cross-validated paths along widths: the machinery of the search."""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf, isinf, log
from time import perf_counter

import numpy as np
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed

from ._array import threads_for_workers, to_numpy
from ._inducing import Sent
from ._stacking import Mixture, sparse_mixture
from ._tuning import random_rows
from .metrics._predictions import log_densities

# Rows that a fold learns from at most: a metric is a small statistic of the data.
LEARN_ROWS = 400
# Rows that a fold is judged on at most.
JUDGE_ROWS = 1000
# Rows that tell which of few starting points to climb from.
START_ROWS = 300
# Iterations on all rows that follow, from what the best fold has learned.
REFINE_ITER = 10


@dataclass
class Path:
    """Fits of one (kernel, covariance type) on one fold.

    scores : dict, (width, scaling) -> (score, fit time, score time)
    points : dict, finite width -> Solution of the climb there
    densities : dict, (width, scaling) -> log densities of the test rows, for the score
        that is their mean
    """

    scores: dict = field(default_factory=dict)
    points: dict = field(default_factory=dict)
    densities: dict = field(default_factory=dict)


def _extend_path(estimator, train, test, judge, candidates, path, only):
    """Fit and score more (width, scaling) pairs, each from its nearest neighbour."""
    path = Path(dict(path.scores), dict(path.points), dict(path.densities))
    missing = [c for c in candidates if c not in path.scores]
    for width in _nearest_first({w for w, _ in missing}, path.points):
        start = _nearest(width, path.points)
        model = None
        for scaling in sorted(s for w, s in missing if w == width):
            began = perf_counter()
            with _quietly():
                if model is None:
                    model = clone(estimator).set_params(width=width, scaling=scaling)
                    model._fit_from(*train, start=start, only=only)
                else:
                    model = model._at_scaling(scaling)
            fitted = perf_counter()
            score, densities = _score(*judge, model, *test)
            times = fitted - began, perf_counter() - fitted
            path.scores[width, scaling] = (score, *times)
            path.densities[width, scaling] = densities
        start = model._tuned
        if not isinf(width):
            path.points[width] = start
    return path


@contextmanager
def _quietly():
    """No warning where iterations end: the held-out score judges that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _nearest(width, points):
    if not points:
        return None
    if isinf(width):
        return points[max(points)]
    return points[min(points, key=lambda known: abs(log(known / width)))]


def _nearest_first(widths, points):
    """Order of a path that always moves to the width next to one already solved."""
    rest, done = set(widths), set(points)
    while rest:
        if done:
            width = min(rest, key=lambda w: min(abs(log(w / k)) for k in done))
        else:
            width = max(rest - {inf}, default=inf)
        rest.remove(width)
        done |= {width} - {inf}
        yield width


def _score(scorer, density, model, X, y, sample_weight):
    """Score of a fitted model and, for the default score, its density at every row."""
    if scorer is None:
        weight = None if sample_weight is None else to_numpy(sample_weight)
        densities = density(model, X, y)
        return float(np.average(densities, weights=weight)), densities
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    return float(scorer(model, X, y, **weight)), None


def gaussian_log_density(model, X, y):
    """Log density of every row under a regressor's predictions: ndarray (n,)."""
    mean, std = (to_numpy(a) for a in model.predict(X, return_std=True))
    return log_densities(to_numpy(y), mean, std)


def _refit(estimator, data, width, scalings, start):
    """Models of one width, on all rows: one fit, and its copies at other scalings."""
    sent, *rest = data
    data = sent.rows(), *rest
    model = clone(estimator).set_params(width=width, scaling=scalings[0])
    if start is not None and data[0].shape[0] > LEARN_ROWS:
        model.set_params(max_iter=min(model.max_iter, REFINE_ITER))
    with _quietly():
        model._fit_from(*data, start=start)
        model.set_params(max_iter=estimator.max_iter)
        return [model, *(model._at_scaling(scaling) for scaling in scalings[1:])]


def thinned(folds):
    """Folds of random rows where there are more than it takes to learn and judge."""
    rng = np.random.RandomState(0)

    def some(rows, size):
        kept = rng.permutation(len(rows))[:size]
        return rows if len(rows) <= size else rows[np.sort(kept)]

    return [(some(train, LEARN_ROWS), some(test, JUDGE_ROWS)) for train, test in folds]


class Race:
    """Paths of (kernel index, covariance type) pairs over all folds.

    templates : dict, pair -> AdaptiveKernelRegressor to clone
    data : X, y, sample weights or None
    folds : list of (train, test)
    scorer : callable, or None for the predictive log density
    density : callable, log densities (n,) of a fitted model, X and y
    """

    def __init__(
        self, templates, data, folds, scorer, n_jobs, density=gaussian_log_density
    ):
        self.templates, self.data, self.folds = templates, data, folds
        self.scorer, self.density, self.n_jobs = scorer, density, n_jobs
        self.paths, self.starts = {}, {}

    def run(self, pairs, candidates):
        """Extend the paths of the pairs to the (width, scaling) candidates.

        A new path starts from the points of the same kernel's path on the same fold,
        or else from the starting point that wins on (a subsample of) all rows.
        """
        for pair in pairs:
            if pair in self.paths:
                continue
            kin = next((p for p in self.paths if p[0] == pair[0]), None)
            if kin is None:
                self.paths[pair] = [Path() for _ in self.folds]
                self.starts[pair] = self._winning_start(pair, candidates)
            else:
                self.paths[pair] = [
                    Path(points=dict(p.points)) for p in self.paths[kin]
                ]
        jobs = [(pair, i) for pair in pairs for i in range(len(self.folds))]
        results = self._each(
            delayed(_extend_path)(
                self.templates[pair],
                *(self._rows(rows) for rows in self.folds[i]),
                (self.scorer, self.density),
                candidates,
                self.paths[pair][i],
                self.starts.get(pair),
            )
            for pair, i in jobs
        )
        for (pair, i), path in zip(jobs, results, strict=True):
            self.paths[pair][i] = path

    def _each(self, tasks):
        with threads_for_workers(self.n_jobs):
            return Parallel(n_jobs=self.n_jobs)(tasks)

    def _winning_start(self, pair, candidates):
        """Index of the best starting point: a choice of one among few, not a fit."""
        width = max((w for w, _ in candidates if not isinf(w)), default=inf)
        n = self.data[0].shape[0]
        model = clone(self.templates[pair]).set_params(width=width)
        return model._winning_start(*self._rows(random_rows(n, START_ROWS)))

    def _rows(self, rows):
        """Some rows of X, y and the weights: all that a task is sent."""
        return [None if a is None else _safe_indexing(a, rows) for a in self.data]

    def results(self, kernels):
        """Keys of the evaluated candidates, and their `cv_results_`."""
        keys = [
            (pair, candidate)
            for pair in sorted(self.paths, key=str)
            for candidate in sorted(self.paths[pair][0].scores)
        ]
        table = np.array(
            [[p.scores[c] for p in self.paths[pair]] for pair, c in keys], dtype=float
        )
        params = [
            {
                "kernel": kernels[pair[0]],
                "covariance_type": pair[1],
                "width": width,
                "scaling": scaling,
            }
            for pair, (width, scaling) in keys
        ]
        scores = table[:, :, 0]
        results = {
            "mean_fit_time": table[:, :, 1].mean(axis=1),
            "std_fit_time": table[:, :, 1].std(axis=1),
            "mean_score_time": table[:, :, 2].mean(axis=1),
            "std_score_time": table[:, :, 2].std(axis=1),
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
        order = np.where(np.isnan(scores).any(axis=1), -inf, scores.mean(axis=1))
        results["rank_test_score"] = rankdata(-order, method="min").astype(np.int32)
        return keys, results

    def mixture(self, keys, best, spare=None):
        """The sparse mixture of the candidates, or the best alone for another score.

        As in the mean score every fold counts the same.
        """
        if self.scorer is not None:
            return Mixture(np.array([best]), np.ones(1), np.nan)
        densities = [
            np.concatenate([path.densities[candidate] for path in self.paths[pair]])
            for pair, candidate in keys
        ]
        return sparse_mixture(np.stack(densities, axis=1), best, self._counts(), spare)

    def _counts(self):
        """Weights of the test rows, fold after fold, scaled to equal sums."""
        X, _, weights = self.data
        weights = np.ones(X.shape[0]) if weights is None else weights
        counts = [to_numpy(_safe_indexing(weights, test)) for _, test in self.folds]
        mean = sum(np.sum(c) for c in counts) / len(counts)
        return np.concatenate([c * (mean / np.sum(c)) for c in counts])

    def refit(self, keys):
        """The candidates fitted to all rows, each from its best fold's point.

        Those of one width share a fit.
        """
        X, y, weights = self.data
        data, groups = (Sent(X), y, weights), {}
        for pair, (width, scaling) in keys:
            groups.setdefault((pair, width), []).append(scaling)
        results = self._each(
            delayed(_refit)(
                self.templates[pair],
                data,
                width,
                scalings,
                _nearest(width, self._best_path(pair, width, scalings).points),
            )
            for (pair, width), scalings in groups.items()
        )
        models = {
            (pair, (width, model.scaling)): model
            for (pair, width), found in zip(groups, results, strict=True)
            for model in found
        }
        return [models[key] for key in keys]

    def _best_path(self, pair, width, scalings):
        def score(path):
            return max(path.scores[width, scaling][0] for scaling in scalings)

        return max(self.paths[pair], key=score)
