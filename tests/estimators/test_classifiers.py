"""The classifiers against closed forms, brute force and data of known probabilities."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, softmax
from sklearn import config_context
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    NNGPClassifier,
)
from adaptive_kernels.inference import factorization, subsampling
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
from adaptive_kernels.inference.subsampling import stratified_rows
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.model_selection import classifier_search

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 3))
X_NEW = RNG.standard_normal((9, 3))
CODES = np.argmax(X + 0.5 * RNG.standard_normal((60, 3)), axis=1)
BINARY = (X[:, 0] * X[:, 1] + 0.3 * RNG.standard_normal(60) > 0).astype(int)
COUNTS = RNG.integers(1, 4, 60)
ROWS = np.repeat(np.arange(60), COUNTS)
COLOURS = np.array(["red", "green", "blue"])
INFINITY = float("inf")
MODELS = {
    "nngp": NNGPClassifier,
    "adaptive": AdaptiveKernelClassifier,
    "search": lambda **k: AdaptiveKernelClassifierCV(
        [NNGP("erf")], widths=(10,), covariance_types=("diag",), cv=2, **k
    ),
}
every = pytest.mark.parametrize("name", MODELS)
single = pytest.mark.parametrize("name", ["nngp", "adaptive"])


def fixed(**parameters):
    """A classifier that tunes no kernel."""
    return NNGPClassifier(NNGP("erf"), optimizer=None, **parameters)


def linear_truth(n, n_classes, seed):
    """Inputs and labels drawn from known probabilities, which come along."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, 4))
    slopes = 2 * np.eye(4)[:, :n_classes]
    p = softmax(rows @ slopes, axis=1)
    return rows, (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1), p


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


@single
def test_weights_count_like_repeats(name):
    make = MODELS[name]
    repeated = make().fit(X[ROWS], CODES[ROWS])
    weighted = make().fit(X, CODES, sample_weight=COUNTS)
    assert_allclose(
        weighted.predict_proba(X_NEW), repeated.predict_proba(X_NEW), rtol=1e-6
    )
    kept = COUNTS != 2
    removed = make().fit(X[kept], CODES[kept])
    zeroed = make().fit(X, CODES, sample_weight=kept)
    assert_allclose(
        zeroed.predict_proba(X_NEW), removed.predict_proba(X_NEW), rtol=1e-6
    )


@single
def test_class_weight_counts_like_repeats(name):
    factors = np.array([1, 3, 2])
    rows = np.repeat(np.arange(60), factors[CODES])
    repeated = MODELS[name]().fit(X[rows], COLOURS[CODES[rows]])
    weights = dict(zip(COLOURS.tolist(), factors.tolist(), strict=True))
    weighted = MODELS[name](class_weight=weights).fit(X, COLOURS[CODES])
    expected = repeated.predict_proba(X_NEW)
    assert_allclose(weighted.predict_proba(X_NEW), expected, rtol=1e-6)
    plain = MODELS[name]().fit(X, COLOURS[CODES]).predict_proba(X_NEW)
    assert np.abs(expected - plain).max() > 0.05


@every
def test_balanced_is_the_inverse_frequency(name):
    y = (X[:, 0] + np.random.default_rng(2).standard_normal(60) > 1).astype(int)
    totals = np.bincount(y, COUNTS)
    weights = {c: COUNTS.sum() / (2 * totals[c]) for c in range(2)}
    balanced, given = (
        MODELS[name](class_weight=w).fit(X, y, COUNTS).predict_proba(X_NEW)
        for w in ("balanced", weights)
    )
    assert_allclose(balanced, given, rtol=1e-9)
    assert np.mean(balanced[:, 1]) > np.mean(
        MODELS[name]().fit(X, y, COUNTS).predict_proba(X_NEW)[:, 1]
    )


@every
@pytest.mark.parametrize(
    "classes",
    [
        [-7, 4, 9],
        ["b", "a", "c"],
        [0.0, 2.0, 5.0],
        np.array(["x", 1, None], object)[:1],
    ],
    ids=["integers", "strings", "floats", "objects"],
)
def test_labels_of_any_type(name, classes):
    classes = np.array(["u", "v", "w"], object) if len(classes) == 1 else classes
    classes = np.sort(np.array(classes))
    model = MODELS[name]().fit(X, classes[CODES])
    assert_array_equal(model.classes_, classes)
    reference = MODELS[name]().fit(X, CODES)
    assert_allclose(model.predict_proba(X_NEW), reference.predict_proba(X_NEW))
    assert_array_equal(model.predict(X_NEW), classes[reference.predict(X_NEW)])
    assert model.score(X, classes[CODES]) > 0.7


@every
def test_two_classes_mirror_each_other(name):
    model = MODELS[name]().fit(X, BINARY == 1)
    other = MODELS[name]().fit(X, BINARY == 0)
    p = model.predict_proba(X_NEW)
    assert_allclose(p, other.predict_proba(X_NEW)[:, ::-1], atol=1e-6)
    assert_allclose(model.decision_function(X_NEW), np.log(p[:, 1] / p[:, 0]))
    assert_array_equal(model.predict(X_NEW), p[:, 1] > 0.5)


@single
def test_renamed_classes_permute_columns(name):
    order = np.array([2, 0, 1])
    p = MODELS[name]().fit(X, CODES).predict_proba(X_NEW)
    renamed = MODELS[name]().fit(X, order[CODES])
    assert_allclose(renamed.predict_proba(X_NEW)[:, order], p, atol=1e-4)
    log_p = renamed.decision_function(X_NEW)
    assert_allclose(np.exp(log_p[:, order]), p, atol=1e-4)


def test_all_classes_share_the_factorisations(monkeypatch):
    count = []
    cholesky = factorization.cholesky
    monkeypatch.setattr(
        factorization, "cholesky", lambda K: count.append(1) or cholesky(K)
    )
    numbers = []
    for n_classes in (2, 20):
        count.clear()
        fixed().fit(X, np.arange(60) % n_classes)
        numbers.append(len(count))
    # At most the ten half decades of the noise's range, and one fit before and after.
    assert max(numbers) <= 13


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_adaptation_finds_the_features_that_matter():
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((500, 10))
    y = rows[:, 2] * rows[:, 7] > 0
    adaptive, fixed_shape = (
        make().fit(rows[:250], y[:250])
        for make in (AdaptiveKernelClassifier, NNGPClassifier)
    )
    assert set(np.argsort(adaptive.feature_importances_)[-2:]) == {2, 7}
    losses = [
        log_loss(y[250:], model.predict_proba(rows[250:]))
        for model in (adaptive, fixed_shape)
    ]
    assert losses[0] < losses[1] - 0.1
    assert adaptive.transform(rows[:3]).shape == (3, 10)
    assert adaptive.weight_covariance_.shape == (10,)


def test_search_scores_by_cross_validation():
    kernels = [NNGP("erf"), NNGP("relu"), NTK("relu")]
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    search = AdaptiveKernelClassifierCV(
        kernels,
        widths=(INFINITY,),
        covariance_types=("diag",),
        optimizer=None,
        cv=3,
    ).fit(X, COLOURS[CODES])
    scores = [
        cross_val_score(
            NNGPClassifier(kernel, optimizer=None),
            X,
            COLOURS[CODES],
            cv=folds,
            scoring="neg_log_loss",
        ).mean()
        for kernel in kernels
    ]
    results = search.cv_results_
    assert_allclose(results["mean_test_score"], scores, rtol=1e-6)
    assert search.best_params_["kernel"] is kernels[int(np.argmax(scores))]
    assert set(search.best_params_) == {"kernel", "covariance_type", "width"}
    again = NNGPClassifier(search.best_params_["kernel"], optimizer=None)
    again.fit(X, COLOURS[CODES])
    best = search.best_estimator_
    assert_allclose(best.predict_proba(X_NEW), again.predict_proba(X_NEW))
    assert best.alpha_ == search.alpha_


def test_members_are_those_that_predict_best_out_of_fold():
    # Each kernel sees another feature, and both features matter.
    kernels = [NNGP("erf", metric=4 * np.eye(4)[i] + 1e-6) for i in range(3)]
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    rows, codes, _ = linear_truth(150, 2, 8)
    new = linear_truth(20, 2, 9)[0]
    given = {"widths": (INFINITY,), "covariance_types": ("diag",), "optimizer": None}
    search = AdaptiveKernelClassifierCV(kernels, cv=3, **given).fit(rows, codes)
    out_of_fold = np.stack(
        [
            cross_val_predict(
                NNGPClassifier(kernel, optimizer=None),
                rows,
                codes,
                cv=folds,
                method="predict_proba",
            )[np.arange(150), codes]
            for kernel in kernels
        ],
        axis=1,
    )
    shares = [
        np.array([a, b, 1 - a - b])
        for a in np.linspace(0, 1, 41)
        for b in np.linspace(0, 1 - a, 41)
    ]
    likeliest = max(np.sum(np.log(out_of_fold @ np.abs(w))) for w in shares)
    weights = np.zeros(3)
    for weight, member in zip(search.weights_, search.members_, strict=True):
        weights[kernels.index(member.kernel)] += weight
    assert_allclose(weights.sum(), 1)
    assert len(search.weights_) == 2
    mixed = sum(
        weight * member.predict_proba(new)
        for weight, member in zip(search.weights_, search.members_, strict=True)
    )
    assert_allclose(search.predict_proba(new), mixed)
    assert_array_equal(search.predict(new), mixed.argmax(axis=1))
    # One nat is what a smaller mixture may lose.
    assert np.sum(np.log(out_of_fold @ weights)) >= likeliest - 1.1
    by_accuracy = AdaptiveKernelClassifierCV(
        kernels, cv=3, scoring="accuracy", **given
    ).fit(rows, codes)
    assert by_accuracy.weights_ == [1.0]
    assert by_accuracy.members_ == [by_accuracy.best_estimator_]


@pytest.mark.parametrize("n_rows", [1, 400, 1000, 5000])
def test_stratified_rows_keep_the_frequencies(n_rows):
    sizes = np.array([700, 200, 100])
    codes = np.random.default_rng(9).permutation(np.repeat(np.arange(3), sizes))
    rows = stratified_rows(codes, n_rows)
    assert len(rows) == min(n_rows, 1000) == len(np.unique(rows))
    assert np.all(np.diff(rows) > 0)
    counts = np.bincount(codes[rows], minlength=3)
    assert np.all(np.abs(counts - len(rows) * sizes / 1000) <= 1)


def test_the_kernel_is_learned_from_a_sample_and_all_rows_predict(monkeypatch):
    rows, codes, _ = linear_truth(300, 3, 10)
    everything = fixed().fit(rows, codes)
    monkeypatch.setattr(subsampling, "CLASS_KERNEL_ROWS", 60)
    sampled = fixed().fit(rows, codes)
    assert sampled.X_train_.shape == (300, 4)
    assert sampled.regressor_.X_train_.shape == (60, 4)
    # Where nothing is learned the sample makes no difference.
    new = linear_truth(50, 3, 11)[0]
    assert_allclose(sampled.predict_proba(new), everything.predict_proba(new))
    tuned = NNGPClassifier().fit(rows, codes)
    order = np.random.default_rng(0).permutation(300)
    again = NNGPClassifier().fit(rows[order], codes[order])
    assert_allclose(again.predict_proba(new), tuned.predict_proba(new))


def test_large_folds_are_capped(monkeypatch):
    rows, codes, _ = linear_truth(300, 2, 12)
    monkeypatch.setattr(subsampling, "CLASS_FOLD_ROWS", 50)
    monkeypatch.setattr(subsampling, "CLASS_VALIDATION_ROWS", 40)
    sizes = []
    density = classifier_search.class_log_density

    def noted(regressor, X, columns):
        sizes.append((len(regressor.X_train_), len(X)))
        return density(regressor, X, columns)

    monkeypatch.setattr(classifier_search, "class_log_density", noted)
    search = MODELS["search"]().fit(rows, codes)
    assert sizes == [(50, 40)] * 2
    assert search.X_train_.shape == (300, 4)
    assert search.regressor_.X_train_.shape == (300, 4)


def test_full_covariances_are_searched_at_large_widths_only():
    search = AdaptiveKernelClassifierCV([NNGP("erf")], widths=(1, 100), cv=2)
    results = search.fit(X, CODES).cv_results_
    names = results["param_covariance_type"], results["param_width"]
    tried = set(zip(*names, strict=True))
    assert ("full", 100) in tried
    assert ("full", 1) not in tried


@pytest.mark.parametrize("scoring", [None, "accuracy"])
def test_search_scores_are_weighted(scoring):
    weights = np.where(CODES == 0, 3.0, 1.0)
    search = AdaptiveKernelClassifierCV(
        [NNGP("erf")],
        widths=(INFINITY,),
        covariance_types=("diag",),
        optimizer=None,
        cv=3,
        scoring=scoring,
    ).fit(X, COLOURS[CODES], weights)
    expected = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=0).split(X, CODES):
        model = fixed().fit(X[train], COLOURS[CODES[train]], weights[train])
        y, own = COLOURS[CODES[test]], weights[test]
        loss = log_loss(y, model.predict_proba(X[test]), sample_weight=own)
        expected.append(-loss if scoring is None else model.score(X[test], y, own))
    assert_allclose(search.best_score_, np.mean(expected))


def test_search_prefers_adaptation_where_it_pays():
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((200, 8))
    y = rows[:, 2] * rows[:, 7] > 0
    search = AdaptiveKernelClassifierCV(
        [NNGP("erf")], widths=(3, INFINITY), covariance_types=("diag",), cv=3
    ).fit(rows, y)
    assert search.best_params_["width"] == 3


@every
def test_pickled_models_predict_the_same(name):
    model = MODELS[name]().fit(X, COLOURS[CODES])
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict_proba(X_NEW), model.predict_proba(X_NEW))


@every
def test_single_precision_is_computed_in_double(name):
    rows, new = X.astype(np.float32), X_NEW.astype(np.float32)
    p = MODELS[name]().fit(rows, CODES).predict_proba(new)
    double = MODELS[name]().fit(rows.astype(float), CODES)
    assert_allclose(p, double.predict_proba(new.astype(float)), rtol=1e-9)


@pytest.mark.slow
@every
def test_array_api_input(name):
    xp = pytest.importorskip("array_api_strict")
    with config_context(array_api_dispatch=True):
        model = MODELS[name]().fit(xp.asarray(X), xp.asarray(CODES))
        p, labels = (f(xp.asarray(X_NEW)) for f in (model.predict_proba, model.predict))
        assert all(hasattr(a, "__array_namespace__") for a in (p, labels))
        p, labels = np.asarray(p), np.asarray(labels)
        loaded = pickle.loads(pickle.dumps(model))
    for member in getattr(loaded, "members_", [loaded]):
        assert isinstance(member._classes.posterior.F, np.ndarray)
    assert isinstance(loaded.classes_, np.ndarray)
    host = MODELS[name]().fit(X, CODES)
    assert_allclose(p, host.predict_proba(X_NEW), atol=1e-5)
    assert_array_equal(labels, host.predict(X_NEW))
    assert_allclose(loaded.predict_proba(X_NEW), p, atol=1e-8)


@every
def test_unusable_labels_are_refused_and_change_nothing(name):
    model = MODELS[name]().fit(X, CODES)
    before = model.predict_proba(X_NEW)
    for y, message in [
        (np.zeros(60), "only one class"),
        (X[:, 0], "Unknown label type"),
        (CODES[:-1], "inconsistent"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(X, y)
    with pytest.raises(ValueError, match="only one class"):
        model.fit(X, CODES, sample_weight=CODES == 1)
    with pytest.raises(ValueError, match="class_weight"):
        model.set_params(class_weight="even").fit(X, CODES)
    with pytest.raises(ValueError, match="device"):
        model.set_params(class_weight=None, device="tpu").fit(X, CODES)
    model.set_params(device=None)
    assert_array_equal(model.predict_proba(X_NEW), before)


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


@pytest.mark.parametrize("dtype", [np.uint8, bool])
def test_inputs_that_know_no_minus_one(dtype):
    rows = (X > 0.3).astype(dtype)
    search = MODELS["search"]().fit(rows, CODES)
    again = MODELS["search"]().fit(rows.astype(float), CODES)
    assert search.best_score_ == again.best_score_
    assert search.best_score_ < -0.3  # as labels of noise can be predicted


@pytest.mark.filterwarnings("ignore:sample_weight sums")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@every
def test_weights_of_any_size(name):
    for total in (1e-3, 1.0, 1e6):
        weights = COUNTS * total / COUNTS.sum()
        p = MODELS[name]().fit(X, CODES, weights).predict_proba(X)
        assert_allclose(p.sum(axis=1), 1)
        assert p.min() > 0
        assert total < 1 or np.mean(p.argmax(axis=1) == CODES) > 0.5


@pytest.mark.parametrize("least", [0, 3, 6])
def test_rare_classes_have_places_in_a_sample(least):
    sizes = np.array([2, 30, 400, 4568])
    codes = np.repeat(np.arange(4), sizes)
    rows = stratified_rows(codes, 100, least=least)
    assert len(np.unique(rows)) == 100 and np.all(np.diff(rows) > 0)
    counts = np.bincount(codes[rows], minlength=4)
    assert np.all(counts >= np.minimum(sizes, least))
    assert abs(counts[3] / counts[2] - 4568 / 400) < 2.5
    many = np.arange(500) % 250
    assert len(stratified_rows(many, 100, least=least)) == 100


def test_a_pickle_holds_no_curvature():
    model = NNGPClassifier().fit(X, CODES)
    assert model.regressor_._tuned.solution.curvature is not None
    copy = pickle.loads(pickle.dumps(model))
    assert copy.regressor_._tuned.solution.curvature is None
    assert (
        copy.regressor_._tuned.solution.value == model.regressor_._tuned.solution.value
    )
