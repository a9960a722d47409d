"""Degenerate data gives a correct finite result; unusable input a clear error."""

import sys
import warnings

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
from adaptive_kernels.kernels import NNGP, NTK

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 3))
Y = np.sin(X[:, 0]) + 0.1 * RNG.standard_normal(30)


def nngp(**parameters):
    return NNGPRegressor(**parameters)


def diag(**parameters):
    return AdaptiveKernelRegressor(**parameters)


def full(**parameters):
    return AdaptiveKernelRegressor(covariance_type="full", **parameters)


def rescaling(**parameters):
    return AdaptiveKernelRegressor(approximation="rescaling", width=20, **parameters)


def relu(**parameters):
    return AdaptiveKernelRegressor(NNGP("relu"), **parameters)


def ntk(**parameters):
    return AdaptiveKernelRegressor(NTK("erf"), **parameters)


def search(**parameters):
    small = {"widths": (1, np.inf), "covariance_types": ("diag",), "cv": 2}
    return AdaptiveKernelRegressorCV([NNGP("erf")], **(small | parameters))


one_fit = pytest.mark.parametrize("make", [nngp, diag, full, rescaling, relu, ntk])
every = pytest.mark.parametrize(
    "make", [nngp, diag, full, rescaling, relu, ntk, search]
)
public = pytest.mark.parametrize("make", [nngp, diag, search])


def finite_prediction(model, rows):
    mean, std = model.predict(rows, return_std=True)
    assert np.all(np.isfinite(mean)) and np.all(np.isfinite(std)) and np.all(std > 0)
    return mean, std


@one_fit
def test_one_row(make):
    mean, _ = finite_prediction(make().fit(X[:1], Y[:1]), X[:1])
    # One centred target is zero, and so is its posterior mean.
    assert_allclose(mean, Y[:1], rtol=1e-12)


@every
def test_fewer_rows_than_features(make):
    rows = np.random.default_rng(2).standard_normal((6, 20))
    mean, std = finite_prediction(make().fit(rows, Y[:6]), rows)
    # No conflict between rows: they are fitted within the noise.
    assert np.all(np.abs(mean - Y[:6]) < 3 * std)


@every
def test_repeated_rows_with_different_targets(make):
    rng = np.random.default_rng(1)
    rows = np.repeat(rng.standard_normal((8, 3)), 10, axis=0)
    groups = np.repeat(5 * rng.standard_normal(8), 10)
    order = rng.permutation(80)
    targets = groups + 0.5 * rng.standard_normal(80)
    mean, std = finite_prediction(make().fit(rows[order], targets[order]), rows)
    # Four standard errors: of a mean of 10, and of a spread from 80.
    assert_allclose(mean, groups, atol=4 * 0.5 / np.sqrt(10))
    assert_allclose(std, 0.5, rtol=4 / np.sqrt(160))


@every
def test_constant_column(make):
    rows = np.column_stack([X, np.full(30, 2.0)])
    model = make().fit(rows, Y)
    mean, _ = finite_prediction(model, rows)
    assert np.std(mean - Y) < 0.2
    if hasattr(model, "feature_importances_"):
        assert model.feature_importances_[3] < 1e-12


@every
@pytest.mark.parametrize("value", [0.0, 3.0, -1e8, 1e-8])
def test_constant_target(make, value):
    mean, _ = finite_prediction(make().fit(X, np.full(30, value)), 3 * X)
    # Rounding of the mean of y and of the sum that adds it back.
    assert_allclose(mean, value, rtol=1e-13, atol=1e-13)


@every
@pytest.mark.parametrize("value", [0.0, 7.0])
def test_rows_all_alike(make, value):
    model = make().fit(np.full((30, 3), value), Y)
    mean, std = finite_prediction(model, np.full((2, 3), value))
    if make is not search:
        # Centred targets are orthogonal to a constant kernel.
        assert_allclose(mean, np.mean(Y), atol=1e-8)
    # All is noise: within two standard errors of a spread from 30.
    assert_allclose(std, np.std(Y), rtol=2 / np.sqrt(60))


@every
@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_scales_of_x_and_y(make, factor):
    expected = make().fit(X, Y).predict(X, return_std=True)
    actual = make().fit(factor * X, Y).predict(factor * X, return_std=True)
    assert_allclose(actual, expected, rtol=1e-5)
    actual = make().fit(X, factor * Y).predict(X, return_std=True)
    assert_allclose(actual, factor * np.array(expected), rtol=1e-5)


@every
def test_target_far_from_zero(make):
    mean, std = make().fit(X, Y).predict(X, return_std=True)
    far = make().fit(X, Y + 1e8).predict(X, return_std=True)
    # The sum rounds to 1e-8 of a unit.
    assert_allclose(far, [mean + 1e8, std], rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:sample_weight sums")
@one_fit
@pytest.mark.parametrize("weight", [1e-12, 1e12])
def test_extreme_weights(make, weight):
    mean, _ = finite_prediction(make().fit(X, Y, np.full(30, weight)), X)
    # Weights say how sure the targets are: hardly, or entirely.
    expected = np.mean(Y) if weight < 1 else Y
    assert_allclose(mean, np.broadcast_to(expected, 30), atol=1e-6)


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


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["weight_variance", "readout_variance"])
@pytest.mark.parametrize("make", [nngp, diag, full, rescaling])
def test_kernel_without_signal_predicts_the_mean(make, name):
    model = make(kernel=NNGP("erf", **{name: 0.0})).fit(X, Y)
    mean, std = finite_prediction(model, X)
    assert_allclose(mean, np.mean(Y), atol=1e-8)
    assert_allclose(std, np.std(Y), rtol=2 / np.sqrt(60))


TWICE = np.arange(30) // 2


@pytest.mark.parametrize("targets", [Y, Y[TWICE]], ids=["different", "same"])
@pytest.mark.parametrize("make", [nngp, diag])
def test_no_noise_and_repeated_rows(make, targets):
    with pytest.raises(np.linalg.LinAlgError, match="alpha"):
        make(alpha=0, optimizer=None).fit(X[TWICE], targets)


@pytest.mark.parametrize("make", [nngp, diag])
def test_no_noise_interpolates(make):
    model = make(alpha=0, optimizer=None, kernel=NNGP("relu")).fit(X, Y)
    assert_allclose(model.predict(X), Y, atol=1e-6)


def test_rescaling_of_a_singular_kernel_needs_noise():
    with pytest.raises(ValueError, match="raise alpha"):
        rescaling(kernel=NNGP("identity"), alpha=0, optimizer=None).fit(X, Y)


@pytest.mark.parametrize("make", [nngp, diag])
def test_search_from_zero_noise_finds_the_noise(make):
    # alpha is documented as a starting value; four standard errors of 30 values.
    noise = np.sqrt(make(alpha=0).fit(X, Y).alpha_) * np.std(Y)
    assert_allclose(noise, 0.1, rtol=4 / np.sqrt(60))


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


@every
def test_ordinary_data_gives_no_warnings(make):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finite_prediction(make().fit(X, Y), 10 * X)


def test_fit_beyond_memory_is_refused_with_its_size(monkeypatch):
    # Room for three matrices: the covariance needs two, the rescaling theory seven.
    monkeypatch.setattr(memory, "free_bytes", lambda like: 3 * 8 * len(X) ** 2)
    diag().fit(X, Y)
    with pytest.raises(MemoryError, match="GiB"):
        rescaling().fit(X, Y)
