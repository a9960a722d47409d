"""Rows of a table, centred and scaled, in blocks of bounded memory."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from .._arrays import (
    Array,
    as_float64,
    asarray_like,
    namespace,
    rows_per_block,
    to_device,
)
from ..kernels._recursion import slices_of


@dataclass(frozen=True)
class RowBlocks:
    """Settings to cut rows into blocks, and to centre and scale each on a device.

    Attributes
    ----------
    mean : array (d,)
        Subtracted from every row.
    scale : float
        Divides every row: one number for all columns.
    n_columns : int
        Numbers per row that a computation holds in memory. It sets the block size.
    device : None or "cuda"
    """

    mean: Array
    scale: float
    n_columns: int
    device: str | None

    @classmethod
    def of(cls, X, shares, *, n_columns, device):
        """Settings that give X mean zero and columns a mean variance of one.

        shares (n, 1) are weights of the rows that sum to one. The scale is zero if all
        rows are equal.
        """
        sizes = cls(0.0, 1.0, n_columns, device)

        def average(origin, function):
            total = 0.0
            for rows in sizes.slices(X):
                block = as_float64(to_device(X[rows, :], device)) - origin
                total = total + asarray_like(shares[rows, 0], block) @ function(block)
            return total

        # Sums of differences to the first row have no rounding in constant columns.
        first = as_float64(to_device(X[:1, :], device))[0, :]
        mean = first + average(first, lambda rows: rows)
        variance = average(mean, lambda rows: rows * rows)
        xp = namespace(mean)
        spread = sqrt(float(xp.mean(variance)))
        rounding = 10 * np.finfo(float).eps * float(xp.max(xp.abs(mean)))
        return cls(mean, spread if spread > rounding else 0.0, n_columns, device)

    def slices(self, X):
        """Slices of the rows of X, of bounded size."""
        like = to_device(X[:1, :], self.device)
        columns = max(self.n_columns, X.shape[1])
        return slices_of(X.shape[0], rows_per_block(like, columns))

    def block(self, X, rows):
        """Rows of X on the device, centred and scaled, in the type of X."""
        block = to_device(X[rows, :], self.device)
        return (block - asarray_like(self.mean, block)) / (self.scale or 1.0)

    def blocks(self, X, *others):
        """Iterate over blocks of X with the same rows of other arrays, in its type."""
        for rows in self.slices(X):
            block = self.block(X, rows)
            yield block, *(asarray_like(other[rows, :], block) for other in others)

    def project(self, X, directions):
        """Projections (n, q) of all rows on directions (d, q), in double precision."""
        directions = as_float64(directions)
        parts = [as_float64(block) @ directions for (block,) in self.blocks(X)]
        return namespace(directions).concat(parts)
