"""ModifiedSpectrumRegressor against linear solves, filters and brute force."""

import pickle
import warnings
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import RBF
from sklearn.utils.estimator_checks import parametrize_with_checks

from adaptive_kernels._arrays import memory
from adaptive_kernels.estimators import modified_spectrum
from adaptive_kernels.estimators.modified_spectrum import ModifiedSpectrumRegressor
from adaptive_kernels.kernels import NTK
from adaptive_kernels.kernels._eigenpairs import nystrom_eigenpairs
from adaptive_kernels.kernels._spectrum import ModifiedSpectrum
from adaptive_kernels.theory.kernel_regression.preconditioned_descent import (
    Preconditioner,
    kernel_gradient_descent,
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3))
X_NEW = RNG.standard_normal((8, 3))
Y2 = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], 50 * X[:, 0] * X[:, 1]], axis=1)
Y2 += [0.1, 5] * RNG.standard_normal((60, 2))
Y1 = Y2[:, 0]
TIGHT = {"tol": 1e-10, "max_iter": 100_000}


def regressor(**parameters):
    return ModifiedSpectrumRegressor(**({"n_components": 10} | parameters))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:sample_weight sums")
@pytest.mark.contract
@parametrize_with_checks(
    [ModifiedSpectrumRegressor(), ModifiedSpectrumRegressor(spectrum="cv")]
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("Y", [Y1, Y2], ids=["single", "multi"])
@pytest.mark.parametrize("normalize_y", [True, False])
@pytest.mark.parametrize("kernel", [None, NTK("erf", depth=2), RBF(2.0)])
def test_converged_descent_is_ridge_regression(Y, normalize_y, kernel):
    model = regressor(kernel=kernel, normalize_y=normalize_y, alpha=0.3, **TIGHT)
    model.fit(X, Y)
    kernel = NTK("relu") if kernel is None else kernel
    mean, scale = (Y.mean(axis=0), Y.std(axis=0)) if normalize_y else (0.0, 1.0)
    dual = np.linalg.solve(kernel(X) + 0.3 * np.eye(60), (Y - mean) / scale)
    expected = kernel(X_NEW, X) @ dual * scale + mean
    assert_allclose(model.predict(X_NEW), expected, rtol=1e-7)
    assert_allclose(model.dual_coef_.reshape(Y.shape), dual, rtol=1e-6, atol=1e-8)
    assert_array_equal(model.X_train_, X)
    assert_allclose(
        model.eigenvalues_, np.linalg.eigvalsh(kernel(X))[:-11:-1], rtol=1e-10
    )
    assert model.predict(X_NEW).shape == (8, *Y.shape[1:])


SPECTRA = ["flat", "identity", 0.5, lambda share: 0.1 * share**0.5]


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_spectrum_changes_the_path_and_not_its_end(spectrum):
    expected = regressor(**TIGHT).fit(X, Y1).predict(X_NEW)
    model = regressor(spectrum=spectrum, **TIGHT).fit(X, Y1)
    assert_allclose(model.predict(X_NEW), expected, rtol=1e-7)
    assert model.spectrum_ is spectrum


@pytest.mark.parametrize("n_components", [3, 60])
@pytest.mark.parametrize("n_iter", [1, 20])
def test_early_stop_is_a_filter(n_components, n_iter):
    """Mode i of the fit is l / (l + alpha) [1 - (1 - step g)^t] of that of y."""
    model = regressor(
        n_components=n_components, max_iter=n_iter, tol=0, normalize_y=False
    ).fit(X, Y1)
    values, vectors = np.linalg.eigh(NTK("relu")(X))
    shifted = values + 0.1
    modified = np.minimum(shifted, shifted[-n_components])
    rate = modified / modified.max()
    share = values / shifted * (1 - (1 - rate) ** n_iter)
    expected = vectors @ (share * (vectors.T @ Y1))
    assert_allclose(model.predict(X), expected, rtol=1e-6, atol=1e-8)
    residual = np.linalg.norm((1 - rate) ** n_iter * (vectors.T @ Y1))
    assert_allclose(
        model.residual_curve_[-1], residual / np.linalg.norm(Y1), atol=1e-10
    )
    assert model.n_iter_ == n_iter == len(model.residual_curve_) - 1


def test_preconditioning_saves_iterations():
    """At a rate of one in alpha the last modes take ln(1e3) l / alpha iterations."""
    n_iter = [
        regressor(spectrum=spectrum, max_iter=10**5).fit(X, Y1).n_iter_
        for spectrum in ("flat", 0.5, "identity")
    ]
    assert n_iter[0] < n_iter[1] < n_iter[2]
    assert n_iter[2] > 10 * n_iter[0]


def brute_force_score(n_components, exponent, n_iter, targets):
    """n |y - H y|^2 / tr(I - H)^2, with H from descents on all unit vectors."""
    K = NTK("relu")(X)
    S = Preconditioner.of_kernel(K, n_components, spectrum=exponent, ridge=0.1)
    run = kernel_gradient_descent(
        K, np.eye(60), preconditioner=S, ridge=0.1, tol=0, max_iter=n_iter
    )
    left = np.eye(60) - K @ run.dual_coef
    return 60 * np.sum((left @ targets) ** 2) / np.trace(left) ** 2


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_cross_validation_finds_the_least_score(noise):
    signal = np.stack([np.sin(2 * X[:, 0]), X[:, 0] * X[:, 1]], axis=1)
    Y = signal + noise * np.random.default_rng(1).standard_normal((60, 2))
    targets = (Y - Y.mean(axis=0)) / Y.std(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = regressor(spectrum="cv", max_iter=12).fit(X, Y)
    scores = {
        (exponent, n_iter): brute_force_score(10, exponent, n_iter, targets)
        for exponent in (0.0, 0.25, 0.5, 0.75, 1.0)
        for n_iter in range(1, 13)
    }
    assert (model.spectrum_, model.n_iter_) == min(scores, key=scores.get)


def test_cross_validation_stops_early_on_noise():
    """It is not far from the best stop of all, which needs the truth to be known."""
    rng = np.random.default_rng(2)
    rows, at = rng.standard_normal((2, 300, 3))
    truth, noisy = np.sin(at[:, 0]), np.sin(rows[:, 0]) + rng.standard_normal(300)

    def error(model):
        return np.mean((model.fit(rows, noisy).predict(at) - truth) ** 2)

    stopped = error(regressor(spectrum="cv", alpha=1e-3, max_iter=300))
    oracle = min(
        error(regressor(spectrum=exponent, alpha=1e-3, tol=0, max_iter=n_iter))
        for exponent in (0.0, 0.5, 1.0)
        for n_iter in (1, 3, 10, 30, 100, 300)
    )
    late = error(regressor(alpha=1e-3, tol=0, max_iter=300))
    assert stopped < 2 * oracle
    assert stopped < late / 2


def test_cross_validation_of_constant_targets():
    model = regressor(spectrum="cv").fit(X, np.full(60, 3.0))
    assert_allclose(model.predict(X_NEW), 3.0)


def test_cross_validation_without_noise():
    """Interpolation leaves no freedom to judge by, and is not divided by."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = regressor(spectrum="cv", alpha=0, n_components=60, max_iter=100)
        model.fit(X, Y1)
    assert np.isfinite(model.predict(X_NEW)).all()


def test_many_rows_are_fitted_in_blocks(monkeypatch):
    rows = np.random.default_rng(4).standard_normal((200, 3))
    y = np.sin(2 * rows[:, 0])
    whole = regressor(**TIGHT).fit(rows, y)
    monkeypatch.setattr(modified_spectrum, "_DENSE_ROWS", 100)
    monkeypatch.setattr(memory, "free_bytes", lambda like: 1000)
    subsampled = partial(nystrom_eigenpairs, n_subsample=80)
    monkeypatch.setattr(modified_spectrum, "nystrom_eigenpairs", subsampled)
    blocks = regressor(random_state=0, **TIGHT).fit(rows, y)
    assert_allclose(blocks.predict(X_NEW), whole.predict(X_NEW), rtol=1e-7)
    assert_allclose(blocks.eigenvalues_, whole.eigenvalues_, rtol=0.05)
    assert_allclose(blocks.n_iter_, whole.n_iter_, rtol=0.05)
    with pytest.raises(ValueError, match="spectrum='cv'"):
        regressor(spectrum="cv").fit(rows, y)


def test_matrix_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda like: 3 * 8 * 60**2 - 1)
    monkeypatch.setattr(NTK, "__call__", None)
    model = regressor()
    with pytest.raises(MemoryError, match="60 rows"):
        model.fit(X, Y1)
    assert vars(model) == vars(regressor())


def test_warning_names_the_cure_at_the_place():
    with pytest.warns(ConvergenceWarning, match="raise max_iter.*tol=0") as record:
        regressor(max_iter=2).fit(X, Y1)
    assert record[0].filename == __file__
    with pytest.warns(ConvergenceWarning, match="max_iter=1 or later: raise it"):
        regressor(spectrum="cv", max_iter=1).fit(X, Y1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regressor(alpha=0, tol=0, max_iter=2).fit(X, Y1)


def test_growing_residual_warns(monkeypatch):
    monkeypatch.setattr(Preconditioner, "step_size", 10.0)
    with pytest.warns(ConvergenceWarning, match="residual grows"):
        regressor(tol=0).fit(X, Y1)


@pytest.mark.parametrize(
    "parameters",
    [
        {"spectrum": "steep"},
        {"spectrum": np.nan},
        {"spectrum": lambda share: 0 * share},
        {"n_components": 0},
        {"alpha": -1.0},
        {"tol": 1.0},
        {"device": "tpu"},
        {"kernel": "relu"},
    ],
    ids=lambda parameters: next(iter(parameters)),
)
def test_unusable_parameter_is_named(parameters):
    (name,) = parameters
    model = regressor(**parameters)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=name):
        model.fit(X, Y1)
    assert vars(model) == before


def test_kernel_with_amodified_spectrum_predicts_otherwise():
    kernel = ModifiedSpectrum(NTK("relu"), X, n_components=5)
    model = regressor(kernel=kernel, alpha=0.3, normalize_y=False, **TIGHT).fit(X, Y1)
    dual = np.linalg.solve(kernel(X) + 0.3 * np.eye(60), Y1)
    assert_allclose(model.predict(X_NEW), kernel(X_NEW, X) @ dual, rtol=1e-6)
    plain = regressor(alpha=0.3, normalize_y=False, **TIGHT).fit(X, Y1)
    assert np.max(np.abs(plain.predict(X_NEW) - model.predict(X_NEW))) > 0.01


def test_pickled_model_predicts_the_same():
    model = regressor().fit(X, Y2)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X_NEW), model.predict(X_NEW))
    assert_array_equal(again.residual_curve_, model.residual_curve_)
