"""The table, the verdict and the picture."""

import numpy as np
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..inspection import (
    FeatureImportancesDisplay,
    PredictionIntervalDisplay,
    WidthPathDisplay,
)
from ._evaluate import COVERAGE
from ._models import ADAPTIVE, GP_BASELINES

COLUMNS = {
    "rmse": "RMSE",
    "r2": "R²",
    "log_loss": "log loss",
    "coverage": f"{COVERAGE:.0%} cover",
    "fit_seconds": "fit s",
    "predict_seconds": "pred. s",
}


def results_table(scores, title):
    """Return a rich table of mean ± sd over folds, the best of each column bold."""
    groups = scores.groupby("model", sort=False)[list(COLUMNS)]
    mean, sd = groups.mean(), groups.std()
    cells = {column: format_column(mean[column], sd[column]) for column in COLUMNS}
    table = Table(
        title=title,
        caption="mean ± sd over folds, best in bold",
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("model", no_wrap=True)
    for header in COLUMNS.values():
        table.add_column(header, justify="right", min_width=6)
    for i, name in enumerate(mean.index):
        table.add_row(name, *(cells[column][i] for column in COLUMNS))
    return table


def format_column(mean, sd):
    """Return one cell for each model, blank where nothing was measured."""
    digits = decimals(mean)
    best = distance_from_best(mean).idxmin()
    cells = []
    for name in mean.index:
        text = f"{mean[name]:.{digits}f} ±{sd[name]:.{digits}f}"
        text = "" if np.isnan(mean[name]) else text
        cells.append(f"[bold]{text}[/bold]" if name == best else text)
    return cells


def decimals(mean):
    """Return the decimals that give the smallest RMSE three significant digits."""
    if mean.name in ("coverage", "fit_seconds"):
        return 2
    if mean.name != "rmse" or not mean.min() > 0:
        return 3
    return int(np.clip(2 - np.floor(np.log10(mean.min())), 0, 12))


def distance_from_best(mean):
    """Return a number for each model that is smallest for the best."""
    if mean.name == "coverage":
        return (mean - COVERAGE).abs()
    return -mean if mean.name == "r2" else mean


def verdict(scores):
    """Say in one sentence who has the lowest RMSE and by how much."""
    rmse = scores.pivot(index="fold", columns="model", values="rmse")
    mean = rmse.mean().rename("rmse")
    value = {name: f"{mean[name]:.{decimals(mean)}f}" for name in mean.index}
    winner, rival = mean.idxmin(), mean.reindex(GP_BASELINES).idxmin()
    ratio = mean[ADAPTIVE] / mean[rival] - 1
    distance = f"{abs(ratio):.1%} {'below' if ratio < 0 else 'above'}"
    lower = (rmse[ADAPTIVE] < rmse[rival]).sum()
    subject = "" if winner == ADAPTIVE else f"; {ADAPTIVE} ({value[ADAPTIVE]}) is"
    object_ = f"the best GP baseline, {rival} ({value[rival]})"
    return (
        f"{winner} has the lowest RMSE ({value[winner]}){subject or ','} {distance} "
        f"{'it' if winner == rival else object_}, and lower on {lower} of "
        f"{len(rmse)} folds."
    )


def save_picture(path, problem, evaluation):
    """Draw the width path, the importances and the intervals of one fold."""
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.15)
    axes = figure.subplots(1, 3, width_ratios=(1.25, 0.9, 1))
    X, y = problem.X.iloc[evaluation.held_out], problem.y[evaluation.held_out]
    WidthPathDisplay.from_estimator(evaluation.pipeline, ax=axes[0])
    FeatureImportancesDisplay.from_estimator(evaluation.pipeline, ax=axes[1])
    PredictionIntervalDisplay.from_estimator(
        evaluation.pipeline, X, y, level=COVERAGE, ax=axes[2]
    )
    titles = ("Score along the width", "Learned metric", "Predictions, held out")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title, loc="left", fontweight="bold")
    axes[2].set_xlabel(f"observed {problem.target}", parse_math=False)
    axes[2].set_ylabel(f"predicted {problem.target}", parse_math=False)
    figure.suptitle(
        f"{ADAPTIVE} on {problem.name}: one fold, {len(problem.y) - len(y)} rows to "
        f"learn from, {len(y)} held out",
        parse_math=False,
    )
    figure.savefig(path, dpi=150)
