"""AdaptiveKernelRegressor against its equations, limits and reference numbers."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from adaptive_kernels import AdaptiveKernelRegressor, NNGPRegressor
from adaptive_kernels.kernels import NNGP, NTK

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
X_NEW = RNG.standard_normal((7, 3))
NOISE = 0.1 * RNG.standard_normal((40, 2))
Y2 = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], X[:, 0] * X[:, 1]], axis=1) + NOISE
Y1 = Y2[:, 0]
COUNTS = RNG.integers(1, 4, 40)
ROWS = np.repeat(np.arange(40), COUNTS)
KINDS = {
    "diag": {},
    "full": {"covariance_type": "full"},
    "rescaling": {"approximation": "rescaling", "width": 20},
}
kinds = pytest.mark.parametrize("kind", KINDS)
TIGHT = {"max_iter": 10_000, "tol": 1e-9}


def adaptive(kind="diag", **parameters):
    return AdaptiveKernelRegressor(**(KINDS[kind] | parameters))


def predictions(model, rows=X_NEW):
    return np.array(model.predict(rows, return_std=True))


def as_matrix(covariance):
    return np.diag(covariance) if covariance.ndim == 1 else covariance


def rmse(model, rows, targets):
    return np.sqrt(np.mean((model.predict(rows) - targets) ** 2))


@kinds
def test_infinite_width_is_the_nngp(kind):
    kernel = NNGP("relu")
    ours = adaptive(kind, kernel=kernel, width=np.inf).fit(X, Y1)
    nngp = NNGPRegressor(kernel).fit(X, Y1)
    assert ours.alpha_ == nngp.alpha_
    assert_array_equal(ours.kernel_.theta, nngp.kernel_.theta)
    prior = nngp.kernel_.weight_variance / 3 * np.eye(3)
    assert_allclose(as_matrix(ours.weight_covariance_), prior)
    # The rescaled posterior solves by eigenvectors instead of a Cholesky factor.
    rtol = 1e-9 if kind == "rescaling" else 0
    evidences = [m.log_marginal_likelihood_value_ for m in (ours, nngp)]
    assert_allclose(*evidences, rtol=rtol)
    assert_allclose(predictions(ours), predictions(nngp), rtol=rtol)


def test_adaptation_is_inverse_to_a_large_width():
    def change(width):
        model = adaptive("full", kernel=NNGP("erf"), width=width, optimizer=None)
        return 3 * model.fit(X, Y1).weight_covariance_ - np.eye(3)

    # Beyond first order the change differs by its own relative size, 0.002.
    large, larger = change(1e5), change(1e6)
    assert 1e-3 < np.max(np.abs(large)) < 0.01
    close = 0.01 * np.max(np.abs(large))
    assert_allclose(large, 10 * larger, rtol=0, atol=close)


def kernel_slope(kernel, rows, cotangent, covariance):
    """d tr[A K(Sigma)] / d Sigma by central differences, Sigma symmetric."""
    d, slope = len(covariance), np.empty_like(covariance)

    def trace(sigma):
        kernel.metric = d / kernel.weight_variance * sigma
        return np.sum(cotangent * kernel(rows))

    for i, j in np.ndindex(d, d):
        shift = np.zeros((d, d))
        shift[i, j] += 0.5e-5
        shift[j, i] += 0.5e-5
        slope[i, j] = (trace(covariance + shift) - trace(covariance - shift)) / 2e-5
    return slope


STATIONARY = [
    ("diag", NNGP("erf"), 1, {}),
    ("full", NNGP("erf"), 2, {}),
    ("full", NNGP("relu", depth=2), 1, {"width": 7.0}),
    ("diag", NTK("erf"), 2, {"width": 3.0}),
    ("full", NNGP("erf"), 1, {"scaling": 4.0, "width": 10.0}),
    ("diag", NNGP("rbf"), 1, {"optimizer": None, "alpha": 0.05}),
]


# Where rounding stops a climb short of TIGHT, the equation is what counts.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind, kernel, outputs, parameters", STATIONARY)
@pytest.mark.parametrize("weighted", [False, True])
def test_covariance_solves_the_self_consistent_equation(
    kind, kernel, outputs, parameters, weighted
):
    """Sigma^-1 = (d / w) I + d tr[A K] / d Sigma / width."""
    Y, w = Y2[:, :outputs], COUNTS if weighted else np.ones(40)
    model = adaptive(kind, kernel=kernel, normalize_y=False, **TIGHT, **parameters)
    model.fit(X, Y, w)
    fitted, covariance = model.kernel_, as_matrix(model.weight_covariance_)
    # Several outputs share a noise until the covariance is found.
    noise = model._posterior.point.alpha if outputs > 1 else model.alpha_
    inverse = np.linalg.inv(fitted(X) + np.diag(noise / w))
    cotangent = outputs * inverse - inverse @ Y @ Y.T @ inverse
    slope = kernel_slope(fitted, X, cotangent, covariance)
    # Below depth 1 the prior refers to inputs of unit mean square about their mean.
    unit = 1.0
    if fitted.depth > 1:
        centred = X - np.average(X, axis=0, weights=w)
        unit = np.average(centred**2, axis=0, weights=w).mean()
    expected = 3 * unit / fitted.weight_variance * np.eye(3) + slope / model.width
    actual = np.linalg.inv(covariance)
    if kind == "diag":
        actual, expected = np.diag(actual), np.diag(expected)
    # An objective flat to its rounding, 1e-15, leaves a slope of about 1e-6.
    assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * np.max(actual))


@kinds
@pytest.mark.parametrize("factor", [1e3, 1e-3])
def test_units_of_x(kind, factor):
    model, other = (adaptive(kind).fit(c * X, Y1) for c in (1, factor))
    expected = predictions(model)
    # Rounding, carried along the flat directions of a full covariance.
    rtol = 1e-5 if kind == "full" else 1e-6
    assert_allclose(predictions(other, factor * X_NEW), expected, rtol=rtol)


@pytest.mark.parametrize("factor", [1e6, 1e-6])
@pytest.mark.parametrize(
    "kind, normalize_y", [(kind, choice) for kind in KINDS for choice in (True, False)]
)
def test_units_of_y(kind, normalize_y, factor):
    small, large = (
        adaptive(kind, normalize_y=normalize_y).fit(X, c * Y1) for c in (1, factor)
    )
    rtol = 1e-5 if kind == "full" else 1e-6
    assert_allclose(predictions(large), factor * predictions(small), rtol=rtol)


@kinds
def test_adding_a_constant_to_y(kind):
    expected = predictions(adaptive(kind).fit(X, Y1)) + [[100.0], [0.0]]
    assert_allclose(predictions(adaptive(kind).fit(X, Y1 + 100)), expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_sparse_relevance():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((800, 32))
    truth = np.sin(2 * rows[:, 0]) + rows[:, 1] * rows[:, 2] + rows[:, 3] ** 2 / 2
    targets = truth + 0.1 * rng.standard_normal(800)
    ours, nngp = (
        model.fit(rows[:300], targets[:300])
        for model in (AdaptiveKernelRegressor(), NNGPRegressor())
    )
    assert ours.feature_importances_[:4].sum() > 0.95
    assert ours.feature_importances_[:4].min() > 0.02
    # 300 rows see 4 relevant dimensions well and 32 hardly: 0.16 against 1.33.
    assert rmse(ours, rows[300:], truth[300:]) < rmse(nngp, rows[300:], truth[300:]) / 3


def test_full_covariance_finds_a_rotated_direction():
    rng = np.random.default_rng(1)
    direction = np.ones(6) / np.sqrt(6)
    rows = rng.standard_normal((400, 6))
    truth = np.sin(2 * rows @ direction)
    targets = truth[:150] + 0.1 * rng.standard_normal(150)
    full, diag = (adaptive(kind).fit(rows[:150], targets) for kind in ("full", "diag"))
    leading = np.linalg.eigh(full.weight_covariance_)[1][:, -1]
    assert abs(leading @ direction) > 0.95
    # Every feature matters alike, so that a diagonal has nothing to find.
    assert_allclose(diag.feature_importances_, 1 / 6, atol=0.1)
    errors = [rmse(model, rows[150:], truth[150:]) for model in (full, diag)]
    assert errors[0] < 0.7 * errors[1]


@kinds
def test_outputs_share_a_covariance(kind):
    model = adaptive(kind).fit(X, Y2)
    mean, std = model.predict(X_NEW, return_std=True)
    assert mean.shape == std.shape == (7, 2)
    assert model.predict(X_NEW, return_cov=True)[1].shape == (7, 7, 2)
    assert rmse(model, X, Y2) < 0.5 * np.std(Y2)


@kinds
def test_one_column_equals_one_vector(kind):
    column = adaptive(kind).fit(X, Y1[:, None])
    vector = adaptive(kind).fit(X, Y1)
    assert_array_equal(predictions(column)[..., 0], predictions(vector))


@kinds
def test_scaling_divides_the_given_weight_variance(kind):
    given = {"optimizer": None, "alpha": 0.05}
    scaled = adaptive(kind, kernel=NNGP("erf"), scaling=5, **given).fit(X, Y1)
    kernel = NNGP("erf", weight_variance=0.2)
    direct = adaptive(kind, kernel=kernel, **given).fit(X, Y1)
    assert_allclose(predictions(scaled), predictions(direct), rtol=1e-9)
    assert_allclose(scaled.weight_covariance_, direct.weight_covariance_, rtol=1e-9)


@pytest.mark.parametrize("width", [2.0, np.inf])
@kinds
def test_scaling_freezes_everything_else(kind, width):
    one, ten = (adaptive(kind, width=width, scaling=s).fit(X, Y1) for s in (1, 10))
    assert ten.alpha_ == one.alpha_
    for name in ("bias_variance", "readout_variance"):
        assert getattr(ten.kernel_, name) == getattr(one.kernel_, name)
    assert_allclose(10 * ten.kernel_.weight_variance, one.kernel_.weight_variance)
    change = np.abs(ten.predict(X_NEW) - one.predict(X_NEW))
    assert change.max() > 0.01 * np.std(Y1)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_given_metric_is_the_prior():
    root = np.array([[1.0, 0, 0], [0.5, 0.8, 0], [-0.3, 0.1, 1.4]])
    given = {"optimizer": None, "alpha": 0.05, **TIGHT}
    kernel = NNGP("erf", metric=root @ root.T)
    model = adaptive("full", kernel=kernel, **given).fit(X, Y1)
    mapped = adaptive("full", kernel=NNGP("erf"), **given).fit(X @ root, Y1)
    # Another root of the metric may be used: the same problem, rotated.
    expected = predictions(mapped, X_NEW @ root)
    assert_allclose(predictions(model), expected, rtol=1e-4, atol=1e-5)
    covariance = root @ mapped.weight_covariance_ @ root.T
    close = 1e-4 * np.max(covariance)
    assert_allclose(model.weight_covariance_, covariance, atol=close)


@kinds
def test_transform_is_a_root_of_the_covariance(kind):
    model = adaptive(kind).fit(X, Y1)
    covariance = as_matrix(model.weight_covariance_)
    mean = X.mean(axis=0)
    expected = (X - mean) @ covariance @ (X_NEW - mean).T
    actual = model.transform(X) @ model.transform(X_NEW).T
    assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)
    kernel = model.kernel_
    isotropic = NNGP(
        "erf",
        weight_variance=3.0,
        bias_variance=kernel.bias_variance,
        readout_variance=kernel.readout_variance,
    )
    assert_allclose(kernel(X), isotropic(model.transform(X)), rtol=1e-10)


def test_transform_of_a_full_covariance_sorts_directions():
    model = adaptive("full").fit(X, Y1)
    root = model.transform(X.mean(axis=0) + np.eye(3))
    values = np.linalg.eigvalsh(model.weight_covariance_)[::-1]
    assert_allclose(root.T @ root, np.diag(values), atol=1e-12 * values[0])


def test_transform_names_its_output():
    model = AdaptiveKernelRegressor().set_output(transform="pandas").fit(X, Y1)
    names = [f"adaptivekernelregressor{i}" for i in range(3)]
    assert list(model.get_feature_names_out()) == names
    assert list(model.transform(X).columns) == names


@kinds
def test_importances_are_shares_of_variance(kind):
    model = adaptive(kind).fit(X, Y1)
    shares = np.diag(as_matrix(model.weight_covariance_)) * X.var(axis=0)
    assert_allclose(model.feature_importances_, shares / shares.sum())


def test_importances_count_repeated_rows():
    model = AdaptiveKernelRegressor().fit(X[ROWS], Y1[ROWS])
    shares = model.weight_covariance_ * X[ROWS].var(axis=0)
    assert_allclose(model.feature_importances_, shares / shares.sum())


def test_convergence():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        assert AdaptiveKernelRegressor().fit(X, Y1).converged_
    short = adaptive("full", max_iter=1, tol=1e-9)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        assert not short.fit(X, Y1).converged_


@kinds
@pytest.mark.parametrize("optimizer", ["evidence", None])
def test_integer_weights_are_repeated_rows(kind, optimizer):
    weighted = adaptive(kind, optimizer=optimizer).fit(X, Y1, COUNTS)
    repeated = adaptive(kind, optimizer=optimizer).fit(X[ROWS], Y1[ROWS])
    assert_allclose(weighted.alpha_, repeated.alpha_)
    assert_allclose(predictions(weighted), predictions(repeated))
    unweighted = adaptive(kind, optimizer=optimizer).fit(X, Y1)
    assert not np.allclose(predictions(weighted), predictions(unweighted), rtol=1e-3)


@kinds
def test_weight_zero_and_order_of_the_rows(kind):
    order = np.random.default_rng(1).permutation(40)
    weights = np.where(np.arange(40) < 30, 1.5, 0.0)
    model = adaptive(kind).fit(X[order], Y1[order], weights[order])
    expected = adaptive(kind).fit(X[:30], Y1[:30], weights[:30])
    assert_array_equal(predictions(model), predictions(expected))


class Interrupting:
    """tanh until `calls_left` runs out."""

    def __init__(self):
        self.calls_left = 10**6

    def __call__(self, z):
        self.calls_left -= 1
        if self.calls_left < 0:
            raise KeyboardInterrupt
        return np.tanh(z)


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
@pytest.mark.parametrize("estimator", [NNGPRegressor, AdaptiveKernelRegressor])
def test_interrupted_fit_leaves_a_fitted_estimator_unchanged(estimator, share):
    activation = Interrupting()
    model = estimator(NNGP(activation), optimizer=None)
    model.fit(X[:9, :2], Y1[:9])
    calls = 10**6 - activation.calls_left
    before, expected = dict(vars(model)), model.predict(X[:9, :2])
    activation.calls_left = int(share * calls)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:8], Y1[:8])
    activation.calls_left = 10**6
    assert vars(model) == before
    assert_array_equal(model.predict(X[:9, :2]), expected)
