"""What users hand over stays theirs, and what they configure holds."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose

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
from adaptive_kernels.kernels import NNGP

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 3))
Y, NEW = np.sin(2 * X[:, 0]), rng.standard_normal((5, 3))
SMALL = {"covariance_types": ("diag",), "cv": 2}
REGRESSORS = [
    NNGPRegressor(),
    NNGPRegressor(n_inducing=20),
    AdaptiveKernelRegressor(),
    AdaptiveKernelRegressorCV(widths=(1,), **SMALL),
    ModifiedSpectrumRegressor(),
    NTKRegressor(),
]
CLASSIFIERS = [
    NNGPClassifier(),
    AdaptiveKernelClassifier(),
    AdaptiveKernelClassifierCV([NNGP("erf")], widths=(10,), **SMALL),
    NTKClassifier(),
]


def name_of(model):
    return f"{type(model).__name__}{getattr(model, 'n_inducing', None) or ''}"


@pytest.mark.parametrize("model", [*REGRESSORS, *CLASSIFIERS], ids=name_of)
def test_a_buffer_that_is_used_again_changes_nothing(model):
    model = sklearn.base.clone(model)
    rows, targets = X.copy(), Y.copy()
    if sklearn.base.is_classifier(model):
        targets = (Y > 0).astype(int)
    before = model.fit(rows, targets).predict(NEW)
    rows[:], targets[:] = 0, 0
    assert_allclose(model.predict(NEW), before)


@pytest.mark.parametrize(
    "model",
    [*REGRESSORS[2:4], *CLASSIFIERS[1:3], OneStepSpikeFeatures(10, random_state=0)],
    ids=name_of,
)
def test_tables_keep_their_index(model):
    table = pd.DataFrame(X, columns=list("abc"), index=np.arange(100, 160))
    targets = Y > 0 if sklearn.base.is_classifier(model) else Y
    plain = sklearn.base.clone(model).fit(table, targets).transform(table)
    with sklearn.config_context(transform_output="pandas"):
        found = sklearn.base.clone(model).fit(table, targets).transform(table)
    assert found.index.equals(table.index)
    assert_allclose(found, plain)


@pytest.mark.parametrize("model", CLASSIFIERS[:3], ids=name_of)
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ({"a": -1, "b": 1}, "must not be negative"),
        ({"a": np.nan, "b": 1}, "must not be negative or infinite"),
        ({"a": 0, "b": 1}, "one class only"),
    ],
)
def test_class_weights_that_are_none_are_refused(model, weight, message):
    labels = np.where(X[:, 0] > 0, "b", "a")
    with pytest.raises(ValueError, match=message):
        sklearn.base.clone(model).set_params(class_weight=weight).fit(X, labels)


@pytest.mark.parametrize("model", CLASSIFIERS[:3], ids=name_of)
def test_a_class_of_weight_zero_is_no_class(model):
    labels = np.array(["a", "b", "c"])[rng.integers(0, 3, 60)]
    weighted = sklearn.base.clone(model).set_params(
        class_weight={"a": 1, "b": 0, "c": 2}
    )
    weighted.fit(X, labels)
    removed = sklearn.base.clone(model).set_params(class_weight={"a": 1, "c": 2})
    assert list(weighted.classes_) == ["a", "c"]
    if not isinstance(model, AdaptiveKernelClassifierCV):  # whose folds differ
        removed.fit(X[labels != "b"], labels[labels != "b"])
        expected = removed.predict_proba(NEW)
        assert_allclose(weighted.predict_proba(NEW), expected, atol=1e-6)
