"""What users hand over stays theirs, and what they configure holds."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal

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


class Shifted(NNGPRegressor):
    """A subclass whose own `predict` returns something else."""

    def predict(self, X, return_std=False, return_cov=False):
        return 1e6 + super().predict(X)


def test_methods_do_not_go_through_public_ones_of_a_subclass():
    model, plain = (cls().fit(X, Y) for cls in (Shifted, NNGPRegressor))
    assert_array_equal(model.sample_y(X[:3]), plain.sample_y(X[:3]))


@pytest.mark.parametrize(
    "kernel", [NNGP("erf"), NTK("relu"), NNGP("erf") + 1.0], ids=str
)
@pytest.mark.parametrize("table", ["pandas", "nullable", "polars", "lists"])
def test_kernels_take_tables(kernel, table):
    if table == "polars":
        rows = pytest.importorskip("polars").DataFrame(X)
    else:
        frame = pd.DataFrame(X)
        rows = {
            "pandas": frame,
            "nullable": frame.convert_dtypes(),
            "lists": X.tolist(),
        }
        rows = rows[table]
    assert_array_equal(kernel(rows), kernel(X))
    assert_array_equal(kernel(rows, rows), kernel(X, X))
    assert_array_equal(kernel.diag(rows), kernel.diag(X))
