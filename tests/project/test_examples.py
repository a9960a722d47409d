"""What users are told to run runs, and what they are told to read is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("plot_*.py"))
NEEDED = {"plot_many_machines.py": "distributed"}
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Written by a benchmark, without code.
WITH_CODE = [path for path in TEXTS if not path.name.startswith("benchmarks_")]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def run(code, folder):
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr
    return result


def python_blocks(text):
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def relative_links(text):
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    return [link for link in links if "://" not in link and not link.startswith("#")]


def test_there_is_an_example():
    assert EXAMPLES


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_example_runs_without_warning(path, tmp_path):
    if path.name in NEEDED:
        pytest.importorskip(NEEDED[path.name])
    result = run(path.read_text(encoding="utf-8"), tmp_path)
    assert "Warning" not in result.stderr


@pytest.mark.slow
def test_benchmarks_find_what_they_import(tmp_path):
    folder = ROOT / "benchmarks"
    scripts = sorted(path.as_posix() for path in folder.glob("*.py"))
    assert scripts
    code = f"""
import runpy, sys
sys.path.insert(0, {folder.as_posix()!r})
for path in {scripts}:
    runpy.run_path(path, run_name="imported")
"""
    run(code, tmp_path)


@pytest.mark.contract
@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_code_in_text_runs(path, tmp_path):
    blocks = python_blocks(path.read_text(encoding="utf-8"))
    assert blocks
    result = run("\n".join(blocks), tmp_path)
    assert result.stdout


@pytest.mark.parametrize(
    "path", [*TEXTS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=name_of
)
def test_links_lead_to_files(path):
    links = relative_links(path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_first_line_says_which_nngp_is_meant():
    first = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[0]
    assert "NNGP" in first and "neural-network" in first
