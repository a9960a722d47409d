"""The command line: results that cannot be written, and interruptions."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from adaptive_kernels import __main__
from adaptive_kernels._cli import _run
from adaptive_kernels._cli._evaluate import evaluate
from adaptive_kernels._cli._input_table import load_problem
from adaptive_kernels._cli._messages import InputError, listed, printable
from adaptive_kernels._cli._models import all_models

PICTURE = b"a picture"


def draw(path, *_):
    Path(path).write_bytes(PICTURE)


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,y\n" + "".join(f"{i},{i % 7}\n" for i in range(40)))
    return path


@pytest.fixture
def runs(monkeypatch):
    """Calls of the long computation, which is left out."""
    calls = []
    monkeypatch.setattr(_run, "with_progress", lambda *_: calls.append(1))
    monkeypatch.setattr(_run, "report", lambda *_: print("table"))
    monkeypatch.setattr(_run, "save_picture", draw)
    return calls


def run(csv, output):
    return __main__.main(
        ["compare", str(csv), "--target", "y", "--output", str(output)]
    )


def fail(capsys, csv, output, code):
    with pytest.raises(SystemExit) as stop:
        run(csv, output)
    assert stop.value.code == code
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured


def test_a_picture_is_replaced_and_the_user_told(runs, csv, tmp_path, capsys):
    output = tmp_path / "a.png"
    run(csv, output)
    assert capsys.readouterr().out == f"table\nPicture: {output}\n"
    output.write_bytes(b"old")
    run(csv, output)
    assert capsys.readouterr().out == f"table\nPicture: {output} (replaced)\n"
    assert output.read_bytes() == PICTURE
    assert set(tmp_path.iterdir()) == {csv, output}


def test_a_link_to_a_picture_stays_one(runs, csv, tmp_path):
    output, target = tmp_path / "a.png", tmp_path / "b.png"
    output.symlink_to(target)
    run(csv, output)
    assert output.is_symlink() and target.read_bytes() == PICTURE


def test_an_output_that_is_no_picture_is_found_first(runs, csv, tmp_path, capsys):
    folder, link = tmp_path / "folder.png", tmp_path / "data.png"
    folder.mkdir()
    link.symlink_to(csv)
    assert "is not a file" in fail(capsys, csv, folder, 2).err
    assert "is the data" in fail(capsys, csv, link, 2).err
    assert "too long" in fail(capsys, csv, tmp_path / (300 * "x" + ".png"), 2).err
    assert not runs and csv.stat().st_size > 0


def test_an_output_that_cannot_be_written_is_found_first(
    runs, csv, tmp_path, capsys, monkeypatch
):
    output = tmp_path / "a.png"
    output.write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(_run.os, "access", lambda *_: False)
        assert "Permission denied" in fail(capsys, csv, output, 2).err
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", no_space)
        assert "No space left" in fail(capsys, csv, output, 2).err
    assert not runs
    assert output.read_bytes() == b"old" and set(tmp_path.iterdir()) == {csv, output}


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may write everywhere"
)
def test_a_folder_that_cannot_be_written_is_found_first(runs, csv, tmp_path, capsys):
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    assert "Permission denied" in fail(capsys, csv, folder / "a.png", 2).err
    assert not runs


def test_a_disk_that_fills_up_takes_neither_table_nor_old_picture(
    runs, csv, tmp_path, capsys, monkeypatch
):
    def half(path, *_):
        draw(path)
        no_space()

    output = tmp_path / "a.png"
    output.write_bytes(b"old")
    monkeypatch.setattr(_run, "save_picture", half)
    captured = fail(capsys, csv, output, 1)
    assert f"cannot write {output} (No space left" in captured.err
    assert captured.out == "table\n"
    assert output.read_bytes() == b"old" and set(tmp_path.iterdir()) == {csv, output}


def test_a_folder_that_vanishes(runs, csv, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.setattr(_run, "with_progress", lambda *_: folder.rmdir())
    assert "No such file" in fail(capsys, csv, folder / "a.png", 1).err


def test_data_that_vanish(runs, csv, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    csv.unlink()
    assert "cannot read" in fail(capsys, csv, tmp_path / "a.png", 2).err


def test_a_table_that_cannot_be_printed_leaves_the_picture(
    runs, csv, tmp_path, capsys, monkeypatch
):
    output = tmp_path / "a.png"
    monkeypatch.setattr(_run, "report", no_space)
    # The test's own standard output is to stay.
    monkeypatch.setattr(_run.os, "dup2", lambda *_: None)
    assert "cannot print the table (No space" in fail(capsys, csv, output, 1).err
    assert output.read_bytes() == PICTURE


def test_interruption(runs, csv, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_run, "with_progress", interrupted)
    assert fail(capsys, csv, tmp_path / "a.png", 1).err == "error: interrupted\n"
    assert set(tmp_path.iterdir()) == {csv}


def test_a_model_that_fails_is_named(csv):
    class Failing(type(all_models(1.0, 3)[0].estimator)):
        def fit(self, X, y):
            raise ValueError("a reason\nmore of it")

    model = all_models(1.0, 3)[0]
    object.__setattr__(model, "estimator", Failing())
    with pytest.raises(InputError, match=r"Ridge cannot .* table \(a reason\)$"):
        evaluate(load_problem(csv, "y", 1000), [model], 2, lambda *_: None)


CODE = """
import sys
from adaptive_kernels import __main__
from adaptive_kernels._cli import _run

_run.with_progress = lambda *_: None
_run.report = lambda *_: _run.report_console().print("table ±")
_run.save_picture = lambda path, *_: path.write_text("a picture")
__main__.main(["compare", *sys.argv[1:]])
"""


def start(csv, output, stdout, **environment):
    return subprocess.run(
        [sys.executable, "-c", CODE, csv, "--target", "y", "--output", output],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


@pytest.mark.slow
def test_a_reader_that_has_gone(csv, tmp_path):
    output = tmp_path / "a.png"
    reading, writing = os.pipe()
    os.close(reading)
    done = start(csv, output, writing)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == "error: cannot print the table (Broken pipe)\n"
    assert output.exists()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
def test_a_full_standard_output(csv, tmp_path):
    output = tmp_path / "a.png"
    with open("/dev/full", "w") as full:
        done = start(csv, output, full)
    assert done.returncode == 1
    assert done.stderr == "error: cannot print the table (No space left on device)\n"
    assert output.exists()


@pytest.mark.slow
def test_a_terminal_without_the_letters(csv, tmp_path):
    output = tmp_path / "a.png"
    done = start(csv, output, subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("table \\xb1\n")


def test_printable():
    assert printable("a\x1b[0m\n\u202eé年 b") == r"a\x1b[0m\n\u202eé年 b"
    assert listed(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more"
    assert listed(["a", "b"]) == "a, b"
