"""
Neural collapse, seen by kernels
================================

At the end of training, the features of a deep classifier collapse: the rows of a class
gather at their mean. NC1, the spread within classes over that between them, measures
how far they have come, and it is known for the kernel of an infinitely wide network
too. This example draws the comparison of `arXiv:2406.02105
<https://arxiv.org/abs/2406.02105>`_: which kernels collapse, and which do not.
"""

# %%
# Fixed kernels and an adapted one
# --------------------------------
# Two normal clouds, with means -2 and 2 in each of d features. A kernel below the
# dotted line of the data pulls the rows of a class together. With one feature the erf
# kernels do: erf saturates, and forgets how far from zero a row is. ReLU keeps lengths,
# and spreads rows. From some eight features on no kernel is below the data; the tangent
# kernel (NTK) is never below the NNGP. The kernel that has adapted to the labels, that
# of an erf network of finite width, is below its NNGP everywhere.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.preprocessing import LabelBinarizer

from adaptive_kernels import AdaptiveKernelRegressor
from adaptive_kernels.datasets import make_gaussian_classes
from adaptive_kernels.inspection import NeuralCollapseDisplay
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.metrics import nc1_score, neural_collapse

clouds = {
    d: [make_gaussian_classes(128, d, random_state=seed) for seed in range(5)]
    for d in (1, 2, 8, 32, 128)
}
display = NeuralCollapseDisplay.from_datasets(clouds)
for name, scores in display.scores.items():
    print(f"{name:13s}", np.log10(scores).mean(axis=1).round(2))

# %%
# Handwritten digits
# ------------------
# Three digits that are easily mistaken. The kernel adapts to the labels of half of the
# rows, and is then judged on the other half, which it has not seen.

X, y = load_digits(return_X_y=True)
hard = np.isin(y, (3, 8, 9))
X, y = X[hard] - X[hard].mean(axis=0), y[hard]
X /= X.std()
train, test = slice(0, None, 2), slice(1, None, 2)

network = NNGP("erf", bias_variance=0)
columns = LabelBinarizer(neg_label=-1).fit_transform(y[train])
model = AdaptiveKernelRegressor(
    network, width=100, alpha=0.01, covariance_type="full", optimizer=None, max_iter=500
).fit(X[train], columns)

kernels = {
    "data": "features",
    "NTK": NTK("erf", bias_variance=0),
    "NNGP": network,
    "adaptive": model.kernel_,
}
for name, kernel in kernels.items():
    scores = [nc1_score(X[rows], y[rows], input=kernel) for rows in (train, test)]
    print(f"{name:9s} NC1 {scores[0]:.2f} on the rows it learned from, {scores[1]:.2f}")
print(neural_collapse(X[test], y[test], input=model.kernel_))

plt.show()
