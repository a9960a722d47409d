"""NNGPRegressor against scikit-learn's GaussianProcessRegressor and plain NumPy."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from _nngp import (
    ALPHA,
    COUNTS,
    KERNELS,
    RTOL,
    WEIGHTS,
    X_NEW,
    Y1,
    X,
    brute_force,
    fixed,
    make_data,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import WhiteKernel

from adaptive_kernels import AdaptiveKernelRegressor, NNGPRegressor
from adaptive_kernels.kernels import NNGP, NTK


def reference(kernel, **parameters):
    return GaussianProcessRegressor(
        clone(kernel), alpha=ALPHA, optimizer=None, **parameters
    )


@pytest.mark.parametrize("normalize_y", [True, False])
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("name", KERNELS)
def test_equals_scikit_learn_without_optimizer(name, outputs, normalize_y):
    _, Y = make_data(outputs=outputs)
    kernel = KERNELS[name]
    ours = fixed(kernel, normalize_y=normalize_y).fit(X, Y)
    theirs = reference(kernel, normalize_y=normalize_y).fit(X, Y)
    scale = np.std(Y, axis=0) if normalize_y else np.ones(Y.shape[1:])

    mean, std = theirs.predict(X_NEW, return_std=True)
    _, covariance = theirs.predict(X_NEW, return_cov=True)
    noise = ALPHA * scale**2
    assert_allclose(ours.predict(X_NEW), mean, rtol=RTOL)
    actual = ours.predict(X_NEW, return_std=True)
    assert_allclose(actual, (mean, np.sqrt(std**2 + noise)), rtol=RTOL)
    eye = np.eye(len(X_NEW)).reshape(7, 7, *[1] * (Y.ndim - 1))
    actual = ours.predict(X_NEW, return_cov=True)[1]
    assert_allclose(actual, covariance + noise * eye, rtol=RTOL, atol=1e-11)

    assert_allclose(
        ours.log_marginal_likelihood_value_,
        theirs.log_marginal_likelihood_value_,
        rtol=RTOL,
    )
    for theta in (None, ours.kernel_.theta + 0.3):
        at = theirs.kernel_.theta if theta is None else theta
        expected = theirs.log_marginal_likelihood(at, eval_gradient=True)
        value, gradient = ours.log_marginal_likelihood(theta, eval_gradient=True)
        assert_allclose(value, expected[0], rtol=RTOL)
        assert_allclose(gradient, expected[1], rtol=1e-7, atol=1e-8)
        assert_allclose(ours.log_marginal_likelihood(theta), expected[0], rtol=RTOL)


def test_activation_function():
    kernel = NNGP(np.tanh)
    actual = fixed(kernel, normalize_y=False).fit(X, Y1).predict(X_NEW, return_std=True)
    mean, variance, _ = brute_force(kernel, X, Y1, ALPHA, X_NEW)
    # The Hermite route interpolates coefficients on the variances present: to 1e-10.
    assert_allclose(actual, [mean, np.sqrt(variance + ALPHA)], rtol=1e-7)


@pytest.mark.filterwarnings("ignore:The optimal value found")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["erf", "relu2", "rbf", "ntk"])
def test_optimum_is_as_good_as_scikit_learns(name, weighted):
    kernel, counts = KERNELS[name], COUNTS if weighted else np.ones(40, int)
    rows = np.repeat(np.arange(40), counts)
    # Our regressors count X from its mean, in the kernel's origin, and below depth 1
    # bring it to unit mean square, in the kernel's metric.
    inputs = X - X[rows].mean(axis=0)
    if kernel.depth > 1:
        inputs /= np.sqrt(np.mean(inputs[rows] ** 2))
    theirs = GaussianProcessRegressor(
        kernel + WhiteKernel(ALPHA), alpha=0, normalize_y=True
    ).fit(inputs[rows], Y1[rows])
    ours = NNGPRegressor(kernel, alpha=ALPHA).fit(inputs, Y1, counts)
    value = ours.log_marginal_likelihood_value_
    # An earlier start is kept unless a later one gains 0.01 per observation.
    assert value > theirs.log_marginal_likelihood_value_ - 0.01 * counts.sum()
    theta = [*ours.kernel_.theta, np.log(ours.alpha_)]
    assert_allclose(value, theirs.log_marginal_likelihood(theta), rtol=1e-8)


def test_fixed_bounds_and_zero_variances_stay():
    kernel = NNGP("erf", bias_variance=0, weight_variance_bounds="fixed")
    fitted = NNGPRegressor(kernel).fit(X, Y1).kernel_
    assert (fitted.bias_variance, fitted.weight_variance) == (0, 1)
    assert fitted.readout_variance != 1


def test_outputs_share_nothing_but_hyperparameters():
    _, Y = make_data(outputs=2)
    both = fixed(NNGP("erf")).fit(X, Y).predict(X_NEW, return_std=True)
    for c in range(2):
        one = fixed(NNGP("erf")).fit(X, Y[:, c]).predict(X_NEW, return_std=True)
        assert_allclose([a[:, c] for a in both], one, rtol=RTOL)


def test_noise_of_the_data_is_found():
    rng = np.random.default_rng(4)
    x = rng.uniform(-1, 1, (400, 1))
    y = 50 * (np.sin(2 * x[:, 0]) + 0.1 * rng.standard_normal(400))
    _, std = NNGPRegressor().fit(x, y).predict(x, return_std=True)
    # A standard deviation from 400 draws has a relative standard error of 3.5 %.
    assert_allclose(std, 5, rtol=4 * 0.035)


@pytest.mark.parametrize("normalize_y", [True, False])
def test_units_of_y(normalize_y):
    small = NNGPRegressor(normalize_y=normalize_y).fit(X, Y1)
    large = NNGPRegressor(normalize_y=normalize_y).fit(X, 1000 * Y1)
    expected = 1000 * np.array(small.predict(X_NEW, return_std=True))
    # Rounding of 1000 y, carried along by the optimizer.
    assert_allclose(large.predict(X_NEW, return_std=True), expected, rtol=1e-6)


@pytest.mark.parametrize("depth", [1, 2])
def test_units_of_x(depth):
    kernel = NNGP("erf", depth=depth)
    small, large = (NNGPRegressor(kernel).fit(c * X, Y1) for c in (1, 1000))
    assert_allclose(small.predict(X_NEW), large.predict(1000 * X_NEW), rtol=1e-6)


@pytest.mark.parametrize("outputs", [1, 2])
def test_samples_have_the_predicted_moments(outputs):
    _, Y = make_data(outputs=outputs)
    n = 4000
    draws = fixed(NNGP("erf")).fit(X, Y).sample_y(X_NEW, n, random_state=3)
    assert draws.shape == (7, n) if outputs == 1 else (7, 2, n)
    model = reference(NNGP("erf"), normalize_y=True).fit(X, Y)
    mean, covariance = model.predict(X_NEW, return_cov=True)
    shape = 7, outputs
    draws, mean = draws.reshape(*shape, n), mean.reshape(shape)
    covariance, scale = covariance.reshape(7, *shape), np.std(Y, axis=0).reshape(-1)
    for c in range(outputs):
        expected = covariance[..., c] + ALPHA * scale[c] ** 2 * np.eye(7)
        variances = np.diag(expected)
        # 4.5 standard errors, for 35 numbers per output.
        error = 4.5 * np.sqrt(variances / n)
        assert np.all(np.abs(draws[:, c].mean(axis=1) - mean[:, c]) < error)
        error = 4.5 * np.sqrt((expected**2 + np.outer(variances, variances)) / n)
        assert np.all(np.abs(np.cov(draws[:, c]) - expected) < error)


def test_samples_follow_random_state():
    model = fixed(None).fit(X, Y1)
    assert_array_equal(model.sample_y(X, 2), model.sample_y(X, 2, random_state=0))
    assert np.any(model.sample_y(X) != model.sample_y(X, random_state=1))


@pytest.mark.parametrize("outputs", [1, 2])
def test_leave_one_out_equals_refits(outputs):
    _, Y = make_data(outputs=outputs)
    model = fixed(NNGP("relu"), normalize_y=False).fit(X, Y)
    means, stds = model.leave_one_out_predict(return_std=True)
    assert_array_equal(model.leave_one_out_predict(), means)
    assert means.shape == stds.shape == Y.shape
    for i in range(40):
        rest = np.arange(40) != i
        theirs = reference(NNGP("relu")).fit(X[rest], Y[rest])
        mean, std = theirs.predict(X[[i]], return_std=True)
        assert_allclose(means[i], mean[0], rtol=1e-8, atol=1e-10)
        assert_allclose(stds[i], np.sqrt(std[0] ** 2 + ALPHA), rtol=1e-8)


@pytest.mark.parametrize("case", ["repeated", "weighted"])
def test_leave_one_out_of_repeated_or_weighted_rows(case):
    rows = np.arange(40) // 2 if case == "repeated" else np.arange(40)
    weights = np.ones(40) if case == "repeated" else WEIGHTS
    inputs, targets, kernel = X[rows], Y1[rows], NNGP("erf")
    model = fixed(kernel, normalize_y=False).fit(inputs, targets, weights)
    expected = []
    for i in range(40):
        rest = rows != rows[i]
        noise = ALPHA / weights[rest]
        fit = brute_force(kernel, inputs[rest], targets[rest], noise, inputs[[i]])
        expected.append((fit[0][0], np.sqrt(fit[1][0] + ALPHA)))
    means, stds = model.leave_one_out_predict(return_std=True)
    assert_allclose(means, [mean for mean, _ in expected], rtol=1e-8)
    # As everywhere, the spread is that of a new observation, of weight one.
    assert_allclose(stds, [std for _, std in expected], rtol=1e-8)


def test_prediction_is_streamed():
    rng = np.random.default_rng(0)
    rows, targets = rng.standard_normal((3000, 2)), rng.standard_normal(3000)
    model = fixed(NNGP("erf")).fit(rows, targets)
    tracemalloc.start()
    model.predict(rows + 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The whole kernel would take 72 MB; a block of it, features and result take 3.
    assert peak < 8e6


def test_std_and_covariance_together_are_refused():
    with pytest.raises(RuntimeError, match="return_std or for return_cov"):
        fixed(None).fit(X, Y1).predict(X, return_std=True, return_cov=True)


def test_float32_input_is_computed_in_double_precision():
    low = X.astype(np.float32), Y1.astype(np.float32)
    double = [a.astype(float) for a in low]
    models = [NNGPRegressor().fit(*data) for data in (low, double)]
    predictions = [m.predict(low[0], return_std=True) for m in models]
    assert_array_equal(*predictions)


def test_names_of_a_data_frame():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = NNGPRegressor().fit(frame, pd.Series(Y1))
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    assert_array_equal(model.predict(frame), NNGPRegressor().fit(X, Y1).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c"]])


@pytest.mark.parametrize("kernel", [NTK("relu", depth=2), NNGP(np.tanh)], ids=repr)
def test_pickle(kernel):
    model = fixed(kernel).fit(X, Y1)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.predict(X), model.predict(X))
    assert_array_equal(loaded.leave_one_out_predict(), model.leave_one_out_predict())


def test_clone():
    model = fixed(NTK("relu", depth=2)).fit(X, Y1)
    again = clone(model)
    assert not hasattr(again, "kernel_")
    assert_array_equal(again.fit(X, Y1).predict(X), model.predict(X))


def test_random_starts_find_what_fixed_starts_miss():
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (300, 1))
    wave = x, np.sin(400 * x[:, 0]) + 0.1 * rng.standard_normal(300)
    few, many, same = (
        NNGPRegressor(NNGP("rbf"), n_restarts_optimizer=n, random_state=0).fit(*wave)
        for n in (0, 10, 10)
    )
    gain = many.log_marginal_likelihood_value_ - few.log_marginal_likelihood_value_
    assert gain > 20
    assert_array_equal(many.dual_coef_, same.dual_coef_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("unit", [0.01, 1.0, 100.0])
@pytest.mark.parametrize(
    "model",
    [
        NNGPRegressor(),
        NNGPRegressor(normalize_y=False),
        NNGPRegressor(n_inducing=30),
        AdaptiveKernelRegressor(),
        AdaptiveKernelRegressor(width=10, covariance_type="full"),
    ],
    ids=lambda model: f"{type(model).__name__}-{model.n_inducing}-{model.normalize_y}",
)
def test_bounds_of_the_user_hold_in_units_of_the_user(model, unit, depth):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((60, 3))
    bounds = {
        "weight_variance": (0.5 / unit**2, 0.6 / unit**2),
        "bias_variance": (0.3, 0.4),
        "readout_variance": (2.0, 2.5),
    }
    given = {f"{name}_bounds": pair for name, pair in bounds.items()}
    kernel = NNGP("erf", depth=depth, **given)
    fitted = clone(model).set_params(kernel=kernel)
    fitted.fit(unit * rows, 3 * np.sin(rows[:, 0]))
    for name, (low, high) in bounds.items():
        found = getattr(fitted.kernel_, name)
        assert low * (1 - 1e-9) <= found <= high * (1 + 1e-9), name
