"""Choice of the inducing points, and the data of a fit through them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Self, cast

import numpy as np

from .._arrays import (
    Array,
    index_like,
    namespace,
    round_columns,
    rows_per_block,
    to_numpy,
)
from ..kernels._recursion import (
    apply_metric_sqrt,
    centered,
    cross_matrices,
    features,
    slices_of,
    variances,
)
from .collapsed_bound import JITTER, Basis, RegularizedBound, SufficientStatistics
from .evidence import Data, Hyperparameters

# Smallest 1 - h for a left-out row of leverage h: rounding errors of h could make the
# difference zero or negative.
LEAST_REST = 1e-12


@dataclass(frozen=True)
class InducingData(Data):
    """Rows to learn from, some of which are the inducing points.

    n_inducing : int
    index : ndarray (m,) of int, the inducing points among the rows; None until chosen
    statistics : callable, (inducing points (m, d), point) -> `SufficientStatistics`
        over all training rows; None if the rows here are all training rows
    """

    n_inducing: int = 0
    index: np.ndarray | None = None
    statistics: Callable[[Array, Hyperparameters], SufficientStatistics] | None = None

    def with_inducing_points(self, point: Hyperparameters) -> Self:
        """The same data with inducing points chosen for the kernel of a point."""
        index = inducing_rows(self.X, point, self.n_inducing)
        return replace(self, index=index)

    def inducing_subset(self) -> Data:
        """The inducing points, with their targets, as plain data."""
        return self.take(self.index)

    def take(self, rows: Array) -> Data:
        """The given rows as plain data."""
        return super().take(index_like(rows, self.X))

    def inducing(self) -> Array:
        """Inducing points: (m, d)."""
        index = index_like(cast(np.ndarray, self.index), self.X)
        return namespace(self.X).take(self.X, index, axis=0)

    def sufficient_statistics(
        self, point: Hyperparameters
    ) -> tuple[Self, Basis, SufficientStatistics]:
        """Data with inducing points chosen, their basis, and sums over all rows."""
        data = self.with_inducing_points(point)
        inducing = data.inducing()
        basis = Basis.of(inducing, point)
        if self.statistics is None:
            return data, basis, SufficientStatistics.of(basis, data.own_blocks())
        return data, basis, self.statistics(inducing, point)

    def objective(self, template: Hyperparameters, **kind: Any) -> RegularizedBound:
        """The regularised bound of the evidence of these rows."""
        return RegularizedBound(self, template, **kind)

    def own_blocks(self) -> Iterator[tuple[Array, Array, Array | None]]:
        """Blocks (X, Y, weights or None) of the rows to learn from."""
        n, d = self.X.shape
        for rows in slices_of(
            n, rows_per_block(self.X, max(len(cast(np.ndarray, self.index)), d))
        ):
            weights = None if self.weights is None else self.weights[rows]
            yield self.X[rows, :], self.Y[rows, :], weights


def inducing_rows(X: Array, point: Hyperparameters, n_rows: int) -> np.ndarray:
    """Choose inducing points: the rows nearest to k-means centres in the metric.

    The points follow the density of the rows. Points that the others already explain
    are dropped. X is rounded first, so that rounding errors do not change the choice.
    On the diamonds table 300 points chosen so give an RMSE of 0.0940, pivoted Cholesky
    factorisation 0.0964, and random points 0.0997.

    Returns
    -------
    ndarray (m,) of int
        At most `n_rows`.
    """
    X = round_columns(centered(X, point.network.origin))
    point = replace(point, network=replace(point.network, origin=None))
    mapped = to_numpy(apply_metric_sqrt(X, point.metric_sqrt))
    # In the order of the rows: the start of k-means depends on it.
    distinct = np.sort(np.unique(mapped, axis=0, return_index=True)[1])
    if len(distinct) > n_rows:
        from sklearn.cluster import KMeans  # imported here: few fits need it

        mapped = mapped[distinct]
        found = KMeans(n_rows, n_init=1, max_iter=20, random_state=0).fit(mapped)
        # Two rows are equally far from the centre of a cluster of two, up to rounding.
        distances = found.transform(mapped)
        distances = np.round(distances / np.mean(distances), 6)
        distinct = distinct[np.unique(np.argmin(distances, axis=0))]
    rows = namespace(X).take(X, index_like(distinct, X), axis=0)
    # For all of them: this orders them, and drops those that the others explain.
    return distinct[spread_rows(rows, point, len(distinct))]


def spread_rows(X: Array, point: Hyperparameters, n_rows: int) -> np.ndarray:
    """Select up to `n_rows` rows by pivoted Cholesky factorisation of their kernel.

    Each step takes the row of largest variance given the rows before it. It stops early
    if no row has variance left: the rows taken explain all others. With n_rows = len(X)
    the function orders all rows and drops the redundant ones.

    Returns
    -------
    ndarray (m,) of int
        Numbers of the rows, in the order in which they were taken.
    """
    network = point.network
    F = to_numpy(features(X, point.network, point.metric_sqrt))
    v = variances(F, network)
    # Variance of each row given the rows taken: K_ii - sum_j factor_ji^2
    residual = np.array(v.kernel(network.is_ntk))
    # Less is rounding error of the kernel, see `JITTER`.
    floor = JITTER * max(float(np.mean(residual)), np.finfo(float).tiny)
    factor, index = np.empty((n_rows, len(F))), []
    for j in range(n_rows):
        best = int(np.argmax(residual))
        if j > 0 and residual[best] <= floor:
            break
        row = cast(
            Array, cross_matrices(F[best : best + 1], F, network)[int(network.is_ntk)]
        )[0]
        # factor_j = [K_best - sum_{l < j} factor_l,best factor_l] / sqrt(residual_best)
        row = row - factor[:j, best] @ factor[:j]
        factor[j] = row / max(residual[best], floor) ** 0.5
        residual -= factor[j] ** 2
        residual[best] = 0.0
        index.append(best)
    return np.array(index)
