"""Choice of kernel, covariance type and width of a classifier by cross-validation."""

from math import inf
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection import StratifiedKFold, check_cv

from ._array import as_float64, asarray_like, to_numpy
from ._classification import AdaptiveKernelClassifier
from ._labels import codes_of, signed_columns
from ._search import AdaptiveKernelRegressorCV

_SHARED = (
    "optimizer",
    "n_restarts_optimizer",
    "max_iter",
    "tol",
    "device",
    "random_state",
)


class AdaptiveKernelClassifierCV(AdaptiveKernelClassifier):
    """`AdaptiveKernelClassifier` with its kernel and width cross-validated.

    The choice is made as by `AdaptiveKernelRegressorCV`, by the log loss of calibrated
    probabilities on rows held out, and along the same warm-started paths.

    Parameters
    ----------
    kernels : list of NNGP or NTK, default=None
        None means erf, ReLU and the cosine whose NNGP is the radial-basis-function
        kernel.
    widths : sequence of float, default=(1, 3, 10, 30, 1000, inf)
        Numbers of hidden units.
    covariance_types : sequence of {"diag", "full"}, default=("diag", "full")
    cv : int, cross-validation generator or iterable, default=5
        A number of folds is stratified and shuffled, with `random_state` or with
        seed 0.
    scoring : str, callable or None, default=None
        None is the mean log probability of the labels.
    n_jobs : int, default=None
        Paths over folds and kernels run through joblib.
    class_weight : dict, "balanced" or None, default=None
        As in `NNGPClassifier`; scores are weighted too.
    max_iter : int, default=50
        Iterations of the optimizer at each width; most start at a neighbour.
    optimizer, n_restarts_optimizer, tol, device, random_state :
        As in `AdaptiveKernelClassifier`.

    Attributes
    ----------
    best_params_ : dict
        "kernel", "covariance_type" and "width".
    best_score_ : float
        Mean cross-validated score of `best_params_`.
    best_index_ : int
        Its row in `cv_results_`.
    best_estimator_ : AdaptiveKernelClassifier
        Fitted to all rows.
    cv_results_ : dict of arrays
        In the format of `GridSearchCV`; holds the candidates that were evaluated.
    n_splits_ : int
    classes_, weight_covariance_, feature_importances_, regressor_, kernel_, alpha_, \
leave_one_out_log_loss_, X_train_, n_iter_, n_features_in_, feature_names_in_ :
        As in `AdaptiveKernelClassifier`, of `best_estimator_`.

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
        kernels=None,
        *,
        widths=(1, 3, 10, 30, 1000, inf),
        covariance_types=("diag", "full"),
        cv=5,
        scoring=None,
        n_jobs=None,
        class_weight=None,
        optimizer="evidence",
        n_restarts_optimizer=0,
        max_iter=50,
        tol=1.0,
        device=None,
        random_state=None,
    ):
        self.kernels = kernels
        self.widths = widths
        self.covariance_types = covariance_types
        self.cv = cv
        self.scoring = scoring
        self.n_jobs = n_jobs
        self.class_weight = class_weight
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.max_iter = max_iter
        self.tol = tol
        self.device = device
        self.random_state = random_state

    def _fit(self, X, codes, weights, classes):
        shared = {name: getattr(self, name) for name in _SHARED}
        template = AdaptiveKernelClassifier(class_weight=self.class_weight, **shared)
        search = AdaptiveKernelRegressorCV(
            self.kernels,
            widths=self.widths,
            covariance_types=self.covariance_types,
            cv=list(self._splitter().split(to_numpy(X), codes)),
            scoring=HeldOutScore(template, classes, self.scoring),
            n_jobs=self.n_jobs,
            **shared,
        )
        columns = asarray_like(signed_columns(codes, len(classes)), as_float64(X))
        search.fit(X, columns, weights)
        self._adopt(search.best_estimator_)
        chosen = {k: v for k, v in search.best_params_.items() if k != "scaling"}
        best = clone(template).set_params(**chosen)
        best.n_features_in_ = self.n_features_in_
        best.regressor_, best._classes = self.regressor_, self._classes
        best.classes_ = classes
        self.best_estimator_, self.best_params_ = best, chosen
        self.cv_results_ = _without_scaling(search.cv_results_)
        for name in ("best_index_", "best_score_", "n_splits_"):
            setattr(self, name, getattr(search, name))

    def _splitter(self):
        if self.cv is not None and not isinstance(self.cv, Integral):
            return check_cv(self.cv, classifier=True)
        seed = 0 if self.random_state is None else self.random_state
        n_splits = 5 if self.cv is None else self.cv
        return StratifiedKFold(n_splits, shuffle=True, random_state=seed)


class HeldOutScore:
    """Score of a regressor on signed columns as the classifier that it makes.

    template : AdaptiveKernelClassifier
    classes : ndarray (C,)
    scoring : str, callable, or None for the mean log probability of the labels
    """

    def __init__(self, template, classes, scoring):
        self.template, self.classes, self.scoring = template, classes, scoring

    def __call__(self, regressor, X, columns, sample_weight=None):
        codes = codes_of(columns)
        model = clone(self.template)
        model.n_features_in_ = regressor.n_features_in_
        model._adopt(regressor)
        model.classes_ = self.classes
        if self.scoring is None:
            logs, _ = model._log_probabilities(X, "score")
            weight = None if sample_weight is None else to_numpy(sample_weight)
            return np.average(logs[np.arange(len(codes)), codes], weights=weight)
        scorer = check_scoring(model, self.scoring)
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(scorer(model, X, self.classes[codes], **weight))


def _without_scaling(results):
    """`cv_results_` of a regressor's search without its one scaling."""
    kept = {name: values for name, values in results.items() if name != "param_scaling"}
    kept["params"] = [
        {name: value for name, value in params.items() if name != "scaling"}
        for params in results["params"]
    ]
    return kept
