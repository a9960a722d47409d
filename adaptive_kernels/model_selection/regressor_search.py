"""Kernels, covariance types, widths and scalings stacked by cross-validation."""

from collections.abc import Callable, Iterable, Sequence
from math import inf, isinf
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    MultiOutputMixin,
    RegressorMixin,
    TransformerMixin,
)
from sklearn.metrics import check_scoring
from sklearn.model_selection import (
    BaseCrossValidator,
    BaseShuffleSplit,
    KFold,
    check_cv,
)
from sklearn.utils.validation import (
    check_is_fitted,
)

from .._arrays import Array, ArrayLike, check_device
from .._persistence import VersionedState
from .._sklearn import fit_context
from ..estimators.adaptive_regressor import AdaptiveKernelRegressor
from ..estimators.base import draw_jointly, unchanged_on_failure
from ..estimators.validation import (
    validate_rows,
    validate_training,
    warn_of_relative_weights,
)
from ..kernels import NNGP, NTK
from ..theory.finite_width.approximations import APPROXIMATIONS
from .folds import default_folds, folds_of, random_folds, without_zero_weights
from .grids import check_grids, make_templates
from .scores import HeldOutScore, gaussian_log_density
from .search import search
from .stacking import average, predict_mixture

_SHARED = (
    "scale_noise",
    "approximation",
    "alpha",
    "optimizer",
    "n_restarts_optimizer",
    "n_inducing",
    "normalize_y",
    "max_iter",
    "tol",
    "device",
    "random_state",
)


class AdaptiveKernelRegressorCV(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    MultiOutputMixin,
    RegressorMixin,
    VersionedState,
    BaseEstimator,
):
    """A mixture of `AdaptiveKernelRegressor` members, chosen by cross-validation.

    All candidates are evaluated by K-fold cross-validation. On each fold a path of
    widths leads upwards from a small width, where the best of several starts shows,
    and downwards from infinite width where that is better; a covariance of another
    type starts from the first. No fold sees another's fit. A fold learns from at most
    400 rows and is scored on at most 1000, drawn at random. A fold that has found much
    less than others is explored again.

    Then the predictive densities of all candidates are stacked: their mixture whose
    log density out of fold is largest predicts. It keeps few members, often two to
    four, since the lightest are left out while the total log density out of fold falls
    by less than 1 in all or 0.005 a row; one candidate that comes as close stands
    alone. In a prediction a member counts with its weight over its standard deviation
    there, and so leaves to the others what it knows nothing about.

    From some 1800 rows on, the members, and a diagonal covariance that adapts freely,
    are scored again on one fold: they learn from up to 2000 of its rows, and the
    mixture is found anew.

    Members are fitted to all rows, from the best of what the folds have found and what
    a sample of all rows shows; beyond 400 rows by ten iterations at most.

    Parameters
    ----------
    kernels : list of NNGP or NTK, default=None
        None means that of erf.
    widths : sequence of float, default=(0.1, 1, 10, 100, inf)
        Numbers of hidden units.
    scalings : sequence of float, default=(1.0,)
    covariance_types : sequence of {"diag", "full"}, default=("diag", "full")
    cv : int, cross-validation generator or iterable, default=None
        None means five folds up to 300 rows, three beyond. A number of folds is
        shuffled, with `random_state` or with seed 0, because tables often come sorted;
        give a splitter for time series or groups.
    scoring : str, callable or None, default=None
        None is the mean predictive log density. With any other score nothing is
        stacked, since the mixture is the best one by density only: the best candidate
        predicts alone.
    n_jobs : int, default=None
        Paths over folds and kernels run through joblib.
    max_iter : int, default=50
        Iterations of a fit. Those that end there are compared like the others, by their
        score on rows left out, without a warning.
    scale_noise, approximation, alpha, optimizer, n_restarts_optimizer, n_inducing, \
normalize_y, tol, device, random_state :
        As in `AdaptiveKernelRegressor`.

    Attributes
    ----------
    members_ : list of AdaptiveKernelRegressor
        Members of the mixture, fitted to all rows, by decreasing weight.
    weights_ : list of float
        Their weights, summing to one.
    feature_importances_ : array of shape (n_features,)
        Those of the members, averaged with their weights.
    best_params_ : dict
        "kernel", "covariance_type", "width" and "scaling".
    best_score_ : float
        Mean cross-validated score of `best_params_`.
    best_index_ : int
        Its row in `cv_results_`; of rank one unless candidates were scored again.
    best_estimator_ : AdaptiveKernelRegressor
        The best single candidate, fitted to all rows; not necessarily a member.
    cv_results_ : dict of arrays
        In the format of `GridSearchCV`; holds the candidates that were evaluated.
    n_splits_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    References
    ----------
    Yao, Vehtari, Simpson and Gelman, "Using stacking to average Bayesian predictive
    distributions", Bayesian Analysis 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from adaptive_kernels import AdaptiveKernelRegressorCV
    >>> X = np.random.default_rng(0).standard_normal((60, 4))
    >>> search = AdaptiveKernelRegressorCV(widths=(1, 100)).fit(X, X[:, 0] ** 3)
    >>> search.best_params_["width"]
    1
    """

    _parameter_constraints: dict = {
        "kernels": ["array-like", None],
        "widths": ["array-like"],
        "scalings": ["array-like"],
        "covariance_types": ["array-like"],
        "cv": ["cv_object"],
        "scoring": [str, callable, None],
        "n_jobs": [Integral, None],
        **{
            name: AdaptiveKernelRegressor._parameter_constraints[name]
            for name in _SHARED
        },
    }

    def __init__(
        self,
        kernels: Sequence[NNGP | NTK] | None = None,
        *,
        widths: Sequence[float] | np.ndarray = (0.1, 1, 10, 100, inf),
        scalings: Sequence[float] | np.ndarray = (1.0,),
        covariance_types: Sequence[str] = ("diag", "full"),
        cv: int | BaseCrossValidator | BaseShuffleSplit | Iterable[Any] | None = None,
        scoring: str | Callable[..., float] | None = None,
        n_jobs: int | None = None,
        scale_noise: bool = False,
        approximation: str = "gaussian",
        alpha: float = 1e-2,
        optimizer: Literal["evidence"] | None = "evidence",
        n_restarts_optimizer: int = 0,
        n_inducing: int | None = None,
        normalize_y: bool = True,
        max_iter: int = 50,
        tol: float = 0.2,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernels = kernels
        self.widths = widths
        self.scalings = scalings
        self.covariance_types = covariance_types
        self.cv = cv
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.scale_noise = scale_noise
        self.approximation = approximation
        self.alpha = alpha
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.normalize_y = normalize_y
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags

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
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            Used in fitting and in scoring.
        groups : array-like of shape (n_samples,), default=None
            For a `cv` that keeps groups of rows together, such as `GroupKFold`.

        Returns
        -------
        self : object
        """
        with unchanged_on_failure(self):
            kernels = self._checked_kernels()
            X, y, weights = validate_training(self, X, y, sample_weight)
            warn_of_relative_weights(weights)
            data, groups, kept = without_zero_weights(X, y, weights, groups)
            X, y, _ = data
            folds = folds_of(self._splitter(X.shape[0]), X, y, groups, kept)
            self._search(data, folds, kernels)
        return self

    def _checked_kernels(self):
        """The list of kernels, after every grid has been checked."""
        kernels = [NNGP("erf")] if self.kernels is None else list(self.kernels)
        check_grids(
            kernels, self.covariance_types, widths=self.widths, scalings=self.scalings
        )
        check_device(self.device)
        if self.n_inducing is not None and len(self.scalings) > 1:
            raise ValueError(
                "n_inducing goes with one scaling: every other one needs all training "
                "rows again."
            )
        return kernels

    def _splitter(self, n_samples):
        if self.cv is not None and not isinstance(self.cv, Integral):
            return check_cv(self.cv)
        seed = 0 if self.random_state is None else self.random_state
        n_splits = default_folds(n_samples) if self.cv is None else self.cv
        return KFold(n_splits, shuffle=True, random_state=seed)

    def _search(self, data, folds, kernels):
        types = list(self.covariance_types)
        if not APPROXIMATIONS[self.approximation].gaussian:
            types = types[:1]  # it makes no difference to the other theories
        shared = {name: getattr(self, name) for name in _SHARED}
        templates = make_templates(kernels, types, **shared)
        for template in templates.values():
            # Before the folds, whose work would be lost where all rows do not fit.
            template.check_memory(data[0])
        scorer = None
        if self.scoring is not None:
            scorer = check_scoring(templates[0, types[0]], self.scoring)

        def every_candidate(paths):
            for kind in types:
                # Infinite width does not adapt: the first type stands for all.
                widths = [w for w in self.widths if kind == types[0] or not isinf(w)]
                candidates = [(w, s) for w in widths for s in self.scalings]
                if candidates:
                    paths.run([(k, kind) for k in range(len(kernels))], candidates)

        found = search(
            templates,
            every_candidate,
            HeldOutScore(gaussian_log_density, scorer),
            random_folds(folds),
            data,
            n_jobs=self.n_jobs,
        )
        vars(self).update(found.attributes())
        self.n_splits_ = len(folds)

    @property
    def n_iter_(self) -> int:
        """Iterations of the last run of the optimizer for `best_estimator_`."""
        return self.best_estimator_.n_iter_

    @property
    def feature_importances_(self) -> Array:
        """Weighted mean of the members' importances: array (n_features,)."""
        check_is_fitted(self)
        shares = [member.feature_importances_ for member in self.members_]
        return average(self.weights_, shares)

    def predict(
        self, X: ArrayLike, return_std: bool = False, return_cov: bool = False
    ) -> Array | tuple[Array, Array]:
        """Predict a new observation by the mixture: mean, and optionally its spread.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        return_std, return_cov : bool, default=False

        Returns
        -------
        mean, and std or covariance if asked for
            Shapes and units as in `AdaptiveKernelRegressor.predict`. The spread of the
            members' means is part of that of the mixture.

        Raises
        ------
        RuntimeError
            If both `return_std` and `return_cov` are asked for.
        """
        X = self._validate_rows(X, "predict")
        return predict_mixture(self.members_, self.weights_, X, return_std, return_cov)

    def _validate_rows(self, X, method):
        return validate_rows(self, X, method, attribute="feature_importances_")

    def sample_y(
        self,
        X: ArrayLike,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = 0,
    ) -> np.ndarray:
        """Draw new observations at X, jointly over rows, as normal ones.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        n_samples : int, default=1
        random_state : int, RandomState or None, default=0

        Returns
        -------
        samples : ndarray of shape (n_rows, n_samples) or (n_rows, n_outputs, n_samples)
        """
        X = self._validate_rows(X, "sample_y")
        prediction: tuple[Array, Array] = predict_mixture(
            self.members_, self.weights_, X, return_cov=True
        )
        return draw_jointly(*prediction, n_samples, random_state)

    def transform(self, X: ArrayLike) -> Array:
        """Map inputs into the learned metric of the best estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples, n_features)
        """
        X = self._validate_rows(X, "transform")
        return self.best_estimator_._transform(X)

    @property
    def _n_features_out(self):
        return self.n_features_in_
