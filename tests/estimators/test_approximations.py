"""Every approximation of AdaptiveKernelRegressor against formulas in n x n matrices."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from _approximations import (
    ALL,
    CLOSE,
    COUNTS,
    DIAGONAL,
    GAUSSIAN,
    KERNELS,
    LINEAR,
    NOISE,
    RESCALED,
    ROOT,
    ROWS,
    TIGHT,
    WIDTH,
    X_NEW,
    Y1,
    Y2,
    Truth,
    X,
    degrees_of_freedom,
    every,
    every_and_sampled,
    gaussian_process,
    given,
    matrices,
    predictions,
    tuned,
    weighting,
)
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import gammaln
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from adaptive_kernels import AdaptiveKernelRegressor, NNGPRegressor
from adaptive_kernels.datasets import make_ising
from adaptive_kernels.estimators import finite_width
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.kernels._recursion import features
from adaptive_kernels.theory import gaussian_adaptation, sampled
from adaptive_kernels.theory.finite_width import sequential_monte_carlo


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


@every_and_sampled
def test_weights_are_repeated_rows(name):
    kernel = LINEAR["linear with bias"]
    weighted, doubled = (
        given(name, kernel, **TIGHT if name in GAUSSIAN else {}) for _ in range(2)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        weighted.fit(X, Y1, COUNTS)
        # Copies that differ by rounding are not merged: another path to the same.
        shift = 1e-9 * np.random.default_rng(1).standard_normal((len(ROWS), 3))
        doubled.fit(X[ROWS] + shift, Y1[ROWS])
    # Sampled neurons differ by their random points only in the order of the rows.
    rtol = 0.01 if name == "sampled" else 1e-5
    assert len(weighted.X_train_) == 12 and len(doubled.X_train_) == len(ROWS)
    for model in (weighted, doubled):
        assert np.all(np.isfinite(predictions(model)))
    assert_allclose(predictions(weighted), predictions(doubled), rtol=rtol, atol=1e-4)
    evidences = [m.log_marginal_likelihood_value_ for m in (weighted, doubled)]
    assert_allclose(*evidences, rtol=rtol)
    dofs = [m.effective_dof_ for m in (weighted, doubled)]
    assert_allclose(*dofs, rtol=rtol)
    sigmas = [m.weight_covariance_ for m in (weighted, doubled)]
    assert_allclose(*sigmas, rtol=rtol, atol=1e-3)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("root", [np.sqrt(DIAGONAL), ROOT], ids=["diagonal", "full"])
@pytest.mark.parametrize("activation", ["identity", "erf"])
@every_and_sampled
def test_metric_is_a_transformation_of_the_inputs(name, activation, root):
    if name == "exact" and activation == "erf":
        pytest.skip("exact is of linear networks")
    matrix = np.diag(root) if root.ndim == 1 else root
    metric = root**2 if root.ndim == 1 else root @ root.T
    full = {"covariance_type": "full", **TIGHT}
    ours = given(name, NNGP(activation, metric=metric), **full).fit(X, Y1)
    moved = given(name, NNGP(activation), **full).fit(X @ matrix, Y1)
    # A search in rotated coordinates ends within the root of rounding, and neurons
    # in rotated coordinates are other neurons.
    close = {**{n: 1e-5 for n in GAUSSIAN}, "sampled": 0.02}.get(name, 1e-10)
    expected = predictions(moved, X_NEW @ matrix)
    assert_allclose(predictions(ours), expected, rtol=close, atol=close)
    sigma = moved.weight_covariance_
    sigma = np.diag(sigma) if sigma.ndim == 1 else sigma
    found = ours.weight_covariance_
    found = np.diag(found) if found.ndim == 1 else found
    scale = np.max(np.abs(found))
    assert_allclose(found, matrix @ sigma @ matrix.T, atol=5 * close * scale)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every_and_sampled
def test_units_of_x_with_tuning(name):
    rows = np.random.default_rng(3).standard_normal((30, 3))
    targets = np.sin(rows[:, 0]) + 0.1 * np.random.default_rng(4).standard_normal(30)
    one, large = (tuned(name).fit(c * rows, targets) for c in (1, 1000))
    expected = predictions(one)
    # The search ends where rounding lets it: its own tolerance is 0.2 nats.
    assert_allclose(predictions(large, 1000 * X_NEW), expected, rtol=1e-4, atol=1e-5)
    sigma, shrunk = one.weight_covariance_, large.weight_covariance_
    close = 1e-3 * np.max(np.abs(sigma))
    assert_allclose(1e6 * shrunk, sigma, atol=close)


@pytest.mark.parametrize("scale_noise", [False, True])
@pytest.mark.parametrize("optimizer", ["evidence", None])
@every
def test_scaling_divides_variance_and_noise(name, optimizer, scale_noise):
    parameters = {"optimizer": optimizer, "alpha": 0.2, **TIGHT}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one = tuned(name, **parameters).fit(X, Y1)
        model = tuned(name, scaling=5, scale_noise=scale_noise, **parameters)
        model.fit(X, Y1)
        network = one.kernel_.get_params()
        network |= {"weight_variance": one.kernel_.weight_variance / 5, "metric": None}
        alpha = one.alpha_ / (5 if scale_noise else 1)
        by_hand = given(name, type(one.kernel_)(**network), alpha=alpha, **TIGHT)
        by_hand.fit(X, (Y1 - Y1.mean()) / Y1.std())
    assert_allclose(model.alpha_, alpha, rtol=1e-12)
    close = 1e-4 if name in GAUSSIAN else 1e-9
    mean, std = predictions(by_hand) * Y1.std()
    expected = [mean + Y1.mean(), std]
    assert_allclose(predictions(model), expected, rtol=close, atol=close)
    assert_allclose(model.scale_, by_hand.scale_, rtol=1e-9)
    assert np.max(np.abs(model.predict(X_NEW) - one.predict(X_NEW))) > 1e-3


@pytest.mark.parametrize("name", ["tree", "one_loop", "rescaling"])
def test_all_but_gaussian_take_the_nngp_hyperparameters(name):
    nngp = NNGPRegressor(NNGP("erf")).fit(X, Y1)
    model = tuned(name).fit(X, Y1)
    assert model.alpha_ == nngp.alpha_
    assert_array_equal(model.kernel_.theta, nngp.kernel_.theta)


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


def test_broken_one_loop_warns_and_rescales():
    rows, targets = make_ising(80, 100, random_state=0)
    kernel = NNGP("identity", bias_variance=0)
    parameters = {"width": 40, "alpha": 0.05}
    # Many more degrees of freedom than units: acceptance case 6.
    with pytest.warns(ConvergenceWarning, match="1.8 times the width.*raise width"):
        model = given("one_loop", kernel, **parameters).fit(rows, targets)
    saddle = given("rescaling", kernel, **parameters).fit(rows, targets)
    assert model.scale_ == saddle.scale_
    assert_array_equal(predictions(model, rows), predictions(saddle, rows))


def no_tuning(*args, **kwargs):
    raise AssertionError("the fit went on to the tuning")


OTHER = {"exact": "rescaling", "one_loop": "rescaling", "sampled": "rescaling"}
REFUSED = [
    ("exact", NNGP("erf"), Y1, "approximation='exact' needs.*'rescaling' or 'sampled'"),
    ("exact", NNGP("relu"), Y1, "approximation='exact' needs.*activation='identity'"),
    *(
        (a, NNGP("identity"), Y2, f"{a}.*one output, got 2: take.*one by one")
        for a in OTHER
    ),
    *(
        (a, NNGP("identity", depth=2), Y1, f"{a}.*got depth=2: take.*or depth=1")
        for a in ("tree", *OTHER)
        if a != "rescaling"
    ),
    *(
        (a, NTK("identity"), Y1, f"approximation='{a}'.*NNGP: take that instead of NTK")
        for a in ("tree", "rescaling", *OTHER)
    ),
    ("rescaling", NNGP("erf", depth=2), Y2, "depth=2 has one output.*depth=1"),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "kernel", "targets", "message"), REFUSED)
def test_theories_that_do_not_exist(monkeypatch, name, kernel, targets, message):
    for function in ("tune_isotropic", "tune_covariance", "warm_start"):
        monkeypatch.setattr(finite_width, function, no_tuning)
    with pytest.raises(ValueError, match=message):
        AdaptiveKernelRegressor(kernel, approximation=name).fit(X, targets)


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_scale_noise_is_a_bool(value):
    with pytest.raises(ValueError, match="'scale_noise'.*bool"):
        given("tree", scale_noise=value).fit(X, Y1)


@every
def test_a_failed_fit_changes_nothing(name):
    model = given(name).fit(X, Y1)
    before, expected = dict(vars(model)), predictions(model)
    with pytest.raises(ValueError):
        model.set_params(approximation="exact", kernel=NNGP("erf")).fit(X, Y1)
    model.set_params(approximation=name, kernel=before["kernel"])
    assert vars(model) == before
    assert_array_equal(predictions(model), expected)


@every_and_sampled
def test_pickle_clone_float32_and_frames(name):
    model = given(name, LINEAR["linear with bias"]).fit(X, Y1)
    expected = predictions(model)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(predictions(again), expected)
    assert again.effective_dof_ == model.effective_dof_
    assert_array_equal(predictions(clone(model).fit(X, Y1)), expected)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    other = clone(model).fit(frame, pd.Series(Y1))
    new = pd.DataFrame(X_NEW, columns=["a", "b", "c"])
    assert_array_equal(predictions(other, new), expected)
    single = [a.astype(np.float32) for a in (X, Y1, X_NEW)]
    double = [a.astype(np.float64) for a in single]
    results = [predictions(clone(model).fit(*a[:2]), a[2]) for a in (single, double)]
    assert_array_equal(*results)
    assert results[0].dtype == np.float64


@every_and_sampled
def test_evidence_is_one_function_of_the_variances(name):
    model = given(name, LINEAR["linear with bias"], scaling=2, scale_noise=True)
    model.fit(X, Y1)
    value = model.log_marginal_likelihood_value_
    again = model.log_marginal_likelihood(model.kernel_.theta)
    assert_allclose(again, value, rtol=1e-9)
    if name != "gaussian" and name != "gaussian_tree":
        theta = model.kernel_.theta + 0.1
        other = given(name, model.kernel_.clone_with_theta(theta), alpha=model.alpha_)
        expected = other.fit(X, Y1).log_marginal_likelihood_value_
        assert_allclose(model.log_marginal_likelihood(theta), expected, rtol=1e-9)


EXTREMES = {
    "one row": {"n": 1},
    "two rows": {"n": 2},
    "zero targets": {"y": 0.0},
    "constant targets": {"y": 3.0},
    "little noise": {"alpha": 1e-10},
    "width below rows": {"width": 4},
    "width 0.1": {"width": 0.1},
    "huge width": {"width": 1e12},
    "scaling 1e6": {"scaling": 1e6},
    "scaling 1e6 with noise": {"scaling": 1e6, "scale_noise": True},
    "scaling 1e-6": {"scaling": 1e-6},
    "rows repeated": {"rows": np.zeros(12, int)},
    "constant columns": {"x": (1.0, 0.0, 0.0)},
    "zero inputs": {"x": (0.0, 0.0, 0.0)},
    "no weight variance": {"weight": 0.0},
}


# A warning is an answer too; wrong or infinite numbers are not.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("bias", [0.0, 0.2])
@pytest.mark.parametrize("tuning", ["evidence", None])
@pytest.mark.parametrize("case", EXTREMES)
@every_and_sampled
def test_extremes_are_finite(monkeypatch, name, case, tuning, bias):
    if name == "sampled" and (tuning or bias):
        pytest.skip("takes minutes, and the data are as extreme without")
    monkeypatch.setattr(sequential_monte_carlo, "MAX_STAGES", 10)
    case = dict(EXTREMES[case])
    rows = X[case.pop("rows", np.arange(12))][: case.get("n", 12)]
    rows = rows * np.array(case.pop("x", (1, 1, 1)))
    targets = Y1[: case.pop("n", 12)]
    if "y" in case:
        targets = np.full(len(targets), case.pop("y"))
    weight = case.pop("weight", 1.0)
    activation = "identity" if name == "exact" else "erf"
    kernel = NNGP(activation, bias_variance=bias, weight_variance=weight)
    model = given(name, kernel, **case | {"optimizer": tuning, "normalize_y": True})
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        model.fit(rows, targets)
        mean, std = predictions(model)
        loo = model.leave_one_out_predict(return_std=True)
        covariance = model.predict(X_NEW, return_cov=True)[1]
    numbers = mean, std, covariance, *loo, model.scale_, model.effective_dof_
    for value in (*numbers, model.log_marginal_likelihood_value_):
        assert np.all(np.isfinite(value))
    assert np.all(std > 0)
    sigma = model.weight_covariance_
    assert np.all(np.isfinite(sigma))
    values = sigma if sigma.ndim == 1 else np.linalg.eigvalsh(sigma)
    assert np.all(values >= -1e-12 * np.max(np.abs(values)))
    if np.ptp(targets) == 0:
        assert_allclose(mean, targets[0], atol=1e-12)


@every
def test_no_noise_interpolates(name):
    kernel = NNGP("identity") if name == "exact" else NNGP("erf")
    rows = slice(0, 4 if name == "exact" else 12)
    model = given(name, kernel, alpha=0.0, width=100).fit(X[rows], Y1[rows])
    assert_allclose(model.predict(X[rows]), Y1[rows], atol=1e-6)


@every
def test_no_noise_and_a_singular_kernel(name):
    kernel = NNGP("identity")
    error = np.linalg.LinAlgError if name in GAUSSIAN else ValueError
    with pytest.raises(error, match="raise alpha"):
        given(name, kernel, alpha=0.0).fit(X, Y1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("width", [1, 100])
@every
def test_no_noise_and_nothing_to_learn(name, width):
    rows = X[:4]
    model = given(name, NNGP("identity"), alpha=0.0, width=width)
    # Below the rows in number the scale of a network of no noise and no signal has
    # no posterior: it falls to zero.
    try:
        model.fit(rows, np.zeros(4))
    except ValueError as error:
        assert "alpha" in str(error)
    else:
        assert_allclose(model.predict(X_NEW), 0, atol=1e-12)


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
