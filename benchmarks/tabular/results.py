"""The table of results: one line per table, model, fold and number of rows."""

import csv
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "results.csv"
KEY = ("dataset", "model", "fold", "rows")
SCORES = ("rmse", "log_loss", "coverage", "accuracy")
TIMINGS = ("fit_cpu_s", "fit_s", "predict_s", "peak_mb", "load")
FIELDS = (
    *("task", *KEY, "train_rows", "test_rows", "features"),
    *(*SCORES, *TIMINGS, "status", "error", "versions", "machine"),
)
RETRIED = "not installed"


@dataclass(frozen=True)
class Results:
    """Results in a CSV file; a later line replaces an earlier one of the same key."""

    path: Path = RESULTS

    def read(self):
        """The rows as dictionaries of text, the last of each key."""
        if not self.path.exists():
            return []
        with open(self.path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return list({key(row): row for row in rows}.values())

    def finished(self):
        """Keys that need no further run."""
        return {key(row) for row in self.read() if row["status"] != RETRIED}

    def add(self, row):
        """Append a row, with numbers to five digits."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({name: _text(value) for name, value in row.items()})


def key(row):
    """What a result is of."""
    return tuple(str(row[name]) for name in KEY)


def _text(value):
    return f"{value:.5g}" if isinstance(value, float) else value
