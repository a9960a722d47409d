"""NTKRegressor and NTKClassifier on degenerate, unusable and device input."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context

from adaptive_kernels import NTKClassifier, NTKRegressor, _arrays
from adaptive_kernels._arrays import memory
from adaptive_kernels.kernels import NNGP, NTK

RNG = np.random.default_rng(0)
X = RNG.standard_normal((30, 3))
X_NEW = RNG.standard_normal((7, 3))
Y2 = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], 40 * X[:, 0] * X[:, 2] - 9], axis=1)
Y2 += [0.3, 10] * RNG.standard_normal((30, 2))
Y1 = Y2[:, 0]
COUNTS = RNG.integers(1, 4, 30)
COLOURS = np.array(["red", "green", "blue"])[np.argsort(np.argsort(X[:, 0])) // 10]
INFINITY = float("inf")


def predictions(model, rows=X_NEW):
    return np.array(model.predict(rows, return_std=True))


@pytest.mark.parametrize("kernel", [NTK("erf"), NTK("relu", depth=3)], ids=str)
def test_degenerate_rows(kernel):
    mean, std = predictions(NTKRegressor(kernel).fit(X[:1], Y1[:1]))
    assert_allclose(mean, Y1[0], rtol=1e-12)
    assert np.all(std > 0)
    wide = np.random.default_rng(2).standard_normal((6, 40))
    model = NTKRegressor(kernel, time=INFINITY).fit(wide, Y2[:6])
    assert_allclose(model.predict(wide), Y2[:6], rtol=1e-5, atol=1e-5)
    assert np.all(
        np.isfinite(predictions(NTKRegressor(kernel).fit(wide, Y2[:6]), wide))
    )
    mean, std = predictions(NTKRegressor(kernel).fit(X, np.full(30, 0.1), COUNTS / 7))
    assert_allclose(mean, 0.1, rtol=1e-12)
    # Without a spread of y the units of y stay.
    assert np.all(std > 1e-3)


def test_kernel_without_signal_predicts_the_mean():
    model = NTKRegressor(NTK(readout_variance=0.0)).fit(X, Y1)
    assert_allclose(predictions(model), [[Y1.mean()] * 7, [0.0] * 7])
    # Rows of zeros give no signal to a network without biases.
    with np.errstate(over="raise", invalid="raise"):
        model = NTKRegressor(NTK(bias_variance=0.0)).fit(0 * X, Y1)
    assert_allclose(predictions(model, 0 * X_NEW), [[Y1.mean()] * 7, [0.0] * 7])


def test_single_precision_is_computed_in_double():
    single, Y = X.astype(np.float32), Y2.astype(np.float32)
    model = NTKRegressor(NTK("erf")).fit(single, Y)
    expected = NTKRegressor(NTK("erf")).fit(single.astype(float), Y.astype(float))
    found = model.predict(X_NEW.astype(np.float32))
    assert found.dtype == np.float64
    rows = X_NEW.astype(np.float32).astype(float)
    assert_allclose(found, expected.predict(rows), rtol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1"])
def test_regressor_on_other_array_libraries(dtype, device):
    xp = pytest.importorskip("array_api_strict")
    host = [a.astype(dtype) for a in (X, Y2, COUNTS, X_NEW)]
    expected = NTKRegressor(NTK("erf"), alpha=0.1).fit(*host[:3])
    *given, new = (xp.asarray(a, device=xp.Device(device)) for a in host)
    with config_context(array_api_dispatch=True):
        model = NTKRegressor(NTK("erf"), alpha=0.1).fit(*given)
        found = model.predict(new, return_std=True)
        covariance = model.predict(new, return_cov=True)[1]
    for array in (*found, covariance, model.dual_coef_, model.eigenvalues_):
        assert type(array) is type(new) and array.device == new.device
    assert_allclose(model.time_, expected.time_, rtol=1e-6)
    values = np.array([_arrays.to_numpy(array) for array in found])
    assert_allclose(values, predictions(expected, host[3]), rtol=1e-6)
    truth = expected.predict(host[3], return_cov=True)[1]
    assert_allclose(_arrays.to_numpy(covariance), truth, rtol=1e-6, atol=1e-8)
    loaded = pickle.loads(pickle.dumps(model))
    assert type(loaded.dual_coef_) is np.ndarray
    assert_allclose(predictions(loaded, host[3]), values, rtol=1e-10)


def test_classifier_on_other_array_libraries():
    xp = pytest.importorskip("array_api_strict")
    numbers = np.searchsorted(np.unique(COLOURS), COLOURS)
    expected = NTKClassifier().fit(X, COLOURS)
    rows, new = xp.asarray(X), xp.asarray(X_NEW)
    with config_context(array_api_dispatch=True):
        for labels in (xp.asarray(numbers), numbers):
            model = NTKClassifier().fit(rows, labels)
            found = model.predict(new)
            assert type(found) is type(new) and type(model.classes_) is type(labels)
            answer = expected.classes_[_arrays.to_numpy(found)]
            assert_array_equal(answer, expected.predict(X_NEW))
        model = NTKClassifier().fit(rows, COLOURS)
        assert_array_equal(model.predict(new), expected.predict(X_NEW))
        scores = _arrays.to_numpy(model.decision_function(new))
    assert_allclose(scores, expected.decision_function(X_NEW), rtol=1e-7)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict(X_NEW), expected.predict(X_NEW))


@pytest.mark.parametrize("model", [NTKRegressor(), NTKClassifier()], ids=str)
def test_matrix_that_does_not_fit_is_refused(model, monkeypatch):
    # The kernel, its eigenvectors and what the decomposition works in.
    monkeypatch.setattr(memory, "free_bytes", lambda like: 4 * 8 * 30**2 - 1)
    monkeypatch.setattr(NTK, "__call__", None)
    before = dict(vars(model))
    with pytest.raises(MemoryError, match="30 rows"):
        model.fit(X, COLOURS if isinstance(model, NTKClassifier) else Y1)
    assert vars(model) == before


class Interrupting:
    """tanh, interrupted at a call."""

    calls_left = 10**6

    def __call__(self, z):
        self.calls_left -= 1
        if self.calls_left < 0:
            raise KeyboardInterrupt
        return np.tanh(z)


@pytest.mark.parametrize("kind", [NTKRegressor, NTKClassifier])
def test_interrupted_fit_leaves_a_fitted_estimator_unchanged(kind):
    activation = Interrupting()
    y = Y1 if kind is NTKRegressor else COLOURS
    model = kind(NTK(activation)).fit(X[:, :2], y)
    before, expected = dict(vars(model)), model.predict(X_NEW[:, :2])
    activation.calls_left = 1
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:20], y[:20])
    activation.calls_left = 10**6
    assert vars(model) == before
    assert_array_equal(model.predict(X_NEW[:, :2]), expected)


UNUSABLE = [
    {"kernel": NNGP()},
    {"kernel": "relu"},
    {"time": -1.0},
    {"time": np.nan},
    {"time": "end"},
    {"alpha": -0.1},
    {"alpha": INFINITY},
    {"device": "tpu"},
]


@pytest.mark.parametrize("kind", [NTKRegressor, NTKClassifier])
@pytest.mark.parametrize("parameters", UNUSABLE, ids=str)
def test_unusable_parameter_is_named(kind, parameters):
    (name,) = parameters
    model = kind(**parameters)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=name):
        model.fit(X, COLOURS if kind is NTKClassifier else Y1)
    assert vars(model) == before


def test_kernel_of_the_wrong_kind_is_told_the_right_one():
    with pytest.raises(ValueError, match="instance of '.*NTK'.*Got NNGP"):
        NTKRegressor(NNGP()).fit(X, Y1)


def test_pickled_regressor_and_its_kernel():
    kernel = NTK("erf", metric=np.array([1.0, 0.2, 3.0]))
    model = NTKRegressor(kernel).fit(X, Y2, COUNTS)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(predictions(loaded), predictions(model))
    kernel.set_params(weight_variance=100.0)
    assert_array_equal(predictions(loaded), predictions(model))
