"""The search over scalings against GridSearchCV, and what it shares between them."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
)
from adaptive_kernels.kernels import NNGP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((14, 3))
X_NEW = RNG.standard_normal((5, 3))
Y2 = np.stack([X[:, 0] + np.sin(2 * X[:, 1]), X[:, 0] * X[:, 2]], axis=1)
Y2 += 0.2 * RNG.standard_normal(Y2.shape)
Y1 = Y2[:, 0]

KERNELS = {
    "linear": NNGP("identity", bias_variance=0),
    "erf": NNGP("erf", bias_variance=0),
}


def model(name, kernel, **parameters):
    fixed = {"width": 20.0, "alpha": 0.2, "optimizer": None}
    return AdaptiveKernelRegressor(kernel, approximation=name, **fixed | parameters)


def log_density(fitted, rows, targets):
    return np.mean(norm.logpdf(targets, *fitted.predict(rows, return_std=True)))


@pytest.mark.parametrize("optimizer", [None, "evidence"])
@pytest.mark.parametrize("kernel", ["linear", "erf"])
@pytest.mark.parametrize("name", ["tree", "rescaling"])
def test_search_over_scalings_equals_grid_search(name, kernel, optimizer):
    scalings, folds = (1, 3, 10), KFold(2)
    given = model(
        name, KERNELS[kernel], scale_noise=True, optimizer=optimizer, tol=1e-8
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = GridSearchCV(
            given, {"scaling": scalings}, scoring=log_density, cv=folds
        ).fit(X, Y1)
        ours = AdaptiveKernelRegressorCV(
            [KERNELS[kernel]],
            widths=(20.0,),
            scalings=scalings,
            covariance_types=("diag",),
            cv=folds,
            scale_noise=True,
            approximation=name,
            alpha=0.2,
            optimizer=optimizer,
            tol=1e-8,
        ).fit(X, Y1)
    assert [p["scaling"] for p in ours.cv_results_["params"]] == list(scalings)
    # Tuned to 1e-8 of a nat the optimum is known to its root.
    close = 1e-9 if optimizer is None else 1e-3
    for split in range(2):
        column = f"split{split}_test_score"
        scores = [found.cv_results_[column] for found in (ours, theirs)]
        assert_allclose(*scores, rtol=close, atol=close)
    assert ours.best_params_["scaling"] == theirs.best_params_["scaling"]
    best = ours.best_estimator_
    assert best.scale_noise and best.approximation == name
    assert best.scaling == ours.best_params_["scaling"]
    predictions = [m.predict(X_NEW) for m in (best, theirs)]
    assert_allclose(*predictions, rtol=close, atol=close)


def test_search_fits_once_per_width_and_fold(monkeypatch):
    fits, solved = [], []
    fit = AdaptiveKernelRegressor._solve
    at = AdaptiveKernelRegressor._at_scaling

    def counted_fit(self, rows, neighbour=None):
        if neighbour is None:
            fits.append((self.width, self.scaling, len(rows.data.X)))
        return fit(self, rows, neighbour)

    def counted_at(self, scaling):
        solved.append((self.width, scaling, len(self.X_train_)))
        return at(self, scaling)

    monkeypatch.setattr(AdaptiveKernelRegressor, "_solve", counted_fit)
    monkeypatch.setattr(AdaptiveKernelRegressor, "_at_scaling", counted_at)
    search = AdaptiveKernelRegressorCV(
        [NNGP("erf")],
        widths=(5, 20),
        scalings=(10, 1, 3),
        covariance_types=("diag",),
        cv=KFold(2),
        approximation="rescaling",
        optimizer=None,
    ).fit(X, Y1)
    chosen = {m.width: m for m in (*search.members_, search.best_estimator_)}
    assert sorted(w for w, _, n in fits if n == 14) == sorted(chosen)
    on_folds = sorted(fit for fit in fits if fit[2] == 7)
    assert on_folds == 2 * [(5, 1, 7)] + 2 * [(20, 1, 7)]
    expected = [(w, s, 7) for w in (5, 20) for s in (3, 10) for _ in range(2)]
    assert sorted(entry for entry in solved if entry[2] == 7) == expected


def test_infinite_width_is_the_gaussian_process_for_every_approximation():
    expected = NNGPRegressor(NNGP("erf"), alpha=0.1, optimizer=None).fit(X, Y1)
    for name in ("gaussian", "tree", "one_loop", "rescaling", "sampled"):
        model = AdaptiveKernelRegressor(
            NNGP("erf"), alpha=0.1, optimizer=None, width=np.inf, approximation=name
        ).fit(X, Y1)
        assert_allclose(model.predict(X), expected.predict(X), atol=1e-10)


def test_the_search_knows_which_theories_have_a_covariance_type():
    search = AdaptiveKernelRegressorCV(
        [NNGP("erf")], widths=(5, 50), approximation="rescaling", cv=2
    ).fit(X, Y1)
    assert set(search.cv_results_["param_covariance_type"]) == {"diag"}
