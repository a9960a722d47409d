"""The figure: error relative to one model, a point a table, a bar at the mean."""

from .models import MODELS

TASKS = ("regression", "classification")
TITLES = {
    "rows600": "the same rows, at most 600",
    "full": "all training rows",
    "whole": "whole tables",
}
OURS, PEER, TABLE = "#c1440e", "#1f4e79", "#9aa5b1"
LIMITS = 0.3, 4.0


def draw(groups, path):
    """Draw the comparisons into a file."""
    import matplotlib.pyplot as plt

    found = {(group.task, group.name): group for group in groups}
    names = [name for name in TITLES if any(name == n for _, n in found)]
    models = [
        max((len(g.models) for g in groups if g.task == task), default=1)
        for task in TASKS
    ]
    shape, height = (2, len(names)), 1.5 + sum(models) / 3.5
    figure, axes = plt.subplots(
        *shape, figsize=(6 * len(names), height), height_ratios=models, squeeze=False
    )
    panels = [(task, name) for task in TASKS for name in names]
    for place, axis in zip(panels, axes.flat, strict=True):
        if place in found:
            panel(axis, found[place])
        else:
            axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def panel(axis, group):
    """One comparison; models from best to worst mean ratio, from the top."""
    means = {name: group.relative(name) for name in group.models}
    names = sorted((n for n in means if means[n] is not None), key=means.get)
    for height, name in enumerate(names):
        ratios = list(group.ratios(name).values())
        kept = [min(max(ratio, LIMITS[0]), LIMITS[1]) for ratio in ratios]
        color = OURS if MODELS[name].ours else PEER
        axis.plot(kept, [height] * len(kept), "o", ms=3.5, color=TABLE, zorder=1)
        axis.plot(means[name], height, "|", ms=14, mew=3, color=color, zorder=2)
        seconds = group.geometric_mean(name, "fit_cpu_s")
        note = f"{seconds:.2f}"
        axis.text(LIMITS[1] * 1.25, height, note, va="center", ha="right", size=8)
    axis.axvline(1, color="black", lw=0.8, zorder=0)
    axis.set_yticks(range(len(names)), names, size=8)
    axis.invert_yaxis()
    decorate(axis, group)


def decorate(axis, group):
    """Scale, title and labels."""
    axis.set_xscale("log")
    axis.set_xlim(*LIMITS)
    ticks = [0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    score = "RMSE" if group.task == "regression" else "log loss"
    axis.set_xlabel(f"{score} / {score} of {group.baseline}", size=9)
    axis.set_title(f"{group.task}: {TITLES[group.name]}", size=10)
    axis.annotate("CPU s", (1, 1), (4, 4), "axes fraction", "offset points", size=8)
    axis.spines[["top", "right"]].set_visible(False)
