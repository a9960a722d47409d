"""Every estimator on a device: the numbers of the host, in the right library."""

import pickle
import subprocess
import sys
from math import inf

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    ModifiedSpectrumRegressor,
    NNGPClassifier,
    NNGPRegressor,
    NTKClassifier,
    NTKRegressor,
    OneStepSpikeFeatures,
)
from adaptive_kernels.kernels import NNGP, NTK

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 4))
X[7] = X[3]
X_NEW = RNG.standard_normal((11, 4))
Y = np.sin(2 * X[:, 0]) + 0.3 * X[:, 1] + 0.1 * RNG.standard_normal(60)
Y2 = np.stack([Y, np.abs(X[:, 2])], axis=1)
CODES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
WEIGHTS = RNG.integers(0, 3, 60).astype(float)

# Searches end where their tolerance lets them, which rounding decides: everything else
# is held to 1e-6, and what was found to what the tolerance means for predictions.
FIXED = {"optimizer": None, "alpha": 0.05}
REGRESSORS = {
    "nngp": lambda **k: NNGPRegressor(NNGP("erf"), **FIXED, **k),
    "ntk kernel": lambda **k: NNGPRegressor(NTK("relu", depth=3), **FIXED, **k),
    "gelu": lambda **k: NNGPRegressor(NNGP("gelu", depth=2), **FIXED, **k),
    "sin": lambda **k: NNGPRegressor(NNGP("sin"), **FIXED, **k),
    "tanh": lambda **k: NNGPRegressor(NNGP("tanh", depth=2), **FIXED, **k),
    "rescaling": lambda **k: AdaptiveKernelRegressor(
        NNGP("erf"), width=20, approximation="rescaling", **FIXED, **k
    ),
    "one loop": lambda **k: AdaptiveKernelRegressor(
        NNGP("erf"), width=200, approximation="one_loop", **FIXED, **k
    ),
    "flow": lambda **k: NTKRegressor(NTK("relu"), alpha=0.05, time=30.0, **k),
    "flow, cross-validated": lambda **k: NTKRegressor(time="gcv", alpha=0.1, **k),
    "descent": lambda **k: ModifiedSpectrumRegressor(n_components=5, tol=1e-6, **k),
    "descent, cross-validated": lambda **k: ModifiedSpectrumRegressor(
        n_components=5, spectrum="cv", **k
    ),
    "inducing": lambda **k: NNGPRegressor(NNGP("erf"), n_inducing=20, **FIXED, **k),
    "neighbours": lambda **k: NNGPRegressor(n_neighbors=15, n_inducing=5, **FIXED, **k),
}
SEARCHED = {
    "nngp": lambda **k: NNGPRegressor(NNGP("erf"), **k),
    "inducing": lambda **k: AdaptiveKernelRegressor(n_inducing=20, **k),
    "neighbours": lambda **k: AdaptiveKernelRegressor(n_neighbors=15, **k),
    "diagonal": lambda **k: AdaptiveKernelRegressor(width=3.0, tol=1e-4, **k),
    "full": lambda **k: AdaptiveKernelRegressor(
        width=30.0, covariance_type="full", tol=1e-3, **k
    ),
    "search": lambda **k: AdaptiveKernelRegressorCV(widths=(10, inf), cv=2, **k),
}
CLASSIFIERS = {
    "nngp": lambda **k: NNGPClassifier(NNGP("erf"), optimizer=None, **k),
    "searched": NNGPClassifier,
    "inducing": lambda **k: NNGPClassifier(NNGP("erf"), n_inducing=20, **k),
    "neighbours": lambda **k: NNGPClassifier(NNGP("erf"), n_neighbors=15, **k),
    "adaptive": AdaptiveKernelClassifier,
    "search": lambda **k: AdaptiveKernelClassifierCV(widths=(10, inf), cv=2, **k),
}
STD = [name for name in REGRESSORS if "descent" not in name]


def close(actual, expected, tolerance=1e-6):
    assert isinstance(actual, np.ndarray)
    assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("targets", [Y, Y2], ids=["one output", "two"])
@pytest.mark.parametrize("name", REGRESSORS)
def test_numpy_in_and_out(name, targets, cuda):
    targets = Y if name == "one loop" else targets
    host = REGRESSORS[name]().fit(X, targets)
    model = REGRESSORS[name](device=cuda.device).fit(X, targets)
    assert isinstance(model.X_train_, cuda.type)
    close(model.predict(X_NEW), host.predict(X_NEW))


@pytest.mark.parametrize("targets", [Y, Y2], ids=["one output", "two"])
@pytest.mark.parametrize("name", REGRESSORS)
def test_arrays_in_and_out(name, targets, arrays):
    targets = Y if name == "one loop" else targets
    host = REGRESSORS[name]().fit(X, targets)
    model = REGRESSORS[name]().fit(arrays.array(X), arrays.array(targets))
    predicted = model.predict(arrays.array(X_NEW))
    assert isinstance(predicted, arrays.type)
    close(arrays.host(predicted), host.predict(X_NEW))


@pytest.mark.parametrize("name", STD)
def test_spreads_and_leave_one_out(name, cuda):
    host = REGRESSORS[name]().fit(X, Y)
    model = REGRESSORS[name](device=cuda.device).fit(X, Y)
    for option in ("return_std", "return_cov"):
        for a, b in zip(
            model.predict(X_NEW, **{option: True}),
            host.predict(X_NEW, **{option: True}),
            strict=True,
        ):
            close(a, b)
    if not hasattr(host, "leave_one_out_predict") or name == "inducing":
        return
    pairs = zip(*(m.leave_one_out_predict(True) for m in (model, host)), strict=True)
    for a, b in pairs:
        close(a, b)


@pytest.mark.parametrize("name", SEARCHED)
def test_searches_find_the_same(name, cuda):
    host = SEARCHED[name]().fit(X, Y, sample_weight=WEIGHTS)
    model = SEARCHED[name](device=cuda.device).fit(X, Y, sample_weight=WEIGHTS)
    close(model.predict(X_NEW), host.predict(X_NEW), 0.02)
    if hasattr(host, "log_marginal_likelihood_value_"):
        # The search stops within tol nats, of which these are a few.
        values = (m.log_marginal_likelihood_value_ for m in (model, host))
        assert abs(np.subtract(*values)) < 1.0


@pytest.mark.parametrize("name", SEARCHED)
def test_searches_of_arrays(name, arrays):
    host = SEARCHED[name]().fit(X, Y)
    model = SEARCHED[name]().fit(arrays.array(X), arrays.array(Y))
    mean, std = model.predict(arrays.array(X_NEW), return_std=True)
    assert isinstance(mean, arrays.type) and isinstance(std, arrays.type)
    close(arrays.host(mean), host.predict(X_NEW), 0.02)


@pytest.mark.parametrize("name", ["diagonal", "full"])
def test_the_learned_metric(name, cuda):
    model = SEARCHED[name](device=cuda.device).fit(X, Y)
    host = SEARCHED[name]().fit(X, Y)
    covariance = np.asarray(model.weight_covariance_)
    assert_allclose(
        covariance, host.weight_covariance_, atol=0.05 * np.max(np.abs(covariance))
    )
    close(model.feature_importances_, host.feature_importances_, 0.05)
    assert isinstance(model.transform(X_NEW), np.ndarray)


def test_evidence_and_gradient_at_a_theta(cuda):
    host = REGRESSORS["ntk kernel"]().fit(X, Y)
    model = REGRESSORS["ntk kernel"](device=cuda.device).fit(X, Y)
    theta = host.kernel_.theta + 0.3
    value, gradient = model.log_marginal_likelihood(theta, eval_gradient=True)
    truth, slope = host.log_marginal_likelihood(theta, eval_gradient=True)
    assert_allclose(value, truth, rtol=1e-9)
    close(gradient, slope)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name, cuda):
    host = CLASSIFIERS[name]().fit(X, CODES)
    names = np.array(["red", "green", "blue"])[CODES]
    model = CLASSIFIERS[name](device=cuda.device).fit(X, CODES)
    tolerance = 1e-6 if name == "nngp" else 0.02
    close(model.predict_proba(X_NEW), host.predict_proba(X_NEW), tolerance)
    close(model.decision_function(X_NEW), host.decision_function(X_NEW), 0.2)
    labels = CLASSIFIERS[name](device=cuda.device).fit(X, names).predict(X_NEW)
    assert set(labels) <= set(names)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_of_arrays(name, arrays):
    host = CLASSIFIERS[name]().fit(X, CODES)
    model = CLASSIFIERS[name]().fit(arrays.array(X), arrays.array(CODES))
    probabilities = model.predict_proba(arrays.array(X_NEW))
    labels = model.predict(arrays.array(X_NEW))
    assert isinstance(probabilities, arrays.type) and isinstance(labels, arrays.type)
    tolerance = 1e-6 if name == "nngp" else 0.02
    close(arrays.host(probabilities), host.predict_proba(X_NEW), tolerance)


def test_tangent_kernel_classifier(cuda):
    host = NTKClassifier(NTK("relu"), alpha=0.1).fit(X, CODES)
    model = NTKClassifier(NTK("relu"), alpha=0.1, device=cuda.device).fit(X, CODES)
    close(model.decision_function(X_NEW), host.decision_function(X_NEW))
    assert_array_equal(model.predict(X_NEW), host.predict(X_NEW))


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "erf"},
        {"activation": "gelu", "gradient": "exact", "residual": "full"},
        {"activation": "softplus", "precondition": 0.1},
        {"activation": "elu", "gradient": "exact"},
    ],
    ids=lambda options: options["activation"],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_features(options, dtype, cuda):
    rows, new = X.astype(dtype), X_NEW.astype(dtype)
    make = lambda **k: OneStepSpikeFeatures(30, random_state=0, **options, **k)  # noqa: E731
    host, model = make().fit(rows, Y), make(device=cuda.device).fit(rows, Y)
    assert isinstance(model.weights_, cuda.type)
    tolerance = 1e-6 if dtype == np.float64 else 1e-4
    features = model.transform(new)
    assert features.dtype == dtype
    close(features, host.transform(new), tolerance)
    found = model.target_polynomial(X_NEW.astype(dtype), np.sin(2 * X_NEW[:, 0]))
    assert np.all(np.isfinite(found.coefficients))
    with config_context(array_api_dispatch=True):
        there = make().fit(cuda.array(rows), cuda.array(Y))
        features = there.transform(cuda.array(new))
    assert isinstance(features, cuda.type)
    close(cuda.host(features), host.transform(new), tolerance)


@pytest.fixture
def many_rows(monkeypatch):
    """Take the rows for so many that only a sample is learned from."""
    monkeypatch.setattr(
        "adaptive_kernels.inference.subsampling.INDUCING_SAMPLE_ROWS", 30
    )
    monkeypatch.setattr(
        "adaptive_kernels.inference.subsampling.INDUCING_SAMPLE_PER_POINT", 1
    )
    monkeypatch.setattr("adaptive_kernels.inference.subsampling.MERGED_ROWS", 10)


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
def test_inducing_points_from_many_rows(weights, cuda, many_rows):
    host = REGRESSORS["inducing"]().fit(X, Y, weights)
    model = REGRESSORS["inducing"](device=cuda.device).fit(X, Y, weights)
    for a, b in zip(*(m.predict(X_NEW, True) for m in (model, host)), strict=True):
        close(a, b)
    host = CLASSIFIERS["inducing"]().fit(X, CODES, weights)
    model = CLASSIFIERS["inducing"](device=cuda.device).fit(X, CODES, weights)
    close(model.predict_proba(X_NEW), host.predict_proba(X_NEW))


LOAD = "import pickle, sys; sys.modules['cupy'] = None;"


@pytest.mark.parametrize(
    "make",
    [
        REGRESSORS["nngp"],
        REGRESSORS["rescaling"],
        REGRESSORS["inducing"],
        REGRESSORS["flow"],
        REGRESSORS["descent"],
        SEARCHED["search"],
        CLASSIFIERS["nngp"],
        CLASSIFIERS["search"],
        lambda **k: OneStepSpikeFeatures(30, random_state=0, **k),
    ],
)
def test_a_model_loads_where_there_is_no_gpu(make, cuda, tmp_path):
    model = make(device=cuda.device).fit(X, CODES)
    method = "predict" if hasattr(model, "predict") else "transform"
    expected = getattr(model, method)(X_NEW)
    (tmp_path / "model").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "rows.npy", X_NEW)
    script = (
        f"{LOAD} import numpy as np;"
        "model = pickle.load(open('model', 'rb'));"
        f"np.save('result.npy', model.{method}(np.load('rows.npy')))"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    close(np.load(tmp_path / "result.npy"), expected)


@pytest.mark.parametrize("name", ["nngp", "rescaling", "flow"])
def test_what_does_not_fit_is_refused_before_work(name, cuda, monkeypatch):
    monkeypatch.setattr("adaptive_kernels._arrays.memory.free_bytes", lambda like: 1000)
    with pytest.raises(MemoryError, match="GiB are free"):
        REGRESSORS[name](device=cuda.device).fit(X, Y)


def test_out_of_device_memory_says_what_to_do(cuda, monkeypatch):
    def fail(matrix):
        raise cuda.out_of_memory(8 * 60**2, 0)

    monkeypatch.setattr("adaptive_kernels._arrays.dense_factors._device_cholesky", fail)
    with pytest.raises(MemoryError, match="n_inducing") as caught:
        REGRESSORS["nngp"](device=cuda.device).fit(X, Y)
    assert type(caught.value) is MemoryError
    with pytest.raises(MemoryError, match="fewer rows"):
        CLASSIFIERS["nngp"](device=cuda.device).fit(X, CODES)


def test_a_singular_kernel_matrix_is_refused(cuda):
    model = NNGPRegressor(NNGP("identity"), optimizer=None, alpha=0.0, device="cuda")
    with pytest.raises(np.linalg.LinAlgError, match="raise alpha"):
        model.fit(X, Y)
