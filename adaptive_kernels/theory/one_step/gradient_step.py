"""The gradient of a network's first layer at initialisation, and its low-rank part.

For f(x) = a' phi(W x) and the loss sum_i p_i |y_i - f(x_i)|^2 / 2 with shares p_i that
sum to one, minus the gradient in W is

    G = sum_i p_i [(A r_i) o phi'(W x_i)] x_i',    r_i = y_i - f(x_i),

where A are the readout weights of the C outputs and o is the elementwise product. In a
wide layer its average has rank C,

    G = c_1 A B' + rest,    B = sum_i p_i x_i r_i',    c_1 = E[phi'(z)].
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import factorial, prod

from ..._arrays import (
    Array,
    LinAlgError,
    add_to_diagonal,
    as_float64,
    asarray_like,
    cho_solve,
    cholesky,
    namespace,
)


@dataclass(frozen=True)
class FirstGradient:
    """Sums over the rows that one gradient step needs.

    Attributes
    ----------
    direction : array (n_features, n_outputs)
        B, in double precision.
    gradient : array (n_components, n_features) or None
        G, or None if only its low-rank part is used.
    second_moment : array (n_features, n_features) or None
        sum_i p_i x_i x_i', or None if no preconditioner is used.
    """

    direction: Array
    gradient: Array | None
    second_moment: Array | None

    @property
    def norm(self):
        """Frobenius norm of the direction."""
        return float(namespace(self.direction).linalg.vector_norm(self.direction))

    def preconditioned(self, ridge):
        """Replace G by G (sum_i p_i x_i x_i' + ridge I)^-1.

        Raises
        ------
        ValueError
            If the matrix cannot be inverted.
        """
        moment = self.second_moment
        try:
            # `cholesky` overwrites the lower triangle of this copy.
            factor = cholesky(add_to_diagonal(moment + 0.0, ridge))
        except LinAlgError as error:
            raise ValueError(
                f"precondition={ridge} is too small: features are collinear, or there "
                "are more features than rows. Use a larger value, such as 0.1."
            ) from error
        gradient = self.gradient
        if gradient is not None:
            solved = cho_solve(factor, as_float64(gradient).T).T
            gradient = asarray_like(solved, gradient)
        return FirstGradient(cho_solve(factor, self.direction), gradient, moment)


def first_gradient(
    blocks, weights, readout, expansion, *, full_residual, exact, moments=False
):
    """Minus the gradient of the squared loss in the first layer's weights.

    Parameters
    ----------
    blocks : iterable of (X, Y, shares)
        Rows (b, n_features), targets (b, n_outputs) and shares (b, 1) of the loss.
    weights : array (n_components, n_features)
        W, weights of the first layer.
    readout : array (n_components, n_outputs)
        A, readout weights.
    expansion : Expansion
        Expansion of the activation, whose mean is subtracted.
    full_residual : bool
        Whether the network's own output is subtracted from the targets.
    exact : bool
        Whether to compute G, not only B.
    moments : bool, default=False
        Whether to compute the second moments of the rows.

    Returns
    -------
    FirstGradient
    """
    direction = gradient = second = 0.0
    for X, Y, shares in blocks:
        Z = X @ weights.T if exact or full_residual else None
        if full_residual:
            Y = Y - expansion.centred(Z) @ readout
        residual = shares * Y
        rows = as_float64(X)
        direction = direction + rows.T @ as_float64(residual)
        if exact:
            gradient = gradient + _block_gradient(X, Z, residual, readout, expansion)
        if moments:
            second = second + (rows * as_float64(shares)).T @ rows
    return FirstGradient(
        direction, gradient if exact else None, second if moments else None
    )


def _block_gradient(X, Z, residual, readout, expansion):
    slope = expansion.activation.derivative(Z)
    if readout.shape[1] == 1:
        return readout * (slope.T @ (residual * X))
    slope *= residual @ readout.T
    return slope.T @ X


def monomials(projections, degree, *, counted=False):
    """All products of `degree` of q columns: (n, binomial(q + degree - 1, degree)).

    With `counted` each is multiplied by the number of orderings of its factors. Then
    (G A')^degree, elementwise, is monomials(G) @ monomials(A, counted=True)'.
    """
    xp = namespace(projections)
    columns = []
    for chosen in combinations_with_replacement(range(projections.shape[1]), degree):
        column = prod(
            (projections[:, j] for j in chosen[1:]), start=projections[:, chosen[0]]
        )
        if counted:
            repeats = prod(factorial(chosen.count(j)) for j in set(chosen))
            column = column * (factorial(degree) / repeats)
        columns.append(column)
    return xp.stack(columns, axis=1)


@dataclass(frozen=True)
class SpikeComponent:
    """One term of the low-rank part that the step adds to the features.

    Attributes
    ----------
    degree : int
        The power k of the learned projection.
    coefficient : float
        c_k s^k / sqrt(n_components).
    inputs : array of shape (n_samples, n_terms)
        Powers g^k of the projection, or all products of k projections if there are
        several outputs.
    neurons : array of shape (n_components, n_terms)
        The same products of readout weights, times the number of orderings.
    """

    degree: int
    coefficient: float
    inputs: Array
    neurons: Array

    def to_matrix(self) -> Array:
        """The term as a matrix of shape (n_samples, n_components)."""
        return self.coefficient * (self.inputs @ self.neurons.T)
