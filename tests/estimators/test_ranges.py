"""Numbers beyond what double precision can square, and weights that count no rows."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.utils import get_tags

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

rng = np.random.default_rng(1)
X = rng.standard_normal((60, 3))
Y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(60)
TUNED = {
    "nngp": NNGPRegressor(),
    "inducing points": NNGPRegressor(n_inducing=20),
    "streamed": NNGPRegressor(n_inducing=5),
    "diagonal": AdaptiveKernelRegressor(width=10, max_iter=10),
    "full": AdaptiveKernelRegressor(width=10, covariance_type="full", max_iter=10),
    "search": AdaptiveKernelRegressorCV(widths=(1, 10), max_iter=5, cv=2),
    "classes": NNGPClassifier(),
    "adaptive classes": AdaptiveKernelClassifier(max_iter=10),
    "search of classes": AdaptiveKernelClassifierCV(widths=(1,), max_iter=5, cv=2),
}
UNTUNED = {
    "spectrum": ModifiedSpectrumRegressor(max_iter=3),
    "tangent": NTKRegressor(),
    "tangent classes": NTKClassifier(),
    "step": OneStepSpikeFeatures(random_state=0),
}
ALL = TUNED | UNTUNED


def target(model, scale=1.0):
    return (Y > 0).astype(int) if is_classifier(model) else scale * Y


def predicted(model, rows):
    return (model.predict_proba if is_classifier(model) else model.predict)(rows)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", TUNED)
def test_results_do_not_depend_on_the_units(name):
    """Powers of two are exact, so that nothing may change at all."""
    model = TUNED[name]
    truth = predicted(clone(model).fit(X, target(model)), X[:5])
    for unit in (2.0**240, 2.0**-240):
        fitted = clone(model).fit(unit * X, target(model))
        assert_array_equal(predicted(fitted, unit * X[:5]), truth)
        if not is_classifier(model):
            fitted = clone(model).fit(X, unit * Y)
            assert_array_equal(predicted(fitted, X[:5]), unit * truth)


@pytest.mark.parametrize("name", ["nngp", "search"])
def test_draws_do_not_depend_on_the_units(name):
    noise = np.random.default_rng(2).standard_normal(60)  # nothing is correlated
    for outputs in (noise, np.column_stack([noise, 2.0**30 * Y])):
        truth = clone(TUNED[name]).fit(X, outputs).sample_y(X[:9], 2)
        for unit in (2.0**70, 2.0**-70):
            draws = clone(TUNED[name]).fit(X, unit * outputs).sample_y(X[:9], 2)
            assert_array_equal(draws, unit * truth)


@pytest.mark.parametrize("scale", [1e200, 1e300, 1e-200, 1e-300])
@pytest.mark.parametrize("name", ALL)
def test_values_out_of_range_are_named(name, scale):
    model = ALL[name]
    with pytest.raises(ValueError, match="^X has .* choose units"):
        clone(model).fit(scale * X, target(model))
    if get_tags(model).target_tags.required and not is_classifier(model):
        if name != "step":  # which scales its targets
            with pytest.raises(ValueError, match="^y has .* choose units"):
                clone(model).fit(X, scale * Y)
            with pytest.raises(ValueError, match="^y has .* choose units"):
                Y2 = np.column_stack([Y, scale * Y])
                clone(model).fit(X, Y2)
    if name != "spectrum":  # which takes no weights
        with pytest.raises(ValueError, match="sample_weight has"):
            clone(model).fit(X, target(model), np.full(60, scale))
        one = np.ones(60)
        one[7] = scale
        with pytest.raises(ValueError, match="sample_weight has"):
            clone(model).fit(X, target(model), one)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", [name for name in ALL if name != "step"])
def test_new_rows_out_of_range_are_named(name):
    model = clone(ALL[name]).fit(X, target(ALL[name]))
    with pytest.raises(ValueError, match="^X has .* choose units"):
        model.predict(1e200 * X)
    assert np.all(np.isfinite(model.predict(np.zeros((2, 3)))))
    assert np.all(np.isfinite(model.predict(1e-200 * X)))


@pytest.mark.parametrize("kernel", [NNGP("erf"), NTK("relu"), NNGP("rbf")])
def test_kernels_name_what_overflows(kernel):
    with pytest.raises(ValueError, match="^X has .* choose units"):
        kernel(1e200 * X)
    with pytest.raises(ValueError, match="^X has .* choose units"):
        kernel(X, 1e200 * X)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("activation", ["erf", "relu", "rbf", np.tanh])
@pytest.mark.parametrize("cls", [NNGP, NTK])
def test_kernels_stay_definite_in_scikit_learns_process(cls, activation, dtype):
    """Rounding in single precision is larger than a jitter of 1e-6 or 1e-10."""
    rows = np.repeat(X, 2, axis=0).astype(dtype)
    targets = np.repeat(Y, 2).astype(dtype)
    for alpha in (1e-6, 1e-10):
        process = GaussianProcessRegressor(cls(activation), alpha=alpha, optimizer=None)
        mean, std = process.fit(rows, targets).predict(rows, return_std=True)
        assert np.all(np.isfinite(mean)) and np.all(np.isfinite(std))
        exact = process.fit(rows.astype(float), targets.astype(float)).predict(rows)
        assert_array_equal(mean, exact)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:sample_weight sums")
@pytest.mark.parametrize("name", [name for name in ALL if name != "spectrum"])
def test_weights_that_no_fit_can_handle_are_named(name):
    model, heavy = clone(ALL[name]), np.where(np.arange(60) == 7, 1e9, 1.0)
    for weights in (heavy, 1e-5 * heavy, heavy.astype("f4")):
        model.fit(X, target(model), weights)
    with pytest.raises(ValueError, match="^sample_weight sums .* by their mean"):
        model.fit(X, target(model), 100 * heavy)
    with pytest.raises(ValueError, match="^sample_weight has values from 1e-08"):
        model.fit(X, target(model), np.where(heavy > 1, 1e9, 1e-8))
    if "class_weight" in model.get_params():
        model.set_params(class_weight={0: 1e8, 1: 1.0})
        with pytest.raises(ValueError, match="^class_weight times sample_weight sums"):
            model.fit(X, target(model), np.full(60, 100.0))


@pytest.mark.filterwarnings("ignore:sample_weight sums")
def test_one_row_of_a_classifier_that_weighs_as_much_as_a_billion():
    """A step of the optimizer of the calibration goes to a slope of e^1394."""
    rng = np.random.default_rng(4)
    # Few draws lead there: these do.
    rng.integers(24), rng.integers(3)
    rows = rng.standard_normal((23, 3))
    rng.standard_normal(23)
    weights = rng.uniform(0.5, 2, 23)
    weights[0] *= 1e9
    rng.shuffle(weights)
    search = AdaptiveKernelClassifierCV(
        widths=(1, np.inf), covariance_types=("diag",), max_iter=2, cv=2
    )
    search.fit(rows, np.arange(23) % 2, weights)
    assert np.all(np.isfinite(search.predict_proba(rows)))


RELATIVE = {
    "shares": np.full(60, 1 / 60),
    "inverse variances": 1 / np.linspace(0.01, 0.1, 60) ** 2,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weights", RELATIVE.values(), ids=RELATIVE)
@pytest.mark.parametrize("name", TUNED)
def test_weights_that_count_no_rows_warn(name, weights):
    model = clone(TUNED[name])
    with pytest.warns(UserWarning, match="by their mean"):
        model.fit(X, target(model), weights)


@pytest.mark.parametrize(
    "weights",
    [np.full(60, 50.0), np.linspace(0.2, 3, 60), np.linspace(0.2, 3, 60).astype("f4")],
    ids=["counts", "about one", "single precision"],
)
def test_weights_that_count_rows_do_not_warn(weights):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NNGPRegressor().fit(X, Y, weights)
        NTKRegressor().fit(X, Y, weights / 60)  # whose fit has no evidence
