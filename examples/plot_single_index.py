"""
When one gradient step pays, and when it does not
=================================================

One gradient step turns random features towards one direction. So it should help where
the target hangs mostly on one projection of many features, and not elsewhere. This
example tests both: a table made for it, one for which it is not made, and two real
ones, against ridge regression, plain random features and Gaussian processes. All are
tuned, by the same inner cross-validation or by their own evidence.
"""

# %%
# Four tables
# -----------
# The first has 1200 rows of 100 features. Its target is nearly one of a single index:
# ``g + 0.7 (g^2 - 1)`` of a hidden projection g, noise, and a small part along five
# other directions, which holds 2 % of the variance. The first function of Friedman
# uses five features, each in its own manner. Diabetes and breast cancer come with
# scikit-learn; the label of the latter, 0 or 1, is regressed on like the others.

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, make_friedman1
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from adaptive_kernels import AdaptiveKernelRegressor, OneStepSpikeFeatures
from adaptive_kernels.datasets import make_single_index

# Length scales of useless features go to their bound, and small noise to its own.
warnings.filterwarnings("ignore", message=".*close to the specified.*")


def near_single_index():
    X, y, hidden = make_single_index(
        1200, 100, hermite_coefficients=(0, 1, 0.7), coef=True, random_state=0
    )
    others = np.random.default_rng(0).standard_normal((100, 5))
    others /= np.linalg.norm(others, axis=0)
    return X, y + 0.15 * np.sin(X @ others).sum(axis=1), hidden


X, y, hidden = near_single_index()
tables = {
    "near single index": (X, y),
    "friedman1": make_friedman1(400, noise=1.0, random_state=0),
    "diabetes": load_diabetes(return_X_y=True),
    "breast cancer": load_breast_cancer(return_X_y=True),
}

# %%
# The models
# ----------
# Gain and penalty are searched over the whole pipeline, since the features have seen
# the targets: the leave-one-out score of `RidgeCV` after them would be optimistic. Gain
# 0 is in the grid, so that the search can refuse the step. Plain random features are
# the same search without the other gains.
#
# The adaptive kernel learns a full metric on the first table, where mixtures of
# features matter, at a width that suits few rows for each feature. Its search is
# stopped after 50 steps there: converging takes three times as long, and scored 0.02
# lower. On the other tables it learns the diagonal, its default. A Gaussian process
# with a length scale for each feature (ARD) is affordable for few features only, since
# each step of its search needs n x n x d numbers: seconds a step on the first table,
# and 12 seconds a fit on breast cancer, where it scored 0.86 ± 0.02.

penalties = {"ridge__alpha": np.geomspace(0.01, 3, 5)}
gains = {"features__gain": [0, 0.5, 2, 4]}
inner = KFold(3, shuffle=True, random_state=0)


def random_features(grid, **options):
    features = OneStepSpikeFeatures(500, random_state=0, **options)
    steps = [("scale", StandardScaler()), ("features", features), ("ridge", Ridge())]
    return GridSearchCV(Pipeline(steps), grid, cv=inner)


def gaussian_process(length_scales):
    kernel = ConstantKernel() * RBF(length_scales, (1e-2, 1e4)) + WhiteKernel(0.1)
    gp = GaussianProcessRegressor(kernel, normalize_y=True)
    return make_pipeline(StandardScaler(), gp)


def models(n_features):
    adaptive = AdaptiveKernelRegressor()
    if n_features == 100:
        adaptive.set_params(covariance_type="full", width=10, max_iter=50)
    scale = n_features**0.5
    ridge = make_pipeline(StandardScaler(), Ridge())
    shrinkage = {"ridge__alpha": np.geomspace(0.1, 1e4, 11)}
    found = {
        "ridge": GridSearchCV(ridge, shrinkage, cv=inner),
        "random features": random_features({"features__gain": [0]} | penalties),
        "one step": random_features(gains | penalties),
        "one step, preconditioned": random_features(
            gains | penalties, precondition=0.1
        ),
        "Gaussian process, RBF": gaussian_process(scale),
        "adaptive kernel": make_pipeline(StandardScaler(), adaptive),
    }
    if n_features <= 10:
        found["Gaussian process, ARD"] = gaussian_process(np.full(n_features, scale))
    return found


# %%
# The scores
# ----------
# Three random splits into 75 % for training and 25 % for the test. The standard error
# is that over splits, which share rows: take it as a rough guide.

scores, chosen = {}, {}
for table, (X, y) in tables.items():
    print(f"{table}: {len(X)} rows, {X.shape[1]} features")
    print("  model                     test R2        seconds of CPU")
    for name, model in models(X.shape[1]).items():
        values, start = [], time.process_time()
        for train, test in ShuffleSplit(3, test_size=0.25, random_state=0).split(X):
            with warnings.catch_warnings():
                # The full metric is stopped early, as said above.
                warnings.filterwarnings("ignore", message="The evidence search")
                model.fit(X[train], y[train].astype(float))
            values.append(model.score(X[test], y[test]))
            if name.startswith("one step"):
                gain = model.best_params_["features__gain"]
                chosen.setdefault((table, name), []).append(gain)
            if (table, name) == ("near single index", "one step"):
                cosine = model.best_estimator_["features"].direction_ @ hidden
        seconds = (time.process_time() - start) / 3
        error = np.std(values, ddof=1) / np.sqrt(3)
        scores[table, name] = np.mean(values), error
        print(f"  {name:24s}  {np.mean(values):.3f} ± {error:.3f}  {seconds:12.1f}")
for (table, name), gain in chosen.items():
    print(f"gains chosen for {table}, {name}: {gain}")
print(f"cosine between the learned and the hidden direction: {cosine:.2f}")

# %%
# What came out
# -------------
# On the first table one step more than doubles the R2 of plain random features, and
# leaves the Gaussian process with a fixed kernel far behind. The adaptive kernel, which
# can also turn its metric to any direction, is better still, and takes longer.
# Preconditioning the step helps a little even with independent features, since the
# sample's correlations are not zero.
#
# Elsewhere the step does nothing that is larger than its error, with one exception:
# breast cancer, where the preconditioned step gains some, and a Gaussian process with
# a fixed kernel still does as well. Several directions, as in friedman1, are not what
# one step can learn.

figure, axes = plt.subplots(
    1, len(tables), figsize=(9, 3), sharey=True, layout="constrained"
)
names = list(dict.fromkeys(name for _, name in scores))[::-1]
for ax, table in zip(axes, tables, strict=True):
    for row, name in enumerate(names):
        if (table, name) in scores:
            mean, error = scores[table, name]
            color = "#D55E00" if name.startswith("one step") else "#0072B2"
            ax.errorbar(mean, row, xerr=error, fmt="o", capsize=3, color=color)
    ax.set_title(table, fontsize="medium")
    ax.set(xlabel="test R²", yticks=range(len(names)), yticklabels=names)
    ax.grid(axis="x", color="#e6e6e6", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
