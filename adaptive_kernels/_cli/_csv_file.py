"""Columns of numbers and text from a CSV file, with notes on what was decided."""

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.errors import ParserWarning

from ._messages import InputError, counted, listed, printable, reason

# Missing values among numbers, by any case of letters, and in columns of text, where a
# hyphen or a question mark may be a category: pandas's own names.
NO_NUMBER = {"", "?", "-", "--", "---", "–", "—", ".", "..", "*", "#n/a", "<na>", "n/a"}
NO_NUMBER |= {"n.a.", "na", "nan", "null", "nil", "none", "missing", "unknown"}
NO_TEXT = {"", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
SUMMARIES = {"total", "totals", "grand total", "sum", "mean", "average"}
MOST_SUMMARIES = 3


def read_csv(path, notes):
    """Read a table with pandas; every failure becomes an `InputError`."""
    cells = read_cells(path)
    if cells.shape[1] < 2:
        raise InputError(
            f"{path} has one column only; give a target and at least one input, "
            "separated by commas"
        )
    if cells.empty:
        raise InputError(f"{path} has a header, but no rows")
    return typed(without_summary(cells, notes), notes)


def read_cells(path):
    """Read columns of numbers, and of text where one cell is not a number."""
    check_path(path)
    options = {"encoding": "utf-8-sig", "keep_default_na": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)
            header = pd.read_csv(path, header=None, nrows=1, dtype=str, **options)
            frame = pd.read_csv(
                path, index_col=False, na_values=[""], low_memory=False, **options
            )
    except ParserWarning:
        raise InputError(
            f"the rows of {path} have more values than its header has names; "
            "name every column"
        ) from None
    # Damaged and compressed files fail with errors of many kinds.
    except Exception as error:
        raise InputError(
            f"cannot read {path} as comma-separated values ({reason(error)}); "
            "save it as UTF-8 text with one header line"
        ) from error
    check_header(header.iloc[0])
    return frame.rename(columns=printable)


def check_path(path):
    """Raise if there is no file."""
    try:
        exists, is_file = Path(path).exists(), Path(path).is_file()
    except OSError as error:
        raise InputError(f"cannot read {path} ({reason(error)})") from error
    if not is_file:
        problem = "not a file" if exists else "no such file"
        raise InputError(f"{problem}: {path}; give the name of a CSV file")


def check_header(names):
    """Raise if two columns have the same name."""
    repeated = [name for name, count in Counter(names).items() if name and count > 1]
    if repeated:
        raise InputError(f"two columns are named {repeated[0]!r}; rename one of them")


@dataclass(frozen=True)
class Cells:
    """Cells of a column that are not empty: as text, and as numbers where they are."""

    text: pd.Series
    numbers: pd.Series

    @classmethod
    def of(cls, column):
        """Cells of a column as it was read."""
        text = column.dropna().astype(str).str.strip()
        return cls(text, pd.to_numeric(text, errors="coerce").astype(float))

    @property
    def marks(self):
        """Cells that stand for a missing number."""
        named = self.text.str.casefold().isin(NO_NUMBER)
        return self.text[named | np.isinf(self.numbers)]

    @property
    def words(self):
        """Cells that are neither a number nor missing."""
        return self.text[self.numbers.isna()].drop(self.marks.index, errors="ignore")

    @property
    def mostly_numbers(self):
        """Whether there are more numbers than words."""
        return self.numbers.notna().sum() > len(self.words)


def without_summary(frame, notes):
    """Leave out last rows that are no observations, such as totals, and empty ones."""
    filled = np.flatnonzero(frame.notna().any(axis=1))
    frame = frame.iloc[: filled.max(initial=-1) + 1]
    found = {}
    for name in frame.select_dtypes(exclude="number"):
        for row, text in summary_cells(frame[name]).items():
            found.setdefault(row, f"{name} is {text!r}")
    if not found:
        return frame
    first = min(found)
    number = len(frame) - first
    rows = "the last row" if number == 1 else f"the last {number} rows"
    notes.append(f"left out {rows}, where {listed(found.values())}")
    return frame.iloc[:first]


def summary_cells(column):
    """Words in the last cells of a column, if no others are among its numbers.

    In a column of words they must be names of a summary.
    """
    cells = Cells.of(column)
    words = cells.words
    if not cells.mostly_numbers:
        words = words[words.str.casefold().isin(SUMMARIES)]
    few = len(words) <= MOST_SUMMARIES
    at_end = np.array_equal(words.index, column.index[len(column) - len(words) :])
    return words if few and at_end else words.iloc[:0]


def typed(frame, notes):
    """Make columns numeric that hold numbers and names of missing values only."""
    columns, missing, mixed = {}, [], []
    for name, column in frame.items():
        columns[name], marks, words = typed_column(column)
        if len(marks):
            names = " and ".join(map(repr, marks.unique()[:3]))
            missing.append(f"{names} in {name} ({counted(len(marks), 'value')})")
        if len(words):
            row = words.index[0] + 1
            mixed.append(f"{name} for its {words.iloc[0]!r} in row {row}")
    if missing:
        notes.append(f"took as missing: {listed(missing)}")
    if mixed:
        notes.append(f"took as text, not numbers: {listed(mixed)}")
    return pd.DataFrame(columns, index=frame.index)


def typed_column(column):
    """Return the column, its names of missing values, and words among numbers."""
    nothing = column.iloc[:0]
    if pd.api.types.is_bool_dtype(column):
        return column, nothing, nothing
    if pd.api.types.is_numeric_dtype(column):
        infinite = np.isinf(column)
        return column.mask(infinite), column[infinite].astype(str), nothing
    cells = Cells.of(column)
    if cells.mostly_numbers and cells.words.empty:
        marks = cells.marks
        return cells.numbers.drop(marks.index).reindex(column.index), marks, nothing
    marks = cells.text[cells.text.isin(NO_TEXT)]
    words = cells.words if cells.mostly_numbers else nothing
    return column.mask(column.index.isin(marks.index)), marks, words
