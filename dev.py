"""Run the demo, the tests or the linter in a private environment, made on first use."""

import argparse
import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "dev-stamp"

EXTRAS = "demo,test"
RUFF = "ruff==0.17.*"  # the next minor version may format differently

TEST_ENVIRONMENT = {
    "SCIPY_ARRAY_API": "1",
    "MPLBACKEND": "Agg",
    # Workers share the cores: threads below them would only get in each other's way.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, function, description in (
        ("demo", demo, "compare the estimators; further arguments go to `compare`"),
        ("test", test, "lint, then test; further arguments go to pytest"),
        ("lint", lint, "check style and formatting with ruff"),
    ):
        command = commands.add_parser(name, help=description, description=description)
        command.set_defaults(function=function)
    options, further = parser.parse_known_args()
    if options.function is lint and further:
        parser.error("lint takes no arguments, got: " + " ".join(further))
    if sys.version_info < (3, 11):  # noqa: UP036, this file runs before any install
        sys.exit("error: Python 3.11 or newer needed, not " + sys.version.split()[0])
    install()
    sys.exit(options.function(further))


def demo(arguments):
    # In the caller's folder: relative paths among the arguments are theirs.
    return python("-m", "adaptive_kernels", "compare", "--quick", *arguments)


def test(arguments):
    workers = str(min(os.cpu_count() or 1, 4))
    environment = {**os.environ, **TEST_ENVIRONMENT}
    return lint() or python(
        "-m", "pytest", "-n", workers, *arguments, cwd=ROOT, env=environment
    )


def lint(_=()):
    check = python("-m", "ruff", "check", cwd=ROOT)
    layout = python("-m", "ruff", "format", "--check", cwd=ROOT)
    return check or layout


def install():
    wanted = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    # An environment names its own path, so a moved checkout needs a new one.
    wanted += "\n".join([sys.version, EXTRAS, RUFF, str(ROOT)])
    stamp = hashlib.sha256(wanted.encode()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == stamp:
        return
    print(f"Installing into {VENV} (once, takes a minute or more) ...", flush=True)
    # Only an environment that this script finished is cleared, never somebody else's.
    clear = ["--clear"] if STAMP.exists() else []
    pip = ["-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    failed = run(sys.executable, "-m", "venv", *clear, str(VENV)) or python(
        *pip, "--editable", f"{ROOT}[{EXTRAS}]", RUFF
    )
    if failed:
        sys.exit("error: the installation failed, for the reason printed above")
    STAMP.write_text(stamp)


def python(*arguments, **options):
    return run(str(PYTHON), *arguments, **options)


def run(*command, **options):
    return subprocess.run(command, **options).returncode


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
