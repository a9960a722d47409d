"""Elementwise formulas as one kernel on a GPU instead of one for each operation."""

from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import TypeAlias

import array_api_compat as compat
import numpy as np

from .namespaces import _TRACED
from .types import Array

Formula: TypeAlias = Callable[..., tuple[Array, ...]]


def fused(method: Formula) -> Formula:
    """Compile `method(self, k, q1, q2, gain, *flags)` to one kernel for CuPy's arrays.

    Returns a function with the arguments and results of the method, to replace it in
    its class. Arrays of other libraries are passed to the method unchanged.

    The method is elementwise. It returns a tuple of arrays proportional to `gain`; the
    second may be None. CuPy calls it once with variables that record the operations on
    them, and compiles these. `self` and the flags are constants of the kernel and must
    be hashable. `gain` is an argument, because every step of a search changes it.
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
        # A kernel cannot return None: `_fused_kernel` has left it out.
        return parts if len(parts) > 1 else (*parts, None)

    return call


@lru_cache(maxsize=256)
def _fused_kernel(
    method: Formula,
    owner: Hashable,
    flags: tuple[Hashable, ...],
    *named: tuple[str, Hashable],
) -> Formula:
    """The kernel of a method as a function of k, q1, q2 and gain, compiled once."""
    import cupy

    def formula(k: Array, q1: Array, q2: Array, gain: Array) -> tuple[Array, ...]:
        _TRACED.add(type(k))
        parts = method(owner, k, q1, q2, 1.0, *flags, **dict(named))
        # Outside the method: from numbers alone CuPy may compute in half precision.
        scaled = [(part.dtype, gain * part) for part in parts if part is not None]
        # Before CuPy 14 a number times a single-precision array is in double precision.
        return tuple(part.astype(dtype, copy=False) for dtype, part in scaled)

    name = f"{type(owner).__name__}_{method.__name__}"
    return cupy.fuse(kernel_name=name)(formula)
