"""From a CSV file to the columns a model can use."""

import difflib
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ._csv_file import Cells, read_csv
from ._messages import InputError, counted, listed, printable

MIN_ROWS = 30


@dataclass(frozen=True)
class Problem:
    """A table of inputs, its numeric target and what was done to them."""

    X: pd.DataFrame
    y: np.ndarray
    target: str
    name: str
    notes: list[str] = field(default_factory=list)


def load_problem(path, target, max_rows):
    """Read a CSV file, or the bundled data if `path` is None."""
    notes = []
    if path is None:
        source = files("adaptive_kernels") / "data" / "bikeshare.csv"
        with as_file(source) as bundled:
            frame = read_csv(bundled, notes)
        return prepare(frame, target or "log_bikers", source.name, max_rows, notes)
    # As the names of the columns are.
    target = None if target is None else printable(target)
    name = printable(Path(path).name)
    return prepare(read_csv(path, notes), target, name, max_rows, notes)


def prepare(frame, target, name, max_rows, notes):
    """Check the target, drop what cannot be used and say so in the notes."""
    check_target_name(frame, target)
    y = numeric_target(frame[target])
    X = frame.drop(columns=target)
    if not y.notna().all():
        rows = counted(y.isna().sum(), "row")
        notes.append(f"dropped {rows} without a value of {target}")
        X, y = X[y.notna()], y.dropna()
    check_rows(y, target)
    X = usable_columns(X, notes)
    check_range(X.select_dtypes("number").assign(**{target: y}))
    if len(y) > max_rows:
        notes.append(f"used {max_rows} of {len(y)} rows, drawn at random (seed 0)")
        y = y.sample(max_rows, random_state=0).sort_index()
        X = X.loc[y.index]
        check_rows(y, target)
    return Problem(X, y.to_numpy(float), target, name, notes)


def check_target_name(frame, target):
    """Raise with the closest column names if `target` is not one of them."""
    columns = [str(column) for column in frame.columns]
    if target in columns:
        return
    names = listed(columns, 20)
    if target is None:
        raise InputError(f"say which column to predict with --target; columns: {names}")
    lower = {column.lower(): column for column in columns}
    close = difflib.get_close_matches(target.lower(), lower, n=3)
    advice = (
        "did you mean " + " or ".join(lower[match] for match in close) + "?"
        if close
        else f"columns: {names}"
    )
    raise InputError(f"no column named {target!r}; {advice}")


def numeric_target(column):
    """Return the target as floats."""
    words = Cells.of(column).words
    if len(words):
        raise InputError(
            f"the target {column.name!r} is not numeric (it holds {words.iloc[0]!r} in "
            f"row {words.index[0] + 1}); choose a column of numbers"
        )
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    if numbers.isna().all():
        raise InputError(f"the target {column.name!r} is empty; choose another column")
    return numbers


def check_rows(y, target):
    """Raise if there are too few rows or nothing to predict."""
    if len(y) < MIN_ROWS:
        raise InputError(
            f"{len(y)} rows have a value of {target!r}; at least {MIN_ROWS} are needed"
        )
    if y.nunique() == 1:
        raise InputError(
            f"the target {target!r} is {y.iloc[0]:g} in every row; choose a column "
            "that varies"
        )


def check_range(numbers):
    """Raise if a variance is too large for a floating-point number."""
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(numbers.var(ddof=0))
    if not finite.all():
        name = finite.idxmin()
        raise InputError(
            f"the numbers of {name!r} are too large (up to "
            f"{numbers[name].abs().max():g}); correct or rescale them"
        )


def usable_columns(X, notes):
    """Return numbers as floats and all else as text, without identifiers."""
    empty = [c for c in X if X[c].isna().all()]
    identifiers = [c for c in X if c not in empty and is_identifier(X[c])]
    if empty:
        notes.append(f"dropped empty columns: {listed(empty)}")
    if identifiers:
        notes.append(f"dropped columns that name each row: {listed(identifiers)}")
    X = X.drop(columns=empty + identifiers)
    if X.shape[1] == 0:
        raise InputError("no input column is left; add columns that describe the rows")
    numeric = X.select_dtypes("number").astype(float)
    text = X.select_dtypes(exclude="number").map(str, na_action="ignore")
    return pd.concat([numeric, text.astype(object)], axis=1)[list(X.columns)]


def is_identifier(column):
    """Whether every row has its own text, or a number that a program wrote."""
    text = not pd.api.types.is_numeric_dtype(column)
    return column.is_unique and (text or str(column.name).startswith("Unnamed:"))


def encoder(X):
    """Return a transformer that imputes, scales numbers and one-hot encodes text."""
    numeric = list(X.select_dtypes("number"))
    categories = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=20,
        drop="if_binary",
        sparse_output=False,
        feature_name_combiner=category_name,
    )
    return ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
                numeric,
            ),
            (
                "categories",
                make_pipeline(
                    SimpleImputer(strategy="constant", fill_value="missing"), categories
                ),
                [column for column in X if column not in numeric],
            ),
        ],
        verbose_feature_names_out=False,
    )


def category_name(column, category):
    """Name the indicator of a category."""
    return f"{column} = {category}"
