"""One fit solved at all scalings, from standard to mean-field scaling."""

from dataclasses import dataclass
from math import isfinite

import numpy as np
from sklearn.base import clone

from .._arrays import Array, ArrayLike, namespace, to_numpy
from ..estimators.adaptive_regressor import AdaptiveKernelRegressor
from ..model_selection.grids import check_numbers


@dataclass(frozen=True)
class ScalingPath:
    """An adaptive kernel regressor, tuned once and solved at every scaling.

    Attributes
    ----------
    scalings : ndarray (k,)
        Scalings in ascending order.
    estimators : tuple of AdaptiveKernelRegressor
        A fitted estimator for each scaling.
    """

    scalings: np.ndarray
    estimators: tuple[AdaptiveKernelRegressor, ...]

    @property
    def scale(self) -> np.ndarray:
        """Scale of the kernel at each scaling: (k,), (k, C, C) or (k, depth)."""
        return np.stack([to_numpy(e.scale_) for e in self.estimators])

    @property
    def log_marginal_likelihood(self) -> np.ndarray:
        """Log evidence at each scaling: ndarray (k,)."""
        return np.array([e.log_marginal_likelihood_value_ for e in self.estimators])

    @property
    def effective_dof(self) -> np.ndarray:
        """Effective degrees of freedom at each scaling: ndarray (k,)."""
        return np.array([e.effective_dof_ for e in self.estimators])

    def predict(self, X: ArrayLike) -> Array:
        """Predictive mean at each scaling.

        If the scalings share an eigendecomposition, the kernel between X and the
        training rows is computed only once.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New rows.

        Returns
        -------
        array of shape (k, n_samples) or (k, n_samples, n_outputs)
        """
        first = self.estimators[0]
        if not all(e._shares_spectrum_with(first) for e in self.estimators):
            parts = [e.predict(X) for e in self.estimators]
            return namespace(parts[0]).stack(parts)
        weights = [e.kernel_.weight_variance for e in self.estimators]
        duals = [
            weight / weights[0] * e._posterior.statistics.dual
            for weight, e in zip(weights, self.estimators, strict=True)
        ]
        return first._predict_with(X, duals)


def scaling_path(
    estimator: AdaptiveKernelRegressor,
    X: ArrayLike,
    y: ArrayLike,
    *,
    scalings: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> ScalingPath:
    """Tune an adaptive kernel regressor once and solve it at every scaling.

    Use it to see how predictions change from standard to mean-field scaling. It costs
    one fit with tuning and one without for each other scaling. With an approximation
    that rescales the kernel, and a kernel of one hidden layer without bias whose
    activation is piecewise linear, all scalings share one eigendecomposition and cost
    little more than one.

    Parameters
    ----------
    estimator : AdaptiveKernelRegressor
        It is cloned, not changed. Its `scaling` is ignored.
    X : array-like of shape (n_samples, n_features)
        Training rows.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets.
    scalings : array-like of shape (k,), default=None
        Positive scalings. None means 16 of them, from 1, which is standard scaling, to
        the width, which is mean-field scaling.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows; a row of weight w counts like w repeated rows.

    Returns
    -------
    ScalingPath

    Raises
    ------
    TypeError
        If `estimator` is not an AdaptiveKernelRegressor.
    ValueError
        If a scaling is not positive, if `scalings` is None and the width is not a
        finite number above 1, or if the estimator uses inducing points.

    Notes
    -----
    A learned covariance starts from that of the next smaller scaling. So ascending
    scalings anneal from the Gaussian process to mean field.

    References
    ----------
    arXiv:2502.03210.

    Examples
    --------
    >>> from adaptive_kernels import AdaptiveKernelRegressor, scaling_path
    >>> from adaptive_kernels.datasets import make_ising
    >>> X, y = make_ising(40, 10, random_state=0)
    >>> model = AdaptiveKernelRegressor(width=50, approximation="rescaling")
    >>> path = scaling_path(model, X, y, scalings=[1, 50])
    >>> path.predict(X).shape
    (2, 40)
    """
    scalings = check_scalings(scalings, estimator)
    if estimator.n_inducing is not None:
        raise ValueError(
            "A path of scalings needs all training rows at once: set n_inducing=None."
        )
    first = clone(estimator).set_params(scaling=scalings[0])
    estimators = [first.fit(X, y, sample_weight=sample_weight)]
    for scaling in scalings[1:]:
        estimators.append(estimators[-1]._at_scaling(scaling))
    return ScalingPath(np.array(scalings), tuple(estimators))


def check_scalings(scalings, estimator):
    """Sorted list of checked scalings; for None 16 from 1 to the width."""
    if not isinstance(estimator, AdaptiveKernelRegressor):
        raise TypeError(
            f"estimator must be an AdaptiveKernelRegressor, got {estimator!r}: apply "
            "other steps of a pipeline to X first."
        )
    if scalings is None:
        width = estimator.width
        if not (isfinite(width) and width > 1):
            raise ValueError(
                f"scalings=None runs from 1 to the width, which is {width}: give "
                "scalings, or an estimator of finite width above 1."
            )
        scalings = np.geomspace(1, width, 16)
    scalings = np.asarray(scalings, dtype=float)
    if scalings.ndim != 1:
        raise ValueError(f"scalings must be a sequence of numbers, got {scalings!r}.")
    scalings = np.sort(scalings).tolist()
    check_numbers("scalings", scalings)
    return scalings
