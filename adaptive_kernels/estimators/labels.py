"""Class labels as codes and columns, and the weights of their rows."""

from numbers import Real

import numpy as np
from sklearn.utils import assert_all_finite, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    check_consistent_length,
    column_or_1d,
)

from .._arrays import as_float64, asarray_like, check_range, index_like, to_numpy
from .validation import check_weight_range, validate_inputs, validate_weights


def validate_labels(estimator, X, y, sample_weight, class_weight=None):
    """Check labels: X, their codes (n,), the classes, and weights (n,) or None."""
    if y is None:
        raise ValueError("fit requires y to be passed, but the target y is None.")
    X = validate_inputs(estimator, X)
    labels = column_or_1d(to_numpy(y), warn=True)
    check_consistent_length(X, labels)
    assert_all_finite(labels, input_name="y")
    check_classification_targets(labels)
    weights = None
    if sample_weight is not None:
        weights = to_numpy(validate_weights(sample_weight, X))
    kept = slice(None) if weights is None or not weights.any() else weights > 0
    classes = np.unique(labels[kept])
    if len(classes) < 2:
        raise ValueError("y holds only one class: a classifier needs two or more.")
    weights = _class_weighted(class_weight, classes, labels, weights)
    if class_weight is not None:
        classes = np.unique(labels[weights > 0])
        if len(classes) < 2:
            raise ValueError(
                "class_weight is positive for one class only: give two or more."
            )
    # A label whose rows all have weight 0 is not a class. The fit drops these rows.
    codes = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    return (
        X,
        codes,
        classes,
        None if weights is None else asarray_like(weights, as_float64(X[:1, :])),
    )


def _class_weighted(class_weight, classes, labels, weights):
    """Weights of the rows times those of their classes; None if all are one."""
    if class_weight is None:
        return weights
    weights = np.ones(len(labels)) if weights is None else weights
    known = np.isin(labels, classes)
    codes = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
    if class_weight == "balanced":
        totals = np.bincount(codes, weights * known, len(classes))
        return weights * (np.sum(weights) / (len(classes) * totals))[codes]
    if not all(isinstance(factor, Real) for factor in class_weight.values()):
        raise ValueError(
            f"class_weight must map classes to numbers, got {class_weight!r}."
        )
    factors = compute_class_weight(class_weight, classes=classes, y=classes[codes])
    if not np.all(np.isfinite(factors) & (factors >= 0)):
        raise ValueError(
            f"class_weight must not be negative or infinite, got {class_weight!r}."
        )
    check_range(factors, "class_weight", refuse_vanishing=False)
    weights = weights * factors[codes] * known
    check_weight_range(weights, "class_weight times sample_weight")
    return weights


def one_vs_rest_targets(codes, n_classes):
    """Targets of -1 and 1: a column for each class, but one column for two classes."""
    shown = np.arange(n_classes) if n_classes > 2 else np.array([1])
    return np.where(codes[:, None] == shown, 1.0, -1.0)


def codes_of(columns):
    """Codes (n,) of the classes from `one_vs_rest_targets`, or from predictions."""
    columns = to_numpy(columns).reshape(columns.shape[0], -1)
    if columns.shape[1] == 1:
        return (columns[:, 0] > 0).astype(int)
    return np.argmax(columns, axis=1)


def labels_at(classes, index, like):
    """Labels of predicted codes; numbers come as an array of the library of `like`."""
    labels = to_numpy(classes)[index]
    return index_like(labels, like) if labels.dtype.kind in "biuf" else labels
