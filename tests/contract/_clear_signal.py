"""Data with a clear signal, changed in ways that no user expects to matter."""

from dataclasses import dataclass

import numpy as np
from _models import MODELS
from _strategies import CONTAINERS, Described, seeds, sometimes
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HARMLESS = ("numpy", "Fortran order", "strided", "read-only", "memory map", "list")
HARMLESS += ("object", "pandas", "pandas Float64", "polars", "big-endian")
SETTINGS = {
    "AdaptiveKernelRegressor": {"max_iter": 50},
    "AdaptiveKernelRegressorCV": {"widths": (1, np.inf), "max_iter": 20, "cv": 3},
    "ModifiedSpectrumRegressor": {"max_iter": 1000, "alpha": 0.01},
    "AdaptiveKernelClassifier": {"max_iter": 50},
    "AdaptiveKernelClassifierCV": {"widths": (1, np.inf), "cv": 3},
    "OneStepSpikeFeatures": {"n_components": 100, "random_state": 0},
}
# These do not tune the scale of X, and their documentation asks for a scaler.
UNSCALED = ("NTK", "Modified")


@dataclass(frozen=True, repr=False)
class Signal(Described):
    """A model and 50 rows of y = sin(x_0) + x_1 / 2 + noise of 0.1, changed.

    x_scale, y_scale : float, factors
    x_shift, y_shift : float, shifts in units of the standard deviation
    """

    name: str
    seed: int = 0
    x_scale: float = 1.0
    y_scale: float = 1.0
    x_shift: float = 0.0
    y_shift: float = 0.0
    dtype: str = "float64"
    container: str = "numpy"
    outputs: int = 0
    extra: str = "none"

    def _model(self):
        model = MODELS[self.name][0](**SETTINGS.get(self.name, {}))
        if self.name == "OneStepSpikeFeatures":
            return make_pipeline(StandardScaler(), model, Ridge(0.1))
        if self.name.startswith(UNSCALED):
            return make_pipeline(StandardScaler(), model)
        return model

    def _data(self):
        rng = np.random.default_rng(self.seed)
        X = rng.standard_normal((80, 3))
        y = np.sin(X[:, 0]) + X[:, 1] / 2 + 0.1 * rng.standard_normal(80)
        if self.extra == "constant column":
            X[:, 2] = 1.0
        elif self.extra == "equal columns":
            X = np.column_stack([X, X[:, :1]])
        elif self.extra == "repeated rows":
            X[25:50], y[25:50] = X[:25], y[:25]
        X = (X + self.x_shift) * self.x_scale
        return X.astype(self.dtype), y

    def _fitted(self, X, y):
        wrap = CONTAINERS[self.container]
        model = self._model().fit(wrap(X[:50].copy()), y[:50])
        return model, wrap(X[50:].copy())

    def regression_score(self):
        """R2 on new rows, and their error in units of the predicted deviation, or 1."""
        X, y = self._data()
        y = (y + self.y_shift) * self.y_scale
        Y = np.column_stack([y, -2 * y])[:, : self.outputs] if self.outputs else y
        model, new = self._fitted(X, Y)
        mean, spread = model.predict(new), 1.0
        last = model[-1] if hasattr(model, "steps") else model
        if hasattr(last, "sample_y"):
            mean, std = model.predict(new, return_std=True)
            spread = float(np.sqrt(np.mean(((Y[50:] - mean) / std) ** 2)))
        return r2_score(Y[50:], mean), spread

    def accuracy(self):
        """Share of correct labels on new rows; the labels are the sign of y."""
        X, y = self._data()
        labels = np.array(["no", "yes"])[(y > 0).astype(int)]
        model, new = self._fitted(X, labels)
        return np.mean(model.predict(new) == labels[50:])


def signals(names):
    moderate = st.sampled_from([10.0**k for k in range(-6, 7)])
    return st.builds(
        Signal,
        st.sampled_from(list(names)),
        seeds,
        moderate,
        moderate,
        x_shift=sometimes(0.0, 1.0, -100.0),
        y_shift=sometimes(0.0, -10.0, 1e4),
        dtype=sometimes("float64", "float32"),
        container=sometimes(*HARMLESS),
        outputs=sometimes(0, 1, 2),
        extra=sometimes("none", "constant column", "equal columns", "repeated rows"),
    )
