"""What every kernel promises, whatever its activation, depth, metric and array."""

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF

from adaptive_kernels._arrays import blocks
from adaptive_kernels.kernels import NNGP, NTK, PiecewiseLinear
from adaptive_kernels.kernels._activations import ACTIVATIONS

NAMES = list(ACTIVATIONS)
RELU_FAMILY = {"relu", "leaky_relu", "abs"}
SETTINGS = dict(weight_variance=1.7, bias_variance=0.2, readout_variance=0.8)

rng = np.random.default_rng(0)
X = rng.standard_normal((70, 6))
Z = rng.standard_normal((11, 6))
ROOT = np.eye(6) + rng.standard_normal((6, 6)) / 5
X.flags.writeable = Z.flags.writeable = False  # so that no kernel can write to them
METRICS = {
    "plain": None,
    "diag": np.array([0.3, 1.0, 2.0, 0.5, 0.8, 0.0]),
    "full": ROOT @ ROOT.T,
}


def make_kernels():
    kernels = {}
    for cls in (NNGP, NTK):
        for depth in (1, 3):
            for metric, value in METRICS.items():
                settings = dict(depth=depth, metric=value, **SETTINGS)
                for name in NAMES:
                    key = f"{cls.__name__}-{name}-{depth}-{metric}"
                    kernels[key] = cls(name, **settings)
    # Few, because a function costs a table of coefficients per layer and call.
    for cls, depth in ((NNGP, 1), (NTK, 3)):
        settings = dict(depth=depth, metric=METRICS["full"], **SETTINGS)
        kernels[f"{cls.__name__}-tanh-{depth}-full"] = cls(np.tanh, **settings)
    relu, erf = kernels["NNGP-relu-1-plain"], kernels["NTK-erf-3-diag"]
    return kernels | {
        "scaled": 2.0 * relu,
        "scaled-right": erf * 2.0,
        "shifted": erf + 0.5,
        "sum": relu + erf,
        "product": relu * erf,
        "power": relu**2,
        "scaled-sum": 2.0 * (relu + erf),
        "shifted-sum": relu + erf + 0.5,
    }


KERNELS = make_kernels()


@pytest.fixture(params=KERNELS)
def key(request):
    return request.param


@pytest.fixture
def kernel(key):
    return KERNELS[key]


@cache
def matrix(key):
    return KERNELS[key](X)


@cache
def cross_matrix(key):
    return KERNELS[key](Z, X)


def off_diagonal(K):
    return K[~np.eye(*K.shape, dtype=bool)]


def assert_close(value, truth, relative):
    """Within `relative` of the largest entry: entries may cancel to zero."""
    assert_allclose(value, truth, rtol=0, atol=relative * np.abs(truth).max())


# --- the contract --------------------------------------------------------------------


def test_matrix_is_exactly_symmetric(key):
    assert_array_equal(matrix(key), matrix(key).T)


def test_matrix_is_positive_semi_definite(key):
    K = matrix(key)
    # Rounding of n x n entries and of the eigenvalue solver: a few eps times the
    # trace. A truncated series misses positive terms, and only off the diagonal.
    assert np.linalg.eigvalsh(K).min() >= -1e-12 * np.trace(K) / len(K)


def test_diag_is_the_diagonal(key, kernel):
    assert_array_equal(kernel.diag(X), np.diag(matrix(key)))


def test_block_size_does_not_matter(key, kernel, monkeypatch):
    truth, cross = matrix(key), cross_matrix(key)
    for block in (7,) if "tanh" in key else (7, 64, 256):
        monkeypatch.setattr(blocks, "CPU_BLOCK", block)
        # BLAS sums in another order for another shape.
        assert_close(kernel(X), truth, 1e-13)
        assert_close(kernel(Z, X), cross, 1e-13)


def test_cross_matrix_is_the_same_kernel(key, kernel):
    K = matrix(key)
    twice = kernel(X, X)
    assert_close(off_diagonal(twice), off_diagonal(K), 1e-13)
    # Hermite tables follow the rows at hand: what another company of rows gives is
    # equal to the interpolation error of 48 Chebyshev points.
    company = 1e-9 if "tanh" in key else 1e-13
    assert_close(kernel(X[:20], X[20:]), K[:20, 20:], company)
    assert_close(kernel(X[20:], X[:20]), K[20:, :20], company)
    if "tanh" not in key:
        # At correlation 1 the ReLU angle is known to sqrt(2 eps) = 2e-8, per layer.
        assert_close(np.diag(twice), np.diag(K), 1e-7)


def test_float32(key, kernel):
    K = kernel(X.astype(np.float32))
    cross = kernel(Z.astype(np.float32), X.astype(np.float32))
    diag = kernel.diag(X.astype(np.float32))
    # As scikit-learn's kernels: in single precision no kernel matrix stays definite.
    assert K.dtype == cross.dtype == diag.dtype == np.float64
    # Ten roundings of 6e-8, and three times that where |rho| reaches 0.95.
    assert_close(K, matrix(key), 2e-6)
    assert_close(cross, cross_matrix(key), 2e-6)
    assert_close(diag, np.diag(matrix(key)), 2e-6)


def test_parameters_and_copies(key, kernel):
    copies = [
        clone(kernel),
        pickle.loads(pickle.dumps(kernel)),
        type(kernel)(**kernel.get_params(deep=False)),
        kernel.clone_with_theta(kernel.theta),
    ]
    for copy in copies[:3]:
        assert copy == kernel
        assert repr(copy) == repr(kernel)
    for copy in copies:
        assert_allclose(copy.theta, kernel.theta, rtol=1e-14)
    moved = kernel.clone_with_theta(kernel.theta + 0.3)
    assert moved != kernel
    assert_allclose(moved.theta, kernel.theta + 0.3)
    assert_array_equal(copies[1].diag(X), np.diag(matrix(key)))
    assert kernel.bounds.shape == (kernel.n_dims, 2)


def test_kernels_differ():
    kernels = list(KERNELS.values())
    for i, one in enumerate(kernels):
        for other in kernels[:i]:
            assert one != other


def test_metrics_of_different_shapes_compare():
    assert NNGP(metric=np.ones(3)) != NNGP(metric=np.ones(4))
    assert NNGP(metric=np.ones(3)) != NNGP(metric=np.eye(3))
    assert NNGP(metric=np.ones(3)) != NNGP()
    assert NNGP(metric=np.ones(3)) == NNGP(metric=np.ones(3))


def test_repr_names_what_differs():
    text = repr(NTK("erf", depth=3, bias_variance=0.25, metric=np.ones(2)))
    for part in ("NTK", "'erf'", "depth=3", "bias_variance=0.25", "metric"):
        assert part in text
    assert "tanh" in repr(NNGP(np.tanh))


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize(
    "changes, free",
    [
        ({}, ["bias_variance", "readout_variance", "weight_variance"]),
        ({"bias_variance": 0.0}, ["readout_variance", "weight_variance"]),
        ({"bias_variance": 0}, ["readout_variance", "weight_variance"]),
        ({"readout_variance_bounds": "fixed"}, ["bias_variance", "weight_variance"]),
        (
            {"weight_variance_bounds": "fixed", "bias_variance": 0.0},
            ["readout_variance"],
        ),
        (
            {"weight_variance": 0.0, "bias_variance_bounds": (0.1, 1.0)},
            ["bias_variance", "readout_variance"],
        ),
        ({f"{name}_bounds": "fixed" for name in SETTINGS}, []),
    ],
)
def test_fixed_and_zero_variances_leave_theta(cls, changes, free):
    kernel = cls(**{**SETTINGS, **changes})
    assert [h.name for h in kernel.hyperparameters if not h.fixed] == free
    params = kernel.get_params()
    assert_allclose(kernel.theta, np.log([params[name] for name in free]))
    assert len(kernel.bounds) == len(free)
    K, gradient = kernel(X, eval_gradient=True)
    assert gradient.shape == (*K.shape, len(free))
    assert np.all(np.isfinite(gradient))


def test_bounds_are_those_given():
    kernel = NNGP(bias_variance_bounds=(0.1, 2.0))
    bounds = np.log([(0.1, 2.0), (1e-5, 1e5), (1e-5, 1e5)])
    assert_allclose(kernel.bounds, bounds)


def test_gradient_needs_a_square_matrix():
    with pytest.raises(ValueError, match="Y is None"):
        NNGP()(X, Z, eval_gradient=True)


# --- arrays --------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_array_libraries_agree(key, kernel, library):
    xp = pytest.importorskip(library)
    X_, Z_ = xp.asarray(X.copy()), xp.asarray(Z.copy())
    results = kernel(X_), kernel(Z_, X_), kernel.diag(X_)
    truths = matrix(key), cross_matrix(key), np.diag(matrix(key))
    # Other libraries' elementary functions differ by an ulp; a ReLU slope near
    # |rho| = 1 magnifies it by 1 / sqrt(1 - rho^2).
    for result, truth in zip(results, truths, strict=True):
        assert type(result) is type(X_)
        assert result.dtype == xp.float64
        assert_close(np.asarray(result), truth, 1e-13)


@pytest.mark.parametrize("kernel", [NTK("erf"), 2.0 * NNGP(), NNGP() + NTK("erf")])
@pytest.mark.parametrize(
    "convert",
    [np.ndarray.tolist, pd.DataFrame, np.asfortranarray, lambda X: X[::-1][::-1]],
    ids=["list", "pandas", "fortran", "strided"],
)
def test_array_likes_agree(kernel, convert):
    K, gradient = kernel(X, eval_gradient=True)
    K_, gradient_ = kernel(convert(X), eval_gradient=True)
    assert_close(K_, K, 1e-14)
    assert_close(gradient_, gradient, 1e-14)
    assert_close(kernel(convert(Z), convert(X)), kernel(Z, X), 1e-14)
    assert_close(kernel.diag(convert(X)), kernel.diag(X), 1e-14)


def test_integers_are_numbers():
    whole = np.arange(12).reshape(4, 3) % 5
    assert_array_equal(NTK("erf")(whole), NTK("erf")(whole.astype(float)))


# --- meaning of the parameters -------------------------------------------------------


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "erf", "gelu", "sin"])
def test_metric_is_a_linear_map_of_the_inputs(cls, depth, activation):
    settings = dict(depth=depth, **SETTINGS)
    plain = cls(activation, **settings)
    full = cls(activation, metric=ROOT @ ROOT.T, **settings)
    diagonal = cls(activation, metric=METRICS["diag"], **settings)
    # Relative 1e-14 of the correlation; ReLU slopes magnify it near correlation 1.
    assert_close(full(X), plain(X @ ROOT), 1e-12)
    scale = METRICS["diag"] ** 0.5
    assert_close(diagonal(X, Z), plain(X * scale, Z * scale), 1e-12)
    assert_close(full.diag(X), plain.diag(X @ ROOT), 1e-12)


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize("depth", [1, 3])
def test_readout_variance_scales_the_kernel(cls, depth):
    settings = dict(depth=depth, weight_variance=1.7, bias_variance=0.2)
    one = cls("gelu", readout_variance=1.0, **settings)(X)
    assert_close(cls("gelu", readout_variance=0.3, **settings)(X), 0.3 * one, 1e-14)
    assert not cls("gelu", readout_variance=0.0, **settings)(X).any()


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_both_kernels_in_one_pass(depth, activation):
    settings = dict(depth=depth, **SETTINGS)
    for args in ((X,), (X, Z)):
        nngp, ntk = NTK(activation, **settings).nngp_and_ntk(*args)
        assert_array_equal(nngp, NNGP(activation, **settings)(*args))
        assert_array_equal(ntk, NTK(activation, **settings)(*args))


@pytest.mark.parametrize("bias_variance", [0.0, 0.7])
def test_rbf_activation_is_the_rbf_kernel(bias_variance):
    kernel = NNGP("rbf", weight_variance=1.7, bias_variance=bias_variance)
    truth = RBF((X.shape[1] / 1.7) ** 0.5)
    # Exponents up to 10 are known to a few eps times that.
    assert_allclose(kernel(X, Z), truth(X, Z), rtol=1e-13)
    assert_allclose(kernel(X), truth(X), rtol=1e-13)


# --- neural-tangents (acceptance case 1) ---------------------------------------------


@cache
def neural_tangents():
    with np.load(Path(__file__).parent / "data" / "neural_tangents.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize("depth", [1, 3, 10])
@pytest.mark.parametrize("name", NAMES)
def test_neural_tangents(cls, depth, name):
    frozen = neural_tangents()
    leaky = PiecewiseLinear(float(frozen["leaky_slope"]), 1.0)
    kernel = cls(
        leaky if name == "leaky_relu" else name,
        depth=depth,
        weight_variance=float(frozen["sw2"]),
        bias_variance=float(frozen["sb2"]),
    )
    truth = f"{name}_{depth}_{cls.__name__.lower()}"
    # In the tangent kernel of rbf each layer multiplies errors by D = w S = 1.7, and
    # ten layers by 200: 200 times a few eps. neural-tangents has the same share.
    exact = 1e-12 if name == "rbf" and depth == 10 else 1e-13
    # Its ReLU angle near duplicate rows is wrong by up to 5e-8 (make_neural_tangents).
    duplicates = 5e-8 if name in RELU_FAMILY and cls is NTK else exact
    assert_close(kernel(frozen["X"], frozen["Z"]), frozen[f"{truth}_cross"], exact)
    assert_close(kernel(frozen["XD"]), frozen[f"{truth}_square"], duplicates)
