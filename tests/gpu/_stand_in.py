"""A stand-in for CuPy on NumPy's memory, to rehearse these tests without a GPU.

It is as strict as CuPy where CuPy differs from NumPy: nothing is converted silently in
either direction, reductions give arrays without axes, cuSOLVER works on addresses and
leaves it to a number to say that there is no Cholesky factor, and the triangle that a
solver does not read is not zeroed. What is fused can only be computed with,
elementwise. It knows nothing of kernels, streams or speed.
"""

import ctypes
import operator
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import scipy.linalg
import scipy.special

FREE, TOTAL = 2**31, 2**32
HANDLE, UPPER = 77, 1
ELEMENTWISE = """lt le eq ne gt ge add sub mul truediv floordiv mod pow and or xor
lshift rshift""".split()
METHODS = """sum mean max min any all prod argmax argmin argsort reshape ravel copy take
transpose squeeze repeat dot cumsum nonzero round std var fill sort""".split()


class Device:
    """The only device."""

    def __init__(self, device=None):
        self.id = 0

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class ndarray:  # noqa: N801
    """An array that only says what it holds when asked."""

    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, held):
        self._held = held

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def get(self):
        return self._held.copy()

    device = property(lambda self: Device())
    data = property(lambda self: SimpleNamespace(ptr=self._held.ctypes.data))
    T = property(lambda self: ndarray(self._held.T))

    def __getattr__(self, name):
        names = ("dtype", "shape", "ndim", "size", "flags", "strides", "nbytes")
        if name in names:
            return getattr(self._held, name)
        raise AttributeError(name)

    def astype(self, dtype, order="K", copy=True):
        return ndarray(self._held.astype(dtype, order=order, copy=copy))

    def clip(self, low=None, high=None, out=None):
        return ndarray(self._held.clip(low, high))

    def item(self):
        return self._held.item()

    def tolist(self):
        return self._held.tolist()

    def __getitem__(self, key):
        return wrapped(self._held[unwrapped(key)])

    def __setitem__(self, key, value):
        self._held[unwrapped(key)] = unwrapped(value)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __len__(self):
        return len(self._held)

    def __bool__(self):
        return bool(self._held)

    def __float__(self):
        return float(self._held)

    def __int__(self):
        return int(self._held)

    def __index__(self):
        return operator.index(self._held)

    def __neg__(self):
        return ndarray(-self._held)

    def __invert__(self):
        return ndarray(~self._held)

    def __abs__(self):
        return ndarray(abs(self._held))

    def __repr__(self):
        return f"stand-in {self._held!r}"


class Traced:
    """What stands for an array in a function that is being fused: it has no shape."""

    __array_ufunc__ = None
    __hash__ = None
    dtype = property(lambda self: self._held.dtype)
    ndim = property(lambda self: self._held.ndim)

    def __init__(self, held):
        self._held = held

    def astype(self, dtype, copy=True):
        return Traced(self._held.astype(dtype, copy=copy))

    def __neg__(self):
        return Traced(-self._held)

    def __bool__(self):
        raise TypeError("Can't cast to bool")


def fuse(*, kernel_name):
    """Call a function of arrays and numbers with what stands for them."""

    def decorate(function):
        def call(*args):
            if not kernel_name.isidentifier():
                raise ValueError("the name of a kernel is one of C")
            refuse = [a for a in args if not isinstance(a, (ndarray, float, int))]
            if refuse:
                raise TypeError(f"Invalid argument type: {refuse}")
            held = [a._held.view() if isinstance(a, ndarray) else a for a in args]
            for array in held:
                if isinstance(array, np.ndarray):
                    # The real one would change them.
                    array.flags.writeable = False
            results = function(*(Traced(value) for value in held))
            if not isinstance(results, tuple):
                raise TypeError(f"Fusion function can't return {type(results)}")
            shape = np.broadcast_shapes(*(np.shape(value) for value in held))
            return tuple(
                ndarray(np.broadcast_to(result._held, shape).copy())
                for result in results
            )

        return call

    return decorate


def unwrapped(value):
    if isinstance(value, ndarray):
        return value._held
    if isinstance(value, (np.ndarray, Traced)):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(unwrapped(part) for part in value)
    return value


def wrapped(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if hasattr(value, "_fields"):
        return type(value)(*(wrapped(part) for part in value))
    if isinstance(value, (list, tuple)):
        return type(value)(wrapped(part) for part in value)
    return value


def on_arrays(function):
    def call(*args, **kwargs):
        kwargs = {name: unwrapped(value) for name, value in kwargs.items()}
        return wrapped(function(*(unwrapped(arg) for arg in args), **kwargs))

    call.__name__ = getattr(function, "__name__", "call")
    return call


def elementwise(function):
    """An elementwise function that also takes what is being fused."""
    on_real = on_arrays(function)

    def call(*args, **kwargs):
        if not any(isinstance(arg, Traced) for arg in args):
            return on_real(*args, **kwargs)
        held = [
            arg._held if isinstance(arg, Traced) else unwrapped(arg) for arg in args
        ]
        result = function(*held, **kwargs)
        # A number is weak where types are promoted, what comes of it is not.
        return Traced(np.float64(result) if type(result) is float else result)

    call.__name__ = getattr(function, "__name__", "call")
    return call


def _add_traced_operators():
    for name in ELEMENTWISE:
        function = elementwise(getattr(operator, f"__{name}__"))
        setattr(Traced, f"__{name}__", function)
        if not hasattr(np.ndarray, f"__r{name}__"):
            continue

        def reflected(self, other, function=function):
            return function(other, self)

        def in_place(self, other, name=name):
            other = other._held if isinstance(other, Traced) else unwrapped(other)
            getattr(operator, f"__i{name}__")(self._held, other)
            return self

        setattr(Traced, f"__r{name}__", reflected)
        setattr(Traced, f"__i{name}__", in_place)


def _add_operators():
    def forward(name):
        function = getattr(np.ndarray, f"__{name}__")

        def call(self, other):
            result = function(self._held, unwrapped(other))
            return result if result is NotImplemented else wrapped(result)

        return call

    for name in [*ELEMENTWISE, "matmul"]:
        setattr(ndarray, f"__{name}__", forward(name))
        if hasattr(np.ndarray, f"__r{name}__"):
            setattr(ndarray, f"__r{name}__", forward(f"r{name}"))
        if hasattr(np.ndarray, f"__i{name}__"):

            def in_place(self, other, name=name):
                getattr(operator, f"i{name}")(self._held, unwrapped(other))
                return self

            setattr(ndarray, f"__i{name}__", in_place)
    for name in METHODS:
        setattr(ndarray, name, on_arrays(getattr(np.ndarray, name)))


def _copies(name, source):
    """A module with the public functions of a NumPy module, on these arrays."""
    module = ModuleType(name)
    for key in dir(source):
        value = getattr(source, key)
        if key.startswith("_") or isinstance(value, ModuleType):
            continue
        if isinstance(value, np.ufunc) or key == "where":
            value = elementwise(value)
        elif callable(value) and not isinstance(value, type):
            value = on_arrays(value)
        setattr(module, key, value)
    return module


def _asarray(value, dtype=None, order=None, **kwargs):
    if isinstance(value, (list, tuple)):
        value = unwrapped(value)
    held = value._held if isinstance(value, ndarray) else value
    if not isinstance(value, ndarray):
        kwargs["copy"] = True
    return ndarray(np.asarray(held, dtype=dtype, order=order, **kwargs))


def _array(value, dtype=None, copy=True, order=None, **kwargs):
    return _asarray(value, dtype=dtype, order=order, copy=copy or None)


def _at(pointer, shape, kind):
    """The memory at an address, in the order of columns."""
    size = int(np.prod(shape))
    held = np.ctypeslib.as_array((kind * size).from_address(pointer))
    return held.reshape(shape, order="F")


def _dpotrf(handle, fill, n, pointer, rows, workspace, size, info):
    """Factorise one triangle in place; `info` is zero where there is a factor."""
    if (handle, fill, rows, size) != (HANDLE, UPPER, n, n):
        raise ValueError("CUSOLVER_STATUS_INVALID_VALUE")
    _at(workspace, (size,), ctypes.c_double)[:] = np.nan
    matrix = _at(pointer, (n, n), ctypes.c_double)
    factor, failed = scipy.linalg.lapack.dpotrf(matrix, lower=0, clean=0)
    matrix[np.triu_indices(n)] = factor[np.triu_indices(n)]
    _at(info, (1,), ctypes.c_int32)[0] = failed


def _solve_triangular(
    a, b, trans=0, lower=False, unit_diagonal=False, overwrite_b=False
):
    if not (isinstance(a, ndarray) and isinstance(b, ndarray)):
        raise TypeError("cupy.ndarray expected")
    found = scipy.linalg.solve_triangular(
        a._held, b._held, trans, lower=lower, check_finite=False
    )
    return ndarray(found)


def install():
    """Put the stand-in where `import cupy` finds it."""
    _add_operators()
    _add_traced_operators()
    cupy = _copies("cupy", np)
    cupy.fuse = fuse
    cupy.__path__, cupy.__version__ = [], "0.stand-in"
    cupy.ndarray, cupy.asarray, cupy.array = ndarray, _asarray, _array
    cupy.linalg = _copies("cupy.linalg", np.linalg)
    cupy.fft = _copies("cupy.fft", np.fft)
    del cupy.linalg.cholesky  # which copies
    out_of_memory = type("OutOfMemoryError", (MemoryError,), {})
    out_of_memory.__module__ = "cupy.cuda.memory"
    cupy.cuda = ModuleType("cupy.cuda")
    cupy.cuda.__path__, cupy.cuda.Device = [], Device
    cupy.cuda.device = ModuleType("cupy.cuda.device")
    cupy.cuda.device.Device = Device
    cupy.cuda.device.get_cusolver_handle = lambda: HANDLE
    cupy.cuda.memory = SimpleNamespace(OutOfMemoryError=out_of_memory)
    cupy.cuda.runtime = SimpleNamespace(
        getDeviceCount=lambda: 1, memGetInfo=lambda: (FREE, TOTAL)
    )
    pool = SimpleNamespace(
        free_bytes=lambda: 0, used_bytes=lambda: 0, get_limit=lambda: 0
    )
    cupy.get_default_memory_pool = lambda: pool
    cupyx = ModuleType("cupyx")
    cupyx.__path__ = []
    cupyx.scipy = ModuleType("cupyx.scipy")
    cupyx.scipy.__path__ = []
    cupyx.scipy.linalg = ModuleType("cupyx.scipy.linalg")
    cupyx.scipy.linalg.solve_triangular = _solve_triangular
    cupyx.scipy.special = _copies("cupyx.scipy.special", scipy.special)
    libs = ModuleType("cupy_backends.cuda.libs")
    libs.cublas = SimpleNamespace(CUBLAS_FILL_MODE_UPPER=UPPER)
    libs.cusolver = SimpleNamespace(
        dpotrf=_dpotrf, dpotrf_bufferSize=lambda handle, fill, n, pointer, rows: n
    )
    for name in ("cupy_backends", "cupy_backends.cuda"):
        sys.modules[name] = ModuleType(name)
    sys.modules[libs.__name__] = libs
    for module in (cupy, cupy.linalg, cupy.fft, cupy.cuda, cupyx, cupyx.scipy):
        sys.modules[module.__name__] = module
    for module in (cupyx.scipy.linalg, cupyx.scipy.special, cupy.cuda.device):
        sys.modules[module.__name__] = module
    return cupy
