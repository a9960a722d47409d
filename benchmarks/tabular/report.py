"""The reports: pages of small and of whole tables, each with a figure."""

from dev import ROOT

from .figure import draw
from .models import MODELS
from .results import Results
from .summary import Comparison, comparisons
from .whole_tables import ALL

TITLES = {
    ("regression", "rows600"): "Regression, the same rows for all, at most 600",
    ("regression", "full"): "Regression, all training rows",
    ("classification", "rows600"): "Classification, the same rows for all, at most 600",
    ("classification", "full"): "Classification, all training rows",
    ("regression", "whole"): "Regression",
    ("classification", "whole"): "Classification",
}
SCORE = {"rmse": "RMSE", "log_loss": "log loss"}
HEAD = """\
# Real tables against peers

This page is written by `python dev.py bench tabular`: {n_regression} tables for
regression and {n_classification} for classification, models with nothing but their
defaults or a small grid, one process and one thread a fit, and the same limit of CPU
seconds. `benchmarks/tabular/results/results.csv` has every number.

- **Rows**: tables above 4500 rows are subsampled once; five shuffled folds, three above
  3000 rows. Folds here: {folds}. One fold is one draw: small gaps are noise.
- **Features** are imputed, standardised and one-hot encoded by the training fold, the
  same for all models.
- **Units**: RMSE and log loss of a regression are those of the target in standard
  deviations of the rows that the model was fitted on. Lower is better, except for
  accuracy; 90 % intervals should cover 0.90.
- **CPU s** are those of the fit, imports not counted. `-` has no result yet or no such
  score, `time` ran out of time, `failed` raised, `absent` could not be installed.
- **All training rows**: the models with a number under "cap" get at most so many.
- Mean ranks and geometric means are over the real tables, without the made-up
  `four_of_32`. A model that ran out of time or failed ranks last on that table; a mean
  is over the tables that the model finished, and "tables" says how many.

In the figure a point is a table (beyond the edges it stands at the edge), a bar the
geometric mean; models of this package are orange.

![Error relative to one model, table by table](images/benchmarks_tabular.png)
"""


WHOLE_HEAD = """\
# Whole tables against boosted trees

This page is written by `python dev.py bench tabular --size whole`: {n_regression}
tables for regression and {n_classification} for classification, from 5,000 rows on, all
of which take part. Models have nothing but their defaults, except that names with
`tuned` and `grid` search; one process and one thread a fit, and the same limit of CPU
seconds. `benchmarks/tabular/results/results.csv` has every number.

- **Rows**: a fifth is held out, of which at most 10,000 rows are predicted. Folds here:
  {folds}. One fold is one draw: small gaps are noise.
- **Features** are imputed, standardised and one-hot encoded by the training fold, the
  same for all models.
- **Units**: RMSE and log loss of a regression are those of the target in standard
  deviations of the training rows. Lower is better, except for accuracy; 90 % intervals
  should cover 0.90.
- **CPU s** are those of the fit, imports not counted. `-` has no result yet or no such
  score, `time` ran out of time, `failed` raised, `absent` could not be installed.
- A model that ran out of time or failed ranks last on that table; a mean is over the
  tables that the model finished, and "tables" says how many.
- Many of these tables are ordered in time. Random folds of such tables let a model look
  up what happened just before and after, which favours neighbours.

In the figure a point is a table (beyond the edges it stands at the edge), a bar the
geometric mean; models of this package are orange.

![Error relative to one model, table by table](images/benchmarks_whole.png)
"""

PAGES = {"benchmarks_tabular": HEAD, "benchmarks_whole": WHOLE_HEAD}


def write(results=Results()):  # noqa: B008, frozen
    """Write pages and figures of what has results; return their paths."""
    paths = []
    for name, template in PAGES.items():
        whole = name == "benchmarks_whole"
        rows = [row for row in results.read() if ALL[row["dataset"]].whole == whole]
        if not rows:
            continue
        page = ROOT / "docs" / f"{name}.md"
        figure = ROOT / "docs" / "images" / f"{name}.png"
        figure.parent.mkdir(parents=True, exist_ok=True)
        groups = comparisons(rows)
        parts = [head(template, rows), *map(section, groups)]
        parts = filter(None, [*parts, problems(rows), conditions(rows)])
        page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        draw(groups, figure)
        paths += [page.relative_to(ROOT), figure.relative_to(ROOT)]
    return paths


def head(template, rows):
    """Title, protocol and figure."""
    tasks = [ALL[name].task for name in {row["dataset"] for row in rows}]
    folds = sorted({row["fold"] for row in rows}, key=int)
    return template.format(
        n_regression=tasks.count("regression"),
        n_classification=tasks.count("classification"),
        folds=", ".join(folds),
    ).rstrip()


def section(group: Comparison):
    """The tables of one task and group."""
    parts = [f"## {TITLES[group.task, group.name]}", overview(group), losses(group)]
    if group.task == "regression":
        parts += [
            "### RMSE",
            details(group, "rmse"),
            "### Log loss / coverage of 90 % intervals",
            details(group, "log_loss", "coverage"),
        ]
    else:
        parts += [
            "### Log loss / accuracy",
            details(group, "log_loss", "accuracy"),
        ]
    parts += ["### CPU seconds of the fit", details(group, "fit_cpu_s", digits=2)]
    return "\n\n".join(filter(None, parts))


def overview(group):
    """One line a model, by mean rank."""
    extra = "coverage" if group.task == "regression" else "accuracy"
    capped = group.name == "full"
    columns = ["model", "cap"] if capped else ["model"]
    columns += ["tables", "mean rank", f"{SCORE[group.score]} / {group.baseline}"]
    columns += ["mean log loss", f"mean {extra}", "CPU s", "peak MB"]
    lines = []
    for name in group.by_rank():
        cells = [name, str(MODELS[name].cap or "")] if capped else [name]
        cells += [str(group.finished(name)), text(group.mean_ranks[name], 1)]
        cells += [text(group.relative(name)), text(group.mean(name, "log_loss"))]
        cells += [text(group.mean(name, extra))]
        cells += [text(group.geometric_mean(name, "fit_cpu_s"), 2)]
        lines.append([*cells, text(group.mean(name, "peak_mb"), 0)])
    note = f"Geometric means: the ratio of {SCORE[group.score]}, and CPU seconds."
    return markdown(columns, lines) + "\n\n" + note


def losses(group):
    """The search of this package against the best peer of each table."""
    name = next((name for name in group.models if name.endswith("CV")), None)
    if name is None:
        return ""
    lines = []
    for dataset in group.datasets:
        own = group.value(dataset, name, group.score)
        peer = group.best_peer(dataset)
        if peer is None:
            continue
        best = group.value(dataset, peer, group.score)
        cells = [dataset, group.cell(dataset, name, group.score), peer, text(best)]
        lines.append([*cells, text(None if own is None else own / best)])
    score = SCORE[group.score]
    columns = ["table", name, "best peer", f"its {score}", "ratio"]
    title = f"### {name} against the best peer of each table, {score}"
    return title + "\n\n" + markdown(columns, lines)


def details(group, *scores, digits=3):
    """One line a table, one column a model that has these scores; the best in bold."""
    names = [
        name
        for name in group.models
        if any(
            group.value(table, name, scores[0]) is not None for table in group.tables
        )
    ]
    lines = []
    for table in group.tables:
        cells = [group.cell(table, name, *scores, digits=digits) for name in names]
        least = min((cell_value(cell) for cell in cells), default=None)
        cells = [
            f"**{c}**" if cell_value(c) == least < float("inf") else c for c in cells
        ]
        lines.append([f"{table} ({group.size(table)})", *cells])
    return markdown(["table (rows x columns)", *names], lines)


def cell_value(cell):
    """The first number of a cell, infinity for a word."""
    try:
        return float(cell.split(" / ")[0])
    except ValueError:
        return float("inf")


def problems(rows):
    """What failed, and why."""
    failed = [row for row in rows if row["status"] != "ok"]
    names = "dataset", "model", "fold", "rows", "status", "error"
    lines = [[row[name].replace("|", "/") for name in names] for row in failed]
    if not lines:
        return "## Without a result\n\nNone."
    return "## Without a result\n\n" + markdown(["table", *names[1:]], sorted(lines))


def conditions(rows):
    """Machines and versions."""
    machines = sorted({row["machine"] for row in rows})
    versions = {part for row in rows for part in row["versions"].split(", ") if part}
    loads = sorted(float(row["load"]) for row in rows if row["load"])
    parts = ["## Machine and versions", *(f"- {machine}" for machine in machines)]
    parts += ["- " + ", ".join(sorted(versions, key=str.lower))]
    if loads:
        middle = loads[len(loads) // 2]
        parts.append(
            f"- Processes that wanted to run, median over the fits: {middle:.1f}"
        )
    return parts[0] + "\n\n" + "\n".join(parts[1:])


def text(value, digits=3):
    """A number as a cell."""
    return "-" if value is None else f"{value:.{digits}f}"


def markdown(columns, lines):
    """A table in Markdown."""
    rows = [columns, ["---"] * len(columns), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    write()
