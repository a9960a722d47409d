"""Cross-validation over paths of widths, and fits of the winners to all rows.

`WidthPathSearch` distributes the tasks. The functions below it run in the workers.
"""

import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf, log
from time import perf_counter

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.parallel import Parallel, delayed

from .._arrays import threads_for_workers, to_numpy
from .._arrays.mapped_files import MemoryMapReference
from .._sklearn import safe_indexing
from ..inference import subsampling
from ..inference.missed_structure import warn_if_missed
from ..inference.subsampling import random_rows
from ..inference.width_path import WidthPath, needs_relevance

# A fold has missed structure if its gain, in nats per observation, is below MISSED
# times that of the best fold, less CHANCE for differences by chance. Both were chosen
# by hand; other values have not been measured.
MISSED, CHANCE = 0.5, 0.1
# Iterations of the final fits to all rows. Thirty on 3000 rows of bicycle hire gave an
# RMSE of 0.224 for 0.228, at three times the cost.
REFINE_ITER = 10
# Options of `_fit_path`: explore all families of starts, or take the isotropic start,
# which with a `first_path` means its solutions.
EXPLORE_ALL: dict[str, int | None] = {"start_index": None}
NO_EXPLORATION: dict[str, int | None] = {"start_index": 0}


@dataclass
class Path:
    """Fits of one (kernel, covariance type) on one fold.

    scores : dict, (width, scaling) -> (score, fit time, score time), times in seconds
    densities : dict, (width, scaling) -> log densities (n,) of the rows held out, or
        None if the score is not their mean
    widths : WidthPath, the solutions along widths
    """

    scores: dict = field(default_factory=dict)
    densities: dict = field(default_factory=dict)
    widths: WidthPath | None = None


class WidthPathSearch:
    """Paths of (kernel index, covariance type) pairs over all folds.

    templates : dict, pair -> AdaptiveKernelRegressor to clone
    data : X, y, sample weights or None
    folds : list of Fold
    score : HeldOutScore
    n_jobs : int or None

    `paths` maps a pair to a list of Path, one for each fold; `explored` a pair to the
    WidthPath explored on a sample of all rows; `rescored` a pair and a width to the
    Solution for more rows, from `score_again`.
    """

    def __init__(self, templates, data, folds, score, n_jobs):
        self.templates, self.data, self.folds = templates, data, folds
        self.score, self.n_jobs = score, n_jobs
        self.paths, self.explored, self.rescored = {}, {}, {}

    def run(self, pairs, candidates):
        """Extend the paths of the pairs to the (width, scaling) candidates.

        A new path starts from the path of another covariance type of the same kernel on
        the same fold. If there is none, it starts from the family of starting points
        that won on a sample of all rows.
        """
        # The first kernel explores for all others: it must not depend on their order.
        for pair in sorted(pairs, key=lambda pair: str(self.templates[pair].kernel)):
            if pair not in self.paths:
                self.paths[pair] = [Path() for _ in self.folds]
                if not self._all_folds_found(self._first_pair(pair)):
                    least = min(width for width, _ in candidates)
                    self.explored[pair] = self._explore_sample(pair, least)
        jobs = [(pair, i) for pair in pairs for i in range(len(self.folds))]
        self._extend(jobs, candidates)
        self._extend(self._missed(jobs), candidates, afresh=True)

    def _first_pair(self, pair):
        """The pair of this kernel that ran first, or None if it is this pair."""
        first = next(p for p in self.paths if p[0] == pair[0])
        return None if first == pair else first

    def _extend(self, jobs, candidates, afresh=False):
        results = self._each(self._task(*job, candidates, afresh) for job in jobs)
        for (pair, i), path in zip(jobs, results, strict=True):
            if not afresh or path.widths.gain() > self.paths[pair][i].widths.gain():
                self.paths[pair][i] = path

    def _task(self, pair, i, candidates, afresh):
        """The joblib task that extends a path on a fold; it gets only rows it needs."""
        fold = self.folds[i]
        start = EXPLORE_ALL if afresh else self._start_options(pair, i)
        relevance_needed = needs_relevance(start["start_index"])
        return delayed(extended_path)(
            self.templates[pair],
            self._rows(fold.train),
            self._rows(fold.relevance) if relevance_needed else None,
            self._rows(fold.held_out),
            self.score,
            candidates,
            Path() if afresh else self.paths[pair][i],
            **start,
        )

    def _all_folds_found(self, pair):
        """Whether adaptation has gained on all folds of a pair; False for None."""
        return pair is not None and all(p.widths.found() for p in self.paths[pair])

    def _start_options(self, pair, i):
        """Where the path of a pair on fold i starts: options of `_fit_path`."""
        first = self._first_pair(pair)
        if first is None:
            few_rows = len(self.folds[i].train) <= subsampling.FEW_ROWS
            return EXPLORE_ALL if few_rows else self._winning_start(pair)
        first_path = self.paths[first][i].widths
        if first_path.found() or pair not in self.explored:
            start = NO_EXPLORATION
        else:
            start = self._winning_start(pair)
        return {"first_path": first_path, **start}

    def _winning_start(self, pair):
        """The family of starts that won on a sample of all rows, and its width."""
        path = self.explored[pair]
        return {"start_index": path.start_index, "free_width": path.free_width}

    def _missed(self, jobs):
        """The (pair, fold) jobs that gained much less than the pair's best fold."""
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

    def _explore_sample(self, pair, width):
        """A path explored on a sample of all rows, at the smallest width.

        The winning family depends little on the kernel. If another kernel with this
        covariance type was explored, its family is taken.
        """
        for (_, kind), path in self.explored.items():
            if kind == pair[1]:
                return replace(path, isotropic=None, free=None)
        n = self.data[0].shape[0]
        rows = self._rows(random_rows(n, subsampling.RELEVANCE_ROWS))
        known = self.explored.get(self._first_pair(pair))
        isotropic = known and known.isotropic
        return self.templates[pair]._start_path(rows, width, isotropic)

    def _rows(self, rows):
        """X, y and weights of the given rows, which are sent to a task."""
        return [None if a is None else safe_indexing(a, rows) for a in self.data]

    def ranking(self):
        """The pairs by their best finite mean score so far, best first."""

        def best(pair):
            paths = self.paths[pair]
            candidates = paths[0].scores
            means = [np.mean([p.scores[c][0] for p in paths]) for c in candidates]
            return max((mean for mean in means if np.isfinite(mean)), default=-inf)

        return sorted(self.paths, key=best, reverse=True)

    def densities(self, keys):
        """Log densities (n, candidates) of the rows held out, or None with a scorer."""
        if self.score.scorer is not None:
            return None
        columns = [
            np.concatenate([path.densities[candidate] for path in self.paths[pair]])
            for pair, candidate in keys
        ]
        return np.stack(columns, axis=1)

    def is_thinned(self):
        """Whether folds have three times as many rows as they learned from, or more."""
        return len(self.folds[0].many) >= 3 * subsampling.FOLD_ROWS

    def finalists(self, keys, indices, *, rigid=False):
        """Indices of the candidates to score again: those given, and one per kernel.

        It has the first covariance type and the width nearest to one, so that it adapts
        freely: some structure shows only in more rows.

        rigid : bool, whether to add one of the largest width for each kernel, too
        """
        first = {}
        for i, (pair, (width, _)) in enumerate(keys):
            if self._first_pair(pair) is None:
                first.setdefault(pair, []).append((width, i))
        added = [
            min(found, key=lambda f: abs(log(f[0])))[1] for found in first.values()
        ]
        if rigid:
            added += [max(found)[1] for found in first.values()]
        return list(dict.fromkeys([*indices, *added]))

    def score_again(self, keys):
        """Scores and log densities of candidates fitted to more rows of one fold.

        The log densities are None if the score is not their mean.
        """
        fold = self.folds[0]
        train, held_out = self._rows(fold.many), self._rows(fold.held_out)
        found = self._by_width(
            scored_again, keys, train, score=self.score, held_out=held_out
        )
        for (pair, (width, _)), (_, _, solution) in found.items():
            self.rescored[pair, width] = solution
        scores, densities, _ = zip(*(found[key] for key in keys), strict=True)
        if self.score.scorer is not None:
            return np.array(scores), None
        return np.array(scores), np.stack(densities, axis=1)

    def refit(self, keys, data):
        """The candidates fitted to all rows, each from the best known solution.

        data : X, y, sample weights or None
        """
        X, *rest = data
        found = self._by_width(fitted_to_all, keys, (MemoryMapReference(X), *rest))
        return [found[key] for key in keys]

    def _by_width(self, fit, keys, rows, **options):
        """Call `fit` once for each (pair, width), with all scalings of these keys.

        fit : `scored_again` or `fitted_to_all`, which returns one result per scaling
        keys : list of (pair, (width, scaling))

        Returns a dict, key -> result.
        """
        scalings_at = {}
        for pair, (width, scaling) in keys:
            scalings_at.setdefault((pair, width), []).append(scaling)
        calls = (
            delayed(fit)(
                self.templates[pair],
                rows,
                width,
                scalings,
                self._solutions(pair, width),
                **options,
            )
            for (pair, width), scalings in scalings_at.items()
        )
        results = {}
        answers = zip(scalings_at.items(), self._each(calls), strict=True)
        for ((pair, width), scalings), found in answers:
            for scaling, result in zip(scalings, found, strict=True):
                results[pair, (width, scaling)] = result
        return results

    def counts(self, folds):
        """Weights of the rows held out, fold after fold; all folds have equal sums."""
        X, _, weights = self.data
        weights = np.ones(X.shape[0]) if weights is None else weights
        counts = [to_numpy(safe_indexing(weights, fold.held_out)) for fold in folds]
        mean = sum(np.sum(c) for c in counts) / len(counts)
        return np.concatenate([c * (mean / np.sum(c)) for c in counts])

    def warn_if_missed(self, model):
        """Warn if a fitted model explains much less than a small forest."""
        explained = max(
            (path.explained for path in self.explored.values()), default=0.0
        )
        warn_if_missed(model._tuned.noise_share, explained)

    def _solutions(self, pair, width):
        """Solutions to start a fit to all rows from.

        The one of `score_again`, or those of all folds and of the explored sample.
        """
        if (pair, width) in self.rescored:
            return [self.rescored[pair, width]]
        paths = [path.widths for path in self.paths[pair]]
        whole = self.explored.get(pair)
        if width not in paths[0].points:
            found = [path.isotropic for path in [*paths, whole] if path is not None]
        else:
            found = [path.points[width] for path in paths]
            found.append(None if whole is None else whole.free)
        return [solution for solution in found if solution is not None]


def extended_path(
    estimator, train, relevance, held_out, score, candidates, path, **start
):
    """A copy of a path with further (width, scaling) candidates fitted and scored.

    train, relevance, held_out : (X, y, weights) to learn from, to measure relevances on
        (None if not needed), and to be scored on
    score : HeldOutScore
    start : options of `FiniteWidthRegressor._fit_path`
    """
    missing = [c for c in candidates if c not in path.scores]
    if not missing:
        return path
    began = perf_counter()
    with _quietly():
        models, widths = estimator._fit_path(
            train, relevance, missing, path.widths, **start
        )
    time = (perf_counter() - began) / len(missing)
    path = Path(dict(path.scores), dict(path.densities), widths)
    for candidate, model in models.items():
        began = perf_counter()
        value, densities = score(model, *held_out)
        path.scores[candidate] = value, time, perf_counter() - began
        path.densities[candidate] = densities
    return path


@contextmanager
def _quietly():
    """Ignore ConvergenceWarning: fits are compared by their held-out scores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def scored_again(estimator, train, width, scalings, starts, score, held_out):
    """List of (score, log densities, Solution), one for each scaling of a width."""
    estimator = clone(estimator).set_params(n_neighbors=None)
    models = _at_scalings(estimator, train, width, scalings, starts, estimator.max_iter)
    return [(*score(model, *held_out), model._tuned.solution) for model in models]


def fitted_to_all(estimator, rows, width, scalings, starts):
    """Models of one width at each scaling, on all rows.

    rows : MemoryMapReference of X, and y and weights
    """
    reference, *rest = rows
    train, max_iter = (reference.rows(), *rest), estimator.max_iter
    if starts and train[0].shape[0] > subsampling.FOLD_ROWS:
        # A run with neighbours has its own limit.
        local = estimator.is_local(train[0].shape[0])
        limit = max(REFINE_ITER, subsampling.LEFT_OUT_ITER) if local else REFINE_ITER
        max_iter = min(max_iter, limit)
    return _at_scalings(estimator, train, width, scalings, starts, max_iter)


def _at_scalings(estimator, train, width, scalings, starts, max_iter):
    """Models of one width, one for each scaling.

    Hyperparameters are tuned at scaling 1 whatever the scaling of a model. So only the
    first model is tuned, from `starts` and for `max_iter` iterations. The others take
    its values and solve the theory again.
    """
    first = clone(estimator).set_params(
        width=width, scaling=scalings[0], max_iter=max_iter
    )
    with _quietly():
        first._fit_checked(train, starts=starts)
        first.set_params(max_iter=estimator.max_iter)
        others = [first._at_scaling(scaling) for scaling in scalings[1:]]
    return [first, *others]
