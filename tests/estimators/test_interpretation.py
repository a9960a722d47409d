"""scikit-learn's inspection tools take the estimators as they are; names survive."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_classifier
from sklearn.compose import make_column_transformer
from sklearn.inspection import (
    PartialDependenceDisplay,
    partial_dependence,
    permutation_importance,
)
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    NNGPClassifier,
    NNGPRegressor,
)
from adaptive_kernels.inspection import (
    FeatureImportancesDisplay,
    WeightCovarianceDisplay,
)
from adaptive_kernels.kernels import NNGP

RNG = np.random.default_rng(0)
N = 60
TABLE = pd.DataFrame(
    {
        "age": RNG.normal(50, 10, N),
        "dose": RNG.normal(0, 1, N),
        "site": pd.Categorical(RNG.choice(["oak", "ash", "elm"], N)),
    }
)
Y = np.sin(2 * TABLE["dose"]) + (TABLE["site"] == "oak") + 0.1 * RNG.normal(size=N)
LABELS = pd.Series(np.array(["low", "mid", "top"])[np.digitize(Y, [-0.2, 0.6])])

SEARCH = {"kernels": [NNGP("erf")], "widths": (1, 30), "cv": 2}
ADAPTIVE = [
    AdaptiveKernelRegressor(),
    AdaptiveKernelRegressor(covariance_type="full", width=10),
    AdaptiveKernelRegressorCV(**SEARCH),
    AdaptiveKernelClassifier(max_iter=20),
    AdaptiveKernelClassifierCV(**SEARCH),
]
MODELS = [*ADAPTIVE, NNGPRegressor(), NNGPClassifier()]


def name_of(model):
    return type(model).__name__ + getattr(model, "covariance_type", "")


all_models = pytest.mark.parametrize("model", MODELS, ids=name_of)
adaptive_models = pytest.mark.parametrize("model", ADAPTIVE, ids=name_of)
ENCODED = ["age", "dose", "site_ash", "site_elm", "site_oak"]


pytestmark = pytest.mark.usefixtures("closed_figures")


def on_table(model):
    columns = make_column_transformer(
        (StandardScaler(), ["age", "dose"]),
        (OneHotEncoder(sparse_output=False), ["site"]),
        verbose_feature_names_out=False,
    )
    return make_pipeline(columns, clone(model))


def targets(model):
    return LABELS if is_classifier(model) else Y


def response(model, X):
    return model.predict_proba(X).T if is_classifier(model) else [model.predict(X)]


@all_models
def test_partial_dependence_is_the_mean_over_rows(model):
    pipeline = on_table(model).fit(TABLE, targets(model))
    found = partial_dependence(pipeline, TABLE, ["dose"], grid_resolution=4)
    expected = [
        np.mean(response(pipeline, TABLE.assign(dose=value)), axis=1)
        for value in found["grid_values"][0]
    ]
    assert_allclose(found["average"], np.transpose(expected), rtol=1e-9)
    found = partial_dependence(
        pipeline, TABLE, ["site"], categorical_features=["site"], kind="individual"
    )
    assert_array_equal(found["grid_values"][0], ["ash", "elm", "oak"])
    oak = response(pipeline, TABLE.assign(site="oak"))
    assert_allclose(found["individual"][:, :, 2], oak, rtol=1e-9)


@all_models
def test_partial_dependence_is_drawn(model):
    pipeline = on_table(model).fit(TABLE, targets(model))
    target = {"target": "top"} if is_classifier(model) else {}
    display = PartialDependenceDisplay.from_estimator(
        pipeline,
        TABLE,
        ["dose", "site", ("age", "dose")],
        categorical_features=["site"],
        grid_resolution=4,
        **target,
    )
    labels = [ax.get_xlabel() for ax in display.axes_.ravel()]
    assert labels == ["dose", "site", "age"]
    display.figure_.canvas.draw()


@all_models
def test_permutation_importance_is_the_loss_of_score(model):
    y = targets(model)
    pipeline = on_table(model).fit(TABLE, y)
    found = permutation_importance(pipeline, TABLE, y, n_repeats=5, random_state=0)
    shuffled = np.random.default_rng(1)
    score = accuracy_score if is_classifier(model) else r2_score
    for column, losses in zip(TABLE, found.importances, strict=True):
        mine = [
            score(y, pipeline.predict(TABLE))
            - score(
                y,
                pipeline.predict(
                    TABLE.assign(**{column: shuffled.permutation(TABLE[column])})
                ),
            )
            for _ in range(5)
        ]
        error = np.hypot(np.std(mine), np.std(losses)) / np.sqrt(4)
        assert abs(np.mean(mine) - losses.mean()) < 5 * error + 1e-3
    assert found.importances_mean.argmax() == 1


@all_models
def test_names_of_a_frame_are_kept(model):
    numbers = TABLE[["age", "dose"]]
    fitted = clone(model).fit(numbers, targets(model))
    assert_array_equal(fitted.feature_names_in_, ["age", "dose"])
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(numbers[["dose", "age"]])


@adaptive_models
def test_learned_coordinates_come_as_a_frame(model):
    pipeline = on_table(model).set_output(transform="pandas")
    frame = pipeline.fit(TABLE, targets(model)).transform(TABLE)
    names = [f"{type(model).__name__.lower()}{i}" for i in range(5)]
    assert list(frame.columns) == list(pipeline.get_feature_names_out()) == names
    assert_array_equal(frame.index, TABLE.index)
    assert_array_equal(pipeline[-1].feature_names_in_, ENCODED)
    plain = on_table(model).fit(TABLE, targets(model))
    assert_allclose(frame, plain.transform(TABLE), rtol=1e-9)


@adaptive_models
def test_importances_are_labelled_through_the_pipeline(model, ax):
    pipeline = on_table(model).fit(TABLE, targets(model))
    display = FeatureImportancesDisplay.from_estimator(pipeline, ax=ax)
    assert display.feature_names == ENCODED
    top = ENCODED[np.argmax(pipeline[-1].feature_importances_)]
    assert ax.get_yticklabels()[0].get_text() == top


# Directions in the names of features


@adaptive_models
def test_directions_are_the_eigenvectors(model, ax):
    pipeline = on_table(model).fit(TABLE, targets(model))
    display = WeightCovarianceDisplay.from_estimator(pipeline, ax=ax)
    assert display.feature_names == ENCODED
    inner = getattr(pipeline[-1], "best_estimator_", pipeline[-1])
    covariance = inner.weight_covariance_
    covariance = np.diag(covariance) if covariance.ndim == 1 else covariance
    prior = inner.kernel_.weight_variance / 5
    z = display.directions_
    assert_allclose(z.T @ z, np.eye(5), atol=1e-9)
    rebuilt = prior * (z * display.spectrum_) @ z.T
    assert_allclose(rebuilt, covariance, rtol=1e-8, atol=1e-9 * np.max(covariance))
    assert np.all(np.diff(display.spectrum_) <= 0)
    assert_allclose(z.max(axis=0), np.abs(z).max(axis=0))


def spelled(direction, names, ax):
    direction = np.asarray(direction, float)
    direction = direction / np.linalg.norm(direction)
    display = WeightCovarianceDisplay(
        weight_covariance=np.eye(len(names)) + 4 * np.outer(direction, direction),
        prior_variance=1.0,
        feature_names=names,
    ).plot(ax)
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert display.spike_.get_label() == texts[1]
    ax.figure.canvas.draw()
    return texts[1]


@pytest.mark.parametrize(
    ("direction", "names", "text"),
    [
        ([3, 4], ["age", "dose"], "direction: 0.80 dose + 0.60 age"),
        ([3, -4], ["age", "dose"], "direction: 0.80 dose − 0.60 age"),
        ([0, -1], ["age", "dose"], "direction: 1.00 dose"),
        ([1, 20], ["age", "dose"], "direction: 1.00 dose"),
        ([5, 4, -3, 2], list("abcd"), "direction: 0.68 a + 0.54 b − 0.41 c + ..."),
        ([4, 3], ["a +b", "$c$"], r"direction: 0.80 a +b + 0.60 \$c\$"),
    ],
)
def test_top_direction_is_spelled_out(direction, names, text, ax):
    assert spelled(direction, names, ax) == text


def test_the_direction_of_a_mixture_is_found(ax):
    X = pd.DataFrame(RNG.normal(size=(150, 4)), columns=["p", "q", "r", "s"])
    y = np.sin(1.5 * (0.8 * X["q"] - 0.6 * X["s"]))
    model = AdaptiveKernelRegressor(covariance_type="full", width=10).fit(X, y)
    display = WeightCovarianceDisplay.from_estimator(model, ax=ax)
    cosine = display.directions_[:, 0] @ [0, 0.8, 0, -0.6]
    assert cosine > 0.99
    label = display.spike_.get_label()
    assert label.startswith("direction: 0.8") and " − 0.6" in label
    assert label.index("q") < label.index("s")


def test_without_names_nothing_is_spelled(ax):
    X, y = TABLE[["age", "dose"]].to_numpy(), Y.to_numpy()
    model = AdaptiveKernelRegressor(NNGP("erf")).fit(X, y)
    display = WeightCovarianceDisplay.from_estimator(model, ax=ax)
    assert display.feature_names is None and len(ax.get_legend().get_texts()) == 1
    nameless = make_pipeline(
        FunctionTransformer(np.asarray), StandardScaler(), AdaptiveKernelRegressor()
    ).fit(TABLE[["age", "dose"]], Y)
    display = WeightCovarianceDisplay.from_estimator(nameless, ax=Figure().subplots())
    assert display.feature_names is None


def test_a_metric_that_mixes_features_has_no_names_for_weights(ax):
    numbers = (TABLE[["age", "dose"]] - [50, 0]) / [10, 1]
    for metric, names in (([1.0, 2], ["age", "dose"]), ([[2.0, 1], [1, 2]], None)):
        kernel = NNGP("erf", metric=np.array(metric))
        model = AdaptiveKernelRegressor(kernel).fit(numbers, Y)
        display = WeightCovarianceDisplay.from_estimator(model, ax=Figure().subplots())
        assert display.feature_names == names


def test_names_must_fit(ax):
    display = WeightCovarianceDisplay(
        weight_covariance=[5.0, 1], prior_variance=1.0, feature_names=["one"]
    )
    with pytest.raises(ValueError, match="feature_names must hold 2 names, got 1"):
        display.plot(ax)
