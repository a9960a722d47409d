"""Fits along scalings against single fits, and what they cost."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    scaling_path,
)
from adaptive_kernels.estimators import finite_width
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.theory.kernel_regression import spectrum

RNG = np.random.default_rng(0)
X = RNG.standard_normal((14, 3))
X_NEW = RNG.standard_normal((5, 3))
Y2 = np.stack([X[:, 0] + np.sin(2 * X[:, 1]), X[:, 0] * X[:, 2]], axis=1)
Y2 += 0.2 * RNG.standard_normal(Y2.shape)
Y1 = Y2[:, 0]
WEIGHTS = RNG.uniform(0.3, 3, 14)
SCALINGS = [0.5, 1.0, 3.0, 20.0]

HOMOGENEOUS = {
    "linear": NNGP("identity", bias_variance=0),
    "relu": NNGP("relu", bias_variance=0),
    "linear with metric": NNGP("identity", bias_variance=0, metric=[2.0, 0.5, 1]),
}
OTHERS = {
    "linear with bias": NNGP("identity"),
    "relu with bias": NNGP("relu"),
    "erf": NNGP("erf", bias_variance=0),
    "deep relu": NNGP("relu", depth=2, bias_variance=0),
}
KERNELS = {**HOMOGENEOUS, **OTHERS}
GAUSSIAN = ("gaussian", "gaussian_tree")
RESCALED = ("tree", "one_loop", "rescaling", "exact")
neurons = pytest.param("sampled", marks=pytest.mark.slow)
every = pytest.mark.parametrize("name", [*GAUSSIAN, *RESCALED, neurons])


def model(name="rescaling", kernel=None, **parameters):
    kernel = HOMOGENEOUS["linear"] if kernel is None else kernel
    fixed = {"width": 20.0, "alpha": 0.2, "optimizer": None}
    if name in GAUSSIAN:
        fixed |= {"max_iter": 3000, "tol": 1e-6}
    return AdaptiveKernelRegressor(kernel, approximation=name, **fixed | parameters)


def exists(name, kernel):
    network = KERNELS[kernel]
    if name == "sampled":
        return kernel in ("linear", "erf")
    if name == "exact" and network.activation != "identity":
        return False
    return network.depth == 1 or name in ("rescaling", *GAUSSIAN)


def close_to(name):
    """Searches end at their tolerance; neurons are drawn anew."""
    return {"gaussian": 1e-4, "gaussian_tree": 1e-4, "sampled": 0.02}.get(name, 1e-8)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("scale_noise", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
@every
def test_path_equals_single_fits(name, kernel, scale_noise):
    if not exists(name, kernel):
        pytest.skip("no such theory")
    scalings = [1.0, 5.0] if name == "sampled" else SCALINGS
    given = model(name, KERNELS[kernel], scale_noise=scale_noise)
    path = scaling_path(given, X, Y1, scalings=scalings, sample_weight=WEIGHTS)
    assert_array_equal(path.scalings, scalings)
    predicted, close = path.predict(X_NEW), close_to(name)
    assert predicted.shape == (len(scalings), 5)
    for k, (scaling, ours) in enumerate(zip(scalings, path.estimators, strict=True)):
        assert ours.scaling == scaling
        single = clone(given).set_params(scaling=scaling).fit(X, Y1, WEIGHTS)
        for one, other in zip(
            ours.predict(X_NEW, return_std=True),
            single.predict(X_NEW, return_std=True),
            strict=True,
        ):
            assert_allclose(one, other, rtol=close, atol=close)
        assert_allclose(predicted[k], ours.predict(X_NEW), rtol=1e-10, atol=1e-12)
        assert_allclose(ours.alpha_, single.alpha_, rtol=1e-12)
        assert_allclose(ours.kernel_.theta, single.kernel_.theta, rtol=1e-10)
        assert_allclose(path.scale[k], single.scale_, rtol=close)
        evidence = single.log_marginal_likelihood_value_
        assert_allclose(path.log_marginal_likelihood[k], evidence, rtol=close)
        assert_allclose(path.effective_dof[k], single.effective_dof_, rtol=10 * close)
        sigma = single.weight_covariance_
        largest = np.max(np.abs(sigma))
        assert_allclose(ours.weight_covariance_, sigma, atol=10 * close * largest)
        both = [m.leave_one_out_predict(return_std=True) for m in (ours, single)]
        assert_allclose(*both, rtol=10 * close, atol=10 * close)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ["gaussian", "gaussian_tree", "tree", "rescaling"])
def test_everything_is_tuned_once_at_scaling_one(name, monkeypatch):
    kernel = NNGP("erf")
    given = model(name, kernel, optimizer="evidence", scale_noise=True)
    singles = [clone(given).set_params(scaling=s).fit(X, Y1) for s in SCALINGS]
    tuned = []
    tune = finite_width._tune
    monkeypatch.setattr(finite_width, "_tune", lambda *a: tuned.append(1) or tune(*a))
    path = scaling_path(given, X, Y1, scalings=SCALINGS)
    assert len(tuned) == 1
    close = 1e-3 if name in GAUSSIAN else 1e-9
    for ours, single in zip(path.estimators, singles, strict=True):
        assert_allclose(ours.alpha_, single.alpha_, rtol=1e-12)
        predictions = [m.predict(X_NEW, return_std=True) for m in (ours, single)]
        assert_allclose(*predictions, rtol=close, atol=close)
    alphas = [e.alpha_ * e.scaling for e in path.estimators]
    assert_allclose(alphas, alphas[0], rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", GAUSSIAN)
def test_every_scaling_starts_from_its_neighbour_too(name, monkeypatch):
    starts, adapt = [], finite_width.adapt
    monkeypatch.setattr(
        finite_width,
        "adapt",
        lambda problem, roots: starts.append(roots) or adapt(problem, roots),
    )
    path = scaling_path(model(name, NNGP("erf")), X, Y1, scalings=[2, 5, 20])
    assert len(starts) == 3
    for roots, neighbour in zip(starts[1:], path.estimators, strict=False):
        # Without a metric in the kernel the root is all of the learned metric.
        learned = neighbour.kernel_.metric
        assert any(root is not None and np.allclose(root**2, learned) for root in roots)


@pytest.fixture
def decompositions(monkeypatch):
    """Shapes of the matrices decomposed on behalf of a Spectrum."""
    shapes = []

    def counting(function):
        def counted(matrix, *args, **kwargs):
            if max(matrix.shape) >= len(X):
                shapes.append(matrix.shape)
            return function(matrix, *args, **kwargs)

        return counted

    monkeypatch.setattr(spectrum, "eigh", counting(spectrum.eigh))
    monkeypatch.setattr(np.linalg, "svd", counting(np.linalg.svd))
    monkeypatch.setattr(np.linalg, "eigh", counting(np.linalg.eigh))
    return shapes


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("optimizer", [None, "evidence"])
@pytest.mark.parametrize("scale_noise", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", RESCALED)
def test_one_decomposition_where_scaling_multiplies_the_kernel(
    decompositions, name, kernel, scale_noise, optimizer
):
    if not exists(name, kernel):
        pytest.skip("no such theory")
    given = model(name, KERNELS[kernel], scale_noise=scale_noise, optimizer=optimizer)
    path = scaling_path(given, X, Y1, scalings=SCALINGS)
    linear = KERNELS[kernel].activation == "identity"
    # A linear kernel of three features and a bias has a thin decomposition.
    shape = (14, 4) if linear else (14, 14)
    shared = path.estimators[0].kernel_.bias_variance == 0 and kernel in HOMOGENEOUS
    assert shared == (kernel in HOMOGENEOUS)
    times = 1 if shared else len(SCALINGS)
    # eigh of the package calls NumPy's.
    assert set(decompositions) == {shape}
    assert len(decompositions) in (times, 2 * times)


def test_the_kernel_of_new_rows_is_computed_once(monkeypatch):
    from adaptive_kernels.inference.posterior import KernelPosterior

    path = scaling_path(model(), X, Y1, scalings=SCALINGS)
    calls, cross = [], KernelPosterior.cross
    monkeypatch.setattr(
        KernelPosterior, "cross", lambda self, F: calls.append(1) or cross(self, F)
    )
    path.predict(X_NEW)
    assert len(calls) == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kernel", ["linear", "erf"])
@pytest.mark.parametrize("name", ["tree", "rescaling", "gaussian"])
def test_several_outputs(name, kernel):
    given = model(name, KERNELS[kernel])
    path = scaling_path(given, X, Y2, scalings=[1, 10])
    predicted = path.predict(X_NEW)
    assert predicted.shape == (2, 5, 2)
    for k, scaling in enumerate([1, 10]):
        single = clone(given).set_params(scaling=scaling).fit(X, Y2)
        assert_allclose(predicted[k], single.predict(X_NEW), atol=close_to(name))
        assert_allclose(path.scale[k], single.scale_, atol=1e-8)
    assert path.scale.shape == ((2,) if name == "gaussian" else (2, 2, 2))
    assert path.effective_dof.shape == path.log_marginal_likelihood.shape == (2,)


def test_layers_have_scales_of_their_own():
    path = scaling_path(model(kernel=OTHERS["deep relu"]), X, Y1, scalings=[1, 10])
    assert path.scale.shape == (2, 2)


def test_scalings_are_sorted_and_the_estimator_is_cloned():
    given = model(scaling=7.0)
    path = scaling_path(given, X, Y1, scalings=(20, 1, 3))
    assert_array_equal(path.scalings, [1, 3, 20])
    assert [e.scaling for e in path.estimators] == [1, 3, 20]
    assert given.scaling == 7 and not hasattr(given, "kernel_")
    ascending = scaling_path(given, X, Y1, scalings=(1, 3, 20))
    assert_array_equal(path.predict(X_NEW), ascending.predict(X_NEW))


def test_estimators_of_a_path_are_independent():
    path = scaling_path(model(), X, Y1, scalings=SCALINGS)
    before = path.estimators[1].predict(X_NEW)
    path.estimators[0].fit(X[:5], Y1[:5])
    assert_array_equal(path.estimators[1].predict(X_NEW), before)
    assert_allclose(path.predict(X_NEW)[1], before, rtol=1e-10)


def test_default_scalings_run_to_the_width():
    path = scaling_path(model(width=50.0), X, Y1)
    assert len(path.scalings) == 16
    assert_allclose(path.scalings[[0, -1]], [1, 50])
    ratios = path.scalings[1:] / path.scalings[:-1]
    assert_allclose(ratios, 50 ** (1 / 15))


@pytest.mark.parametrize("width", [np.inf, 1, 0.5])
def test_default_scalings_need_a_width(width):
    with pytest.raises(ValueError, match=f"width, which is {width}: give scalings"):
        scaling_path(model(width=width), X, Y1)
    path = scaling_path(model(width=width), X, Y1, scalings=[1, 2])
    assert np.all(np.isfinite(path.predict(X_NEW)))


@pytest.mark.parametrize(
    "scalings", [[], [0.0], [-1, 2], [1, np.nan], [np.inf], [1, 0, 3]], ids=str
)
def test_unusable_scalings(scalings):
    with pytest.raises(ValueError, match="scalings must be numbers from"):
        scaling_path(model(), X, Y1, scalings=scalings)


def test_a_kernel_without_weights_has_a_path():
    kernel = NNGP("identity", bias_variance=0, weight_variance=0)
    path = scaling_path(model(kernel=kernel), X, Y1, scalings=[1, 10])
    assert_allclose(path.predict(X_NEW), np.mean(Y1), atol=1e-12)


def test_infinite_width_with_noise_and_kernel_scaled_alike_stands_still():
    given = model(width=np.inf, scale_noise=True)
    path = scaling_path(given, X, Y1, scalings=SCALINGS)
    assert_allclose(path.predict(X_NEW), path.predict(X_NEW)[[0] * 4], rtol=1e-9)
    assert_allclose(path.scale, 1)


@pytest.mark.parametrize("scale_noise", [False, True])
def test_tree_level_depends_on_width_over_scaling_only(scale_noise):
    """Divided noise: (N, chi) as (N / chi, 1). Kept noise shrinks outputs to zero."""
    given = model("tree", width=100, scale_noise=scale_noise, normalize_y=False)
    path = scaling_path(given, X, Y1, scalings=[10, 1e6])
    other = model("tree", width=10, normalize_y=False).fit(X, Y1)
    same = np.allclose(path.predict(X_NEW)[0], other.predict(X_NEW), rtol=1e-9)
    assert same == scale_noise
    size = np.max(np.abs(path.predict(X_NEW)[1]))
    assert size > 0.1 if scale_noise else size < 1e-3


@pytest.mark.parametrize("kernel", ["linear", "erf"])
def test_frames(kernel):
    given = model(kernel=KERNELS[kernel])
    frame, new = (pd.DataFrame(a, columns=["a", "b", "c"]) for a in (X, X_NEW))
    path = scaling_path(given, frame, pd.Series(Y1), scalings=[1, 10])
    assert list(path.estimators[1].feature_names_in_) == ["a", "b", "c"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        predicted = path.predict(new)
    expected = scaling_path(given, X, Y1, scalings=[1, 10]).predict(X_NEW)
    assert_array_equal(predicted, expected)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "relu", "erf"])
@every
def test_other_array_libraries(name, kernel, weighted):
    if not exists(name, kernel):
        pytest.skip("no such theory")
    xp = pytest.importorskip("array_api_strict")
    given, weights = model(name, KERNELS[kernel]), WEIGHTS if weighted else None
    expected = scaling_path(given, X, Y1, scalings=[1, 10], sample_weight=weights)
    with config_context(array_api_dispatch=True):
        rows, new, targets = (xp.asarray(a) for a in (X, X_NEW, Y1))
        weights = xp.asarray(weights) if weighted else None
        path = scaling_path(
            given, rows, targets, scalings=[1, 10], sample_weight=weights
        )
        predicted = path.predict(new)
        assert predicted.__array_namespace__() is xp
        last = path.estimators[1]
        pairs = zip(
            last.predict(new, return_std=True),
            expected.estimators[1].predict(X_NEW, return_std=True),
            strict=True,
        )
        pairs = [(np.asarray(a), b) for a, b in pairs]
        loo = np.asarray(last.leave_one_out_predict())
        sigma = np.asarray(last.weight_covariance_)
    close = 1e-4 if name in GAUSSIAN else 1e-8
    assert_allclose(np.asarray(predicted), expected.predict(X_NEW), atol=close)
    for ours, theirs in pairs:
        assert_allclose(ours, theirs, atol=close)
    other = expected.estimators[1]
    assert_allclose(loo, other.leave_one_out_predict(), atol=close)
    assert_allclose(sigma, other.weight_covariance_, atol=close)
    assert_allclose(path.scale, expected.scale, atol=close)
