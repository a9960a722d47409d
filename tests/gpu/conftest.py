"""The array library of these tests: CuPy where there is a GPU.

ADAPTIVE_KERNELS_REHEARSE=cupy or =torch runs the tests without one, on a stand-in for
CuPy or on torch on the host, to show that the tests themselves are sound.
"""

import os
from types import SimpleNamespace

import pytest
from sklearn import config_context

REHEARSE = os.environ.get("ADAPTIVE_KERNELS_REHEARSE")
if REHEARSE == "cupy":
    from _stand_in import install

    install()


def _cupy():
    cupy = pytest.importorskip("cupy")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        pytest.skip(f"no CUDA device: {error}")
    if count == 0:
        pytest.skip("no CUDA device")
    return SimpleNamespace(
        name="cupy",
        array=cupy.asarray,
        type=cupy.ndarray,
        host=lambda x: x.get(),
        device="cuda",
        out_of_memory=cupy.cuda.memory.OutOfMemoryError,
    )


def _torch():
    torch = pytest.importorskip("torch")
    return SimpleNamespace(
        name="torch",
        array=lambda x: torch.asarray(x.copy()),
        type=torch.Tensor,
        host=lambda x: x.numpy(),
        device=None,
    )


@pytest.fixture(scope="session")
def library():
    """Name, `array` to the device, array `type`, `host` back, and word for `device`."""
    return _torch() if REHEARSE == "torch" else _cupy()


@pytest.fixture
def arrays(library):
    """The same, with scikit-learn dispatching on arrays."""
    with config_context(array_api_dispatch=True):
        yield library


@pytest.fixture
def cuda(library):
    """The same, where NumPy moves to the device by one word."""
    if library.device is None:
        pytest.skip("torch is not reached by device='cuda'")
    return library


def pytest_collection_modifyitems(items):
    for item in items:
        if "gpu" in item.path.parts:
            item.add_marker(pytest.mark.gpu)
