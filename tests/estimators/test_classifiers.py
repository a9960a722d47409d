"""The classifiers: weights, labels of any type, copies, array libraries, features."""

import pickle

import numpy as np
import pytest
from _classes import BINARY, CODES, COUNTS, MODELS, X_NEW, X, linear_truth, single
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.metrics import log_loss

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    NNGPClassifier,
)
from adaptive_kernels.inference import factorization, subsampling
from adaptive_kernels.kernels import NNGP

ROWS = np.repeat(np.arange(60), COUNTS)
COLOURS = np.array(["red", "green", "blue"])

every = pytest.mark.parametrize("name", MODELS)


def fixed(**parameters):
    """A classifier that tunes no kernel."""
    return NNGPClassifier(NNGP("erf"), optimizer=None, **parameters)


@single
def test_weights_count_like_repeats(name):
    make = MODELS[name]
    repeated = make().fit(X[ROWS], CODES[ROWS])
    weighted = make().fit(X, CODES, sample_weight=COUNTS)
    assert_allclose(
        weighted.predict_proba(X_NEW), repeated.predict_proba(X_NEW), rtol=1e-6
    )
    kept = COUNTS != 2
    removed = make().fit(X[kept], CODES[kept])
    zeroed = make().fit(X, CODES, sample_weight=kept)
    assert_allclose(
        zeroed.predict_proba(X_NEW), removed.predict_proba(X_NEW), rtol=1e-6
    )


@single
def test_class_weight_counts_like_repeats(name):
    factors = np.array([1, 3, 2])
    rows = np.repeat(np.arange(60), factors[CODES])
    repeated = MODELS[name]().fit(X[rows], COLOURS[CODES[rows]])
    weights = dict(zip(COLOURS.tolist(), factors.tolist(), strict=True))
    weighted = MODELS[name](class_weight=weights).fit(X, COLOURS[CODES])
    expected = repeated.predict_proba(X_NEW)
    assert_allclose(weighted.predict_proba(X_NEW), expected, rtol=1e-6)
    plain = MODELS[name]().fit(X, COLOURS[CODES]).predict_proba(X_NEW)
    assert np.abs(expected - plain).max() > 0.05


@every
def test_balanced_is_the_inverse_frequency(name):
    y = (X[:, 0] + np.random.default_rng(2).standard_normal(60) > 1).astype(int)
    totals = np.bincount(y, COUNTS)
    weights = {c: COUNTS.sum() / (2 * totals[c]) for c in range(2)}
    balanced, given = (
        MODELS[name](class_weight=w).fit(X, y, COUNTS).predict_proba(X_NEW)
        for w in ("balanced", weights)
    )
    assert_allclose(balanced, given, rtol=1e-9)
    assert np.mean(balanced[:, 1]) > np.mean(
        MODELS[name]().fit(X, y, COUNTS).predict_proba(X_NEW)[:, 1]
    )


@every
@pytest.mark.parametrize(
    "classes",
    [
        [-7, 4, 9],
        ["b", "a", "c"],
        [0.0, 2.0, 5.0],
        np.array(["x", 1, None], object)[:1],
    ],
    ids=["integers", "strings", "floats", "objects"],
)
def test_labels_of_any_type(name, classes):
    classes = np.array(["u", "v", "w"], object) if len(classes) == 1 else classes
    classes = np.sort(np.array(classes))
    model = MODELS[name]().fit(X, classes[CODES])
    assert_array_equal(model.classes_, classes)
    reference = MODELS[name]().fit(X, CODES)
    assert_allclose(model.predict_proba(X_NEW), reference.predict_proba(X_NEW))
    assert_array_equal(model.predict(X_NEW), classes[reference.predict(X_NEW)])
    assert model.score(X, classes[CODES]) > 0.7


@every
def test_two_classes_mirror_each_other(name):
    model = MODELS[name]().fit(X, BINARY == 1)
    other = MODELS[name]().fit(X, BINARY == 0)
    p = model.predict_proba(X_NEW)
    assert_allclose(p, other.predict_proba(X_NEW)[:, ::-1], atol=1e-6)
    assert_allclose(model.decision_function(X_NEW), np.log(p[:, 1] / p[:, 0]))
    assert_array_equal(model.predict(X_NEW), p[:, 1] > 0.5)


@single
def test_renamed_classes_permute_columns(name):
    order = np.array([2, 0, 1])
    p = MODELS[name]().fit(X, CODES).predict_proba(X_NEW)
    renamed = MODELS[name]().fit(X, order[CODES])
    assert_allclose(renamed.predict_proba(X_NEW)[:, order], p, atol=1e-4)
    log_p = renamed.decision_function(X_NEW)
    assert_allclose(np.exp(log_p[:, order]), p, atol=1e-4)


def test_all_classes_share_the_factorisations(monkeypatch):
    count = []
    cholesky = factorization.cholesky
    monkeypatch.setattr(
        factorization, "cholesky", lambda K: count.append(1) or cholesky(K)
    )
    numbers = []
    for n_classes in (2, 20):
        count.clear()
        fixed().fit(X, np.arange(60) % n_classes)
        numbers.append(len(count))
    # At most the ten half decades of the noise's range, and one fit before and after.
    assert max(numbers) <= 13


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_adaptation_finds_the_features_that_matter():
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((500, 10))
    y = rows[:, 2] * rows[:, 7] > 0
    adaptive, fixed_shape = (
        make().fit(rows[:250], y[:250])
        for make in (AdaptiveKernelClassifier, NNGPClassifier)
    )
    assert set(np.argsort(adaptive.feature_importances_)[-2:]) == {2, 7}
    losses = [
        log_loss(y[250:], model.predict_proba(rows[250:]))
        for model in (adaptive, fixed_shape)
    ]
    assert losses[0] < losses[1] - 0.1
    assert adaptive.transform(rows[:3]).shape == (3, 10)
    assert adaptive.weight_covariance_.shape == (10,)


def test_the_kernel_is_learned_from_a_sample_and_all_rows_predict(monkeypatch):
    rows, codes, _ = linear_truth(300, 3, 10)
    everything = fixed().fit(rows, codes)
    monkeypatch.setattr(subsampling, "CLASS_KERNEL_ROWS", 60)
    sampled = fixed().fit(rows, codes)
    assert sampled.X_train_.shape == (300, 4)
    assert sampled.regressor_.X_train_.shape == (60, 4)
    # Where nothing is learned the sample makes no difference.
    new = linear_truth(50, 3, 11)[0]
    assert_allclose(sampled.predict_proba(new), everything.predict_proba(new))
    tuned = NNGPClassifier().fit(rows, codes)
    order = np.random.default_rng(0).permutation(300)
    again = NNGPClassifier().fit(rows[order], codes[order])
    assert_allclose(again.predict_proba(new), tuned.predict_proba(new))


@every
def test_pickled_models_predict_the_same(name):
    model = MODELS[name]().fit(X, COLOURS[CODES])
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_proba(X_NEW), model.predict_proba(X_NEW))


@every
def test_single_precision_is_computed_in_double(name):
    rows, new = X.astype(np.float32), X_NEW.astype(np.float32)
    p = MODELS[name]().fit(rows, CODES).predict_proba(new)
    double = MODELS[name]().fit(rows.astype(float), CODES)
    assert_allclose(p, double.predict_proba(new.astype(float)), rtol=1e-9)


@pytest.mark.slow
@every
def test_array_api_input(name):
    xp = pytest.importorskip("array_api_strict")
    with config_context(array_api_dispatch=True):
        model = MODELS[name]().fit(xp.asarray(X), xp.asarray(CODES))
        p, labels = (f(xp.asarray(X_NEW)) for f in (model.predict_proba, model.predict))
        assert all(hasattr(a, "__array_namespace__") for a in (p, labels))
        p, labels = np.asarray(p), np.asarray(labels)
        loaded = pickle.loads(pickle.dumps(model))
    for member in getattr(loaded, "members_", [loaded]):
        assert isinstance(member._classes.posterior.F, np.ndarray)
    assert isinstance(loaded.classes_, np.ndarray)
    host = MODELS[name]().fit(X, CODES)
    assert_allclose(p, host.predict_proba(X_NEW), atol=1e-5)
    assert_array_equal(labels, host.predict(X_NEW))
    assert_allclose(loaded.predict_proba(X_NEW), p, atol=1e-8)


@every
def test_unusable_labels_are_refused_and_change_nothing(name):
    model = MODELS[name]().fit(X, CODES)
    before = model.predict_proba(X_NEW)
    for y, message in [
        (np.zeros(60), "only one class"),
        (X[:, 0], "Unknown label type"),
        (CODES[:-1], "inconsistent"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(X, y)
    with pytest.raises(ValueError, match="only one class"):
        model.fit(X, CODES, sample_weight=CODES == 1)
    with pytest.raises(ValueError, match="class_weight"):
        model.set_params(class_weight="even").fit(X, CODES)
    with pytest.raises(ValueError, match="device"):
        model.set_params(class_weight=None, device="tpu").fit(X, CODES)
    model.set_params(device=None)
    assert_array_equal(model.predict_proba(X_NEW), before)


@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_inputs_that_know_no_minus_one(dtype):
    rows = (X > 0.3).astype(dtype)
    search = MODELS["search"]().fit(rows, CODES)
    again = MODELS["search"]().fit(rows.astype(float), CODES)
    assert search.best_score_ == again.best_score_
    assert search.best_score_ < -0.3  # as labels of noise can be predicted


@pytest.mark.filterwarnings("ignore:sample_weight sums")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every
def test_weights_of_any_size(name):
    for total in (1e-3, 1.0, 1e6):
        weights = COUNTS * total / COUNTS.sum()
        p = MODELS[name]().fit(X, CODES, weights).predict_proba(X)
        assert_allclose(p.sum(axis=1), 1)
        assert p.min() > 0
        assert total < 1 or np.mean(p.argmax(axis=1) == CODES) > 0.5


def test_a_pickle_holds_no_curvature():
    model = NNGPClassifier().fit(X, CODES)
    assert model.regressor_._tuned.solution.curvature is not None
    copy = pickle.loads(pickle.dumps(model))
    assert copy.regressor_._tuned.solution.curvature is None
    assert (
        copy.regressor_._tuned.solution.value == model.regressor_._tuned.solution.value
    )
