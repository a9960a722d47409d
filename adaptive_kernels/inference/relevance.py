"""Which features matter, by statistics without a kernel: metrics to start from."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .._arrays import to_numpy
from .evidence import Data

N_TREES = 50
LEAF = 3
MOST_FEATURES = 100
# Out-of-bag R^2 that a forest may reach on pure noise. Its mean is slightly negative,
# -0.04 to -0.07, and its standard deviation about 0.1 / sqrt(n).
CHANCE, CHANCE_OF_ROW = 0.01, 0.5
# Pairs of more features than these would take more memory than the rows.
MOST_PAIRED = 1000
# Standard scores beyond this count as this.
CLIP = 3.0
# Numbers of leading features that a start is limited to.
LEADING = (1, 2, 4, 8)
RESTARTS = 8
# Least entry of a metric that starts from relevances, whose mean is one.
LEAST = 1e-3


@dataclass(frozen=True)
class Relevance:
    """What statistics without a kernel say of the features.

    families : tuple of lists of ndarrays (d,), roots of metrics to start from; of each
        list the best is tried
    restarts : tuple of the same, for where these have found nothing
    explained : float, share of the targets' variance that a forest predicts for rows
        out of its bags, less what chance may give; zero if no forest was grown
    """

    families: tuple[list[np.ndarray], ...] = ()
    restarts: tuple[list[np.ndarray], ...] = ()
    explained: float = 0.0


def measure_relevance(data: Data) -> Relevance:
    """Metrics by a forest, by moments, and by both together, from all rows given."""
    X, Y, weights = to_numpy(data.X), to_numpy(data.Y), data.weights
    weights = None if weights is None else to_numpy(weights)
    X, kept = _scores(X, weights)
    X = np.clip(X, -CLIP, CLIP)
    targets, _ = _scores(Y, weights)
    if X.shape[1] == 0 or targets.shape[1] == 0 or len(X) < 2 * LEAF:
        return Relevance()
    forest, explained = _forest(X, targets, weights)
    found = [forest, _moments(X, np.clip(targets, -CLIP, CLIP), weights)]
    found = [shares / shares.sum() for shares in found if shares.sum() > 0]
    if X.shape[1] == 1 or not found:
        return Relevance(explained=explained)
    if len(found) == 2:
        found.append(np.mean(found, axis=0))
    families = [[shares] for shares in found]
    families.append([shares for s in (found[0], found[-1]) for shares in _leading(s)])
    restarts = [[shares] for shares in _drawn(found[-1])]

    def roots(families: list[list[np.ndarray]]) -> tuple[list[np.ndarray], ...]:
        return tuple([_root(shares, kept) for shares in family] for family in families)

    return Relevance(roots(families), roots(restarts), explained)


def _leading(shares: np.ndarray) -> Iterator[np.ndarray]:
    """Equal shares of the few features of largest share, for several numbers of them.

    The smaller shares are mostly chance, and together they hide the rest.
    """
    ranked = np.argsort(-shares, kind="stable")
    for count in LEADING:
        if count < len(shares):
            equal = np.zeros(len(shares))
            equal[ranked[:count]] = 1 / count
            yield equal


def _drawn(shares: np.ndarray) -> Iterator[np.ndarray]:
    """Equal shares of a few random features, from a fixed seed.

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
    """Standard scores of the columns that vary, and which these are."""
    mean = np.average(values, axis=0, weights=weights)
    spread = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    kept = spread > 0
    return (values - mean)[:, kept] / spread[kept], kept


def _root(shares: np.ndarray, kept: np.ndarray) -> np.ndarray:
    metric = np.ones(len(kept))
    metric[kept] = np.maximum(len(shares) * shares, LEAST)
    return np.sqrt(metric)


def _forest(
    X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """Importances of extremely randomised trees, and what they explain out of bag."""
    # Here, since it takes a twentieth of a second that an import of the package saves.
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
        # A row in the bags of all trees is predicted as zero, the mean of the targets.
        warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
        forest.fit(X, clipped if Y.shape[1] > 1 else clipped[:, 0], weights)
    gap = (Y - forest.oob_prediction_.reshape(Y.shape)) ** 2
    error = float(np.mean(np.average(gap, axis=0, weights=weights)))
    chance = CHANCE + CHANCE_OF_ROW / len(X) ** 0.5
    return forest.feature_importances_, max(1 - error - chance, 0.0)


def _moments(X: np.ndarray, Y: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Squared correlations of targets with features and products, above chance.

    Of independent numbers the largest squared correlation among m is about
    2 log(m) / n; (d + 1) d / 2 products and squares are compared.
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
        pairs[np.diag_indices(d)] /= 2**0.5
        total += np.sum(np.maximum(pairs**2 - 4 * np.log(d) / n, 0), axis=0)
    return total
