"""What scores and displays compare: shapes, missing values, weights, labels."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm
from sklearn.model_selection import GridSearchCV

from adaptive_kernels import AdaptiveKernelClassifier, AdaptiveKernelRegressor
from adaptive_kernels.inspection import (
    PredictionIntervalDisplay,
    ReliabilityDisplay,
    WidthPathDisplay,
)
from adaptive_kernels.metrics import (
    discrepancy,
    interval_coverage,
    predictive_log_density,
)

rng = np.random.default_rng(0)
Y, MEAN, STD = rng.standard_normal(40), 0.3 * rng.standard_normal(40), np.full(40, 0.9)
COVERAGE = np.mean(np.abs(Y - MEAN) <= norm.ppf(0.95) * STD)
DENSITY = np.mean(norm.logpdf(Y, MEAN, STD))
SCORES = [interval_coverage, predictive_log_density]


@pytest.mark.parametrize("form", [np.ravel, np.atleast_2d, pd.DataFrame, list])
@pytest.mark.parametrize("other", [np.ravel, pd.DataFrame])
def test_a_column_is_a_vector(form, other):
    def shaped(values, form):
        return form(values).T if form is np.atleast_2d else form(values)

    y, mean, std = shaped(Y, form), shaped(MEAN, other), shaped(STD, other)
    assert_allclose(interval_coverage(y, mean, std), COVERAGE)
    assert_allclose(predictive_log_density(y, mean, std), DENSITY)
    assert_allclose(discrepancy(y, shaped(MEAN, other)), np.mean(Y * (Y - MEAN)))


WRONG = {
    "other shape": ((Y[:, None] + [0, 0], MEAN, STD), "same shape"),
    "other length": ((Y[1:], MEAN, STD), "same shape"),
    "missing": ((np.where(Y > 1, np.nan, Y), MEAN, STD), "y_true contains NaN"),
    "infinite mean": ((Y, np.full_like(MEAN, np.inf), STD), "mean contains inf"),
    "zero std": ((Y, MEAN, 0 * STD), "std must be positive"),
    "nothing": ((Y[:0], MEAN[:0], STD[:0]), "0 sample|minimum of 1"),
    "text": ((["a", "b"], [1.0, 2.0], [1.0, 1.0]), "convert"),
}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_compared_is_refused(score, name):
    arrays, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        score(*arrays)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (-np.ones(40), "negative"),
        (np.zeros(40), "zero everywhere"),
        (np.full(40, np.nan), "NaN"),
        (np.ones(39), "shape"),
        (np.ones((40, 2)), "shape"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(ValueError, match=f"sample_weight.*{message}"):
        predictive_log_density(Y, MEAN, STD, sample_weight=weights)


def test_weights_count_like_repeated_rows():
    weights = rng.integers(0, 3, 40)
    repeated = [np.repeat(a, weights) for a in (Y, MEAN, STD)]
    actual = predictive_log_density(Y, MEAN, STD, sample_weight=weights)
    assert_allclose(actual, predictive_log_density(*repeated))


def test_tiny_and_huge_deviations_have_a_density():
    for std in (1e-200, 1e200):
        assert_allclose(
            predictive_log_density([0.0], [0.0], [std]), norm.logpdf(0, 0, std)
        )


X = rng.standard_normal((60, 3))
CLASSIFIER = AdaptiveKernelClassifier().fit(X, np.where(X[:, 0] > 0, "yes", "no"))


@pytest.mark.parametrize("dtype", [int, float, bool])
def test_labels_of_another_kind_are_refused(dtype, closed_figures):
    with pytest.raises(ValueError, match="y_true holds numbers, y_pred holds strings"):
        ReliabilityDisplay.from_estimator(CLASSIFIER, X, (X[:, 0] > 0).astype(dtype))


@pytest.mark.parametrize("form", [list, pd.Series, pd.DataFrame])
def test_labels_of_the_same_kind_are_compared(form, closed_figures):
    labels = np.where(X[:, 0] > 0, "yes", "no").astype(object)
    display = ReliabilityDisplay.from_estimator(CLASSIFIER, X, form(labels))
    assert display.observed_.mean() > 0.8


def test_one_column_is_drawn_as_a_vector(closed_figures):
    table = pd.DataFrame({"y": Y})
    display = PredictionIntervalDisplay(y_true=table, y_pred=MEAN, y_std=STD).plot()
    assert_allclose(display.coverage_, COVERAGE)
    with pytest.raises(ValueError, match="2 outputs"):
        PredictionIntervalDisplay(
            y_true=np.c_[Y, Y], y_pred=np.c_[Y, Y], y_std=np.c_[STD, STD]
        ).plot()


def test_a_search_over_something_else_has_no_widths(closed_figures):
    grid = GridSearchCV(AdaptiveKernelRegressor(), {"width": [1, 10]}, cv=2)
    with pytest.raises(TypeError, match=r"GridSearchCV has no .*param_kernel"):
        WidthPathDisplay.from_estimator(grid.fit(X, X[:, 0]))
