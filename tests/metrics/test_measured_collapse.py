"""NC1 of adapted and of fixed kernels, against measured values."""

import numpy as np
import pytest
from _adapted_networks import NOISE, adapted, clouds, log_nc1, network
from numpy.testing import assert_allclose

from adaptive_kernels.datasets import make_gaussian_classes
from adaptive_kernels.metrics import nc1_score

# --- NC1, adapted and not ------------------------------------------------------------

# log10 NC1 of the adapted and the fixed kernel, means of three draws: by another
# implementation of the same equations, of other draws.
MEASURED = {
    (128, 1): (-2.319, -2.124),
    (128, 2): (-1.473, -1.286),
    (128, 8): (-1.174, -1.041),
    (128, 32): (-1.095, -1.000),
    (256, 1): (-2.366, -2.072),
    (256, 2): (-1.457, -1.234),
    (256, 8): (-1.213, -1.044),
    (256, 32): (-1.119, -0.993),
}
# The same of single draws.
UNBALANCED = {8: (-1.275, -1.106), 2: (-1.595, -1.393)}
LARGER = (-1.243, -1.032)


def with_gap(scores):
    """Scores of the adapted and the fixed kernel, and their difference."""
    adaptive, fixed = np.transpose(scores)
    return np.stack([adaptive, fixed, adaptive - fixed])


def scores_of(draws):
    return with_gap(
        [
            (log_nc1(X, y, adapted(X, y).kernel_), log_nc1(X, y, network()))
            for X, y in draws
        ]
    )


def assert_measured(scores, expected, draws):
    """Within four standard errors, of both means, and the rounding of the table."""
    count = scores.shape[1]
    error = scores.std(axis=1, ddof=1) * (1 / count + 1 / draws) ** 0.5
    gap = np.abs(scores.mean(axis=1) - with_gap([expected])[:, 0])
    assert np.all(gap < 4 * error + 0.001), (scores.mean(axis=1), error)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case, marks=[pytest.mark.slow] if case[0] > 128 else [], id=str(case)
        )
        for case in MEASURED
    ],
)
def test_adapted_kernel_is_more_collapsed_as_measured(case):
    scores = scores_of(clouds(*case))
    assert np.all(scores[2] < -0.05)
    assert_measured(scores, MEASURED[case], draws=3)


@pytest.mark.slow
def test_more_rows_as_measured():
    assert_measured(scores_of(clouds(512, 8, seeds=5)), LARGER, draws=1)


@pytest.mark.parametrize("d", UNBALANCED)
def test_unbalanced_classes_as_measured(d):
    scores = scores_of(clouds([64, 192], d))
    assert np.all(scores[2] < -0.05)
    assert_measured(scores, UNBALANCED[d], draws=1)


@pytest.mark.parametrize("d", [1, 8])
def test_rows_not_seen_collapse_too(d):
    for X, y in clouds(256, d, seeds=3):
        kernel = adapted(X[:128], y[:128]).kernel_
        new = X[128:], y[128:]
        assert log_nc1(*new, kernel) < log_nc1(*new, network()) - 0.05


# --- ReLU ----------------------------------------------------------------------------


def along_and_across(model):
    """Growth of Sigma along the class direction, and its mean across."""
    grown = len(model.weight_covariance_) * model.weight_covariance_
    d = len(grown)
    along = np.sum(grown) / d
    return along, (np.trace(grown) - along) / (d - 1)


def of_equal_projections(X, y):
    """The rows with their class means along (1, ..., 1), and their spread across."""
    d = X.shape[1]
    return X + (2 * y - X.mean(axis=1))[:, None] * np.ones(d)


@pytest.mark.parametrize(
    "d", [pytest.param(8, marks=pytest.mark.slow, id="8"), pytest.param(32, id="32")]
)
def test_relu_turns_away_from_the_classes_and_spreads_them(d):
    """Its outputs are proportional to the length of a row, labels are not."""
    kernel = network("relu")
    for X, y in clouds(128, d, seeds=3):
        model = adapted(X, y, kernel, tol=1e-2)
        along, across = along_and_across(model)
        assert along < 0.5 and across > 1.1
        assert log_nc1(X, y, model.kernel_) > log_nc1(X, y, kernel) + 0.3


@pytest.mark.parametrize("case", ["equal projections", "linear", "biases", "noise"])
def test_relu_grows_along_the_classes_where_labels_are_within_reach(case):
    X, y = make_gaussian_classes(128, 8, random_state=0)
    kernel, alpha, targets = network("relu"), NOISE, y
    if case == "equal projections":
        X = of_equal_projections(X, y)
    elif case == "linear":
        targets = X.mean(axis=1)
    elif case == "biases":
        kernel = network("relu", bias_variance=1)
    else:
        alpha = 0.01
    model = adapted(X, targets, kernel, alpha=alpha, tol=1e-2)
    along, across = along_and_across(model)
    assert along > 1.1 and across < 1.005
    assert log_nc1(X, y, model.kernel_) < log_nc1(X, y, kernel) - 0.05


def test_relu_of_one_feature_only_changes_size():
    X, y = make_gaussian_classes(128, 1, random_state=1)
    model = adapted(X, y, network("relu"), tol=1e-2)
    fixed = nc1_score(X, y, input=network("relu"))
    assert abs(model.weight_covariance_[0, 0] - 1) > 0.05
    assert_allclose(nc1_score(X, y, input=model.kernel_), fixed, rtol=1e-8)
