"""The `compare` command: adaptive kernels against familiar regressors."""

from ._run import compare
from ._table import InputError

__all__ = ["InputError", "compare"]
