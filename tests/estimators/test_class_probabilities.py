"""Class probabilities: calibration on rows left out, frequencies, pure noise."""

from dataclasses import replace

import numpy as np
import pytest
from _classes import CODES, COUNTS, MODELS, X_NEW, X, linear_truth, single
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn.metrics import log_loss

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    NNGPClassifier,
)
from adaptive_kernels.inference.class_calibration import (
    NOISE_RANGE,
    NOISE_STEP,
    Calibration,
    ExactClasses,
    fit_calibration,
    fit_class_posterior,
)
from adaptive_kernels.inference.evidence import Data, Hyperparameters
from adaptive_kernels.inference.posterior import GaussianPosterior
from adaptive_kernels.kernels import NNGP, NTK


def bayes_loss(p):
    return -np.mean(np.sum(p * np.log(p), axis=1))


@pytest.mark.parametrize("weights", [None, COUNTS / 2], ids=["equal", "weighted"])
@pytest.mark.parametrize("kernel", [NNGP("erf"), NTK("relu", depth=2)], ids=str)
def test_leave_one_out_loss_by_brute_force(kernel, weights):
    labels = np.eye(3)[CODES]
    point = Hyperparameters(kernel.network(), 0.3)
    shares = np.ones(60) if weights is None else weights
    centre = shares @ labels / shares.sum()
    given = Data(X, labels - centre, weights)
    fitted = fit_class_posterior(ExactClasses.of(given, point), labels)

    def brute_loss(noise):
        means, stds = np.empty((60, 3)), np.empty(60)
        for i in range(60):
            rest = np.arange(60) != i
            own = None if weights is None else weights[rest]
            data = Data(X[rest], (labels - centre)[rest], own)
            posterior, _ = GaussianPosterior.fit(data, replace(point, alpha=noise))
            mean, variance = posterior.variance(X[i : i + 1])
            means[i], stds[i] = mean[0], np.sqrt(variance[0, 0] + noise)
        return fit_calibration(means, stds, labels, shares)[1]

    steps = np.log(fitted.noise / 0.3) / np.log(NOISE_STEP)
    assert_allclose(steps, round(steps), atol=1e-9)
    assert_allclose(fitted.loss, brute_loss(fitted.noise), rtol=1e-6)
    lowest, highest = np.mean(kernel.diag(X)) * np.array(NOISE_RANGE)
    for beside in (fitted.noise / NOISE_STEP, fitted.noise * NOISE_STEP):
        assert not lowest < beside < highest or brute_loss(beside) > fitted.loss
    again, _ = GaussianPosterior.fit(given, replace(point, alpha=fitted.noise))
    mean, variance = again.variance(X_NEW)
    std = np.sqrt(variance[:, 0] + fitted.noise)
    expected = fitted.calibration.log_probabilities(mean, std)
    assert_allclose(fitted.log_probabilities(X_NEW), expected, rtol=1e-8)


@pytest.mark.parametrize("start", [1e-6, 1e-2, 1e2])
def test_any_start_leads_to_a_good_noise(start):
    rows, codes, _ = linear_truth(80, 3, 13)
    labels = np.eye(3)[codes]
    data = Data(rows, labels - labels.mean(axis=0))

    def loss(alpha):
        classes = ExactClasses.of(data, Hyperparameters(NNGP("erf").network(), alpha))
        return fit_class_posterior(classes, labels).loss

    unit = np.mean(NNGP("erf").diag(rows))
    fine = [loss(alpha) for alpha in unit * np.geomspace(*NOISE_RANGE, 12)]
    # Steps of half a decade are coarse only where the valley is flat.
    assert loss(start) < min(fine) + 0.01


def test_calibration_maximises_its_posterior():
    rng = np.random.default_rng(1)
    mean, std = rng.standard_normal((80, 3)) / 3, rng.uniform(0.3, 0.6, 80)
    weights = rng.uniform(0.5, 2, 80)
    labels = np.eye(3)[
        (softmax(9 * mean, axis=1).cumsum(1) < rng.random((80, 1))).sum(1)
    ]
    center = np.log(weights @ labels / weights.sum())
    typical = np.log(4 * np.average(std, weights=weights))

    def loss(vector):
        logits = np.exp(vector[0]) * mean / std[:, None] + vector[1:]
        return -np.sum(weights[:, None] * labels * log_softmax(logits, axis=1))

    def objective(vector):
        prior = 2 * (vector[0] - typical) ** 2 + np.sum((vector[1:] - center) ** 2) / 2
        return loss(vector) + prior

    options = {"maxiter": 8000, "maxfev": 8000, "xatol": 1e-7, "fatol": 1e-9}
    best = minimize(
        objective, np.r_[typical, center], method="Nelder-Mead", options=options
    )
    calibration, value = fit_calibration(mean, std, labels, weights)
    found = np.r_[np.log(calibration.slope), calibration.offsets]
    assert objective(found) <= best.fun + 1e-4
    assert_allclose(calibration.floor, np.exp(center) / (weights.sum() + 1))
    logs = calibration.log_probabilities(mean, std)
    expected = -np.average(np.sum(labels * logs, axis=1), weights=weights)
    assert_allclose(value, expected, rtol=1e-10)


def test_probabilities_follow_their_formula():
    calibration = Calibration(3.0, np.array([1.0, -1.0]), np.array([0.06, 0.02]))
    mean, std = np.array([[0.5, -0.5], [0.2, -0.2]]), np.array([1.0, 2.0])
    logits = np.array([[2.5, -2.5], [1.3, -1.3]])
    expected = 0.92 * softmax(logits, axis=1) + [0.06, 0.02]
    p = np.exp(calibration.log_probabilities(mean, std))
    assert_allclose(p, expected)


def test_separable_labels_are_not_believed_without_limit():
    rows = np.repeat([[-1.0], [1.0]], [30, 20], axis=0) + 0.01 * X[:50, :1]
    p = NNGPClassifier().fit(rows, rows[:, 0] > 0).predict_proba(rows)
    # One row in n + 1 may be of either class.
    floor = np.array([0.6, 0.4]) / 51
    assert np.all(p > floor)
    assert np.all(p.min(axis=0) < 5 * floor)


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("make", [NNGPClassifier, AdaptiveKernelClassifier])
def test_probabilities_are_calibrated(make, n_classes):
    rows, codes, _ = linear_truth(400, n_classes, 0)
    new, observed, truth = linear_truth(6000, n_classes, 1)
    model = make().fit(rows, codes)
    p = model.predict_proba(new)
    # A model of k parameters loses about k / 2n nats.
    dof = (n_classes - 1) * model.regressor_.effective_dof_
    excess = np.mean(np.sum(truth * (np.log(truth) - np.log(p)), axis=1))
    assert 0 < excess < dof / 800
    for c in range(n_classes):
        hit = observed == c
        edges = np.quantile(p[:, c], np.linspace(0, 1, 9)[1:-1])
        group = np.digitize(p[:, c], edges)
        for g in range(8):
            here = group == g
            q = np.mean(p[here, c])
            error = np.sqrt(q * (1 - q) * (1 / here.sum() + dof / 400))
            assert abs(np.mean(hit[here]) - q) < 3 * error


@single
def test_pure_noise_is_seen_as_such(name):
    rng = np.random.default_rng(3)
    y = rng.random(200) < 0.3
    p = MODELS[name]().fit(rng.standard_normal((200, 3)), y)
    p = p.predict_proba(rng.standard_normal((500, 3)))[:, 1]
    # Two standard errors of the frequency; the spread of p is what was made of noise.
    assert abs(p.mean() - 0.3) < 2 * np.sqrt(0.21 / 200)
    assert p.std() < 0.1


def test_rare_classes_keep_their_frequency():
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((3400, 3))
    odds = 1.5 * rows[:, 0] - 3.8
    y = rng.random(3400) < expit(odds)
    assert 0.03 < y.mean() < 0.07
    p = NNGPClassifier().fit(rows[:400], y[:400]).predict_proba(rows[400:])[:, 1]
    assert abs(p.mean() - y.mean()) < 3 * np.sqrt(0.05 / 400)
    bayes = bayes_loss(expit(np.stack([-odds, odds], axis=1)[400:]))
    assert log_loss(y[400:], p) < bayes + 0.03


def test_far_from_all_data_the_frequencies_remain():
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((300, 2))
    y = rng.random(300) < expit(2 * rows[:, 0] - 2)
    kernel = NNGP("rbf", weight_variance=2.0, bias_variance=0.01)
    model = NNGPClassifier(kernel, optimizer=None).fit(rows, y)
    assert_allclose(model.predict_proba([[300.0, -500.0]])[0, 1], y.mean(), atol=0.1)


def test_a_class_absent_from_a_fold_keeps_a_probability():
    y = CODES.copy()
    y[:2] = 3
    with pytest.warns(UserWarning, match="least populated class"):
        search = AdaptiveKernelClassifierCV(
            [NNGP("erf")], widths=(10,), covariance_types=("diag",), cv=3
        ).fit(X, y)
    assert np.all(np.isfinite(search.cv_results_["mean_test_score"]))
    assert np.all(search.predict_proba(X_NEW) > 0)


def test_constant_features_leave_the_frequencies():
    p = NNGPClassifier().fit(np.ones((40, 2)), np.arange(40) % 4 == 0)
    assert_allclose(p.predict_proba(np.ones((1, 2)))[0, 1], 0.25, atol=0.02)
