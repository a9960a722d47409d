"""Saved models: versions in pickles, and skops."""

import copy
import pickle
import sys
import warnings

import numpy as np
import pytest
import sklearn
import skops.io
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning

import adaptive_kernels
from adaptive_kernels import (
    SKOPS_TRUSTED_TYPES,
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
from adaptive_kernels.kernels import NNGP, NTK, ModifiedSpectrum
from adaptive_kernels.theory.finite_width.approximations import APPROXIMATIONS

rng = np.random.default_rng(0)
X, X_NEW = rng.normal(size=(60, 3)), rng.normal(size=(9, 3))
Y = np.sin(2 * X[:, 0]) + 0.2 * rng.normal(size=60)
LABELS = np.array(["low", "middle", "high"])[np.digitize(Y, [-0.5, 0.5])]

SHORT = {"max_iter": 2}
SEARCH = {"max_iter": 2, "widths": (1, np.inf), "cv": 2}
MODELS = [
    *(NNGPRegressor(NNGP(name)) for name in ("erf", "gelu", "rbf", "leaky_relu")),
    *(NNGPRegressor(NNGP(name)) for name in ("tanh", "softplus", "elu")),
    NNGPRegressor(NTK("relu"), n_inducing=20),
    AdaptiveKernelRegressor(covariance_type="full", **SHORT),
    AdaptiveKernelRegressor(n_inducing=20, **SHORT),
    AdaptiveKernelRegressorCV(**SEARCH),
    AdaptiveKernelRegressorCV(n_inducing=20, **SEARCH),
    NTKRegressor(),
    ModifiedSpectrumRegressor(),
    NNGPClassifier(),
    NNGPClassifier(n_inducing=20),
    AdaptiveKernelClassifier(**SHORT),
    AdaptiveKernelClassifier(n_inducing=20, **SHORT),
    AdaptiveKernelClassifierCV(**SEARCH),
    AdaptiveKernelClassifierCV(n_inducing=20, **SEARCH),
    NTKClassifier(),
    OneStepSpikeFeatures(n_components=20),
]
THEORIES = [
    AdaptiveKernelRegressor(NNGP("identity"), approximation=name, width=50.0, **SHORT)
    for name in APPROXIMATIONS
]
KERNELS = [
    NNGP("erf", metric=np.ones(3), origin=np.zeros(3)),
    NTK("tanh"),
    ModifiedSpectrum(NTK("relu"), X, n_components=5),
    NNGP("relu") + 2.0,
    2.0 * NTK("erf"),
    NNGP("sin") ** 2,
]


def fitted(model):
    is_classifier = "Classifier" in type(model).__name__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(model).fit(X, LABELS if is_classifier else Y)


def outputs(model):
    """All that a fitted model says about new rows."""
    names = ("predict", "predict_proba", "transform")
    values = [getattr(model, name)(X_NEW) for name in names if hasattr(model, name)]
    if hasattr(model, "alpha_") and "Regressor" in type(model).__name__:
        values.append(model.predict(X_NEW, return_std=True)[1])
    return values


def assert_says_the_same(model, other):
    expected = outputs(model)
    assert expected
    for one, two in zip(expected, outputs(other), strict=True):
        assert_array_equal(one, two)


def public_estimators():
    values = [getattr(adaptive_kernels, name) for name in adaptive_kernels.__all__]
    return {value for value in values if hasattr(value, "fit")}


def test_every_public_estimator_is_here():
    assert {type(model) for model in MODELS} == public_estimators()


@pytest.mark.slow
@pytest.mark.parametrize("model", [*MODELS, *THEORIES], ids=repr)
def test_skops_gives_the_same_model(model):
    model = fitted(model)
    data = skops.io.dumps(model)
    assert skops.io.get_untrusted_types(data=data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = skops.io.loads(data, trusted=SKOPS_TRUSTED_TYPES)
    assert_says_the_same(model, loaded)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_skops_gives_the_same_kernel(kernel):
    loaded = skops.io.loads(skops.io.dumps(kernel), trusted=SKOPS_TRUSTED_TYPES)
    assert_array_equal(loaded(X_NEW, X), kernel(X_NEW, X))


def test_trusted_types_are_of_this_package_and_open_no_file():
    assert SKOPS_TRUSTED_TYPES == sorted(set(SKOPS_TRUSTED_TYPES))
    for name in SKOPS_TRUSTED_TYPES:
        module, _, attribute = name.rpartition(".")
        assert module.startswith("adaptive_kernels.")
        assert callable(getattr(sys.modules[module], attribute))
    assert "adaptive_kernels._arrays.mapped_files.MappedRows" not in SKOPS_TRUSTED_TYPES


def own_function(z):
    return z


def test_a_function_of_the_user_is_not_trusted():
    data = skops.io.dumps(NNGP(own_function))
    with pytest.raises(Exception, match="own_function"):
        skops.io.loads(data, trusted=SKOPS_TRUSTED_TYPES)


def made_with(monkeypatch, value, *, package="0.0.1", sklearn="1.9.0"):
    """Pickle of a value as other versions would write it."""
    with monkeypatch.context() as patch:
        patch.setattr("adaptive_kernels.__version__", package)
        patch.setattr("sklearn.__version__", sklearn)
        return pickle.dumps(value)


def origins(caught):
    messages = [warning.message for warning in caught]
    return {(m.estimator_name, m.original_sklearn_version) for m in messages}


@pytest.mark.parametrize("value", [*MODELS, *KERNELS], ids=repr)
def test_a_pickle_of_other_versions_warns(monkeypatch, value):
    data = made_with(monkeypatch, value)
    with pytest.warns(InconsistentVersionWarning) as caught:
        loaded = pickle.loads(data)
    name = type(value).__name__
    versions = {"adaptive_kernels": "0.0.1", "scikit-learn": "1.9.0"}
    expected = {(f"{name} ({key})", version) for key, version in versions.items()}
    assert expected <= origins(caught)
    assert vars(loaded).keys() == vars(value).keys()


def test_only_the_version_that_differs_is_named(monkeypatch):
    data = made_with(monkeypatch, NNGPRegressor(), sklearn=sklearn.__version__)
    with pytest.warns(InconsistentVersionWarning, match="0.0.1") as caught:
        pickle.loads(data)
    assert origins(caught) == {("NNGPRegressor (adaptive_kernels)", "0.0.1")}


def test_a_state_without_versions_warns():
    with pytest.warns(InconsistentVersionWarning) as caught:
        NNGPRegressor().__setstate__({"device": None})
    assert {version for _, version in origins(caught)} == {"unknown"}


def test_skops_warns_of_other_versions_too(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("adaptive_kernels.__version__", "0.0.1")
        data = skops.io.dumps(fitted(NNGPRegressor()))
    with pytest.warns(InconsistentVersionWarning) as caught:
        skops.io.loads(data, trusted=SKOPS_TRUSTED_TYPES)
    assert ("NNGPRegressor (adaptive_kernels)", "0.0.1") in origins(caught)
    assert {version for _, version in origins(caught)} == {"0.0.1"}


@pytest.mark.parametrize(
    "model",
    [
        AdaptiveKernelRegressorCV(**SEARCH),
        AdaptiveKernelClassifier(n_inducing=20, **SHORT),
        OneStepSpikeFeatures(n_components=20),
    ],
    ids=repr,
)
def test_the_same_versions_are_silent(model):
    model = fitted(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(model)
        (sent,) = Parallel(n_jobs=2)([delayed(copy.copy)(model)])
        for other in (copy.copy(model), copy.deepcopy(model), sent):
            assert vars(other).keys() == vars(model).keys()
            assert_says_the_same(model, other)


def test_a_subclass_with_a_state_of_its_own_base():
    again = pickle.loads(pickle.dumps(Remembering()))
    assert again.restored and again.get_params() == NNGPRegressor().get_params()


class Memory:
    def __setstate__(self, state):
        vars(self).update(state, restored=True)


class Remembering(NNGPRegressor, Memory):
    pass
