"""Command line: ``python -m adaptive_kernels compare data.csv --target COLUMN``."""

import argparse
import sys


def build_parser():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m adaptive_kernels",
        description="scikit-learn-compatible kernels that adapt to data",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "compare",
        help="compare the adaptive kernel with familiar regressors on a CSV file",
    )
    command.add_argument(
        "data", nargs="?", help="CSV file with a header (default: bundled bicycle hire)"
    )
    command.add_argument("--target", metavar="COLUMN", help="column to predict")
    command.add_argument(
        "--quick", action="store_true", help="at most 300 rows and 3 folds"
    )
    command.add_argument(
        "--output",
        metavar="PICTURE",
        default="compare.png",
        help="picture to write or replace (default: %(default)s)",
    )
    command.add_argument(
        "--folds", metavar="K", type=int, help="folds (default: 5, with --quick 3)"
    )
    return parser


def main(argv=None):
    """Run the command line.

    A mistake of the user ends with exit code 2, and an interruption or a result that
    cannot be written with 1.
    """
    parser = build_parser()
    options = vars(parser.parse_args(argv))
    options.pop("command")
    if hasattr(sys.stdout, "reconfigure"):
        # A letter that the terminal does not have is no reason to lose the table.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        run(parser, options)
    except KeyboardInterrupt:
        parser.exit(1, "error: interrupted\n")


def run(parser, options):
    """Compare, or exit with one line that says why not."""
    try:
        from ._cli import InputError, compare
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing not in ("matplotlib", "pandas", "rich"):
            raise
        parser.exit(
            2, f'error: {missing} is missing; pip install "adaptive_kernels[demo]"\n'
        )
    try:
        compare(options.pop("data"), **options)
    except InputError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
