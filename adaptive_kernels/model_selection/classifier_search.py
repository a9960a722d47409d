"""Kernels, covariance types and widths of classifiers stacked by cross-validation."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import inf, isinf
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    BaseCrossValidator,
    BaseShuffleSplit,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils.validation import check_is_fitted

from .._arrays import Array, ArrayLike, as_float64, asarray_like, to_numpy
from .._sklearn import fit_context
from ..estimators.adaptive_classifier import AdaptiveKernelClassifier
from ..estimators.adaptive_regressor import AdaptiveKernelRegressor
from ..estimators.class_posteriors import calibrated
from ..estimators.labels import codes_of, one_vs_rest_targets
from ..inference.streaming import RowStream
from ..kernels import NNGP, NTK
from .folds import (
    MOST_FOLDS,
    default_folds,
    folds_of,
    stratified_folds,
    without_zero_weights,
)
from .grids import check_grids, make_templates
from .scores import HeldOutScore
from .search import search
from .stacking import average

# Log likelihood in nats that a smaller mixture may lose. A fixed number: the log loss
# can be as low as 0.1 a row, and a tolerance that grows with the rows would drop useful
# members.
LOSS_TOLERANCE = 1.0
# Least width of a full covariance, which overfits labels at small ones.
FULL_WIDTH = 10
_SHARED = (
    "optimizer",
    "n_restarts_optimizer",
    "max_iter",
    "tol",
    "device",
    "random_state",
)


class AdaptiveKernelClassifierCV(AdaptiveKernelClassifier):
    """A mixture of `AdaptiveKernelClassifier` members, chosen by cross-validation.

    Candidates are evaluated in three steps, by the log loss of calibrated probabilities
    on rows held out: the kernel, at the smallest and a middle width and the first
    covariance type; the covariance type, for the two best kernels; all widths, for the
    best of these pairs.
    The probabilities of all candidates are then stacked, as `AdaptiveKernelRegressorCV`
    stacks densities: few members remain, often two or three.

    A fold learns from at most 600 rows and is scored on at most 1000; the members'
    kernels are learned from at most 1000 rows, and all rows make their probabilities.

    Parameters
    ----------
    kernels : list of NNGP or NTK, default=None
        None means erf, ReLU and the cosine whose NNGP is the radial-basis-function
        kernel.
    widths : sequence of float, default=(0.1, 1, 10, 100, inf)
        Numbers of hidden units. A full covariance is tried from 10 up, if there is such
        a width, since it overfits labels at smaller ones.
    covariance_types : sequence of {"diag", "full"}, default=("diag", "full")
    cv : int, cross-validation generator or iterable, default=None
        None means five folds up to 300 rows (three where a class has fewer than five),
        three beyond. A number of folds is stratified and shuffled, with `random_state`
        or with seed 0.
    scoring : str, callable or None, default=None
        None is the mean log probability of the labels. With any other score nothing is
        stacked: the best candidate predicts alone.
    n_jobs : int, default=None
        Paths over folds and kernels run through joblib.
    class_weight : dict, "balanced" or None, default=None
        As in `NNGPClassifier`; scores are weighted too.
    max_iter : int, default=20
        Iterations of the optimizer at each width; most start at a neighbour. More of
        them raise the evidence and not the accuracy.
    optimizer, n_restarts_optimizer, n_inducing, tol, device, random_state :
        As in `AdaptiveKernelClassifier`.

    Attributes
    ----------
    members_ : list of AdaptiveKernelClassifier
        Members of the mixture, fitted to all rows, by decreasing weight.
    weights_ : list of float
        Their weights, summing to one.
    feature_importances_ : ndarray of shape (n_features,)
        Those of the members, averaged with their weights.
    best_params_ : dict
        "kernel", "covariance_type" and "width".
    best_score_ : float
        Mean cross-validated score of `best_params_`.
    best_index_ : int
        Its row in `cv_results_`.
    best_estimator_ : AdaptiveKernelClassifier
        The best single candidate, fitted to all rows; not necessarily a member.
    cv_results_ : dict of arrays
        In the format of `GridSearchCV`; holds the candidates that were evaluated.
    n_splits_ : int
    weight_covariance_, regressor_, kernel_, alpha_, leave_one_out_log_loss_, n_iter_ :
        As in `AdaptiveKernelClassifier`, of `best_estimator_`; so is `transform`.
    classes_, X_train_, n_features_in_, feature_names_in_ :
        As in `AdaptiveKernelClassifier`.

    References
    ----------
    Yao, Vehtari, Simpson and Gelman, "Using stacking to average Bayesian predictive
    distributions", Bayesian Analysis 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels import AdaptiveKernelClassifierCV
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> search = AdaptiveKernelClassifierCV(widths=(3, 100), covariance_types=["diag"])
    >>> search.fit(X, X[:, 0] > 0).score(X, X[:, 0] > 0) > 0.9
    True
    """

    _parameter_constraints: dict = {
        **AdaptiveKernelClassifier._parameter_constraints,
        "kernels": ["array-like", None],
        "widths": ["array-like"],
        "covariance_types": ["array-like"],
        "cv": ["cv_object"],
        "scoring": [str, callable, None],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        kernels: Sequence[NNGP | NTK] | None = None,
        *,
        widths: Sequence[float] | np.ndarray = (0.1, 1, 10, 100, inf),
        covariance_types: Sequence[str] = ("diag", "full"),
        cv: int | BaseCrossValidator | BaseShuffleSplit | Iterable[Any] | None = None,
        scoring: str | Callable[..., float] | None = None,
        n_jobs: int | None = None,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        optimizer: Literal["evidence"] | None = "evidence",
        n_restarts_optimizer: int = 0,
        n_inducing: int | None = None,
        max_iter: int = 20,
        tol: float = 2.0,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernels = kernels
        self.widths = widths
        self.covariance_types = covariance_types
        self.cv = cv
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.class_weight = class_weight
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Search, then fit the members of the mixture to all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training inputs, used as given: put a scaler before this estimator.
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w counts like w repeated rows. Weight 0 removes the row.
        groups : array-like of shape (n_samples,), default=None
            For a `cv` that keeps groups of rows together, such as `GroupKFold`.

        Returns
        -------
        self : object
        """
        return self._fit_labels(X, y, sample_weight, groups=groups)

    def _fit(self, X, codes, weights, classes, groups=None):
        kernels = self.kernels
        if kernels is None:
            kernels = [NNGP("erf"), NNGP("relu"), NNGP("rbf")]
        check_grids(kernels, self.covariance_types, widths=self.widths)
        data, groups, kept = without_zero_weights(X, codes, weights, groups)
        X, codes, weights = data
        rows = self._rows(X, codes, weights, len(classes))
        shared = {name: getattr(self, name) for name in _SHARED}
        template = AdaptiveKernelClassifier(
            class_weight=self.class_weight, n_inducing=self.n_inducing, **shared
        )
        scorer = None
        if self.scoring is not None:
            scorer = ClassScorer(template, classes, self.scoring)
        folds = folds_of(self._splitter(codes), to_numpy(X), codes, groups, kept)
        # In floats, since -1 is no unsigned integer.
        targets = one_vs_rest_targets(codes, len(classes))
        sample = self._learning_rows(rows)
        templates = make_templates(kernels, self.covariance_types, **shared)
        for regressor in templates.values():
            # Before the folds, whose work would be lost.
            regressor.check_memory(sample.X)
        found = search(
            templates,
            self._in_stages,
            HeldOutScore(class_log_density, scorer),
            stratified_folds(folds, codes),
            (X, asarray_like(targets, as_float64(X[:1, :])), weights),
            final_data=(sample.X, sample.Y, sample.weights),
            tolerance=LOSS_TOLERANCE,
            n_jobs=self.n_jobs,
        )
        fitted = [self._member(template, r, rows, classes) for r in found.models]
        found = replace(found, models=fitted)
        vars(self).update(found.attributes())
        self.best_params_ = _without_scaling(self.best_params_)
        self.cv_results_ = _results_without_scaling(self.cv_results_)
        self.n_splits_ = len(folds)
        self.X_train_ = self.best_estimator_.X_train_

    def _in_stages(self, paths):
        """Compare kernels, then covariance types, then all widths of the best pair."""
        types = list(self.covariance_types)
        kernels = sorted({kernel for kernel, _ in paths.templates})
        paths.run([(k, types[0]) for k in kernels], _two_widths(self.widths))
        best = [k for k, _ in paths.ranking()[:2]]
        for kind in types[1:]:
            widths = _two_widths(self._widths_of(kind))
            paths.run([(k, kind) for k in best], widths)
        leader = paths.ranking()[0]
        paths.run([leader], [(w, 1.0) for w in self._widths_of(leader[1])])

    def _widths_of(self, kind):
        """Widths to try: a full covariance overfits labels at small ones."""
        wide = [w for w in self.widths if w >= FULL_WIDTH]
        return wide if kind == "full" and wide else self.widths

    def _member(self, template, regressor, rows, classes):
        names = ("kernel", "covariance_type", "width")
        chosen = {name: getattr(regressor, name) for name in names}
        member = clone(template).set_params(**chosen)
        member.n_features_in_, member.classes_ = self.n_features_in_, classes
        member._adopt(regressor, rows)
        return member

    def _splitter(self, codes):
        if self.cv is not None and not isinstance(self.cv, Integral):
            return check_cv(self.cv, classifier=True)
        seed = 0 if self.random_state is None else self.random_state
        n_splits = self.cv
        if n_splits is None:
            counts = np.bincount(codes)
            n_splits = min(3, max(2, counts.max()))
            if counts.min() >= MOST_FOLDS:
                n_splits = default_folds(len(codes))
        return StratifiedKFold(n_splits, shuffle=True, random_state=seed)

    @property
    def regressor_(self) -> AdaptiveKernelRegressor:
        """The fitted regressor of `best_estimator_`."""
        check_is_fitted(self)
        return self.best_estimator_.regressor_

    @property
    def feature_importances_(self) -> Array:
        """Weighted mean of the members' importances: (d,)."""
        check_is_fitted(self)
        shares = [member.feature_importances_ for member in self.members_]
        return average(self.weights_, shares)

    @property
    def alpha_(self) -> float:
        """Noise variance of the labels in `best_estimator_`."""
        check_is_fitted(self)
        return self.best_estimator_.alpha_

    @property
    def leave_one_out_log_loss_(self) -> float:
        """That of `best_estimator_`."""
        check_is_fitted(self)
        return self.best_estimator_.leave_one_out_log_loss_

    def _class_log_probabilities(self, X):
        logs = [member._class_log_probabilities(X) for member in self.members_]
        shares = np.array(self.weights_)[:, None, None]
        return logsumexp(np.stack(logs), axis=0, b=shares)


def _two_widths(widths):
    """Candidates by which pairs are compared: the smallest width and a middle one.

    At the smallest shows what only a kernel that adapts freely can find.
    """
    finite = sorted(w for w in widths if not isinf(w)) or [inf]
    chosen = dict.fromkeys([finite[0], finite[len(finite) // 2]])
    return [(width, 1.0) for width in chosen]


def one_vs_rest_rows(regressor):
    """Training rows of a regressor on one-vs-rest targets, with these as targets."""
    data = regressor._training.data
    targets = regressor._training.targets.given(data.Y)
    return RowStream(data.X, targets, data.weights, regressor.device)


def class_log_density(regressor, X, targets):
    """Log probabilities (n,) of the labels under a regressor on one-vs-rest targets."""
    posterior = calibrated(regressor, one_vs_rest_rows(regressor))
    codes = codes_of(targets)
    return posterior.log_probabilities(X)[np.arange(len(codes)), codes]


class ClassScorer:
    """Score of a regressor on one-vs-rest targets as the classifier that it makes.

    template : AdaptiveKernelClassifier
    classes : ndarray (C,)
    scoring : str or callable
    """

    def __init__(self, template, classes, scoring):
        self.template, self.classes, self.scoring = template, classes, scoring

    def __call__(self, regressor, X, targets, sample_weight=None):
        """The score on rows X."""
        # A fold has few rows, all of which count.
        model = clone(self.template).set_params(n_inducing=None)
        model.n_features_in_ = regressor.n_features_in_
        model._adopt(regressor, one_vs_rest_rows(regressor))
        model.classes_ = self.classes
        scorer = check_scoring(model, self.scoring)
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(scorer(model, X, self.classes[codes_of(targets)], **weight))


def _without_scaling(params):
    """Parameters of a candidate without the one scaling."""
    return {name: value for name, value in params.items() if name != "scaling"}


def _results_without_scaling(results):
    """`cv_results_` of a regressor's search without its one scaling."""
    kept = {name: values for name, values in results.items() if name != "param_scaling"}
    kept["params"] = [_without_scaling(params) for params in results["params"]]
    return kept
