"""Names of types in signatures."""

from typing import Any, TypeAlias

# An array of NumPy, CuPy or torch. The array API standard has no static type.
Array: TypeAlias = Any
# What scikit-learn takes for an array: an `Array`, a list, a table.
ArrayLike: TypeAlias = Any
