"""The command line: the bundled data and the mistakes of its users."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

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


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("", "y", "cannot read"),
        (b"\xff\xfe\x00\x81,\x9d\n", "y", "cannot read"),
        ("a,b\n1,2\n1,2,3,4\n", "a", "cannot read"),
        ("a;y\n1;2\n", "y", "one column only"),
        (FEW, "y", "10 rows have a value of 'y'; at least 30 are needed"),
        (CONSTANT, "y", "'y' is 3 in every row"),
        (ONLY_KEYS, "y", "no input column is left"),
    ],
)
def test_bad_files(tmp_path, capsys, text, target, message):
    assert message in fail(capsys, write(tmp_path, text), "--target", target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("does", "no column named 'does'; did you mean dose?"),
        ("COLOR", "did you mean colour?"),
        ("qqq", "columns: key, dose, colour"),
        ("colour", "not numeric (it holds 'blue')"),
        ("smoker", "not numeric (it holds"),
        ("nothing", "0 rows have a value"),
        (None, "say which column to predict with --target; columns: key, dose"),
    ],
)
def test_bad_targets(csv, capsys, target, message):
    arguments = [] if target is None else ["--target", target]
    assert message in fail(capsys, csv, *arguments)


def test_bad_options(csv, tmp_path, capsys):
    target = ("--target", "y")
    missing = tmp_path / "none.csv"
    assert "no such file: " in fail(capsys, missing, *target)
    assert "no such file: " in fail(capsys, tmp_path, *target)
    assert "from 2 to 11, not 30" in fail(capsys, csv, *target, "--folds", 30)
    assert "from 2 to 11, not 1" in fail(capsys, csv, *target, "--folds", 1)
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
