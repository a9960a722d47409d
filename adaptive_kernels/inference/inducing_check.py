"""Whether inducing points can represent what an exact fit of fewer rows finds.

The bound of the evidence charges the inducing points for what they cannot represent.
Where that is much, noise is the better model for the bound, although the exact fit of
fewer rows has found structure.
"""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .held_out_density import exact_held_out_density, held_out_density
from .inducing_points import InducingData
from .optimization import Solution
from .subsampling import subsample

# Factor by which the noise of the bound must exceed that of the exact fit before the
# two are compared.
NOISIER = 1.3
# Log density of a row left out by which the exact fit's kernel must be better.
CLOSE = 0.01
# Log density of a row left out from which what is lost is worth a warning.
LOST = 0.1


def unless_noise(
    data: InducingData, bound: Solution, exact: Solution, rows: int
) -> Solution:
    """The solution of the bound, unless it took for noise what an exact fit explains.

    The exact solution of fewer rows is then taken, at the noise of largest density of
    rows left out, if that density is larger. Where the exact fit itself predicts rows
    left out much better than either, a warning says so.

    data : InducingData
    bound, exact : Solution
    rows : int, of the exact fit
    """
    low, high = exact.point.alpha, bound.point.alpha
    if high < NOISIER * low:
        return bound
    noises = np.geomspace(low, high, 5).tolist()
    densities = held_out_density(data, exact.point, noises)
    best = int(np.argmax(densities))
    (reached,) = held_out_density(data, bound.point, [high])
    kept = densities[best] > reached + CLOSE
    sample = subsample(data, rows)
    lost = exact_held_out_density(sample, exact.point) - max(densities[best], reached)
    if lost > LOST:
        warnings.warn(
            f"n_inducing={data.n_inducing} points cannot represent the function: an "
            f"exact fit of {rows} rows predicts rows left out better, by {lost:.2g} in "
            "log density for each; raise n_inducing"
            + (". The kernel of the exact fit is kept." if kept else "."),
            ConvergenceWarning,
            stacklevel=6,
        )
    if not kept:
        return bound
    return replace(exact, point=replace(exact.point, alpha=noises[best]))
