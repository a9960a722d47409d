"""
One gradient step, and the spikes it leaves
===========================================

Random features learn nothing about where to look. One large gradient step on their
weights changes that: it adds a few large singular values, spikes, whose singular
vectors are powers of one learned projection of the inputs. This example shows the
spikes appear as the step grows, reads out what was learned, and compares test errors
with their prediction. The model and the spikes are those of
`arXiv:2310.07891 <https://arxiv.org/abs/2310.07891>`_.
"""

# %%
# A target of one direction
# -------------------------
# Inputs are standard normal, the target is ``g + (g^2 - 1) / 2`` of one hidden
# projection g, plus noise. One sample takes the step, a second one fits ridge
# regression, a third one tests it: so the theory wants it.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge

from adaptive_kernels import OneStepSpikeFeatures
from adaptive_kernels.datasets import make_single_index
from adaptive_kernels.inspection import SpikeSpectrumDisplay
from adaptive_kernels.theory import direction_alignment, ridge_asymptotics, visible_gain

n_rows, n_features, n_neurons, n_test, alpha = 1000, 500, 750, 2000, 0.1
target, noise = (0.0, 1.0, 0.5), 0.3
shape = {"n_samples": n_rows, "n_features": n_features, "n_components": n_neurons}
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})


def draw(seed):
    """Rows for the step, for the ridge regression and for the test."""
    X, y = make_single_index(
        2 * n_rows + n_test,
        n_features,
        hermite_coefficients=target,
        noise=noise,
        random_state=seed,
    )
    cuts = [n_rows, 2 * n_rows]
    return zip(np.split(X, cuts), np.split(y, cuts), strict=True)


def step(rows, gain, **options):
    """Features after one step on the given rows."""
    features = OneStepSpikeFeatures(n_neurons, gain=gain, random_state=1, **options)
    return features.fit(*rows)


step_rows, ridge_rows, test_rows = draw(0)

# %%
# Spikes appear one after the other
# ---------------------------------
# The gain is the size of the step without units: the standard deviation by which it
# shifts the input of a neuron, which is itself of unit variance. The first spike, g,
# leaves the bulk near ``visible_gain(1)``, the second, g squared, near
# ``visible_gain(2)``: somewhat earlier, since the bulk helps.

first, second = (visible_gain(k, **shape) for k in (1, 2))
print(f"visible gain of g: {first:.2f}, of g squared: {second:.2f}")

figure, axes = plt.subplots(2, 2, figsize=(9, 5.4), layout="constrained")
for ax, gain in zip(axes.flat, (0.0, first / 2, 2 * first, 1.5 * second), strict=True):
    features = step(step_rows, gain)
    SpikeSpectrumDisplay.from_estimator(features, ridge_rows[0], ax=ax)
    ax.set_title(f"gain {gain:.2f}", fontsize="medium")
    ax.get_legend().remove()
ax.legend(frameon=False, fontsize="small", loc=(0.48, 0.5))
plt.show()

# %%
# What the exact gradient adds
# ----------------------------
# By default the step takes the gradient's average over wide layers, which is of rank
# one. The gradient itself has a rest: noise that follows the rows of the step. At a
# large gain it makes outliers of its own, which are no function of g, and blurs the
# second spike.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for ax, gradient in zip(axes, ("rank_one", "exact"), strict=True):
    features = step(step_rows, 2 * second, gradient=gradient)
    display = SpikeSpectrumDisplay.from_estimator(features, ridge_rows[0], ax=ax)
    ax.set_title(f'gradient="{gradient}", gain {2 * second:.2f}', fontsize="medium")
    spectrum = display.spectrum
    print(
        f"{gradient}: {len(spectrum.degrees)} outliers, {spectrum.n_spikes} of them "
        f"spikes, shares explained by g: {spectrum.explained[:2].round(2)}"
    )
axes[0].get_legend().remove()
plt.show()

# %%
# What was learned
# ----------------
# The polynomial that the target follows along the learned direction is read out on
# rows that the step has not seen; rows of the fit are refused, since the direction has
# followed their noise. For normal inputs its coefficients are c_k rho^k, where rho is
# the cosine between the learned direction and the true one. In the limit rho is known
# in advance; here it varies by 0.02 from draw to draw.

features = step(step_rows, 1.5 * second)
X_test, y_test = test_rows
polynomial = features.target_polynomial(X_test, y_test)
expected_cosine = direction_alignment(
    target, noise=noise**2, n_features=n_features, n_step_samples=n_rows
).squared_cosine ** (1 / 2)
# The hidden direction is the first thing drawn.
*_, hidden = make_single_index(1, n_features, coef=True, random_state=0)
cosine = features.direction_ @ hidden
print(f"rho: {cosine:.3f}, expected {expected_cosine:.3f}")

degrees = np.arange(4)
own = np.pad(target, (0, 1))
implied = own * cosine**degrees
print("degree  coefficient      c_k rho^k")
for k, c, error, value in zip(
    degrees, polynomial.coefficients, polynomial.standard_errors, implied, strict=True
):
    print(f"{k:6d}  {c:6.3f} ± {error:.3f}  {value:9.3f}")

projection = features.project(X_test)
grid = np.linspace(projection.min(), projection.max(), 200)
_, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.6), width_ratios=(3, 2), layout="constrained"
)
left.scatter(projection, y_test, s=4, color="#56B4E9", label="held-out rows")
left.plot(grid, polynomial(grid), color="#D55E00", linewidth=2, label="polynomial")
left.set(xlabel="learned projection", ylabel="y")
left.legend(frameon=False)
right.errorbar(
    degrees,
    polynomial.coefficients,
    2 * polynomial.standard_errors,
    fmt="o",
    capsize=3,
    color="#D55E00",
    label="read out, ± 2 standard errors",
)
right.plot(
    degrees, implied, "s", color="black", fillstyle="none", ms=10, label=r"$c_k \rho^k$"
)
right.plot(degrees, own, "x", color="#666666", label="$c_k$ of the target")
right.set(xlabel="degree k", ylabel="coefficient", xticks=degrees, ylim=(-0.15, 1.6))
right.legend(frameon=False, fontsize="small")
plt.show()

# %%
# The test error, measured and predicted
# --------------------------------------
# Where rows, features and neurons are many and in proportion, the errors of ridge
# regression are known in advance. The prediction at a finite gain is what to compare
# with; the limits of one spike and of two are where it would settle if spikes came
# one by one, and at these sizes the transitions are smooth. A step also changes the
# bulk, which the prediction leaves out: it is meant for gains well below one.
#
# ReLU is a linear part plus an even one: it learns g and g squared, and would not learn
# the cube. tanh is odd: it learns g, not the square, and stays at the error of one
# spike. The measured points of a panel share their samples, so they err together.

gains = np.array([0, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8])
n_seeds = 8


def test_error(samples, gain, activation, seed):
    step_rows, (X, y), (X_test, y_test) = samples
    features = OneStepSpikeFeatures(
        n_neurons, gain=gain, activation=activation, random_state=seed
    ).fit(*step_rows)
    model = Ridge(alpha).fit(features.transform(X), y)
    return np.mean((y_test - model.predict(features.transform(X_test))) ** 2)


measured = {"relu": [], "tanh": []}
for seed in range(n_seeds):
    samples = list(draw(seed))
    for activation, errors in measured.items():
        errors.append([test_error(samples, g, activation, seed) for g in gains])

figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
fine = np.linspace(0, gains[-1], 81)
for ax, (activation, errors) in zip(axes, measured.items(), strict=True):

    def predict(activation=activation, **size):
        return ridge_asymptotics(
            target,
            noise=noise**2,
            alpha=alpha,
            activation=activation,
            **shape,
            **size,
        ).test_error

    mean = np.mean(errors, axis=0)
    spread = np.std(errors, axis=0, ddof=1) / np.sqrt(n_seeds)
    limits = [predict(), predict(n_spikes=1), predict(n_spikes=2)]
    print(f"{activation}: limits of 0, 1, 2 spikes", np.round(limits, 3))
    print("  gain   measured         predicted")
    for gain, value, error in zip(gains, mean, spread, strict=True):
        print(f"  {gain:.2f}  {value:.3f} ± {error:.3f}  {predict(gain=gain):9.3f}")
    names = ("no spike", "g", "g and g²" if activation == "relu" else "")
    for limit, name in zip(limits, names, strict=True):
        ax.axhline(limit, color="#666666", linestyle=":", linewidth=1)
        ax.text(1.02, limit, name, va="center", transform=ax.get_yaxis_transform())
    ax.plot(fine, [predict(gain=g) for g in fine], color="#0072B2", label="predicted")
    ax.errorbar(
        gains, mean, spread, fmt="o", color="black", ms=4, capsize=3, label="measured"
    )
    ax.set_xlabel("gain")
    ax.set_title(activation, fontsize="medium")
axes[0].set_ylabel("test error")
axes[0].legend(frameon=False, loc=(0.6, 0.55))
plt.show()

# %%
# The spikes of tanh
# ------------------
# At a gain where relu shows the square, tanh shows none. It has a cube, which takes a
# large gain to show, since tanh saturates. Powers up to the fifth are looked for, since
# a saturated cube is not a pure one.

third = visible_gain(3, activation="tanh", **shape)
print(f"visible gain of g cubed for tanh: {third:.2f}")
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for ax, gain in zip(axes, (1.5 * second, 2.0), strict=True):
    features = step(step_rows, gain, activation="tanh")
    SpikeSpectrumDisplay.from_estimator(features, ridge_rows[0], degree=5, ax=ax)
    ax.set_title(f"tanh, gain {gain:.2f}", fontsize="medium")
axes[0].get_legend().remove()
plt.show()
