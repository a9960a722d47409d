"""Fits of the cases, with any refusal checked."""

from _contract import honoured, names_of
from _strategies import build_weights
from sklearn.utils.validation import has_fit_parameter


def rows_of(X):
    return X.shape[0] if hasattr(X, "shape") else len(X)


def data_of(case):
    """X, y, and options of fit, for a model that may not take weights."""
    X, y = case.X.build(), case.y.build()
    return X, y, build_weights(case.weights, case.X.n)


def fitted(case):
    """Fit; returns the model, or None if it refused with an error that names why."""
    model = case.model.build()
    X, y, weights = data_of(case)
    takes = has_fit_parameter(model, "sample_weight")
    options = {"sample_weight": weights} if takes and weights is not None else {}
    result = None
    with honoured(names_of(model), (X, y, *options.values())):
        result = model.fit(X, y, **options)
    return result
