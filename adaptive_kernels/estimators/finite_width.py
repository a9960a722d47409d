"""Fits of networks of finite width: tuned at scaling 1, solved at any scaling.

Model selection calls these methods of `FiniteWidthRegressor`, with checked arrays:
`_start_path`, `_fit_path`, `_fit_checked` and `_at_scaling`. It also reads the record
`_tuned` of a fitted model.
"""

from dataclasses import dataclass, replace
from math import inf, isinf
from numbers import Real

import numpy as np
from sklearn.base import clone

from .._arrays import asarray_like, namespace, small_problem_threads
from .._sklearn import Interval, Options
from ..inference import subsampling
from ..inference.coordinates import Frame
from ..inference.evidence import combine_metric_sqrts
from ..inference.evidence_problem import EvidenceProblem
from ..inference.local_posterior import LocalData
from ..inference.local_tuning import fit_with_output_scales, learn_from_neighbours
from ..inference.memory_limits import check_full_covariance_memory
from ..inference.missed_structure import (
    look_for_structure,
    noise_share,
    warn_unless_converged,
)
from ..inference.optimization import Solution, warm_start
from ..inference.output_noise import OutputNoisePosterior, OutputSpectrum
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

# Of widths and scalings. Products of a number beyond them with the evidence or with the
# kernel would overflow or vanish.
LIMITS = (1e-20, 1e20)
WIDTH_LIMITS = [Interval(Real, *LIMITS, closed="both"), Options(Real, {inf})]


@dataclass(frozen=True)
class Tuned:
    """Result of maximising the evidence at scaling 1.

    solution : Solution
    frame : Frame, the coordinates of the solution
    noise_share : float, noise variance over the variance of the targets
    output_noise : ndarray (C,), noise variances of several outputs; None until tuned
    """

    solution: Solution
    frame: Frame
    noise_share: float
    output_noise: np.ndarray | None = None

    @classmethod
    def of(cls, solution, frame, data):
        """The result for a solution, with the noise share on the given rows."""
        return cls(solution, frame, noise_share(solution, data))

    def point(self):
        """The solution's point in the coordinates of X and of normalised targets."""
        return self.frame.outside(self.solution.point)

    def with_frame_metric(self, point):
        """A point outside the frame, whose metric still is the one inside."""
        root = combine_metric_sqrts(self.frame.metric_sqrt, point.metric_sqrt)
        return replace(point, metric_sqrt=root)

    def without_curvature(self):
        """A copy without the curvature, which only a warm start needs."""
        return replace(self, solution=replace(self.solution, curvature=None))


class FiniteWidthRegressor(WideNetworkRegressor):
    """Base class with the fitting methods of `AdaptiveKernelRegressor`."""

    def __getstate__(self):
        """State to pickle: without curvatures, which only a warm start needs."""
        state = super().__getstate__()
        if "_tuned" in state:
            state["_tuned"] = state["_tuned"].without_curvature()
            state["_solution"] = replace(state["_solution"], curvature=None)
        return state

    def _matrices(self):
        return 2 if self._is_gaussian() else 7

    def _check_memory(self, X, n):
        super()._check_memory(X, n)
        learned = self._is_gaussian() and not isinf(self.width)
        if learned and self.covariance_type == "full":
            check_full_covariance_memory(X, X.shape[1])

    def _is_gaussian(self):
        return APPROXIMATIONS[self.approximation].gaussian

    def _check_inducing(self):
        if not self._needs_all_rows():
            return
        for name in ("n_inducing", "n_neighbors"):
            if getattr(self, name) not in (None, "auto"):
                raise ValueError(
                    f"approximation={self.approximation!r} needs all training rows at "
                    f"once: set {name}=None, or approximation='gaussian'."
                )

    def _needs_all_rows(self):
        return APPROXIMATIONS[self.approximation].all_rows

    def _problem(self, data):
        """The evidence problem at this width, and its coordinates.

        The covariance is part of the problem if the theory is Gaussian and at least one
        variance is tuned. Otherwise `_adapted` solves for it at a scaling.
        """
        problem, frame = super()._problem(data)
        if isinf(self.width) or not (self._is_gaussian() and problem.bounds):
            return problem, frame
        width, kind = float(self.width), self.covariance_type
        return replace(problem, width=width, covariance_type=kind), frame

    def _checked_problem(self, rows):
        """`_problem` of training rows; ValueError if the theory does not exist."""
        outputs = rows.data.Y.shape[1]
        check_theory(self.approximation, self._kernel().network(), outputs)
        return self._problem(rows.data)

    def _fit(self, rows, starts=()):
        """Fit, with a warm start from the best of `starts`, Solutions of other rows."""
        problem, frame = self._checked_problem(rows)
        solution, explained = _tune(problem, starts)
        warn_unless_converged(solution, problem.tol)
        if isinstance(rows.data, LocalData):
            solution = learn_from_neighbours(problem, frame, solution)
        self._tuned = Tuned.of(solution, frame, problem.data)
        if not starts:
            look_for_structure(problem, self._tuned.noise_share, explained)
        self._solve(rows)

    def _start_path(self, arrays, width, isotropic=None):
        """A path of widths for arrays (X, y, weights), with its starting point only.

        width : float, the smallest width that the path will reach
        isotropic : Solution at infinite width, or None to compute it
        """
        model = clone(self).set_params(width=width, n_neighbors=None)
        problem, _ = model._problem(model._rows(*arrays).data)
        with small_problem_threads(problem.data.X.shape[0]):
            return _new_path(problem, lambda: problem.data, width, isotropic=isotropic)

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

        The path is begun or given, then extended to the candidates' widths. A copy
        takes the path's solution at its width and solves the theory at its scaling.

        arrays : X, y, weights to learn from
        relevance_arrays : X, y, weights to measure the relevance of features on, or
            None if `start_index` needs none
        path : WidthPath to extend, or None to start one
        first_path : WidthPath of the first covariance type on the same rows, or None.
            Its solutions are the starting points, unless `start_index` is positive.
        start_index : int, the family of starts that won on other rows, or None to
            explore all families
        free_width : float, the width at which that family won, or None

        Returns
        -------
        models : dict, candidate -> AdaptiveKernelRegressor
        path : WidthPath
        """
        smallest = min(width for width, _ in candidates)
        base = clone(self).set_params(width=smallest, n_neighbors=None)
        rows = base._rows(*arrays)
        problem, frame = base._checked_problem(rows)

        # Called only if the starts need relevances: it merges and normalises the rows.
        def relevance_data():
            return frame.rounded(clone(base)._rows(*relevance_arrays).data)

        follow_first = path is None and first_path is not None and not start_index
        with small_problem_threads(problem.data.X.shape[0]):
            if follow_first:
                path = WidthPath(first_path.isotropic, first_path.observations)
            elif path is None:
                path = _new_path(
                    problem,
                    relevance_data,
                    smallest,
                    isotropic=first_path and first_path.isotropic,
                    start_index=start_index,
                    free_width=free_width,
                )
            if problem.covariance_type is not None:
                widths = {width for width, _ in candidates}
                known = first_path if follow_first else None
                extend_path(problem, path, widths, known=known)
            models = base._at_candidates(candidates, path, rows, problem, frame)
        return models, path

    def _at_candidates(self, candidates, path, rows, problem, frame):
        """Fitted copies of all candidates; those of one width are tuned together."""
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
        """A copy that keeps the fitted attributes, with some attributes changed."""
        model = object.__new__(type(self))
        vars(model).update(vars(self), **changes)
        return model

    def _at_scaling(self, scaling):
        """A copy at another scaling: the theory is solved again, nothing is tuned."""
        if self._posterior.inducing_points() is not None:
            self._require_exact("Another scaling")
        model = self._copied(scaling=scaling)
        with small_problem_threads(self.X_train_.shape[0]):
            model._solve(self._training, self._posterior)
        return model

    def _solve(self, rows, neighbour=None):
        """Solve the theory at `scaling` with tuned values fixed, and store the result.

        neighbour : posterior of this model at another scaling, or None
        """
        solution = self._scaled()
        if self._must_adapt():
            starts = [solution.point.metric_sqrt]
            if neighbour is not None:
                # This copy still has the solution at the neighbour's scaling.
                starts.append(self._solution.point.metric_sqrt)
            solution = self._adapted(rows.data, solution, starts)
        point = self._tuned.with_frame_metric(solution.point)
        if self._is_gaussian() and self._has_noise_per_output(rows):
            posterior, evidence = self._with_output_noise(rows.data, point)
        else:
            posterior, evidence = solve_theory(
                self.approximation, rows.data, point, float(self.width), neighbour
            )
        self._store(rows, posterior, evidence, solution.n_iter)
        self._solution, scale = solution, posterior.scale
        self.scale_ = scale if np.size(scale) > 1 else float(np.reshape(scale, ()))
        self.converged_ = solution.converged and posterior.converged

    def _with_output_noise(self, data, point):
        """Posterior and evidence with a noise for each output, tuned at scaling 1."""
        if isinstance(data, LocalData):
            return fit_with_output_scales(data, point)
        tuned, spectrum = self._tuned, OutputSpectrum.of(data, point)
        if tuned.output_noise is None:
            at_one, by_noise = tuned.point(), spectrum
            if self.scaling != 1:
                by_noise = OutputSpectrum.of(data, at_one)
            noise = by_noise.best_noise(at_one.alpha / tuned.solution.point.alpha)
            self._tuned = tuned = replace(tuned, output_noise=noise)
        noise = tuned.output_noise / (self.scaling if self.scale_noise else 1.0)
        return OutputNoisePosterior.fit(spectrum, noise)

    def _scaled(self):
        """The tuned solution; `scaling` divides weight variance and perhaps noise."""
        solution = self._tuned.solution
        point = self._tuned.frame.leave(solution.point)
        weight = point.network.weight_variance / self.scaling
        network = replace(point.network, weight_variance=weight)
        alpha = point.alpha / self.scaling if self.scale_noise else point.alpha
        return replace(solution, point=replace(point, network=network, alpha=alpha))

    def _must_adapt(self):
        """Whether the theory learns a covariance that tuning has not yet found.

        Tuning finds the covariance at scaling 1. "gaussian_tree" has an objective of
        its own, in which the covariance is learned at every scaling.
        """
        if not self._is_gaussian() or isinf(self.width):
            return False
        found = self.scaling == 1 and self.optimizer is not None
        return not found or self.approximation == "gaussian_tree"

    def _adapted(self, data, tuned, starts):
        """A solution with the covariance learned at this scaling, all else fixed.

        data : Data, with X as given
        tuned : Solution from `_scaled`, its variances and noise
        starts : roots of metrics to start from, besides those of `adapt`
        """
        # The frame subtracts the origin from the rows, so the network has none here.
        network = replace(tuned.point.network, origin=None)
        problem = EvidenceProblem(
            replace(data, X=self._tuned.frame.rows(data.X)),
            replace(tuned.point, network=network, metric_sqrt=None),
            width=float(self.width),
            covariance_type=self.covariance_type,
            tree=self.approximation == "gaussian_tree",
            max_iter=self.max_iter,
            tol=self.tol,
        )
        learned = adapt(problem, starts)
        warn_unless_converged(learned, problem.tol)
        point = replace(tuned.point, metric_sqrt=learned.point.metric_sqrt)
        return replace(learned, point=point, n_iter=learned.n_iter + tuned.n_iter)

    def _shares_spectrum_with(self, other):
        """Whether both models use the same eigenvectors (kernels are proportional)."""
        mine, theirs = (
            getattr(getattr(model._posterior, "spectrum", None), "vectors", None)
            for model in (self, other)
        )
        return mine is not None and mine is theirs

    def _predict_with(self, X, duals):
        """Means of k vectors of dual coefficients in the eigenbasis: (k, m[, C])."""
        X, host = self._validate_rows(X, "predict")
        posterior = self._posterior
        projections = posterior.cross(posterior.features(X)) @ posterior.factor
        means = [projections @ asarray_like(dual, X) for dual in duals]
        means = self._targets.to_original(namespace(X).stack(means))
        return self._targets.shaped(means, host)


def _tune(problem, starts):
    """The solution of a problem, and the share a forest explains, or None."""
    if starts:
        return warm_start(problem, best_solution(problem, starts)), None
    if problem.covariance_type is None:
        return tune_isotropic(problem), None
    rows = subsample(problem.data, subsampling.RELEVANCE_ROWS)
    relevance = measure_relevance(rows)
    return tune_covariance(problem, relevance), relevance.explained


def _new_path(problem, relevance_data, width, *, start_index=None, **options):
    """A path of widths with its starting point only.

    relevance_data : callable, returns the Data to measure relevances on
    width, start_index, options : those of `start_path`
    """
    if problem.covariance_type is None:
        isotropic = tune_isotropic(problem.of_sample())
        return WidthPath(isotropic, problem.observations())
    relevance = Relevance()
    if needs_relevance(start_index):
        rows = subsample(relevance_data(), subsampling.RELEVANCE_ROWS)
        relevance = measure_relevance(rows)
    return start_path(problem, relevance, width, start_index=start_index, **options)
