"""Nearest rows: of new rows, of training rows among the others, and among earlier ones.

Distances are those of the inputs in the metric of a kernel. They are computed on the
host, by a k-d tree: a learned metric leaves few directions that matter, so that the
tree stays fast with many features.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .._arrays import Array, to_numpy
from ..kernels._recursion import slices_of

# Rows of one query of the tree.
QUERIED_ROWS = 1024


class NearestRows:
    """Search for the nearest rows of a table.

    inputs : array (n, d), in coordinates with Euclidean distances
    """

    def __init__(self, inputs: Array) -> None:
        from sklearn.neighbors import KDTree  # imported here: few fits need it

        self.inputs = np.ascontiguousarray(to_numpy(inputs))
        self._tree: Any = KDTree(self.inputs)

    def of_new(self, inputs: Array, k: int) -> np.ndarray:
        """The k nearest rows of new inputs (m, d): (m, k) of int, nearest first."""
        inputs = np.ascontiguousarray(to_numpy(inputs))
        parts = [
            self._tree.query(inputs[rows], k, return_distance=False)
            for rows in slices_of(len(inputs), QUERIED_ROWS)
        ]
        return np.concatenate(parts) if parts else np.empty((0, k), dtype=int)

    def of_own(self, rows: np.ndarray, k: int) -> np.ndarray:
        """The k nearest other rows of some rows of the table: (m, k) of int."""
        k = min(k, len(self.inputs) - 1)
        near = self.of_new(self.inputs[rows], k + 1)
        # The row itself, or if k + 1 others are equal to it, the last one.
        drop = near == rows[:, None]
        drop[~drop.any(axis=1), -1] = True
        return near[~drop].reshape(len(rows), k)


def earlier_neighbours(
    inputs: Array, k: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Iterate over the rows from place k on, with their k nearest earlier rows.

    The rows from `start` to 2 `start` are found among three times as many neighbours as
    needed of all rows before 2 `start`. If fewer than k of these are earlier, the
    neighbours are those before `start`.

    Yields
    ------
    rows : ndarray (m,) of int
    near : ndarray (m, k) of int
    """
    inputs = to_numpy(inputs)
    n, start = len(inputs), k
    while start < n:
        rows = np.arange(start, min(2 * start, n))
        many = min(3 * k, rows[-1] + 1)
        found = NearestRows(inputs[: rows[-1] + 1]).of_new(inputs[rows], many)
        earlier = found < rows[:, None]
        # Earlier rows first, each group by distance.
        order = np.argsort(~earlier, axis=1, kind="stable")[:, :k]
        near = np.take_along_axis(found, order, axis=1)
        few = earlier.sum(axis=1) < k
        if few.any():
            near[few] = NearestRows(inputs[:start]).of_new(inputs[rows[few]], k)
        yield rows, near
        start = rows[-1] + 1
