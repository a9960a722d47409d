"""Gaussian-process regressors with the kernel of a wide network, fixed or adaptive."""

from dataclasses import replace
from math import inf, isinf
from numbers import Integral, Real

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._array import asarray_like, namespace, small_problem_threads, to_numpy
from ._base import WideNetworkRegressor
from ._starts import FIRST_RELEVANT, RELEVANCE_ROWS, Relevance, relevance
from ._tuning import (
    WidthPath,
    best_solution,
    extend_path,
    go_on,
    noise_share,
    start_path,
    subsample,
    tune_covariance,
    tune_isotropic,
    warn_if_missed,
    warn_unless_converged,
)
from .kernels._recursion import centered
from .theory.adaptation import adapt
from .theory.approximations import APPROXIMATIONS, GAUSSIAN, check_theory, solve_theory
from .theory.ascent import Search
from .theory.variational import combine_roots

# Share of noise from which a fit is compared with a forest.
MUCH_NOISE = 0.3


class NNGPRegressor(WideNetworkRegressor):
    """Regression with the Gaussian process of an infinitely wide neural network.

    NNGP means neural-network Gaussian process. Variances and noise maximise the
    evidence, by its analytic gradient, from fixed starting points. X is counted from
    the mean of its rows, so that neither the origin of a column nor the units of X and
    y change what is found. A fit that takes for noise what a small forest predicts
    warns.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        None means ``NNGP("erf")``. Bounds of the weight variance are relative to one
        over the mean squared entry of X, those of the readout variance to the
        variance of y; hyperparameters with bounds "fixed" are taken as given. At depth
        > 1, where layers share the weight variance, X is first brought to unit mean
        square through the metric of `kernel_`.
    alpha : float, default=1e-2
        Noise variance, in units of the variance of y if `normalize_y`. With
        `optimizer=None` it is taken as given; otherwise it starts the search
        together with a given `kernel`.
    optimizer : {"evidence"} or None, default="evidence"
        None takes every variance as given, and X from the kernel's origin.
    n_restarts_optimizer : int, default=0
        Random starting points besides the fixed ones.
    n_inducing : int, default=None
        None is the exact fit, with matrices of n x n. A number, from 300 to 2000, fits
        through so many inducing points in O(n n_inducing^2) time, a block of rows in
        memory at once; no more points than distinct rows are taken, and then the fit is
        exact. Kernel, covariance and noise are learned from 4000 rows, or 4 n_inducing
        if that is more, drawn at random but always the same; predictions rest on all.
        X may be a `numpy.memmap`, or of single precision; from 20,000 rows it is
        neither copied nor kept. Leave-one-out and evidences elsewhere than at the fit
        are then missing.
    normalize_y : bool, default=True
        Fit to centred targets of unit variance; predictions come back in y's units.
    device : {"cuda"} or None, default=None
        "cuda" moves X and y to a GPU through CuPy and returns NumPy; None follows X.
    random_state : int, RandomState or None, default=None
        For the random starts only.

    Attributes
    ----------
    kernel_ : NNGP or NTK
        Kernel with the fitted variances.
    alpha_ : float
        Fitted noise variance, in the units of `alpha`.
    dual_coef_ : array of shape (n_rows, n_outputs)
        Coefficients of the kernel with `X_train_` in the mean of normalised y: without
        `n_inducing` (K + noise)^{-1} y.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows of positive weight, in lexicographic order; with
        `n_inducing` the inducing points, which are some of the training rows.
    log_marginal_likelihood_value_ : float
        Log evidence of normalised y, summed over outputs; with `n_inducing` a lower
        bound of it.
    n_iter_ : int
        Iterations of the optimizer.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    References
    ----------
    Lee et al., "Deep Neural Networks as Gaussian Processes", ICLR 2018.
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006.
    Titsias, "Variational learning of inducing variables in sparse Gaussian processes",
    AISTATS 2009, for `n_inducing`.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels import NNGPRegressor
    >>> X = np.linspace(-2, 2, 20)[:, None]
    >>> model = NNGPRegressor().fit(X, np.sin(X[:, 0]))
    >>> mean, std = model.predict([[1.0]], return_std=True)
    >>> bool(abs(mean[0] - np.sin(1.0)) < 0.01)
    True
    """

    def __init__(
        self,
        kernel=None,
        *,
        alpha=1e-2,
        optimizer="evidence",
        n_restarts_optimizer=0,
        n_inducing=None,
        normalize_y=True,
        device=None,
        random_state=None,
    ):
        self.kernel = kernel
        self.alpha = alpha
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.normalize_y = normalize_y
        self.device = device
        self.random_state = random_state

    def _fit(self, given, mean, scale):
        data, frame, search = self._problem(given)
        solution = tune_isotropic(data, search)
        warn_unless_converged(solution, search)
        look_for_structure(noise_share(solution, data), data, search)
        point = replace(frame.leave(solution.point), root=frame.root)
        posterior, evidence = solve_theory("gaussian", given, point, inf)
        self._store(given, mean, scale, posterior, evidence, solution)


class AdaptiveKernelRegressor(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, WideNetworkRegressor
):
    """Regression with the kernel of a finite-width network, which adapts to the data.

    A finite Bayesian network moves its input weights towards the data. Their
    covariance Sigma is learned by maximising

        log evidence(K(Sigma) + alpha I) - width * KL(N(0, Sigma) || prior),

    together with the variances and the noise, so `width` is the strength of a
    regulariser on learning an input metric: infinite width is `NNGPRegressor`, a small
    width learns the metric freely.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        As in `NNGPRegressor`: its variances set the prior.
    width : float, default=1.0
        Number of hidden units, positive, not necessarily whole; ``inf`` does not adapt.
        Best chosen by `AdaptiveKernelRegressorCV`.
    scaling : float, default=1.0
        From 1 (standard) to `width` (mean-field scaling): everything is tuned at
        scaling 1 and frozen, then the prior variance of the hidden weights is divided
        by `scaling` and the theory solved again.
    scale_noise : bool, default=False
        Divide the noise by `scaling` too, as a true mean-field limit needs: with the
        noise kept, a network of vanishing weights learns nothing.
    approximation : str, default="gaussian"
        The theory of the finite network; see Notes for what to rely on.

        - "gaussian" learns the weight covariance, together with variances and noise.
          The others take both from the NNGP's evidence, frozen.
        - "gaussian_tree" learns it again at that noise, without the log determinant.
        - "rescaling" keeps the kernel's shape and solves for its scale, to all orders
          in n_samples / width; with several layers, for one scale each.
        - "tree" and "one_loop" are the expansion of the same in n_samples / width.
        - "exact" integrates over the scale; for linear networks (``"identity"``).
        - "sampled" samples neurons from the distribution that the data imply, for any
          activation, one hidden layer and one output: tree level and one loop.
    covariance_type : {"diag", "full"}, default="diag"
        One variance per feature, or all covariances; for "gaussian" and
        "gaussian_tree" only.
    alpha, optimizer, n_restarts_optimizer, n_inducing, normalize_y, device, \
random_state :
        As in `NNGPRegressor`; `n_inducing` is for "gaussian" only.
    max_iter : int, default=200
        Iterations of the optimizer at full size.
    tol : float, default=0.2
        Change of the objective, in nats, per e-fold of any parameter at which to stop;
        ten times as much still counts as converged.

    Attributes
    ----------
    weight_covariance_ : ndarray of shape (n_features,) or (n_features, n_features)
        Sigma, the covariance of the input weights of a hidden unit. Variances alone
        for "diag", and where a rescaled kernel knows no more than the prior.
    feature_importances_ : ndarray of shape (n_features,)
        Share of each feature in the variance of a pre-activation: diag(Sigma) times
        the variance of the feature, summing to one.
    scale_ : float, or ndarray of shape (n_outputs, n_outputs) or (depth,)
        Scale of the kernel in the mean: Q for "tree", Q_eff for "one_loop", s for
        "rescaling", E[s] for "exact", else 1.
    effective_dof_ : float
        Effective degrees of freedom, tr[(K + noise)^{-1} K] with the (scaled) kernel of
        the mean, per output.
    converged_ : bool
    kernel_ : NNGP or NTK
        Kernel with the fitted variances and metric; without the scales of "rescaling".
    dual_coef_ : array of shape (n_rows, n_outputs)
        Coefficients of the kernel with `X_train_` in the mean, scales included; for
        "sampled" (y - f) / noise, from which alone no mean follows.
    alpha_, X_train_, log_marginal_likelihood_value_, n_iter_ :
        As in `NNGPRegressor`.

    Notes
    -----
    The regularised evidence is not comparable between widths; neither is the evidence
    of a learned metric nor its leave-one-out error. Compare widths by cross-validation.

    What to rely on, as measured on networks that were sampled:

    - "gaussian": directions and ranking of features. For linear networks exact at mean
      field; for others its discrepancy is some 25 % (erf) to 75 % (ReLU) off there,
      however wide the network, its variances are too small, its evidence no evidence.
    - "rescaling": for linear networks mean, variance and evidence, at any scaling and
      n_samples / width. For others mean and variance at standard scaling, within a few
      per cent; it sees no directions.
    - "tree": the mean at mean-field scaling, and no evidence at standard scaling.
    - "one_loop": while `effective_dof_` is well below `width`; at 0.6 of it 6 % off.
      Beyond, it warns and gives the result of "rescaling".
    - "exact": everything, for linear networks.
    - "sampled": mean and directions, for any activation, unless it warns; variances at
      mean field, at standard scaling some 20 % too large where n_samples is above half
      the width.

    References
    ----------
    arXiv:2502.03210, for the theory from standard to mean-field scaling.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels import AdaptiveKernelRegressor
    >>> X = np.random.default_rng(0).standard_normal((80, 5))
    >>> model = AdaptiveKernelRegressor().fit(X, np.sin(2 * X[:, 3]))
    >>> int(model.feature_importances_.argmax())
    3
    """

    _parameter_constraints: dict = {
        **WideNetworkRegressor._parameter_constraints,
        "width": [Interval(Real, 0, None, closed="right")],
        "scaling": [Interval(Real, 0, None, closed="neither")],
        "scale_noise": ["boolean"],
        "approximation": [StrOptions(APPROXIMATIONS)],
        "covariance_type": [StrOptions({"diag", "full"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        kernel=None,
        *,
        width=1.0,
        scaling=1.0,
        scale_noise=False,
        approximation="gaussian",
        covariance_type="diag",
        alpha=1e-2,
        optimizer="evidence",
        n_restarts_optimizer=0,
        n_inducing=None,
        normalize_y=True,
        max_iter=200,
        tol=0.2,
        device=None,
        random_state=None,
    ):
        self.kernel = kernel
        self.width = width
        self.scaling = scaling
        self.scale_noise = scale_noise
        self.approximation = approximation
        self.covariance_type = covariance_type
        self.alpha = alpha
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.normalize_y = normalize_y
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    def __getstate__(self):
        """Without the curvature, which only further climbs from here would need."""
        state = super().__getstate__()
        for name, value in state.items():
            if getattr(value, "curvature", None) is not None:
                state[name] = replace(value, curvature=None)
        return state

    def _matrices(self):
        return 2 if self._is_gaussian() else 7

    def _is_gaussian(self):
        return self.approximation in GAUSSIAN

    def _check_inducing(self):
        if self.n_inducing is not None and self.approximation != "gaussian":
            raise ValueError(
                f"approximation={self.approximation!r} needs all training rows at "
                "once: set n_inducing=None, or approximation='gaussian'."
            )

    def _fit(self, given, mean, scale, starts=()):
        """Fit; `starts` are Solutions for other rows, to go on from the best of."""
        check_theory(self.approximation, self._kernel().network(), given.Y.shape[1])
        data, self._frame, search = self._problem(given)
        self._tuned, explained = self._tune(data, search, starts)
        warn_unless_converged(self._tuned, search)
        self._noise_share = noise_share(self._tuned, data)
        if not starts:
            look_for_structure(self._noise_share, data, search, explained)
        self._solve(given, mean, scale)

    def _tune(self, data, search, starts):
        """Variances, noise and, for a Gaussian covariance, Sigma at scaling 1.

        And what a forest explains, where one was grown.
        """
        kind = self._kind(search)
        if starts:
            best = best_solution(data, starts, kind["width"])
            return go_on(data, search, best, **kind), None
        if kind["covariance_type"] is None:
            return tune_isotropic(data, search), None
        relevant = relevance(subsample(data, RELEVANCE_ROWS))
        return tune_covariance(data, search, relevant, **kind), relevant.explained

    def _start_path(self, rows, width, isotropic=None):
        """A path of widths for rows (X, y, weights), explored but without points.

        width : float, the smallest that will be asked for
        """
        model = clone(self)
        given, _, _ = model._prepare(*rows)
        data, _, search = model._problem(given)
        with small_problem_threads(given.X.shape[0]):
            return model._explored(
                data, search, lambda: data, width, isotropic=isotropic
            )

    def _explored(self, data, search, looked, width, **known):
        """What a path of widths starts from; see `start_path` for width and known.

        looked : callable, gives data to see relevance in
        """
        if not self._adapts(search):
            isotropic = tune_isotropic(subsample(data), search)
            return WidthPath(isotropic, data.observations())
        family, relevant = known.get("family"), Relevance()
        if family is None or family >= FIRST_RELEVANT:
            relevant = relevance(subsample(looked(), RELEVANCE_ROWS))
        kind = width, self.covariance_type
        return start_path(data, search, relevant, *kind, **known)

    def _fit_path(self, rows, looked, candidates, path=None, *, kin=None, **start):
        """Fitted copies at (width, scaling) candidates, along one path of widths.

        rows, looked : X, y, weights, to learn from and to see relevance in; the second
            may be None where the family of starts needs none
        path : WidthPath to extend, or None to start one
        kin : WidthPath of another covariance type for the same rows, or None. Its
            points are what this type starts from, unless a family is given.
        start : family and free_width, as in `start_path`

        Returns
        -------
        models : dict, candidate -> AdaptiveKernelRegressor
        path : WidthPath
        """
        base = clone(self)
        given, mean, scale = base._prepare(*rows)
        check_theory(self.approximation, self._kernel().network(), given.Y.shape[1])
        data, base._frame, search = base._problem(given)
        with small_problem_threads(given.X.shape[0]):
            known = None
            if path is None and kin is not None and not start.get("family"):
                path, known = WidthPath(kin.isotropic, kin.observations), kin.points
            elif path is None:
                isotropic = None if kin is None else kin.isotropic
                path = base._explored(
                    data,
                    search,
                    lambda: base._frame.rounded(clone(self)._prepare(*looked)[0]),
                    min(width for width, _ in candidates),
                    isotropic=isotropic,
                    **start,
                )
            if self._adapts(search):
                widths = {width for width, _ in candidates}
                extend_path(
                    data, search, path, widths, self.covariance_type, known=known
                )
            models, last = {}, None
            for width, scaling in sorted(candidates):
                if last is not None and last.width == width:
                    last = last._at_scaling(scaling)
                else:
                    base._tuned = path.points.get(width, path.isotropic)
                    last = base._solved(width, scaling, given, mean, scale)
                models[width, scaling] = last
        return models, path

    def _solved(self, width, scaling, given, mean, scale):
        """A copy at a width and scaling for which everything has been tuned."""
        model = object.__new__(type(self))
        vars(model).update(vars(self), width=width, scaling=scaling)
        model._solve(given, mean, scale)
        return model

    def _adapts(self, search):
        """Whether a covariance is tuned: not if it is only solved for at a scaling."""
        return self._is_gaussian() and bool(search.bounds)

    def _kind(self, search):
        """Width and covariance type of what is tuned at scaling 1."""
        if isinf(self.width) or not self._adapts(search):
            return {"width": inf, "covariance_type": None}
        return {"width": float(self.width), "covariance_type": self.covariance_type}

    def _at_scaling(self, scaling):
        """A copy of this fitted model at another scaling: tuned once, solved again."""
        self._require_exact("Another scaling")
        model = object.__new__(type(self))
        vars(model).update(vars(self), scaling=scaling)
        with small_problem_threads(self.X_train_.shape[0]):
            model._solve(self._training, self._y_mean, self._y_scale, self._posterior)
        return model

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
        means = namespace(X).stack(means) * self._y_scale + self._y_mean
        return self._shaped(means, host)

    @property
    def effective_dof_(self):
        """Effective degrees of freedom, tr[(K + noise)^{-1} K], per output."""
        check_is_fitted(self)
        return self._posterior.effective_dof(self._training)

    def _solve(self, given, mean, scale, neighbour=None):
        """Solve the theory at `scaling` with everything tuned frozen, and store it.

        `neighbour` is the posterior at another scaling.
        """
        solution = self._adapted(given, self._scaled(self._tuned), neighbour)
        root = combine_roots(self._frame.root, solution.point.root)
        point = replace(solution.point, root=root)
        posterior, evidence = solve_theory(
            self.approximation, given, point, float(self.width), neighbour
        )
        self._store(given, mean, scale, posterior, evidence, solution)
        self._describe(solution)

    def _scaled(self, solution):
        """The tuned point with weight variance, and noise if asked, divided."""
        point = self._frame.leave(solution.point)
        weight = point.network.weight_variance / self.scaling
        network = replace(point.network, weight_variance=weight)
        alpha = point.alpha / self.scaling if self.scale_noise else point.alpha
        return replace(solution, point=replace(point, network=network, alpha=alpha))

    def _adapted(self, given, solution, neighbour):
        """The covariance solved for again, unless tuning left it as it has to be."""
        if not self._is_gaussian() or isinf(self.width):
            return solution
        tree = self.approximation == "gaussian_tree"
        if self.scaling == 1 and self.optimizer is not None and not tree:
            return solution
        data = replace(given, X=self._frame.rows(given.X))
        network = replace(solution.point.network, origin=None)
        template = replace(solution.point, network=network, root=None)
        search = Search(template, {}, self.max_iter, self.tol)
        starts = [solution.point.root]
        if neighbour is not None:
            starts.append(self._solution.point.root)
        again = adapt(
            data,
            search,
            starts,
            width=float(self.width),
            covariance_type=self.covariance_type,
            tree=tree,
        )
        warn_unless_converged(again, search)
        point = replace(solution.point, root=again.point.root)
        return replace(again, point=point, n_iter=again.n_iter + solution.n_iter)

    def _describe(self, solution):
        self._solution = solution
        scale = self._posterior.scale
        self.scale_ = scale if np.size(scale) > 1 else float(np.reshape(scale, ()))
        self.converged_ = solution.converged and self._posterior.converged

    @property
    def weight_covariance_(self):
        """Covariance of a hidden unit's input weights, (d, d) or (d,)."""
        check_is_fitted(self)
        return self._as_given(self._weight_covariance())

    @property
    def feature_importances_(self):
        """Share of each feature in the variance of a pre-activation: (d,)."""
        check_is_fitted(self)
        covariance = to_numpy(self.weight_covariance_)
        variances = covariance if covariance.ndim == 1 else np.diag(covariance)
        shares = variances * to_numpy(self._column_variances)
        return self._as_given(shares / shares.sum() if shares.sum() > 0 else shares)

    def _as_given(self, values):
        """Host values as an array of the library that X came in."""
        on_host = self.device is not None or isinstance(self.X_train_, np.ndarray)
        return values if on_host else asarray_like(values, self.X_train_)

    def _weight_covariance(self):
        """Sigma in the units of X: (d,) where nothing but variances is known."""
        given, root = self._training, self._posterior.point.root
        d = given.X.shape[1]
        metric = self._posterior.weight_covariance(given)
        if metric is not None and root is not None:
            root = np.diag(root) if root.ndim == 1 else root
            metric = root @ to_numpy(metric) @ root.T
        if metric is None:
            metric = self._posterior.point.metric()
        if metric is None:
            full = self._is_gaussian() and self.covariance_type == "full"
            metric = np.eye(d) if full else np.ones(d)
        return self.kernel_.weight_variance / d * to_numpy(metric)

    def transform(self, X):
        """Map inputs, counted from their mean, into the learned metric.

        There x' Sigma z is an inner product.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_features)
            For a diagonal Sigma the scaled features; for a full one the projections on
            its principal directions, by decreasing variance.
        """
        check_is_fitted(self)
        X, host = self._validate_rows(X, "transform")
        X = centered(X, self._posterior.network.origin)
        covariance = to_numpy(self.weight_covariance_)
        if covariance.ndim == 1:
            mapped = X * asarray_like(np.sqrt(covariance), X)
        else:
            mapped = X @ asarray_like(_principal_root(covariance), X)
        return to_numpy(mapped) if host else mapped

    @property
    def _n_features_out(self):
        return self.n_features_in_


def look_for_structure(share, data, search, explained=None):
    """Warn if a fit has taken for noise what a forest sees.

    share : float, of the variance that was taken for noise
    explained : float, as in `Relevance`; None grows a forest if the fit explains little
    """
    if not search.bounds or share < MUCH_NOISE:
        return
    if explained is None:
        explained = relevance(subsample(data, RELEVANCE_ROWS)).explained
    warn_if_missed(share, explained)


def _principal_root(covariance):
    """Principal directions by decreasing variance, times the standard deviation."""
    values, vectors = np.linalg.eigh(covariance)
    largest = np.argmax(np.abs(vectors), axis=0)
    signs = np.sign(vectors[largest, range(len(values))])
    return (vectors * signs * np.sqrt(np.maximum(values, 0)))[:, ::-1]
