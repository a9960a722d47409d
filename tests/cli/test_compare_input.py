"""The command line: the bundled data and the mistakes of its users."""

import gzip
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adaptive_kernels import __main__
from adaptive_kernels._cli._input_table import load_problem


@pytest.fixture
def csv(tmp_path):
    n = 58
    frame = pd.DataFrame(
        {
            "key": [f"row-{i}" for i in range(n)],
            "dose": np.linspace(0, 1, n),
            "colour": np.resize(["blue", "red", "green"], n),
            "smoker": np.resize([True, False], n),
            "nothing": np.full(n, np.nan),
            "y": np.linspace(0, 2, n),
        }
    )
    path = tmp_path / "trial.csv"
    frame.to_csv(path, index=False)
    return path


def test_bundled_data_is_what_its_readme_says():
    problem = load_problem(None, None, 1000)
    assert problem.X.shape == (600, 11)
    assert problem.target == "log_bikers"
    assert not problem.notes
    bikers = np.expm1(problem.y)
    assert_allclose(bikers, np.round(bikers), rtol=1e-3)
    assert np.round(bikers.min()) >= 1
    assert problem.X["hr"].between(0, 23).all()


def write(tmp_path, text):
    path = tmp_path / "bad.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


FEW = "a,y\n" + "".join(f"{i},{i}\n" for i in range(10))
CONSTANT = "a,y\n" + "".join(f"{i},3\n" for i in range(40))
ONLY_KEYS = "key,y\n" + "".join(f"k{i},{i}\n" for i in range(40))
ROWS = [[f"{i}", f"{i % 7}", f"{i % 5}"] for i in range(40)]


def table(*changes, header="dose,age,y", end=""):
    """Forty rows of numbers, but for some cells (row, column, text)."""
    rows = [list(row) for row in ROWS]
    for row, column, text in changes:
        rows[row][column] = text
    return "\n".join([header, *map(",".join, rows)]) + "\n" + end


GOOD = table()


CONTROL_CODES = "dose,\x1b[2J\x07\u202e,y"
# The compressed file contains the time, and must not become part of the test's name:
# the workers of pytest-xdist must all collect the same names.
BAD_FILES = {
    "empty": ("", "y", "cannot read"),
    "blank lines": ("\n\n", "y", "cannot read"),
    "header only": ("a,y\n", "y", "has a header, but no rows"),
    "one column": ("y\n1\n2\n", "y", "one column only"),
    "input twice": (table(header="dose,dose,y"), "y", "two columns are named 'dose'"),
    "target twice": (table(header="dose,y,y"), "y", "two columns are named 'y'"),
    "short header": (
        table(header="dose,y"),
        "y",
        "more values than its header has names",
    ),
    "latin-1": (table(header="dose,âge,y").encode("latin-1"), "y", "cannot read"),
    "utf-16": (GOOD.encode("utf-16"), "y", "cannot read"),
    "cut gzip": (gzip.compress(GOOD.encode())[:60], "y", "cannot read"),
    "text": (table((3, 2, "<5")), "y", "(it holds '<5' in row 4)"),
    "two tables": (GOOD + GOOD, "y", "(it holds 'y' in row 41)"),
    "no target": (
        table(*((i, 2, "?") for i in range(40))),
        "y",
        "the target 'y' is empty",
    ),
    "large": (table((3, 0, "1e308")), "y", "'dose' are too large (up to 1e+308)"),
    "large y": (table((3, 2, "-1e308")), "y", "'y' are too large (up to 1e+308)"),
    "control codes": (table(header=CONTROL_CODES), "q", r"dose, \x1b[2J\x07\u202e, y"),
    "binary": (b"\xff\xfe\x00\x81,\x9d\n", "y", "cannot read"),
    "ragged": ("a,b\n1,2\n1,2,3,4\n", "a", "cannot read"),
    "semicolons": ("a;y\n1;2\n", "y", "one column only"),
    "few rows": (FEW, "y", "10 rows have a value of 'y'; at least 30 are needed"),
    "constant": (CONSTANT, "y", "'y' is 3 in every row"),
    "only keys": (ONLY_KEYS, "y", "no input column is left"),
}


@pytest.mark.parametrize(
    ("text", "target", "message"), BAD_FILES.values(), ids=BAD_FILES.keys()
)
def test_bad_files(tmp_path, capsys, text, target, message):
    assert message in fail(capsys, write(tmp_path, text), "--target", target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("does", "no column named 'does'; did you mean dose?"),
        ("COLOR", "did you mean colour?"),
        ("qqq", "columns: key, dose, colour"),
        ("colour", "not numeric (it holds 'blue' in row 1)"),
        ("smoker", "not numeric (it holds"),
        ("nothing", "the target 'nothing' is empty"),
        (None, "say which column to predict with --target; columns: key, dose"),
    ],
)
def test_bad_targets(csv, capsys, target, message):
    arguments = [] if target is None else ["--target", target]
    assert message in fail(capsys, csv, *arguments)


NOTES = [
    (GOOD, []),
    (
        table((3, 0, "?"), (5, 0, " ? "), (5, 1, "NA"), (7, 1, "-"), (9, 2, "-inf")),
        [
            "took as missing: '?' in dose (2 values), 'NA' and '-' in age (2 values), "
            "'-inf' in y (1 value)",
            "dropped 1 row without a value of y",
        ],
    ),
    (
        table((16, 0, "<5")),
        [
            "took as text, not numbers: dose for its '<5' in row 17",
            "dropped columns that name each row: dose",
        ],
    ),
    (table(end="Total,,99\n"), ["left out the last row, where dose is 'Total'"]),
    (
        table(end="Total,,99\nMean,,2\n,,\n"),
        ["left out the last 2 rows, where dose is 'Total', dose is 'Mean'"],
    ),
    (
        table(*((i, 1, "ab"[i % 2]) for i in range(40)), end="99,Total,99\n"),
        ["left out the last row, where age is 'Total'"],
    ),
    (table(end="Source: a survey,,\n"), ["left out the last row, where dose is 'Sou"]),
]


@pytest.mark.parametrize(("text", "notes"), NOTES)
def test_what_is_no_number_is_named(tmp_path, text, notes):
    problem = load_problem(write(tmp_path, text), "y", 1000)
    assert len(problem.notes) == len(notes)
    for note, expected in zip(problem.notes, notes, strict=True):
        assert note.startswith(expected)
    kept = 39 if any("dropped 1 row" in note for note in notes) else 40
    assert len(problem.y) == kept and np.isfinite(problem.y).all()
    assert problem.y.max() == 4


def test_columns_of_numbers_stay_numbers(tmp_path):
    text = table((3, 0, "?"), (5, 0, "n/a"), (7, 0, "+3"), (8, 0, " 4 "), end="Sum,,\n")
    X = load_problem(write(tmp_path, text), "y", 1000).X
    expected = np.arange(40.0)
    expected[[3, 5, 7, 8]] = np.nan, np.nan, 3, 4
    assert_array_equal(X["dose"], expected)


def test_signs_in_columns_of_text_are_categories(tmp_path):
    text = table(*((i, 1, "+-?"[i % 3]) for i in range(40)))
    problem = load_problem(write(tmp_path, text), "y", 1000)
    assert set(problem.X["age"]) == {"+", "-", "?"}
    assert not problem.notes


@pytest.mark.parametrize(
    "text", ["\ufeff" + GOOD, table(*((i, 2, f"{i % 5},") for i in range(40)))]
)
def test_marks_of_spreadsheets_change_nothing(tmp_path, text):
    expected = load_problem(write(tmp_path, GOOD), "y", 1000)
    problem = load_problem(write(tmp_path, text), "y", 1000)
    pd.testing.assert_frame_equal(problem.X, expected.X)
    assert_array_equal(problem.y, expected.y)


def test_control_characters_of_names_are_escaped(tmp_path):
    text = table((3, 1, "?"), header="dose,\x1b[2J,a\ry")
    path = write(tmp_path, text.replace("a\ry", '"a\ry"'))
    problem = load_problem(path, "a\ry", 1000)
    assert list(problem.X) == ["dose", r"\x1b[2J"]
    assert problem.target == r"a\ry"
    assert problem.notes == [r"took as missing: '?' in \x1b[2J (1 value)"]


def test_bad_options(csv, tmp_path, capsys):
    target = ("--target", "y")
    missing = tmp_path / "none.csv"
    assert "no such file: " in fail(capsys, missing, *target)
    assert "not a file: " in fail(capsys, tmp_path, *target)
    assert "too long" in fail(capsys, 300 * "x", *target)
    assert r"no such file: \x1b[2J;" in fail(capsys, "\x1b[2J", *target)
    assert "from 2 to 11, not 30" in fail(capsys, csv, *target, "--folds", 30)
    for folds in (1, 0, -3, 12):
        expected = f"from 2 to 11, not {folds}\n"
        assert fail(capsys, csv, *target, "--folds", folds).endswith(expected)
    assert ".png or .pdf" in fail(capsys, csv, *target, "--output", "a.txt")
    folder = tmp_path / "none" / "a.png"
    assert "no such folder: " in fail(capsys, csv, *target, "--output", folder)


def fail(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        __main__.main(["compare", *map(str, arguments)])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.slow
def test_missing_packages_are_named_in_one_line():
    code = (
        "import sys; sys.modules['rich'] = None; "
        "from adaptive_kernels.__main__ import main; main(['compare'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    advice = 'pip install "adaptive_kernels[demo]"'
    assert done.stderr == f"error: rich is missing; {advice}\n"
