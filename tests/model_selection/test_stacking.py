"""Predictions of a mixture against draws, and the search that stacks its members."""

import pickle

import array_api_strict
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from scipy.stats import norm
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import KFold

from adaptive_kernels import (
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPRegressor,
)
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.model_selection import search as search_module
from adaptive_kernels.model_selection.folds import Fold
from adaptive_kernels.model_selection.scores import HeldOutScore
from adaptive_kernels.model_selection.stacking import (
    LEAST_LOSS,
    TOLERANCE,
    Mixture,
    predict_mixture,
    sparse_mixture,
)
from adaptive_kernels.model_selection.width_path_search import Path, WidthPathSearch

ERF, RELU = NNGP("erf"), NNGP("relu")
RNG = np.random.default_rng(3)
X = RNG.uniform(-2, 2, (60, 2))
X_NEW = RNG.uniform(-2, 2, (7, 2))
Y2 = np.stack([np.abs(X[:, 0]) + np.sin(3 * X[:, 1]), np.sin(X[:, 0])], axis=1)
# The first output has heavy tails, so that one noise variance is wrong.
Y2 += (
    RNG.standard_normal((60, 2)) * np.stack([0.05 + (X[:, 1] > 1), 0.1 + 0 * X[:, 1]]).T
)
Y1 = Y2[:, 0]
WEIGHTS = RNG.uniform(0.2, 3, 60)
FOLDS = KFold(3)


def log_likelihood(table, weights, counts=1.0):
    return np.sum(counts * logsumexp(table, b=weights, axis=1))


def maximum(table, counts=1.0):
    """By BFGS over the logits of the weights: knows nothing of EM."""

    def loss(logits):
        return -log_likelihood(table, softmax(logits), counts)

    return -minimize(loss, np.zeros(table.shape[1]), tol=1e-9).fun


@pytest.fixture(scope="module", params=[1, 2], ids=["one output", "two outputs"])
def members(request):
    y = Y1 if request.param == 1 else Y2
    return [
        AdaptiveKernelRegressor(kernel, width=width).fit(X, y)
        for kernel, width in ((ERF, 1), (RELU, 10), (ERF, 1000))
    ]


SHARES = [0.5, 0.3, 0.2]


def local_moments(members, y_shape, n):
    """Mean and variance of draws: at every row and output a member of its own chance.

    The chance is in proportion to the share over the standard deviation.
    """
    rng = np.random.default_rng(0)
    mean, variance = np.empty(y_shape), np.empty(y_shape)
    means, stds = zip(
        *(m.predict(X_NEW, return_std=True) for m in members), strict=True
    )
    for place in np.ndindex(y_shape):
        m, s = (
            np.array([values[place] for values in table]) for table in (means, stds)
        )
        chances = SHARES / s
        k = rng.choice(len(members), n, p=chances / chances.sum())
        draws = m[k] + s[k] * rng.standard_normal(n)
        mean[place], variance[place] = draws.mean(), draws.var()
    return mean, variance


def test_moments_equal_those_of_draws(members):
    mean, std = predict_mixture(members, SHARES, X_NEW, return_std=True)
    n = 20_000
    drawn, variance = local_moments(members, mean.shape, n)
    assert np.all(np.abs(drawn - mean) < 5 * std / n**0.5)
    # A mixture of normals with members up to a few std apart: kurtosis below 10.
    assert np.all(np.abs(variance / std**2 - 1) < 5 * (10 / n) ** 0.5)


def test_covariance_agrees_with_the_standard_deviation(members):
    mean, covariance = predict_mixture(members, SHARES, X_NEW, return_cov=True)
    expected = predict_mixture(members, SHARES, X_NEW, return_std=True)
    assert_allclose(mean, expected[0], rtol=1e-9)
    diagonal = np.einsum("ii...->i...", covariance)
    assert_allclose(np.sqrt(diagonal), expected[1], rtol=1e-9)
    for c in range(1 if mean.ndim == 1 else mean.shape[1]):
        matrix = covariance if mean.ndim == 1 else covariance[..., c]
        assert_allclose(matrix, matrix.T, rtol=1e-9, atol=1e-12)
        assert np.linalg.eigvalsh(matrix).min() > 0


def test_covariance_of_members_that_know_different_rows():
    """One member knows the left half, the other the right."""
    left, right = (NNGPRegressor().fit(X[rows], Y1[rows]) for rows in halves())
    new = np.array([[-1.5, 0.0], [-1.0, 0.5]])
    _, covariance = predict_mixture([left, right], [0.5, 0.5], new, return_cov=True)
    stds = [m.predict(new, return_std=True)[1] for m in (left, right)]
    assert np.all(stds[0] < stds[1])
    mean = predict_mixture([left, right], [0.5, 0.5], new)
    share = stds[1] / (stds[0] + stds[1])
    expected = share * left.predict(new) + (1 - share) * right.predict(new)
    assert_allclose(mean, expected, rtol=1e-9)
    own = left.predict(new, return_cov=True)[1][0, 1]
    other = right.predict(new, return_cov=True)[1][0, 1]
    gaps = [m.predict(new) - mean for m in (left, right)]
    pair = [np.sqrt(np.prod(s)) for s in (share, 1 - share)]
    products = own + np.prod(gaps[0]), other + np.prod(gaps[1])
    assert_allclose(covariance[0, 1], np.dot(pair, products), rtol=1e-9)


def halves():
    return X[:, 0] < 0, X[:, 0] >= 0


def test_mean_is_the_same_however_it_is_asked_for(members):
    mean = predict_mixture(members, SHARES, X_NEW)
    for option in ({"return_std": True}, {"return_cov": True}):
        assert_allclose(predict_mixture(members, SHARES, X_NEW, **option)[0], mean)


def test_a_member_that_is_certain_decides():
    """Interpolation without noise has no spread at its own rows."""
    certain = NNGPRegressor(ERF, alpha=0.0, optimizer=None, normalize_y=False)
    certain.fit(X[:5], Y1[:5])
    vague = NNGPRegressor().fit(X, Y1)
    assert np.all(certain.predict(X[:5], return_std=True)[1] < 1e-6)
    mean, std = predict_mixture([vague, certain], [0.9, 0.1], X[:5], return_std=True)
    assert_allclose(mean, Y1[:5], atol=1e-3)
    assert np.all(np.isfinite(std))


def test_equal_members_are_one(members):
    one = members[0]
    for option in ({"return_std": True}, {"return_cov": True}):
        actual = predict_mixture([one] * 3, SHARES, X_NEW, **option)
        for a, b in zip(actual, one.predict(X_NEW, **option), strict=True):
            assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def search(**parameters):
    small = {"kernels": [ERF, RELU], "widths": (0.1, 10, np.inf), "cv": FOLDS}
    small["covariance_types"] = ("diag",)
    return AdaptiveKernelRegressorCV(**(small | parameters))


@pytest.fixture(scope="module")
def stacked():
    fitted = search().fit(X, Y1)
    assert len(fitted.members_) > 1
    return fitted


def fold_densities(model, y, weights, train, test):
    w = None if weights is None else weights[train]
    mean, std = clone(model).fit(X[train], y[train], w).predict(X[test], True)
    density = norm.logpdf(y[test], mean, std)
    return density.sum(axis=1) if density.ndim > 1 else density


def out_of_fold(model, y, weights=None):
    folds = FOLDS.split(X)
    return np.concatenate([fold_densities(model, y, weights, *fold) for fold in folds])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("y", [Y1, Y2], ids=["one output", "two outputs"])
def test_stack_is_nearly_the_best_of_independent_fits(y, weights):
    """Densities from a loop over folds, weights from another optimiser."""
    # At infinite width fits do not depend on where they start.
    kernels = [ERF, RELU, NNGP("rbf"), NNGP("identity")]
    fitted = search(kernels=kernels, widths=(np.inf,)).fit(X, y, weights)
    models = [
        AdaptiveKernelRegressor(**params) for params in fitted.cv_results_["params"]
    ]
    table = np.stack([out_of_fold(m, y, weights) for m in models], axis=1)
    counts = np.ones(60) if weights is None else weights
    sums = [counts[test].sum() for _, test in FOLDS.split(X)]
    counts = counts * np.mean(sums) / np.repeat(sums, 20)
    kernels = [model.kernel for model in models]
    kept = [kernels.index(member.kernel) for member in fitted.members_]
    reached = log_likelihood(table[:, kept], fitted.weights_, counts)
    top = maximum(table, counts)
    assert top - LEAST_LOSS - TOLERANCE < reached < top + 1e-6
    assert reached >= fitted.best_score_ * counts.sum() - 1e-6
    assert_allclose(sum(fitted.weights_), 1, rtol=1e-14)
    if len(kept) > 1:
        assert maximum(table[:, kept[:-1]], counts) < top - LEAST_LOSS + TOLERANCE


@pytest.mark.parametrize("weights", [None, WEIGHTS**2], ids=["equal", "weighted"])
def test_every_fold_counts_the_same(weights):
    """As in `mean_test_score`: a fold of five rows as much as one of forty."""
    rng = np.random.default_rng(0)
    folds = [(np.arange(20, 60), np.arange(5)), (np.arange(20), np.arange(20, 60))]
    pairs = [(0, "diag"), (1, "diag")]
    tables = [rng.normal([1.0, 0.0], 1, (5, 2)), rng.normal([0.0, 1.0], 1, (40, 2))]
    cut = [Fold(train, train, test) for train, test in folds]
    score = HeldOutScore(None)
    paths = WidthPathSearch(dict.fromkeys(pairs), (X, Y1, weights), cut, score, None)
    paths.paths = {
        pair: [Path(densities={(1, 1.0): table[:, k]}) for table in tables]
        for k, pair in enumerate(pairs)
    }
    densities = paths.densities([(pair, (1, 1.0)) for pair in pairs])
    mixture = sparse_mixture(densities, 0, paths.counts(cut))
    assert len(mixture.weights) == 2
    counts = [None if weights is None else weights[test] for _, test in folds]

    def score(share):
        mixed = [logsumexp(table, b=[share, 1 - share], axis=1) for table in tables]
        means = [np.average(m, weights=c) for m, c in zip(mixed, counts, strict=True)]
        return np.mean(means)

    shares = np.linspace(1e-3, 1 - 1e-3, 999)
    scores = np.array([score(share) for share in shares])
    total = 45 if weights is None else sum(map(sum, counts))
    close = shares[scores > scores.max() - TOLERANCE / total]
    weight = mixture.weights[list(mixture.indices).index(0)]
    assert close.min() - 1e-3 <= weight <= close.max() + 1e-3


def test_the_best_need_not_be_a_member(monkeypatch):
    def others(densities, best, counts, tolerance=None):
        kept = [k for k in range(densities.shape[1]) if k != best]
        return Mixture(np.array(kept), np.full(len(kept), 1 / len(kept)), 0.0)

    monkeypatch.setattr(search_module, "sparse_mixture", others)
    fitted = search(kernels=[ERF], widths=(1, 10, 30)).fit(X, Y1)
    widths = [member.width for member in fitted.members_]
    best = fitted.best_params_["width"]
    assert sorted([*widths, best]) == [1, 10, 30]
    assert fitted.best_estimator_.width == best
    assert fitted.weights_ == [0.5, 0.5]


def test_predictions_are_those_of_the_mixture(stacked):
    means, stds = zip(
        *(m.predict(X_NEW, return_std=True) for m in stacked.members_), strict=True
    )
    shares = np.array(stacked.weights_)[:, None] / stds
    mean = np.average(means, axis=0, weights=shares)
    second = np.average(np.square(stds) + np.square(means), axis=0, weights=shares)
    assert_allclose(stacked.predict(X_NEW), mean, rtol=1e-12)
    actual = stacked.predict(X_NEW, return_std=True)
    assert_allclose(actual, (mean, np.sqrt(second - mean**2)), rtol=1e-9)
    expected = np.average(
        [m.feature_importances_ for m in stacked.members_],
        axis=0,
        weights=stacked.weights_,
    )
    assert_allclose(stacked.feature_importances_, expected, rtol=1e-12)
    with pytest.raises(RuntimeError, match="not for both"):
        stacked.predict(X_NEW, return_std=True, return_cov=True)


def test_members_see_all_rows(stacked):
    for member in (*stacked.members_, stacked.best_estimator_):
        assert len(member.X_train_) == 60
    names = ("kernel", "covariance_type", "width", "scaling")
    best = {name: getattr(stacked.best_estimator_, name) for name in names}
    assert best == stacked.best_params_
    alone = [m for m in stacked.members_ if {n: getattr(m, n) for n in names} == best]
    assert all(member is stacked.best_estimator_ for member in alone)


def test_stacking_is_deterministic_also_in_parallel(stacked):
    again = search(n_jobs=2).fit(X, Y1)
    assert_array_equal(again.weights_, stacked.weights_)
    assert_array_equal(again.predict(X_NEW, True), stacked.predict(X_NEW, True))
    assert_array_equal(again.sample_y(X_NEW, 5), stacked.sample_y(X_NEW, 5))


def test_order_of_kernels_and_widths_does_not_matter(stacked):
    other = search(kernels=[RELU, ERF], widths=(np.inf, 10, 0.1)).fit(X, Y1)
    assert_allclose(other.weights_, stacked.weights_, rtol=1e-6)
    assert_allclose(other.predict(X_NEW, True), stacked.predict(X_NEW, True), rtol=1e-6)


def test_pickle(stacked):
    loaded = pickle.loads(pickle.dumps(stacked))
    assert_array_equal(loaded.predict(X_NEW, True), stacked.predict(X_NEW, True))
    assert_array_equal(loaded.weights_, stacked.weights_)


def test_another_score_picks_one():
    fitted = search(scoring="r2").fit(X, Y1)
    assert fitted.members_ == [fitted.best_estimator_]
    assert_array_equal(fitted.weights_, [1.0])
    assert_array_equal(fitted.predict(X_NEW), fitted.best_estimator_.predict(X_NEW))


def test_a_single_candidate_is_a_mixture_of_one():
    fitted = search(kernels=[ERF], widths=(3,)).fit(X, Y1)
    best = fitted.best_estimator_
    assert fitted.members_ == [best]
    for option in ({"return_std": True}, {"return_cov": True}):
        pairs = zip(
            fitted.predict(X_NEW, **option), best.predict(X_NEW, **option), strict=True
        )
        for actual, expected in pairs:
            assert_array_equal(actual, expected)
    assert_array_equal(fitted.sample_y(X_NEW, 3), best.sample_y(X_NEW, 3))


def test_members_of_one_width_share_a_fit(monkeypatch):
    fitted_to = []
    fit = AdaptiveKernelRegressor._fit_checked

    def counted(self, arrays, **kwargs):
        fitted_to.append((self.kernel.activation, self.width, len(arrays[0])))
        return fit(self, arrays, **kwargs)

    monkeypatch.setattr(AdaptiveKernelRegressor, "_fit_checked", counted)
    fitted = search(kernels=[ERF], widths=(3, 30), scalings=(1, 3, 10)).fit(X, Y1)
    refits = [entry for entry in fitted_to if entry[2] == 60]
    chosen = [*fitted.members_, fitted.best_estimator_]
    assert sorted(refits) == sorted({("erf", m.width, 60) for m in chosen})
    for member in fitted.members_:
        alone = AdaptiveKernelRegressor(
            ERF, width=member.width, scaling=member.scaling, tol=1e-3
        ).fit(X, Y1)
        assert_allclose(
            member.predict(X_NEW), alone.predict(X_NEW), atol=0.05 * Y1.std()
        )


def test_arrays_of_another_library():
    strict = [array_api_strict.asarray(a) for a in (X, Y1, X_NEW)]
    small = {"kernels": [ERF, RELU, NNGP("rbf")], "widths": (np.inf,)}
    with config_context(array_api_dispatch=True):
        fitted = search(**small).fit(*strict[:2])
        mean, std = fitted.predict(strict[2], return_std=True)
        _, covariance = fitted.predict(strict[2], return_cov=True)
        importances = fitted.feature_importances_
    assert len(fitted.members_) > 1
    for values in (mean, std, covariance, importances):
        assert hasattr(values, "__array_namespace__") and not isinstance(
            values, np.ndarray
        )
    expected = search(**small).fit(X, Y1).predict(X_NEW, return_std=True)
    assert_allclose([np.asarray(mean), np.asarray(std)], expected, rtol=1e-5)
