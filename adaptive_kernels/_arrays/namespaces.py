"""Namespaces, devices and types of arrays: NumPy, CuPy, torch."""

from types import ModuleType
from typing import Any, cast

import array_api_compat as compat
import numpy as np
from scipy import special

from .._sklearn import move_to
from .types import Array, ArrayLike

# Types of the variables that replace arrays while CuPy traces a formula.
_TRACED: set[type] = set()


def namespace(*arrays: Array) -> ModuleType:
    """The array-API namespace shared by the arrays; NumPy if there are none."""
    if all(type(a) is np.ndarray for a in arrays):
        return np
    if not _TRACED.isdisjoint(map(type, arrays)):
        from array_api_compat import cupy

        return cupy
    arrays = cast(Any, [a for a in arrays if compat.is_array_api_obj(a)])
    return compat.array_namespace(*arrays) if arrays else np


def is_array(value: ArrayLike) -> bool:
    """Whether `value` is an array of NumPy, CuPy, torch or a similar library."""
    return isinstance(value, np.ndarray) or compat.is_array_api_obj(value)


def is_numpy(xp: ModuleType) -> bool:
    """Whether a namespace is NumPy's."""
    return xp is np or compat.is_numpy_namespace(xp)


def asarray_like(value: ArrayLike, like: Array) -> Array:
    """`value` as an array of the library, device and type of `like`."""
    if type(value) is type(like) is np.ndarray:
        return value.astype(like.dtype, copy=False)
    xp = namespace(like)
    if not compat.is_array_api_obj(value):
        value = np.asarray(value)
    device = compat.device(like)
    # Unless array API dispatch is on, scikit-learn treats torch arrays as NumPy's.
    if namespace(value) is not xp or compat.device(value) != device:
        value = _moved(value, like)
    return namespace(value).astype(value, like.dtype, copy=False)


def index_like(rows: np.ndarray, like: Array) -> Array:
    """Host integers as an index into `like`."""
    return rows if is_numpy(namespace(like)) else _moved(rows, like)


def _moved(value: Array, like: Array) -> Array:
    if is_numpy(namespace(like)):
        return to_numpy(value)
    if compat.is_cupy_array(like):
        if compat.is_cupy_array(value) and value.device == like.device:
            return value
        # scikit-learn would use DLPack, which works between CuPy's own arrays only.
        with like.device:
            return _cupy().asarray(to_numpy(value))
    return move_to(value, xp=namespace(like), device=compat.device(like))


def as_float64(x: Array) -> Array:
    """`x` in double precision; a copy only if it is of another type."""
    xp = namespace(x)
    return xp.astype(x, xp.float64, copy=False)


def as_float(x: Array) -> Array:
    """`x` in double precision, or unchanged if it is in single precision."""
    return x if x.dtype == namespace(x).float32 else as_float64(x)


def to_numpy(x: ArrayLike) -> np.ndarray:
    """`x` on the host as a NumPy array."""
    if isinstance(x, np.ndarray) or not compat.is_array_api_obj(x):
        return np.asarray(x)
    if compat.is_cupy_array(x):
        # Unless array API dispatch is on, scikit-learn treats CuPy arrays as NumPy's.
        return x.get()
    return move_to(x, xp=np, device="cpu")


def on_device(x: ArrayLike) -> bool:
    """Whether `x` is an array of a library other than NumPy."""
    return compat.is_array_api_obj(x) and not is_numpy(namespace(x))


def to_device(x: Array, device: str | None) -> Array:
    """Move `x` to `device`: None leaves it, "cuda" makes a CuPy array of it."""
    if device is None or not is_numpy(namespace(x)):
        return x
    return _cupy().asarray(x)


def check_device(device: str | None) -> None:
    """Raise ValueError if `device` is unknown, RuntimeError if it cannot be used."""
    if device not in (None, "cuda"):
        raise ValueError(f"device must be None or 'cuda', got {device!r}.")
    if device == "cuda":
        _cupy()


def _cupy() -> ModuleType:
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() > 0:
            return cupy
    except Exception as error:
        raise RuntimeError(
            "device='cuda' needs CuPy and a CUDA GPU: install "
            "adaptive_kernels[gpu-cuda12] or [gpu-cuda13], or set device=None."
        ) from error
    raise RuntimeError("device='cuda' found no CUDA GPU: set device=None.")


def empty(like: Array, shape: tuple[int, ...]) -> Array:
    """An uninitialised array with the library, device and type of `like`."""
    xp = namespace(like)
    return xp.empty(shape, dtype=like.dtype, device=compat.device(like))


def in_place(name: str, x: Array) -> Array:
    """Elementwise function `name` of x; an array of NumPy is overwritten."""
    xp = namespace(x)
    if is_numpy(xp):
        return getattr(np, name)(x, out=x)
    return getattr(xp, name)(x)


def clip(x: Array, low: float | None = None, high: float | None = None) -> Array:
    """`x` within the limits that are given."""
    xp = namespace(x)
    if not compat.is_cupy_namespace(xp):
        return xp.clip(x, low, high)
    # On CuPy the standard's clip uses masks, and then waits for the device.
    x = x if low is None else xp.maximum(x, low)
    return x if high is None else xp.minimum(x, high)


def special_function(name: str, x: Array) -> Array:
    """Elementwise function `name` of scipy.special."""
    if compat.is_cupy_array(x):
        # SciPy calls CuPy's function only if SCIPY_ARRAY_API is set.
        from cupyx.scipy import special as device_special

        return getattr(device_special, name)(x)
    return getattr(special, name)(x)
