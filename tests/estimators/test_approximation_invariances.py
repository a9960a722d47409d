"""Approximations under repeated rows, linear maps of the inputs, units and scaling."""

import warnings

import numpy as np
import pytest
from _approximations import (
    COUNTS,
    DIAGONAL,
    GAUSSIAN,
    LINEAR,
    ROOT,
    ROWS,
    TIGHT,
    X_NEW,
    Y1,
    X,
    every,
    every_and_sampled,
    given,
    predictions,
    tuned,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from adaptive_kernels import NNGPRegressor
from adaptive_kernels.kernels import NNGP


@every_and_sampled
def test_weights_are_repeated_rows(name):
    kernel = LINEAR["linear with bias"]
    weighted, doubled = (
        given(name, kernel, **TIGHT if name in GAUSSIAN else {}) for _ in range(2)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        weighted.fit(X, Y1, COUNTS)
        # Copies that differ by rounding are not merged: another path to the same.
        shift = 1e-9 * np.random.default_rng(1).standard_normal((len(ROWS), 3))
        doubled.fit(X[ROWS] + shift, Y1[ROWS])
    # Sampled neurons differ by their random points only in the order of the rows.
    rtol = 0.01 if name == "sampled" else 1e-5
    assert len(weighted.X_train_) == 12 and len(doubled.X_train_) == len(ROWS)
    for model in (weighted, doubled):
        assert np.all(np.isfinite(predictions(model)))
    assert_allclose(predictions(weighted), predictions(doubled), rtol=rtol, atol=1e-4)
    evidences = [m.log_marginal_likelihood_value_ for m in (weighted, doubled)]
    assert_allclose(*evidences, rtol=rtol)
    dofs = [m.effective_dof_ for m in (weighted, doubled)]
    assert_allclose(*dofs, rtol=rtol)
    sigmas = [m.weight_covariance_ for m in (weighted, doubled)]
    assert_allclose(*sigmas, rtol=rtol, atol=1e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("root", [np.sqrt(DIAGONAL), ROOT], ids=["diagonal", "full"])
@pytest.mark.parametrize("activation", ["identity", "erf"])
@every_and_sampled
def test_metric_is_a_transformation_of_the_inputs(name, activation, root):
    if name == "exact" and activation == "erf":
        pytest.skip("exact is of linear networks")
    matrix = np.diag(root) if root.ndim == 1 else root
    metric = root**2 if root.ndim == 1 else root @ root.T
    full = {"covariance_type": "full", **TIGHT}
    ours = given(name, NNGP(activation, metric=metric), **full).fit(X, Y1)
    moved = given(name, NNGP(activation), **full).fit(X @ matrix, Y1)
    # A search in rotated coordinates ends within the root of rounding, and neurons
    # in rotated coordinates are other neurons.
    close = {**{n: 1e-5 for n in GAUSSIAN}, "sampled": 0.02}.get(name, 1e-10)
    expected = predictions(moved, X_NEW @ matrix)
    assert_allclose(predictions(ours), expected, rtol=close, atol=close)
    sigma = moved.weight_covariance_
    sigma = np.diag(sigma) if sigma.ndim == 1 else sigma
    found = ours.weight_covariance_
    found = np.diag(found) if found.ndim == 1 else found
    scale = np.max(np.abs(found))
    assert_allclose(found, matrix @ sigma @ matrix.T, atol=5 * close * scale)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every_and_sampled
def test_units_of_x_with_tuning(name):
    rows = np.random.default_rng(3).standard_normal((30, 3))
    targets = np.sin(rows[:, 0]) + 0.1 * np.random.default_rng(4).standard_normal(30)
    one, large = (tuned(name).fit(c * rows, targets) for c in (1, 1000))
    expected = predictions(one)
    # The search ends where rounding lets it: its own tolerance is 0.2 nats.
    assert_allclose(predictions(large, 1000 * X_NEW), expected, rtol=1e-4, atol=1e-5)
    sigma, shrunk = one.weight_covariance_, large.weight_covariance_
    close = 1e-3 * np.max(np.abs(sigma))
    assert_allclose(1e6 * shrunk, sigma, atol=close)


@pytest.mark.parametrize("scale_noise", [False, True])
@pytest.mark.parametrize("optimizer", ["evidence", None])
@every
def test_scaling_divides_variance_and_noise(name, optimizer, scale_noise):
    parameters = {"optimizer": optimizer, "alpha": 0.2, **TIGHT}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one = tuned(name, **parameters).fit(X, Y1)
        model = tuned(name, scaling=5, scale_noise=scale_noise, **parameters)
        model.fit(X, Y1)
        network = one.kernel_.get_params()
        network |= {"weight_variance": one.kernel_.weight_variance / 5, "metric": None}
        alpha = one.alpha_ / (5 if scale_noise else 1)
        by_hand = given(name, type(one.kernel_)(**network), alpha=alpha, **TIGHT)
        by_hand.fit(X, (Y1 - Y1.mean()) / Y1.std())
    assert_allclose(model.alpha_, alpha, rtol=1e-12)
    close = 1e-4 if name in GAUSSIAN else 1e-9
    mean, std = predictions(by_hand) * Y1.std()
    expected = [mean + Y1.mean(), std]
    assert_allclose(predictions(model), expected, rtol=close, atol=close)
    assert_allclose(model.scale_, by_hand.scale_, rtol=1e-9)
    assert np.max(np.abs(model.predict(X_NEW) - one.predict(X_NEW))) > 1e-3


@pytest.mark.parametrize("name", ["tree", "one_loop", "rescaling"])
def test_all_but_gaussian_take_the_nngp_hyperparameters(name):
    nngp = NNGPRegressor(NNGP("erf")).fit(X, Y1)
    model = tuned(name).fit(X, Y1)
    assert model.alpha_ == nngp.alpha_
    assert_array_equal(model.kernel_.theta, nngp.kernel_.theta)
