"""Theory of learning curves against brute force, closed forms and random designs."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge

from adaptive_kernels import learning_curve_theory
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.theory.kernel_regression.learning_curves import predicted_error

MODES = np.arange(1.0, 201.0)
EIGENVALUES = MODES**-1.5
POWER = MODES**-1.3
SIZES = [0.0, 1.0, 7.5, 60.0, 200.0, 900.0]
IN_POOL = [0.0, 1.0, 7.5, 60.0, 199.0, 200.0]
NOISE = 0.25


def predict(sizes=SIZES, **parameters):
    parameters = {"ridge": 0.01} | parameters
    return predicted_error(EIGENVALUES, POWER, sizes, **parameters)


def target(X):
    return X[:, 0] + 0.5 * X[:, 1] * X[:, 2] + 0.3 * np.sin(2 * X[:, -1])


def pool(rows, features=10, seed=0):
    X = np.random.default_rng(seed).standard_normal((rows, features))
    return X, target(X)


def held_out_errors(K, y, size, ridge, *, repeats, truth=None, seed=0):
    """Mean squared errors on the rest of a pool, of one random subset after another."""
    rng = np.random.default_rng(seed)
    truth = y if truth is None else truth
    errors = []
    for _ in range(repeats):
        rows, rest = np.split(rng.permutation(len(K)), [size])
        dual = np.linalg.solve(K[np.ix_(rows, rows)] + ridge * np.eye(size), y[rows])
        errors.append(np.mean((K[np.ix_(rest, rows)] @ dual - truth[rest]) ** 2))
    return np.array(errors)


def agrees(predicted, errors, *, theory=0.0):
    """Within four standard errors of the mean and a relative error of the theory."""
    allowed = 4 * np.std(errors) / len(errors) ** 0.5 + theory * np.mean(errors)
    assert_allclose(predicted, np.mean(errors), rtol=0, atol=allowed)


# The equations


@pytest.mark.parametrize("ridge", [1e-8, 1e-3, 1.0, 100.0])
@pytest.mark.parametrize("pool_size", [np.inf, 200, 1000])
def test_rows_are_conserved(ridge, pool_size):
    sizes = IN_POOL if pool_size == 200 else SIZES
    curve = predict(sizes, ridge=ridge, pool_size=pool_size)
    learned = curve.learnability.sum(axis=1)
    idle = curve.sizes * ridge / curve.effective_ridge * (1 - learned / pool_size)
    assert_allclose(learned + idle, sizes, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("size", [1.0, 60.0, 199.0])
def test_modes_absorb_all_rows_without_ridge(size):
    curve = predict([size], ridge=0.0)
    assert curve.effective_ridge[0] > 0
    assert_allclose(curve.learnability.sum(), size, rtol=1e-8)


def test_inflation_is_one_over_one_minus_the_fluctuation():
    curve = predict(SIZES[1:])
    gamma = np.sum(curve.learnability**2, axis=1) / curve.sizes
    assert_allclose(curve.inflation, 1 / (1 - gamma), rtol=1e-8)


def test_error_is_that_of_the_paper():
    curve = predict(SIZES, noise=NOISE)
    for P, kappa, error in zip(
        curve.sizes, curve.effective_ridge, curve.test_error, strict=True
    ):
        spread = kappa + P * EIGENVALUES
        gamma = np.sum(P * EIGENVALUES**2 / spread**2)
        bias = np.sum(POWER * kappa**2 / spread**2)
        assert_allclose(error, (bias + NOISE * gamma) / (1 - gamma), rtol=1e-8)


def test_single_mode_has_a_closed_form():
    # kappa^2 + (P l - ridge - l) kappa - ridge P l = 0 with the eigenvalue l.
    P, value, ridge = 7.0, 0.3, 0.5
    b = P * value - ridge - value
    kappa = (-b + np.sqrt(b**2 + 4 * ridge * P * value)) / 2
    curve = predicted_error([value], [1.0], [P], ridge=ridge)
    assert_allclose(curve.effective_ridge, kappa, rtol=1e-12)


@pytest.mark.parametrize("pool_size", [np.inf, 500])
def test_nothing_is_known_without_rows(pool_size):
    curve = predict([0.0], noise=NOISE, pool_size=pool_size)
    assert_allclose(curve.test_error, POWER.sum(), rtol=1e-12)
    assert_allclose(curve.noisy_test_error, POWER.sum() + NOISE, rtol=1e-12)
    assert_allclose(curve.effective_ridge, 0.01 + EIGENVALUES.sum(), rtol=1e-12)


@pytest.mark.parametrize("size", [201.0, 250.0, 4000.0])
def test_beyond_the_rank_only_noise_is_left(size):
    expected = NOISE * 200 / (size - 200)
    assert_allclose(predict([size], ridge=0.0, noise=NOISE).test_error, expected)
    near = predict([size], ridge=1e-11, noise=NOISE).test_error
    assert_allclose(near, expected, rtol=1e-4)


def test_modes_that_do_not_exist_act_as_noise():
    # Half of the eigenvalues vanish; their power is never learned.
    eigenvalues = np.where(MODES <= 100, EIGENVALUES, 0.0)
    lost = POWER[100:].sum()
    curve = predicted_error(eigenvalues, POWER, [300], ridge=0.0, noise=NOISE)
    assert_allclose(curve.noisy_test_error, (lost + NOISE) * 300 / 200)
    assert_allclose(curve.learnability[0], MODES <= 100)


def test_error_peaks_at_the_rank_without_ridge():
    error = predict([150.0, 200.0, 250.0], ridge=0.0, noise=NOISE).test_error
    assert error[1] > 1e6 * max(error[0], error[2])


def test_small_and_large_eigenvalues_do_not_overflow():
    for factor in (1e-200, 1e200):
        curve = predicted_error(
            factor * EIGENVALUES, POWER, SIZES, ridge=0.01 * factor, noise=NOISE
        )
        assert_allclose(curve.test_error, predict(noise=NOISE).test_error, rtol=1e-8)


def test_target_without_power_is_finite():
    with np.errstate(all="raise"):
        curve = predicted_error([1.0, 0.5], [0.0, 0.0], [3.0], ridge=0.1)
        assert_allclose(curve.cumulative_power, 0.0)
    assert_allclose(curve.test_error, 0.0)


def test_kernel_without_eigenvalues_learns_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = predicted_error([0.0, 0.0], [1.0, 2.0], [0, 5], ridge=0.0, noise=NOISE)
    assert_allclose(curve.test_error, 3.0)


def test_one_row_teaches_the_only_mode():
    curve = predicted_error([1.0], [1.0], [1], ridge=0.0)
    assert curve.test_error[0] == 0 and curve.inflation[0] == np.inf


def test_more_rows_teach_more():
    curve = predict(SIZES)
    assert np.all(np.diff(curve.effective_ridge) < 0)
    assert np.all(np.diff(curve.learnability[1:], axis=0) > 0)
    assert np.all(np.diff(curve.learnability[1:], axis=1) < 0)
    assert np.all((curve.learnability >= 0) & (curve.learnability < 1))
    assert np.all(curve.inflation[1:] > 1)
    assert np.all(np.diff(curve.test_error) < 0)


def test_modes_come_out_in_order():
    shuffled = np.random.default_rng(0).permutation(200)
    curve = predicted_error(EIGENVALUES[shuffled], POWER[shuffled], SIZES, ridge=0.01)
    assert_array_equal(curve.eigenvalues, EIGENVALUES)
    assert_allclose(curve.cumulative_power, np.cumsum(POWER) / POWER.sum())
    assert_array_equal(curve.learnability, predict().learnability)


def test_large_pool_is_a_population():
    population = predict(noise=NOISE)
    large = predict(noise=NOISE, pool_size=10**9)
    assert_allclose(large.test_error, population.test_error, rtol=1e-5)


# Random designs, where the theory is asymptotically exact


@pytest.mark.parametrize("noise", [0.0, NOISE])
def test_gaussian_design(noise):
    rng = np.random.default_rng(1)
    coefficients, P, ridge = POWER**0.5, 300, 0.01
    errors = []
    for _ in range(30):
        F = rng.standard_normal((P, 200)) * EIGENVALUES**0.5
        y = F @ (coefficients / EIGENVALUES**0.5)
        y += noise**0.5 * rng.standard_normal(P)
        weights = F.T @ np.linalg.solve(F @ F.T + ridge * np.eye(P), y)
        learned = EIGENVALUES**0.5 * weights
        errors.append(np.sum((learned - coefficients) ** 2))
    ratio = predict([P], ridge=ridge, noise=noise).test_error / np.mean(errors)
    assert 0.93 < ratio[0] < 1.07


@pytest.mark.parametrize("size", [20, 80, 160])
@pytest.mark.parametrize("ridge", [1e-3, 0.3])
def test_randomly_rotated_pool(size, ridge):
    rng, M = np.random.default_rng(2), 200
    errors, clean = [], []
    for repeat in range(40):
        vectors = np.linalg.qr(rng.standard_normal((M, M)))[0]
        K = M * (vectors * EIGENVALUES) @ vectors.T
        f = M**0.5 * vectors @ (POWER**0.5 * rng.choice([-1, 1], M))
        y = f + NOISE**0.5 * rng.standard_normal(M)
        pair = {"repeats": 1, "seed": repeat}
        errors.append(held_out_errors(K, y, size, ridge, **pair)[0])
        clean.append(held_out_errors(K, y, size, ridge, truth=f, **pair)[0])
    curve = predict([size], ridge=ridge, noise=NOISE, pool_size=M)
    # Corrections are of the order of one over the number of rows.
    agrees(curve.noisy_test_error[0], errors, theory=0.03)
    agrees(curve.test_error[0], clean, theory=0.03)


# The pool of a wide network's kernel


def ratios_in_a_population(kernel, sizes, *, rows, repeats):
    """Predicted over measured errors on fresh rows, trained with label noise."""
    rng = np.random.default_rng(3)
    (X, y), (X_new, y_new) = pool(rows, seed=4), pool(1000, seed=5)
    K, cross = kernel(X), kernel(X_new, X)
    values, vectors = np.linalg.eigh(K / rows)
    power = (vectors.T @ y) ** 2 / rows
    values = np.maximum(values, 0)
    curve = predicted_error(values, power, sizes, ridge=1.0, noise=NOISE)
    measured = []
    for size in sizes:
        errors = []
        for _ in range(repeats):
            train = rng.choice(rows, size, replace=False)
            noisy = y[train] + NOISE**0.5 * rng.standard_normal(size)
            system = K[np.ix_(train, train)] + np.eye(size)
            dual = np.linalg.solve(system, noisy)
            errors.append(np.mean((cross[:, train] @ dual - y_new) ** 2))
        measured.append(np.mean(errors))
    return curve.test_error / measured


def test_population_is_predicted_from_a_pool():
    ratios = ratios_in_a_population(NTK("relu"), [20, 100], rows=800, repeats=20)
    assert np.all((ratios > 0.85) & (ratios < 1.15)), ratios


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize("depth", [1, 3])
def test_population_is_predicted_from_a_large_pool(activation, depth):
    kernel, sizes = NTK(activation, depth=depth), [20, 50, 100, 200, 400, 800]
    ratios = ratios_in_a_population(kernel, sizes, rows=2000, repeats=20)
    assert np.all((ratios > 0.85) & (ratios < 1.15)), ratios


HARD = [
    # Kernel, features, ridge: where the population's theory is off by up to ten times.
    (NTK("relu"), 10, 1e-3),
    (NTK("erf", depth=3), 10, 0.1),
    (NNGP("erf"), 10, 0.01),
    (NNGP("relu", depth=3), 10, 1e-3),
    (RBF(3.0), 10, 0.1),
]


@pytest.mark.parametrize("noise", [0.0, NOISE])
@pytest.mark.parametrize(("kernel", "features", "ridge"), HARD)
def test_rest_of_a_pool_is_predicted(kernel, features, ridge, noise):
    X, clean = pool(400, features)
    y = clean + noise**0.5 * np.random.default_rng(6).standard_normal(400)
    sizes, K = [80, 200, 320], kernel(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        curve = learning_curve_theory(
            kernel, X, y, train_sizes=sizes, alpha=ridge, noise=noise
        )
    for size, predicted in zip(sizes, curve.noisy_test_error, strict=True):
        errors = held_out_errors(K, y, size, ridge, repeats=20)
        assert 0.85 < predicted / np.mean(errors) < 1.2, size


@pytest.mark.parametrize(
    ("kernel", "features", "ridge", "sizes", "warns"),
    [
        (NTK("erf"), 3, 1e-3, [200], True),
        (RBF(1.7), 3, 0.01, [20, 200], True),
        (NTK("relu"), 3, 1e-3, [160], True),
        (NTK("erf"), 3, 1.0, [20, 200, 320], False),
        (RBF(1.7), 3, 3.0, [200], False),
        (NTK("relu"), 3, 1e-3, [10], False),
        (NTK("relu"), 10, 1e-3, [160], False),
        (NNGP("relu", depth=3), 10, 0.1, [40, 160, 400], False),
    ],
)
def test_warns_where_modes_alone_would_fail(kernel, features, ridge, sizes, warns):
    X, y = pool(400, features)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        curve = learning_curve_theory(kernel, X, y, train_sizes=sizes, alpha=ridge)
    assert [w.category for w in caught] == [UserWarning] * warns
    if warns:
        assert "raise alpha" in str(caught[0].message)
        assert caught[0].filename == __file__
    size = sizes[-1]
    if size < 400:
        errors = held_out_errors(kernel(X), y, size, ridge, repeats=20)
        modes_alone = curve.noisy_test_error[-1] / curve.row_correction[-1]
        assert (modes_alone / np.mean(errors) < 0.7) == warns


def test_whole_pool_is_leave_one_out():
    X, y = pool(60, 3)
    alpha = 0.05
    curve = learning_curve_theory(NNGP("erf"), X, y, train_sizes=[60], alpha=alpha)
    K, errors = NNGP("erf")(X), []
    for i in range(60):
        rest = np.delete(np.arange(60), i)
        system = K[np.ix_(rest, rest)] + alpha * np.eye(59)
        errors.append(y[i] - K[i, rest] @ np.linalg.solve(system, y[rest]))
    assert_allclose(curve.noisy_test_error, np.mean(np.square(errors)), rtol=1e-8)


@pytest.mark.parametrize("size", [30, 150])
def test_noise_in_the_pool_is_taken_out_of_its_power(size):
    # Clipped at zero, the power would keep 0.48 of the noise: most modes are noise.
    M, kernel, rng = 300, NTK("relu"), np.random.default_rng(7)
    X, clean = pool(M)
    K, predicted, errors = kernel(X), [], []
    for seed in range(20):
        y = clean + rng.standard_normal(M)
        curve = learning_curve_theory(
            kernel, X, y, train_sizes=[size], alpha=1.0, noise=1.0
        )
        assert_allclose(curve.target_power.sum(), np.mean(y**2) - 1.0)
        predicted.append(curve.test_error[0])
        errors += [*held_out_errors(K, y, size, 1.0, truth=clean, repeats=5, seed=seed)]
    allowed = 4 * np.std(predicted) / len(predicted) ** 0.5
    assert allowed < 0.2
    assert_allclose(np.mean(predicted), np.mean(errors), rtol=0, atol=allowed)


def test_kernel_stands_for_kernel_ridge():
    X, y = pool(300, 5)
    y, kernel, rng = y + 2.0, NNGP("relu"), np.random.default_rng(8)
    curve = learning_curve_theory(kernel, X, y, train_sizes=[0.2, 0.6], alpha=0.3)
    assert_array_equal(curve.sizes, [60, 180])
    assert curve.noise == 0
    for size, predicted in zip((60, 180), curve.test_error, strict=True):
        errors = []
        for _ in range(40):
            train, rest = np.split(rng.permutation(300), [size])
            model = KernelRidge(kernel="precomputed", alpha=0.3)
            model.fit(kernel(X[train]), y[train])
            fitted = model.predict(kernel(X[rest], X[train]))
            errors.append(np.mean((fitted - y[rest]) ** 2))
        agrees(predicted, errors, theory=0.05)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"eigenvalues": [1.0, -0.1]}, "eigenvalues"),
        ({"eigenvalues": [1.0, np.inf]}, "eigenvalues"),
        ({"eigenvalues": [1.0]}, "one length"),
        ({"target_power": [1.0, np.nan]}, "target_power"),
        ({"sizes": [-1.0]}, "sizes"),
        ({"sizes": [np.nan]}, "sizes"),
        ({"sizes": 3.0}, "sizes"),
        ({"sizes": [11.0], "pool_size": 10}, "sizes"),
        ({"pool_size": 1}, "pool_size"),
        ({"ridge": -1.0}, "ridge"),
        ({"ridge": np.nan}, "ridge"),
        ({"ridge": 0.0, "pool_size": 10}, "ridge"),
        ({"noise": -1.0}, "noise"),
    ],
)
def test_unusable_modes(changed, message):
    given = {
        "eigenvalues": [1.0, 0.5],
        "target_power": [1.0, 1.0],
        "sizes": [1.0],
        "ridge": 1.0,
    }
    with pytest.raises(ValueError, match=message):
        predicted_error(**given | changed)
