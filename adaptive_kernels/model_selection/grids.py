"""Checks of the grids of a search, and the estimators that it compares."""

from math import inf
from numbers import Real

import numpy as np

from ..estimators.adaptive_regressor import AdaptiveKernelRegressor


def check_grids(kernels, covariance_types, **numbers):
    """Raise ValueError if a grid is empty or has an invalid value.

    numbers : sequences of positive numbers by name; "widths" may contain infinity
    """
    if len(kernels) == 0:
        raise ValueError("kernels is empty: give at least one.")
    types = covariance_types
    if isinstance(types, str) or not types or {*types} - {"diag", "full"}:
        raise ValueError(f"covariance_types must list 'diag' or 'full', got {types!r}.")
    for name, values in numbers.items():
        top = inf if name == "widths" else np.finfo(float).max
        good = all(isinstance(v, Real) and 0 < v <= top for v in values)
        if len(values) == 0 or not good:
            raise ValueError(f"{name} must be positive numbers, got {values!r}.")


def make_templates(kernels, covariance_types, **parameters):
    """Dict with a checked estimator for each (kernel index, covariance type)."""
    templates = {
        (k, kind): AdaptiveKernelRegressor(kernel, covariance_type=kind, **parameters)
        for k, kernel in enumerate(kernels)
        for kind in covariance_types
    }
    for template in templates.values():
        template.check_parameters()
    return templates
