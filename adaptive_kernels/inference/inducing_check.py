"""Whether inducing points can represent what an exact fit of fewer rows finds.

The evidence bound has a penalty for variance that the inducing points cannot represent.
If the penalty is large, the bound prefers a larger noise variance, even where an exact
fit on fewer rows finds structure.
"""

import warnings
from dataclasses import replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .held_out_density import exact_held_out_density, held_out_density
from .inducing_points import InducingData
from .optimization import Solution
from .subsampling import subsample

# The two are compared if the bound's noise exceeds the exact fit's by this factor. By
# chance a noise estimate from 1200 rows varies by sqrt(2 / 1200) = 4 %.
NOISE_RATIO = 1.3
# Gain in mean held-out log density from which the exact fit's kernel is used: about the
# standard error of a mean over 4000 rows, 0.7 / sqrt(4000).
LEAST_GAIN = 0.01
# Loss in mean held-out log density from which a warning is given: that of errors which
# are larger by 10 %.
WARN_LOSS = 0.1


def bound_or_exact(
    data: InducingData, bound: Solution, exact: Solution, rows: int
) -> Solution:
    """Choose between the bound's solution and that of an exact fit on fewer rows.

    The bound's is returned at once if its noise is not much larger. Otherwise their
    mean leave-one-out log densities through the inducing points are compared. The exact
    fit's kernel is used, at the best noise between both, if its density is higher by
    more than `LEAST_GAIN`. A warning is given if the exact posterior predicts its own
    rows, each left out, much better than both solutions do.

    data : InducingData
    bound : Solution, maximum of the bound on all rows
    exact : Solution, maximum of the exact evidence on fewer rows
    rows : int, number of rows of the exact fit
    """
    exact_noise, bound_noise = exact.point.alpha, bound.point.alpha
    if bound_noise < NOISE_RATIO * exact_noise:
        return bound
    noises = np.geomspace(exact_noise, bound_noise, 5).tolist()
    densities = held_out_density(data, exact.point, noises)
    best = int(np.argmax(densities))
    (bound_density,) = held_out_density(data, bound.point, [bound_noise])
    use_exact = densities[best] > bound_density + LEAST_GAIN
    # Leave-one-out under the exact posterior, without inducing points.
    exact_density = exact_held_out_density(subsample(data, rows), exact.point)
    loss = exact_density - max(densities[best], bound_density)
    if loss > WARN_LOSS:
        warnings.warn(
            f"n_inducing={data.n_inducing} points cannot represent the function: an "
            f"exact fit of {rows} rows predicts left-out rows better, by {loss:.2g} in "
            "log density per row. Raise n_inducing."
            + (" The kernel of the exact fit is kept." if use_exact else ""),
            ConvergenceWarning,
            stacklevel=6,
        )
    if not use_exact:
        return bound
    return replace(exact, point=replace(exact.point, alpha=noises[best]))
