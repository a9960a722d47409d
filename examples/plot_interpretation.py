"""
What did the model learn from a table?
======================================

A real table, read with pandas: bicycle hire by the hour, with weather and calendar. The
kernel adapts to it, and this example asks what it learned and whether to believe it:
importances, directions in the names of the columns, permutation importance and partial
dependence from scikit-learn, and the reliability of the error bars on held-out rows.
"""

# %%
# The table
# ---------
# 600 hours of 2011 in Washington, D.C. The target is the logarithm of one plus the
# number of bicycles hired. An hour is a place on a circle, so that 23 h and 0 h are
# neighbours; the weather is a category.

from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import PartialDependenceDisplay, permutation_importance
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelRegressor,
    NNGPRegressor,
)
from adaptive_kernels.inspection import (
    FeatureImportancesDisplay,
    ReliabilityDisplay,
    WeightCovarianceDisplay,
)

table = pd.read_csv(files("adaptive_kernels") / "data" / "bikeshare.csv")
X = table[["hr", "workingday", "weathersit", "temp", "hum", "windspeed"]]
y = table["log_bikers"]
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=400, random_state=0
)
print(X_train.head())


def on_circle(hours):
    angle = 2 * np.pi * hours.to_numpy() / 24
    return np.hstack([np.sin(angle), np.cos(angle)])


def on_table(model):
    """The model behind a preparation of the columns that keeps their names."""
    circle = FunctionTransformer(
        on_circle, feature_names_out=lambda _, names: ["sin(hour)", "cos(hour)"]
    )
    columns = make_column_transformer(
        (circle, ["hr"]),
        (OneHotEncoder(sparse_output=False, min_frequency=20), ["weathersit"]),
        (StandardScaler(), ["workingday", "temp", "hum", "windspeed"]),
        verbose_feature_names_out=False,
    )
    return make_pipeline(columns, model)


# %%
# A fixed kernel and two adapted ones: one variance for each column, and a full
# covariance of all columns. Here adaptation pays.

models = {
    "fixed": NNGPRegressor(),
    "adapted, diagonal": AdaptiveKernelRegressor(),
    "adapted, full": AdaptiveKernelRegressor(covariance_type="full", width=10),
}
for name, model in models.items():
    models[name] = on_table(model).fit(X_train, y_train)
    print(f"{name:18} R2 {models[name].score(X_test, y_test):.2f}")
adapted = models["adapted, diagonal"]

# %%
# Importances, of two kinds
# -------------------------
# `feature_importances_` says how much the learned function bends along a column, given
# the others; the display takes the names from the pipeline. Permutation importance says
# how much R2 is lost on held-out rows when a column of the table is shuffled. Both put
# the hour first. The temperature has half the share of `workingday`, and costs nearly
# as much when shuffled: what depends on it nearly linearly needs little of the metric.

permuted = permutation_importance(adapted, X_test, y_test, n_repeats=10, random_state=0)
fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
FeatureImportancesDisplay.from_estimator(adapted, ax=axes[0])
order = np.argsort(permuted.importances_mean)
axes[1].barh(
    X.columns[order],
    permuted.importances_mean[order],
    xerr=permuted.importances_std[order],
    height=0.65,
    color="#E69F00",
    ecolor="#666666",
)
axes[1].set_xlabel("loss of R2 when permuted")
axes[1].spines[["top", "right"]].set_visible(False)
axes[0].set_title("what bends the function")
axes[1].set_title("what explains the target")

# %%
# Directions, in the names of the columns
# ---------------------------------------
# A full covariance learns directions: mixtures of columns along which hidden units
# look. The learned ones have eigenvalues above one, the prior. The legend spells out
# the first; all of them are in `directions_`.

display = WeightCovarianceDisplay.from_estimator(models["adapted, full"], name="full")
directions = pd.DataFrame(display.directions_[:, :2], index=display.feature_names)
print(directions.round(2))

# %%
# The first direction is night against day, with some of `workingday` in it; the second
# is morning against evening.
#
# Partial dependence
# ------------------
# scikit-learn's tools take the pipeline as it is, and the columns by their names in the
# table. Working days and days off differ, as the directions hint: commuters at 8 h and
# 17 h on the former, a single hill on the latter.

fig, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained", sharey=True)
for value, name, color in ((1, "working day", "#0072B2"), (0, "day off", "#D55E00")):
    PartialDependenceDisplay.from_estimator(
        adapted,
        X_train[X_train["workingday"] == value].astype({"hr": float}),
        ["hr", "temp", "hum"],
        ax=axes,
        grid_resolution=48,
        percentiles=(0, 1),
        line_kw={"color": color, "label": name},
    )
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
    ax.get_legend().remove()
    ax.set(ylabel="", ylim=(1.2, 6.2))
axes[0].set(ylabel="log(1 + bicycles), averaged", xticks=range(0, 25, 6))
axes[0].legend(loc="lower right", bbox_to_anchor=(1, 0.05), frameon=False)

# %%
# Are the error bars right?
# -------------------------
# On held-out rows, how many observations lie inside their intervals? The fixed kernel
# stays close to the grey band, where sampling alone could put it. The adapted one
# leaves it at 90 %: its intervals are shorter, and the long ones somewhat too short,
# since it takes for certain what it learned from 400 rows.
#
# For classifiers the question is how often the predicted class is right, given the
# probability that it got. Here hours are quiet, normal or busy. Both models are about
# as often right as they say: few bars of 33 rows each miss the diagonal.

fig, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
for name in ("fixed", "adapted, diagonal"):
    ReliabilityDisplay.from_estimator(
        models[name], X_test, y_test, name=name, ax=axes[0]
    )

labels = pd.qcut(y, 3, labels=["quiet", "normal", "busy"]).astype(str)
for model in (AdaptiveKernelClassifier(), RandomForestClassifier(random_state=0)):
    model = on_table(model).fit(X_train, labels[X_train.index])
    ReliabilityDisplay.from_estimator(
        model, X_test, labels[X_test.index], n_bins=6, ax=axes[1]
    )
axes[0].set_title("intervals")
axes[1].set_title("probabilities of classes")

plt.show()
