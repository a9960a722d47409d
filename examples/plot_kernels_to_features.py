"""
From kernels to features
========================

A Bayesian network of infinite width is a Gaussian process. A finite one is not, and
how far it departs depends on its scaling: from standard, where the kernel's size
changes, to mean field, where its hidden weights turn towards the target. This example
draws figure 2 of `arXiv:2502.03210 <https://arxiv.org/abs/2502.03210>`_ from a seed:
theories against networks whose posterior was sampled.

NNGP means neural-network Gaussian process: the limit of an infinitely wide network.
"""

# %%
# A task and a network
# --------------------
# Inputs are random signs, labels the sign of their projection on a hidden direction.
# The network is linear, with as many hidden units as there are features, and not many
# more than rows: far from infinite.

import matplotlib.pyplot as plt
import numpy as np

from adaptive_kernels import AdaptiveKernelRegressor
from adaptive_kernels.datasets import make_ising
from adaptive_kernels.inspection import ScalingPathDisplay, WeightCovarianceDisplay
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.metrics import discrepancy
from adaptive_kernels.sampling import sample_linear_network, sample_network

n_rows, n_features, width, noise = 80, 100, 100, 0.2
X, y, direction = make_ising(n_rows + 200, n_features, coef=True, random_state=1)
X_train, y_train, X_test, y_test = X[:n_rows], y[:n_rows], X[n_rows:], y[n_rows:]


def network(activation, scaling):
    """The kernel of the infinitely wide network at a scaling."""
    return NNGP(activation, bias_variance=0, weight_variance=1 / scaling)


def discrepancies(samples):
    """Train and test discrepancy of sampled networks, each with its standard error."""

    def along(labels):
        return lambda f: np.mean(labels * (labels - f[..., 0]), axis=-1)

    train = samples.estimate(along(y_train))
    return *train, *samples.estimate(along(y_test), rows="test")


# %%
# The truth: sampled networks
# ---------------------------
# Gibbs sweeps draw whole networks from the posterior at each scaling. The noise is
# divided by the scaling too, as the mean-field limit needs.

scalings = np.array([1, 3, 10, 30, 100])
samples = {
    scaling: sample_linear_network(
        network("identity", scaling),
        X_train,
        y_train,
        alpha=noise / scaling,
        width=width,
        X_test=X_test,
        n_chains=4,
        n_samples=800,
        random_state=0,
    )
    for scaling in scalings
}
sampled = [(scaling, *discrepancies(draws)) for scaling, draws in samples.items()]

# %%
# Theory along the scaling
# ------------------------
# Discrepancy is the mean of y (y - f): how far outputs stay behind the labels. The
# infinitely wide network does not notice the scaling. The tree level, a saddle
# point, is right at mean field only. At standard scaling fluctuations count: one loop
# corrects for them, and overshoots a little where rows are nearly as many as units.
# Rescaling the kernel, to all orders, is right throughout.

model = AdaptiveKernelRegressor(
    network("identity", 1),
    width=width,
    alpha=noise,
    scale_noise=True,
    optimizer=None,  # take variances and noise as given
    normalize_y=False,
)
ScalingPathDisplay.from_estimator(
    model,
    X_train,
    y_train,
    X_test,
    y_test,
    approximations=("nngp", "tree", "one_loop", "rescaling"),
    scalings=np.geomspace(1, 100, 30),
    sampled=sampled,
)
plt.show()

# %%
# What rescaling cannot see
# -------------------------
# The same mean follows from two kernels: one whose directions all grow alike, and one
# that grows a single spike. Only weights tell them apart, and those of the sampled
# networks have the spike, along the direction that the theory says.

at_mean_field = model.set_params(approximation="exact", scaling=100)
at_mean_field.fit(X_train, y_train)
prior = at_mean_field.kernel_.weight_variance / n_features
_, ax = plt.subplots(layout="constrained")
WeightCovarianceDisplay.from_estimator(
    at_mean_field, direction=direction, name="theory", ax=ax
)
display = WeightCovarianceDisplay(
    weight_covariance=samples[100].weight_covariance.mean(axis=0),
    prior_variance=prior,
    direction=direction,
).plot(ax, name="sampled networks")
plt.show()

# %%
# A network that is not linear
# ----------------------------
# For an erf network the kernel's shape adapts as well. At mean field the rescaled
# kernel and a normal distribution of the weights both promise a test discrepancy some
# 9 % too small; neurons sampled from the distribution that the data imply are right.

X_train, y_train = X[:40, :30], np.sign(X[:40, :30] @ direction[:30])
X_test, y_test = X[80:, :30], np.sign(X[80:, :30] @ direction[:30])
width, noise = 60, 0.1
kernel = NNGP("erf", bias_variance=0, readout_variance=1 / width)
draws = sample_network(
    kernel,
    X_train,
    y_train,
    alpha=noise / width,
    width=width,
    X_test=X_test,
    n_chains=16,
    n_warmup=300,
    n_samples=300,
    random_state=0,
)
truth = discrepancies(draws)
print("discrepancy      train            test")
print("sampled networks {:.4f} ± {:.4f}  {:.4f} ± {:.4f}".format(*truth))
for approximation in ("rescaling", "gaussian", "sampled"):
    model = AdaptiveKernelRegressor(
        kernel,
        width=width,
        approximation=approximation,
        covariance_type="full",
        alpha=noise / width,
        optimizer=None,
        normalize_y=False,
    ).fit(X_train, y_train)
    train = discrepancy(y_train, model.predict(X_train))
    test = discrepancy(y_test, model.predict(X_test))
    print(f"{approximation:16s} {train:.4f}           {test:.4f}")
