"""Kernels, linear algebra, evidence, theories and metrics on a device."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import special

from adaptive_kernels import _arrays, metrics
from adaptive_kernels._arrays import blocks, namespaces
from adaptive_kernels._arrays import dense_factors as factors
from adaptive_kernels.inference.factorization import (
    factorize,
    inverse_diagonal,
    leave_one_out,
)
from adaptive_kernels.inference.inducing_points import InducingData
from adaptive_kernels.kernels import NNGP, NTK, ModifiedSpectrum
from adaptive_kernels.theory import (
    Data,
    GradientFlow,
    Hyperparameters,
    Preconditioner,
    RegularizedEvidence,
    Spectrum,
    gaussian_adaptation,
    kernel_gradient_descent,
    layer_scales,
    one_loop,
    sampled,
    scale_saddle,
    tree_level,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(1)
X, Z = RNG.standard_normal((40, 3)), RNG.standard_normal((9, 3))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] ** 2], axis=1)
NAMES = ("erf", "relu", "leaky_relu", "abs", "gelu", "sin", "rbf", "tanh", "softplus")
FREE = ("weight_variance", "bias_variance", "readout_variance", "alpha")

ERF = NNGP("erf").network().activation


def close(library, actual, expected, tolerance=1e-9):
    assert isinstance(actual, library.type)
    scale = np.max(np.abs(expected))
    assert_allclose(
        library.host(actual), expected, rtol=tolerance, atol=tolerance * scale
    )


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("kind", [NNGP, NTK])
@pytest.mark.parametrize("name", NAMES)
def test_kernels(name, kind, depth, library):
    kernel, X_, Z_ = kind(name, depth=depth), library.array(X), library.array(Z)
    # A ReLU's slope near |rho| = 1 magnifies rounding, by 1 / sqrt(1 - rho^2).
    close(library, kernel(X_), kernel(X))
    close(library, kernel(Z_, X_), kernel(Z, X))
    close(library, kernel.diag(X_), kernel.diag(X))


def test_kernels_of_several_blocks(library, monkeypatch):
    whole = NTK("erf", depth=2)(X)
    monkeypatch.setattr(blocks, "DEVICE_BLOCK", 16)
    close(library, NTK("erf", depth=2)(library.array(X)), whole)


def test_rows_that_repeat_or_vanish(library):
    rows = np.vstack([X[:5], X[:5], np.zeros((1, 3))])
    kernel = NTK("relu", depth=2, bias_variance=0.0)
    close(library, kernel(library.array(rows)), kernel(rows), 1e-7)


def test_sums_and_modified_spectra(library):
    for kernel in (
        2.0 * NNGP() + NTK("erf"),
        ModifiedSpectrum(NNGP("erf"), X, n_components=5),
    ):
        close(library, kernel(library.array(Z)), kernel(Z), 1e-8)


@pytest.mark.parametrize("name", ["erf", "ndtr", "expit"])
def test_special_functions_do_not_wait_for_scipy(name, cuda, monkeypatch):
    monkeypatch.setattr(namespaces, "special", None)
    found = _arrays.special_function(name, cuda.array(X))
    close(cuda, found, getattr(special, name)(X), 1e-12)


@pytest.mark.parametrize("block", [7, 40, 64])
def test_inverse_and_solutions(block, library, monkeypatch):
    monkeypatch.setattr(factors, "INVERSE_BLOCK", block)
    A = X @ X.T + 0.1 * np.eye(40)
    # Whatever is above the diagonal is not read.
    matrix = library.array(np.tril(A) + np.triu(np.full((40, 40), np.nan), 1))
    if library.name != "cupy":
        matrix = library.array(A)
    factor = _arrays.cholesky(matrix)
    lower = np.tril(library.host(factor))
    assert_allclose(lower, np.linalg.cholesky(A), atol=1e-10 * np.max(A))
    close(library, _arrays.cho_solve(factor, library.array(Y)), np.linalg.solve(A, Y))
    close(library, inverse_diagonal(factor), np.diag(np.linalg.inv(A)))
    inverse = library.host(_arrays.inverse_from_cholesky(factor))
    truth = np.linalg.inv(A)
    assert_allclose(np.tril(inverse), np.tril(truth), atol=1e-9 * np.max(truth))


def test_no_factor_of_an_indefinite_matrix(library):
    A = X @ X.T + 0.1 * np.eye(40)
    A[30, 30] = -1.0
    for matrix in (A, np.full((40, 40), np.nan)):
        with pytest.raises(np.linalg.LinAlgError):
            _arrays.cholesky(library.array(matrix))


def test_leave_one_out(library):
    K, noise = NNGP("erf")(X), 0.1
    found = leave_one_out(
        factorize(library.array(K), library.array(Y), noise), library.array(Y)
    )
    truth = leave_one_out(factorize(K.copy(), Y, noise), Y)
    for actual, expected in zip(found, truth, strict=True):
        close(library, actual, expected)


def points(tangent, depth, root):
    network = replace(NNGP("erf", depth=depth).network(), is_ntk=tangent)
    return Hyperparameters(network, 0.1, root)


ROOTS = {
    None: None,
    "diag": np.array([0.5, 1.0, 2.0]),
    "full": np.linalg.cholesky(np.cov(X.T) + np.eye(3)),
}


@pytest.mark.parametrize("weights", [None, RNG.uniform(0.5, 2, 40)], ids=["", "w"])
@pytest.mark.parametrize("covariance_type", [None, "diag", "full"])
@pytest.mark.parametrize(("tangent", "depth"), [(False, 1), (True, 1), (True, 3)])
@pytest.mark.parametrize("inducing", [False, True])
def test_evidence_and_gradient(
    inducing, tangent, depth, covariance_type, weights, library, monkeypatch
):
    monkeypatch.setattr(blocks, "DEVICE_BLOCK", 16)
    monkeypatch.setattr(blocks, "DEVICE_BLOCK_BYTES", 16 * 8 * 16)
    monkeypatch.setattr(factors, "INVERSE_BLOCK", 16)
    point = points(tangent, depth, ROOTS[covariance_type])

    def value(convert):
        rows = [None if a is None else convert(a) for a in (X, Y, weights)]
        data = Data(*rows)
        if inducing:
            data = InducingData(*rows, n_inducing=12).with_inducing_points(point)
        problem = data.objective(
            point,
            width=10.0 if covariance_type else inf,
            covariance_type=covariance_type,
            free=FREE,
        )
        return problem(problem.pack(point))

    actual, expected = value(library.array), value(lambda a: a)
    assert_allclose(actual[0], expected[0], rtol=1e-9)
    assert isinstance(actual[1], np.ndarray)
    assert_allclose(actual[1], expected[1], rtol=1e-6, atol=1e-6)


def test_the_gradient_is_the_slope_of_the_evidence(library):
    data = Data(library.array(X), library.array(Y))
    point = points(True, 2, ROOTS["diag"])
    problem = RegularizedEvidence(
        data, point, width=5.0, covariance_type="diag", free=FREE
    )
    start = problem.pack(point)
    gradient = problem(start)[1]
    for k, step in enumerate(1e-5 * np.eye(len(start))):
        slope = (problem(start + step)[0] - problem(start - step)[0]) / 2e-5
        assert_allclose(gradient[k], slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("theory", [tree_level, scale_saddle, one_loop])
def test_self_consistent_equations(theory, library):
    K, targets = NNGP("erf")(X), Y[:, :1]
    at = {"noise": 0.1, "width": 400 if theory is one_loop else 40}
    truth = theory(Spectrum.of_kernel(K, targets), **at)
    spectrum = Spectrum.of_kernel(library.array(K), library.array(targets))
    found = theory(spectrum, **at)
    assert isinstance(spectrum.vectors, library.type)
    assert_allclose(found.log_evidence, truth.log_evidence, rtol=1e-8)
    assert_allclose(found.scale, truth.scale, rtol=1e-8)


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_adaptation(covariance_type, library):
    problem = {"noise": 0.1, "width": 40, "covariance_type": covariance_type}
    truth = gaussian_adaptation(NNGP("erf"), X, Y, **problem)
    found = gaussian_adaptation(
        NNGP("erf"), library.array(X), library.array(Y), **problem
    )
    actual = _arrays.to_numpy(found.weight_covariance)
    assert_allclose(actual, truth.weight_covariance, atol=1e-4)


def test_layer_scales(library):
    point = points(False, 2, None)
    one = Y[:, :1]
    truth = layer_scales(Data(X, one), point, width=50)
    found = layer_scales(Data(library.array(X), library.array(one)), point, width=50)
    assert_allclose(found, truth, rtol=1e-5)


def test_sampled_theory(library):
    options = {"noise": 0.2, "width": 30, "n_points": 2**8, "random_state": 0}
    truth = sampled(X, Y[:, 0], ERF, **options)
    found = sampled(library.array(X), library.array(Y[:, 0]), ERF, **options)
    close(library, found.mean(library.array(Z)), truth.mean(Z), 1e-5)


def test_flow_and_descent(library):
    K, targets = NTK("erf")(X), Y
    truth = GradientFlow.of_kernel(K, targets, None)
    found = GradientFlow.of_kernel(library.array(K), library.array(targets), None)
    close(library, found.dual(10.0, 0.1), truth.dual(10.0, 0.1), 1e-7)
    options = {"ridge": 0.1, "tol": 0.0, "max_iter": 20}
    values, vectors = np.linalg.eigh(K)
    pairs = values[::-1][:6], vectors[:, ::-1][:, :6].copy()
    plain = Preconditioner.of_eigenpairs(*pairs, 5, spectrum="flat", ridge=0.1)
    there = Preconditioner.of_eigenpairs(
        pairs[0], library.array(pairs[1]), 5, spectrum="flat", ridge=0.1
    )
    expected = kernel_gradient_descent(K, targets, preconditioner=plain, **options)
    actual = kernel_gradient_descent(
        library.array(K), library.array(targets), preconditioner=there, **options
    )
    close(library, actual.dual_coef, expected.dual_coef, 1e-7)


LABELS = (X[:, 0] > 0).astype(int)


@pytest.mark.parametrize("centered", [True, False])
def test_alignment_and_dimension(centered, library):
    K, targets = NNGP("erf")(X), Y[:, 0]
    for values, kind in ((K, "kernel"), (X, "features"), (X, NNGP("relu"))):
        found = metrics.kernel_target_alignment(
            library.array(values), library.array(targets), input=kind, centered=centered
        )
        truth = metrics.kernel_target_alignment(
            values, targets, input=kind, centered=centered
        )
        assert_allclose(found, truth, rtol=1e-8)
        assert_allclose(
            metrics.effective_dimension(library.array(values), 0.1, input=kind),
            metrics.effective_dimension(values, 0.1, input=kind),
            rtol=1e-8,
        )


def test_collapse(library):
    for values, kind in ((NNGP("erf")(X), "kernel"), (X, "features")):
        found = metrics.neural_collapse(
            library.array(values), library.array(LABELS), input=kind
        )
        truth = metrics.neural_collapse(values, LABELS, input=kind)
        assert_allclose(found.score, truth.score, rtol=1e-8)


def test_metrics_of_predictions(library):
    y, mean, std = Y[:, 0], Y[:, 1], np.full(40, 0.5)
    there = [library.array(a) for a in (y, mean, std)]
    weights = np.arange(40.0)
    for metric, options in (
        (metrics.predictive_log_density, {"sample_weight": library.array(weights)}),
        (metrics.interval_coverage, {}),
    ):
        truth = {"sample_weight": weights} if options else {}
        assert_allclose(metric(*there, **options), metric(y, mean, std, **truth))
    assert_allclose(metrics.discrepancy(*there[:2]), metrics.discrepancy(y, mean))
