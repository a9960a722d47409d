"""Fits with neighbours: a rough function, growth with the rows, cost against CatBoost.

    python benchmarks/neighbours.py [rough] [growth] [cost]

Needs LightGBM and CatBoost, which have their defaults; `cost` also the diamonds of
plotnine. Errors are in units of the standard deviation of y. Seconds are CPU time of
one thread; those of `growth` are of a process of its own for each size. The figure of
`growth` goes to docs/images. Whole tables: `python dev.py bench tabular --size whole`.
"""

import cProfile
import json
import pstats
import resource
import subprocess
import sys
import warnings
from pathlib import Path
from time import process_time

import numpy as np
from inducing import synthetic
from tabular.peers import boosting
from tabular.protocol import load_fold
from tabular.scores import regression_scores
from threadpoolctl import threadpool_limits

from adaptive_kernels import AdaptiveKernelRegressor

FIGURE = Path(__file__).parent.parent / "docs" / "images" / "neighbours_growth.png"
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
PREDICTED = 10_000
# Parts of a fit by the functions in which they are spent.
PARTS = {
    "evidence of 1200 rows": "_tune",
    "left-out rows of the table": "learn_from_neighbours",
    "inducing points": "solve_theory",
}


def rough(n, d, seed=0):
    """Sixty random cosines over three of d columns, and noise 0.3."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    frequencies = 12 / 3**0.5 * rng.standard_normal((60, 3))
    sizes = 1 / (1 + np.linalg.norm(frequencies, axis=1))
    phases = rng.uniform(0, 2 * np.pi, 60)
    y = sum(
        size * np.cos(X[:, :3] @ frequency + phase)
        for size, frequency, phase in zip(sizes, frequencies, phases, strict=True)
    )
    return X, y / y.std() + 0.3 * rng.standard_normal(n)


FUNCTIONS = {"smooth": synthetic, "rough": lambda n: rough(n, 20)}


def split(X, y):
    """Rows to learn from and the last ones to predict, y in units of its spread."""
    y = (y - y[:-PREDICTED].mean()) / y[:-PREDICTED].std()
    return X[:-PREDICTED], y[:-PREDICTED], X[-PREDICTED:], y[-PREDICTED:]


def seconds(work):
    """CPU seconds of a call, and its result."""
    started = process_time()
    result = work()
    return process_time() - started, result


def measured(X, y, X_test, y_test):
    """Scores and CPU seconds of a default fit, with the peak of memory in GiB."""
    fit, model = seconds(lambda: AdaptiveKernelRegressor().fit(X, y))
    time, (mean, std) = seconds(lambda: model.predict(X_test, return_std=True))
    return regression_scores(y_test, mean, std) | {
        "fit": fit,
        "rows per second": len(y_test) / time,
        "peak GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def on_rough():
    """The rough function with 20,000 rows, which inducing points smooth away."""
    X, y, X_test, y_test = split(*rough(30_000, 6))
    print(f"rough, {X.shape}: {measured(X, y, X_test, y_test)}", flush=True)
    for build in (boosting.lightgbm_regressor, boosting.catboost_regressor):
        mean = build(X, y, 0).fit(X, y).predict(X_test)
        print(f"  {build.__name__}: {regression_scores(y_test, mean)}")


def growth():
    """Cost, memory and error from 10,000 to a million rows of 20 columns."""
    found = {name: [] for name in FUNCTIONS}
    for name in FUNCTIONS:
        for n in SIZES:
            command = [sys.executable, __file__, "one", name, str(n)]
            output = subprocess.run(command, capture_output=True, check=True).stdout
            found[name].append(json.loads(output))
            print(name, n, found[name][-1], flush=True)
    draw(found)


def one(name, n):
    """Print the measurements of one function and size, for `growth`."""
    print(json.dumps(measured(*split(*FUNCTIONS[name](int(n) + PREDICTED)))))


def draw(found):
    """Error, CPU seconds, rows predicted a second and memory against the rows."""
    import matplotlib.pyplot as plt

    labels = {
        "rmse": "RMSE / standard deviation of y",
        "fit": "CPU seconds of the fit",
        "rows per second": "rows predicted in a second",
        "peak GiB": "peak memory, GiB",
    }
    figure, axes = plt.subplots(1, 4, figsize=(13, 3.2))
    for axis, (key, label) in zip(axes, labels.items(), strict=True):
        for name, marker in (("smooth", "o-"), ("rough", "s--")):
            values = [one[key] for one in found[name]]
            axis.plot(SIZES[: len(values)], values, marker, label=name)
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set(xlabel="training rows", title=label)
        axis.title.set_size(10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(FIGURE, dpi=110)
    print(f"Written: {FIGURE.name}")


def cost():
    """Default fit and 10,000 predictions of the diamonds against CatBoost's."""
    fold = load_fold("diamonds_whole", 0).first(10**9)
    X, y, X_test = fold.X, fold.y, fold.X_test
    ratios = []
    for _ in range(3):
        catboost = boosting.catboost_regressor(X, y, 0)
        peer, _ = seconds(lambda c=catboost: c.fit(X, y).predict(X_test))
        ours, _ = seconds(
            lambda: AdaptiveKernelRegressor().fit(X, y).predict(X_test, True)
        )
        ratios.append(ours / peer)
        print(f"diamonds, {X.shape}: {ours:.1f} s, CatBoost {peer:.1f} s", flush=True)
    print(f"ratio, median of three: {np.median(ratios):.1f}")
    profile = cProfile.Profile()
    model = profile.runcall(AdaptiveKernelRegressor().fit, X, y)
    stats = pstats.Stats(profile).stats
    for part, function in PARTS.items():
        spent = max(s[3] for place, s in stats.items() if place[2] == function)
        print(f"  {part}: {spent:.1f} s")
    print(f"  predictions: {seconds(lambda: model.predict(X_test, True))[0]:.1f} s")


def main(parts):
    """Run the parts that are named; all by default."""
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        if parts[:1] == ["one"]:
            one(*parts[1:])
            return
        known = {"rough": on_rough, "growth": growth, "cost": cost}
        for part in parts or known:
            known[part]()


if __name__ == "__main__":
    main(sys.argv[1:])
