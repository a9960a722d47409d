"""Kernels in scikit-learn's estimators, and the errors that name what is wrong."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVC

from adaptive_kernels.kernels import NNGP, NTK

SETTINGS = dict(weight_variance=1.7, bias_variance=0.2, readout_variance=0.8)

rng = np.random.default_rng(0)
X = rng.standard_normal((70, 6))
Z = rng.standard_normal((11, 6))

X.flags.writeable = Z.flags.writeable = False  # so that no kernel can write to them

# --- in scikit-learn -----------------------------------------------------------------


def target(X):
    return np.sin(X[:, 0]) + X[:, 1] + 0.3 * X[:, 1] * X[:, 2]


@pytest.mark.parametrize(
    "kernel",
    [NNGP(), NTK("erf", depth=2), NNGP("rbf", bias_variance=0.0), 2.0 * NTK("gelu")],
    ids=str,
)
def test_gaussian_process_regressor(kernel):
    y = target(X) + 0.1 * np.random.default_rng(1).standard_normal(len(X))
    model = GaussianProcessRegressor(kernel, alpha=0.01)
    start = clone(model).set_params(optimizer=None).fit(X, y)
    model.fit(X, y)
    evidence = model.log_marginal_likelihood_value_
    assert evidence > start.log_marginal_likelihood_value_ + 1
    # At an optimum the gradient is small against that, unless a bound is in the way.
    value, gradient = model.log_marginal_likelihood(model.kernel_.theta, True)
    assert_allclose(value, evidence, rtol=1e-9)
    inside = np.all(np.abs(model.kernel_.theta[:, None] - model.kernel_.bounds) > 1, 1)
    assert np.abs(gradient[inside]).max() < 0.1
    mean, std = model.predict(Z, return_std=True)
    assert np.all(std > 0)
    assert np.mean((mean - target(Z)) ** 2) < 0.2 * np.var(target(Z))


@pytest.mark.parametrize("kernel", [NNGP(), NTK("erf", depth=3), NNGP() + NTK("gelu")])
def test_kernel_ridge(kernel):
    y = target(X)
    model = KernelRidge(kernel=kernel, alpha=0.1).fit(X, y)
    dual = np.linalg.solve(kernel(X) + 0.1 * np.eye(len(X)), y)
    assert_allclose(model.predict(Z), kernel(Z, X) @ dual, rtol=1e-9)


@pytest.mark.parametrize("kernel", [NTK(), 0.5 * NNGP("erf")])
def test_support_vector_classifier(kernel):
    y = target(X) > 0
    model = SVC(kernel=kernel, tol=1e-8).fit(X, y)
    precomputed = SVC(kernel="precomputed", tol=1e-8).fit(kernel(X), y)
    # The solver's tolerance, and a ReLU diagonal that SVC takes from kernel(X, X).
    truth = precomputed.decision_function(kernel(Z, X))
    assert_allclose(model.decision_function(Z), truth, atol=1e-5)


# --- errors --------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize(
    "parameter, value",
    [
        *[("activation", value) for value in ("nope", "Erf", None, 3, ["erf"])],
        *[("depth", value) for value in (0, -1, 1.5, "2", None)],
        *[
            (name, value)
            for name in SETTINGS
            for value in (-1.0, np.nan, np.inf, "1", None)
        ],
        *[
            ("metric", value)
            for value in (
                np.ones(3),
                np.eye(3),
                np.ones((6, 3)),
                np.ones((6, 6, 6)),
                np.float64(2.0),
                -np.ones(6),
                np.array([1.0, 1.0, 1.0, 1.0, 1.0, -1e-6]),
                np.diag([1.0, 1.0, 1.0, 1.0, 1.0, -1.0]),
                -np.eye(6),
                np.full(6, np.nan),
                np.full((6, 6), np.nan),
                np.diag([1.0, 1.0, 1.0, 1.0, 1.0, np.inf]),
                np.eye(6) + np.triu(np.ones((6, 6))),
                "full",
            )
        ],
    ],
)
def test_bad_parameters_are_named(cls, parameter, value):
    with pytest.raises(ValueError, match=rf"\b{parameter}\b"):
        cls(**{parameter: value})(X)
    with pytest.raises(ValueError, match=rf"\b{parameter}\b"):
        cls(**{parameter: value}).diag(X)


@pytest.mark.parametrize(
    "function",
    [
        math.tanh,
        lambda z: z if z > 0 else 0.0,
        lambda z: np.sum(z),
        lambda z: z[..., None],
        lambda z: np.where(z > 1, np.nan, z),
        lambda z: np.where(z > 1, np.inf, z),
        lambda z: 1j * z,
        lambda z: None,
        lambda: 0.0,
    ],
    ids=["scalar", "if", "sum", "shape", "nan", "inf", "complex", "None", "arguments"],
)
def test_bad_functions_are_named(function):
    # Whatever the function itself raises may be the cause, but the message is ours.
    with pytest.raises((TypeError, ValueError), match="activation"):
        NNGP(function)(X)


def test_tangent_kernel_of_a_step_is_refused():
    """E of a squared slope is infinite: its diagonal does not exist."""
    with pytest.raises(ValueError, match="activation"):
        NTK(np.sign)(X)


@pytest.mark.parametrize(
    "call",
    [
        lambda k: k(X[0]),
        lambda k: k(X, Z[0]),
        lambda k: k.diag(X[0]),
        lambda k: k(X[None]),
    ],
    ids=["X", "Y", "diag", "3-D"],
)
def test_inputs_are_two_dimensional(call):
    with pytest.raises(ValueError, match="2-D array"):
        call(NNGP())


@pytest.mark.parametrize("metric", [None, np.ones(6)])
def test_features_must_match(metric):
    with pytest.raises(ValueError, match="6 features.*3|3 features.*6"):
        NNGP(metric=metric)(X, Z[:, :3])
