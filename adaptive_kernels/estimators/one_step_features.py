"""Random features after one gradient step on the first layer."""

from collections.abc import Callable
from math import sqrt
from numbers import Integral, Real
from typing import Literal, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_scalar
from sklearn.utils.validation import (
    check_consistent_length,
)

from .._arrays import Array, ArrayLike, asarray_like, check_device, empty, to_numpy
from .._sklearn import Interval, StrOptions, fit_context
from ..kernels._expansion import expansion
from ..theory.one_step.gradient_step import SpikeComponent, monomials
from ..theory.one_step.target_polynomial import TargetPolynomial, fit_target_polynomial
from .base import unchanged_on_failure
from .gradient_step_model import N_COEFFICIENTS, GradientStepModel
from .target_columns import table_to_numpy


class OneStepSpikeFeatures(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, GradientStepModel
):
    """Random features of a two-layer network after one large gradient step.

    A layer of random neurons, phi(w.x), takes one gradient step on the squared loss of
    the targets. The step turns all neurons towards one direction (one for each
    output), and plants polynomials of the projection on it in the features: the
    larger the step, the higher their degree. A linear model on these features learns
    what it could not on random ones. Use it in a pipeline, before `Ridge` or
    `LogisticRegression`, with `gain` searched from 0 (plain random features) on.

    Parameters
    ----------
    n_components : int, default=500
        Number of neurons, which is the number of features.
    activation : str or callable, default="relu"
        "relu", "leaky_relu", "gelu" and "softplus" learn even powers of the direction
        beyond the linear one, "tanh", "erf" and "sin" odd ones, "elu" and "rbf" both,
        "identity" none; or any vectorised function that is not even.
    gain : float, default=0.5
        Size of the step: the standard deviation by which it shifts a neuron's input,
        which is itself of unit variance, for uncorrelated features. It does not depend
        on the units of y. 0 takes no step.
    gradient : {"rank_one", "exact"}, default="rank_one"
        "rank_one" takes the gradient's leading part, its average over wide layers:
        faster, and without the noise of the rest. "exact" takes the gradient.
    residual : {"target", "full"}, default="target"
        What the gradient correlates with the inputs: the targets, or the targets less
        the initial network's output, as in plain training, which adds noise.
    precondition : float, default=None
        If given, the gradient is multiplied by (X'X/n + precondition I)^-1, for
        centred X of mean variance one: the direction becomes that of ridge regression.
        Try 0.1 for correlated features.
    target_type : {"auto", "continuous", "classes"}, default="auto"
        Classes are one-hot encoded. "auto" takes floating y as continuous, and as
        classes bools, strings and integers with at most 20 distinct values. Decided
        for each column of y.
    device : None or "cuda", default=None
        "cuda" moves NumPy input to the GPU, computes there, and returns NumPy.
    random_state : int, RandomState or None, default=None
        Of the initial weights.

    Attributes
    ----------
    weights_ : array of shape (n_components, n_features_in_)
        Weights after the step, for rows (x - mean_) / scale_.
    initial_weights_ : array of shape (n_components, n_features_in_)
        Weights before it, of unit length.
    readout_ : array of shape (n_components,) or (n_components, n_outputs)
        Standard normal readout weights that the gradient was taken with.
    mean_ : array of shape (n_features_in_,)
        Mean of the rows.
    scale_ : float
        Root of the mean variance of the columns. One number for all: columns are not
        standardised.
    direction_ : array of shape (n_features_in_,) or (n_features_in_, n_outputs)
        What the neurons turned to, of unit (Frobenius) norm. One column for each
        output, or class if there are more than two.
    gain_ : float
        `gain`, or 0 where there was nothing to learn from.
    step_size_ : float
        Learning rate that `gain_` amounts to, for targets of unit variance and
        readout weights of variance 1 / n_components.
    hermite_coefficients_ : array of shape (6,)
        Coefficients c_k of the activation in probabilists' Hermite polynomials.
    spike_coefficients_ : array of shape (5,)
        c_k s^k for k = 1 ... 5, with the sign of c_1 in s: the size of each power.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names; only where X is a table whose columns all have string names.

    See Also
    --------
    adaptive_kernels.spike_spectrum : Which spikes the features have.
    adaptive_kernels.theory.ridge_asymptotics : What error ridge regression will reach.
    adaptive_kernels.theory.visible_gain : The gain at which a spike appears.

    Notes
    -----
    The features are [phi(W x) - c_0] / sqrt(n_components), the mean of the activation
    over standard normal inputs being subtracted. With them the penalty `alpha` of
    `Ridge` is that of the theory.

    The features have seen the targets of the rows they were fitted on. Fitting the
    linear model on the same rows predicts best, but its training score and the
    leave-one-out score of `RidgeCV` are optimistic: choose parameters by
    cross-validation of the whole pipeline. The theory describes a step on one sample
    and ridge regression on another.

    References
    ----------
    B. Moniri, D. Lee, H. Hassani, E. Dobriban, "A Theory of Non-Linear Feature Learning
    with One Gradient Step in Two-Layer Neural Networks", ICML 2024, arXiv:2310.07891.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from adaptive_kernels import OneStepSpikeFeatures
    >>> from adaptive_kernels.datasets import make_single_index
    >>> X, y = make_single_index(1000, 50, random_state=0)
    >>> scores = []
    >>> for gain in (0.0, 1.0):
    ...     features = OneStepSpikeFeatures(300, gain=gain, random_state=0)
    ...     model = make_pipeline(features, Ridge(0.1)).fit(X[:500], y[:500])
    ...     scores.append(model.score(X[500:], y[500:]))
    >>> scores[1] > scores[0] + 0.1
    True
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "activation": [str, callable],
        "gain": [Interval(Real, 0, None, closed="left")],
        "gradient": [StrOptions({"rank_one", "exact"})],
        "residual": [StrOptions({"target", "full"})],
        "precondition": [Interval(Real, 0, None, closed="neither"), None],
        "target_type": [StrOptions({"auto", "continuous", "classes"})],
        "device": [str, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        n_components: int = 500,
        *,
        activation: str | Callable[[Array], Array] = "relu",
        gain: float = 0.5,
        gradient: Literal["rank_one", "exact"] = "rank_one",
        residual: Literal["target", "full"] = "target",
        precondition: float | None = None,
        target_type: Literal["auto", "continuous", "classes"] = "auto",
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.activation = activation
        self.gain = gain
        self.gradient = gradient
        self.residual = residual
        self.precondition = precondition
        self.target_type = target_type
        self.device = device
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.array_api_support = True
        return tags

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Draw the neurons and take the step.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Inputs. They are centred and divided by one number; put a `StandardScaler`
            before this transformer to treat all features alike.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets or labels.
        sample_weight : array-like of shape (n_samples,), default=None
            A row of weight w counts like w repeated rows.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is unusable; the message names it.
        """
        with unchanged_on_failure(self):
            check_device(self.device)
            found = expansion(self.activation)
            if self.gradient == "exact" and found.jumps:
                raise ValueError(
                    "gradient='exact' needs a derivative, and the activation jumps: "
                    "take gradient='rank_one' or a continuous activation."
                )
            self._fit(*self._validate(X, y, sample_weight), found)
        return self

    def transform(self, X: ArrayLike) -> Array:
        """Features of the neurons after the step, computed in blocks of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        features : array of shape (n_samples, n_components)
            In single precision if X is.
        """
        X = self._checked(X, "transform")
        found = expansion(self.activation)
        host = isinstance(X, np.ndarray)
        out = empty(X, (X.shape[0], self.n_components))
        weights = asarray_like(self.weights_, self._rows.block(X, slice(0, 1))).T
        for rows in self._rows.slices(X):
            values = found.centred(self._rows.block(X, rows) @ weights)
            values *= 1 / sqrt(self.n_components)
            out[rows, :] = to_numpy(values) if host else values
        return out

    def project(self, X: ArrayLike) -> Array:
        """Projection of rows on what was learned, the g of the theory.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_outputs)
            (x - mean_) / scale_ on `direction_`.
        """
        projections = self._projections(self._checked(X, "project"))
        return projections[:, 0] if self._single_output else projections

    def spike_components(self, X: ArrayLike, degree: int = 3) -> list[SpikeComponent]:
        """The low-rank part that the step adds to the features, term by term.

        To leading order in the step, `transform(X)` is the features of
        `initial_weights_` plus the sum of these terms, plus a rest without large
        singular values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        degree : int, default=3
            Terms 1 ... degree are returned, 5 at most.

        Returns
        -------
        components : list of SpikeComponent
        """
        check_scalar(degree, "degree", Integral, min_val=1, max_val=N_COEFFICIENTS - 1)
        projections = self._projections(self._checked(X, "spike_components"))
        readout = asarray_like(self._readout(), projections)
        return [
            SpikeComponent(
                degree=k,
                coefficient=float(c) / sqrt(self.n_components),
                inputs=monomials(projections, k),
                neurons=monomials(readout, k, counted=True),
            )
            for k, c in enumerate(self.spike_coefficients_[:degree], start=1)
        ]

    def target_polynomial(
        self, X: ArrayLike, y: ArrayLike, *, degree: int = 3
    ) -> TargetPolynomial | list[TargetPolynomial]:
        """Read out, on new rows, the polynomial of the projection that y follows.

        Least squares of y in Hermite polynomials He_0 ... He_degree of the standardised
        projection on `direction_`. For standard normal inputs its coefficients tend to
        c_k rho^k, where c_k are the target's own and rho is the cosine between
        `direction_` and the true direction.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that were not used in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets. Two classes count as 0 and 1.
        degree : int, default=3

        Returns
        -------
        polynomial : TargetPolynomial, or list of TargetPolynomial
            A list where `direction_` has several columns, one for each.

        Raises
        ------
        ValueError
            If more than a tenth of the rows are among those of `fit`: the direction has
            followed their noise, and would find it again. Rows are told by their
            values, so tables of few distinct rows are refused too. Or if there are too
            few rows, or nothing was learned.
        """
        X = self._checked(X, "target_polynomial")
        Y = self._columns(to_numpy(table_to_numpy(y)))
        check_consistent_length(X, Y)
        projections = to_numpy(self._projections(X))
        check_scalar(degree, "degree", Integral, min_val=1)
        if len(Y) < 2 * (degree + 1):
            raise ValueError(
                f"{len(Y)} rows are too few for a polynomial of degree {degree}."
            )
        spread = projections.std(axis=0)
        if not np.all(spread > 1e-10 * np.abs(projections).max(axis=0)):
            raise ValueError("The projection on direction_ does not vary over X.")
        seen = self._seen.share_of(self._marks(X, Y))
        if seen > 0.1:
            raise ValueError(
                f"{seen:.0%} of these rows are among those of fit, where the direction "
                "has followed their noise: pass held-out rows. (Rows that repeat the "
                "values of others cannot be told apart.)"
            )
        found = [
            fit_target_polynomial(g, y, degree)
            for g, y in zip(projections.T, Y.T, strict=True)
        ]
        return found[0] if self._single_output else found
