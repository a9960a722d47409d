"""Elementwise formulas as one kernel of the device."""

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import TypeAlias

import array_api_compat as compat
import numpy as np

from .namespaces import _TRACED
from .types import Array

Formula: TypeAlias = Callable[..., tuple[Array, ...]]


def fused(method: Formula) -> Formula:
    """Make one kernel of `method(self, k, q1, q2, gain, *flags)` on CuPy's arrays.

    The method is elementwise and gives a tuple of arrays proportional to `gain`, or
    such an array and None. CuPy takes the kernel from the formula itself, by a call
    with variables that record what is done to them. `self` and the flags are constants
    of the kernel and must be hashable; `gain`, which every step of a search changes, is
    an argument. All other arrays go through the method as it stands.
    """

    @wraps(method)
    def call(
        self: Hashable,
        k: Array,
        q1: Array,
        q2: Array,
        gain: float = 1.0,
        *flags: Hashable,
        **named: Hashable,
    ) -> tuple[Array, ...]:
        if type(k) is np.ndarray or not compat.is_cupy_array(k):
            return method(self, k, q1, q2, gain, *flags, **named)
        kernel = _fused_kernel(method, self, flags, *named.items())
        parts = kernel(k, q1, q2, float(gain))
        return parts if len(parts) > 1 else (*parts, None)

    return call


@lru_cache(maxsize=256)
def _fused_kernel(
    method: Formula,
    owner: Hashable,
    flags: tuple[Hashable, ...],
    *named: tuple[str, Hashable],
) -> Formula:
    import cupy

    def formula(k: Array, q1: Array, q2: Array, gain: Array) -> tuple[Array, ...]:
        _TRACED.add(type(k))
        parts = method(owner, k, q1, q2, 1.0, *flags, **dict(named))
        # Not inside: what CuPy computes from numbers alone may be in half precision.
        scaled = [(part.dtype, gain * part) for part in parts if part is not None]
        # Before version 14 a number times single precision is double.
        return tuple(part.astype(dtype, copy=False) for dtype, part in scaled)

    name = f"{type(owner).__name__}_{method.__name__}"
    return cupy.fuse(kernel_name=name)(formula)
