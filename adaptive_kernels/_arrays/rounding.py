"""Values rounded to a grid, so that rounding errors do not change a choice."""

import numpy as np

from .namespaces import asarray_like, namespace, to_numpy
from .types import Array

# Grid of `round_columns`, relative to the spread of a column: far below what a kernel
# with a noise variance of 1e-5 resolves, and far above the rounding errors of a column
# of unit spread at an origin of 1e4.
GRID = 2.0**-20


def round_columns(x: Array) -> Array:
    """Round each column to multiples of `GRID` times its spread."""
    spread = np.std(to_numpy(x), axis=0)
    # Times the power of two nearest to the spread. It changes at sqrt(2) and 1/sqrt(2),
    # so that rounding errors in a spread near one do not change the grid.
    grid = GRID * 2.0 ** np.round(np.log2(np.where(spread > 0, spread, 1.0)))
    grid = asarray_like(grid, x)
    return namespace(x).round(x / grid) * grid
