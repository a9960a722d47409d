"""Checks of observations and predictions that are compared."""

import numpy as np
from sklearn.utils import check_array, check_consistent_length

from .._arrays import to_numpy


def check_columns(**arrays):
    """Convert named arrays of one shape to finite columns (n_samples, n_outputs).

    A column (n_samples, 1) and a vector (n_samples,) have the same shape here.

    Raises
    ------
    ValueError
        If an array is empty, has an entry that is not finite, or another shape.
    """
    columns = []
    for name, values in arrays.items():
        checked = check_array(
            to_numpy(values), ensure_2d=False, dtype=float, input_name=name
        )
        if checked.ndim == 0 or checked.ndim > 2:
            raise ValueError(
                f"{name} must have one or two dimensions, got shape {checked.shape}."
            )
        columns.append(checked[:, None] if checked.ndim == 1 else checked)
    if len({c.shape for c in columns}) > 1:
        shapes = ", ".join(
            f"{name} {np.shape(to_numpy(values))}" for name, values in arrays.items()
        )
        raise ValueError(f"All arrays must have the same shape, got {shapes}.")
    return columns


def check_spread(name, std):
    """Raise ValueError unless every standard deviation is positive."""
    if not np.all(std > 0):
        raise ValueError(
            f"{name} must be positive everywhere: give rows that the model was not "
            "fitted to, or a model with noise."
        )


def check_weights(sample_weight, n_samples):
    """Weights (n_samples,), or None: finite, not negative, and not all zero."""
    if sample_weight is None:
        return None
    weights = check_array(
        to_numpy(sample_weight),
        ensure_2d=False,
        dtype=float,
        input_name="sample_weight",
    )
    if weights.shape != (n_samples,):
        raise ValueError(
            f"sample_weight must have shape ({n_samples},), got {weights.shape}."
        )
    if np.any(weights < 0) or not np.any(weights > 0):
        raise ValueError("sample_weight must not be negative, nor zero everywhere.")
    return weights


def check_labels(**arrays):
    """Convert named arrays to vectors of labels that can be compared.

    Raises
    ------
    ValueError
        If one is empty or no vector, or if they differ in length or in kind: a string
        never equals a number.
    """
    labels = []
    for name, values in arrays.items():
        checked = to_numpy(values)
        if checked.ndim == 2 and checked.shape[1] == 1:
            checked = checked[:, 0]
        if checked.ndim != 1 or checked.size == 0:
            raise ValueError(
                f"{name} must be a vector of labels, got shape {checked.shape}."
            )
        labels.append(checked)
    check_consistent_length(*labels)
    kinds = {name: _kind(a) for name, a in zip(arrays, labels, strict=True)}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{name} holds {kind}" for name, kind in kinds.items())
        raise ValueError(
            f"Labels of different kinds are never equal: {said}. Give those that the "
            "classifier was fitted to."
        )
    return labels


def _kind(labels):
    if labels.dtype.kind in "biuf":
        return "numbers"
    if labels.dtype.kind in "US":
        return "strings"
    kinds = {isinstance(label, str) for label in labels.tolist()}
    if len(kinds) > 1:
        return "a mixture"
    return "strings" if kinds == {True} else "numbers"
