"""Weighted means over rows, and the natural units of X and y."""

from .._arrays import Array, namespace
from .evidence import Data


def mean_over_rows(data: Data, values: Array) -> float:
    """Weighted mean of a vector over rows, or 1 if the mean is zero."""
    return float(namespace(values).sum(data.shares() * values)) or 1.0


def mean_square(data: Data) -> float:
    """Mean squared entry of X, or 1 if X is zero."""
    return mean_over_rows(data, namespace(data.X).mean(data.X * data.X, axis=1))


def target_variance(data: Data) -> float:
    """Variance of the targets, averaged over outputs, or 1 if they are constant."""
    xp = namespace(data.Y)
    centre = xp.sum(data.shares()[:, None] * data.Y, axis=0)
    return mean_over_rows(data, xp.mean((data.Y - centre) ** 2, axis=1))
