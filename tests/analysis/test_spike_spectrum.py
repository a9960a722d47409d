"""Spikes in the spectrum of the features: where they are, and what they are."""

from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import optimize, stats
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptive_kernels import OneStepSpikeFeatures, spike_spectrum
from adaptive_kernels.datasets import make_single_index


def wave(z):
    return np.sin(1.5 * z + 0.8)


def vee(z):
    """c_1 = 0.3 and c_2 = 0.4: at a large gain the quadratic spike is the larger."""
    return 0.3 * z + np.abs(z)


@cache
def task(n, d, seed, coefficients=(0.0, 1.0)):
    X, y = make_single_index(
        2 * n, d, hermite_coefficients=coefficients, random_state=seed
    )
    return X[:n], y[:n], X[n:]


@cache
def case(gain, seed=0, gradient="rank_one", activation="relu", n=1000, degree=3):
    """A step on one half of the rows, and the spectrum over the other."""
    X, y, X_new = task(n, n // 2, seed)
    features = OneStepSpikeFeatures(
        3 * n // 4,
        gain=gain,
        gradient=gradient,
        activation=activation,
        random_state=seed,
    ).fit(X, y)
    return features, X_new, spike_spectrum(features, X_new, degree=degree)


def n_outliers(spectrum):
    return int(np.sum(spectrum.singular_values > 1.05 * spectrum.edge))


def projection(features, X):
    return (X - features.mean_) / features.scale_ @ features.direction_


def initial_features(features, X):
    """By hand, for relu."""
    Z = (X - features.mean_) / features.scale_ @ features.initial_weights_.T
    return (np.maximum(Z, 0) - stats.norm.pdf(0)) / np.sqrt(features.n_components)


def secular_root(features, X):
    """Largest singular value of F_0 + theta u v' by its secular equation.

    theta^2 D_u(z) D_v(z) = 1, D_u = z u'(z^2 - F F')^-1 u, D_v = z v'(z^2 - F'F)^-1 v.
    """
    F = initial_features(features, X)
    g, alpha = projection(features, X), features.readout_
    lengths = np.linalg.norm(g), np.linalg.norm(alpha)
    theta = 0.5 * features.gain * lengths[0] * lengths[1] / np.sqrt(F.shape[1])
    left, values, right = np.linalg.svd(F, full_matrices=False)
    u, v = (left.T @ g / lengths[0]) ** 2, (right @ alpha / lengths[1]) ** 2

    def resolvent(shares, z):
        return z * np.sum(shares / (z**2 - values**2)) + (1 - np.sum(shares)) / z

    def secular(z):
        return theta**2 * resolvent(u, z) * resolvent(v, z) - 1

    return optimize.brentq(secular, values[0] * (1 + 1e-9), 100 * values[0])


# Acceptance case T8: n = 1000, d = 500, 750 neurons


# The lengths of g and of the readout weights, to which the largest value is nearly
# proportional, have standard errors of 1 / sqrt(2 n) and 1 / sqrt(2 N).
SPREAD = np.hypot(1 / np.sqrt(2000), 1 / np.sqrt(1500))


@pytest.mark.slow
def test_spikes_of_the_exact_gradient():
    ratios = []
    for seed in range(3):
        features, X, spectrum = case(0.3, seed, "exact")
        assert n_outliers(spectrum) == 2
        assert_array_equal(spectrum.degrees, [1, 2])
        root = secular_root(features, X)
        assert_allclose(spectrum.singular_values[0], root, rtol=0.02)
        vectors = np.linalg.svd(features.transform(X), full_matrices=False)[0]
        g = projection(features, X)
        for k, least in ((1, 0.97), (2, 0.7)):
            power = g**k / np.linalg.norm(g**k)
            assert abs(vectors[:, k - 1] @ power) > least
        ratios.append(spectrum.singular_values[0] / spectrum.edge)
    assert_allclose(np.mean(ratios), 2.91, rtol=3 * SPREAD / np.sqrt(3))


@pytest.mark.slow
@pytest.mark.parametrize(
    "gain, count, ratio",
    [(0, 0, 1), (0.1, 1, 1.205), (0.2, 1, 2.016), (0.3, 2, 2.916), (0.6, 2, 5.704)],
)
def test_spikes_of_the_leading_part(gain, count, ratio):
    ratios = []
    for seed in range(3):
        features, X, spectrum = case(gain, seed)
        assert n_outliers(spectrum) == spectrum.n_spikes == count
        assert_array_equal(spectrum.degrees, [1, 2][:count])
        if gain:
            root = secular_root(features, X)
            assert_allclose(spectrum.singular_values[0], root, rtol=0.02)
        ratios.append(spectrum.singular_values[0] / spectrum.edge)
    assert_allclose(np.mean(ratios), ratio, rtol=3 * SPREAD / np.sqrt(3))


def test_counts_of_the_exact_gradient():
    assert n_outliers(case(0.1, 0, "exact", n=600)[2]) == 1
    assert n_outliers(case(0.0, 0, "exact", n=600)[2]) == 0


@pytest.mark.slow
def test_noise_of_the_exact_gradient_is_not_labelled():
    """About 11.7 outliers, of which two mean much."""
    features, X, spectrum = case(0.6, 0, "exact")
    assert n_outliers(spectrum) >= 7
    assert 1 <= spectrum.n_spikes <= 3
    F = features.transform(X)
    vectors = np.linalg.svd(F, full_matrices=False)[0][:, : n_outliers(spectrum)]
    powers = projection(features, X)[:, None] ** np.arange(1, 4)
    basis = np.linalg.qr(powers)[0]
    shares = np.sum((basis.T @ vectors) ** 2, axis=0)
    noise = spectrum.degrees == 0
    assert np.all(shares[noise] < 0.51) and np.all(shares[~noise] > 0.49)
    assert_allclose(spectrum.explained, shares, atol=3 / 1000)


@pytest.mark.slow
def test_spikes_of_a_wave():
    """Acceptance case T9: two outliers, with n = 1500."""
    counts = []
    for seed in range(2):
        _, _, spectrum = case(0.3, seed, activation=wave, n=1500)
        counts.append(n_outliers(spectrum))
        assert sorted(spectrum.degrees) == [1, 2]
    assert counts == [2, 2]


# Labels


def test_labels_follow_the_alignment_and_not_the_rank():
    features, X, spectrum = case(1.0, activation=vee, n=600)
    values, degrees = spectrum.singular_values, spectrum.degrees
    assert_array_equal(degrees[:2], [2, 1])
    vectors = np.linalg.svd(features.transform(X), full_matrices=False)[0]
    g = projection(features, X)
    cosines = [
        [abs(vectors[:, i] @ g**k) / np.linalg.norm(g**k) for k in (1, 2)]
        for i in range(2)
    ]
    assert cosines[0][1] > 0.9 > 0.4 > cosines[0][0]
    assert cosines[1][0] > 0.9 > 0.4 > cosines[1][1]
    assert values[0] > 1.2 * values[1]
    assert_allclose(spectrum.alignments[:2, :2], np.square(cosines), atol=2 / 600)


def test_odd_activations_have_no_quadratic_spike():
    """Acceptance case T10."""
    spectrum = case(1.0, activation="tanh", n=600)[2]
    assert 1 in spectrum.degrees
    assert 2 not in spectrum.degrees


def test_explained_is_the_share_of_all_powers():
    features, X, spectrum = case(0.6, n=600)
    vectors = np.linalg.svd(features.transform(X), full_matrices=False)[0]
    powers = projection(features, X)[:, None] ** np.arange(1, 4)
    for i, share in enumerate(spectrum.explained):
        fit = powers @ np.linalg.lstsq(powers, vectors[:, i], rcond=None)[0]
        # Adjusted for three of 600 dimensions.
        adjusted = 1 - np.sum((vectors[:, i] - fit) ** 2) * 600 / 597
        assert_allclose(share, adjusted, atol=1e-9)
    assert spectrum.alignments.shape == (n_outliers(spectrum), 3)
    # The best of one is no better than all together, up to their chances.
    assert np.all(spectrum.alignments.max(axis=1) < spectrum.explained + 3 / 600)


def test_rows_of_uneven_length_have_no_spike():
    rng = np.random.default_rng(0)
    inputs = {
        "tails": rng.standard_t(5, (500, 100)),
        "lengths": rng.standard_normal((500, 100)) * rng.gamma(2, 0.5, (500, 1)),
    }
    for X in inputs.values():
        y = X[:, 0] + 0.3 * rng.standard_normal(500)
        for gain in (0.0, 0.01):
            features = OneStepSpikeFeatures(400, gain=gain, random_state=0).fit(X, y)
            spectrum = spike_spectrum(features, X)
            assert spectrum.n_spikes == 0
            assert spectrum.alignments.shape == (n_outliers(spectrum), 3)
        values = spectrum.initial_values
        stepped = OneStepSpikeFeatures(400, gain=0.5, random_state=0).fit(X, y)
        assert 1 in spike_spectrum(stepped, X).degrees
    # Lengths do make an outlier of the bulk before any step.
    assert values[0] > 1.5 * values[1]


@pytest.mark.slow
def test_spikes_of_two_outputs():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2400, 100))
    Y = X[:, :2] + 0.2 * rng.standard_normal((2400, 2))
    features = OneStepSpikeFeatures(900, gain=0.8, random_state=0)
    spectrum = spike_spectrum(features.fit(X[:1200], Y[:1200]), X[1200:])
    assert_array_equal(spectrum.degrees[:2], [1, 1])
    # g_1^2, g_1 g_2 and g_2^2, of which the first and last come with their mean.
    assert_array_equal(spectrum.degrees[2:], 2)
    assert 2 <= len(spectrum.degrees[2:]) <= 3
    vectors = np.linalg.svd(features.transform(X[1200:]), full_matrices=False)[0]
    basis = np.linalg.qr(X[1200:, :2])[0]
    assert np.linalg.svd(basis.T @ vectors[:, :2])[1].min() > 0.9
    linear = spike_spectrum(features, X[1200:], degree=1)
    assert linear.alignments.shape == (len(spectrum.degrees), 1)
    assert_array_equal(linear.degrees[2:], 0)


# Values


def test_values_are_those_of_the_features():
    features, X, spectrum = case(0.6, n=600)
    F, F_0 = features.transform(X), initial_features(features, X)
    assert_allclose(
        spectrum.singular_values, np.linalg.svd(F)[1], rtol=1e-9, atol=1e-12
    )
    initial = np.linalg.svd(F_0)[1]
    assert_allclose(spectrum.initial_values, initial, rtol=1e-9, atol=1e-9)
    assert spectrum.edge == spectrum.initial_values[0]
    assert len(spectrum.degrees) == n_outliers(spectrum)


@pytest.mark.parametrize("sign", [1, -1])
def test_predicted_values(sign):
    def function(z):
        return sign * np.maximum(z, 0)

    features, X, spectrum = case(0.6, activation=function, n=600)
    # -relu turns neurons to the other side.
    t = sign * 0.6 * np.outer(projection(features, X), features.readout_)
    mean = t * stats.norm.cdf(t) + stats.norm.pdf(t) - stats.norm.pdf(0)
    truth = np.linalg.svd(initial_features(features, X) + mean / np.sqrt(450))[1]
    assert_allclose(spectrum.predicted_values, truth, rtol=1e-6, atol=1e-6)
    # What it leaves out fluctuates like the bulk.
    found = spectrum.singular_values
    assert_allclose(found[:2], spectrum.predicted_values[:2], rtol=0.1)


@pytest.mark.parametrize("gain", [5.0, 20.0, 50.0])
def test_predicted_values_of_a_huge_gain(gain):
    X, y, X_new = task(200, 20, 0)
    features = OneStepSpikeFeatures(100, gain=gain, random_state=0).fit(X, y)
    t = gain * np.outer(projection(features, X_new), features.readout_)
    mean = t * stats.norm.cdf(t) + stats.norm.pdf(t) - stats.norm.pdf(0)
    truth = np.linalg.svd(initial_features(features, X_new) + mean / 10)[1]
    found = spike_spectrum(features, X_new).predicted_values
    assert_allclose(found[:3], truth[:3], rtol=1e-6)


# Input


def test_pipelines():
    X, y, X_new = task(200, 20, 0)
    pipeline = make_pipeline(
        StandardScaler(), OneStepSpikeFeatures(150, random_state=0), Ridge()
    ).fit(X, y)
    found = spike_spectrum(pipeline, X_new)
    expected = spike_spectrum(pipeline[1], pipeline[0].transform(X_new))
    assert_array_equal(found.singular_values, expected.singular_values)
    first = make_pipeline(OneStepSpikeFeatures(150, random_state=0), Ridge()).fit(X, y)
    assert_array_equal(
        spike_spectrum(first, X_new).singular_values,
        spike_spectrum(first[0], X_new).singular_values,
    )


def test_estimator_is_not_changed():
    X, y, X_new = task(200, 20, 0)
    features = OneStepSpikeFeatures(150, random_state=0).fit(X, y)
    weights, expected = features.weights_, features.transform(X_new)
    spike_spectrum(features, X_new)
    assert features.weights_ is weights
    assert_array_equal(features.transform(X_new), expected)


@pytest.mark.parametrize("degree", [0, 6])
def test_bad_degrees_are_refused(degree):
    X, y, X_new = task(200, 20, 0)
    features = OneStepSpikeFeatures(50, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="degree"):
        spike_spectrum(features, X_new, degree=degree)


def test_bad_input_is_refused():
    X, y, X_new = task(200, 20, 0)
    with pytest.raises(TypeError, match="OneStepSpikeFeatures"):
        spike_spectrum(Ridge().fit(X, y), X_new)
    with pytest.raises(TypeError, match="OneStepSpikeFeatures"):
        spike_spectrum(make_pipeline(StandardScaler(), Ridge()).fit(X, y), X_new)
    with pytest.raises(TypeError, match="best_estimator_"):
        spike_spectrum(GridSearchCV(OneStepSpikeFeatures(), {}), X_new)
    with pytest.raises(NotFittedError):
        spike_spectrum(OneStepSpikeFeatures(), X_new)
    features = OneStepSpikeFeatures(50, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="too few"):
        spike_spectrum(features, X_new[:11])
    spike_spectrum(features, X_new[:12])


def test_a_step_that_was_not_taken():
    X, y, X_new = task(200, 20, 0)
    with pytest.warns(UserWarning, match="vary"):
        features = OneStepSpikeFeatures(50, random_state=0).fit(X, np.ones(200))
    spectrum = spike_spectrum(features, X_new)
    assert spectrum.n_spikes == 0
    assert spectrum.alignments.shape == (0, 3)
    assert_allclose(spectrum.predicted_values, spectrum.initial_values, rtol=1e-6)


def test_pandas_output_and_single_precision():
    X, y, X_new = task(200, 20, 0)
    plain = OneStepSpikeFeatures(150, random_state=0).fit(X, y)
    expected = spike_spectrum(plain, X_new)
    frames = OneStepSpikeFeatures(150, random_state=0).set_output(transform="pandas")
    found = spike_spectrum(frames.fit(X, y), X_new)
    assert_array_equal(found.singular_values, expected.singular_values)
    single = X_new.astype(np.float32)
    found = spike_spectrum(plain.fit(X.astype(np.float32), y), single)
    assert_allclose(found.singular_values, expected.singular_values, rtol=1e-3)
    assert_array_equal(found.degrees, expected.degrees)


def test_array_libraries_agree():
    xp = pytest.importorskip("array_api_strict")
    X, y, X_new = task(200, 20, 0)
    features = OneStepSpikeFeatures(150, gain=0.7, random_state=0)
    expected = spike_spectrum(features.fit(X, y), X_new)
    with config_context(array_api_dispatch=True):
        features.fit(*(xp.asarray(a) for a in (X, y)))
        found = spike_spectrum(features, xp.asarray(X_new))
    for name in ("singular_values", "predicted_values", "alignments", "degrees"):
        value = getattr(found, name)
        assert type(value) is np.ndarray
        assert_allclose(value, getattr(expected, name), rtol=1e-8, atol=1e-8)
