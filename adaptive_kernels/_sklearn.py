"""What is used of scikit-learn without its promise: private names, in one file."""

from sklearn.base import _fit_context as fit_context
from sklearn.model_selection._split import _CVIterableWrapper as CVIterableWrapper
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils._array_api import check_same_namespace, move_to
from sklearn.utils._param_validation import (
    Interval,
    Options,
    StrOptions,
    validate_params,
)
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "CVIterableWrapper",
    "Interval",
    "Options",
    "StrOptions",
    "check_same_namespace",
    "check_sample_weight",
    "fit_context",
    "move_to",
    "safe_indexing",
    "validate_params",
]
