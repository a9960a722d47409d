"""Search of classifiers by cross-validation, with a mixture of the best."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import inf, isinf
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from scipy.special import logsumexp
from sklearn.base import clone
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
from ..estimators.labels import one_vs_rest_targets
from ..kernels import NNGP, NTK
from .class_scores import ClassScorer, class_log_density
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
# Smallest width at which a full covariance is tried, as it overfits labels at small
# widths. On one table (vehicle) it did so at 10 too: there cross-validation rejects it.
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
    """Classification with probabilities, kernel and width chosen by cross-validation.

    It compares `AdaptiveKernelClassifier` with several kernels, covariance types and
    widths, fits the best few to all rows, and predicts with their mixture. Use it for
    the best probabilities. Standardise X first. A fit takes about six seconds for 600
    rows on one core, three times as long as a single fit.

    Parameters
    ----------
    kernels : list of NNGP or NTK, default=None
        Kernels to compare; None means ``NNGP("erf")``, ``NNGP("relu")`` and
        ``NNGP("rbf")``.
    widths : sequence of float, default=(0.1, 1, 10, 100, inf)
        Numbers of hidden units to compare; ``inf`` does not adapt. A full covariance
        overfits labels at small widths, and is tried from 10 up if there is one.
    covariance_types : sequence of {"diag", "full"}, default=("diag", "full")
        Weight covariances to compare: one variance per feature, or all covariances.
    cv : int, cross-validation generator or iterable, default=None
        None means five folds up to 300 rows, three beyond, or if a class has fewer than
        five rows. A number of folds is stratified and shuffled. A splitter of groups
        takes them from `fit(..., groups=)`.
    scoring : str, callable or None, default=None
        Score on rows held out; None is the mean log probability of the labels. With any
        other score the best candidate predicts alone: only probabilities can be mixed.
    n_jobs : int, default=None
        Number of joblib workers, which share the folds and kernels.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight` in fits and scores.
        "balanced" gives all classes the same total weight.
    optimizer : {"evidence"} or None, default="evidence"
        None keeps the variances as given, and does not centre X.
    n_restarts_optimizer : int, default=0
        Number of random starting points, in addition to the fixed ones.
    n_inducing : int, default=None
        None fits members exactly. A number fits them with this many inducing points,
        for more rows than n x n matrices allow.
    n_neighbors : int, "auto" or None, default="auto"
        As for `AdaptiveKernelClassifier`, for the members of the mixture.
    max_iter : int, default=20
        Maximum number of L-BFGS iterations of each run. On four tables the log loss was
        0.308 with 20 and 0.310 with 50.
    tol : float, default=2.0
        Largest entry of the gradient of the objective at which a run stops, in nats.
        Ten times that of a single fit, so that runs are short. It was chosen together
        with `max_iter` and has not been measured alone.
    device : {"cuda"} or None, default=None
        "cuda" computes on a GPU with CuPy and returns NumPy; None computes where X is.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of the random starting points.

    Attributes
    ----------
    members_ : list of AdaptiveKernelClassifier
        Members of the mixture, fitted to all rows, by decreasing weight.
    weights_ : list of float
        Weights of the members, summing to one.
    feature_importances_ : ndarray of shape (n_features,)
        Mean of the members' importances, by their weights.
    best_params_ : dict
        "kernel", "covariance_type" and "width" of `best_estimator_`.
    best_score_ : float
        Its mean cross-validated score.
    best_index_ : int
        Its row in `cv_results_`.
    best_estimator_ : AdaptiveKernelClassifier
        The best single candidate, fitted to all rows; not necessarily a member.
    cv_results_ : dict of arrays
        Scores and times of the evaluated candidates, in the format of `GridSearchCV`.
    n_splits_ : int
        Number of folds.
    classes_ : array of shape (n_classes,)
        Labels of the classes, sorted.
    weight_covariance_, regressor_, kernel_, alpha_, leave_one_out_log_loss_, \
X_train_, n_iter_ :
        Those of `best_estimator_`; `transform` uses it as well.
    n_features_in_, feature_names_in_ : int, ndarray of shape (n_features_in_,)
        Number of features seen in `fit`, and their names if X has string names.

    Notes
    -----
    Kernels are compared first, at the smallest and a middle width; then covariance
    types, for the two best kernels; then all widths, for the best pair. A fold learns
    from at most 600 rows and is scored on at most 1000. Weights of the mixture maximise
    the log probability out of fold (stacking: Yao, Vehtari, Simpson and Gelman,
    Bayesian Analysis 2018). Light members are left out while it falls by less than 1.
    With neighbours 2000 left-out rows of the whole table weigh the members again. Their
    kernels are learned from at most 1000 rows, with neighbours 2000, their posterior
    from all.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from adaptive_kernels import AdaptiveKernelClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = AdaptiveKernelClassifierCV(widths=(1, 10), covariance_types=["diag"])
    >>> model = make_pipeline(StandardScaler(), search).fit(X[::2], y[::2])
    >>> print(model.predict_proba(X[[1, 51]]).round(1))
    [[1. 0. 0.]
     [0. 1. 0.]]
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
        n_neighbors: int | Literal["auto"] | None = "auto",
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
        self.n_neighbors = n_neighbors
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
            Training inputs. They are not scaled: put a scaler before this estimator.
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w counts as w equal rows. Weight 0 removes the row.
        groups : array-like of shape (n_samples,), default=None
            Groups for a `cv` that keeps rows of a group together, such as `GroupKFold`.

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
        self._check_memory(rows)
        shared = {name: getattr(self, name) for name in _SHARED}
        template = AdaptiveKernelClassifier(
            class_weight=self.class_weight,
            n_inducing=self.n_inducing,
            n_neighbors=self.n_neighbors,
            **shared,
        )
        scorer = None
        if self.scoring is not None:
            scorer = ClassScorer(template, classes, self.scoring)
        folds = folds_of(self._splitter(codes), to_numpy(X), codes, groups, kept)
        # Targets become floats below: X may be of an unsigned type, which has no -1.
        targets = one_vs_rest_targets(codes, len(classes))
        sample = self._learning_rows(rows)
        templates = make_templates(kernels, self.covariance_types, **shared)
        for regressor in templates.values():
            # Fail now, not after the work of all folds.
            regressor.check_memory(sample.X)
        later = scorer is None and self.is_local(rows.X.shape[0])
        found = search(
            templates,
            self._in_stages,
            HeldOutScore(class_log_density, scorer),
            stratified_folds(folds, codes),
            (X, asarray_like(targets, as_float64(X[:1, :])), weights),
            final_data=(sample.X, sample.Y, sample.weights),
            tolerance=LOSS_TOLERANCE,
            weigh_later=later,
            n_jobs=self.n_jobs,
        )
        fitted = [self._member(template, r, rows, classes) for r in found.models]
        found = replace(found, models=fitted)
        if later:
            posteriors = [member._classes for member in fitted]
            logs = np.stack([posterior.left_out for posterior in posteriors], axis=1)
            shares = posteriors[0].shares
            found = found.weighed_again(logs, shares, LOSS_TOLERANCE)
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
        """Widths to try for a covariance type: a full one overfits at small widths."""
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
        """Mean of the members' importances, by their weights: (d,)."""
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
        """Mean leave-one-out log loss of `best_estimator_`."""
        check_is_fitted(self)
        return self.best_estimator_.leave_one_out_log_loss_

    def _class_log_probabilities(self, X):
        logs = [member._class_log_probabilities(X) for member in self.members_]
        shares = np.array(self.weights_)[:, None, None]
        return logsumexp(np.stack(logs), axis=0, b=shares)


def _two_widths(widths):
    """Candidates to compare (kernel, covariance type) pairs: two widths.

    At the smallest width the kernel adapts freely, which some structure needs. The
    other one is in the middle.
    """
    finite = sorted(w for w in widths if not isinf(w)) or [inf]
    chosen = dict.fromkeys([finite[0], finite[len(finite) // 2]])
    return [(width, 1.0) for width in chosen]


def _without_scaling(params):
    """Parameters of a candidate without `scaling`: classifiers have one only."""
    return {name: value for name, value in params.items() if name != "scaling"}


def _results_without_scaling(results):
    """`cv_results_` without `scaling`: classifiers have one only."""
    kept = {name: values for name, values in results.items() if name != "param_scaling"}
    kept["params"] = [_without_scaling(params) for params in results["params"]]
    return kept
