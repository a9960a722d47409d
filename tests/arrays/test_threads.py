"""Blocks of pairs in several threads: the same numbers, no thread too many."""

import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info, threadpool_limits

from adaptive_kernels import NNGPRegressor
from adaptive_kernels._arrays import blocks, in_threads, small_problem_threads
from adaptive_kernels.kernels import NNGP, NTK, _recursion
from adaptive_kernels.theory import Data, Hyperparameters, RegularizedEvidence

# Seven blocks of rows, the last one short.
N = 6 * blocks.CPU_BLOCK + 10
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 3))
Y = np.stack([np.sin(X[:, 0]), X[:, 1]], axis=1)
FREE = ("readout_variance", "weight_variance", "bias_variance", "alpha")
kernels = pytest.mark.parametrize(
    "kernel", [NNGP("erf"), NTK("relu", depth=2)], ids=str
)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if "blas" in str(pool)]


def noted(monkeypatch):
    """Names of the threads that compute blocks."""
    seen, original = set(), _recursion._pair_block

    def noting(*args):
        seen.add(threading.current_thread().name)
        return original(*args)

    monkeypatch.setattr(_recursion, "_pair_block", noting)
    return seen


@kernels
def test_matrices_are_the_same(kernel):
    with threadpool_limits(1, "blas"):
        alone = kernel(X), kernel(X, X[:300]), kernel(X[:300], X)
    with threadpool_limits(3, "blas"):
        shared = kernel(X), kernel(X, X[:300]), kernel(X[:300], X)
    for ours, expected in zip(shared, alone, strict=True):
        assert_allclose(ours, expected, rtol=1e-12)


@kernels
def test_gradients_are_the_same(kernel):
    point = Hyperparameters(kernel.network(), 0.1, np.diag([1.0, 0.5, 2.0]))
    rows = 4 * blocks.CPU_BLOCK + 10
    problem = RegularizedEvidence(
        Data(X[:rows], Y[:rows]), point, width=5.0, covariance_type="full", free=FREE
    )
    vector = problem.pack(point)
    with threadpool_limits(1, "blas"):
        value, gradient = problem(vector)
    with threadpool_limits(2, "blas"):
        ours, slope = problem(vector)
    # Sums of N^2 terms, through an inverse of condition number below 1e5.
    assert_allclose(ours, value, rtol=1e-9)
    assert_allclose(slope, gradient, rtol=1e-7, atol=1e-7 * np.abs(gradient).max())


def test_predictions_are_the_same():
    model = NNGPRegressor(NNGP("erf"), optimizer=None, n_inducing=600).fit(X, Y)
    with threadpool_limits(1, "blas"):
        alone = model.predict(X), *model.predict(X, return_std=True)
    with threadpool_limits(3, "blas"):
        shared = model.predict(X), *model.predict(X, return_std=True)
    for ours, expected in zip(shared, alone, strict=True):
        assert_allclose(ours, expected, rtol=1e-8, atol=1e-8)


def test_as_many_threads_as_blas_may_use(monkeypatch):
    seen = noted(monkeypatch)
    for limit in (1, 2, 3, 50):
        seen.clear()
        with threadpool_limits(limit, "blas"):
            NNGP("relu")(X)
            most = min(limit, *blas_threads(), 3)  # of seven blocks two each
        # A thread that is done may take over what would be another's.
        assert 1 <= len(seen) <= most
        assert ("MainThread" in seen) == (most == 1)


def test_blas_has_one_thread_meanwhile_and_its_own_number_after():
    with threadpool_limits(3, "blas"):
        before = blas_threads()
        during = in_threads(lambda parts: max(blas_threads()), range(10), X)
        assert blas_threads() == before
    assert during == [1, 1, 1]


def test_parts_are_dealt_out_evenly():
    with threadpool_limits(2, "blas"):
        found = in_threads(list, range(5), X)
        assert found == [[0, 2, 4], [1, 3]]
        assert in_threads(list, range(3), X) == [[0, 1, 2]]
        assert in_threads(list, [], X) == [[]]


def test_failures_and_their_handling_reach_the_caller():
    def failing(parts):
        raise ValueError(f"part {parts[0]}")

    with threadpool_limits(2, "blas"):
        before = blas_threads()
        with pytest.raises(ValueError, match="part 0"):
            in_threads(failing, range(4), X)
        assert blas_threads() == before
        with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
            in_threads(lambda parts: np.ones(2) / 0, range(4), X)


def test_a_device_has_all_parts_at_once():
    xp = pytest.importorskip("array_api_strict")
    with threadpool_limits(3, "blas"):
        assert in_threads(list, range(9), xp.asarray(X)) == [list(range(9))]


def test_kernels_called_from_threads_agree_and_leave_no_limit():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        expected = NNGP("erf")(X)
        found = [None] * 3

        def call(place):
            found[place] = NNGP("erf")(X)

        threads = [threading.Thread(target=call, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for matrix in found:
            assert_array_equal(matrix, expected)
        assert blas_threads() == before


def test_limits_that_overlap_are_undone_by_the_last():
    with threadpool_limits(2, "blas"):
        before = blas_threads()
        first, second = small_problem_threads(10), small_problem_threads(10)
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert set(blas_threads()) == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before
        with small_problem_threads(10**6):
            assert blas_threads() == before
