"""Scores of regressors on one-vs-rest targets, as the classifiers they give."""

import numpy as np
from sklearn.base import clone
from sklearn.metrics import check_scoring

from ..estimators.class_posteriors import calibrated
from ..estimators.labels import codes_of
from ..inference.streaming import RowStream


def one_vs_rest_rows(regressor):
    """Training rows of a regressor, with its one-vs-rest targets in their own units."""
    data = regressor._training.data
    targets = regressor._training.targets.to_original(data.Y)
    return RowStream(data.X, targets, data.weights, regressor.device)


def class_log_density(regressor, X, targets):
    """Log probabilities (n,) of the labels under a regressor on one-vs-rest targets."""
    posterior = calibrated(regressor, one_vs_rest_rows(regressor))
    codes = codes_of(targets)
    return posterior.log_probabilities(X)[np.arange(len(codes)), codes]


class ClassScorer:
    """Score of the classifier that a regressor on one-vs-rest targets gives.

    template : AdaptiveKernelClassifier
    classes : ndarray (C,)
    scoring : str or callable
    """

    def __init__(self, template, classes, scoring):
        self.template, self.classes, self.scoring = template, classes, scoring

    def __call__(self, regressor, X, targets, sample_weight=None):
        """The score on rows X."""
        # A fold has at most 600 rows, few enough for an exact posterior.
        model = clone(self.template).set_params(n_inducing=None, n_neighbors=None)
        model.n_features_in_ = regressor.n_features_in_
        model._adopt(regressor, one_vs_rest_rows(regressor))
        model.classes_ = self.classes
        scorer = check_scoring(model, self.scoring)
        weight = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(scorer(model, X, self.classes[codes_of(targets)], **weight))
