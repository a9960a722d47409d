"""Warnings of fits that ended early or took structure for noise."""

import warnings

from sklearn.exceptions import ConvergenceWarning

from . import subsampling
from .evidence import Data
from .evidence_problem import EvidenceProblem
from .moments import target_variance
from .optimization import Solution
from .relevance import measure_relevance

# Share of what a forest explains that a fit must explain.
LEAST_EXPLAINED = 0.5


def warn_unless_converged(solution: Solution, tol: float) -> None:
    """Warn with the residual and what to do about it."""
    if not solution.converged:
        warnings.warn(
            f"The evidence search stopped after {solution.n_iter} iterations at a "
            f"gradient of {solution.residual:.2g} nats, above tol={tol:.2g}. "
            "Raise max_iter or tol, or raise width: a small width with a full "
            "covariance has many nearly flat directions.",
            ConvergenceWarning,
            stacklevel=3,
        )


def noise_share(solution: Solution, data: Data) -> float:
    """Share of the targets' variance that a solution takes for noise."""
    return solution.point.alpha / target_variance(data)


def warn_if_missed(share: float, explained: float) -> None:
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


# Share of noise from which a fit is compared with a forest.
MUCH_NOISE = 0.3


def look_for_structure(
    problem: EvidenceProblem, share: float, explained: float | None = None
) -> None:
    """Warn if a fit has taken for noise what a forest sees.

    share : float, of the variance that was taken for noise
    explained : float, as in `Relevance`; None grows a forest if the fit explains little
    """
    if not problem.bounds or share < MUCH_NOISE:
        return
    if explained is None:
        rows = problem.of_sample(subsampling.RELEVANCE_ROWS).data
        explained = measure_relevance(rows).explained
    warn_if_missed(share, explained)
