"""Sample weights of NNGPRegressor: repeated rows, precisions, routed metadata."""

import numpy as np
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
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptive_kernels import NNGPRegressor
from adaptive_kernels.kernels import NNGP


def test_fit_does_not_change_the_given_kernel():
    kernel = NNGP("erf")
    NNGPRegressor(kernel).fit(X, Y1)
    assert kernel == NNGP("erf")


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("name", ["erf", "relu2", "ntk"])
def test_integer_weights_are_repeated_rows(name, repeated):
    kernel, rows = KERNELS[name], np.repeat(np.arange(40), COUNTS)
    model = fixed(kernel)
    model.fit(X[rows], Y1[rows]) if repeated else model.fit(X, Y1, COUNTS)
    centre, scale = np.mean(Y1[rows]), np.std(Y1[rows])
    mean, variance, evidence = brute_force(
        kernel, X[rows], (Y1[rows] - centre) / scale, ALPHA, X_NEW
    )
    actual = model.predict(X_NEW, return_std=True)
    assert_allclose(actual[0], centre + scale * mean, rtol=RTOL)
    assert_allclose(actual[1], scale * np.sqrt(variance + ALPHA), rtol=RTOL)
    assert_allclose(model.log_marginal_likelihood_value_, evidence, rtol=RTOL)


def test_weights_are_precisions_of_the_noise():
    kernel = NNGP("erf")
    model = fixed(kernel).fit(X, Y1, WEIGHTS)
    centre = np.average(Y1, weights=WEIGHTS)
    scale = np.sqrt(np.average((Y1 - centre) ** 2, weights=WEIGHTS))
    mean, variance, evidence = brute_force(
        kernel, X, (Y1 - centre) / scale, ALPHA / WEIGHTS, X_NEW
    )
    actual = model.predict(X_NEW, return_std=True)
    assert_allclose(actual[0], centre + scale * mean, rtol=RTOL)
    assert_allclose(actual[1], scale * np.sqrt(variance + ALPHA), rtol=RTOL)
    excess = np.sum((WEIGHTS - 1) * np.log(2 * np.pi * ALPHA) + np.log(WEIGHTS))
    assert_allclose(
        model.log_marginal_likelihood_value_, evidence - 0.5 * excess, rtol=RTOL
    )


def same_fit(a, b, rtol=0.0):
    assert_allclose(a.alpha_, b.alpha_, rtol=rtol)
    values = [m.log_marginal_likelihood_value_ for m in (a, b)]
    assert_allclose(*values, rtol=rtol)
    assert_allclose(*[m.predict(X_NEW, return_std=True) for m in (a, b)], rtol=rtol)


def test_weight_zero_removes_the_row():
    weights = np.where(np.arange(40) < 30, 1.0, 0.0)
    poisoned = np.where(weights > 0, Y1, 1e3)
    model = NNGPRegressor().fit(X, poisoned, weights)
    same_fit(model, NNGPRegressor().fit(X[:30], Y1[:30]))
    assert model.leave_one_out_predict().shape == (30,)


@pytest.mark.parametrize("weights", [None, COUNTS, WEIGHTS])
def test_order_of_the_rows_does_not_matter(weights):
    order = np.random.default_rng(1).permutation(40)
    shuffled = None if weights is None else weights[order]
    a = NNGPRegressor().fit(X, Y1, weights)
    b = NNGPRegressor().fit(X[order], Y1[order], shuffled)
    same_fit(a, b)
    assert_array_equal(a.leave_one_out_predict()[order], b.leave_one_out_predict())


def test_unit_weights_are_no_weights():
    same_fit(NNGPRegressor().fit(X, Y1, np.ones(40)), NNGPRegressor().fit(X, Y1))


@config_context(enable_metadata_routing=True)
def test_weights_are_routed_through_a_pipeline():
    model = fixed(NNGP("erf")).set_fit_request(sample_weight=True)
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    pipeline = make_pipeline(scaler, model).fit(X, Y1, sample_weight=WEIGHTS)
    scaled = StandardScaler().fit(X)
    direct = fixed(NNGP("erf")).fit(scaled.transform(X), Y1, WEIGHTS)
    expected = direct.predict(scaled.transform(X_NEW))
    assert_array_equal(pipeline.predict(X_NEW), expected)


@config_context(enable_metadata_routing=True)
def test_weights_are_routed_through_a_grid_search():
    model = fixed(NNGP("erf"))
    model.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    search = GridSearchCV(model, {"alpha": [0.01, 0.3]}, cv=KFold(3))
    search.fit(X, Y1, sample_weight=WEIGHTS)
    scores = []
    for train, test in KFold(3).split(X):
        one = fixed(NNGP("erf")).set_params(alpha=0.3)
        one.fit(X[train], Y1[train], WEIGHTS[train])
        scores.append(one.score(X[test], Y1[test], WEIGHTS[test]))
    assert_allclose(search.cv_results_["mean_test_score"][1], np.mean(scores))
