"""The array floor on other libraries than NumPy, and what it says without a GPU."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose

import adaptive_kernels
from adaptive_kernels import NNGPRegressor, _arrays, metrics
from adaptive_kernels._arrays import dense_factors as factors
from adaptive_kernels._arrays import memory, namespaces
from adaptive_kernels.estimators.base import on_host
from adaptive_kernels.inference import factorization
from adaptive_kernels.kernels import NNGP, NTK

RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((30, 40))
A = ROWS @ ROWS.T
X, Y = RNG.standard_normal((20, 3)), RNG.standard_normal(20)
ESTIMATORS = [
    value
    for name in adaptive_kernels.__all__
    if hasattr(value := getattr(adaptive_kernels, name), "fit")
]


@pytest.fixture(params=["array_api_strict", "torch"])
def xp(request):
    return pytest.importorskip(request.param)


@pytest.mark.parametrize("block", [1, 7, 30, 31])
def test_inverse_in_blocks(block, xp, monkeypatch):
    monkeypatch.setattr(factors, "INVERSE_BLOCK", block)
    factor = _arrays.cholesky(xp.asarray(A.copy()))
    inverse = _arrays.inverse_from_cholesky(factor)
    assert inverse is factor
    truth = np.linalg.inv(A)
    error = np.tril(np.asarray(inverse) - truth)
    # Relative to the largest entry: the condition number in roundings.
    limit = 30 * np.linalg.cond(A) * np.finfo(float).eps
    assert np.max(np.abs(error)) <= limit * np.max(np.abs(truth))


@pytest.mark.parametrize("columns", [1, 7, 30, 31])
def test_diagonal_of_an_inverse_leaves_the_factor(columns, monkeypatch):
    monkeypatch.setattr(factorization, "_COLUMNS", columns)
    truth = np.diag(np.linalg.inv(A))
    factor = np.asfortranarray(np.linalg.cholesky(A).T).T
    before = factor.copy()
    assert_allclose(factorization.inverse_diagonal(factor), truth, rtol=1e-9)
    assert_allclose(factor, before, rtol=0)
    strict = array_api_strict.asarray(before)
    assert_allclose(
        np.asarray(factorization.inverse_diagonal(strict)), truth, rtol=1e-9
    )


@pytest.mark.parametrize("diagonal", [-1.0, np.nan])
def test_what_has_no_factor(diagonal, xp):
    matrix = A.copy()
    matrix[20, 20] = diagonal
    with pytest.raises(np.linalg.LinAlgError):
        _arrays.cholesky(xp.asarray(matrix))


@pytest.mark.parametrize("limits", [(-0.5, 0.5), (None, 0.5), (-0.5, None)])
def test_clip(limits, xp):
    values = np.linspace(-1, 1, 9)
    clipped = _arrays.clip(xp.asarray(values.copy()), *limits)
    assert_allclose(np.asarray(clipped), np.clip(values, *limits), rtol=0)


def test_predictions_on_other_libraries(xp):
    y, mean, std = X[:, 0], X[:, 1], np.full(20, 0.5)
    there = [xp.asarray(a.copy()) for a in (y, mean, std)]
    weights = np.arange(20.0)
    found = metrics.predictive_log_density(*there, sample_weight=xp.asarray(weights))
    truth = metrics.predictive_log_density(y, mean, std, sample_weight=weights)
    assert_allclose(found, truth)
    assert metrics.interval_coverage(*there) == metrics.interval_coverage(y, mean, std)
    assert_allclose(metrics.discrepancy(*there[:2]), metrics.discrepancy(y, mean))


@pytest.mark.parametrize("kernel", [NNGP("erf"), NTK("relu", depth=2)])
def test_kernel_gradients_by_theta(kernel, xp):
    K, gradient = kernel(xp.asarray(X.copy()), eval_gradient=True)
    K_, gradient_ = kernel(X, eval_gradient=True)
    assert type(gradient) is type(K)
    assert_allclose(np.asarray(gradient), gradient_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_cupy_and_no_gpu_are_one_sentence_each(estimator, monkeypatch):
    def refused():
        with pytest.raises(RuntimeError, match="device='cuda'") as caught:
            estimator(device="cuda").fit(X, Y > 0)
        message = str(caught.value)
        assert "\n" not in message and message.count(". ") == 0
        assert message.endswith(".") and "device=None" in message

    monkeypatch.setitem(sys.modules, "cupy", None)
    refused()
    none = ModuleType("cupy")
    runtime = SimpleNamespace(getDeviceCount=lambda: 0)
    none.cuda = SimpleNamespace(runtime=runtime)
    none.ndarray = type("ndarray", (), {})
    monkeypatch.setitem(sys.modules, "cupy", none)
    refused()


def test_out_of_device_memory_keeps_its_kind(monkeypatch):
    error = type("OutOfMemoryError", (MemoryError,), {"__module__": "cupy.cuda.memory"})
    for kind, cure in ((error, "n_inducing"), (MemoryError, "^of the host$")):

        def fail(*args, kind=kind):
            raise kind("of the host")

        monkeypatch.setattr(factorization, "cholesky", fail)
        with pytest.raises(MemoryError, match=cure) as caught:
            NNGPRegressor(NNGP("erf"), optimizer=None).fit(X, Y)
        assert type(caught.value) is MemoryError


def test_memory_of_a_device_counts_what_its_pool_can_give():
    def free(limit):
        pool = SimpleNamespace(
            free_bytes=lambda: 50, used_bytes=lambda: 70, get_limit=lambda: limit
        )
        runtime = SimpleNamespace(memGetInfo=lambda: (100, 1000))
        return memory._free_on_device(
            SimpleNamespace(
                get_default_memory_pool=lambda: pool,
                cuda=SimpleNamespace(runtime=runtime),
            )
        )

    assert free(0) == 150
    assert free(100) == 30


def test_arrays_without_a_namespace_of_their_own_pickle_as_numpy(monkeypatch):
    # As CuPy's before version 14.
    class ndarray:  # noqa: N801
        def get(self):
            return X

    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(ndarray=ndarray))
    monkeypatch.setattr(namespaces, "namespace", lambda *arrays: array_api_strict)
    assert on_host(ndarray()) is X
    assert on_host("text") == "text" and on_host(3.0) == 3.0


@pytest.mark.slow
@pytest.mark.parametrize("library", ["cupy", "torch"])
def test_rehearsal_of_the_gpu_tests(library):
    if library == "torch":
        pytest.importorskip("torch")
    environment = {**os.environ, "ADAPTIVE_KERNELS_REHEARSE": library}
    here = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-q", "-x", str(here / "gpu")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:]
