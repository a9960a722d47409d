"""Check that numbers are small and large enough to be squared and multiplied."""

from math import isnan

from .namespaces import namespace
from .types import Array


def check_range(
    values: Array, name: str, *, power: int = 4, refuse_vanishing: bool = True
) -> None:
    """Raise ValueError if powers of `values` overflow, or if all of them underflow.

    So it does if one is NaN. An empty array passes.

    power : int, the highest power that is computed. It is 4 for a fit, which squares
        kernels of degree two.
    refuse_vanishing : bool, whether to raise the error if all powers underflow
    """
    if 0 in values.shape:
        return
    xp = namespace(values)
    # Without a copy: the rows may be a file.
    largest = max(float(xp.max(values)), -float(xp.min(values)))
    if isnan(largest):
        raise ValueError(f"{name} contains NaN.")
    # limit**power <= 1e300: a sum of 1e8 such powers is below 1.8e308, the largest
    # double. `//` keeps the exponent whole, for a limit that reads well in messages.
    limit = 10.0 ** (300 // power)
    if largest > limit:
        raise ValueError(
            f"{name} has values as large as {largest:.3g}, whose powers overflow: "
            f"choose units in which no value is larger than {limit:.0e}."
        )
    if refuse_vanishing and 0 < largest < 1 / limit:
        raise ValueError(
            f"{name} has no value larger than {largest:.3g}, whose powers vanish: "
            f"choose units in which values are larger than {1 / limit:.0e}."
        )
