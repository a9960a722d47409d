"""The `compare` command: adaptive kernels against familiar regressors."""

from ._messages import InputError
from ._run import compare

__all__ = ["InputError", "compare"]
