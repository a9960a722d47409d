"""Unusable input gives a clear error that names it."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_matrix
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process.kernels import RBF

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
)
from adaptive_kernels._arrays import memory
from adaptive_kernels.kernels import NNGP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 3))
Y = np.sin(X[:, 0]) + 0.1 * RNG.standard_normal(30)


def nngp(**parameters):
    return NNGPRegressor(**parameters)


def diag(**parameters):
    return AdaptiveKernelRegressor(**parameters)


def rescaling(**parameters):
    return AdaptiveKernelRegressor(approximation="rescaling", width=20, **parameters)


def search(**parameters):
    small = {"widths": (1, np.inf), "covariance_types": ("diag",), "cv": 2}
    return AdaptiveKernelRegressorCV([NNGP("erf")], **(small | parameters))


public = pytest.mark.parametrize("make", [nngp, diag, search])


@public
def test_integers_booleans_and_objects_are_numbers(make):
    rows, targets = np.round(3 * X).astype(int), np.round(10 * Y).astype(int)
    expected = make().fit(rows.astype(float), targets.astype(float)).predict(rows)
    for kind in (int, object):
        model = make().fit(rows.astype(kind), targets.astype(kind))
        assert_allclose(model.predict(rows.astype(kind)), expected)
    assert_allclose(make().fit(rows.tolist(), targets.tolist()).predict(rows), expected)
    expected = make().fit((X > 0).astype(float), Y).predict((X > 0).astype(float))
    assert_allclose(make().fit(X > 0, Y).predict(X > 0), expected)


def spoiled(values, bad):
    values = values.astype(np.result_type(values, bad))
    values[3, ...] = bad
    return values


BAD_DATA = {
    "NaN in X": (spoiled(X, np.nan), Y, "X contains NaN"),
    "inf in X": (spoiled(X, np.inf), Y, "X contains infinity"),
    "NaN in y": (X, spoiled(Y, np.nan), "y contains NaN"),
    "inf in y": (X, spoiled(Y, -np.inf), "y contains infinity"),
    "complex X": (X + 1j, Y, "Complex data not supported"),
    "complex y": (X, Y + 1j, "Complex data not supported"),
    "words in X": (np.full((30, 3), "word"), Y, "strings"),
    "words in y": (X, np.full(30, "word"), "could not convert string"),
    "objects": (np.full((30, 3), {}, dtype=object), Y, "must be a string or a real"),
    "sparse": (csr_matrix(X), Y, "dense data is required"),
    "short y": (X, Y[:-1], r"inconsistent numbers of samples: \[30, 29\]"),
    "y in 3-D": (X, np.zeros((30, 2, 2)), "dim 3"),
    "X in 1-D": (X[:, 0], Y, "Expected 2D array"),
    "X in 3-D": (X[None], Y, "dim 3"),
    "no rows": (X[:0], Y[:0], "0 sample"),
    "no features": (X[:, :0], Y, "0 feature"),
    "no y": (X, None, "requires y to be passed"),
}


@public
@pytest.mark.parametrize("case", BAD_DATA)
def test_unusable_data(make, case):
    rows, targets, message = BAD_DATA[case]
    with pytest.raises((ValueError, TypeError), match=message):
        make().fit(rows, targets)


@public
@pytest.mark.parametrize(
    "weights, message",
    [
        (np.where(np.arange(30) == 3, -1.0, 1.0), "Negative values .*sample_weight"),
        (np.zeros(30), "at least one non-zero"),
        (np.full(30, np.nan), "sample_weight contains NaN"),
        (np.ones(29), r"sample_weight.shape == \(29,\)"),
        (np.ones((30, 2)), "[Ss]ample weights must be 1D"),
    ],
)
def test_unusable_weights(make, weights, message):
    with pytest.raises(ValueError, match=message):
        make().fit(X, Y, weights)


BAD_PARAMETERS = [
    {"optimizer": "adam"},
    {"alpha": -1.0},
    {"alpha": np.nan},
    {"alpha": "small"},
    {"n_restarts_optimizer": -1},
    {"normalize_y": "yes"},
    {"device": "tpu"},
    {"device": 0},
    {"random_state": "seed"},
]


@public
@pytest.mark.parametrize("parameters", BAD_PARAMETERS, ids=str)
def test_bad_parameter_is_named(make, parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        make(**parameters).fit(X, Y)


BAD_ADAPTIVE = [
    {"width": 0},
    {"width": -3},
    {"width": np.nan},
    {"width": "wide"},
    {"scaling": 0},
    {"scaling": np.inf},
    {"approximation": "two_loop"},
    {"covariance_type": "spherical"},
    {"max_iter": 0},
    {"max_iter": 1.5},
    {"tol": 0},
    {"tol": np.nan},
]


@pytest.mark.parametrize("parameters", BAD_ADAPTIVE, ids=str)
def test_bad_parameter_of_the_adaptive_kernel_is_named(parameters):
    with pytest.raises(ValueError, match=next(iter(parameters))):
        diag(**parameters).fit(X, Y)


def divergent(z):
    return np.exp(z**2)


BAD_KERNELS = [
    (RBF(), "kernel"),
    ("erf", "kernel"),
    (NNGP, "kernel"),
    (2.0 * NNGP("erf"), "kernel"),
    (NNGP("no_such_activation"), "activation"),
    (NNGP(np.sum), "activation"),
    (NNGP(np.log), "activation"),
    (NNGP(divergent), "activation"),
    (NNGP(3), "activation"),
    (NNGP("erf", depth=0), "depth"),
    (NNGP("erf", depth=1.5), "depth"),
    (NNGP("erf", weight_variance=-1), "weight_variance"),
    (NNGP("erf", bias_variance=np.nan), "bias_variance"),
    (NNGP("erf", readout_variance="big"), "readout_variance"),
    (NNGP("erf", metric=np.ones(2)), "metric"),
    (NNGP("erf", metric=np.diag([1.0, 1.0, -1.0])), "metric"),
    (NNGP("erf", metric=np.full(3, np.nan)), "metric"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kernel, name", BAD_KERNELS)
def test_bad_kernel_is_named(kernel, name):
    with pytest.raises(ValueError, match=name):
        nngp(kernel=kernel, optimizer=None).fit(X, Y)


@public
def test_missing_gpu_is_one_sentence(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(RuntimeError, match="device='cuda'") as caught:
        make(device="cuda").fit(X, Y)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 160 and message.count(". ") == 0


ON_ROWS = [
    (make, method)
    for make in (nngp, diag, search)
    for method in ("predict", "sample_y", "transform")
    if (make, method) != (nngp, "transform")
]
ON_NOTHING = [
    (make, method)
    for make in (nngp, diag)
    for method in ("leave_one_out_predict", "log_marginal_likelihood")
]


@pytest.mark.parametrize("make, method", ON_ROWS)
def test_unfitted(make, method):
    model = make()
    with pytest.raises(NotFittedError):
        getattr(model, method)(X)


@pytest.mark.parametrize("make, method", ON_NOTHING)
def test_unfitted_without_rows(make, method):
    model = make()
    with pytest.raises(NotFittedError):
        getattr(model, method)()


BAD_ROWS = [
    (X[:, :2], "2 features, but .* is expecting 3"),
    (X[:0], "0 sample"),
    (X * np.nan, "NaN"),
    (X + 1j, "Complex"),
    (X[0], "Expected 2D array"),
]


@pytest.mark.parametrize("make, method", ON_ROWS)
def test_unusable_new_rows(make, method):
    model = make().fit(X, Y)
    for rows, message in BAD_ROWS:
        with pytest.raises(ValueError, match=message):
            getattr(model, method)(rows)


def test_theta_of_wrong_length():
    model = nngp().fit(X, Y)
    for theta in ([], [0.0], np.zeros(4)):
        with pytest.raises(ValueError, match="theta"):
            model.log_marginal_likelihood(theta)


def test_fit_beyond_memory_is_refused_with_its_size(monkeypatch):
    # Room for three matrices: the covariance needs two, the rescaling theory seven.
    monkeypatch.setattr(memory, "free_bytes", lambda like: 3 * 8 * len(X) ** 2)
    diag().fit(X, Y)
    with pytest.raises(MemoryError, match="GiB"):
        rescaling().fit(X, Y)
