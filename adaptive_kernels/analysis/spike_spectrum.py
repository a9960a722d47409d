"""Which powers of a learned projection one gradient step has added to the features."""

from copy import copy
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import linalg
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._arrays import ArrayLike, to_numpy
from ..estimators.one_step_features import OneStepSpikeFeatures
from ..kernels._expansion import expansion

# An outlier is beyond the edge by 5 %: at finite size the largest singular value of the
# bulk varies by less.
BEYOND_EDGE = 1.05
# A spike has most of its squared length in the span of the powers.
EXPLAINED = 0.5
# The mean shift is a spline with 20 knots in a unit of the shift: 5 s and 100 MB here.
_FARTHEST = 1e4


@dataclass(frozen=True)
class SpikeSpectrum:
    """Singular values of features after one gradient step, with labelled spikes.

    A singular value that exceeds the edge by more than 5 % is an outlier. Let g be the
    projection of the rows on the learned direction. An outlier is a spike if its left
    singular vector, over the rows, lies mostly in the span of g, g^2, ... g^degree.
    Other outliers come from noise in the gradient.

    Attributes
    ----------
    singular_values : ndarray of shape (min(n_samples, n_components),)
        Singular values of `transform(X)`, in descending order.
    initial_values : ndarray of shape (min(n_samples, n_components),)
        Singular values of the features before the step: the bulk.
    predicted_values : ndarray of shape (min(n_samples, n_components),)
        Singular values of the features before the step plus their mean shift, which is
        the effect of the step on a wide layer.
    edge : float
        The largest of `initial_values`.
    alignments : ndarray of shape (n_outliers, degree)
        For each outlier the squared cosine of its left singular vector with g^k, minus
        that of a random vector. With several projections g^k means the span of all
        products of k of them.
    explained : ndarray of shape (n_outliers,)
        Squared cosine with the span of all powers, minus that of a random vector.
    degrees : ndarray of shape (n_outliers,)
        The power with which an outlier is aligned most; 0 if it is not a spike.
    """

    singular_values: np.ndarray
    initial_values: np.ndarray
    predicted_values: np.ndarray
    edge: float
    alignments: np.ndarray
    explained: np.ndarray
    degrees: np.ndarray

    @property
    def n_spikes(self) -> int:
        """Number of outliers that are polynomials of the learned projection."""
        return int(np.sum(self.degrees > 0))


def spike_spectrum(
    estimator: OneStepSpikeFeatures | Pipeline, X: ArrayLike, *, degree: int = 3
) -> SpikeSpectrum:
    """Spectrum of features after one gradient step, with its spikes labelled.

    Use it to see which powers of the learned projection the features contain. It costs
    three singular value decompositions of a matrix (n_samples, n_components): from
    large tables pass a few thousand rows.

    Parameters
    ----------
    estimator : OneStepSpikeFeatures or Pipeline
        Fitted transformer, or a fitted pipeline whose first such step is used.
    X : array-like of shape (n_samples, n_features)
        Rows, not necessarily those of the fit.
    degree : int, default=3
        Highest power of the projection to look for, 5 at most.

    Returns
    -------
    SpikeSpectrum

    Raises
    ------
    TypeError
        If `estimator` is neither an OneStepSpikeFeatures nor a pipeline with one.
    ValueError
        If there are fewer than four rows per power, or `degree` is out of range.

    References
    ----------
    arXiv:2310.07891.

    Examples
    --------
    >>> from adaptive_kernels import OneStepSpikeFeatures, spike_spectrum
    >>> from adaptive_kernels.datasets import make_single_index
    >>> X, y = make_single_index(800, 100, random_state=0)
    >>> features = OneStepSpikeFeatures(600, gain=0.5, random_state=0).fit(X, y)
    >>> spectrum = spike_spectrum(features, X)
    >>> spectrum.degrees
    array([1, 2])
    """
    features, X = _find_step(estimator, X)
    components = features.spike_components(X, degree)
    powers = [to_numpy(component.inputs) for component in components]
    n_powers = sum(power.shape[1] for power in powers)
    if len(powers[0]) < 4 * n_powers:
        raise ValueError(
            f"{len(powers[0])} rows are too few to recognise {n_powers} products of "
            "projections: pass more rows or a lower degree."
        )
    before = copy(features)
    before.weights_ = features.initial_weights_
    initial, final = (
        to_numpy(f.transform(X)).astype(float) for f in (before, features)
    )
    vectors, values, _ = linalg.svd(final, full_matrices=False)
    initial_values = linalg.svdvals(initial)
    outliers = vectors[:, values > BEYOND_EDGE * initial_values[0]]
    alignments = np.array([_alignment(outliers, power) for power in powers]).T
    explained = _alignment(outliers, np.hstack(powers))
    best = 1 + np.argmax(alignments, axis=1)
    return SpikeSpectrum(
        singular_values=values,
        initial_values=initial_values,
        predicted_values=linalg.svdvals(initial + _mean_shift(features, components[0])),
        edge=float(initial_values[0]),
        alignments=alignments,
        explained=explained,
        degrees=np.where(explained > EXPLAINED, best, 0),
    )


def _find_step(estimator, X):
    """The fitted transformer, and its input computed by the steps before it."""
    steps = estimator if isinstance(estimator, Pipeline) else [estimator]
    for index, step in enumerate(steps):
        if isinstance(step, OneStepSpikeFeatures):
            check_is_fitted(step)
            return step, estimator[:index].transform(X) if index else X
    raise TypeError(
        "estimator must be a fitted OneStepSpikeFeatures, or a pipeline with one as a "
        f"step (of a search its best_estimator_); got {type(estimator).__name__}."
    )


def _mean_shift(features, linear):
    """E[phi(z + s g alpha)] - c_0 for every row and neuron, over sqrt(n_components)."""
    projections, neurons = to_numpy(linear.inputs), to_numpy(linear.neurons)
    shift = features.gain_ * (projections @ neurons.T)
    shift *= np.sign(float(features.hermite_coefficients_[1]))
    reach = np.abs(shift).max()
    if reach > _FARTHEST:
        raise ValueError(
            f"X or gain is too large: the step shifts a neuron's input by {reach:.2g}, "
            f"and {_FARTHEST:.0e} is the limit. Pass rows like those of fit."
        )
    mean = expansion(features.activation).shifted_mean(reach)
    return mean(shift) / sqrt(features.n_components)


def _alignment(vectors, basis):
    """Squared cosines of unit columns with the span of `basis`, corrected for chance.

    (cosines - chance) / (1 - chance), with chance = rank / n for a random vector.
    """
    basis = linalg.orth(basis)
    chance = basis.shape[1] / len(basis)
    cosines = np.sum((basis.T @ vectors) ** 2, axis=0)
    return np.clip((cosines - chance) / (1 - chance), 0.0, None)
