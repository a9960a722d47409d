"""Fits of networks of finite width: tuned at scaling 1, solved at any scaling.

`FiniteWidthRegressor` declares what model selection may call, with arrays that have
been checked: `_start_path`, `_fit_path`, `_fit_checked` and `_at_scaling`; and the
record `_tuned` of a fitted model.
"""

from dataclasses import dataclass, replace
from math import isinf

import numpy as np
from sklearn.base import clone

from .._arrays import asarray_like, namespace, small_problem_threads
from ..inference import subsampling
from ..inference.coordinates import Frame
from ..inference.evidence import combine_metric_sqrts
from ..inference.evidence_problem import EvidenceProblem
from ..inference.missed_structure import (
    look_for_structure,
    noise_share,
    warn_unless_converged,
)
from ..inference.optimization import Solution, warm_start
from ..inference.relevance import Relevance, measure_relevance
from ..inference.subsampling import subsample
from ..inference.tuning import best_solution, tune_isotropic
from ..inference.width_path import (
    WidthPath,
    extend_path,
    needs_relevance,
    start_path,
    tune_covariance,
)
from ..theory.finite_width.approximations import (
    APPROXIMATIONS,
    check_theory,
    solve_theory,
)
from ..theory.finite_width.gaussian_adaptation import adapt
from .wide_network import WideNetworkRegressor


@dataclass(frozen=True)
class Tuned:
    """What maximising the evidence has given, at scaling 1.

    solution : Solution
    frame : Frame, the coordinates that it is in
    noise_share : float, share of the targets' variance that it takes for noise
    """

    solution: Solution
    frame: Frame
    noise_share: float

    @classmethod
    def of(cls, solution, frame, data):
        """The record of a solution for some rows."""
        return cls(solution, frame, noise_share(solution, data))

    def without_curvature(self):
        """Without what only further runs of the optimizer from here would need."""
        return replace(self, solution=replace(self.solution, curvature=None))


class FiniteWidthRegressor(WideNetworkRegressor):
    """Base class with the fitting methods of `AdaptiveKernelRegressor`."""

    def __getstate__(self):
        """Without curvatures, which only further runs from here would need."""
        state = super().__getstate__()
        if "_tuned" in state:
            state["_tuned"] = state["_tuned"].without_curvature()
            state["_solution"] = replace(state["_solution"], curvature=None)
        return state

    def _matrices(self):
        return 2 if self._is_gaussian() else 7

    def _is_gaussian(self):
        return APPROXIMATIONS[self.approximation].gaussian

    def _check_inducing(self):
        all_rows = APPROXIMATIONS[self.approximation].all_rows
        if self.n_inducing is not None and all_rows:
            raise ValueError(
                f"approximation={self.approximation!r} needs all training rows at "
                "once: set n_inducing=None, or approximation='gaussian'."
            )

    def _problem(self, data):
        """The evidence problem at this width, and its coordinates.

        A covariance is tuned only where the theory is Gaussian and something may move:
        otherwise it is solved for, at a scaling.
        """
        problem, frame = super()._problem(data)
        if isinf(self.width) or not (self._is_gaussian() and problem.bounds):
            return problem, frame
        width, kind = float(self.width), self.covariance_type
        return replace(problem, width=width, covariance_type=kind), frame

    def _checked_problem(self, rows):
        """The same of training rows, for which the theory must exist."""
        outputs = rows.data.Y.shape[1]
        check_theory(self.approximation, self._kernel().network(), outputs)
        return self._problem(rows.data)

    def _fit(self, rows, starts=()):
        """Fit; `starts` are Solutions for other rows, to go on from the best of."""
        problem, frame = self._checked_problem(rows)
        solution, explained = _tune(problem, starts)
        warn_unless_converged(solution, problem.tol)
        self._tuned = Tuned.of(solution, frame, problem.data)
        if not starts:
            look_for_structure(problem, self._tuned.noise_share, explained)
        self._solve(rows)

    def _start_path(self, arrays, width, isotropic=None):
        """A path of widths for arrays (X, y, weights), explored but without points.

        width : float, the smallest that will be asked for
        """
        model = clone(self).set_params(width=width)
        problem, _ = model._problem(model._rows(*arrays).data)
        with small_problem_threads(problem.data.X.shape[0]):
            return _explored(problem, lambda: problem.data, width, isotropic=isotropic)

    def _fit_path(
        self,
        arrays,
        relevance_arrays,
        candidates,
        path=None,
        *,
        first_path=None,
        start_index=None,
        free_width=None,
    ):
        """Fitted copies at (width, scaling) candidates, along one path of widths.

        arrays : X, y, weights to learn from
        relevance_arrays : X, y, weights that the relevance of features is measured on,
            or None if `start_index` needs none
        path : WidthPath to extend, or None to start one
        first_path : WidthPath of the first covariance type on the same rows, or None.
            Its solutions are the starting points, unless `start_index` is positive.
        start_index, free_width : as in `start_path`

        Returns
        -------
        models : dict, candidate -> AdaptiveKernelRegressor
        path : WidthPath
        """
        smallest = min(width for width, _ in candidates)
        base = clone(self).set_params(width=smallest)
        rows = base._rows(*arrays)
        problem, frame = base._checked_problem(rows)

        # Called only where starts need it.
        def relevance_data():
            return frame.rounded(clone(self)._rows(*relevance_arrays).data)

        with small_problem_threads(problem.data.X.shape[0]):
            known = None
            if path is None and first_path is not None and not start_index:
                known = first_path
                path = WidthPath(known.isotropic, known.observations)
            elif path is None:
                path = _explored(
                    problem,
                    relevance_data,
                    smallest,
                    isotropic=first_path and first_path.isotropic,
                    start_index=start_index,
                    free_width=free_width,
                )
            if problem.covariance_type is not None:
                widths = {width for width, _ in candidates}
                extend_path(problem, path, widths, known=known)
            models = base._at_candidates(candidates, path, rows, problem, frame)
        return models, path

    def _at_candidates(self, candidates, path, rows, problem, frame):
        """A fitted copy for each candidate; those of one width share the tuning."""
        models, model = {}, None
        for width, scaling in sorted(candidates):
            if model is not None and model.width == width:
                model = model._at_scaling(scaling)
            else:
                tuned = Tuned.of(path.at(width), frame, problem.data)
                model = self._copied(width=width, scaling=scaling, _tuned=tuned)
                model._solve(rows)
            models[width, scaling] = model
        return models

    def _copied(self, **changes):
        """A copy with all fitted state, and some attributes changed."""
        model = object.__new__(type(self))
        vars(model).update(vars(self), **changes)
        return model

    def _at_scaling(self, scaling):
        """A copy of this fitted model at another scaling: tuned once, solved again."""
        self._require_exact("Another scaling")
        model = self._copied(scaling=scaling)
        with small_problem_threads(self.X_train_.shape[0]):
            model._solve(self._training, self._posterior)
        return model

    def _solve(self, rows, neighbour=None):
        """Solve the theory at `scaling` with everything tuned frozen, and store it.

        `neighbour` is the posterior at another scaling.
        """
        frame = self._tuned.frame
        solution = self._adapted(rows.data, self._scaled(), neighbour)
        metric_sqrt = combine_metric_sqrts(
            frame.metric_sqrt, solution.point.metric_sqrt
        )
        point = replace(solution.point, metric_sqrt=metric_sqrt)
        posterior, evidence = solve_theory(
            self.approximation, rows.data, point, float(self.width), neighbour
        )
        self._store(rows, posterior, evidence, solution.n_iter)
        self._solution, scale = solution, posterior.scale
        self.scale_ = scale if np.size(scale) > 1 else float(np.reshape(scale, ()))
        self.converged_ = solution.converged and posterior.converged

    def _scaled(self):
        """The tuned point with weight variance, and noise if asked, divided."""
        solution = self._tuned.solution
        point = self._tuned.frame.leave(solution.point)
        weight = point.network.weight_variance / self.scaling
        network = replace(point.network, weight_variance=weight)
        alpha = point.alpha / self.scaling if self.scale_noise else point.alpha
        return replace(solution, point=replace(point, network=network, alpha=alpha))

    def _adapted(self, data, solution, neighbour):
        """The covariance solved for again, unless tuning left it as it has to be."""
        if not self._is_gaussian() or isinf(self.width):
            return solution
        tree = self.approximation == "gaussian_tree"
        if self.scaling == 1 and self.optimizer is not None and not tree:
            return solution
        network = replace(solution.point.network, origin=None)
        problem = EvidenceProblem(
            replace(data, X=self._tuned.frame.rows(data.X)),
            replace(solution.point, network=network, metric_sqrt=None),
            width=float(self.width),
            covariance_type=self.covariance_type,
            tree=tree,
            max_iter=self.max_iter,
            tol=self.tol,
        )
        starts = [solution.point.metric_sqrt]
        if neighbour is not None:
            starts.append(self._solution.point.metric_sqrt)
        again = adapt(problem, starts)
        warn_unless_converged(again, problem.tol)
        point = replace(solution.point, metric_sqrt=again.point.metric_sqrt)
        return replace(again, point=point, n_iter=again.n_iter + solution.n_iter)

    def _shares_spectrum_with(self, other):
        """Whether the kernel matrices differ by a factor only, and were solved so."""
        mine, theirs = (
            getattr(model._posterior, "spectrum", None) for model in (self, other)
        )
        return (
            mine is not None and theirs is not None and mine.vectors is theirs.vectors
        )

    def _predict_with(self, X, duals):
        """Means for dual coefficients in the eigenbasis: (k, m) or (k, m, C)."""
        X, host = self._validate_rows(X, "predict")
        posterior = self._posterior
        projections = posterior.cross(posterior.features(X)) @ posterior.factor
        means = [projections @ asarray_like(dual, X) for dual in duals]
        means = self._targets.given(namespace(X).stack(means))
        return self._targets.shaped(means, host)


def _tune(problem, starts):
    """The solution of a problem, and what a forest explains where one was grown."""
    if starts:
        return warm_start(problem, best_solution(problem, starts)), None
    if problem.covariance_type is None:
        return tune_isotropic(problem), None
    rows = subsample(problem.data, subsampling.RELEVANCE_ROWS)
    relevance = measure_relevance(rows)
    return tune_covariance(problem, relevance), relevance.explained


def _explored(problem, relevance_data, width, *, start_index=None, **known):
    """What a path of widths starts from; see `start_path` for width and known.

    relevance_data : callable, gives Data to see relevance in
    """
    if problem.covariance_type is None:
        isotropic = tune_isotropic(problem.of_sample())
        return WidthPath(isotropic, problem.observations())
    relevance = Relevance()
    if needs_relevance(start_index):
        rows = subsample(relevance_data(), subsampling.RELEVANCE_ROWS)
        relevance = measure_relevance(rows)
    return start_path(problem, relevance, width, start_index=start_index, **known)
