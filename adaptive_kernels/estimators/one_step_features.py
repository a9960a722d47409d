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
    """Random features that one gradient step turns towards the target.

    Use it in a pipeline before `Ridge` or `LogisticRegression`, for tables of any
    length, if the target bends along one direction of many features. The fit reads the
    rows once, in blocks; time and memory grow with n_samples, not with its square.
    Search `gain` by cross-validation, 0 included, which gives plain random features.

    Parameters
    ----------
    n_components : int, default=500
        Number of neurons, which is the number of features.
    activation : str or callable, default="relu"
        Activation of the neurons. All learn the linear part of the target. "relu",
        "leaky_relu", "gelu" and "softplus" also learn even powers of the projection,
        "tanh", "erf" and "sin" odd powers, "elu" and "rbf" both, "identity" none. A
        vectorised function is allowed if it is not even.
    gain : float, default=0.5
        Size of the step, independent of the units of y. For uncorrelated features it is
        the standard deviation of the shift of a neuron's input, whose own variance is
        one. 0 takes no step; the largest is 1e7.
    gradient : {"rank_one", "exact"}, default="rank_one"
        "rank_one" takes the leading part of the gradient, its average over wide layers.
        It is faster and has less noise than "exact", the gradient itself.
    residual : {"target", "full"}, default="target"
        Quantity to correlate with the inputs. "target" takes the targets. "full" also
        subtracts the output of the initial network, as training does; it adds noise.
    precondition : float, default=None
        If given, the gradient is multiplied by (X'X/n + precondition I)^-1, for
        centred X of mean variance one: the direction becomes that of ridge regression.
        Try 0.1 for correlated features.
    target_type : {"auto", "continuous", "classes"}, default="auto"
        Type of y; classes are one-hot encoded. "auto" decides for each column: floats
        are continuous; bools, strings and integers with at most 20 distinct values are
        classes.
    device : None or "cuda", default=None
        "cuda" computes on a GPU with CuPy and returns NumPy; None computes where X is.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights.

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
        Square root of the mean variance of the columns. One number divides all columns:
        they are not standardised.
    direction_ : array of shape (n_features_in_,) or (n_features_in_, n_outputs)
        Direction that the neurons have turned to, of unit (Frobenius) norm. One column
        for each output, or for each class if there are more than two.
    gain_ : float
        `gain`, or 0 if the gradient is zero.
    step_size_ : float
        Learning rate that corresponds to `gain_`, for targets of unit variance and
        readout weights of variance 1 / n_components.
    hermite_coefficients_ : array of shape (6,)
        Coefficients c_k of the activation in probabilists' Hermite polynomials.
    spike_coefficients_ : array of shape (5,)
        Size of each power: c_k s^k for k = 1 ... 5, with s = `gain_` and the sign of
        c_1.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has string names for all columns.

    See Also
    --------
    adaptive_kernels.spike_spectrum : Which spikes the features have.
    adaptive_kernels.theory.ridge_asymptotics : Error that ridge regression reaches.
    adaptive_kernels.theory.visible_gain : The gain at which a spike appears.

    Notes
    -----
    A layer of random neurons phi(w.x) takes one large gradient step on the squared loss
    of the targets. All neurons turn towards one direction (one for each output). The
    features then contain polynomials of the projection on it: the larger the step, the
    higher their degree.

    The features are [phi(W x) - c_0] / sqrt(n_components), where c_0 is the mean of the
    activation over standard normal inputs. With this scale the penalty `alpha` of
    `Ridge` is that of the theory.

    The features depend on the targets of the training rows. A linear model on the same
    rows predicts best, but its training score and the leave-one-out score of `RidgeCV`
    are optimistic: choose parameters by cross-validation of the whole pipeline. The
    theory describes a step on one sample and ridge regression on another.

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
    >>> for gain in (0.0, 1.0):
    ...     features = OneStepSpikeFeatures(300, gain=gain, random_state=0)
    ...     model = make_pipeline(features, Ridge(0.1)).fit(X[:500], y[:500])
    ...     print(gain, round(model.score(X[500:], y[500:]), 2))
    0.0 0.54
    1.0 0.87
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "activation": [str, callable],
        # Its fifth power has to be finite in single precision.
        "gain": [Interval(Real, 0, 1e7, closed="both")],
        "gradient": [StrOptions({"rank_one", "exact"})],
        "residual": [StrOptions({"target", "full"})],
        "precondition": [Interval(Real, 0, 1e50, closed="right"), None],
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
            A row of weight w counts as w equal rows.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a parameter or the data is invalid. The message names it.

        Warns
        -----
        UserWarning
            If the gradient is zero, so that the features stay random.
        """
        with unchanged_on_failure(self):
            check_device(self.device)
            found = expansion(self.activation)
            if self.gradient == "exact" and found.jumps:
                raise ValueError(
                    "gradient='exact' needs a continuous activation, and this one "
                    "jumps: take gradient='rank_one' or another activation."
                )
            self._fit(*self._validate(X, y, sample_weight), found)
        return self

    def transform(self, X: ArrayLike) -> Array:
        """Features of the neurons after the step, computed in blocks of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs, in the units of the training rows.

        Returns
        -------
        features : array of shape (n_samples, n_components)
            Features, in single precision if X is.
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
        """Project rows on the learned direction: the g of the theory.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs, in the units of the training rows.

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_outputs)
            Inner products of (x - `mean_`) / `scale_` with `direction_`.
        """
        projections = self._projections(self._checked(X, "project"))
        return projections[:, 0] if self._single_output else projections

    def spike_components(self, X: ArrayLike, degree: int = 3) -> list[SpikeComponent]:
        """The low-rank part that the step adds to the features, term by term.

        To leading order in the step, `transform(X)` is the sum of the features of
        `initial_weights_`, of these terms, and of a rest without large singular values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            New inputs, in the units of the training rows.
        degree : int, default=3
            Number of terms, at most 5.

        Returns
        -------
        components : list of SpikeComponent
            The terms of power 1 ... degree of the projection.
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
        """Fit y on new rows by a polynomial of the projection on `direction_`.

        The fit is least squares in the Hermite polynomials He_0 ... He_degree of the
        standardised projection. For standard normal inputs its coefficients tend to
        c_k rho^k, where c_k are those of the target, and rho is the cosine between
        `direction_` and the true direction.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that were not used in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Their targets. Two classes count as 0 and 1.
        degree : int, default=3
            Degree of the polynomial.

        Returns
        -------
        polynomial : TargetPolynomial, or list of TargetPolynomial
            Coefficients with standard errors; a list, with one for each column of
            `direction_`, if it has several.

        Raises
        ------
        ValueError
            If more than a tenth of the rows were used in `fit`: the direction has
            fitted their noise, and the result would be biased. Rows are compared by
            their values, so a table of few distinct rows is refused too. Also if there
            are too few rows, or if the projection does not vary.
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
                f"{seen:.0%} of these rows are among those of fit. The direction has "
                "fitted their noise, so pass rows that fit has not seen. (Rows are "
                "compared by their values.)"
            )
        found = [
            fit_target_polynomial(g, y, degree)
            for g, y in zip(projections.T, Y.T, strict=True)
        ]
        return found[0] if self._single_output else found
