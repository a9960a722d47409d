"""OneStepSpikeFeatures on awkward input: few rows, constants, types, interruptions."""

import pickle
import warnings
from math import sqrt

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from adaptive_kernels import OneStepSpikeFeatures
from adaptive_kernels._arrays import to_numpy
from adaptive_kernels.estimators import gradient_step_model

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)) @ np.diag([1, 2, 0.5, 1, 1, 3]) + 0.7
X_NEW = RNG.standard_normal((9, 6)) + 0.7
Y2 = np.stack([X[:, 0] + X[:, 5] ** 2 / 4, np.sin(X[:, 1])], axis=1)
Y2 += 0.1 * RNG.standard_normal((40, 2))
Y1 = Y2[:, 0]
LABELS = np.array(["ant", "bee", "cat"])[np.digitize(X[:, 5], [-0.5, 1.5])]
VARIANTS = {
    "default": {},
    "exact": {"gradient": "exact"},
    "full": {"gradient": "exact", "residual": "full", "activation": "tanh"},
    "preconditioned": {"precondition": 0.1, "activation": "softplus"},
    "all": {"gradient": "exact", "residual": "full", "precondition": 0.2},
}
variants = pytest.mark.parametrize("variant", VARIANTS)


def model(variant="default", **parameters):
    given = {"n_components": 30, "gain": 0.8, "random_state": 0}
    return OneStepSpikeFeatures(**given | VARIANTS[variant] | parameters)


def features(rows=X_NEW, target=Y1, fit=None, **parameters):
    return model(**parameters).fit(X if fit is None else fit, target).transform(rows)


def close(found, expected, rtol=1e-10):
    assert_allclose(found, expected, rtol=0, atol=rtol * np.max(np.abs(expected)))


@variants
@pytest.mark.parametrize("shape", [(5, 30), (40, 1), (2, 3), (2, 1)])
def test_few_rows_or_columns(variant, shape):
    rng = np.random.default_rng(0)
    rows, given = rng.standard_normal(shape), rng.standard_normal(shape[0])
    found = model(variant).fit(rows, given)
    assert found.gain_ == 0.8
    assert found.transform(rows).shape == (shape[0], 30)
    assert np.all(np.isfinite(found.transform(rows)))


@variants
@pytest.mark.parametrize(
    "rows, given",
    [
        (X, np.full(40, 0.1)),
        (X, np.full((40, 2), [1e8 + 0.1, 3.0])),
        (X, np.full(40, "cat")),
        (X, np.ones(40, dtype=int)),
        (np.full((40, 6), 0.1), Y1),
        (np.full((40, 6), 1e8 + 0.1), Y1),
        (np.zeros((40, 6)), Y1),
        (X[:1], Y1[:1]),
    ],
    ids=["y", "Y", "class", "int", "X", "large X", "zero", "row"],
)
def test_nothing_to_learn_from(variant, rows, given):
    found = model(variant)
    with pytest.warns(UserWarning, match="does not vary") as record:
        found.fit(rows, given)
    assert len(record) == 1
    assert record[0].filename == __file__
    assert found.gain_ == found.step_size_ == 0
    assert_array_equal(found.weights_, found.initial_weights_)
    plain = model(variant, gain=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain.fit(rows, given)
    assert_array_equal(found.transform(X_NEW), plain.transform(X_NEW))
    assert np.all(np.isfinite(found.transform(X_NEW)))


@pytest.mark.parametrize("gradient", ["rank_one", "exact"])
def test_targets_without_a_linear_part_are_nothing_to_learn_from(gradient):
    """y is even in X, but for rounding: no direction is better than another."""
    rows = np.vstack([X - X.mean(axis=0), X.mean(axis=0) - X])
    with pytest.warns(UserWarning):
        found = model(gradient=gradient).fit(rows, np.sum(rows**2, axis=1))
    assert found.gain_ == 0
    assert np.max(np.abs(found.weights_)) < 10


def test_constant_columns_change_nothing_but_the_scale():
    rows = np.hstack([X, np.full((40, 2), 5.0)])
    found = model().fit(rows, Y1)
    assert_allclose(found.direction_[6:], 0, atol=1e-15)
    assert_allclose(found.scale_, model().fit(X, Y1).scale_ * sqrt(6 / 8))
    expected = found.transform(np.hstack([X_NEW, np.full((9, 2), 5.0)]))
    assert np.all(np.isfinite(expected))


@variants
def test_single_precision(variant):
    found = model(variant).fit(X.astype(np.float32), Y1.astype(np.float32))
    out = found.transform(X_NEW.astype(np.float32))
    assert out.dtype == np.float32
    assert found.transform(X_NEW).dtype == np.float64
    # Single rounding, 6e-8, of sums over 6 columns and 40 rows.
    close(out, features(variant=variant), 2e-5)


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.uint8, bool, np.float16])
def test_other_types_of_x(kind):
    rows = (X > 0.7).astype(kind)
    expected = features(1.0 * (X_NEW > 0.7), fit=1.0 * (X > 0.7))
    found = features((X_NEW > 0.7).astype(kind), fit=rows)
    assert found.dtype == np.float64
    assert_array_equal(found, expected)


def test_array_likes():
    expected = features()
    given = features(X_NEW.tolist(), fit=X.tolist(), target=Y1.tolist())
    close(given, expected, 1e-13)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    new = pd.DataFrame(X_NEW, columns=list("abcdef"))
    close(features(new, fit=frame, target=pd.Series(Y1)), expected, 1e-13)
    close(features(np.asfortranarray(X_NEW), fit=X[::-1][::-1]), expected, 1e-13)


def test_estimator_methods():
    fitted = model().fit(X, Y1)
    same = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(same.transform(X_NEW), fitted.transform(X_NEW))
    with pytest.raises(NotFittedError):
        clone(fitted).transform(X)
    with pytest.raises(NotFittedError):
        clone(fitted).spike_components(X)
    assert_array_equal(model().fit_transform(X, Y1), fitted.transform(X))
    names = [f"onestepspikefeatures{i}" for i in range(30)]
    assert list(fitted.get_feature_names_out()) == names
    frame = clone(fitted).set_output(transform="pandas").fit(X, Y1).transform(X_NEW)
    assert list(frame.columns) == names
    assert_array_equal(frame.to_numpy(), fitted.transform(X_NEW))
    assert OneStepSpikeFeatures().get_params()["n_components"] == 500


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_numbers_are_refused(bad):
    rows, given, weights = X.copy(), Y1.copy(), np.ones(40)
    rows[3, 2] = given[5] = weights[7] = bad
    for arguments in ((rows, Y1), (X, given), (X, Y1, weights)):
        with pytest.raises(ValueError, match="NaN|infinity"):
            model().fit(*arguments)
    fitted = model().fit(X, Y1)
    for method in (fitted.transform, fitted.spike_components):
        with pytest.raises(ValueError, match="NaN|infinity"):
            method(rows)


def test_y_is_needed():
    with pytest.raises(ValueError, match="y"):
        model().fit(X, None)
    with pytest.raises(TypeError, match="y"):
        model().fit(X)


def test_mismatches_are_refused():
    with pytest.raises(ValueError, match="inconsistent"):
        model().fit(X, Y1[:-1])
    with pytest.raises(ValueError, match="sample_weight"):
        model().fit(X, Y1, np.ones(39))
    with pytest.raises(ValueError, match="[Nn]egative"):
        model().fit(X, Y1, -np.ones(40))
    with pytest.raises(ValueError, match="zero"):
        model().fit(X, Y1, np.zeros(40))
    with pytest.raises(ValueError, match="expecting 6 features"):
        model().fit(X, Y1).transform(X[:, :5])
    with pytest.raises(TypeError, match="[Ss]parse"):
        model().fit(sparse.csr_array(X), Y1)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    fitted = model().fit(frame, Y1)
    assert list(fitted.feature_names_in_) == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        fitted.transform(frame[list("abcdfe")])


def test_sparse_targets_are_refused():
    with pytest.raises((TypeError, ValueError), match="[Ss]parse"):
        model().fit(X, sparse.csr_array(Y2))


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"n_components": 0}, "n_components"),
        ({"gain": -0.1}, "gain"),
        ({"gain": np.nan}, "gain"),
        ({"gain": np.inf}, "gain"),
        ({"gradient": "full"}, "gradient"),
        ({"residual": "none"}, "residual"),
        ({"precondition": 0}, "precondition"),
        ({"target_type": "binary"}, "target_type"),
        ({"device": "tpu"}, "device"),
        ({"activation": "swish"}, "activation must be one of"),
        ({"activation": "cos"}, "no linear part"),
        ({"activation": 3}, "activation"),
        ({"activation": np.sign, "gradient": "exact"}, "jumps"),
        ({"activation": lambda z: np.exp(z * z)}, "activation"),
        ({"activation": lambda z: z.sum()}, "activation"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=message):
        model(**parameters).fit(X, Y1)


def test_jumps_are_fine_without_a_derivative():
    found = model(activation=np.sign).fit(X, Y1)
    assert_allclose(np.abs(found.transform(X_NEW)), 1 / sqrt(30), rtol=1e-8)
    assert_allclose(found.hermite_coefficients_[1], sqrt(2 / np.pi), rtol=1e-6)


def test_activation_of_integers():
    """A step function of bool values is as good as one of floats."""
    expected = features(activation=lambda z: 1.0 * (z > 0))
    close(features(activation=lambda z: z > 0), expected)


@pytest.mark.parametrize("degree", [0, 6, -1, 2.5])
def test_bad_degrees(degree):
    with pytest.raises((ValueError, TypeError), match="degree.*must be"):
        model().fit(X, Y1).spike_components(X, degree)


# Targets


def one_hot(labels):
    return (labels[:, None] == np.unique(labels)).astype(float)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.astype(object),
        pd.Series(LABELS, dtype="category"),
        np.unique(LABELS, return_inverse=True)[1] - 7,
        pd.Series(np.unique(LABELS, return_inverse=True)[1], dtype="Int64"),
        LABELS.tolist(),
    ],
    ids=["str", "object", "category", "int", "Int64", "list"],
)
def test_classes_of_any_type_are_one_hot(labels):
    found = model(gradient="exact").fit(X, labels)
    expected = model(gradient="exact").fit(X, one_hot(LABELS))
    assert found.direction_.shape == (6, 3)
    close(found.transform(X_NEW), expected.transform(X_NEW))


@pytest.mark.parametrize("kind", [bool, str, int, object])
def test_two_classes_are_one_column(kind):
    labels = X[:, 5] > 0
    found = model().fit(X, labels.astype(int).astype(kind))
    assert found.direction_.shape == (6,)
    close(found.transform(X_NEW), features(target=labels.astype(float)))


def test_what_counts_as_classes():
    twenty, more = np.arange(40) % 20, np.arange(40) % 21
    assert model().fit(X, twenty).direction_.shape == (6, 20)
    assert model().fit(X, more).direction_.shape == (6,)
    assert model().fit(X, twenty.astype(float)).direction_.shape == (6,)
    continuous = model(target_type="continuous").fit(X, twenty)
    assert continuous.direction_.shape == (6,)
    assert model(target_type="classes").fit(X, more).direction_.shape == (6, 21)
    thirds = model(target_type="classes").fit(X, 1.0 * (np.arange(40) % 3))
    assert thirds.direction_.shape == (6, 3)
    with pytest.raises(ValueError, match="A continuous y needs numbers"):
        model(target_type="continuous").fit(X, LABELS)
    # Numbers in the guise of objects or strings are numbers where told so.
    text = model(target_type="continuous").fit(X, Y1.astype(object))
    close(text.transform(X_NEW), features())


def test_classes_of_each_output():
    both = np.column_stack([LABELS, np.where(X[:, 0] > 0, "yes", "no")])
    columns = np.hstack([one_hot(LABELS), 1.0 * (X[:, [0]] > 0)])
    found = model().fit(X, both)
    assert found.direction_.shape == (6, 4)
    close(found.transform(X_NEW), features(target=columns))
    integers = np.column_stack([X[:, 0] > 0, np.arange(40)]).astype(int)
    close(features(target=integers), features(target=integers.astype(float)))


def test_a_number_and_a_class_in_one_table():
    table = pd.DataFrame({"level": Y1, "kind": LABELS})
    columns = np.hstack([Y1[:, None], one_hot(LABELS)])
    close(features(target=table), features(target=columns))
    counts = pd.DataFrame(
        {"level": Y1, "kind": np.unique(LABELS, return_inverse=True)[1]}
    )
    close(features(target=counts), features(target=columns))


def test_one_column_is_one_vector():
    column = model().fit(X, Y1[:, None])
    assert column.direction_.shape == (6,)
    assert_array_equal(column.transform(X_NEW), features())


def test_output_of_no_variance_beside_another():
    found = model().fit(X, np.column_stack([Y1, np.full(40, 7.1)]))
    assert_array_equal(found.direction_[:, 1], 0)
    assert found.gain_ == 0.8
    assert_allclose(np.linalg.norm(found.direction_[:, 0]), 1)


# Interruptions


@pytest.mark.parametrize(
    "place", ["first_gradient", "check_random_state", "_standardised"]
)
def test_interrupted_fit_changes_nothing(place, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    fitted = model().fit(X, Y1)
    before, expected = dict(vars(fitted)), fitted.transform(X_NEW)
    monkeypatch.setattr(gradient_step_model, place, interrupt)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(X[:, :3], LABELS)
    assert vars(fitted).keys() == before.keys()
    assert all(vars(fitted)[name] is before[name] for name in before)
    assert_array_equal(fitted.transform(X_NEW), expected)
    fresh = model()
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(X, Y1)
    assert vars(fresh) == vars(model())


# Array libraries


@variants
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1"])
def test_array_libraries_agree(variant, outputs, device):
    xp = pytest.importorskip("array_api_strict")
    device = xp.Device(device)
    rows, given, new, weights = (
        xp.asarray(a, device=device)
        for a in (X, Y2[:, :outputs], X_NEW, np.arange(1.0, 41))
    )
    expected = model(variant).fit(X, Y2[:, :outputs], np.arange(1.0, 41))
    with config_context(array_api_dispatch=True):
        found = model(variant).fit(rows, given, weights)
        out = found.transform(new)
        components = found.spike_components(new)
    assert type(out) is type(rows) and out.device == device
    for name in ("weights_", "direction_", "mean_", "readout_", "initial_weights_"):
        value = getattr(found, name)
        assert type(value) is type(rows) and value.device == device
        assert_allclose(to_numpy(value), getattr(expected, name), atol=1e-12)
    assert_allclose(to_numpy(out), expected.transform(X_NEW), atol=1e-12)
    assert components[1].inputs.device == device
    truth = expected.spike_components(X_NEW)[1].to_matrix()
    assert_allclose(to_numpy(components[1].to_matrix()), truth, atol=1e-12)
    loaded = pickle.loads(pickle.dumps(found))
    assert type(loaded.weights_) is np.ndarray
    assert_allclose(loaded.transform(X_NEW), expected.transform(X_NEW), atol=1e-12)


def test_another_library_than_that_of_the_fit_is_refused():
    xp = pytest.importorskip("array_api_strict")
    with config_context(array_api_dispatch=True):
        found = model().fit(xp.asarray(X), xp.asarray(Y1))
        with pytest.raises(ValueError, match="namespace"):
            found.transform(X)


def test_array_library_in_single_precision():
    xp = pytest.importorskip("array_api_strict")
    with config_context(array_api_dispatch=True):
        rows = xp.asarray(X.astype(np.float32))
        out = model("all").fit(rows, xp.asarray(Y1)).transform(rows)
    assert out.dtype == xp.float32
    close(to_numpy(out), features(X, variant="all"), 2e-5)
