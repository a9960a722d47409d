"""Approximations: those that are refused, extremes, no noise, pickles and copies."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from _approximations import (
    GAUSSIAN,
    LINEAR,
    X_NEW,
    Y1,
    Y2,
    X,
    every,
    every_and_sampled,
    given,
    predictions,
)
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from adaptive_kernels import AdaptiveKernelRegressor
from adaptive_kernels.datasets import make_ising
from adaptive_kernels.estimators import finite_width
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.theory.finite_width import sequential_monte_carlo


def test_broken_one_loop_warns_and_rescales():
    rows, targets = make_ising(80, 100, random_state=0)
    kernel = NNGP("identity", bias_variance=0)
    parameters = {"width": 40, "alpha": 0.05}
    # Many more degrees of freedom than units: acceptance case 6.
    with pytest.warns(ConvergenceWarning, match="1.8 times the width.*raise width"):
        model = given("one_loop", kernel, **parameters).fit(rows, targets)
    saddle = given("rescaling", kernel, **parameters).fit(rows, targets)
    assert model.scale_ == saddle.scale_
    assert_array_equal(predictions(model, rows), predictions(saddle, rows))


def no_tuning(*args, **kwargs):
    raise AssertionError("the fit went on to the tuning")


OTHER = {"exact": "rescaling", "one_loop": "rescaling", "sampled": "rescaling"}
REFUSED = [
    ("exact", NNGP("erf"), Y1, "approximation='exact' needs.*'rescaling' or 'sampled'"),
    ("exact", NNGP("relu"), Y1, "approximation='exact' needs.*activation='identity'"),
    *(
        (a, NNGP("identity"), Y2, f"{a}.*one output, got 2: take.*one by one")
        for a in OTHER
    ),
    *(
        (a, NNGP("identity", depth=2), Y1, f"{a}.*got depth=2: take.*or depth=1")
        for a in ("tree", *OTHER)
        if a != "rescaling"
    ),
    *(
        (a, NTK("identity"), Y1, f"approximation='{a}'.*NNGP: take that instead of NTK")
        for a in ("tree", "rescaling", *OTHER)
    ),
    ("rescaling", NNGP("erf", depth=2), Y2, "depth=2 has one output.*depth=1"),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "kernel", "targets", "message"), REFUSED)
def test_theories_that_do_not_exist(monkeypatch, name, kernel, targets, message):
    for function in ("tune_isotropic", "tune_covariance", "warm_start"):
        monkeypatch.setattr(finite_width, function, no_tuning)
    with pytest.raises(ValueError, match=message):
        AdaptiveKernelRegressor(kernel, approximation=name).fit(X, targets)


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_scale_noise_is_a_bool(value):
    with pytest.raises(ValueError, match="'scale_noise'.*bool"):
        given("tree", scale_noise=value).fit(X, Y1)


@every
def test_a_failed_fit_changes_nothing(name):
    model = given(name).fit(X, Y1)
    before, expected = dict(vars(model)), predictions(model)
    with pytest.raises(ValueError):
        model.set_params(approximation="exact", kernel=NNGP("erf")).fit(X, Y1)
    model.set_params(approximation=name, kernel=before["kernel"])
    assert vars(model) == before
    assert_array_equal(predictions(model), expected)


@every_and_sampled
def test_pickle_clone_float32_and_frames(name):
    model = given(name, LINEAR["linear with bias"]).fit(X, Y1)
    expected = predictions(model)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(predictions(again), expected)
    assert again.effective_dof_ == model.effective_dof_
    assert_array_equal(predictions(clone(model).fit(X, Y1)), expected)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    other = clone(model).fit(frame, pd.Series(Y1))
    new = pd.DataFrame(X_NEW, columns=["a", "b", "c"])
    assert_array_equal(predictions(other, new), expected)
    single = [a.astype(np.float32) for a in (X, Y1, X_NEW)]
    double = [a.astype(np.float64) for a in single]
    results = [predictions(clone(model).fit(*a[:2]), a[2]) for a in (single, double)]
    assert_array_equal(*results)
    assert results[0].dtype == np.float64


@every_and_sampled
def test_evidence_is_one_function_of_the_variances(name):
    model = given(name, LINEAR["linear with bias"], scaling=2, scale_noise=True)
    model.fit(X, Y1)
    value = model.log_marginal_likelihood_value_
    again = model.log_marginal_likelihood(model.kernel_.theta)
    assert_allclose(again, value, rtol=1e-9)
    if name != "gaussian" and name != "gaussian_tree":
        theta = model.kernel_.theta + 0.1
        other = given(name, model.kernel_.clone_with_theta(theta), alpha=model.alpha_)
        expected = other.fit(X, Y1).log_marginal_likelihood_value_
        assert_allclose(model.log_marginal_likelihood(theta), expected, rtol=1e-9)


EXTREMES = {
    "one row": {"n": 1},
    "two rows": {"n": 2},
    "zero targets": {"y": 0.0},
    "constant targets": {"y": 3.0},
    "little noise": {"alpha": 1e-10},
    "width below rows": {"width": 4},
    "width 0.1": {"width": 0.1},
    "huge width": {"width": 1e12},
    "scaling 1e6": {"scaling": 1e6},
    "scaling 1e6 with noise": {"scaling": 1e6, "scale_noise": True},
    "scaling 1e-6": {"scaling": 1e-6},
    "rows repeated": {"rows": np.zeros(12, int)},
    "constant columns": {"x": (1.0, 0.0, 0.0)},
    "zero inputs": {"x": (0.0, 0.0, 0.0)},
    "no weight variance": {"weight": 0.0},
}


# A warning is an answer too; wrong or infinite numbers are not.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("bias", [0.0, 0.2])
@pytest.mark.parametrize("tuning", ["evidence", None])
@pytest.mark.parametrize("case", EXTREMES)
@every_and_sampled
def test_extremes_are_finite(monkeypatch, name, case, tuning, bias):
    if name == "sampled" and (tuning or bias):
        pytest.skip("takes minutes, and the data are as extreme without")
    monkeypatch.setattr(sequential_monte_carlo, "MAX_STAGES", 10)
    case = dict(EXTREMES[case])
    rows = X[case.pop("rows", np.arange(12))][: case.get("n", 12)]
    rows = rows * np.array(case.pop("x", (1, 1, 1)))
    targets = Y1[: case.pop("n", 12)]
    if "y" in case:
        targets = np.full(len(targets), case.pop("y"))
    weight = case.pop("weight", 1.0)
    activation = "identity" if name == "exact" else "erf"
    kernel = NNGP(activation, bias_variance=bias, weight_variance=weight)
    model = given(name, kernel, **case | {"optimizer": tuning, "normalize_y": True})
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model.fit(rows, targets)
        mean, std = predictions(model)
        loo = model.leave_one_out_predict(return_std=True)
        covariance = model.predict(X_NEW, return_cov=True)[1]
    numbers = mean, std, covariance, *loo, model.scale_, model.effective_dof_
    for value in (*numbers, model.log_marginal_likelihood_value_):
        assert np.all(np.isfinite(value))
    assert np.all(std > 0)
    sigma = model.weight_covariance_
    assert np.all(np.isfinite(sigma))
    values = sigma if sigma.ndim == 1 else np.linalg.eigvalsh(sigma)
    assert np.all(values >= -1e-12 * np.max(np.abs(values)))
    if np.ptp(targets) == 0:
        assert_allclose(mean, targets[0], atol=1e-12)


@every
def test_no_noise_interpolates(name):
    kernel = NNGP("identity") if name == "exact" else NNGP("erf")
    rows = slice(0, 4 if name == "exact" else 12)
    model = given(name, kernel, alpha=0.0, width=100).fit(X[rows], Y1[rows])
    assert_allclose(model.predict(X[rows]), Y1[rows], atol=1e-6)


@every
def test_no_noise_and_a_singular_kernel(name):
    kernel = NNGP("identity")
    error = np.linalg.LinAlgError if name in GAUSSIAN else ValueError
    with pytest.raises(error, match="raise alpha"):
        given(name, kernel, alpha=0.0).fit(X, Y1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("width", [1, 100])
@every
def test_no_noise_and_nothing_to_learn(name, width):
    rows = X[:4]
    model = given(name, NNGP("identity"), alpha=0.0, width=width)
    # Below the rows in number the scale of a network of no noise and no signal has
    # no posterior: it falls to zero.
    try:
        model.fit(rows, np.zeros(4))
    except ValueError as error:
        assert "alpha" in str(error)
    else:
        assert_allclose(model.predict(X_NEW), 0, atol=1e-12)
