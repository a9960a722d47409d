"""Every row budget with its reason, and how rows are chosen.

All choices are random but the same for every fit, so that a fit can be repeated.
"""

from typing import cast

import numpy as np

from .._arrays import index_like
from .evidence import Data

# Starting points are explored on this many rows: enough to tell a start that finds
# structure from one that takes it for noise. The optimizer then sees samples that are
# larger by the factor GROWTH, and last all rows: half the cost at 3000 rows.
START_ROWS, GROWTH = 400, 3

# Features are ranked on at most this many rows: a forest takes 0.2 s for 10 features,
# 1.3 s for 1000.
RELEVANCE_ROWS = 4000

# A fit with inducing points learns kernel and noise from this many rows, or from this
# many for each inducing point if that is more. Its posterior uses all rows.
INDUCING_SAMPLE_ROWS = 4000
INDUCING_SAMPLE_PER_POINT = 4

# Beyond this many distinct rows a fit predicts from neighbours: an exact fit of 4000
# rows takes half a minute, and its cost grows with the third power.
EXACT_ROWS = 4000
# Nearest rows of a prediction, and inducing points besides. On diamonds, deliveries and
# bicycle hire 150 neighbours were 0 to 6 % better than 50 and 300 at most 1 % better.
NEIGHBORS, LOCAL_INDUCING = 150, 200
# Largest number of entries of the inducing points' part, rows times points: 0.8 GB.
LOCAL_ENTRIES = 10**8
# The kernel of a fit with neighbours is learned from the evidence of a few rows, then
# from left-out rows of the whole table with their neighbours, in runs of the optimizer
# on so many rows. Others, never learned from, judge them. Of six tables four needed two
# or three runs and one six. With 50 neighbours and 1500 rows a fit took two thirds of
# the time that it took with 3000 rows, at the same errors.
LOCAL_SAMPLE_ROWS = 1200
LEFT_OUT_RUNS, LEFT_OUT_BATCH, LEFT_OUT_ITER = 8, 1200, 15
LEFT_OUT_NEIGHBORS, LEFT_OUT_ROWS = 50, 1000
# The scale of the variance is learned from so many left-out rows: it is what the share
# of targets in an interval hangs on.
SCALE_ROWS = 2000
# Shorter length scales are tried for so many features, judged by so many rows.
SHARPER_FEATURES, SHARPER_ROWS = 10, 500
# In a table of so many rows left-out rows decide whether inducing points help.
JUDGED_TABLE = 5000
# What inducing points explain is learned from at most this many rows, each given so
# many earlier ones. The points are centres of so many rows each.
GLOBAL_ROWS, GLOBAL_NEIGHBORS, ROWS_PER_CENTRE = 15_000, 50, 20

# Repeated rows are merged in tables of up to this many rows. In larger tables sorting
# and copying would take more memory than the fit.
MERGED_ROWS = 20_000

# A fold of the regressor's search learns from at most so many rows, and is scored on at
# most so many: the metric has one parameter per feature and needs no more.
FOLD_ROWS, VALIDATION_ROWS = 400, 1000
# On folds of at most this many rows every fold explores all starts, which is cheap.
FEW_ROWS = 100
# Finalists are fitted again to this many rows of one fold, where the fold has at least
# three times as many rows as it has learned from.
FINALIST_ROWS = 2000
# Members with neighbours are weighed by so many left-out rows of the whole table.
MIXTURE_ROWS = 2000

# Folds of the classifier's search: more rows, since a label tells less than a number.
CLASS_FOLD_ROWS, CLASS_VALIDATION_ROWS = 600, 1000
# A classifier's kernel has one parameter per feature and is learned well from this many
# rows. The posterior uses all rows.
CLASS_KERNEL_ROWS = 1000
# With neighbours it is learned from more: on letters (26 classes) the log loss fell
# from 0.187 to 0.130, and the fit took 20 s in place of 12 s. On four other tables it
# fell by 5 % and 1 % and rose by 3 % twice. Noise and calibration use left-out rows.
LOCAL_CLASS_KERNEL_ROWS, CLASS_LEFT_OUT_ROWS = 2000, 2000
# A sample holds at least so many rows of every class, or all rows of the class.
LEAST_CLASS_ROWS = 10


def subsample(data: Data, size: int = START_ROWS) -> Data:
    """At most `size` random rows, always the same."""
    n = data.X.shape[0]
    if n <= size:
        return data
    return data.take(index_like(random_rows(n, size), data.X))


def random_order(n: int, size: int) -> np.ndarray:
    """At most `size` of the indices below n, in an order that is always the same."""
    return np.random.RandomState(0).permutation(n)[:size]


def random_rows(n: int, size: int) -> np.ndarray:
    """At most `size` of the indices below n, ascending: random but always the same."""
    return np.sort(random_order(n, size))


def stratified_rows(
    codes: np.ndarray,
    n_rows: int,
    *,
    least: int = LEAST_CLASS_ROWS,
    last: bool = False,
) -> np.ndarray:
    """Indices of at most `n_rows` rows, ascending, with the frequencies of the classes.

    A rare class has `least` rows, or all its rows. `least` is lowered so that rare
    classes take at most half of the rows. The random choice is always the same.

    last : bool, whether to choose from the other end of the random order of a class
    """
    n = len(codes)
    if n <= n_rows:
        return np.arange(n)
    counts = np.bincount(codes)
    sizes = _sample_sizes(counts, n_rows, least)
    shuffled = np.random.RandomState(0).permutation(n)[:: -1 if last else 1]
    # All rows, class after class, in random order within a class. Of each class the
    # first ones are taken.
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    class_starts = np.cumsum(counts) - counts
    place_in_class = np.arange(n) - np.repeat(class_starts, counts)
    return np.sort(by_class[place_in_class < np.repeat(sizes, counts)])


def _sample_sizes(counts: np.ndarray, n_rows: int, least: int) -> np.ndarray:
    """How many of `n_rows` rows each class has in a sample; see `stratified_rows`.

    counts : ndarray (C,) of int, rows of each class
    """
    least = cast(int, min(least, n_rows // (2 * np.count_nonzero(counts))))
    rare = counts * n_rows < least * counts.sum()
    sizes = np.where(rare, np.minimum(counts, least), 0)
    # The common classes share the other rows in proportion. Rounded cumulative sums
    # make the total exact.
    common = np.where(rare, 0, counts)
    ends = np.cumsum(common) * ((n_rows - sizes.sum()) / common.sum())
    return sizes + np.diff(np.round(ends).astype(int), prepend=0)
