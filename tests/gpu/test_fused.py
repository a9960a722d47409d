"""One kernel per call on a GPU, taken from the formula that NumPy runs.

CuPy takes a kernel from a formula without a GPU, so most of these tests need CuPy only.
They keep the kernel that it would compile for a device, look at it, and compile it for
the host, where its numbers must be NumPy's.
"""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ctypes import CDLL, c_long, c_void_p
from functools import lru_cache
from itertools import product
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from adaptive_kernels._arrays import fused_kernels
from adaptive_kernels.kernels import PiecewiseLinear, Sine
from adaptive_kernels.kernels._activations import ACTIVATIONS

CASES = ACTIVATIONS | {
    "PiecewiseLinear": PiecewiseLinear(-0.3, 1.7),
    "Sine": Sine(1.3, 0.7, 0.4),
}
# Method, flags, arrays that come back.
CALLS = {
    "dual": ("dual", {}, 2),
    "dual alone": ("dual", {"derivative": False}, 1),
    "first_partials": ("first_partials", {}, 3),
    "second_partials": ("second_partials", {}, 3),
}
ALL = list(product(CASES, CALLS, ("float64", "float32")))

RNG = np.random.default_rng(0)
VARIANCES = np.array([0.0, 1e-8, 0.3, 1.0, 1.0, 2.5, 40.0, 1e5])
Q1 = np.r_[VARIANCES, np.exp(RNG.uniform(-3, 3, 40))]
Q2 = np.r_[VARIANCES, np.exp(RNG.uniform(-3, 3, 32))]
RHO = RNG.uniform(-1, 1, (len(Q1), len(Q2)))
HARD = np.where(RNG.random(RHO.shape) < 0.5, RNG.choice([-1, 1], RHO.shape), 0)
ROUNDINGS = RNG.integers(-3, 4, RHO.shape)


def pairs(dtype):
    """Rows at random, of zero variance, and equal or opposite up to rounding."""
    q1, q2 = Q1.astype(dtype)[:, None], Q2.astype(dtype)[None, :]
    edge = HARD * (1 + ROUNDINGS * np.finfo(dtype).eps)
    rho = np.where(HARD == 0, RHO, edge).astype(dtype)
    return rho * np.sqrt(q1 * q2), q1, q2


def assert_same(found, truth, q1, q2, gain, *, contracted=False):
    """Equal but for what other elementary functions, and cancellation, make of it.

    With `contracted` products that are added to are not rounded on one side.
    """
    for i, (actual, expected) in enumerate(zip(found, truth, strict=True)):
        eps = np.finfo(expected.dtype).eps
        assert actual.dtype == expected.dtype
        # Parts that cancel: up to the product of lengths in S, up to 1 elsewhere.
        parts = 1 + (np.sqrt(q1 * q2) if i == 0 else 0)
        # Determinants of size q1 q2 cancel down to 1 + q1 + q2.
        loss = 8 * q1 * q2 / (1 + q1 + q2) if contracted else 0
        limit = (4500 + loss) * eps * np.abs(expected) + 8 * eps * gain * parts
        assert np.all(np.abs(actual - expected) <= limit)


def called(name, call, arrays, gain):
    method, flags, n_arrays = CALLS[call]
    parts = getattr(CASES[name], method)(*arrays, gain, **flags)
    assert parts[n_arrays:] == ((None,) if call == "dual alone" else ())
    return parts[:n_arrays]


def unfused(name, call, arrays, gain):
    method, flags, n_arrays = CALLS[call]
    plain = getattr(type(CASES[name]), method).__wrapped__
    return plain(CASES[name], *arrays, gain, **flags)[:n_arrays]


def on_host(array):
    """The memory behind what passes for an array of a device."""
    if isinstance(array, float):
        return np.asarray(array)
    interface = {
        "version": 3,
        "shape": array.shape,
        "typestr": array.dtype.str,
        "strides": array.strides,
        "data": (array.data.ptr, False),
    }
    return np.asarray(SimpleNamespace(__array_interface__=interface))


def passes_for_device(cupy, array):
    memory = cupy.cuda.memory.UnownedMemory(array.ctypes.data, array.nbytes, array, 0)
    pointer = cupy.cuda.memory.MemoryPointer(memory, 0)
    return cupy.ndarray(array.shape, array.dtype, pointer, strides=array.strides)


class HostKernel:
    """Takes the place of CuPy's ElementwiseKernel, and computes on the host."""

    made = []

    def __init__(self, inputs, outputs, operation, preamble, name, **options):
        self.inputs, self.outputs = inputs.split(", "), outputs.split(", ")
        self.operation, self.preamble = operation, preamble
        self.name, self.options = f"{name}_{len(self.made)}", options
        self.run = None
        self.made.append(self)

    def types(self, declarations):
        return [declaration.split()[0] for declaration in declarations]

    def __call__(self, *args):
        arrays = np.broadcast_arrays(*map(on_host, args))
        types = self.types(self.inputs)
        arrays = [np.array(a, t, order="C") for a, t in zip(arrays, types, strict=True)]
        out = [np.empty_like(arrays[0], dtype=t) for t in self.types(self.outputs)]
        if self.run is not None:
            pointers = (c_void_p(array.ctypes.data) for array in arrays + out)
            self.run(c_long(arrays[0].size), *pointers)
        return tuple(out)

    def source(self):
        preamble = re.sub('#include "cupy/.*"', "", self.preamble)
        c = {"float64": "double", "float32": "float"}
        both = [(c[d.split()[0]], d.split()[1]) for d in self.inputs + self.outputs]
        n = len(self.inputs)
        pointers = ", ".join(f"{kind} *all_{name}" for kind, name in both)
        reads = " ".join(f"const {kind} {v} = all_{v}[i];" for kind, v in both[:n])
        results = " ".join(f"{kind} &{v} = all_{v}[i];" for kind, v in both[n:])
        return f"""namespace space_{self.name} {{
            {preamble}
            extern "C" void {self.name}(long size, {pointers}) {{
                for (long i = 0; i < size; i++) {{ {reads} {results}
                    {self.operation}
                }}
            }}
        }}
        """


# What is fused here is kept apart from what is fused for a device.
own_kernel = lru_cache(maxsize=None)(fused_kernels._fused_kernel.__wrapped__)


@contextmanager
def kernels_on_the_host():
    """CuPy, whose kernels compute on the host."""
    cupy = pytest.importorskip("cupy")
    core = pytest.importorskip("cupy._core")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core._kernel, "ElementwiseKernel", HostKernel)
        patch.setattr(fused_kernels, "_fused_kernel", own_kernel)
        yield cupy


@pytest.fixture(scope="module")
def kernels():
    """The kernels that were made for each call."""
    found = {}
    with kernels_on_the_host() as cupy:
        for name, call, dtype in ALL:
            before = len(HostKernel.made)
            called(name, call, [passes_for_device(cupy, a) for a in pairs(dtype)], 1.7)
            found[name, call, dtype] = HostKernel.made[before:]
    return found


@pytest.fixture(scope="module")
def compiled(kernels, tmp_path_factory):
    """All kernels, compiled for the host without any freedom in rounding."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no compiler")
    folder = tmp_path_factory.mktemp("kernels")
    head = "#include <cmath>\n#define __device__\nusing namespace std;\n"
    made = [kernel for (kernel,) in kernels.values()]
    (folder / "all.cpp").write_text(head + "".join(kernel.source() for kernel in made))
    command = [compiler, "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-w"]
    subprocess.run([*command, "-o", "all.so", "all.cpp"], cwd=folder, check=True)
    library = CDLL(str(folder / "all.so"))
    for kernel in made:
        kernel.run = library[kernel.name]


@pytest.mark.parametrize(("name", "call", "dtype"), ALL)
def test_one_kernel_in_the_type_of_its_arguments(name, call, dtype, kernels):
    (kernel,) = kernels[name, call, dtype]
    # The gain is a Python number. An argument that changes would be "_non_const".
    assert kernel.inputs == [f"{dtype} v{i}" for i in range(3)] + ["float64 v3"]
    n_arrays = CALLS[call][2]
    assert kernel.types(kernel.outputs) == [dtype] * n_arrays
    other = "double" if dtype == "float32" else "float"
    variables = re.findall(rf"^{other} v\d+;", kernel.operation, re.MULTILINE)
    # Before version 14 the gain multiplies in double precision.
    assert len(variables) <= (n_arrays if other == "double" else 0)


@pytest.mark.parametrize(("name", "call", "dtype"), ALL)
def test_numbers_are_those_of_numpy(name, call, dtype, compiled):
    known, arrays = len(HostKernel.made), pairs(dtype)
    with kernels_on_the_host() as cupy:
        there = [passes_for_device(cupy, a) for a in arrays]
        for gain in (1.7, 2, np.float64(0.3)):
            found = called(name, call, there, gain)
            truth = called(name, call, arrays, float(gain))
            assert_same(found, truth, *arrays[1:], gain)
    assert len(HostKernel.made) == known


def test_the_kernel_takes_views(compiled):
    k, q1, q2 = pairs("float64")
    k = np.repeat(k, 2, axis=1).T[::2]
    with kernels_on_the_host() as cupy:
        there = [passes_for_device(cupy, a) for a in (k, q2.T, q1.T)]
        found = called("relu", "first_partials", there, 1.7)
    truth = called("relu", "first_partials", (k, q2.T, q1.T), 1.7)
    assert_same(found, truth, q2.T, q1.T, 1.7)


def test_threads_may_make_the_same_kernel():
    activation, arrays = Sine(0.9, 1.1, 0.2), pairs("float64")

    def both(_):
        there = activation.second_partials(
            *[passes_for_device(cupy, a) for a in arrays]
        )
        here = activation.second_partials(*arrays)
        return [a.shape for a in there], here

    with kernels_on_the_host() as cupy, ThreadPoolExecutor(4) as pool:
        results = list(pool.map(both, range(16)))
    for shapes, here in results:
        assert shapes == [a.shape for a in here]
        assert_array_equal(here, results[0][1])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", CASES)
def test_only_arrays_of_cupy_are_fused(name, call, monkeypatch):
    monkeypatch.setattr(fused_kernels, "_fused_kernel", None)
    arrays = pairs("float64")
    truth = unfused(name, call, arrays, 1.7)
    assert_array_equal(called(name, call, arrays, 1.7), truth)
    there = [array_api_strict.asarray(a) for a in arrays]
    found = [np.asarray(a) for a in called(name, call, there, 1.7)]
    assert_same(found, truth, *arrays[1:], 1.7)


def diagonals(dtype):
    q = Q1.astype(dtype)
    return q, q, q


def transposed(dtype):
    k, q1, q2 = pairs(dtype)
    return k.T, q2.T, q1.T


def none(dtype):
    k, q1, q2 = pairs(dtype)
    return k[:0], q1[:0], q2


@pytest.mark.parametrize("arrays_of", [pairs, diagonals, transposed, none])
@pytest.mark.parametrize(("name", "call", "dtype"), ALL)
def test_fused_is_unfused(name, call, dtype, arrays_of, library):
    arrays = arrays_of(dtype)
    there = [library.array(a) for a in arrays]
    for gain in (1.7, 0.3):
        found = called(name, call, there, gain)
        truth = unfused(name, call, there, gain)
        assert all(isinstance(a, library.type) for a in found)
        on_host = [[library.host(a) for a in parts] for parts in (found, truth)]
        assert_same(*on_host, *arrays[1:], gain, contracted=True)
    for array, before in zip(there, arrays, strict=True):
        assert_array_equal(library.host(array), before)
