"""Every approximation of AdaptiveKernelRegressor against formulas in n x n matrices."""

import numpy as np
import pytest
from _approximations import (
    ALL,
    CLOSE,
    COUNTS,
    GAUSSIAN,
    KERNELS,
    LINEAR,
    NOISE,
    RESCALED,
    ROWS,
    TIGHT,
    WIDTH,
    X_NEW,
    Y1,
    Y2,
    Truth,
    X,
    degrees_of_freedom,
    gaussian_process,
    given,
    matrices,
    predictions,
    weighting,
)
from numpy.testing import assert_allclose
from scipy.special import gammaln

from adaptive_kernels.kernels import NNGP
from adaptive_kernels.kernels._recursion import features
from adaptive_kernels.theory import gaussian_adaptation, sampled


def repeated(weighted):
    rows = ROWS if weighted else slice(None)
    return rows, COUNTS if weighted else None


@weighting
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", RESCALED)
def test_one_output_against_brute_force(name, kernel, weighted):
    if name == "exact" and kernel not in LINEAR:
        pytest.skip("exact is of linear networks")
    kernel = KERNELS[kernel]
    rows, weights = repeated(weighted)
    model = given(name, kernel).fit(X, Y1, weights)
    truth = Truth(name, kernel, X[rows], Y1[rows])
    close = {"rtol": CLOSE[name], "atol": CLOSE[name]}
    mean, covariance = model.predict(X_NEW, return_cov=True)
    assert_allclose(mean, truth.mean, **close)
    assert_allclose(covariance, truth.covariance + NOISE * np.eye(4), **close)
    assert_allclose(model.predict(X_NEW), truth.mean, **close)
    variance = np.diag(truth.covariance) + NOISE
    assert_allclose(predictions(model), [truth.mean, np.sqrt(variance)], **close)
    assert_allclose(model.log_marginal_likelihood_value_, truth.evidence, **close)
    assert_allclose(model.scale_, truth.scale, **close)
    assert_allclose(model.effective_dof_, truth.dof, **close)
    assert isinstance(model.scale_, float)
    assert model.converged_


def several_outputs(S, K, cross, prior, Y, noise):
    """The Gaussian process of kernel S (x) K over all outputs at once."""
    C = S.shape[0]
    K, cross, prior = (np.kron(S, part) for part in (K, cross, prior))
    mean, covariance, evidence = gaussian_process(K, cross, prior, Y.T.ravel(), noise)
    size = len(mean) // C
    blocks = [covariance[c * size :, c * size :][:size, :size] for c in range(C)]
    return mean.reshape(C, size).T, np.stack(blocks, axis=-1), evidence


@weighting
@pytest.mark.parametrize("kernel", ["linear", "linear with bias", "erf", "relu"])
@pytest.mark.parametrize("name", ["tree", "rescaling"])
def test_two_outputs_against_brute_force(name, kernel, weighted):
    kernel = KERNELS[kernel]
    rows, weights = repeated(weighted)
    model = given(name, kernel).fit(X, Y2, weights)
    K, *others = matrices(kernel, X[rows])
    S, Y = model.scale_, Y2[rows]
    U = (
        np.linalg.solve(np.kron(S, K) + NOISE * np.eye(2 * len(K)), Y.T.ravel())
        .reshape(2, -1)
        .T
    )
    inverse = np.eye(2) - U.T @ K @ U / WIDTH
    if name == "rescaling":
        lam = np.linalg.eigvalsh(K)
        parts = [value * np.linalg.inv(NOISE * np.eye(2) + value * S) for value in lam]
        inverse += sum(parts) / WIDTH
    assert_allclose(S, np.linalg.inv(inverse), rtol=1e-9, atol=1e-9)
    mean, covariance, evidence = several_outputs(S, K, *others, Y, NOISE)
    actual = model.predict(X_NEW, return_cov=True)
    assert_allclose(actual[0], mean, rtol=1e-9)
    noise = NOISE * np.eye(4)[:, :, None]
    assert_allclose(actual[1] - noise, covariance, rtol=1e-8, atol=1e-10)
    s = np.linalg.eigvalsh(S)
    prior = np.log(s) + (1 / s - 1 if name == "tree" else 1 - s)
    evidence += WIDTH / 2 * np.sum(prior)
    assert_allclose(model.log_marginal_likelihood_value_, evidence, rtol=1e-9)
    dof = degrees_of_freedom(np.kron(S, K), NOISE) / 2
    assert_allclose(model.effective_dof_, dof, rtol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@weighting
@pytest.mark.parametrize("kernel", ["linear", "relu", "erf", "erf, full metric"])
@pytest.mark.parametrize("covariance_type", ["diag", "full"])
@pytest.mark.parametrize("name", GAUSSIAN)
def test_gaussian_is_the_process_of_its_kernel(name, covariance_type, kernel, weighted):
    rows, weights = repeated(weighted)
    model = given(name, KERNELS[kernel], covariance_type=covariance_type, **TIGHT)
    model.fit(X, Y2, weights)
    K, *others = matrices(model.kernel_, X[rows])
    truth = several_outputs(np.eye(2), K, *others, Y2[rows], NOISE)
    mean, covariance = model.predict(X_NEW, return_cov=True)
    assert_allclose(mean, truth[0], rtol=1e-8)
    noise = NOISE * np.eye(4)[:, :, None]
    assert_allclose(covariance - noise, truth[1], rtol=1e-8, atol=1e-10)
    assert_allclose(model.log_marginal_likelihood_value_, truth[2], rtol=1e-9)
    assert_allclose(model.effective_dof_, degrees_of_freedom(K, NOISE), rtol=1e-9)
    assert model.scale_ == 1.0
    if not weighted:
        theory = gaussian_adaptation(
            KERNELS[kernel],
            X,
            Y2,
            noise=NOISE,
            width=WIDTH,
            tree=name == "gaussian_tree",
            covariance_type=covariance_type,
            max_iter=3000,
            tol=1e-6,
        )
        # An objective flat to rounding leaves the place uncertain by its root.
        expected = theory.weight_covariance
        assert_allclose(model.weight_covariance_, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("kernel", LINEAR)
def test_linear_gaussian_tree_has_the_mean_of_the_tree_level(kernel, outputs):
    if "bias" in kernel or "metric" in kernel:
        pytest.skip("the bias of a hidden unit does not adapt")
    Y = Y2[:, :outputs]
    parameters = {"covariance_type": "full", **TIGHT}
    adapted = given("gaussian_tree", LINEAR[kernel], **parameters).fit(X, Y)
    scaled = given("tree", LINEAR[kernel]).fit(X, Y)
    assert_allclose(adapted.predict(X_NEW), scaled.predict(X_NEW), atol=1e-6)
    sigma = scaled.weight_covariance_
    assert_allclose(adapted.weight_covariance_, sigma, atol=1e-6)


@weighting
@pytest.mark.parametrize("kernel", LINEAR)
@pytest.mark.parametrize("name", RESCALED)
def test_weight_covariance_of_a_linear_network(name, kernel, weighted):
    """Prior P plus g / N P X' E[s u u' - s (noise + s K)^-1] X P over the scale s."""
    kernel = LINEAR[kernel]
    rows, weights = repeated(weighted)
    model = given(name, kernel).fit(X, Y1, weights)
    truth = Truth(name, kernel, X[rows], Y1[rows])
    scales = truth.scales if name == "exact" else [truth.scale]
    shares = truth.shares if name == "exact" else [1.0]
    middle = 0.0
    for s, share in zip(scales, shares, strict=True):
        u = truth.u(s)
        middle = middle + share * s * np.outer(u, u)
        if name != "tree":
            loss = np.linalg.inv(NOISE * truth.eye + s * truth.K)
            middle -= share * s * loss
    metric = np.ones(3) if kernel.metric is None else kernel.metric
    metric = np.diag(metric) if metric.ndim == 1 else metric
    prior = kernel.weight_variance / 3 * metric
    side = X[rows] @ prior
    expected = prior + kernel.readout_variance / WIDTH * side.T @ middle @ side
    close = CLOSE[name]
    assert_allclose(model.weight_covariance_, expected, rtol=close, atol=close)
    shares = np.diag(expected) * X[rows].var(axis=0)
    shares /= shares.sum()
    assert_allclose(model.feature_importances_, shares, rtol=close)


@pytest.mark.parametrize("name", ["tree", "rescaling"])
def test_weight_covariance_of_two_outputs(name):
    kernel = LINEAR["linear, full metric"]
    model = given(name, kernel).fit(X, Y2)
    K, S = kernel(X), model.scale_
    inverse = np.linalg.inv(np.kron(S, K) + NOISE * np.eye(24))
    U = (inverse @ Y2.T.ravel()).reshape(2, 12).T
    middle = U @ S @ U.T
    if name == "rescaling":
        blocks = (np.kron(S, np.eye(12)) @ inverse).reshape(2, 12, 2, 12)
        middle = middle - np.einsum("cicj->ij", blocks)
    prior = kernel.metric / 3
    side = X @ prior
    expected = prior + side.T @ middle @ side / WIDTH
    assert_allclose(model.weight_covariance_, expected, atol=1e-9)


@pytest.mark.parametrize("name", ["tree", "one_loop", "rescaling"])
@pytest.mark.parametrize("kernel", ["relu", "erf", "erf, diagonal metric"])
def test_a_rescaled_kernel_of_another_activation_knows_the_prior(name, kernel):
    kernel = KERNELS[kernel]
    model = given(name, kernel).fit(X, Y1)
    metric = np.ones(3) if kernel.metric is None else kernel.metric
    expected = kernel.weight_variance / 3 * metric
    assert_allclose(model.weight_covariance_, expected, rtol=1e-12)


@weighting
@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("kernel", ["linear", "linear with bias", "erf"])
@pytest.mark.parametrize("name", ALL)
def test_leave_one_out_is_a_refit_at_the_same_scale(name, kernel, outputs, weighted):
    if (outputs == 2 and name in ("one_loop", "exact")) or (
        name == "exact" and kernel == "erf"
    ):
        pytest.skip("no such theory")
    Y = Y2[:, :outputs]
    rows, weights = repeated(weighted)
    model = given(name, KERNELS[kernel]).fit(X, Y, weights)
    mean, std = model.leave_one_out_predict(return_std=True)
    scale = np.reshape(model.scale_ * np.ones(1), (-1,))
    S = scale * np.eye(outputs) if scale.size == 1 else model.scale_
    K, Y, sample = model.kernel_(X[rows]), Y[rows], np.arange(12)[rows]
    for i in range(12):
        # All copies of a row are left out together.
        kept, left = sample != i, np.flatnonzero(sample == i)[:1]
        expected, covariance, _ = several_outputs(
            S,
            K[np.ix_(kept, kept)],
            K[np.ix_(left, kept)],
            K[np.ix_(left, left)],
            Y[kept],
            NOISE,
        )
        assert_allclose(mean[i], expected[0], rtol=1e-7, atol=1e-9)
        assert_allclose(std[i] ** 2, covariance[0, 0] + NOISE, rtol=1e-8)


def erf_dual(K):
    q = 1 + 2 * np.diag(K)
    return 2 / np.pi * np.arcsin(2 * K / np.sqrt(np.outer(q, q)))


def deep_kernel(rows, scales, bias=0.3, weight=1.4, readout=0.8):
    """E[phi phi'] of erf layer by layer; every layer's second moment is rescaled."""
    K = bias + weight * rows @ rows.T / 3
    for s in scales[:-1]:
        K = bias + weight * s * erf_dual(K)
    return readout * scales[-1] * erf_dual(K)


@weighting
@pytest.mark.parametrize("depth", [2, 3])
def test_deep_rescaling_against_brute_force(depth, weighted):
    kernel = NNGP(
        "erf", depth=depth, bias_variance=0.3, weight_variance=1.4, readout_variance=0.8
    )
    rows, weights = repeated(weighted)
    model = given("rescaling", kernel).fit(X, Y1, weights)
    assert model.scale_.shape == (depth,)
    both, n = np.vstack([X[rows], X_NEW]), len(X[rows])
    t = np.log(model.scale_)

    def process(t):
        K = deep_kernel(both, np.exp(t))
        return gaussian_process(K[:n, :n], K[n:, :n], K[n:, n:], Y1[rows], NOISE)

    def log_posterior(t):
        return process(t)[2] + WIDTH / 2 * np.sum(t - np.expm1(t))

    for step in 1e-4 * np.eye(depth):
        slope = (log_posterior(t + step) - log_posterior(t - step)) / 2e-4
        # The layers' search ends at 1e-10 of a nat per row and rounding of 1e-15 / h.
        assert_allclose(slope, 0, atol=1e-5)
    mean, covariance, _ = process(t)
    # The last layer's scale fluctuates, those below are taken for certain.
    step = 1e-3 * np.eye(depth)[-1]
    low, peak, high = (log_posterior(t + h * step) for h in (-1, 0, 1))
    curvature = (2 * peak - low - high) / 1e-6
    slope = (process(t + step)[0] - process(t - step)[0]) / 2e-3
    covariance = covariance + np.outer(slope, slope) / curvature
    actual = model.predict(X_NEW, return_cov=True)
    assert_allclose(actual[0], mean, atol=1e-8)
    assert_allclose(actual[1], covariance + NOISE * np.eye(4), atol=1e-5)
    half = WIDTH / 2
    constant = half * np.log(half) - half - gammaln(half)
    evidence = peak + constant + 0.5 * np.log(2 * np.pi / curvature)
    assert_allclose(model.log_marginal_likelihood_value_, evidence, rtol=1e-6)
    K = deep_kernel(X[rows], model.scale_)
    assert_allclose(model.effective_dof_, degrees_of_freedom(K, NOISE), rtol=1e-9)


@pytest.mark.parametrize("depth", [2, 3])
def test_deep_gaussian_is_the_process_of_its_kernel(depth):
    kernel = NNGP("relu", depth=depth)
    model = given("gaussian", kernel, covariance_type="full").fit(X, Y2)
    matrix = model.kernel_.metric
    assert matrix.shape == (3, 3) and not np.allclose(matrix, np.eye(3), atol=0.01)
    K, *others = matrices(model.kernel_, X)
    truth = several_outputs(np.eye(2), K, *others, Y2, NOISE)
    assert_allclose(model.predict(X_NEW), truth[0], rtol=1e-9)
    assert_allclose(model.log_marginal_likelihood_value_, truth[2], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["linear", "linear with bias"])
def test_sampled_is_close_to_exact_for_linear_networks(kernel):
    kernel = LINEAR[kernel]
    parameters = {"width": 60.0}
    ours, exact = (
        given(name, kernel, **parameters).fit(X, Y1) for name in ("sampled", "exact")
    )
    # Two loops are left out, of relative order (degrees of freedom / width)^2 = 0.4 %,
    # and the points of the neurons are random.
    size = np.max(np.abs(exact.predict(X_NEW)))
    assert_allclose(ours.predict(X_NEW), exact.predict(X_NEW), atol=0.02 * size)
    std = predictions(exact)[1]
    assert_allclose(predictions(ours)[1], std, rtol=0.02)
    evidences = [m.log_marginal_likelihood_value_ for m in (ours, exact)]
    assert_allclose(*evidences, atol=0.05)
    largest = np.max(exact.weight_covariance_)
    sigma = exact.weight_covariance_
    assert_allclose(ours.weight_covariance_, sigma, atol=0.05 * largest)


@pytest.mark.slow
def test_sampled_is_the_theory_of_its_features():
    kernel = KERNELS["erf"]
    model = given("sampled", kernel).fit(X, Y1)
    F, F_new = (features(a, kernel.network(), None) for a in (model.X_train_, X_NEW))
    order = [np.flatnonzero(np.all(row == X, axis=1))[0] for row in model.X_train_]
    theory = sampled(
        F,
        Y1[order],
        kernel.network().activation,
        noise=NOISE,
        width=WIDTH,
        readout_variance=kernel.readout_variance,
    )
    mean, std = predictions(model)
    assert_allclose(mean, theory.mean(F_new), rtol=1e-9)
    assert_allclose(std**2, theory.variance(F_new) + NOISE, rtol=1e-9)
    evidence = model.log_marginal_likelihood_value_
    assert_allclose(evidence, theory.log_evidence, rtol=1e-9)
    # The first feature is the bias; the inputs have the prior weight_variance / d.
    sigma = kernel.weight_variance / 3 * theory.weight_covariance[1:, 1:]
    assert_allclose(model.weight_covariance_, sigma, rtol=1e-9)
    assert model.converged_ and model.scale_ == 1
