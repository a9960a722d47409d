"""Learning curves of kernels and fitted estimators: units, sizes, libraries, errors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
    NTKRegressor,
    learning_curve_theory,
)
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.theory import Spectrum
from adaptive_kernels.theory.kernel_regression.learning_curves import (
    predicted_error,
    predicted_pool_error,
)


def target(X):
    return X[:, 0] + 0.5 * X[:, 1] * X[:, 2] + 0.3 * np.sin(2 * X[:, -1])


def pool(rows, features=10, seed=0):
    X = np.random.default_rng(seed).standard_normal((rows, features))
    return X, target(X)


def agrees(predicted, errors, *, theory):
    """Within four standard errors of the mean and a relative error of the theory."""
    allowed = 4 * np.std(errors) / len(errors) ** 0.5 + theory * np.mean(errors)
    assert_allclose(predicted, np.mean(errors), rtol=0, atol=allowed)


# Fitted estimators

ROWS, TARGETS = pool(360, 5, seed=9)
TARGETS = 30 + 7 * (TARGETS + 0.3 * np.random.default_rng(10).standard_normal(360))
LEARNED, UNSEEN = slice(0, 100), slice(100, 360)


def curve_of(estimator, y=TARGETS, sizes=(40, 150), **parameters):
    return learning_curve_theory(
        estimator, ROWS[UNSEEN], y[UNSEEN], train_sizes=sizes, **parameters
    )


def measured(model, y, size, *, repeats=40):
    """Errors of a regressor refitted to random subsets of the unseen rows."""
    rng, X, y = np.random.default_rng(11), ROWS[UNSEEN], y[UNSEEN]
    errors = []
    for _ in range(repeats):
        train, rest = np.split(rng.permutation(len(X)), [size])
        fitted = model.fit(X[train], y[train])
        errors.append(np.sum(np.mean((fitted.predict(X[rest]) - y[rest]) ** 2, axis=0)))
    return errors


@pytest.mark.parametrize("normalize_y", [False, True])
def test_regressor_in_the_units_of_y(normalize_y):
    y = TARGETS if normalize_y else TARGETS - 30
    model = NNGPRegressor(NNGP("relu"), normalize_y=normalize_y)
    model.fit(ROWS[LEARNED], y[LEARNED])
    curve = curve_of(model, y)
    unit = np.var(y[UNSEEN]) if normalize_y else 1.0
    assert_allclose(curve.noise, model.alpha_ * unit)
    fixed = NNGPRegressor(
        model.kernel_, alpha=model.alpha_, optimizer=None, normalize_y=normalize_y
    )
    for size, predicted in zip((40, 150), curve.noisy_test_error, strict=True):
        agrees(predicted, measured(fixed, y, size), theory=0.05)


def test_errors_scale_with_the_square_of_y():
    model = NNGPRegressor().fit(ROWS[LEARNED], TARGETS[LEARNED])
    one, other = curve_of(model), curve_of(model, 5 - 100 * TARGETS)
    assert_allclose(other.test_error, 1e4 * one.test_error)
    assert_allclose(other.noise, 1e4 * one.noise)
    assert_allclose(other.learnability, one.learnability)


def test_outputs_are_summed():
    y = np.stack([TARGETS, np.abs(TARGETS)], axis=1)
    y[:, 1] += 3 * ROWS[:, 0] ** 2
    model = NNGPRegressor(NNGP("erf"), alpha=0.1, optimizer=None)
    both = curve_of(model.fit(ROWS[LEARNED], y[LEARNED]), y, noise=[1.0, 2.0])
    parts = [
        curve_of(model.fit(ROWS[LEARNED], part[LEARNED]), part, noise=noise)
        for part, noise in ((y[:, 0], 1.0), (y[:, 1], 2.0))
    ]
    for name in ("test_error", "noise", "target_power"):
        assert_allclose(
            getattr(both, name), sum(getattr(p, name) for p in parts), atol=1e-10
        )
    believed = curve_of(model.fit(ROWS[LEARNED], y[LEARNED]), y).noise
    assert_allclose(believed, 0.1 * np.var(y[UNSEEN], axis=0).sum())


def test_pipeline_applies_its_earlier_steps():
    scaled = StandardScaler().fit(ROWS[LEARNED])
    model = NNGPRegressor().fit(scaled.transform(ROWS[LEARNED]), TARGETS[LEARNED])
    expected = learning_curve_theory(
        model, scaled.transform(ROWS[UNSEEN]), TARGETS[UNSEEN], train_sizes=[50]
    )
    pipeline = make_pipeline(StandardScaler(), NNGPRegressor())
    pipeline.fit(ROWS[LEARNED], TARGETS[LEARNED])
    assert_allclose(curve_of(pipeline, sizes=[50]).test_error, expected.test_error)
    bare = make_pipeline(NNGPRegressor()).fit(ROWS[LEARNED], TARGETS[LEARNED])
    plain = NNGPRegressor().fit(ROWS[LEARNED], TARGETS[LEARNED])
    assert_allclose(curve_of(bare).test_error, curve_of(plain).test_error)


@pytest.mark.parametrize("approximation", ["gaussian", "rescaling", "tree"])
def test_adapted_kernel_is_kept(approximation):
    model = AdaptiveKernelRegressor(
        NNGP("relu", readout_variance=0.3),
        alpha=0.1,
        optimizer=None,
        width=5,
        approximation=approximation,
    ).fit(ROWS[LEARNED], TARGETS[LEARNED])
    scale, curve = model.scale_, curve_of(model)
    if approximation != "gaussian":
        assert abs(scale - 1) > 0.02
    kernel = scale * model.kernel_
    y = TARGETS[UNSEEN] - TARGETS[UNSEEN].mean()
    expected = learning_curve_theory(
        kernel, ROWS[UNSEEN], y, train_sizes=[40, 150], alpha=model.alpha_
    )
    assert_allclose(curve.noisy_test_error, expected.noisy_test_error)


def test_fitted_estimator_is_not_changed():
    model = NNGPRegressor().fit(ROWS[LEARNED], TARGETS[LEARNED])
    theta, before = model.kernel_.theta.copy(), model.predict(ROWS[UNSEEN])
    curve_of(model)
    assert_array_equal(model.kernel_.theta, theta)
    assert_array_equal(model.predict(ROWS[UNSEEN]), before)


def test_search_stands_for_its_best_estimator():
    search = AdaptiveKernelRegressorCV(
        kernels=[NNGP("erf")], widths=(10, np.inf), covariance_types=("diag",), cv=2
    ).fit(ROWS[LEARNED], TARGETS[LEARNED])
    expected = curve_of(search.best_estimator_).test_error
    assert_array_equal(curve_of(search).test_error, expected)


def test_alpha_replaces_that_of_the_estimator():
    model = NNGPRegressor().fit(ROWS[LEARNED], TARGETS[LEARNED])
    curve = curve_of(model, alpha=2.0)
    y = TARGETS[UNSEEN] - TARGETS[UNSEEN].mean()
    expected = curve_of_kernel(model.kernel_, y, alpha=2.0)
    assert_allclose(curve.noisy_test_error, expected.noisy_test_error)
    assert_allclose(curve.noise, model.alpha_ * np.var(y))


def curve_of_kernel(kernel, y, **parameters):
    return learning_curve_theory(
        kernel, ROWS[UNSEEN], y, train_sizes=[40, 150], **parameters
    )


# Sizes, libraries, errors


def test_train_sizes_as_in_scikit_learn():
    X, y = pool(50)

    def sizes(**parameters):
        return learning_curve_theory(NNGP(), X, y, alpha=1.0, **parameters).sizes

    assert_array_equal(sizes(), [5, 16, 27, 38, 50])
    assert_array_equal(sizes(train_sizes=[0.5, 0.01, 0.5]), [1, 25])
    assert_array_equal(sizes(train_sizes=[30, 1]), [1, 30])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_array_libraries(dtype):
    xp = pytest.importorskip("array_api_strict")
    X, y = (a.astype(dtype) for a in pool(60, 3))
    parameters = {"train_sizes": [10, 40], "alpha": 0.1, "noise": 0.1}
    expected = learning_curve_theory(NTK("relu"), X, y, **parameters)
    kernel = NTK("relu")(X.astype(float))
    spectrum = Spectrum.of_kernel(xp.asarray(kernel), xp.asarray(y.astype(float)))
    alone = predicted_pool_error(spectrum, [10, 40], ridge=0.1, noise=0.1)
    with config_context(array_api_dispatch=True):
        curve = learning_curve_theory(
            NTK("relu"), xp.asarray(X), xp.asarray(y), **parameters
        )
    modes = xp.asarray(expected.eigenvalues), xp.asarray(expected.target_power)
    sizes = xp.asarray([10.0, 40.0])
    pure = predicted_error(*modes, sizes, ridge=0.1, noise=0.1, pool_size=60)
    for name in ("test_error", "learnability", "row_correction"):
        values = getattr(expected, name)
        assert values.dtype == np.float64
        assert_allclose(getattr(curve, name), values, rtol=1e-8, atol=1e-12)
        assert_allclose(getattr(alone, name), values, rtol=1e-8, atol=1e-12)
    assert_allclose(pure.learnability, expected.learnability)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"alpha": None}, ValueError, "alpha"),
        ({"alpha": 0.0}, ValueError, "alpha"),
        ({"noise": -1.0}, ValueError, "noise"),
        ({"noise": [1.0, 2.0]}, ValueError, "noise.* 1 outputs"),
        ({"train_sizes": [0.5, 1.5]}, ValueError, "train_sizes"),
        ({"train_sizes": [0]}, ValueError, "train_sizes"),
        ({"train_sizes": [41]}, ValueError, "the 40 of X"),
        ({"train_sizes": 0.5}, ValueError, "train_sizes"),
        ({"train_sizes": []}, ValueError, "train_sizes"),
        ({"train_sizes": ["all"]}, ValueError, "train_sizes"),
        ({"estimator": Ridge()}, TypeError, "its kernel and alpha"),
        ({"estimator": NTKRegressor()}, TypeError, "NNGPRegressor"),
        ({"estimator": NNGPRegressor()}, NotFittedError, "not fitted"),
    ],
)
def test_unusable_parameters(changed, error, message):
    X, y = pool(40, 4)
    given = {"estimator": NNGP(), "X": X, "y": y, "alpha": 1.0}
    with pytest.raises(error, match=message):
        learning_curve_theory(**given | changed)


def test_wrong_number_of_features():
    model = NNGPRegressor().fit(ROWS[LEARNED], TARGETS[LEARNED])
    with pytest.raises(ValueError, match="features"):
        learning_curve_theory(model, ROWS[:, :2], TARGETS)


def test_outputs_with_kernels_of_their_own():
    y = np.stack([TARGETS, ROWS[:, 0]], axis=1)
    model = AdaptiveKernelRegressor(
        NNGP("relu"), width=30, approximation="rescaling"
    ).fit(ROWS[LEARNED], y[LEARNED])
    with pytest.raises(TypeError, match="separately"):
        learning_curve_theory(model, ROWS, y)
