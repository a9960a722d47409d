"""Matrices that do not fit are refused before any work, and the cure is named."""

import numpy as np
import pytest

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPClassifier,
    NNGPRegressor,
    NTKRegressor,
)
from adaptive_kernels._arrays import memory
from adaptive_kernels.kernels import NNGP

rng = np.random.default_rng(0)
WIDE = rng.standard_normal((20, 100))
X = rng.standard_normal((20, 2))
Y = X[:, 0] + 0.1 * rng.standard_normal(20)
FULL = {
    "fit": AdaptiveKernelRegressor(covariance_type="full", max_iter=3),
    "streamed": AdaptiveKernelRegressor(
        covariance_type="full", n_inducing=2, max_iter=3
    ),
    "classes": AdaptiveKernelClassifier(covariance_type="full", max_iter=3),
    "search": AdaptiveKernelRegressorCV(max_iter=3, cv=2),
    "search of classes": AdaptiveKernelClassifierCV(max_iter=3, cv=2),
}
JOINT = {
    "nngp": NNGPRegressor(),
    "inducing points": NNGPRegressor(n_inducing=5),
    "search": AdaptiveKernelRegressorCV(widths=(1, 10), max_iter=3, cv=2),
    "tangent": NTKRegressor(alpha=0.1),
}


def labels(name):
    return Y > 0 if "classes" in name else Y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FULL)
def test_full_covariance_of_many_features(name, monkeypatch):
    # Nine matrices of 100 x 100, and those of 20 x 20 easily.
    monkeypatch.setattr(memory, "free_bytes", lambda like: 9 * 8 * 100**2 - 1)
    with pytest.raises(MemoryError, match="100 features needs .* take 'diag'"):
        FULL[name].fit(WIDE, labels(name))
    monkeypatch.setattr(memory, "free_bytes", lambda like: 9 * 8 * 100**2)
    FULL[name].fit(WIDE, labels(name))


def test_search_checks_before_its_folds(monkeypatch):
    def never(*args, **options):
        raise AssertionError("a fold was fitted")

    monkeypatch.setattr(AdaptiveKernelRegressor, "_fit_path", never)
    monkeypatch.setattr(memory, "free_bytes", lambda like: 10**5)
    for name in ("search", "search of classes"):
        with pytest.raises(MemoryError, match="covariance_types"):
            FULL[name].fit(WIDE, labels(name))


@pytest.mark.parametrize("name", ["NNGPRegressor", "NNGPClassifier", "search"])
def test_rows_of_a_fit_with_neighbours(name, monkeypatch):
    def never(*args, **options):
        raise AssertionError("a fold was fitted")

    monkeypatch.setattr(AdaptiveKernelRegressor, "_fit_path", never)
    models = {"search": AdaptiveKernelRegressorCV(n_neighbors=5, n_inducing=3)}
    for model in (NNGPRegressor, NNGPClassifier):
        models[model.__name__] = model(n_neighbors=5, n_inducing=3)
    # Twenty rows with five features: three copies, and twice three inducing points.
    monkeypatch.setattr(memory, "free_bytes", lambda like: 8 * 20 * (3 * 6 + 2 * 3) - 1)
    with pytest.raises(MemoryError, match="20 rows with neighbours.*lower n_inducing"):
        models[name].fit(
            WIDE[:, :5], labels(name.lower().replace("classifier", "classes"))
        )


@pytest.mark.parametrize("kind", ["diag", "full"])
def test_infinite_width_has_no_covariance(kind, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda like: 10**5)
    model = AdaptiveKernelRegressor(width=np.inf, covariance_type=kind, max_iter=3)
    model.fit(WIDE[:, :50], Y)


@pytest.mark.parametrize("name", JOINT)
def test_covariance_of_many_rows(name, monkeypatch):
    model = JOINT[name].fit(X, Y)
    rows = np.repeat(X, 10, axis=0)
    monkeypatch.setattr(memory, "free_bytes", lambda like: 7 * 8 * 200**2 - 1)
    with pytest.raises(MemoryError, match="covariance of 200 rows .* return_std"):
        model.predict(rows, return_cov=True)
    if hasattr(model, "sample_y"):
        with pytest.raises(MemoryError, match="covariance of 200 rows"):
            model.sample_y(rows)
    model.predict(rows, return_std=True)


@pytest.mark.parametrize("others", [X, np.ones((20, 2))], ids=["vary", "constant"])
def test_every_output_counts(others, monkeypatch):
    model = NNGPRegressor().fit(X, np.column_stack([Y, others]))
    monkeypatch.setattr(memory, "free_bytes", lambda like: 13 * 8 * 20**2 - 1)
    with pytest.raises(MemoryError, match="covariance of 20 rows"):
        model.predict(X, return_cov=True)


def test_kernel_alone_is_not_limited(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda like: 1)
    assert NNGP("erf")(X).shape == (20, 20)
