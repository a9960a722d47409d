"""Cross-validated paths along widths: the machinery of the search."""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf, log
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
from ._starts import FIRST_RELEVANT, RELEVANCE_ROWS
from ._tuning import WidthPath, random_rows, warn_if_missed
from .metrics._predictions import log_densities

# Rows that a fold learns from at most: a metric is a small statistic of the data.
LEARN_ROWS = 400
# Rows that a fold is judged on at most.
JUDGE_ROWS = 1000
# Iterations on all rows that follow, from what the best fold has learned.
REFINE_ITER = 10
# Rows of a fold so few that exploring all starts on it costs next to nothing.
FEW_ROWS = 100
# Rows that finalists learn from on one fold, where it has three times as many as it
# has learned from.
MANY_ROWS = 2000
# Share of what adaptation gains on the best fold, in objective per observation, that it
# gains on all that found the same, but for chance.
MISSED, CHANCE = 0.5, 0.1


@dataclass
class Path:
    """Fits of one (kernel, covariance type) on one fold.

    scores : dict, (width, scaling) -> (score, fit time, score time)
    densities : dict, (width, scaling) -> log densities of the test rows, for the score
        that is their mean
    widths : WidthPath, the solutions
    """

    scores: dict = field(default_factory=dict)
    densities: dict = field(default_factory=dict)
    widths: WidthPath | None = None


def _extend_path(estimator, rows, looked, test, judge, candidates, path, **start):
    """Fit and score more (width, scaling) pairs."""
    missing = [c for c in candidates if c not in path.scores]
    if not missing:
        return path
    began = perf_counter()
    with _quietly():
        models, widths = estimator._fit_path(
            rows, looked, missing, path.widths, **start
        )
    time = (perf_counter() - began) / len(missing)
    path = Path(dict(path.scores), dict(path.densities), widths)
    for candidate, model in models.items():
        began = perf_counter()
        score, densities = _score(*judge, model, *test)
        path.scores[candidate] = score, time, perf_counter() - began
        path.densities[candidate] = densities
    return path


@contextmanager
def _quietly():
    """No warning where iterations end: the held-out score judges that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


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


def _judge(estimator, rows, width, scalings, starts, judge, test):
    """Score, densities and solution at each scaling, learned from many rows."""
    models = _models(estimator, rows, width, scalings, starts, estimator.max_iter)
    return [(*_score(*judge, m, *test), m._tuned) for m in models]


def _refit(estimator, data, width, scalings, starts):
    """Models of one width, on all rows."""
    sent, *rest = data
    rows, max_iter = (sent.rows(), *rest), estimator.max_iter
    if starts and rows[0].shape[0] > LEARN_ROWS:
        max_iter = min(max_iter, REFINE_ITER)
    return _models(estimator, rows, width, scalings, starts, max_iter)


def _models(estimator, rows, width, scalings, starts, max_iter):
    """One fit, and its copies at other scalings."""
    model = clone(estimator).set_params(
        width=width, scaling=scalings[0], max_iter=max_iter
    )
    with _quietly():
        model._fit_from(*rows, starts=starts)
        model.set_params(max_iter=estimator.max_iter)
        return [model, *(model._at_scaling(scaling) for scaling in scalings[1:])]


def thinned(folds):
    """Folds of random rows where there are more than it takes to learn and judge."""
    rng = np.random.RandomState(0)

    def some(rows, size):
        kept = rng.permutation(len(rows))[:size]
        return rows if len(rows) <= size else rows[np.sort(kept)]

    return [
        Fold(
            some(train, LEARN_ROWS), some(train, RELEVANCE_ROWS), some(test, JUDGE_ROWS)
        )
        for train, test in folds
    ]


@dataclass(frozen=True)
class Fold:
    """Places of a fold's rows: to learn from, to see relevance in, to be judged on."""

    rows: np.ndarray
    looked: np.ndarray
    test: np.ndarray

    @property
    def many(self):
        """Rows to learn from where more can be seen in more of them."""
        return self.looked[random_rows(len(self.looked), MANY_ROWS)]


class Race:
    """Paths of (kernel index, covariance type) pairs over all folds.

    templates : dict, pair -> AdaptiveKernelRegressor to clone
    data : X, y, sample weights or None
    folds : list of Fold
    scorer : callable, or None for the predictive log density
    density : callable, log densities (n,) of a fitted model, X and y
    """

    def __init__(
        self, templates, data, folds, scorer, n_jobs, density=gaussian_log_density
    ):
        self.templates, self.data, self.folds = templates, data, folds
        self.scorer, self.density, self.n_jobs = scorer, density, n_jobs
        self.paths, self.starts, self.again = {}, {}, {}

    def run(self, pairs, candidates):
        """Extend the paths of the pairs to the (width, scaling) candidates.

        A new path starts from that of another covariance type of the same kernel on the
        same fold, or else from the kind of start that wins on a sample of all rows.
        """
        # Kernels in an order of their own, since the first explores for the others.
        for pair in sorted(pairs, key=lambda pair: str(self.templates[pair].kernel)):
            if pair not in self.paths:
                self.paths[pair] = [Path() for _ in self.folds]
                if not self._folds_found(self._kin(pair)):
                    least = min(width for width, _ in candidates)
                    self.starts[pair] = self._whole(pair, least)
        jobs = [(pair, i) for pair in pairs for i in range(len(self.folds))]
        self._extend(jobs, candidates)
        self._extend(self._missed(jobs), candidates, again=True)

    def _kin(self, pair):
        """The first pair of the same kernel, if that is another one."""
        first = next(p for p in self.paths if p[0] == pair[0])
        return None if first == pair else first

    def _extend(self, jobs, candidates, again=False):
        results = self._each(self._task(*job, candidates, again) for job in jobs)
        for (pair, i), path in zip(jobs, results, strict=True):
            if not again or path.widths.gain() > self.paths[pair][i].widths.gain():
                self.paths[pair][i] = path

    def _task(self, pair, i, candidates, again):
        """What extends a path on a fold, with the rows that it needs and no others."""
        fold = self.folds[i]
        start = {"family": None} if again else self._start(pair, i)
        seen = start["family"] is None or start["family"] >= FIRST_RELEVANT
        return delayed(_extend_path)(
            self.templates[pair],
            self._rows(fold.rows),
            self._rows(fold.looked) if seen else None,
            self._rows(fold.test),
            (self.scorer, self.density),
            candidates,
            Path() if again else self.paths[pair][i],
            **start,
        )

    def _folds_found(self, pair):
        """Whether the paths of a pair have found something to adapt to, all of them."""
        return pair is not None and all(p.widths.found() for p in self.paths[pair])

    def _start(self, pair, i):
        """How the path of a pair on a fold starts."""
        first = self._kin(pair)
        if first is None:
            few = len(self.folds[i].rows) <= FEW_ROWS
            return {"family": None} if few else self._won(pair)
        kin = self.paths[first][i].widths
        explored = pair in self.starts and not kin.found()
        return {"kin": kin, **(self._won(pair) if explored else {"family": 0})}

    def _won(self, pair):
        """The start that won on all rows, and the width at which it did."""
        path = self.starts[pair]
        return {"family": path.family, "free_width": path.free_width}

    def _missed(self, jobs):
        """Paths that have found much less than others of the same pair."""
        return [
            (pair, i)
            for pair, i in jobs
            if self.paths[pair][i].widths.points
            and self.paths[pair][i].widths.gain()
            < MISSED * max(path.widths.gain() for path in self.paths[pair]) - CHANCE
        ]

    def _each(self, tasks):
        with threads_for_workers(self.n_jobs):
            return Parallel(n_jobs=self.n_jobs)(tasks)

    def _whole(self, pair, width):
        """The path of all rows (a sample of them), explored.

        Which start wins depends little on the kernel: that of another one is taken.
        """
        for (_, kind), path in self.starts.items():
            if kind == pair[1]:
                return replace(path, isotropic=None, free=None)
        rows = self._rows(random_rows(self.data[0].shape[0], RELEVANCE_ROWS))
        kin = self.starts.get(self._kin(pair))
        return self.templates[pair]._start_path(rows, width, kin and kin.isotropic)

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
        densities = None
        if self.scorer is None:
            densities = [
                np.concatenate([path.densities[candidate] for path in self.paths[pair]])
                for pair, candidate in keys
            ]
        return self._mixed(densities, best, self.folds, spare)

    def _mixed(self, densities, best, folds, spare=None):
        if densities is None:
            return Mixture(np.array([best]), np.ones(1), np.nan)
        table = np.stack(densities, axis=1)
        return sparse_mixture(table, best, self._counts(folds), spare)

    def mixture_again(self, keys, mixture, best):
        """The mixture and the best candidate where finalists learn from more rows."""
        chosen = self.finalists(keys, [*mixture.indices.tolist(), best])
        scores, densities = self.judge_again([keys[i] for i in chosen])
        best = int(np.argmax(np.where(np.isnan(scores), -inf, scores)))
        densities = None if self.scorer is not None else densities
        mixture = self._mixed(densities, best, self.folds[:1])
        return replace(mixture, indices=np.array(chosen)[mixture.indices]), chosen[best]

    def is_thinned(self):
        """Whether folds have learned from much fewer rows than they have."""
        return len(self.folds[0].many) >= 3 * LEARN_ROWS

    def finalists(self, keys, indices):
        """Candidates to be judged again: those given, and one that adapts freely.

        What a metric can learn may show in more rows only.
        """

        def distance(i):
            pair, (width, _) = keys[i]
            return abs(log(width)) if self._kin(pair) is None else inf

        return list(dict.fromkeys([*indices, min(range(len(keys)), key=distance)]))

    def judge_again(self, keys):
        """Scores and densities of candidates that learn from more rows of one fold."""
        fold = self.folds[0]
        data, groups = self._rows(fold.many), self._groups(keys)
        judged = self._each(
            delayed(_judge)(
                self.templates[pair],
                data,
                width,
                scalings,
                self._solutions(pair, width),
                (self.scorer, self.density),
                self._rows(fold.test),
            )
            for (pair, width), scalings in groups.items()
        )
        found = {
            (pair, (width, scaling)): entry
            for ((pair, width), scalings), entries in zip(
                groups.items(), judged, strict=True
            )
            for scaling, entry in zip(scalings, entries, strict=True)
        }
        for (pair, (width, _)), (_, _, solution) in found.items():
            self.again[pair, width] = solution
        scores, densities, _ = zip(*(found[key] for key in keys), strict=True)
        return np.array(scores), densities

    def _counts(self, folds=None):
        """Weights of the test rows, fold after fold, scaled to equal sums."""
        X, _, weights = self.data
        folds = self.folds if folds is None else folds
        weights = np.ones(X.shape[0]) if weights is None else weights
        counts = [to_numpy(_safe_indexing(weights, fold.test)) for fold in folds]
        mean = sum(np.sum(c) for c in counts) / len(counts)
        return np.concatenate([c * (mean / np.sum(c)) for c in counts])

    def refit(self, keys):
        """The candidates fitted to all rows, each from the best of several solutions.

        These are the folds' and a fresh one. Those of one width share a fit.
        """
        X, y, weights = self.data
        data, groups = (Sent(X), y, weights), self._groups(keys)
        results = self._each(
            delayed(_refit)(
                self.templates[pair],
                data,
                width,
                scalings,
                self._solutions(pair, width),
            )
            for (pair, width), scalings in groups.items()
        )
        models = {
            (pair, (width, model.scaling)): model
            for (pair, width), found in zip(groups, results, strict=True)
            for model in found
        }
        return [models[key] for key in keys]

    @staticmethod
    def _groups(keys):
        """Scalings of each pair and width: these share a fit."""
        groups = {}
        for pair, (width, scaling) in keys:
            groups.setdefault((pair, width), []).append(scaling)
        return groups

    def warn_if_missed(self, model):
        """Warn where a fitted model explains much less than a forest."""
        explained = max((path.explained for path in self.starts.values()), default=0.0)
        warn_if_missed(model._noise_share, explained)

    def _solutions(self, pair, width):
        """Solutions to start from: each fold's, and one explored on all rows."""
        if (pair, width) in self.again:
            return [self.again[pair, width]]
        paths = [path.widths for path in self.paths[pair]]
        whole = self.starts.get(pair)
        if width not in paths[0].points:
            found = [path.isotropic for path in [*paths, whole] if path is not None]
        else:
            found = [path.points[width] for path in paths]
            found.append(None if whole is None else whole.free)
        return [solution for solution in found if solution is not None]
