"""Rows for fits with inducing points: read in blocks, with a sample to learn from."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any, Self

import numpy as np
from joblib.parallel import get_active_backend
from sklearn.utils.parallel import Parallel, delayed

from .._arrays import (
    Array,
    as_float64,
    asarray_like,
    index_like,
    namespace,
    rows_per_block,
    threads_for_workers,
    to_device,
    to_numpy,
)
from .._arrays.mapped_files import MappedRows
from ..kernels._recursion import slices_of
from . import subsampling
from .collapsed_bound import Basis, SufficientStatistics
from .evidence import Hyperparameters
from .inducing_points import InducingData
from .memory_limits import check_inducing_memory
from .subsampling import random_rows, stratified_rows

# A task sums over at least so many blocks of rows, and so many rows for each inducing
# point. Its m x m sums then cost far more to compute than to send.
TASK_BLOCKS = 16
TASK_ROWS_PER_POINT = 8
# Largest number of tasks. Sums are added in the order of the rows, so all others may
# wait in memory for a slow one.
MAX_TASKS = 256


def is_approximate(n_rows: int, n_used: int | None) -> bool:
    """Whether a fit of some rows uses fewer inducing points, or fewer neighbours.

    n_used : int, number of inducing points or of neighbours; None for an exact fit
    """
    return n_used is not None and n_used < n_rows


@dataclass(frozen=True)
class RowStream:
    """Rows of a fit, left where they are and read block by block.

    Rows in a memory-mapped file are sent to another process as the name of the file.

    X : array (n, d) of any real type, in memory or in a mapped file
    Y : array (n, C), in double precision
    weights : array (n,) or None
    device : None or "cuda"
    """

    X: Array | MappedRows
    Y: Array
    weights: Array | None
    device: str | None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "X": MappedRows.of(self.X)}

    def take(self, rows: slice) -> tuple[Array, Array, Array | None]:
        """A block of X, Y and weights, in double precision and on the device."""
        X = as_float64(to_device(self.X[rows, :], self.device))
        weights = None if self.weights is None else self.weights[rows]
        return X, asarray_like(self.Y[rows, :], X), _like(weights, X)

    def sample(
        self, n_rows: int, strata: np.ndarray | None = None
    ) -> tuple[Array, Array, Array | None]:
        """At most `n_rows` random rows of positive weight, drawn with a fixed seed.

        strata : ndarray (n,) of int or None, classes that `stratified_rows` represents
        """
        n = self.X.shape[0]
        rows = np.arange(n)
        if self.weights is not None:
            rows = np.flatnonzero(to_numpy(self.weights) > 0)
        if len(rows) == n <= n_rows:
            return self.take(slice(0, n))  # a slice of all rows needs no copy
        if len(rows) > n_rows:
            if strata is None:
                rows = rows[random_rows(len(rows), n_rows)]
            else:
                rows = rows[stratified_rows(strata[rows], n_rows)]
        X = namespace(self.X).take(self.X, index_like(rows, self.X), axis=0)
        Y = namespace(self.Y).take(self.Y, index_like(rows, self.Y), axis=0)
        weights = self.weights
        if weights is not None:
            weights = namespace(weights).take(weights, index_like(rows, weights))
        # Convert only the drawn rows to double precision and move them to the device.
        return replace(self, X=X, Y=Y, weights=weights).take(slice(0, len(rows)))

    def blocks(self, n_columns: int) -> Iterator[tuple[Array, Array, Array | None]]:
        """Iterate over blocks of rows, small enough for `n_columns` entries per row."""
        for rows in slices_of(self.X.shape[0], self._block(n_columns)):
            yield self.take(rows)

    def _block(self, n_columns: int) -> int:
        """Rows of a block."""
        like = self.take(slice(0, 1))[0]
        return rows_per_block(like, max(n_columns, self.X.shape[1]))

    def parts(self, n_inducing: int) -> Iterator[Self]:
        """Split the rows into one part per task, whatever the number of workers."""
        n, block = self.X.shape[0], self._block(n_inducing)
        rows = max(TASK_ROWS_PER_POINT * n_inducing, -(-n // MAX_TASKS))
        for part in slices_of(n, block * max(TASK_BLOCKS, -(-rows // block))):
            weights = None if self.weights is None else self.weights[part]
            yield replace(self, X=self.X[part, :], Y=self.Y[part, :], weights=weights)

    def column_variances(self) -> np.ndarray:
        """Weighted variance of every column of X: ndarray (d,)."""
        origin = self.take(slice(0, 1))[0]
        size, total, squares = 0.0, 0.0, 0.0
        for X, _, weights in self.blocks(self.X.shape[1]):
            xp, gap = namespace(X), X - origin
            shares = xp.ones_like(X[:, 0]) if weights is None else weights
            size += float(xp.sum(shares))
            total = total + shares @ gap
            squares = squares + shares @ (gap * gap)
        mean = to_numpy(total) / size
        return np.maximum(to_numpy(squares) / size - mean**2, 0)


def _like(weights: Array | None, X: Array) -> Array | None:
    return None if weights is None else asarray_like(weights, X)


def inducing_data(
    rows: RowStream,
    n_inducing: int,
    mean: Array,
    scale: Array,
    strata: np.ndarray | None = None,
) -> InducingData:
    """A sample of the rows to learn from, and sums over all rows for the posterior.

    rows : RowStream, targets as given
    n_inducing : int
    mean, scale : arrays (C,), by which the targets are normalised
    strata : ndarray (n,) of int or None, classes that the sample must represent
    """
    check_inducing_memory(rows.take(slice(0, 1))[0], n_inducing)
    n_rows = max(
        subsampling.INDUCING_SAMPLE_ROWS,
        subsampling.INDUCING_SAMPLE_PER_POINT * n_inducing,
    )
    X, Y, weights = rows.sample(n_rows, strata)
    mean, scale = asarray_like(mean, X), asarray_like(scale, X)

    def statistics(inducing: Array, point: Hyperparameters) -> SufficientStatistics:
        parts = (
            replace(part, Y=(asarray_like(part.Y, mean) - mean) / scale)
            for part in rows.parts(inducing.shape[0])
        )
        return total_statistics(inducing, point, parts)

    everything = X.shape[0] == rows.X.shape[0]
    return InducingData(
        X,
        (Y - mean) / scale,
        weights,
        n_inducing=n_inducing,
        statistics=None if everything else statistics,
    )


def total_statistics(
    inducing: Array, point: Hyperparameters, parts: Iterable[Any]
) -> SufficientStatistics:
    """Sum the SufficientStatistics of parts of the rows, always in the same order.

    Each part is a task of joblib. On a device the parts are summed one after the other.
    """
    parts = (Part(inducing, point, rows) for rows in parts)
    if not isinstance(inducing, np.ndarray):
        return reduce(add, map(part_statistics, parts))
    generates = get_active_backend()[0].supports_return_generator
    run = Parallel(
        return_as="generator" if generates else "list", batch_size=1, max_nbytes=None
    )
    with threads_for_workers(None):
        return reduce(add, run(delayed(part_statistics)(part) for part in parts))


@dataclass(frozen=True)
class Part:
    """Input of one task, as one object.

    Dask would store separate arrays on one worker only, and lose them if that worker
    dies. The Cholesky factor is not sent: to compute it again in each task is cheaper.

    inducing : array (m, d)
    point : Hyperparameters
    rows : RowStream, the rows of this part
    """

    inducing: Array
    point: Hyperparameters
    rows: RowStream


def part_statistics(part: Part) -> SufficientStatistics:
    """Sum the SufficientStatistics of a part of the rows, block by block."""
    basis = Basis.of(part.inducing, part.point)
    return SufficientStatistics.of(basis, part.rows.blocks(part.inducing.shape[0]))
