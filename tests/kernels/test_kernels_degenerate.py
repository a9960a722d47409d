"""Kernels of duplicate, zero, tiny and huge rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.kernels._activations import ACTIVATIONS

NAMES = list(ACTIVATIONS)
RELU_FAMILY = {"relu", "leaky_relu", "abs"}

rng = np.random.default_rng(0)
X = rng.standard_normal((70, 6))
Z = rng.standard_normal((11, 6))

X.flags.writeable = Z.flags.writeable = False  # so that no kernel can write to them


def off_diagonal(K):
    return K[~np.eye(*K.shape, dtype=bool)]


def assert_close(value, truth, relative):
    """Within `relative` of the largest entry: entries may cancel to zero."""
    assert_allclose(value, truth, rtol=0, atol=relative * np.abs(truth).max())


def degenerate_data():
    constant, duplicates, zeros = X[:12].copy(), X[:12].copy(), X[:12].copy()
    constant[:, 2] = 3.0
    duplicates[5] = duplicates[4] = duplicates[1]
    duplicates[6] = (1 + 1e-9) * duplicates[1]
    duplicates[7] = -duplicates[1]
    zeros[3] = zeros[8] = 0.0
    return {
        "n<d": X[:3],
        "n=1": X[:1],
        "d=1": X[:12, :1],
        "constant column": constant,
        "duplicate rows": duplicates,
        "zero rows": zeros,
        "all zero": 0 * zeros,
        "tiny": 1e-9 * duplicates,
        "vanishing": 1e-170 * duplicates,
        "large": 1e4 * duplicates,
        "huge": 1e9 * duplicates,
        "enormous": 1e60 * duplicates,
    }


DEGENERATE = degenerate_data()
CLOSED_FORMS = [
    pytest.param(cls, name, depth, id=f"{cls.__name__}-{name}-{depth}")
    for cls in (NNGP, NTK)
    for name in NAMES
    for depth in (1, 3)
]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("data", DEGENERATE)
@pytest.mark.parametrize("cls, activation, depth", CLOSED_FORMS)
def test_degenerate_data(cls, activation, depth, data):
    # No bias: zero rows stay zero, and huge rows have nothing else.
    check_degenerate(cls(activation, depth=depth, bias_variance=0.0), DEGENERATE[data])


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("data", ["n=1", "duplicate rows", "zero rows", "large"])
def test_degenerate_data_of_a_function(data):
    check_degenerate(NTK(np.tanh, bias_variance=0.0), DEGENERATE[data])


def check_degenerate(kernel, rows):
    K, gradient = kernel(rows, eval_gradient=True)
    cross = kernel(rows, rows[::-1])
    for array in (K, gradient, cross):
        assert np.all(np.isfinite(array))
    assert_array_equal(kernel.diag(rows), np.diag(K))
    # Cauchy-Schwarz bounds every entry. A ReLU slope at correlation 1 is known to
    # sqrt(2 eps) = 2e-8 per layer; exponents k - q are known to eps q.
    length = np.sqrt(np.diag(K))
    slack = 1e-6 + min(1e-15 * np.max(rows**2), 1.0)
    assert np.all(np.abs(K) <= (1 + slack) * np.outer(length, length) + 1e-30)


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize("name", NAMES)
def test_duplicate_rows_have_equal_columns(cls, name):
    kernel = cls(name, depth=3)
    K = kernel(DEGENERATE["duplicate rows"])
    others = [0, 2, 3, 8, 9]
    assert_array_equal(K[4, others], K[1, others])
    assert_array_equal(K[5, others], K[1, others])
    # Among the duplicates the ReLU angle is known to sqrt(2 eps) = 2e-8 per layer.
    assert_close(K[np.ix_([1, 4, 5], [1, 4, 5])], np.full((3, 3), K[1, 1]), 1e-6)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "cls, activation, depth",
    [*CLOSED_FORMS, pytest.param(NTK, np.tanh, 1, id="NTK-tanh-1")],
)
def test_zero_rows_in_float32(cls, activation, depth):
    rows = DEGENERATE["zero rows"]
    kernel = cls(activation, depth=depth, bias_variance=0.0)
    truth = kernel(rows)
    single = rows.astype(np.float32)
    K, gradient = kernel(single, eval_gradient=True)
    assert_close(K, truth, 2e-6)
    # Off the diagonal only: a ReLU angle at correlation 1 is known to 3e-4.
    assert_close(off_diagonal(kernel(single, single)), off_diagonal(truth), 2e-6)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("name", sorted(RELU_FAMILY | {"identity"}))
@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize("scale", [1e-100, 1e-6, 1e6, 1e100])
def test_relu_kernels_are_homogeneous(cls, name, scale):
    kernel = cls(name, depth=3, bias_variance=0.0)
    assert_close(kernel(scale * X) / scale / scale, kernel(X), 1e-13)


@pytest.mark.parametrize("scale", [1e7, 1e9, 1e50])
def test_erf_of_huge_inputs_is_the_arcsine_law(scale):
    """A sign network (Sheppard, 1899); the next term is O(1 / scale)."""
    length = np.linalg.norm(X, axis=1)
    correlation = off_diagonal(X @ X.T / np.outer(length, length))
    K = NNGP("erf", bias_variance=0.0)(scale * X)
    assert_allclose(off_diagonal(K), 2 / np.pi * np.arcsin(correlation), atol=1e-6)
    assert_allclose(np.diag(K), 1.0, atol=1e-6)


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize("scale", [1e7, 1e9, 1e50, 1e100])
def test_gelu_of_huge_inputs_is_relu(cls, scale):
    gelu = cls("gelu", bias_variance=0.0)(scale * X) / scale**2
    # A slope of GELU differs from a step on a share 1 / scale of the neurons.
    assert_close(gelu, cls("relu", bias_variance=0.0)(X), 1e-6)


@pytest.mark.parametrize("cls", [NNGP, NTK])
@pytest.mark.parametrize("name", [*NAMES, np.tanh])
def test_no_rows_give_empty_matrices(cls, name):
    """As scikit-learn's kernels do."""
    kernel, none = cls(name, depth=2), X[:0]
    matrix, gradient = kernel(none, eval_gradient=True)
    shapes = [kernel(none, X).shape, kernel(X, none).shape, kernel.diag(none).shape]
    assert matrix.shape == (0, 0)
    assert gradient.shape == (0, 0, 3)
    assert shapes == [(0, len(X)), (len(X), 0), (0,)]
