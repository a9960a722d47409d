"""Maximise the evidence: explore starting points, follow paths of widths, polish.

A start shows best at a small width, where adaptation costs next to nothing: there
several deterministic starts are explored, and the best is followed to larger widths. A
network of infinite width does not adapt, and what is found from there is kept where it
is better. Beyond `SUBSAMPLE` rows all this sees a fixed random subsample; larger ones
follow, and only the last run of the optimizer sees all rows.
"""

import warnings
from dataclasses import dataclass, field, replace
from math import inf, isfinite, isinf, log

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ._array import LinAlgError, index_like
from ._starts import SMALL_NOISE, natural_start, natural_starts
from .theory.ascent import Solution, climb, target_variance
from .theory.inducing import InducingData, exact_held_out_density, held_out_density
from .theory.variational import regularized_evidence

# Rows that starts are explored on, and the factor to the next larger sample.
SUBSAMPLE, GROWTH = 400, 3
# Iterations from each start, and how many starts get the second half of them.
EXPLORE, FINALISTS = 20, 2
# Objective or log density per observation by which another choice must be better.
CLOSE = 0.01
# The same where it must beat the isotropic start: less is gained by chance, too.
CLEARLY = 0.05
# The same far below the widths that are asked for, where labels are overfitted.
BEYOND_CHANCE = 0.15
# Width at which starts are explored, or a tenth of the smallest that is asked for.
FREE_WIDTH = 0.1
# Factor from one width to the next where none is asked for between.
STEP = 10.0
# Objective in nats by which a solution from above must beat one from below: what is
# left of the way at the tolerance of the optimizer.
BETTER = 0.5
# Objective per observation that adaptation gains where it has found something.
FOUND = 0.02
# Factor by which the noise of inducing points must exceed an exact fit's to be doubted.
NOISIER = 1.3
# Log density of a row left out from which such a doubt is worth a warning.
LOST = 0.1
# Share of what a forest explains that a fit must explain.
LEAST_EXPLAINED = 0.5


@dataclass
class WidthPath:
    """Solutions of one covariance type along widths, for the same rows.

    isotropic : Solution, at infinite width
    observations : float, number of observations that the solutions are for
    explained : float, as in `Relevance`
    free_width : float, at which starts have been explored
    free : Solution or None, there, from the start that explored best; None where that
        was the isotropic solution
    family : int, which start that was
    points : dict, finite width -> Solution
    """

    isotropic: Solution
    observations: float
    explained: float = 0.0
    free_width: float = FREE_WIDTH
    free: Solution | None = None
    family: int = 0
    points: dict = field(default_factory=dict)

    def share(self, solution):
        """What a solution gains over the isotropic one, per observation."""
        return (solution.value - self.isotropic.value) / self.observations

    def gain(self):
        """What adaptation gains at the smallest width, per observation."""
        return self.share(self.points[min(self.points)]) if self.points else -inf

    def found(self):
        """Whether adaptation has found something."""
        return self.gain() > FOUND


def start_path(
    data,
    search,
    relevant,
    width,
    covariance_type,
    *,
    family=None,
    free_width=None,
    isotropic=None,
):
    """A path without points: the isotropic solution, and the best of all starts.

    Starts are explored at a tenth of the width, and again at `FREE_WIDTH` where none
    has won; from more places where the best explains less than a forest.

    width : float, the smallest that will be asked for
    family : index of the start that won on other rows, or None to explore all
    free_width : float, at which it won
    isotropic : Solution, where it is known
    """
    sample = subsample(data)
    isotropic = isotropic or tune_isotropic(sample, search)
    free_width = free_width or min(width, max(FREE_WIDTH, width / STEP))
    path = WidthPath(isotropic, sample.observations(), relevant.explained, free_width)
    if family == 0:
        return path
    families = _families(isotropic, sample, search, relevant)
    kind = _kind(path.free_width, covariance_type)
    if family is not None:
        everything = [*families, *_restarts(sample, search, relevant)]
        if family < len(everything):
            _, path.free = explore(sample, search, [everything[family]], **kind)
            path.family = family
            return path
    winner, free = explore(sample, search, families, margin=CLEARLY, **kind)
    missed = 1 - noise_share(free, sample) < relevant.explained
    if missed or (winner == 0 and path.free_width > FREE_WIDTH):
        path.free_width = min(width, FREE_WIDTH)
        kind = _kind(path.free_width, covariance_type)
        if missed:
            families = [*families, *_restarts(sample, search, relevant)]
        margin = CLEARLY if missed else BEYOND_CHANCE
        winner, free = explore(sample, search, families, margin=margin, **kind)
    if winner > 0:
        path.family, path.free = winner, free
    return path


def _families(isotropic, sample, search, relevant):
    """Families of starting points, in fixed order."""
    return [
        [isotropic.point],
        [natural_start(sample, search, SMALL_NOISE)],
        *_metric_families(relevant.families, sample, search),
        *([point] for point in search.starts),
    ]


def _restarts(sample, search, relevant):
    """Further families, which follow the others."""
    return _metric_families(relevant.restarts, sample, search)


def _metric_families(families, sample, search):
    return [
        [point for root in roots for point in natural_starts(sample, search, root)]
        for roots in families
    ]


def explore(sample, search, families, *, margin=CLOSE, **kind):
    """Climb a little from the best point of each family: index of the best, and it.

    Half-way the first and the best `FINALISTS` go on. The first is preferred unless
    another one is better by a margin for each observation.
    """
    half = EXPLORE // 2
    trials = {}
    for i, family in enumerate(families):
        start = _best_point(sample, family, kind["width"])
        trials[i] = climb(sample, search, start, max_iter=half, **kind)
    best = sorted(trials, key=lambda i: trials[i].value, reverse=True)[:FINALISTS]
    for i in {0, *best}:
        if trials[i].n_iter == half:
            # Curvature from so far away would mislead.
            start = replace(trials[i], curvature=None)
            trials[i] = _further(sample, search, start, max_iter=half, **kind)
    winner = max(trials, key=lambda i: trials[i].value)
    gain = trials[winner].value - trials[0].value
    winner = winner if gain > margin * sample.observations() else 0
    return winner, trials[winner]


def _best_point(sample, points, width):
    """The point of largest objective."""
    if len(points) == 1:
        return points[0]
    return max(points, key=lambda point: _objective(sample, point, width))


def _objective(sample, point, width):
    """The objective, or minus infinity where it cannot be evaluated."""
    try:
        value = regularized_evidence(sample, point, width)
    except LinAlgError:
        return -inf
    return value if isfinite(value) else -inf


def extend_path(data, search, path, widths, covariance_type, *, known=None):
    """Add the solutions at finite widths to a path.

    Upwards from the start that explored best, each from the one below; then downwards
    from infinite width, as long as that is better. A covariance of another type starts
    from `known`, the solutions of the first type.
    """
    missing = sorted(w for w in widths if not isinf(w) and w not in path.points)
    if known is not None:
        for width in missing:
            path.points[width] = go_on(
                data, search, nearest(width, known), **_kind(width, covariance_type)
            )
        return
    if path.free is not None:
        for width in missing:
            path.points[width] = _from_below(data, search, path, width, covariance_type)
    for width in reversed(missing):
        above = [w for w in path.points if w > width]
        start = path.points[min(above)] if above else path.isotropic
        trial = go_on(data, search, start, **_kind(width, covariance_type))
        if width in path.points and trial.value <= path.points[width].value + BETTER:
            break
        path.points[width] = trial


def _from_below(data, search, path, width, covariance_type):
    below = [w for w in path.points if w < width]
    solution = path.points[max(below)] if below else path.free
    reached = max(below, default=path.free_width)
    while STEP * reached < width:
        reached *= STEP
        solution = go_on(
            data, search, solution, max_iter=EXPLORE, **_kind(reached, covariance_type)
        )
    return go_on(data, search, solution, **_kind(width, covariance_type))


def _kind(width, covariance_type):
    return {"width": width, "covariance_type": covariance_type}


def nearest(width, points):
    """The solution at the width nearest on a logarithmic scale."""
    if isinf(width):
        return points[max(points)]
    return points[min(points, key=lambda known: abs(log(known / width)))]


def best_solution(data, solutions, width):
    """The solution for other rows whose point is best for a sample of these."""
    sample = subsample(data, GROWTH * SUBSAMPLE)
    return max(solutions, key=lambda s: _objective(sample, s.point, width))


def tune_isotropic(data, search):
    """Variances and noise by evidence, without adaptation: the NNGP."""
    kind = _kind(inf, None)
    if not search.bounds:
        return climb(data, search, search.template, **kind)
    sample = subsample(data)
    families = [natural_starts(sample, search), *([p] for p in search.starts)]
    if len(families) == 1:
        best = climb(sample, search, _best_point(sample, families[0], inf), **kind)
    else:
        _, best = explore(sample, search, families, **kind)
        if best.n_iter == EXPLORE:
            best = _further(sample, search, best, **kind)
    return _grown(data, search, best, **kind)


def tune_covariance(data, search, relevant, *, width, covariance_type):
    """Variances, noise and weight covariance together, at the given width."""
    sample = subsample(data)
    path = start_path(sample, search, relevant, width, covariance_type)
    extend_path(sample, search, path, [width], covariance_type)
    best = path.points[width]
    return _grown(data, search, best, **_kind(width, covariance_type))


def _grown(data, search, best, **kind):
    """A solution on the subsample followed to one on all rows.

    Between the two come samples three times as large each: where they end the next
    run has little left to do, and a row costs the more the more there are. With
    inducing points there is one such sample, since an exact fit of more costs more
    than the bound.
    """
    if subsample(data) is data:
        return best
    sparse = isinstance(data, InducingData)
    rows, size = SUBSAMPLE, GROWTH * SUBSAMPLE
    while size < data.X.shape[0] and not (sparse and rows > SUBSAMPLE):
        best = _further(subsample(data, size), search, best, **kind)
        rows, size = size, GROWTH * size
    last = _further(data, search, best, **kind)
    return _unless_noise(data, last, best, rows) if sparse else last


def _unless_noise(data, bound, exact, rows):
    """The solution of the bound, unless it took for noise what an exact fit explains.

    The bound charges the inducing points for what they cannot represent, up to a point
    where noise is the better model. The exact solution of fewer rows is then taken, at
    the noise of largest density of rows left out, if that density is larger too. Where
    the exact fit itself predicts rows left out much better than either, a warning says
    so.
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


def _further(data, search, solution, **kind):
    """A climb from a solution on other rows; iterations are counted together."""
    last = go_on(data, search, solution, **kind)
    return replace(last, n_iter=last.n_iter + solution.n_iter)


def go_on(data, search, solution, **kind):
    """A climb that begins with what another one has found and learned."""
    return climb(data, search, solution.point, curvature=solution.curvature, **kind)


def subsample(data, size=SUBSAMPLE):
    """At most `size` random rows, always the same."""
    n = data.X.shape[0]
    if n <= size:
        return data
    return data.take(index_like(random_rows(n, size), data.X))


def random_rows(n, size):
    """At most `size` ascending places of n, at random but always the same."""
    return np.sort(np.random.RandomState(0).permutation(n)[:size])


def warn_unless_converged(solution, search):
    """Warn with the residual and what to do about it."""
    if not solution.converged:
        warnings.warn(
            f"The evidence search stopped after {solution.n_iter} iterations at a "
            f"gradient of {solution.residual:.2g} nats, above tol={search.tol:.2g}. "
            "Raise max_iter or tol, or raise width: a small width with a full "
            "covariance has many nearly flat directions.",
            ConvergenceWarning,
            stacklevel=3,
        )


def noise_share(solution, data):
    """Share of the targets' variance that a solution takes for noise."""
    return solution.point.alpha / target_variance(data)


def warn_if_missed(share, explained):
    """Warn where a forest explains much of what has been taken for noise.

    share : float, of the variance that is taken for noise
    explained : float, as in `Relevance`
    """
    if explained > 0 and 1 - share < LEAST_EXPLAINED * explained:
        warnings.warn(
            f"The fit takes {min(share, 1):.0%} of y's variance for noise, but a small "
            f"forest predicts at least {explained:.1%} of it on rows left out, so that "
            "structure has been missed: raise n_restarts_optimizer, use the search of "
            "kernels, covariance types and widths, or take boosted trees, since the "
            "function may be too rough for this kernel.",
            ConvergenceWarning,
            stacklevel=3,
        )
