"""Top eigenpairs against a dense solver, modified kernels against Fourier series."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from adaptive_kernels._arrays import memory
from adaptive_kernels.kernels import NNGP, NTK, _eigenpairs
from adaptive_kernels.kernels._eigenpairs import (
    KernelRows,
    nystrom_eigenpairs,
    top_eigenpairs,
)
from adaptive_kernels.kernels._spectrum import ModifiedSpectrum, modified_eigenvalues

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
X_NEW = RNG.standard_normal((9, 3))
BASE = NTK("relu")
EPS = np.finfo(float).eps


def circle(angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def matrix(eigenvalues, seed=0):
    """A symmetric matrix with given eigenvalues in random directions."""
    n = len(eigenvalues)
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    K = (Q * eigenvalues) @ Q.T
    return (K + K.T) / 2


# Dense and Lanczos, which misses copies of eigenvalues repeated as in "missed".
EIGENVALUES = {
    "dense": np.geomspace(1, 1e-9, 100),
    "lanczos": np.geomspace(1, 1e-9, 600),
    "repeated": np.repeat(np.geomspace(1, 1e-6, 12), 50),
    "missed": np.r_[np.ones(20), np.geomspace(0.5, 1e-6, 580)],
    "low rank": np.r_[3.0, 2.0, 1.0, np.zeros(597)],
    "zero": np.zeros(600),
}


@pytest.mark.parametrize("case", EIGENVALUES)
@pytest.mark.parametrize("seed", range(3))
def test_top_eigenpairs(case, seed):
    expected = EIGENVALUES[case]
    K = matrix(expected, seed) if expected.any() else np.zeros((600, 600))
    values, vectors = top_eigenpairs(K, 30, random_state=seed)
    rounding = 100 * EPS * len(K)
    assert values.shape == (30,) and np.all(values >= 0)
    assert_allclose(values, expected[:30], rtol=0, atol=rounding)
    assert_allclose(vectors.T @ vectors, np.eye(30), atol=rounding)
    assert_allclose(K @ vectors, vectors * values, atol=rounding)


def test_few_components_of_a_large_matrix_come_from_lanczos(monkeypatch):
    monkeypatch.setattr(_eigenpairs, "_dense", None)
    values, _ = top_eigenpairs(matrix(EIGENVALUES["lanczos"]), 30)
    assert_allclose(values, EIGENVALUES["lanczos"][:30], atol=1e-12)


def test_more_components_than_rows():
    assert top_eigenpairs(np.eye(3), 10)[0].shape == (3,)


@pytest.mark.parametrize("n_components", [0, 1.5, "many"])
def test_unusable_n_components(n_components):
    with pytest.raises(ValueError, match="n_components"):
        top_eigenpairs(np.eye(3), n_components)
    with pytest.raises(ValueError, match="n_components"):
        ModifiedSpectrum(BASE, X, n_components=n_components)(X)


def test_rules_of_the_spectrum():
    values = np.array([9.0, 4.0, 1.0])
    assert_array_equal(modified_eigenvalues(values, "flat", 10), [1, 1, 1])
    assert_array_equal(modified_eigenvalues(values, "identity", 10), values)
    assert_allclose(modified_eigenvalues(values[:2], 0.5, 10), [6, 4])
    # A function sees l / n: 0.9, 0.4 and 0.1 here.
    assert_allclose(modified_eigenvalues(values, np.square, 10), [8.1, 1.6, 0.1])


@pytest.mark.parametrize(
    "spectrum",
    ["steep", None, [0.5], np.nan, np.log, lambda v: v[:1], lambda v: v / 0],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_unusable_spectrum(spectrum):
    with pytest.raises(ValueError, match="spectrum must"):
        modified_eigenvalues(np.array([0.9, 0.5]), spectrum, 1)


@pytest.mark.parametrize("n_components", [1, 7, 40])
def test_identity_returns_the_kernel(n_components):
    kernel = ModifiedSpectrum(BASE, X, spectrum="identity", n_components=n_components)
    assert_allclose(kernel(X), BASE(X), rtol=1e-8)
    assert_allclose(kernel(X_NEW, X), BASE(X_NEW, X), rtol=1e-8)
    assert_allclose(kernel(X_NEW), BASE(X_NEW), rtol=1e-8)


@pytest.mark.parametrize("keep_tail", [True, False])
def test_eigenvalues_on_the_sample(keep_tail):
    # Not ReLU's, whose angle between equal rows has an error of 1e-9.
    base = NTK("erf")
    kernel = ModifiedSpectrum(
        base, X, spectrum=np.sqrt, n_components=6, keep_tail=keep_tail
    )
    values, vectors = np.linalg.eigh(base(X))
    expected = values * keep_tail
    expected[-6:] = 40 * np.sqrt(values[-6:] / 40)
    # Weights 1 / l^2 amplify the rounding of the largest eigenvalue.
    rtol = 100 * EPS * (values[-1] / values[-6]) ** 2
    assert_allclose(kernel(X), (vectors * expected) @ vectors.T, atol=rtol * 40)


@pytest.mark.parametrize("spectrum", ["flat", 0.5, 2.0, lambda v: 10 * v])
@pytest.mark.parametrize("keep_tail", [True, False])
def test_modified_kernel_is_one(spectrum, keep_tail):
    kernel = ModifiedSpectrum(
        BASE, X, spectrum=spectrum, n_components=10, keep_tail=keep_tail
    )
    rows = np.vstack([X_NEW, X])
    K = kernel(rows)
    assert_array_equal(K, K.T)
    assert_allclose(kernel.diag(rows), np.diag(K), rtol=1e-10)
    assert_allclose(kernel(X_NEW, X), K[:9, 9:], rtol=1e-9, atol=1e-11 * K.max())
    values = np.linalg.eigvalsh(K)
    assert values[0] >= -1e-10 * values[-1]
    if not keep_tail:
        assert np.sum(values > 1e-10 * values[-1]) == 10


def fourier_kernel(base, new, modes, at):
    """Eigenvalues `new` of the modes up to a frequency, in their exact eigenfunctions.

    On the circle a kernel is sum_m c_m cos(m t): eigenvalue c_0 once, c_m / 2 twice.
    """
    n = 4096
    profile = base(circle(2 * np.pi * np.arange(n) / n), circle(np.zeros(1)))[:, 0]
    old = np.fft.rfft(profile).real / n
    values = old.copy()
    values[: modes + 1] = new(old[: modes + 1])
    gaps = at[:, None] - at[None, :]
    weights = np.r_[1, np.full(1000, 2)] * values[:1001]
    return sum(w * np.cos(m * gaps) for m, w in enumerate(weights))


def sample_error(n, seed, keep_tail):
    """Relative error of 9 frequencies, 19 modes, taken to 0.3 sqrt(lam)."""
    base = NTK("relu", weight_variance=2.0)

    def new(eigenvalues):
        return 0.3 * np.sqrt(eigenvalues)

    sample = circle(2 * np.pi * np.random.default_rng(seed).uniform(size=n))
    kernel = ModifiedSpectrum(
        base, sample, spectrum=new, n_components=19, keep_tail=keep_tail
    )
    at = np.linspace(0, 2 * np.pi, 23)
    expected = fourier_kernel(base, new, 9, at)
    if not keep_tail:
        expected = expected - fourier_kernel(base, np.zeros_like, 9, at)
    return np.linalg.norm(kernel(circle(at)) - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("keep_tail", [True, False])
def test_eigenfunctions_of_the_circle(keep_tail):
    """The error falls as n^{-1/2}: by 3.2 from 200 to 2000 rows."""
    few, many = (
        np.mean([sample_error(n, seed, keep_tail) for seed in range(4)])
        for n in (200, 2000)
    )
    assert many < 0.05
    assert many < few / 2


def test_gaussian_process_with_the_kernel():
    y = np.sin(X[:, 0])
    kernel = ModifiedSpectrum(BASE, X, n_components=5)
    model = GaussianProcessRegressor(kernel + 0.5, alpha=0.1, optimizer=None).fit(X, y)
    K = kernel(X) + 0.5 + 0.1 * np.eye(40)
    expected = (kernel(X_NEW, X) + 0.5) @ np.linalg.solve(K, y)
    assert_allclose(model.predict(X_NEW), expected, rtol=1e-8)


def test_there_is_nothing_to_optimise():
    kernel = ModifiedSpectrum(BASE, X, n_components=5)
    assert kernel.theta.shape == (0,)
    K, gradient = kernel(X, eval_gradient=True)
    assert gradient.shape == (40, 40, 0)
    GaussianProcessRegressor(kernel, alpha=0.1).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="Gradient"):
        kernel(X, X_NEW, eval_gradient=True)


def test_modes_follow_the_parameters():
    def fresh(base=BASE, sample=X, n_components=5):
        return ModifiedSpectrum(base, sample, n_components=n_components)(X_NEW)

    kernel = ModifiedSpectrum(clone(BASE), X, n_components=5)
    kernel(X_NEW)
    kernel.base.bias_variance = 2.0
    other = NTK("relu", bias_variance=2.0)
    assert_array_equal(kernel(X_NEW), fresh(other))
    kernel.set_params(n_components=3)
    assert_array_equal(kernel(X_NEW), fresh(other, n_components=3))
    kernel.set_params(sample=X[:20])
    assert_array_equal(kernel(X_NEW), fresh(other, X[:20], 3))


def test_modes_are_computed_once(monkeypatch):
    kernel = ModifiedSpectrum(BASE, X, n_components=5)
    expected = kernel(X_NEW)
    monkeypatch.setattr(_eigenpairs, "top_eigenpairs", None)
    assert_array_equal(kernel(X_NEW), expected)


def test_copies_are_equal_and_print():
    kernel = ModifiedSpectrum(RBF(2.0), X, spectrum=0.5, n_components=5)
    copy = clone(kernel)
    assert kernel == copy
    assert_array_equal(kernel(X_NEW), copy(X_NEW))
    assert kernel != copy.set_params(sample=X[:5])
    assert kernel != RBF(2.0)
    text = "ModifiedSpectrum(RBF(length_scale=2), spectrum=0.5, n_components=5, "
    assert repr(kernel) == text + "keep_tail=True)"
    assert not kernel.is_stationary()


def test_modes_that_are_rounding_stay_out():
    """Three features make rank 3, however many components are asked for."""
    base = NNGP("identity", bias_variance=0.0)
    kernel = ModifiedSpectrum(base, X, n_components=20, keep_tail=False)
    values = np.linalg.eigvalsh(base(X))
    assert_allclose(np.linalg.eigvalsh(kernel(X))[-4:-3], [0.0], atol=1e-12)
    assert_allclose(np.linalg.eigvalsh(kernel(X))[-3:], values[-3], rtol=1e-10)
    with pytest.raises(ValueError, match="zero"):
        ModifiedSpectrum(NNGP(readout_variance=0.0), X)(X)
    with pytest.raises(ValueError, match="zero"):
        ModifiedSpectrum(NTK(bias_variance=0.0), 0 * X)(X)


def test_sample_that_does_not_fit_in_memory(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda like: 1000)
    with pytest.raises(MemoryError, match="40 rows"):
        ModifiedSpectrum(None, X)(X)


def test_single_precision_is_computed_in_double():
    kernel = ModifiedSpectrum(BASE, X.astype(np.float32), n_components=5)
    K = kernel(X_NEW.astype(np.float32))
    assert K.dtype == np.float64
    expected = ModifiedSpectrum(BASE, X, n_components=5)(X_NEW)
    # Inputs are rounded to 6e-8; small eigenvalues amplify it.
    assert_allclose(K, expected, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 3000, 2**27])
def test_kernel_rows_multiply_in_blocks(monkeypatch, size):
    monkeypatch.setattr(_eigenpairs, "_BLOCK_BYTES", size)
    rows = np.vstack([X, X_NEW])
    vectors = RNG.standard_normal((49, 2))
    assert_allclose(KernelRows(BASE, rows) @ vectors, BASE(rows) @ vectors)
    cross = KernelRows(BASE, X_NEW, X)
    assert cross.shape == (9, 40)
    assert_allclose(cross @ vectors[:40, 0], BASE(X_NEW, X) @ vectors[:40, 0])


def test_nystrom_eigenpairs(monkeypatch):
    """Never larger than the true ones, close to them, and never from n x n."""
    shapes = []

    def kernel(A, B=None):
        K = BASE(A, B)
        shapes.append(K.shape)
        return K

    monkeypatch.setattr(_eigenpairs, "_BLOCK_BYTES", 8 * 500 * 50)
    rows = np.random.default_rng(1).standard_normal((500, 3))
    values, vectors = nystrom_eigenpairs(
        kernel, rows, 10, n_subsample=100, random_state=0
    )
    assert max(a * b for a, b in shapes) <= 500 * 50
    K = BASE(rows)
    expected, directions = np.linalg.eigh(K)
    expected, directions = expected[:-11:-1], directions[:, :-11:-1]
    assert np.all(values <= expected * (1 + 1e-10))
    assert_allclose(values, expected, rtol=0.02)
    assert_allclose(vectors.T @ vectors, np.eye(10), atol=1e-12)
    # The first four eigenvalues stand apart, and so do their directions.
    assert_allclose(np.sum(vectors * directions, axis=0)[:4] ** 2, 1, atol=1e-3)


def test_nystrom_on_all_rows_is_exact():
    values, vectors = nystrom_eigenpairs(BASE, X, 10, random_state=0)
    expected, directions = top_eigenpairs(BASE(X), 10)
    assert_allclose(values, expected, rtol=1e-8)
    assert_allclose(np.abs(np.sum(vectors * directions, axis=0)), 1, rtol=1e-8)


@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
def test_other_array_libraries(library):
    xp = pytest.importorskip(library)
    A, A_new = xp.asarray(X), xp.asarray(X_NEW)
    kernel = ModifiedSpectrum(BASE, A, n_components=5)
    expected = ModifiedSpectrum(BASE, X, n_components=5)
    for ours, theirs in (
        (kernel(A_new), expected(X_NEW)),
        (kernel(A_new, A), expected(X_NEW, X)),
        (kernel.diag(A_new), expected.diag(X_NEW)),
        (kernel.set_params(sample=X)(A_new), expected(X_NEW)),
    ):
        assert type(ours) is type(A)
        # ReLU's angle between a row and itself is known to the root of rounding.
        assert_allclose(np.asarray(ours), theirs, rtol=1e-10, atol=1e-8)
    values, vectors = top_eigenpairs(BASE(A), 5)
    assert_allclose(values, top_eigenpairs(BASE(X), 5)[0], rtol=1e-10)
    assert vectors.shape == (40, 5)
    values, vectors = nystrom_eigenpairs(BASE, A, 5, random_state=0)
    assert_allclose(values, top_eigenpairs(BASE(X), 5)[0], rtol=1e-8)
    assert type(vectors) is type(A)
