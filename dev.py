"""Run demo, tests, linter or benchmark in a private environment, made on first use."""

import argparse
import hashlib
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent
TABULAR = ROOT / "benchmarks" / "tabular"
RUFF = "ruff==0.17.*"  # the next minor version may format differently
MYPY = "mypy>=2.4,<3"
FAST = ("-m", "not slow and not contract")

TEST_ENVIRONMENT = {
    "SCIPY_ARRAY_API": "1",
    "MPLBACKEND": "Agg",
    # Workers share the cores: threads below them would only get in each other's way.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


class InstallationError(Exception):
    """An environment could not be made; pip has printed why."""


@dataclass(frozen=True)
class Environment:
    """A private environment and what goes into it.

    packages : arguments of pip, all of it needed
    sources : files that the environment is made anew for when they change
    optional : requirements file of which lines may fail
    alone : requirements file, needed, of packages installed without what they require
    """

    folder: Path
    packages: tuple
    sources: tuple
    optional: Path | None = None
    alone: Path | None = None

    @property
    def interpreter(self):
        place = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        return str(self.folder / place)

    def run(self, *arguments, **options):
        return run(self.interpreter, *arguments, **options)

    def make(self):
        """Install, unless nothing has changed since the last time."""
        stamp_file = self.folder / "dev-stamp"
        stamp = self._stamp()
        if stamp_file.exists() and stamp_file.read_text() == stamp:
            return
        print(f"Installing into {self.folder} (once, takes minutes) ...", flush=True)
        # Only an environment this script finished is cleared, never somebody else's.
        clear = ["--clear"] if stamp_file.exists() else []
        failed = run(sys.executable, "-m", "venv", *clear, str(self.folder))
        failed = failed or self._pip(*self.packages)
        complete = failed or not self.optional or self._install_optional()
        # Last: what they require stays away, and pip would warn of that ever after.
        failed = failed or self.alone and self._pip("--no-deps", "-r", str(self.alone))
        if failed:
            raise InstallationError("installation failed, for the reason printed above")
        if complete:
            stamp_file.write_text(stamp)

    def _install_optional(self):
        if not self._pip("-r", str(self.optional)):
            return True
        print("Not all of it can be installed; now line by line ...", flush=True)
        lines = self.optional.read_text(encoding="utf-8").split()
        failed = [line for line in lines if self._pip(line)]
        print("Not installed:", ", ".join(failed) or "nothing", flush=True)
        return not failed

    def _pip(self, *arguments):
        quiet = ["--quiet", "--disable-pip-version-check"]
        return self.run("-m", "pip", *quiet, "install", *arguments)

    def _stamp(self):
        files = [*self.sources, *filter(None, [self.optional, self.alone])]
        parts = [file.read_text(encoding="utf-8") for file in files]
        # An environment names its own path, so a moved checkout needs a new one.
        parts += [sys.version, *self.packages, str(ROOT)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


DEVELOPMENT = Environment(
    ROOT / ".venv",
    ("--editable", f"{ROOT}[demo,test]", RUFF, MYPY),
    sources=(ROOT / "pyproject.toml",),
)
BENCHMARK = Environment(
    ROOT / ".venv-bench",
    ("--editable", f"{ROOT}[demo]"),
    sources=(ROOT / "pyproject.toml",),
    optional=TABULAR / "requirements.txt",
    alone=TABULAR / "requirements-data.txt",
)
BENCHMARK_JAX = Environment(
    ROOT / ".venv-bench-jax",
    ("-r", str(TABULAR / "requirements-jax.txt")),
    sources=(TABULAR / "requirements-jax.txt",),
)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, function, description in (
        ("demo", demo, "compare the estimators; further arguments go to `compare`"),
        (
            "test",
            test,
            "lint, then test; --fast for two minutes; further arguments go to pytest",
        ),
        ("fuzz", fuzz, "try random inputs on every estimator: `fuzz [cases]`, 10,000"),
        ("lint", lint, "check style and formatting with ruff, types with mypy"),
        ("bench", bench, "`bench tabular`: peers on real tables; see its --list"),
    ):
        command = commands.add_parser(name, help=description, description=description)
        command.set_defaults(function=function)
    options, further = parser.parse_known_args()
    if options.function is lint and further:
        parser.error("lint takes no arguments, got: " + " ".join(further))
    if options.function is bench and further[:1] != ["tabular"]:
        parser.error("the benchmark that bench can run is: tabular")
    if sys.version_info < (3, 11):  # noqa: UP036, this file runs before any install
        sys.exit("error: Python 3.11 or newer needed, not " + sys.version.split()[0])
    try:
        sys.exit(options.function(further))
    except InstallationError as error:
        sys.exit(f"error: {error}")


def demo(arguments):
    DEVELOPMENT.make()
    # In the caller's folder: relative paths among the arguments are theirs.
    return DEVELOPMENT.run("-m", "adaptive_kernels", "compare", "--quick", *arguments)


def test(arguments):
    if "--fast" in arguments:
        arguments = [*FAST, *(a for a in arguments if a != "--fast")]
    workers = str(min(os.cpu_count() or 1, 4))
    environment = {**os.environ, **TEST_ENVIRONMENT}
    return lint() or DEVELOPMENT.run(
        "-m", "pytest", "-n", workers, *arguments, cwd=ROOT, env=environment
    )


def fuzz(arguments):
    """Run the contract tests on random cases; the count of failures ends the report."""
    DEVELOPMENT.make()
    cases = arguments[0] if arguments else "10000"
    if not cases.isdigit():
        sys.exit(f"error: fuzz takes a number of cases, got {cases}")
    seed = str(random.SystemRandom().randrange(2**32))
    print(f"seed {seed}: repeat with pytest's --hypothesis-seed={seed}", flush=True)
    environment = {**os.environ, **TEST_ENVIRONMENT, "FUZZ_CASES": cases}
    command = ("-m", "pytest", "-q", "tests/contract", f"--hypothesis-seed={seed}")
    return DEVELOPMENT.run(*command, cwd=ROOT, env=environment)


def lint(_=()):
    DEVELOPMENT.make()
    check = DEVELOPMENT.run("-m", "ruff", "check", cwd=ROOT)
    layout = DEVELOPMENT.run("-m", "ruff", "format", "--check", cwd=ROOT)
    types = DEVELOPMENT.run("-m", "mypy", cwd=ROOT)
    return check or layout or types


def bench(arguments):
    BENCHMARK.make()
    return BENCHMARK.run("-m", "benchmarks.tabular", *arguments[1:], cwd=ROOT)


def run(*command, **options):
    return subprocess.run(command, **options).returncode


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
