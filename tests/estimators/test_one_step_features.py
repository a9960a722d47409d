"""OneStepSpikeFeatures against brute force, its invariances and awkward input."""

import tracemalloc
from math import sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import integrate, special, stats
from sklearn.base import clone

from adaptive_kernels import OneStepSpikeFeatures
from adaptive_kernels._arrays import blocks
from adaptive_kernels.datasets import make_single_index

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 6)) @ np.diag([1, 2, 0.5, 1, 1, 3]) + 0.7
X_NEW = RNG.standard_normal((9, 6)) + 0.7
Y2 = np.stack([X[:, 0] + X[:, 5] ** 2 / 4, np.sin(X[:, 1])], axis=1)
Y2 += 0.1 * RNG.standard_normal((40, 2))
Y1 = Y2[:, 0]
CLASSES = np.digitize(X[:, 5], [-0.5, 1.5])
COUNTS = RNG.integers(0, 4, 40)
ROWS = np.repeat(np.arange(40), COUNTS)
TARGETS = {"one": Y1, "two": Y2, "classes": CLASSES}
VARIANTS = {
    "default": {},
    "exact": {"gradient": "exact"},
    "full": {"gradient": "exact", "residual": "full", "activation": "tanh"},
    "preconditioned": {"precondition": 0.1, "activation": "softplus"},
    "all": {"gradient": "exact", "residual": "full", "precondition": 0.2},
}
variants = pytest.mark.parametrize("variant", VARIANTS)
targets = pytest.mark.parametrize("target", TARGETS)
FUNCTIONS = {
    "relu": (lambda z: np.maximum(z, 0), lambda z: 1.0 * (z > 0)),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "softplus": (lambda z: np.logaddexp(0, z), special.expit),
}


def negative_relu(z):
    return -np.maximum(z, 0)


def model(variant="default", **parameters):
    given = {"n_components": 30, "gain": 0.8, "random_state": 0}
    return OneStepSpikeFeatures(**given | VARIANTS[variant] | parameters)


def features(rows=X_NEW, target=Y1, fit=None, **parameters):
    return model(**parameters).fit(X if fit is None else fit, target).transform(rows)


def close(found, expected, rtol=1e-10):
    assert_allclose(found, expected, rtol=0, atol=rtol * np.max(np.abs(expected)))


# Brute force


def average(function):
    """E f(z) over a standard normal, split at the kink."""

    def weighted(z):
        return function(z) * stats.norm.pdf(z)

    return sum(integrate.quad(weighted, *ends)[0] for ends in ((-12, 0), (0, 12)))


def encoded(target):
    if target.dtype.kind in "iu":
        return (target[:, None] == np.unique(target)).astype(float)
    return target.reshape(len(target), -1)


def by_hand(found, target, weights):
    """Weights after the step, projection of the learned direction and step size."""
    shares = (weights / weights.sum())[:, None]
    mean = np.sum(shares * X, axis=0)
    scale = np.sqrt(np.mean(np.sum(shares * (X - mean) ** 2, axis=0)))
    Z = (X - mean) / scale
    Y = encoded(target)
    Y = Y - np.sum(shares * Y, axis=0)
    Y = Y / np.sqrt(np.mean(np.sum(shares * Y**2, axis=0)))
    phi, slope = FUNCTIONS[found.activation]
    c_0, c_1 = average(phi), average(slope)
    W = found.initial_weights_
    N = len(W)
    A = found.readout_.reshape(N, -1) / np.sqrt(N)
    R = Y
    if found.residual == "full":
        R = Y - (phi(Z @ W.T) - c_0) @ A
    B, G = shares * Z, np.zeros_like(W)
    B = B.T @ R
    for p, z, r in zip(shares[:, 0], Z, R, strict=True):
        G += p * np.outer((A @ r) * slope(W @ z), z)
    if found.precondition is not None:
        moment = Z.T @ (shares * Z) + found.precondition * np.eye(Z.shape[1])
        B, G = np.linalg.solve(moment, B), np.linalg.solve(moment, G.T).T
    norm = np.linalg.norm(B)
    step = found.gain * np.sqrt(N) / (abs(c_1) * norm)
    if found.gradient == "rank_one":
        G = c_1 * A @ B.T
    rows = (X_NEW - mean) / scale
    after = W + step * G
    out = (phi(rows @ after.T) - c_0) / np.sqrt(N)
    return after, B / norm, step, out


@variants
@targets
@pytest.mark.parametrize("weighted", [False, True])
def test_the_step_is_the_definition(variant, target, weighted):
    weights = COUNTS if weighted else None
    found = model(variant).fit(X, TARGETS[target], weights)
    truth = by_hand(found, TARGETS[target], COUNTS if weighted else np.ones(40))
    outputs = {"one": (), "two": (2,), "classes": (3,)}[target]
    assert found.direction_.shape == (6, *outputs)
    assert found.readout_.shape == (30, *outputs)
    assert_allclose(found.weights_, truth[0], rtol=1e-9, atol=1e-10)
    assert_allclose(found.direction_.reshape(6, -1), truth[1], atol=1e-10)
    assert_allclose(found.step_size_, truth[2], rtol=1e-9)
    assert_allclose(found.transform(X_NEW), truth[3], rtol=1e-9, atol=1e-10)
    assert found.gain_ == 0.8


def test_initial_weights_are_uniform_on_the_sphere():
    found = model(n_components=20_000).fit(X, Y2)
    W, A = found.initial_weights_, found.readout_
    assert_allclose(np.linalg.norm(W, axis=1), 1, rtol=1e-12)
    # E w_i w_j = delta_ij / d, E w_i^4 = 3 / (d (d + 2)): 5 standard errors.
    assert_allclose(W.T @ W / 20_000, np.eye(6) / 6, atol=5 * sqrt(1 / 16 / 20_000))
    assert_allclose(A.T @ A / 20_000, np.eye(2), atol=5 * sqrt(2 / 20_000))
    assert_allclose(W.T @ A / 20_000, 0, atol=5 * sqrt(1 / 6 / 20_000))


def test_gain_is_the_shift_of_pre_activations():
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((3000, 50))
    found = model(n_components=400, gain=0.7).fit(rows, rows[:, 0])
    new = rng.standard_normal((3000, 50)) - found.mean_
    before, after = (
        new @ w.T / found.scale_ for w in (found.initial_weights_, found.weights_)
    )
    # 400 readout weights: 3.5 % of standard error; inputs have 3000 rows.
    assert_allclose(np.std(after - before), 0.7, rtol=0.12)
    assert_allclose(np.std(before), 1, rtol=0.05)


@pytest.mark.parametrize("outputs", [1, 3])
def test_spike_components_are_powers_of_the_shift(outputs):
    Y = np.column_stack([Y1, Y2[:, 1], X[:, 2]])[:, :outputs]
    found = model(activation="elu", gain=0.6).fit(X, Y)
    G = (X_NEW - found.mean_) / found.scale_ @ found.direction_.reshape(6, -1)
    shift = 0.6 * G @ found.readout_.reshape(30, -1).T
    components = found.spike_components(X_NEW, 5)
    assert [c.degree for c in components] == [1, 2, 3, 4, 5]
    for k, component in enumerate(components, start=1):
        c_k = average(
            lambda z, k=k: (
                special.eval_hermitenorm(k, z) * np.where(z > 0, z, np.expm1(min(z, 0)))
            )
        ) / special.factorial(k)
        close(component.to_matrix(), c_k * shift**k / np.sqrt(30), 1e-8)
        assert_allclose(found.hermite_coefficients_[k], c_k, atol=1e-9)
        assert_allclose(found.spike_coefficients_[k - 1], c_k * 0.6**k, atol=1e-9)
    assert len(found.spike_components(X_NEW)) == 3


@pytest.mark.parametrize("activation", ["relu", negative_relu, "tanh", "elu"])
def test_spike_components_are_what_the_step_adds(activation):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((900, 100))
    found = model(activation=activation, n_components=600, gain=0.3)
    found.fit(rows[:500], rows[:500, 0])
    before = clone(found).set_params(gain=0).fit(rows[:500], rows[:500, 0])
    change = found.transform(rows[500:]) - before.transform(rows[500:])
    terms = [c.to_matrix() for c in found.spike_components(rows[500:], 3)]
    left = [np.linalg.norm(change - sum(terms[:k]), 2) for k in range(4)]
    # What a term of the wrong sign leaves is larger than without the term.
    assert left[1] < 0.5 * left[0]
    if activation != "tanh":
        assert left[2] < 0.7 * left[1]
    if activation in ("tanh", "elu"):
        assert left[3] < left[2]
    assert left[3] < 0.25 * left[0]


def test_negative_linear_part_turns_neurons_the_other_way():
    """-phi has the features of phi, after the same step."""
    for gradient in ("rank_one", "exact"):
        one = model(gradient=gradient, activation="relu").fit(X, Y1)
        other = model(gradient=gradient, activation=negative_relu).fit(X, Y1)
        # f of -phi is -f, and so is its gradient: weights turn to the other side.
        shift = one.weights_ - one.initial_weights_
        turned = other.weights_ - other.initial_weights_
        close(turned, -shift, 1e-8)
        assert_allclose(other.step_size_, one.step_size_)
        assert_allclose(other.direction_, one.direction_, atol=1e-12)
        signs = other.spike_coefficients_ / one.spike_coefficients_
        assert_allclose(signs[[0, 1, 3]], [1, -1, -1], rtol=1e-8)


# Invariances


@variants
def test_units_of_y(variant):
    found, expected = (features(variant=variant, target=t) for t in (10 * Y1 + 3, Y1))
    assert np.max(np.abs(found - expected)) < 1e-12
    minus = features(variant=variant, target=-Y1)
    assert np.max(np.abs(minus - expected)) > 1e-3


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_units_of_two_outputs(factor):
    close(features(target=factor * Y2 + factor), features(target=Y2))


@variants
def test_units_and_origin_of_x(variant):
    expected = features(variant=variant)
    given = {"fit": 1e3 * X + 1e6, "variant": variant}
    # X carries a rounding of 1e6 eps / 1e3, relative to its spread, 1e-13.
    close(features(1e3 * X_NEW + 1e6, **given), expected, 1e-10)
    given = {"fit": 1e-6 * X, "variant": variant}
    close(features(1e-6 * X_NEW, **given), expected, 1e-10)


@variants
def test_gain_zero_does_not_see_the_targets(variant):
    one, other = (
        model(variant, gain=0).fit(X, target) for target in (Y1, X[:, 3] ** 3)
    )
    assert_array_equal(one.transform(X_NEW), other.transform(X_NEW))
    assert_array_equal(one.weights_, one.initial_weights_)
    assert one.gain_ == one.step_size_ == 0
    assert_array_equal(one.spike_coefficients_, 0)


def test_random_state():
    assert_array_equal(features(), features())
    assert not np.allclose(features(), features(random_state=1))
    state = np.random.RandomState(3)
    one, other = (features(random_state=state) for _ in range(2))
    assert not np.allclose(one, other)
    assert not np.allclose(features(random_state=None), features(random_state=None))


def test_neurons_do_not_repeat_data_of_the_same_seed():
    rows, targets_ = make_single_index(60, 12, random_state=0)
    for draw in (
        rows,
        np.random.default_rng(0).standard_normal((60, 12)),
        np.random.RandomState(0).standard_normal((60, 12)),
    ):
        found = model(n_components=60).fit(rows, targets_)
        unit = draw / np.linalg.norm(draw, axis=1, keepdims=True)
        cosines = np.sum(unit * found.initial_weights_, axis=1)
        # Standard normal over sqrt(12), among 60.
        assert np.max(np.abs(cosines)) < 0.95
        assert abs(cosines.mean()) < 4 / sqrt(12 * 60)


@variants
@targets
def test_weights_are_repeated_rows(variant, target):
    given = TARGETS[target]
    weighted = model(variant).fit(X, given, COUNTS)
    repeated = model(variant).fit(X[ROWS], given[ROWS])
    close(weighted.transform(X_NEW), repeated.transform(X_NEW))
    unweighted = model(variant).fit(X, given).transform(X_NEW)
    assert np.max(np.abs(weighted.transform(X_NEW) - unweighted)) > 1e-3
    tripled = model(variant).fit(X, given, 3.5 * COUNTS)
    close(tripled.transform(X_NEW), repeated.transform(X_NEW))


@pytest.mark.parametrize("removed", [COUNTS == 0, CLASSES == 1])
@targets
def test_weight_zero_removes_a_row(target, removed):
    """Also all rows of a class, which then is none."""
    given = TARGETS[target]
    weighted = model().fit(X, given, (~removed).astype(float))
    expected = model().fit(X[~removed], given[~removed])
    assert weighted.direction_.shape == expected.direction_.shape
    close(weighted.transform(X_NEW), expected.transform(X_NEW))


def test_order_of_the_rows_does_not_matter():
    order = np.random.default_rng(2).permutation(40)
    close(features(fit=X[order], target=Y1[order]), features())


@variants
def test_block_size_does_not_matter(variant, monkeypatch):
    rows = np.tile(X_NEW, (5, 1))
    fitted = model(variant).fit(X, Y2)
    expected = fitted.transform(rows)
    # Blocks of 16 rows, the least.
    monkeypatch.setattr(blocks, "CPU_BLOCK_BYTES", 1)
    assert len(fitted._rows.slices(rows)) == 3
    close(fitted.transform(rows), expected, 1e-13)
    close(model(variant).fit(X, Y2).transform(rows), expected, 1e-11)


@variants
def test_memory_of_a_fit_and_a_transform_is_that_of_blocks(variant, monkeypatch):
    monkeypatch.setattr(blocks, "CPU_BLOCK_BYTES", 2**17)
    rows, y = make_single_index(10_000, 100, random_state=0)
    found = model(variant, n_components=200).fit(rows[:50], y[:50])
    tracemalloc.start()
    try:
        found.fit(rows, y)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        size = found.transform(rows).nbytes
        extra = tracemalloc.get_traced_memory()[1] - before - size
    finally:
        tracemalloc.stop()
    # Columns of targets, shares and marks are all that grows with the rows.
    assert peak < rows.nbytes / 4
    assert extra < rows.nbytes / 8


def test_constant_rows_have_no_spread_after_many_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "CPU_BLOCK_BYTES", 1)
    found = model(residual="full")
    with pytest.warns(UserWarning, match="does not vary"):
        found.fit(np.full((20_000, 3), 0.1), np.arange(20_000.0))
    assert found.gain_ == 0
    assert found.scale_ == 1


@targets
def test_a_batch_is_its_rows(target):
    fitted = model().fit(X, TARGETS[target])
    single = [fitted.transform(row[None]) for row in X_NEW]
    close(fitted.transform(X_NEW), np.vstack(single), 1e-13)
