"""The benchmark's command line: `python dev.py bench tabular`, from the repository."""

import argparse

from .models import GROUPS, MODELS
from .report import write
from .results import Results
from .run import Plan, run
from .whole_tables import ALL


def main():
    """Run what is asked for and has no result yet, then write the report."""
    parser = argparse.ArgumentParser(
        prog="python dev.py bench tabular",
        description="Fit peers and this package on real tables, and write a report.",
    )
    for name, choices in (
        ("datasets", list(ALL)),
        ("models", list(MODELS)),
        ("groups", list(GROUPS)),
    ):
        parser.add_argument(
            f"--{name}",
            nargs="+",
            choices=choices,
            metavar="NAME",
            help="default: all",
        )
    parser.add_argument(
        "--size",
        choices=("small", "whole"),
        default="small",
        help="tables of up to 4500 rows, or whole ones (default: %(default)s)",
    )
    parser.add_argument("--folds", nargs="+", type=int, default=[0], metavar="NUMBER")
    parser.add_argument(
        "--time-limit",
        type=float,
        default=240.0,
        metavar="SECONDS",
        help="CPU seconds for fit and prediction (default: %(default)g)",
    )
    parser.add_argument(
        "--list", action="store_true", help="show data sets and models, run nothing"
    )
    options = parser.parse_args()
    if options.list:
        show()
        return
    whole = options.size == "whole"
    groups = options.groups or [name for name in GROUPS if (name == "whole") == whole]
    tables = options.datasets or [name for name in ALL if ALL[name].whole == whole]
    models = options.models or [
        name for name in MODELS if set(groups) & set(MODELS[name].groups)
    ]
    run(Plan(tables, models, options.folds, groups, options.time_limit))
    for path in write(Results()):
        print(f"Written: {path}")


def show():
    """Print the registries."""
    print("Data sets")
    for name, dataset in ALL.items():
        print(f"  {name:14} {dataset.task:15} {dataset.source}")
    print("\nModels")
    for name, model in MODELS.items():
        rows = "all rows" if model.cap is None else f"at most {model.cap} rows"
        packages, groups = ", ".join(model.packages), ", ".join(model.groups)
        print(f"  {name:27} {model.task:15} {rows:17} {groups:14} {packages}")


if __name__ == "__main__":
    main()
