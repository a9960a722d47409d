"""Memory-mapped rows that travel to other processes as the name of their file."""

from dataclasses import dataclass
from mmap import mmap
from typing import Any, Self

import numpy as np
from numpy.lib.array_utils import byte_bounds

from .types import Array


@dataclass(frozen=True)
class MappedRows:
    """Rows of a mapped file, described so that any process can map them again.

    filename : str
    dtype : dtype
    shape, strides : tuples of two ints, strides in bytes
    begin, size : int, first byte and number of bytes of the file that hold these rows
    first : int, position of the first entry among these bytes
    """

    filename: str
    dtype: np.dtype
    shape: tuple[int, int]
    strides: tuple[int, int]
    begin: int
    size: int
    first: int

    @classmethod
    def of(cls, X: Array) -> Self | Array:
        """Describe X, or return X itself if it is not in a mapped file."""
        mapped = _file_behind(X)
        if mapped is None:
            return X
        low, high = byte_bounds(X)
        begin = mapped.offset + low - byte_bounds(mapped)[0]
        first = X.__array_interface__["data"][0] - low
        return cls(
            mapped.filename, X.dtype, X.shape, X.strides, begin, high - low, first
        )

    def open(self) -> np.ndarray:
        """Map the rows again."""
        file = np.memmap(self.filename, np.uint8, "r", self.begin, (self.size,))
        return np.ndarray(self.shape, self.dtype, file, self.first, self.strides)

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Copy some rows, and close the file."""
        return np.array(self.open()[rows])


@dataclass(frozen=True)
class MemoryMapReference:
    """Rows that are pickled as the name of their file, if they are in a mapped file.

    X : array (n, d), or MappedRows after unpickling
    """

    X: Array | MappedRows

    def __getstate__(self) -> dict[str, Array | MappedRows]:
        return {"X": MappedRows.of(self.X)}

    def rows(self) -> Array:
        """The rows as an array, mapped again if necessary."""
        return self.X.open() if isinstance(self.X, MappedRows) else self.X


def _file_behind(X: Array) -> Array | None:
    """The memmap that X is a view of, or None if X may differ from a file."""
    if not isinstance(X, np.ndarray) or X.size == 0:
        return None
    while X is not None and not isinstance(getattr(X, "base", None), mmap):
        X = getattr(X, "base", None)
    if not isinstance(X, np.memmap) or X.filename is None or X.mode == "c":
        return None
    return X
