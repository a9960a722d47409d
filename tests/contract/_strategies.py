"""Inputs of the contract tests: described by plain values, so that a repr repeats them.

A description is a frozen dataclass. Its `build` makes the object; its repr, pasted into
`@example`, makes the same object again.
"""

import tempfile
from dataclasses import MISSING, dataclass, fields, replace
from math import inf, nan

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from scipy import sparse

EXTREMES = (1e-300, 1e-150, 1e-80, 1e-40, 1e-8, 1e8, 1e40, 1e80, 1e150, 1e300)


class Described:
    """Base class of the descriptions, with a repr that leaves out the defaults."""

    def __repr__(self):
        shown = (
            f"{part.name}={getattr(self, part.name)!r}"
            for part in fields(self)
            if part.default is MISSING or getattr(self, part.name) != part.default
        )
        return f"{type(self).__name__}({', '.join(shown)})"


# --- tables: X, or y of a regression --------------------------------------------------


def _duplicates(values, rng):
    values[len(values) // 2 :] = values[: len(values) - len(values) // 2]


def _entry(number):
    def change(values, rng):
        if values.size:
            values[tuple(rng.integers(values.shape))] = number

    return change


def _column(number):
    def change(values, rng):
        values[:, -1:] = number

    return change


def _equal_columns(values, rng):
    values[:, -1:] = values[:, :1]


def _everything(number):
    def change(values, rng):
        values[:] = number

    return change


def _equal_rows(values, rng):
    values[:] = values[:1].copy()


# Before the scales are applied.
DEGENERATE = {
    "duplicates": _duplicates,
    "equal rows": _equal_rows,
    "equal columns": _equal_columns,
    "constant column": _column(1.0),
    "zero column": _column(0.0),
    "constant": _everything(1.0),
    "zeros": _everything(0.0),
    "outlier": _entry(1e6),
    "tiny entry": _entry(1e-12),
}
# After it.
INVALID_NUMBERS = {
    "nan": _entry(nan),
    "inf": _entry(inf),
    "-inf": _entry(-inf),
    "nan column": _column(nan),
    "largest": _entry(np.finfo(float).max),
    "smallest": _entry(5e-324),
}


def _frame(values):
    return pd.DataFrame(values, columns=[f"c{i}" for i in range(values.shape[1])])


def _masked(kind):
    def build(values):
        with np.errstate(all="ignore"):
            rounded = np.where(
                np.isnan(values), nan, np.clip(values.astype(float), -1e18, 1e18)
            )
        exact = rounded if kind == "Float64" else np.round(rounded)
        exact = np.where(exact > 0, 1.0, 0.0) if kind == "boolean" else exact
        return _frame(exact).astype(kind)

    return build


def _categories(values):
    return _frame(np.round(values.astype(float), 1)).astype("category")


def _mixed_columns(values):
    frame = _frame(values).astype(object)
    return frame.infer_objects() if values.shape[1] < 2 else frame.assign(c0=True)


def _polars(values):
    polars = pytest.importorskip("polars")
    return polars.DataFrame({f"c{i}": column for i, column in enumerate(values.T)})


def _read_only(values):
    values.flags.writeable = False
    return values


def _strided(values):
    wide = np.zeros((2 * values.shape[0], 3 * values.shape[1]), values.dtype)
    wide[::2, ::-3] = values
    return wide[::2, ::-3]


def _mapped(values):
    if 0 in values.shape:
        return values
    with tempfile.TemporaryFile() as file:
        rows = np.memmap(file, values.dtype, "w+", shape=values.shape)
    rows[:] = values
    return rows


CONTAINERS = {
    "numpy": lambda values: values,
    "Fortran order": np.asfortranarray,
    "strided": _strided,
    "read-only": _read_only,
    "memory map": _mapped,
    "big-endian": lambda values: values.astype(values.dtype.newbyteorder(">")),
    "list": lambda values: values.tolist(),
    "object": lambda values: values.astype(object),
    "matrix of strings": lambda values: values.astype(str),
    "pandas": _frame,
    "pandas Float64": _masked("Float64"),
    "pandas Int64": _masked("Int64"),
    "pandas boolean": _masked("boolean"),
    "pandas categories": _categories,
    "pandas of mixed columns": _mixed_columns,
    "polars": _polars,
    "sparse": lambda values: sparse.csr_array(values.astype(float)),
    "complex": lambda values: values + 1j,
    "words": lambda values: np.full(values.shape, "word"),
    "dictionaries": lambda values: np.full(values.shape, {}, dtype=object),
    "3-D": lambda values: values[None],
    "1-D": np.ravel,
}
USUAL = tuple(CONTAINERS)[:12]


def _cast(values, dtype):
    if np.dtype(dtype).kind == "f":
        return values.astype(dtype)
    if np.dtype(dtype).kind == "b":
        return values > 0
    if not np.all(np.isfinite(values)):
        return values
    info = np.iinfo(dtype)
    return np.clip(np.round(values), info.min / 2, info.max / 2).astype(dtype)


@dataclass(frozen=True, repr=False)
class Table(Described):
    """Description of X or y: random normal numbers, spoiled, scaled and wrapped.

    shift : float, added before the columns are multiplied by `scales`, in turn
    flaws : names in DEGENERATE or INVALID_NUMBERS
    vector : bool, whether only the first column is given, in one dimension
    missing : int, number of rows left out at the end
    """

    n: int = 12
    d: int = 2
    seed: int = 0
    scales: tuple[float, ...] = (1.0,)
    shift: float = 0.0
    flaws: tuple[str, ...] = ()
    dtype: str = "float64"
    container: str = "numpy"
    vector: bool = False
    missing: int = 0

    def numbers(self, factor=1.0):
        rng = np.random.default_rng(self.seed)
        values = rng.standard_normal((self.n, self.d))
        for flaw in self.flaws:
            DEGENERATE.get(flaw, lambda *_: None)(values, rng)
        with np.errstate(all="ignore"):
            values = (values + self.shift) * np.resize(self.scales, self.d) * factor
        for flaw in self.flaws:
            INVALID_NUMBERS.get(flaw, lambda *_: None)(values, rng)
        return values[: self.n - self.missing]

    def build(self, factor=1.0):
        with np.errstate(all="ignore"):
            return self._wrapped(_cast(self.numbers(factor), self.dtype))

    def _wrapped(self, values):
        if not self.vector:
            return CONTAINERS[self.container](values)
        wrapped = CONTAINERS[self.container](np.ascontiguousarray(values[:, :1]))
        if isinstance(wrapped, list):
            return [row[0] for row in wrapped]
        if isinstance(wrapped, pd.DataFrame):
            return wrapped["c0"]
        if hasattr(wrapped, "to_series"):
            return wrapped.to_series(0)
        return wrapped if self.container in ("3-D", "1-D", "sparse") else wrapped[:, 0]


def sometimes(usual, *others):
    """The usual value in most of the cases."""
    return st.sampled_from([usual] * max(2, len(others)) + list(others))


seeds = st.integers(0, 99)
scales = st.one_of(
    st.just((1.0,)),
    st.tuples(st.sampled_from((1e-6, 1e-3, 1e3, 1e6))),
    st.tuples(st.sampled_from(EXTREMES)),
    st.lists(st.sampled_from((1.0, *EXTREMES)), min_size=2, max_size=3).map(tuple),
)
shifts = sometimes(0.0, 1.0, -1e3, 1e8, 1e16)
flaws = st.one_of(
    st.just(()),
    st.lists(st.sampled_from(list(DEGENERATE)), max_size=2, unique=True).map(tuple),
    st.sampled_from(list(INVALID_NUMBERS)).map(lambda name: (name,)),
)
dtypes = sometimes("float64", "float32", "float16", "int64", "int8", "uint8", "bool")
containers = st.one_of(
    st.just("numpy"), st.sampled_from(USUAL), st.sampled_from(list(CONTAINERS))
)
sizes = st.one_of(st.integers(1, 4), st.integers(5, 14), st.sampled_from([20, 30]))
features = st.one_of(st.integers(1, 3), st.sampled_from([0, 1, 5, 12, 40]))


def tables(n, d, **fixed):
    parts = {
        "seed": seeds,
        "scales": scales,
        "shift": shifts,
        "flaws": flaws,
        "dtype": dtypes,
        "container": containers,
    }
    parts.update({name: st.just(value) for name, value in fixed.items()})
    return st.builds(Table, st.just(n), st.just(d), **parts)


@st.composite
def targets(draw, n):
    outputs = draw(sometimes(1, 1, 2, 4))
    return draw(
        st.builds(
            Table,
            st.just(n),
            st.just(outputs),
            seed=seeds,
            scales=scales,
            shift=shifts,
            flaws=flaws,
            dtype=dtypes,
            container=containers,
            vector=st.booleans() if outputs == 1 else st.just(False),
            missing=sometimes(0, 1),
        )
    )


# --- labels ---------------------------------------------------------------------------

LABELS = {
    "int": np.array([0, 1, 2, 3]),
    "negative": np.array([-1, 1, -2, 5]),
    "large": np.array([2**62, -(2**62), 7, 2**40]),
    "uint8": np.array([250, 3, 0, 255], dtype=np.uint8),
    "float": np.array([0.0, 1.0, 2.0, 3.0]),
    "float32": np.array([0.0, 1.0, 2.0, 3.0], dtype=np.float32),
    "fractions": np.array([0.1, 0.5, 0.7, 2.5]),
    "nan": np.array([0.0, nan, 2.0, 3.0]),
    "bool": np.array([False, True, False, True]),
    "str": np.array(["a", "b", "ä long one", ""]),
    "object": np.array(["a", "b", "c", "d"], dtype=object),
    "bytes": np.array([b"a", b"b", b"c", b"d"]),
    "mixed": np.array(["a", 1, 2.5, None], dtype=object),
    "integer objects": np.array([0, 1, 2, 3], dtype=object),
    "none": np.array([None, "a", "b", "c"], dtype=object),
    "dates": np.arange("2001-01-01", "2001-01-05", dtype="datetime64[D]"),
    "complex": np.array([0j, 1j, 2j, 3j]),
    "category": pd.Categorical(["u", "v", "w", "x"], ["x", "w", "v", "u", "never"]),
    "string dtype": pd.array(["a", "b", "c", None], dtype="string"),
    "Int64": pd.array([1, 2, 3, None], dtype="Int64"),
    "boolean": pd.array([True, False, True, None], dtype="boolean"),
}


@dataclass(frozen=True, repr=False)
class Labels(Described):
    """Description of the labels of n rows.

    counts : rows of the first classes; the last class has all the other rows
    """

    n: int = 12
    counts: tuple[int, ...] = (6,)
    kind: str = "int"
    container: str = "numpy"
    missing: int = 0
    seed: int = 0

    def build(self):
        codes = np.repeat(np.arange(len(self.counts)), self.counts)[: self.n]
        rest = np.full(max(self.n - len(codes), 0), len(self.counts))
        codes = np.random.default_rng(self.seed).permutation(np.append(codes, rest))
        labels = LABELS[self.kind][codes[: self.n - self.missing].astype(int)]
        return {
            "numpy": lambda: labels if hasattr(labels, "dtype") else np.array(labels),
            "list": labels.tolist,
            "series": lambda: pd.Series(labels),
            "column": lambda: np.asarray(labels)[:, None],
            "two columns": lambda: np.column_stack([labels, labels]),
            "frame": lambda: pd.DataFrame({"label": labels}),
            "tuple": lambda: tuple(labels.tolist()),
            "none": lambda: None,
        }[self.container]()


@st.composite
def labels(draw, n):
    few = st.integers(0, max(1, n // 2))
    return Labels(
        n,
        draw(st.lists(st.one_of(st.just(1), few), max_size=3).map(tuple)),
        draw(sometimes("int", *LABELS)),
        draw(
            sometimes(
                *("numpy", "list", "series", "column"),
                *("two columns", "frame", "tuple", "none"),
            )
        ),
        draw(sometimes(0, 1)),
        draw(seeds),
    )


# --- weights --------------------------------------------------------------------------


def _weights(name, n):
    rng = np.random.default_rng(n)
    weights = rng.uniform(0.5, 2, n)
    first = np.arange(n) == 0
    return {
        "ones": np.ones(n),
        "integers": rng.integers(0, 3, n),
        "random": weights,
        "list": weights.tolist(),
        "float32": weights.astype("float32"),
        "bool": weights > 1,
        "series": pd.Series(weights, index=range(5, n + 5)),
        "zeros": 0 * weights,
        "first row only": np.where(first, 1.0, 0.0),
        "all but the first": np.where(first, 0.0, 1.0),
        "half": np.where(np.arange(n) % 2, 1.0, 0.0),
        "huge": 1e12 * weights,
        "tiny": 1e-12 * weights,
        "1e300": 1e300 * weights,
        "1e-300": 1e-300 * weights,
        "one huge": np.where(first, 1e30, 1.0),
        "one tiny": np.where(first, 1e-30, 1.0),
        "1e-70 to 1e70": np.geomspace(1e-70, 1e70, n),
        "negative": np.where(first, -1.0, 1.0),
        "nan": np.where(first, nan, 1.0),
        "inf": np.where(first, inf, 1.0),
        "one too few": weights[1:],
        "column": weights[:, None],
        "number": 2.0,
        "words": np.full(n, "word"),
        "empty": [],
    }[name]


WEIGHTS = ("ones", "integers", "random", "list", "float32", "bool", "series", "zeros")
WEIGHTS += ("first row only", "all but the first", "half", "huge", "tiny", "1e300")
WEIGHTS += ("1e-300", "one huge", "one tiny", "1e-70 to 1e70", "negative", "nan", "inf")
WEIGHTS += ("one too few", "column", "number", "words", "empty")
weights = sometimes("none", *WEIGHTS)


def build_weights(name, n):
    return None if name == "none" else _weights(name, n)


# --- cases ----------------------------------------------------------------------------

# Factors of the training rows that are predicted.
CHANGES = {
    name: {"container": name}
    for name in ("list", "pandas", "pandas Float64", "polars", "sparse", "1-D", "3-D")
}
CHANGES |= {
    "no rows": {"n": 0},
    "one row": {"n": 1},
    "another width": {"d": 4},
    "another dtype": {"dtype": "float16", "container": "numpy"},
    "nan": {"flaws": ("nan",), "dtype": "float64", "container": "numpy"},
    "inf": {"flaws": ("inf",), "dtype": "float64", "container": "pandas"},
}
new_rows = sometimes(1.0, 0.0, -1.0, 1e3, 1e-3, 1e60, 1e-60, 1e200, 1e-300)


@dataclass(frozen=True, repr=False)
class Case(Described):
    """A model, its data, and the rows to predict.

    new : float, factor between the rows of fit and the new rows
    changed : name in CHANGES, what else differs in the new rows
    """

    model: object
    X: Table = Table()
    y: Table | Labels = Table(d=1, vector=True)
    weights: str = "none"
    new: float = 1.0
    changed: str = "no"

    def new_rows(self):
        return replace(self.X, **CHANGES.get(self.changed, {})).build(self.new)


@st.composite
def cases(draw, models, y):
    """Cases of `models`, with y drawn by the strategy `y` of n rows.

    Most have one or two unusual parts: with more, the first error hides the others.
    """
    n, d = draw(sizes), draw(features)
    unusual = draw(st.sets(st.sampled_from(["X", "y", "weights", "new"]), max_size=3))
    clean_y = Table(n, 1, vector=True) if y is targets else Labels(n, ((n + 1) // 2,))
    return Case(
        draw(models),
        draw(tables(n, d)) if "X" in unusual else Table(n, d, draw(seeds)),
        draw(y(n)) if "y" in unusual else clean_y,
        draw(weights) if "weights" in unusual else "none",
        draw(new_rows) if "new" in unusual else 1.0,
        draw(sometimes("no", *CHANGES)) if "new" in unusual else "no",
    )
