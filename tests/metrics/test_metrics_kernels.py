"""Alignment and effective dimension against explicit matrices; Gaussian classes."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

from adaptive_kernels.datasets import make_gaussian_classes
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.metrics import effective_dimension, kernel_target_alignment

RNG = np.random.default_rng(0)
N = 40
X = RNG.standard_normal((N, 3)) + [1.0, 0.0, -2.0]
Y1 = np.sin(2 * X[:, 0]) + 0.3 + 0.1 * RNG.standard_normal(N)
Y2 = np.stack([Y1, X[:, 1] ** 2], axis=1)
LABELS = np.where(X[:, 1] < -0.4, "low", np.where(X[:, 2] < -2, "mid", "top"))
ONE_HOT = np.stack([LABELS == name for name in ("low", "mid", "top")], axis=1) * 1.0
CENTRE = np.eye(N) - 1 / N
either = pytest.mark.parametrize("centered", [True, False])


def cosine(A, B):
    """Cosine of the angle between two matrices."""
    return np.sum(A * B) / np.sqrt(np.sum(A * A) * np.sum(B * B))


def brute_force(K, Y, centered):
    Y = Y.reshape(len(Y), -1)
    target = Y @ Y.T
    if centered:
        centre = np.eye(len(K)) - 1 / len(K)
        K, target = centre @ K @ centre, centre @ target @ centre
    return cosine(K, target)


# --- alignment -----------------------------------------------------------------------


@either
@pytest.mark.parametrize("targets", [Y1, Y2], ids=["vector", "columns"])
@pytest.mark.parametrize("kernel", [NNGP("erf"), NTK("relu"), RBF(1.5)], ids=str)
def test_alignment_is_the_cosine_of_matrices(kernel, targets, centered):
    K = kernel(X)
    expected = brute_force(K, targets, centered)
    ours = kernel_target_alignment(K, targets, centered=centered)
    assert_allclose(ours, expected, rtol=1e-12)
    ours = kernel_target_alignment(X, targets, input=kernel, centered=centered)
    assert_allclose(ours, expected, rtol=1e-12)


@either
@pytest.mark.parametrize("n_features", [3, 200])
def test_alignment_of_features_is_that_of_their_products(n_features, centered):
    F = RNG.standard_normal((N, n_features)) + 0.5
    expected = brute_force(F @ F.T, Y2, centered)
    ours = kernel_target_alignment(F, Y2, input="features", centered=centered)
    assert_allclose(ours, expected, rtol=1e-12)


@either
def test_alignment_of_labels_is_that_of_centred_indicators(centered):
    K = NNGP("erf")(X)
    centred = ONE_HOT - ONE_HOT.mean(axis=0)
    expected = brute_force(K, centred, centered)
    integers = np.unique(LABELS, return_inverse=True)[1] * 3 - 1
    for labels in (LABELS, LABELS.tolist(), LABELS.astype(object), integers):
        ours = kernel_target_alignment(K, labels, centered=centered)
        assert_allclose(ours, expected, rtol=1e-12)
    numbers = kernel_target_alignment(K, integers.astype(float), centered=centered)
    assert_allclose(numbers, brute_force(K, integers.astype(float), centered))
    assert abs(numbers - expected) > 0.01


def test_two_classes_are_labels_minus_one_and_one():
    K, signs = NNGP("erf")(X), np.where(LABELS == "low", -1, 1)
    expected = brute_force(K, signs.astype(float), True)
    for labels in (signs, signs.astype(float), LABELS == "low"):
        assert_allclose(kernel_target_alignment(K, labels), expected, rtol=1e-12)


@pytest.mark.parametrize("n", [511, 512, 513, 1100])
@either
def test_alignment_puts_blocks_together(n, centered):
    rows, y = make_gaussian_classes(n, 3, random_state=0)
    kernel = RBF(2.0)
    ours = kernel_target_alignment(rows, y, input=kernel, centered=centered)
    assert_allclose(ours, brute_force(kernel(rows), y, centered), rtol=1e-11)


def test_alignment_limits():
    target = np.outer(Y1, Y1)
    assert_allclose(kernel_target_alignment(3 * target, Y1), 1, rtol=1e-12)
    assert_allclose(kernel_target_alignment(3 * target, Y1, centered=False), 1)
    # <I, yy'> = |y|^2 against |I| = sqrt(n), or sqrt(n - 1) once centred.
    identity = np.eye(N)
    ours = kernel_target_alignment(identity, Y1, centered=False)
    assert_allclose(ours, N**-0.5, rtol=1e-12)
    ours = kernel_target_alignment(identity, Y1)
    assert_allclose(ours, (N - 1) ** -0.5, rtol=1e-12)


def test_centring_hides_nothing_behind_a_constant():
    """A constant of 1e6 in the kernel leaves its entries good to 1e-10."""
    kernel = RBF(1.5)
    expected = brute_force(kernel(X), Y1, True)
    for ours in (
        kernel_target_alignment(kernel(X) + 1e6, Y1),
        kernel_target_alignment(X, Y1, input=kernel + ConstantKernel(1e6)),
    ):
        assert_allclose(ours, expected, rtol=1e-8)
    # The uncentred one sees little but the constant.
    hidden = kernel_target_alignment(kernel(X) + 1e6, Y1 - Y1.mean(), centered=False)
    assert hidden < 1e-4 < 0.1 < expected


def test_centred_features_with_an_offset():
    rows = np.round(64 * X) / 64
    expected = brute_force(rows @ rows.T, Y1, True)
    ours = kernel_target_alignment(rows + 2.0**30, Y1, input="features")
    assert_allclose(ours, expected, rtol=1e-10)
    assert_allclose(kernel_target_alignment(rows @ rows.T, Y1 + 1e3), expected)


def test_alignment_of_a_vanishing_kernel_is_undefined():
    assert np.isnan(kernel_target_alignment(np.full((N, N), 0.1), Y1))
    assert np.isnan(kernel_target_alignment(np.zeros((N, N)), Y1, centered=False))
    rows = np.full((N, 2), 0.1)
    assert np.isnan(kernel_target_alignment(rows, Y1, input="features"))
    assert np.isnan(kernel_target_alignment(rows, Y1, input=NNGP("erf")))


@pytest.mark.parametrize(
    ("rows", "targets", "parameters", "message"),
    [
        (X, Y1, {}, "square.*input='features'"),
        (X @ X.T, Y1[1:], {}, "40 rows, but y"),
        (X @ X.T, 0 * Y1 + 0.1, {}, "does not vary"),
        (X @ X.T, 0 * Y1, {"centered": False}, "does not vary"),
        (X @ X.T, Y1 * np.nan, {}, "y contains NaN"),
        (X @ X.T, ["a"] * N, {}, "one class"),
        (X * np.nan, Y1, {"input": "features"}, "NaN"),
        (X, Y1, {"input": "rows"}, "input must be"),
    ],
)
def test_bad_input_of_alignment_is_explained(rows, targets, parameters, message):
    with pytest.raises(ValueError, match=message):
        kernel_target_alignment(rows, targets, **parameters)


# --- effective dimension -------------------------------------------------------------


@pytest.mark.parametrize("alpha", [1e-3, 0.3, 10.0])
@pytest.mark.parametrize("kernel", [NNGP("erf"), NTK("relu"), DotProduct()], ids=str)
def test_effective_dimension_is_the_trace(kernel, alpha):
    K = kernel(X)
    expected = np.trace(np.linalg.solve(K + alpha * np.eye(N), K))
    assert_allclose(effective_dimension(K, alpha), expected, rtol=1e-9)
    assert_allclose(effective_dimension(X, alpha, input=kernel), expected, rtol=1e-9)


@pytest.mark.parametrize("n_features", [3, 200])
def test_effective_dimension_of_features(n_features):
    F = RNG.standard_normal((N, n_features))
    K = F @ F.T
    expected = np.trace(np.linalg.solve(K + 0.5 * np.eye(N), K))
    ours = effective_dimension(F, 0.5, input="features")
    assert_allclose(ours, expected, rtol=1e-10)


def test_effective_dimension_of_several_noises():
    K, alphas = NNGP("erf")(X), np.array([[1e-2, 0.1], [1.0, 30.0]])
    ours = effective_dimension(K, alphas)
    assert ours.shape == (2, 2)
    for index in np.ndindex(2, 2):
        single = effective_dimension(K, alphas[index])
        assert isinstance(single, float)
        assert_allclose(ours[index], single, rtol=1e-14)


def test_effective_dimension_limits():
    F = RNG.standard_normal((N, 3))
    K = F @ F.T
    # The rank at small noise, n k / (k + alpha) for a multiple of the identity.
    for rows, input in ((K, "kernel"), (F, "features")):
        assert_allclose(effective_dimension(rows, 1e-6, input=input), 3, rtol=1e-6)
    assert_allclose(effective_dimension(3 * np.eye(N), 2.0), N * 0.6, rtol=1e-12)
    assert_allclose(effective_dimension(K, 1e9), np.trace(K) / 1e9, rtol=1e-6)


def test_rounding_below_zero_counts_as_zero():
    F = RNG.standard_normal((N, 3))
    K = F @ F.T
    assert np.linalg.eigvalsh(K)[0] < 0
    # Rounding of 1e-14 next to noise of 1e-16 would count in any of 37 directions.
    assert 3 <= effective_dimension(K - 1e-13 * np.eye(N), 1e-16) < 3 + 1e-9


@pytest.mark.parametrize(
    ("rows", "alpha", "message"),
    [
        (X @ X.T, 0.0, "alpha must be positive"),
        (X @ X.T, [1.0, -1.0], "alpha must be positive"),
        (X @ X.T, np.nan, "alpha must be positive"),
        (X, 1.0, "square"),
        (-X @ X.T, 1.0, "not positive semi-definite"),
        (np.arange(16.0).reshape(4, 4), 1.0, "symmetric"),
    ],
)
def test_bad_input_of_effective_dimension_is_explained(rows, alpha, message):
    with pytest.raises(ValueError, match=message):
        effective_dimension(rows, alpha)


# --- arrays --------------------------------------------------------------------------


@pytest.mark.parametrize("input", ["features", "kernel", NNGP("erf")], ids=str)
@either
def test_other_array_libraries(input, centered):
    xp = pytest.importorskip("array_api_strict")
    rows = X @ X.T if input == "kernel" else X
    for dtype, rtol in ((xp.float64, 1e-12), (xp.float32, 1e-5)):
        given = xp.astype(xp.asarray(rows), dtype)
        expected = kernel_target_alignment(rows, Y2, input=input, centered=centered)
        ours = kernel_target_alignment(
            given, xp.asarray(Y2), input=input, centered=centered
        )
        assert_allclose(ours, expected, rtol=rtol)
        expected = effective_dimension(rows, [1.0, 10.0], input=input)
        ours = effective_dimension(given, [1.0, 10.0], input=input)
        assert isinstance(ours, np.ndarray)
        # N eigenvalues, each off by at most the norm of rounding in single precision.
        error = N * 6e-8 * np.linalg.norm(X) ** 2 if dtype == xp.float32 else 0
        assert_allclose(ours, expected, rtol=1e-12, atol=error)


def test_alignment_never_asks_for_the_whole_matrix():
    asked = []

    class Recording(NNGP):
        def __call__(self, X, Y=None, eval_gradient=False):
            asked.append(len(X) * len(X if Y is None else Y))
            return super().__call__(X, Y, eval_gradient)

    rows, y = make_gaussian_classes(1000, 4, random_state=0)
    kernel_target_alignment(rows, y, input=Recording("erf"))
    assert max(asked) <= 0.27 * 1000**2 and sum(asked) < 0.8 * 1000**2


# --- the data ------------------------------------------------------------------------


def test_gaussian_classes_have_the_promised_moments():
    X, y = make_gaussian_classes(20_000, 3, random_state=0)
    assert X.shape == (20_000, 3)
    for label in (-1, 1):
        rows = X[y == label]
        assert len(rows) == 10_000
        # Five standard errors of means and covariances of 10 000 rows.
        assert_allclose(rows.mean(axis=0), 2 * label, atol=5 * 0.5 / 100)
        spread = 5 * 0.25 * 2**0.5 / 100
        assert_allclose(np.cov(rows.T), 0.25 * np.eye(3), atol=spread)


def test_gaussian_classes_come_shuffled():
    _, y = make_gaussian_classes(1000, random_state=0)
    # A sign changes in half of 999 places, give or take 16.
    assert 420 < np.sum(y[1:] != y[:-1]) < 580


def test_counts_and_means_of_each_class():
    means = [[0.0, 0.0], [5.0, 1.0], [0.0, 9.0], [-5.0, 2.0]]
    X, y = make_gaussian_classes(
        [3, 1, 4, 2], 2, means=means, scale=0.0, random_state=1
    )
    for label, mean, count in zip([-3, -1, 1, 3], means, [3, 1, 4, 2], strict=True):
        assert_array_equal(X[y == label], np.tile(mean, (count, 1)))


def test_rows_are_shared_equally():
    _, y = make_gaussian_classes(11, 1, means=[0, 1, 2], random_state=0)
    assert_array_equal(np.unique(y), [-2, 0, 2])
    assert sorted(np.unique(y, return_counts=True)[1]) == [3, 4, 4]


def test_gaussian_classes_are_reproducible():
    first, second, other = (
        make_gaussian_classes(random_state=seed)[0] for seed in (0, 0, 1)
    )
    assert_array_equal(first, second)
    assert first.shape == (128, 8) and np.all(first != other)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_samples": [3, 4, 5]}, "2 counts"),
        ({"n_samples": [3, 0]}, "2 counts"),
        ({"n_samples": [3.5, 2.5]}, "2 counts"),
        ({"n_samples": 0}, "n_samples"),
        ({"means": [[1, 2, 3], [4, 5, 6]]}, "means must be"),
        ({"means": 1.0}, "means"),
        ({"scale": -1.0}, "scale"),
    ],
)
def test_bad_parameters_of_gaussian_classes(parameters, message):
    with pytest.raises(ValueError, match=message):
        make_gaussian_classes(**({"n_features": 2} | parameters))
