"""Convert inputs and parameters of kernels to arrays."""

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
            f"Expected a 2-D array of shape (n_samples, n_features), got {X.ndim}-D."
        )
    if isinstance(X, np.ndarray) or not namespace(X).isdtype(X.dtype, "real floating"):
        X = as_float64(X)
    check_range(X, "X", power=2, vanishing=False)
    return X
