"""Warnings: the optimizer stopped early, or the fit took structure for noise."""

import warnings

from sklearn.exceptions import ConvergenceWarning

from . import subsampling
from .evidence import Data
from .evidence_problem import EvidenceProblem
from .moments import target_variance
from .optimization import Solution
from .relevance import measure_relevance

# A fit must explain this share of what a forest explains, or a warning is given.
LEAST_EXPLAINED = 0.5
# Share of noise from which a fit is compared with a forest, which takes about a second:
# a fit with less noise explains most of the targets by itself.
MUCH_NOISE = 0.3


def warn_unless_converged(solution: Solution, tol: float) -> None:
    """Warn if the optimizer stopped early, with its gradient and advice."""
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
    """Noise variance of a solution as a share of the targets' variance."""
    return solution.point.alpha / target_variance(data)


def warn_if_missed(share: float, explained: float) -> None:
    """Warn if a fit explains much less of the targets than a forest does.

    share : float, share of the targets' variance that the fit takes for noise
    explained : float, share of it that a forest predicts out of bag
    """
    if explained > 0 and 1 - share < LEAST_EXPLAINED * explained:
        warnings.warn(
            f"The fit takes {min(share, 1):.0%} of y's variance for noise, but a small "
            f"forest predicts at least {explained:.1%} of it on left-out rows: "
            "structure has been missed. Raise n_restarts_optimizer, or use the search "
            "over kernels, covariance types and widths. If the function is too rough "
            "for these kernels, use boosted trees.",
            ConvergenceWarning,
            stacklevel=3,
        )


def look_for_structure(
    problem: EvidenceProblem, share: float, explained: float | None = None
) -> None:
    """Warn if a forest predicts much of what a fit takes for noise.

    share : float, share of the targets' variance that the fit takes for noise
    explained : float, share of it that a forest predicts out of bag; None grows a
        forest if the fit takes much for noise
    """
    # Without bounds nothing was tuned: the noise is the user's choice.
    if not problem.bounds or share < MUCH_NOISE:
        return
    if explained is None:
        rows = problem.of_sample(subsampling.RELEVANCE_ROWS).data
        explained = measure_relevance(rows).explained
    warn_if_missed(share, explained)
