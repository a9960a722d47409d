"""Checks of the grids of a search, and the estimators that it compares."""

from math import inf
from numbers import Real

from ..estimators.adaptive_regressor import AdaptiveKernelRegressor
from ..estimators.finite_width import LIMITS


def check_grids(kernels, covariance_types, **numbers):
    """Raise ValueError if a grid is empty or has an invalid value.

    numbers : sequences of positive numbers by name; "widths" may contain infinity
    """
    if len(kernels) == 0:
        raise ValueError("kernels is empty: give at least one.")
    types = covariance_types
    known = all(kind in ("diag", "full") for kind in types)
    if isinstance(types, str) or len(types) == 0 or not known:
        raise ValueError(f"covariance_types must list 'diag' or 'full', got {types!r}.")
    for name, values in numbers.items():
        check_numbers(name, values, *((inf,) if name == "widths" else ()))


def check_numbers(name, values, *others):
    """Raise ValueError unless there are numbers, within `LIMITS` or among others."""
    low, high = LIMITS
    good = all(
        isinstance(v, Real) and (low <= v <= high or v in others) for v in values
    )
    if len(values) == 0 or not good:
        besides = "".join(f", or {other}" for other in others)
        raise ValueError(
            f"{name} must be numbers from {low:g} to {high:g}{besides}, got {values!r}."
        )


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
