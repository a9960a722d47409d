"""Metrics to start from, by statistics that show which features matter.

A forest and correlations rank the features. They need no kernel and no starting point.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .._arrays import to_numpy
from .evidence import Data

# Size of the forest: 4000 rows take one core 0.2 s for 10 features, 1.3 s for 1000.
N_TREES = 50
LEAF = 3
MOST_FEATURES = 100
# Out-of-bag R^2 that a forest may reach on pure noise. Its mean is slightly negative,
# -0.04 to -0.07, and its standard deviation about 0.1 / sqrt(n).
CHANCE, CHANCE_OF_ROW = 0.01, 0.5
# Products of pairs are used up to this many features: beyond, four d x d matrices would
# take more memory than 4000 rows.
MOST_PAIRED = 1000
# Standard scores are clipped here, so that a few outliers do not decide.
CLIP = 3.0
# Some starts are limited to so many leading features.
LEADING = (1, 2, 4, 8)
# Number of further starts with random features.
RESTARTS = 8
# Smallest diagonal entry of a metric, whose mean is one. The optimizer works on its
# logarithm: from zero a feature could not come back.
LEAST = 1e-3


@dataclass(frozen=True)
class Relevance:
    """Metrics to start from, and how much of the targets a forest explains.

    families : tuple of lists of ndarrays (d,), roots of metrics; the best of each list
        is tried
    restarts : tuple of the same kind, tried if `families` find no structure
    explained : float, share of the targets' variance that a forest predicts out of bag,
        minus what it can reach on pure noise; zero if no forest was grown
    """

    families: tuple[list[np.ndarray], ...] = ()
    restarts: tuple[list[np.ndarray], ...] = ()
    explained: float = 0.0


def measure_relevance(data: Data) -> Relevance:
    """Metrics from a forest, from correlations, and from the mean of both."""
    weights = None if data.weights is None else to_numpy(data.weights)
    X, varies = _scores(to_numpy(data.X), weights)
    targets, _ = _scores(to_numpy(data.Y), weights)
    if X.shape[1] == 0 or targets.shape[1] == 0 or len(X) < 2 * LEAF:
        return Relevance()
    X = np.clip(X, -CLIP, CLIP)
    by_forest, explained = _forest(X, targets, weights)
    by_moments = _moments(X, np.clip(targets, -CLIP, CLIP), weights)
    rankings = [s / s.sum() for s in (by_forest, by_moments) if s.sum() > 0]
    if X.shape[1] == 1 or not rankings:
        return Relevance(explained=explained)
    if len(rankings) == 2:
        rankings.append(np.mean(rankings, axis=0))
    families, restarts = _families(rankings)

    def roots(families: list[list[np.ndarray]]) -> tuple[list[np.ndarray], ...]:
        return tuple(
            [_root(shares, varies) for shares in family] for family in families
        )

    return Relevance(roots(families), roots(restarts), explained)


def _families(
    rankings: list[np.ndarray],
) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]]]:
    """Families of shares to start from, and further ones to restart from.

    rankings : the shares of the features by the forest, by moments, and the mean of
        both; or a single one, if only one of them finds anything
    """
    first, last = rankings[0], rankings[-1]
    families = [[shares] for shares in rankings]
    families.append([*_leading(first), *_leading(last)])
    restarts = [[shares] for shares in _drawn(last)]
    return families, restarts


def _leading(shares: np.ndarray) -> Iterator[np.ndarray]:
    """Equal shares for the leading features only, for several numbers of them.

    Many small shares, mostly chance, would together hide the few that matter.
    """
    ranked = np.argsort(-shares, kind="stable")
    for count in LEADING:
        if count < len(shares):
            equal = np.zeros(len(shares))
            equal[ranked[:count]] = 1 / count
            yield equal


def _drawn(shares: np.ndarray) -> Iterator[np.ndarray]:
    """Equal shares for a few random features, from a fixed seed.

    A feature is drawn with probability 0.75 * share + 0.25 / d.
    """
    rng, d = np.random.RandomState(0), len(shares)
    chance = 0.75 * shares + 0.25 / d
    for _ in range(RESTARTS):
        count = rng.randint(1, min(d, LEADING[-1]) + 1)
        equal = np.zeros(d)
        equal[rng.choice(d, count, replace=False, p=chance)] = 1 / count
        yield equal


def _scores(
    values: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Standard scores of the columns that vary, and a mask (d,) of these columns."""
    mean = np.average(values, axis=0, weights=weights)
    spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    varies = spread > 0
    return (values - mean)[:, varies] / spread[varies], varies


def _root(shares: np.ndarray, varies: np.ndarray) -> np.ndarray:
    """Root of the metric whose entries are proportional to shares, of mean one.

    varies : mask of the columns that the shares belong to; the others have entry one
    """
    metric = np.ones(len(varies))
    metric[varies] = np.maximum(len(shares) * shares, LEAST)
    return np.sqrt(metric)


def _forest(
    X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """Importances of extremely randomised trees, and the share explained out of bag."""
    # Imported here: it takes 0.05 s, and an import of the package need not wait for it.
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(
        N_TREES,
        min_samples_leaf=LEAF,
        max_features=min(X.shape[1], MOST_FEATURES),
        bootstrap=True,
        oob_score=True,
        random_state=0,
    )
    clipped = np.clip(Y, -CLIP, CLIP)
    with warnings.catch_warnings():
        # A row that is in the bag of every tree is predicted as the mean, zero.
        warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
        forest.fit(X, clipped if Y.shape[1] > 1 else clipped[:, 0], weights)
    gap = (Y - forest.oob_prediction_.reshape(Y.shape)) ** 2
    error = float(np.mean(np.average(gap, axis=0, weights=weights)))
    chance = CHANCE + CHANCE_OF_ROW / len(X) ** 0.5
    with np.errstate(invalid="ignore"):
        # If no split has helped, scikit-learn divides zero by zero.
        importances = np.nan_to_num(forest.feature_importances_)
    return importances, max(1 - error - chance, 0.0)


def _moments(X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Squared correlations above chance of the targets with features and with products.

    The products are those of two features. X and Y have mean zero and variance one, up
    to the clipping, so that a mean of products is a correlation.

    Among m independent variables the largest squared correlation with the target is
    about 2 log(m) / n. Here m is d for features, and about d^2 for products.
    """
    n, d = X.shape
    shares = np.full(n, 1.0) if weights is None else weights
    shares = shares / np.sum(shares)
    total = np.zeros(d)
    for y in Y.T:
        single = (shares * y) @ X
        total += np.maximum(single**2 - 2 * np.log(d) / n, 0)
        if d > MOST_PAIRED:
            continue
        pairs = (X * (shares * y)[:, None]).T @ X
        # The square of a standard normal variable has variance 2, other products 1.
        pairs[np.diag_indices(d)] /= 2**0.5
        total += np.sum(np.maximum(pairs**2 - 4 * np.log(d) / n, 0), axis=0)
    return total
