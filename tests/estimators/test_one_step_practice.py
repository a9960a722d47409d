"""One gradient step in practice: what it learns, in pipelines and searches."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from adaptive_kernels import OneStepSpikeFeatures
from adaptive_kernels.datasets import make_single_index

ALPHAS = np.logspace(-4, 2, 13)


def features(n_components=200, **parameters):
    return OneStepSpikeFeatures(n_components, **{"random_state": 0} | parameters)


def test_single_index_task():
    given = {"hermite_coefficients": (0.5, -1, 0, 2), "coef": True, "random_state": 3}
    X, y, w = make_single_index(30, 4, noise=0, **given)
    g = X @ w
    assert_allclose(y, 0.5 - g + 2 * (g**3 - 3 * g), rtol=1e-12, atol=1e-12)
    assert_allclose(np.linalg.norm(w), 1)
    longer = make_single_index(50, 4, noise=0, **given)
    assert_array_equal(longer[0][:30], X)
    assert_array_equal(longer[2], w)
    noisy = make_single_index(20_000, 4, noise=0.7, **given)
    assert_array_equal(make_single_index(30, 4, noise=0.7, **given)[0], X)
    g = noisy[0] @ w
    rest = noisy[1] - (0.5 - g + 2 * (g**3 - 3 * g))
    assert_allclose([rest.mean(), rest.std()], [0, 0.7], atol=5 * 0.7 / 141)
    assert_allclose(np.cov(noisy[0].T), np.eye(4), atol=5 * np.sqrt(2 / 20_000))
    assert len(make_single_index(random_state=0)) == 2
    for bad in ({"noise": -1}, {"n_features": 0}):
        with pytest.raises(ValueError):
            make_single_index(**bad)
    for bad in (1.0, [[0, 1]], [], [0, np.nan]):
        with pytest.raises(ValueError, match="hermite_coefficients"):
            make_single_index(hermite_coefficients=bad)


# What is learned


def test_cosine_with_the_true_direction():
    """rho of the theory, for targets and for residuals."""
    X, y, w = make_single_index(800, 600, coef=True, random_state=0)
    expected = {"target": 0.455, "full": 0.365}
    for residual, rho2 in expected.items():
        found = [
            features(600, residual=residual, random_state=seed).fit(X, y)
            for seed in range(3)
        ]
        cosines = [(m.direction_ @ w) ** 2 for m in found]
        # One seed has a standard error of 0.025.
        assert abs(np.mean(cosines) - rho2) < 0.08, (residual, cosines)


def test_preconditioned_direction_suits_correlated_features():
    X, y, w = make_single_index(600, 20, coef=True, random_state=0)
    spread = np.linspace(0.3, 2, 20)
    mixed = X * spread
    # y follows w.x = (w / spread).(mixed).
    truth = w / spread / np.linalg.norm(w / spread)
    plain = features().fit(mixed, y).direction_ @ truth
    cured = features(precondition=0.01).fit(mixed, y).direction_ @ truth
    assert cured > 0.95 > 0.9 > plain


def best_error(model, seed, alphas=(0.001, 0.01, 0.05, 0.25)):
    X, y = make_single_index(
        4000, 500, hermite_coefficients=(0, 1, 0.7), random_state=seed
    )
    step, fit, test = slice(0, 1000), slice(1000, 2000), slice(2000, 4000)
    model.fit(X[step], y[step])
    F, F_test = model.transform(X[fit]), model.transform(X[test])
    errors = [
        np.mean((Ridge(a).fit(F, y[fit]).predict(F_test) - y[test]) ** 2)
        for a in alphas
    ]
    return min(errors)


@pytest.mark.slow
def test_only_even_activations_learn_the_even_part():
    """Acceptance case T10: 1.56 to 1.22 for relu, 1.51 to 1.46 for tanh."""
    fall = {}
    for activation in ("relu", "tanh"):
        errors = [
            [
                best_error(features(750, activation=activation, gain=gain), seed)
                for gain in (0.1, 0.5)
            ]
            for seed in range(3)
        ]
        low, high = np.mean(errors, axis=0)
        fall[activation] = low - high
    assert fall["relu"] > 0.25
    assert fall["tanh"] < 0.12


@pytest.mark.slow
def test_linear_model_on_a_single_index_task():
    """Acceptance case T13; R2 of 0.789, 0.382 and 0.455 there."""
    scores = {"ridge": [], 0.0: [], 1.0: []}
    for seed in range(3):
        X, y = make_single_index(
            1200, 100, hermite_coefficients=(0, 1, 0.7), random_state=seed
        )
        split = train_test_split(X, y, random_state=seed)
        for name in scores:
            first = StandardScaler() if name == "ridge" else features(500, gain=name)
            model = make_pipeline(StandardScaler(), first, RidgeCV(ALPHAS))
            scores[name].append(model.fit(split[0], split[2]).score(split[1], split[3]))
    mean = {name: np.mean(values) for name, values in scores.items()}
    assert mean[1.0] > 0.72
    assert mean[0.0] < 0.45
    assert mean["ridge"] < 0.55


def test_no_harm_on_diabetes():
    X, y = load_diabetes(return_X_y=True)
    scores = []
    for gain in (0.0, 0.5):
        model = make_pipeline(
            StandardScaler(), features(500, gain=gain), RidgeCV(ALPHAS)
        )
        scores.append([])
        for seed in range(4):
            a, b, c, d = train_test_split(X, y, random_state=seed)
            scores[-1].append(model.fit(a, c).score(b, d))
    plain, stepped = np.mean(scores, axis=1)
    assert abs(stepped - plain) < 0.03
    assert plain > 0.38


# Pipelines


@pytest.mark.parametrize("classifier", [LogisticRegression(), LinearSVC()])
def test_classifiers_of_a_projection(classifier):
    """A ring in one direction: random features of 60 columns hardly see it."""
    X, _, w = make_single_index(1000, 60, coef=True, random_state=0)
    g = X @ w
    labels = np.select([g < -0.5, g > 1], ["low", "high"], "middle")
    scores = [
        make_pipeline(features(300, gain=gain), StandardScaler(), classifier)
        .fit(X[:600], labels[:600])
        .score(X[600:], labels[600:])
        for gain in (0, 1.5)
    ]
    assert scores[1] > max(scores[0] + 0.03, 0.7)


def test_breast_cancer():
    X, y = load_breast_cancer(return_X_y=True)
    a, b, c, d = train_test_split(X, y, random_state=0)
    model = make_pipeline(StandardScaler(), features(300), LogisticRegression(C=100))
    assert model.fit(a, c).score(b, d) > 0.93


def test_unbalanced_classes():
    X, _, w = make_single_index(800, 20, coef=True, random_state=0)
    labels = X @ w > 1.6
    assert 20 < labels.sum() < 80
    found = features().fit(X, labels)
    # 44 rows of the smaller class lie 2 along w, with noise 1 / sqrt(44) a column.
    assert found.direction_ @ w > 0.9
    balance = np.where(labels, 1 / labels.mean(), 1 / (1 - labels.mean()))
    assert features().fit(X, labels, balance).direction_ @ w > 0.85


def test_several_outputs_have_directions_of_their_own():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((3000, 10))
    Y = np.column_stack([X[:, 0], 2 * X[:, 1] + X[:, 1] ** 2, X[:, 2] * X[:, 3]])
    B = features().fit(X, Y).direction_
    assert B.shape == (10, 3)
    # Relative to the largest entry noise is std(y) / std(slope) / sqrt(3000).
    expected = np.zeros((10, 3))
    expected[0, 0], expected[1, 1] = 1 / np.sqrt(5), 2 / np.sqrt(5)
    assert_allclose(B, expected, atol=5 * 1.3 / np.sqrt(3000))
    model = make_pipeline(features(400, gain=1), Ridge(0.01)).fit(X[:2000], Y[:2000])
    plain = make_pipeline(features(400, gain=0), Ridge(0.01)).fit(X[:2000], Y[:2000])
    error, plain_error = (
        np.mean((m.predict(X[2000:]) - Y[2000:]) ** 2, axis=0) for m in (model, plain)
    )
    assert error[1] < plain_error[1]


@pytest.mark.parametrize("jobs", [None, pytest.param(2, marks=pytest.mark.slow)])
def test_search_over_the_gain(jobs):
    X, y = make_single_index(500, 40, random_state=0)
    grid = {"onestepspikefeatures__gain": [0, 0.25, 1], "ridge__alpha": [0.01, 0.1]}
    model = make_pipeline(features(100), Ridge())
    search = GridSearchCV(model, grid, cv=3, n_jobs=jobs).fit(X, y)
    assert search.best_params_["onestepspikefeatures__gain"] == 1
    expected = make_pipeline(features(100, gain=1), Ridge())
    expected.set_params(ridge__alpha=search.best_params_["ridge__alpha"]).fit(X, y)
    assert_allclose(search.predict(X), expected.predict(X), rtol=1e-10)


def test_search_may_refuse_the_step():
    """Nothing linear is in the target, so that the step follows noise."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 8))
    y = np.cos(2 * X[:, 0]) + np.cos(2 * X[:, 1])
    model = make_pipeline(features(200), Ridge(0.1))
    grid = {"onestepspikefeatures__gain": [0, 2]}
    assert GridSearchCV(model, grid, cv=5).fit(X, y).best_params_ == dict.fromkeys(
        grid, 0
    )


def test_sample_weight_through_a_pipeline():
    X, y = make_single_index(200, 10, random_state=0)
    weights = np.r_[np.ones(100), np.zeros(100)]
    model = make_pipeline(features(50), Ridge(0.1))
    model.fit(
        X,
        y,
        onestepspikefeatures__sample_weight=weights,
        ridge__sample_weight=weights,
    )
    expected = make_pipeline(features(50), Ridge(0.1)).fit(X[:100], y[:100])
    assert_allclose(model.predict(X), expected.predict(X), rtol=1e-7, atol=1e-9)


# The target's polynomial


def held_out(n=1500, d=50, seed=0, n_new=1500, **parameters):
    X, y = make_single_index(n + n_new, d, random_state=seed, **parameters)
    found = features(20, random_state=seed).fit(X[:n], y[:n])
    return found, (X[:n], y[:n]), (X[n:], y[n:])


@pytest.mark.slow
def test_polynomial_of_held_out_rows():
    """Acceptance case T11: c_k rho^k, rho^2 = 1 / (1 + 0.1 (1.5 + 0.09))."""
    found = [
        m.target_polynomial(*new).coefficients
        for m, _, new in (held_out(3000, 300, s, 3000) for s in range(8))
    ]
    # Standard errors of one seed are 0.02; means of 8.
    assert_allclose(np.mean(found, axis=0), [0, 0.929, 0.431, 0], atol=0.02)
    assert_allclose(found, np.tile([0, 0.929, 0.431, 0], (8, 1)), atol=0.09)


def test_polynomial_of_rows_of_the_fit_is_refused():
    m, (X, y), (X_new, y_new) = held_out()
    m.target_polynomial(X_new, y_new)
    for rows, given in (
        (X, y),
        (X[::-1], y[::-1]),
        (X[:300], y[:300]),
        (np.vstack([X_new, X[:300]]), np.r_[y_new, y[:300]]),
    ):
        with pytest.raises(ValueError, match="among those of fit"):
            m.target_polynomial(rows, given)
    few = np.vstack([X_new, X[:100]]), np.r_[y_new, y[:100]]
    m.target_polynomial(*few)


def test_polynomial_recognises_rows_in_another_precision():
    X, y = make_single_index(200, 10, random_state=0)
    m = features(20).fit(X.astype(np.float32), y)
    with pytest.raises(ValueError, match="among those of fit"):
        m.target_polynomial(X.astype(np.float32).astype(float), y)


def test_polynomial_is_least_squares():
    m, _, (X, y) = held_out(n_new=300)
    g = (X - m.mean_) / m.scale_ @ m.direction_
    polynomial = m.target_polynomial(X, y, degree=2)
    assert_allclose(polynomial(g), np.polyval(np.polyfit(g, y, 2), g), rtol=1e-8)
    assert_allclose([polynomial.center, polynomial.scale], [g.mean(), g.std()])
    z = (g - g.mean()) / g.std()
    c = polynomial.coefficients
    assert_allclose(polynomial(g), c[0] + c[1] * z + c[2] * (z**2 - 1), rtol=1e-9)
    assert polynomial(g.reshape(3, 100)).shape == (3, 100)
    other = held_out(n_new=300)[0]
    other.fit(7 * X - 2, y)
    assert_allclose(other.direction_, features(20).fit(X, y).direction_, atol=1e-10)


@pytest.mark.parametrize("uneven", [False, True])
def test_standard_errors_of_the_polynomial(uneven):
    """Errors of 400 draws are as large as they say, also where noise is uneven."""
    rng = np.random.default_rng(0)
    m = features(3).fit(np.eye(3), [0.6, 0.8, 0.0])
    scores = []
    for _ in range(400):
        rows = rng.standard_normal((600, 3))
        g = (rows - m.mean_) / m.scale_ @ m.direction_
        noise = rng.standard_normal(600) * (np.abs(g) if uneven else 1)
        found = m.target_polynomial(rows, g + 0.4 * g**2 + noise, degree=2)
        # g = center + scale z, so that g + 0.4 g^2 is this in He_k(z):
        a, b = found.center, found.scale
        truth = [a + 0.4 * (a**2 + b**2), b + 0.8 * a * b, 0.4 * b**2]
        scores.append((found.coefficients - truth) / found.standard_errors)
    # Squares of 400 standard normals: 1 +- 0.07. Uneven noise of that kind would
    # make it 3 for c_1 if it were taken for even.
    assert_allclose(np.mean(np.square(scores), axis=0), 1, atol=4 * 0.07)
    assert_allclose(np.mean(np.abs(scores) < 1.96, axis=0), 0.95, atol=4 * 0.011)


def test_polynomial_of_classes_and_outputs():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4000, 5))
    fit, new = slice(0, 2000), slice(2000, 4000)
    labels = np.where(X[:, 0] > 0, "yes", "no")
    m = features(20).fit(X[fit], labels[fit])
    c = m.target_polynomial(X[new], labels[new]).coefficients
    # A step of size one: 1/2, phi(0), 0 and -phi(0) / 6.
    phi = 1 / np.sqrt(2 * np.pi)
    assert_allclose(c, [0.5, phi, 0, -phi / 6], atol=5 * 0.5 / np.sqrt(2000))
    Y = np.column_stack([X[:, 1], X[:, 2] + X[:, 2] ** 2])
    several = features(20).fit(X[fit], Y[fit]).target_polynomial(X[new], Y[new])
    assert len(several) == 2
    found = [p.coefficients for p in several]
    assert_allclose(found, [[0, 1, 0, 0], [1, 1, 1, 0]], atol=0.2)
    three = np.digitize(X[:, 0], [-1, 1])
    listed = features(20).fit(X[fit], three[fit])
    total = sum(p.coefficients[0] for p in listed.target_polynomial(X[new], three[new]))
    assert_allclose(total, 1, atol=0.02)


def test_polynomial_needs_usable_rows():
    m, _, (X, y) = held_out(n_new=100)
    with pytest.raises(ValueError, match="too few"):
        m.target_polynomial(X[:7], y[:7])
    with pytest.raises(ValueError, match="inconsistent"):
        m.target_polynomial(X, y[:50])
    with pytest.raises(ValueError, match="outputs"):
        m.target_polynomial(X, np.column_stack([y, y]))
    with pytest.warns(UserWarning):
        plain = features(20).fit(X, np.ones(100))
    with pytest.raises(ValueError, match="vary"):
        plain.target_polynomial(X, y)
    with pytest.raises(ValueError, match="continuous y needs numbers"):
        m.target_polynomial(X, np.full(100, "cat"))


def test_polynomial_refuses_equal_rows():
    m, _, (X, y) = held_out(n_new=100)
    with pytest.raises(ValueError, match="vary"):
        m.target_polynomial(np.repeat(X[:1], 20, axis=0), y[:20])


def test_polynomial_refuses_nan():
    m, _, (X, y) = held_out(n_new=100)
    with pytest.raises(ValueError, match="NaN"):
        m.target_polynomial(X, np.where(np.arange(100) == 3, np.nan, y))


def test_polynomial_refuses_unknown_classes():
    X = np.random.default_rng(0).standard_normal((200, 3))
    labels = np.digitize(X[:, 0], [-1, 1])
    m = features(20).fit(X[:100], labels[:100])
    with pytest.raises(ValueError):
        m.target_polynomial(X[100:], labels[100:] + 7)


def test_nothing_is_learned_without_a_linear_part():
    """rho = 0, so the cosine is chance's."""
    X, y, w = make_single_index(
        2000, 50, hermite_coefficients=(0, 0, 1), coef=True, random_state=0
    )
    assert abs(features(20).fit(X, y).direction_ @ w) < 4 / np.sqrt(50)
