"""Models, data, and changes of the data under which predictions should not move.

Run as a script it measures the tables of docs/reliability.md:

    python tests/reliability/_invariances.py
"""

import sys
import warnings
from functools import partial
from math import inf

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    ModifiedSpectrumRegressor,
    NNGPClassifier,
    NNGPRegressor,
    NTKClassifier,
    NTKRegressor,
    OneStepSpikeFeatures,
)
from adaptive_kernels.kernels import NNGP


def one_step(**parameters):
    features = OneStepSpikeFeatures(60, random_state=0, **parameters)
    return make_pipeline(features, Ridge(0.1))


diag = partial(AdaptiveKernelRegressor, covariance_type="diag")
full = partial(AdaptiveKernelRegressor, covariance_type="full")
diag_classes = partial(AdaptiveKernelClassifier, covariance_type="diag")
full_classes = partial(AdaptiveKernelClassifier, covariance_type="full")
# The optimizer goes on to the maximum.
CONVERGED = {"tol": 1e-5, "max_iter": 5000}
SHORT = {"widths": (0.1, 10, inf), "max_iter": 15}
FEW = {"n_inducing": 12}
NEAR = {"n_neighbors": 15, "n_inducing": 5}

# Columns of the tables: models that share a promise.
REGRESSORS = {
    "NNGP": {"NNGP": NNGPRegressor},
    "diag": {f"diag {w:g}": partial(diag, width=w) for w in (0.1, 1.0, 100.0, inf)},
    "diag, converged": {"diag 1 converged": partial(diag, width=1.0, **CONVERGED)},
    "full": {f"full {w:g}": partial(full, width=w) for w in (1.0, 10.0, 100.0)},
    "full, converged": {"full 10 converged": partial(full, width=10.0, **CONVERGED)},
    "inducing": {
        "inducing NNGP": partial(NNGPRegressor, **FEW),
        "inducing diag 1": partial(diag, width=1.0, **FEW),
    },
    "neighbours": {
        "neighbours NNGP": partial(NNGPRegressor, **NEAR),
        "neighbours diag 1": partial(diag, width=1.0, **NEAR),
    },
    "search": {"search": partial(AdaptiveKernelRegressorCV, **SHORT)},
    "NTK": {"NTK": partial(NTKRegressor, alpha=0.1)},
    "modified spectrum": {
        "spectrum": partial(ModifiedSpectrumRegressor, n_components=10)
    },
    "gradient step": {
        "step": one_step,
        "step exact": partial(one_step, gradient="exact", precondition=0.1),
    },
}
CLASSIFIERS = {
    "NNGP": {"NNGP classes": NNGPClassifier},
    "diag": {"diag 10 classes": partial(diag_classes, width=10.0)},
    "full": {"full 10 classes": partial(full_classes, width=10.0)},
    "full, converged": {
        "full 10 classes converged": partial(full_classes, width=10.0, **CONVERGED)
    },
    "inducing": {"inducing classes": partial(diag_classes, width=10.0, **FEW)},
    "neighbours": {"neighbours classes": partial(diag_classes, width=10.0, **NEAR)},
    "search": {
        "search classes": partial(AdaptiveKernelClassifierCV, [NNGP("erf")], **SHORT)
    },
    "NTK": {"NTK classes": partial(NTKClassifier, alpha=0.1)},
}
TABLES = {"regressors": REGRESSORS, "classifiers": CLASSIFIERS}
MODELS = {
    name: make
    for table in TABLES.values()
    for group in table.values()
    for name, make in group.items()
}
N_ROWS, N_NEW = 40, 15


def data(name, seed):
    """X, y and new rows: standardised, 40 rows to learn from."""
    rng = np.random.default_rng(seed)
    n = N_ROWS + N_NEW
    if name == "diabetes":
        X, y = load_diabetes(return_X_y=True)
        rows = rng.permutation(len(X))[:n]
        X, y = X[rows, 2:8], y[rows]
        X = (X - X.mean(axis=0)) / X.std(axis=0)
    elif name == "axes":
        X = rng.standard_normal((n, 3))
        y = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.standard_normal(n)
    else:
        X = rng.standard_normal((n, 4))
        w = rng.standard_normal(4)
        y = np.tanh(2 * X @ w / np.linalg.norm(w)) + 0.1 * rng.standard_normal(n)
    return X[:N_ROWS], y[:N_ROWS], X[N_ROWS:]


DATA = ("axes", "direction", "diabetes")


def classes_of(y):
    """Three classes: thirds of y."""
    return np.digitize(y, np.quantile(y, (1 / 3, 2 / 3)))


class Case:
    """A model, and what fits and predicts with it.

    Folds of a search are carried along with the rows.
    """

    def __init__(self, name, data_name, seed):
        self.name, self.classifies = name, "classes" in name
        self.X, self.y, self.Z = data(data_name, seed)
        self.seed, self.first = seed, None
        self.unit = 1.0 if self.classifies else np.std(self.y)
        if self.classifies:
            self.y = classes_of(self.y)
        self.fold_of_row = np.arange(N_ROWS) % 3
        if self.classifies:
            self.fold_of_row[np.argsort(self.y, kind="stable")] = np.arange(N_ROWS) % 3

    def fit(self, X, y, weights=None, source=None, **parameters):
        """A function from rows to predictions: arrays (2, m), (1, m) or (C, m)."""
        if "search" in self.name and "cv" not in parameters:
            fold = self.fold_of_row if source is None else self.fold_of_row[source]
            parameters["cv"] = [
                (np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(3)
            ]
        model = MODELS[self.name](**parameters)
        options = {} if weights is None else {"sample_weight": weights}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, y, **options)
        return partial(self.predict, model)

    def predict(self, model, Z):
        if "NTK classes" in self.name:
            return model.decision_function(Z).T
        if self.classifies:
            return model.predict_proba(Z).T
        if "spectrum" in self.name or "step" in self.name:
            return model.predict(Z)[None]
        return np.stack(model.predict(Z, return_std=True))

    def moved(self, change):
        """Largest movement of a prediction under a change, in std(y) or probability."""
        self.rng = np.random.default_rng(self.seed + 1000)
        before, after = change(self)
        return float(np.max(np.abs(after - before))) / self.unit

    def before(self):
        """Predictions before a change."""
        if self.first is None:
            self.first = self.fit(self.X, self.y)(self.Z)
        return self.first.copy()

    def model(self):
        return MODELS[self.name]()


def affine(prediction, scale, shift):
    """Mean and standard deviation of scale * y + shift."""
    prediction = scale * prediction
    prediction[0] += shift
    return prediction


def X_moved(case):
    shift = 100 * case.rng.standard_normal(case.X.shape[1])
    return case.before(), case.fit(case.X + shift, case.y)(case.Z + shift)


def X_times(factor, case):
    return case.before(), case.fit(factor * case.X, case.y)(factor * case.Z)


def y_moved(case):
    return affine(case.before(), 1, 1000), case.fit(case.X, case.y + 1000)(case.Z)


def y_times(factor, case):
    after = case.fit(case.X, factor * case.y)(case.Z) / factor
    return case.before(), after


def y_reflected(case):
    before = case.before()
    before[0] *= -1
    return before, case.fit(case.X, -case.y)(case.Z)


def row_order(case, **parameters):
    order = case.rng.permutation(N_ROWS)
    after = case.fit(case.X[order], case.y[order], source=order, **parameters)
    return case.fit(case.X, case.y, **parameters)(case.Z), after(case.Z)


def column_order(case):
    order = case.rng.permutation(case.X.shape[1])
    while np.all(order == np.arange(len(order))):
        order = case.rng.permutation(len(order))
    return case.before(), case.fit(case.X[:, order], case.y)(case.Z[:, order])


def columns_reflected(case):
    signs = np.where(np.arange(case.X.shape[1]) % 2, 1, -1)
    return case.before(), case.fit(signs * case.X, case.y)(signs * case.Z)


def rotation(case):
    d = case.X.shape[1]
    turn = np.linalg.qr(case.rng.standard_normal((d, d)))[0]
    return case.before(), case.fit(case.X @ turn, case.y)(case.Z @ turn)


def batches(case):
    predict = case.fit(case.X, case.y)
    parts = [predict(case.Z[i : i + 4]) for i in range(0, N_NEW, 4)]
    return predict(case.Z), np.concatenate(parts, axis=1)


def single_precision(case):
    X, Z = case.X.astype(np.float32), case.Z.astype(np.float32)
    return case.fit(X.astype(float), case.y)(Z.astype(float)), case.fit(X, case.y)(Z)


def memory_layout(case):
    return case.before(), case.fit(np.asfortranarray(case.X), case.y)(
        np.repeat(case.Z, 2, axis=0)[::2]
    )


def repeated(case):
    counts = case.rng.integers(1, 4, N_ROWS)
    source = np.repeat(np.arange(N_ROWS), counts)
    after = case.fit(case.X, case.y, counts)
    return case.fit(case.X[source], case.y[source], source=source)(case.Z), after(
        case.Z
    )


def zero_weights(case):
    weights = np.where(np.arange(N_ROWS) % 4 == 3, 0.0, 1.5)
    kept = np.flatnonzero(weights)
    after = case.fit(case.X, case.y, weights)
    before = case.fit(case.X[kept], case.y[kept], weights[kept], source=kept)
    return before(case.Z), after(case.Z)


def class_names(case):
    names = np.array(["low", "mid", "top"])
    return case.before(), case.fit(case.X, names[case.y])(case.Z)


def class_order(case):
    order = np.array([2, 0, 1])
    return case.before(), case.fit(case.X, order[case.y])(case.Z)[order]


def two_outputs(case):
    after = case.fit(case.X, np.stack([case.y, case.y], axis=1))(case.Z)
    return case.before(), after[..., 1]


def two_outputs_at_twice_the_width(case):
    """Evidence, divergence and tolerance are all doubled."""
    Y, model = np.stack([case.y, case.y], axis=1), case.model()
    twice = {"width": 2 * model.width, "tol": 2 * model.tol}
    return case.before(), case.fit(case.X, Y, **twice)(case.Z)[..., 1]


def copied_column(case):
    X, Z = (np.hstack([a, a[:, :1]]) for a in (case.X, case.Z))
    return case.before(), case.fit(X, case.y)(Z)


def all_columns_twice(case):
    X, Z = (np.hstack([a, a]) for a in (case.X, case.Z))
    return case.before(), case.fit(X, case.y)(Z)


def columns_twice_at_half_the_width(case):
    """Only the sum of the two variances of a column counts in the kernel."""
    X, Z = (np.hstack([a, a]) for a in (case.X, case.Z))
    return case.before(), case.fit(X, case.y, width=case.model().width / 2)(Z)


def constant_column(case):
    X, Z = (np.hstack([a, np.full((len(a), 1), 7.0)]) for a in (case.X, case.Z))
    return case.before(), case.fit(X, case.y)(Z)


def workers(case):
    return case.before(), case.fit(case.X, case.y, n_jobs=2)(case.Z)


EVERY = {
    "X + constants": X_moved,
    "8 X": partial(X_times, 8.0),
    "10 X": partial(X_times, 10.0),
    "order of rows": row_order,
    "order of columns": column_order,
    "sign of columns": columns_reflected,
    "rotation": rotation,
    "new rows in batches": batches,
    "float32": single_precision,
    "memory layout": memory_layout,
    "a column twice": copied_column,
    "all columns twice": all_columns_twice,
    "a constant column": constant_column,
}
WITH_WEIGHTS = {"repeated rows as weights": repeated, "weight 0": zero_weights}
OF_TARGETS = {
    "y + constant": y_moved,
    "8 y": partial(y_times, 8.0),
    "10 y": partial(y_times, 10.0),
    "-y": y_reflected,
    "two equal outputs": two_outputs,
}
OF_CLASSES = {"names of classes": class_names, "order of classes": class_order}
OF_WIDTHS = {
    "all columns twice, half the width": columns_twice_at_half_the_width,
    "two equal outputs, twice width and tol": two_outputs_at_twice_the_width,
}
OF_SEARCHES = {"order of rows, folds by place": partial(row_order, cv=3)}
CHANGES = {
    **EVERY,
    **WITH_WEIGHTS,
    **OF_TARGETS,
    **OF_WIDTHS,
    **OF_CLASSES,
    **OF_SEARCHES,
}


def changes_of(name):
    """The changes that a model can be asked about."""
    changes = dict(EVERY)
    if not name.startswith(("spectrum", "step")):
        changes |= WITH_WEIGHTS
    changes |= OF_CLASSES if "classes" in name else OF_TARGETS
    if name.startswith(("diag", "full")) and "classes" not in name:
        changes |= OF_WIDTHS
    if "search" in name:
        changes |= OF_SEARCHES
    return changes


# Tolerances, in std(y) or probability, of what is promised: by group of models.
# Of kernels and posteriors alone, and of whole fits on equal numbers.
ROUNDING = 1e-6
# Where rows are rounded to another grid, which is 2^-20 of a column's spread.
GRID = 1e-3
# Where runs of the optimizer end at other points within its tolerance.
OPTIMIZER = 0.2

EVIDENCE = ("NNGP", "diag", "diag, converged", "full", "full, converged")
TUNED = (*EVIDENCE, "inducing", "neighbours", "search")
GIVEN = ("NTK", "modified spectrum")
STEP = ("gradient step",)
MAXIMA = ("diag, converged", "full, converged")


def held(groups, tolerance=ROUNDING, **others):
    """Tolerances of groups of models; others by name, "_" for ", "."""
    others = {name.replace("_", ", "): value for name, value in others.items()}
    return dict.fromkeys(groups, tolerance) | others


COLUMNS = held(("NNGP", *GIVEN), diag=OPTIMIZER, full_converged=GRID)
CLOSE = {"diag": OPTIMIZER, "full": OPTIMIZER}
PROMISED = {
    "X + constants": held((*TUNED, *STEP)),
    "8 X": held((*TUNED, *STEP)),
    "10 X": held((*EVIDENCE, "search", *STEP)),
    "order of rows": held((*TUNED, *GIVEN, *STEP)),
    "order of columns": COLUMNS | held(["diag, converged"]),
    "sign of columns": COLUMNS | held(["diag, converged"], full=OPTIMIZER),
    "rotation": held(GIVEN) | held(("NNGP", "full, converged"), GRID),
    "new rows in batches": held((*TUNED, *GIVEN, *STEP)),
    "float32": held((*TUNED, *GIVEN)) | held(STEP, 1e-4),
    "memory layout": held((*TUNED, *GIVEN, *STEP)),
    "a column twice": {},
    "all columns twice": held(("NNGP", *GIVEN)),
    "a constant column": held(("NNGP", *MAXIMA), GRID) | CLOSE,
    "repeated rows as weights": held((*TUNED, "NTK")),
    "weight 0": held((*TUNED, "NTK")),
    "y + constant": held((*TUNED, *GIVEN, *STEP)),
    "8 y": held((*TUNED, *GIVEN, *STEP)),
    "10 y": held((*TUNED, *GIVEN, *STEP)),
    "-y": held((*TUNED, *GIVEN)),
    "two equal outputs": held(GIVEN),
    "all columns twice, half the width": held(["diag, converged"], GRID),
    "two equal outputs, twice width and tol": held(MAXIMA, GRID) | CLOSE,
    "names of classes": held((*TUNED, *GIVEN)),
    "order of classes": held(("NNGP", "NTK")) | held(["full, converged"], GRID) | CLOSE,
    "order of rows, folds by place": {},
}


def measured(names, n_seeds):
    """Largest movements of some models, by change."""
    found = {}
    for name in names:
        for change, apply in changes_of(name).items():
            moves = [
                Case(name, data_name, seed).moved(apply)
                for data_name in DATA
                for seed in range(n_seeds)
            ]
            found[change] = max(found.get(change, 0.0), *moves)
    return found


def cell(found, change, group):
    """The movement, and the tolerance where one is promised."""
    if change not in found:
        return ""
    tolerance = PROMISED[change].get(group)
    return f"{found[change]:.0e}" + (f" ({tolerance:g})" if tolerance else "")


def print_table(groups, n_seeds):
    columns = {g: measured(names, n_seeds) for g, names in groups.items()}
    print("| change |", " | ".join(columns), "|")
    print("|---" * (len(columns) + 1) + "|")
    for change in CHANGES:
        if any(change in found for found in columns.values()):
            cells = [cell(found, change, group) for group, found in columns.items()]
            print(f"| {change} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    for table in sys.argv[1:] or TABLES:
        print_table(TABLES[table], 3)
        print()
