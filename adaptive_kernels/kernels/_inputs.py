"""Convert inputs and parameters of kernels to arrays."""

from typing import Any

import numpy as np

from .._arrays import (
    Array,
    ArrayLike,
    as_float64,
    check_range,
    is_array,
    namespace,
    to_numpy,
)


def parameter_array(name: str, value: ArrayLike) -> np.ndarray:
    """A parameter as an array of floats."""
    try:
        return np.asarray(to_numpy(value), dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold numbers, got {value!r}.") from None


def variance_bounds(name: str, bounds: Any) -> Any:
    """Bounds of a variance as given, once they are known to be usable.

    Raises
    ------
    ValueError
        If they are neither "fixed" nor a pair 0 < lower <= upper.
    """
    if isinstance(bounds, str) and bounds == "fixed":
        return bounds
    try:
        pair = np.asarray(bounds, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        pair = np.empty(0)
    if pair.shape != (2,) or not 0 < pair[0] <= pair[1] < np.inf:
        raise ValueError(
            f"{name} must be 'fixed' or a pair 0 < lower <= upper, got {bounds!r}."
        )
    return bounds


def as_rows(X: ArrayLike) -> Array:
    """X as a two-dimensional array of floats; lists and tables become NumPy arrays.

    NumPy arrays are converted to double precision, as in scikit-learn's kernels: with
    the rounding of single precision a kernel matrix would be indefinite. Arrays of
    other libraries keep their precision.
    """
    if not is_array(X):
        X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(
            f"X must be a 2-D array of shape (n_samples, n_features), got {X.ndim}-D."
        )
    if getattr(X.dtype, "kind", "") == "c":
        raise ValueError("Complex data not supported: X must hold real numbers.")
    if X.shape[1] == 0:
        raise ValueError("X has 0 features, while at least one is required.")
    if isinstance(X, np.ndarray) or not namespace(X).isdtype(X.dtype, "real floating"):
        try:
            X = as_float64(X)
        except (TypeError, ValueError) as error:
            raise ValueError(f"X must hold numbers: {error}.") from None
    check_range(X, "X", power=2, refuse_vanishing=False)
    return X


def in_range(F: Array, power: int) -> Array:
    """Features of rows of X as given, once it is known that powers do not overflow."""
    name = "X times the root of weight_variance"
    check_range(F, name, power=power, refuse_vanishing=False)
    return F
