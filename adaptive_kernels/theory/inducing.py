"""Inducing points: a lower bound of the evidence in O(n m^2) time, and its posterior.

With m inducing points Z, K_mm = L L', A = L^{-1} K_mn, weights W, noise alpha / w, and
the additive statistics G = A W A', c = A W Y, the targets of C outputs have

    log evidence >= - (C / 2) [log det B + sum(w) log(2 pi alpha)]
                    - [tr Y'WY - tr c'B^{-1}c / alpha] / (2 alpha)
                    - C [sum_i w_i K_ii - tr G] / (2 alpha),    B = I + G / alpha,

a row of weight w counted like w repeated rows. The mean is that of the deterministic
training conditional, K_*m L^{-T} B^{-1} c / alpha. The bound takes the place of the
evidence in the objective of `variational`.

References
----------
Titsias, "Variational learning of inducing variables in sparse Gaussian processes",
AISTATS 2009.
"""

from dataclasses import dataclass, replace
from math import log, pi

import numpy as np
from sklearn.cluster import KMeans

from .._array import (
    LinAlgError,
    add_to_diagonal,
    cho_solve,
    cholesky,
    diagonal,
    index_like,
    inverse_from_cholesky,
    mirror_lower,
    namespace,
    round_columns,
    rows_per_block,
    solve_triangular,
    to_numpy,
)
from ..kernels._derivatives import cross_vector_jacobian, vector_jacobian
from ..kernels._recursion import (
    apply_root,
    centered,
    cross_matrices,
    features,
    slices_of,
    symmetric_matrices,
    variances,
)
from .posterior import AdaptedPosterior, GaussianPosterior
from .variational import Data, RegularizedEvidence

# Relative to the mean diagonal of K_mm: what single entries of a kernel are good for.
JITTER = 1e-8
# Least 1 - h of a row of leverage h that is left out: what rounding leaves of it.
LEAST_REST = 1e-12


@dataclass(frozen=True)
class InducingData(Data):
    """Rows to learn from, some of which are the inducing points.

    n_inducing : int
    index : ndarray (m,) of int, the inducing points among the rows; None until chosen
    statistics : callable, gives the `Statistics` of all the rows that the posterior is
        of, for inducing points (m, d) and a point; None if X, Y and weights are all
        there are
    """

    n_inducing: int = 0
    index: np.ndarray | None = None
    statistics: object = None

    def at(self, point):
        """With inducing points chosen for the kernel of a point."""
        index = inducing_rows(self.X, point, self.n_inducing)
        return replace(self, index=index)

    def core(self):
        """The inducing points, with their targets, as plain data."""
        return self.take(self.index)

    def take(self, rows):
        """The given rows as plain data."""
        return super().take(index_like(rows, self.X))

    def inducing(self):
        """Inducing points: (m, d)."""
        index = index_like(self.index, self.X)
        return namespace(self.X).take(self.X, index, axis=0)

    def collected(self, point):
        """Itself with inducing points chosen, their basis, sums over all rows."""
        data = self.at(point)
        inducing = data.inducing()
        basis = Basis.of(inducing, point)
        if self.statistics is None:
            return data, basis, Statistics.of(basis, data.own_blocks())
        return data, basis, self.statistics(inducing, point)

    def objective(self, template, **kind):
        """The regularised bound of the evidence of these rows."""
        return RegularizedBound(self, template, **kind)

    def own_blocks(self):
        """Blocks (X, Y, weights or None) of the rows to learn from."""
        n, d = self.X.shape
        for rows in slices_of(n, rows_per_block(self.X, max(len(self.index), d))):
            weights = None if self.weights is None else self.weights[rows]
            yield self.X[rows, :], self.Y[rows, :], weights


def inducing_rows(X, point, n_rows):
    """Rows that stand for all: nearest to the centres of k-means in the metric.

    They follow the density of the rows; those that say nothing new are left out. Rows
    are rounded, so that rounding errors do not choose.

    Returns
    -------
    ndarray (m,) of int
        At most `n_rows`.
    """
    X = round_columns(centered(X, point.network.origin))
    point = replace(point, network=replace(point.network, origin=None))
    mapped = to_numpy(apply_root(X, point.root))
    _, distinct = np.unique(mapped, axis=0, return_index=True)
    if len(distinct) > n_rows:
        mapped = mapped[distinct]
        found = KMeans(n_rows, n_init=1, max_iter=20, random_state=0).fit(mapped)
        distinct = distinct[np.unique(np.argmin(found.transform(mapped), axis=0))]
    rows = namespace(X).take(X, index_like(distinct, X), axis=0)
    return distinct[spread_rows(rows, point, len(distinct))]


def spread_rows(X, point, n_rows):
    """Rows that explain the kernel best, one after the other, by pivoted Cholesky.

    Each is the row of largest variance given those before it; rows whose variance is
    all explained are left out, so that there may be fewer than `n_rows`.

    Returns
    -------
    ndarray (m,) of int
    """
    network = point.network
    F = to_numpy(features(X, point.network, point.root))
    v = variances(F, network)
    residual = np.array(v.kernel(network.tangent))
    floor = JITTER * max(float(np.mean(residual)), np.finfo(float).tiny)
    factor, index = np.empty((n_rows, len(F))), []
    for j in range(n_rows):
        best = int(np.argmax(residual))
        if j > 0 and residual[best] <= floor:
            break
        row = cross_matrices(F[best : best + 1], F, network)[int(network.tangent)][0]
        row = row - factor[:j, best] @ factor[:j]
        factor[j] = row / max(residual[best], floor) ** 0.5
        residual -= factor[j] ** 2
        residual[best] = 0.0
        index.append(best)
    return np.array(index)


@dataclass(frozen=True)
class Basis:
    """Inducing points with the factor of their kernel matrix.

    point : Hyperparameters
    F : array (m, d + 1), features of the inducing points
    K : array (m, m)
    factor : array (m, m), lower Cholesky factor of K and a jitter
    """

    point: object
    F: object
    K: object
    factor: object

    @classmethod
    def of(cls, inducing, point):
        """The basis at inducing points (m, d)."""
        F = features(inducing, point.network, point.root)
        K = symmetric_matrices(F, point.network)[int(point.network.tangent)]
        jitter = JITTER * float(namespace(K).mean(diagonal(K)))
        try:
            factor = cholesky(add_to_diagonal(1.0 * K, jitter))
        except LinAlgError:
            raise LinAlgError(
                "The kernel matrix of the inducing points is not positive definite in "
                "double precision: lower n_inducing."
            ) from None
        return cls(point, F, K, factor)

    def project(self, X):
        """A = L^{-1} K_mb of rows X, and the diagonal of their kernel: (m, b), (b,)."""
        network = self.point.network
        F = features(X, network, self.point.root)
        v = variances(F, network)
        cross = cross_matrices(F, self.F, network)[int(network.tangent)]
        prior = v.kernel(network.tangent)
        return solve_triangular(self.factor, cross.T), prior


@dataclass(frozen=True)
class Statistics:
    """What a bound needs to know of the rows: sums over them.

    gram : array (m, m), G
    projection : array (m, C), c
    squares : float, tr Y'WY
    prior : float, sum_i w_i K_ii
    size : float, sum of weights
    """

    gram: object
    projection: object
    squares: float
    prior: float
    size: float

    @classmethod
    def of(cls, basis, blocks):
        """Sums over blocks (X, Y, weights or None), one in memory at a time."""
        total = None
        for X, Y, weights in blocks:
            A, prior = basis.project(X)
            part = cls.of_block(A, prior, Y, weights)
            total = part if total is None else total + part
        return total

    @classmethod
    def of_block(cls, A, prior, Y, weights):
        """Of the rows whose projections (m, b) and prior variances (b,) are given."""
        xp, size = namespace(A), float(Y.shape[0])
        if weights is not None:
            root = xp.sqrt(weights)
            A, Y, prior = A * root, Y * root[:, None], prior * weights
            size = float(xp.sum(weights))
        squares, prior = float(xp.sum(Y * Y)), float(xp.sum(prior))
        return cls(A @ A.T, A @ Y, squares, prior, size)

    def __add__(self, other):
        return Statistics(
            self.gram + other.gram,
            self.projection + other.projection,
            self.squares + other.squares,
            self.prior + other.prior,
            self.size + other.size,
        )

    @property
    def unexplained(self):
        """Sum of the prior variances that the inducing points leave: tr W (K - Q)."""
        trace = float(namespace(self.gram).sum(diagonal(self.gram)))
        return max(self.prior - trace, 0.0)


@dataclass(frozen=True)
class Bound:
    """The bound at a noise variance, and what follows from its factor.

    factor : array (m, m), lower Cholesky factor of B
    solution : array (m, C), u = B^{-1} c
    value : float
    """

    factor: object
    solution: object
    value: float

    @classmethod
    def of(cls, statistics, alpha):
        """The bound from statistics; alpha is positive."""
        if not alpha > 0:
            raise LinAlgError("Inducing points need noise: raise alpha.")
        xp, c = namespace(statistics.gram), statistics.projection
        outputs = c.shape[1]
        factor = cholesky(add_to_diagonal(statistics.gram / alpha, 1.0))
        solution = cho_solve(factor, c)
        log_det = 2 * float(xp.sum(xp.log(diagonal(factor))))
        log_det += statistics.size * log(2 * pi * alpha)
        left = statistics.squares - float(xp.sum(c * solution)) / alpha
        left += outputs * statistics.unexplained
        return cls(factor, solution, -0.5 * (outputs * log_det + left / alpha))


class RegularizedBound(RegularizedEvidence):
    """`RegularizedEvidence` with the bound in place of the evidence.

    Parameters
    ----------
    data : InducingData
        With its inducing points chosen; they stay where they are.
    template, width, covariance_type, free :
        As in `RegularizedEvidence`.
    """

    def _evidence(self, point):
        data = self.data
        basis = Basis.of(data.inducing(), point)
        statistics = Statistics.of(basis, data.own_blocks())
        bound = Bound.of(statistics, point.alpha)
        slopes = _Slopes.of(basis, statistics, bound)
        total = slopes.inducing(data.inducing(), basis)
        for block in data.own_blocks():
            total = total + slopes.rows(data.inducing(), basis, *block)
        return bound.value, total, slopes.noise, slopes.readout


@dataclass(frozen=True)
class _Summed:
    """Cotangents summed over blocks, their rows forgotten.

    slope : array (d, d), derivative by Sigma
    """

    slope: object
    bias_variance: float
    log_weight: float

    @classmethod
    def of(cls, cotangents, X):
        return cls(
            cotangents.covariance(X), cotangents.bias_variance, cotangents.log_weight
        )

    def __add__(self, other):
        return _Summed(
            self.slope + other.slope,
            self.bias_variance + other.bias_variance,
            self.log_weight + other.log_weight,
        )

    def covariance(self, X, *, diagonal=False):
        """As `Cotangents.covariance`, which has been taken before: X is ignored."""
        if diagonal:
            return namespace(self.slope).linalg.diagonal(self.slope)
        return self.slope


@dataclass(frozen=True)
class _Slopes:
    """Slopes of -2 times the bound.

    K_mm : array (m, m), by the kernel matrix of the inducing points
    gain, shift : arrays (m, m) and (m, C), by K_mn: (gain A + shift Y') W
    prior : float, by w_i K_ii
    noise, readout : float, by the logarithms of noise and readout variance
    """

    K_mm: object
    gain: object
    shift: object
    prior: float
    noise: float
    readout: float

    @classmethod
    def of(cls, basis, statistics, bound):
        G, c, u = statistics.gram, statistics.projection, bound.solution
        xp, alpha, outputs = namespace(G), basis.point.alpha, c.shape[1]
        prior = outputs / alpha
        inverse = mirror_lower(inverse_from_cholesky(1.0 * bound.factor))
        by_G = u @ u.T / alpha**3 - prior * add_to_diagonal(-inverse, 1.0)
        by_c = -2 / alpha**2 * u
        half = solve_triangular(basis.factor, alpha * by_G + prior * G, transposed=True)
        K_mm = solve_triangular(basis.factor, half.T, transposed=True)
        trace = float(xp.mean(diagonal(K_mm)))
        fitted = float(xp.sum(u * (c + u))) / alpha**2
        rows = c.shape[0] - float(xp.sum(diagonal(inverse)))
        left = prior * statistics.unexplained
        return cls(
            add_to_diagonal(0.5 * (K_mm + K_mm.T), JITTER * trace),
            2 * solve_triangular(basis.factor, by_G, transposed=True),
            solve_triangular(basis.factor, by_c, transposed=True),
            prior,
            outputs * (statistics.size - rows)
            - statistics.squares / alpha
            + fitted
            - left,
            float(xp.sum(by_G * G) + 0.5 * xp.sum(by_c * c)) + prior * statistics.prior,
        )

    def inducing(self, Z, basis):
        """Cotangents that reach the kernel through K_mm."""
        network = basis.point.network
        found = vector_jacobian(
            Z,
            basis.F,
            network,
            variances(basis.F, network),
            lambda i, j: 1.0 * self.K_mm[i, j],
            diagonal(self.K_mm),
        )
        return _Summed.of(found, Z)

    def rows(self, Z, basis, X, Y, weights):
        """Cotangents that reach it through the rows of a block."""
        A, prior = basis.project(X)
        cotangent = (self.gain @ A + self.shift @ Y.T).T
        on_diagonal = 0 * prior + self.prior
        if weights is not None:
            cotangent, on_diagonal = (
                cotangent * weights[:, None],
                on_diagonal * weights,
            )
        xp, network = namespace(A), basis.point.network
        both = xp.concat([X, Z], axis=0)
        F = features(both, network, basis.point.root)
        found = cross_vector_jacobian(
            both, F, X.shape[0], network, cotangent, on_diagonal
        )
        return _Summed.of(found, both)


@dataclass
class InducingPosterior(AdaptedPosterior):
    """Posterior of f given the targets of all rows, through the inducing points.

    point : Hyperparameters
    inducing : array (m, d)
    F : array (m, d + 1), features of the inducing points
    factor : array (m, m), lower Cholesky factor L of their kernel matrix
    inner : array (m, m), lower Cholesky factor of B
    dual : array (m, C), coefficients of the kernel with the inducing points
    effective : float, effective degrees of freedom
    """

    point: object
    inducing: object
    F: object
    factor: object
    inner: object
    dual: object
    effective: float

    @classmethod
    def fit(cls, data, point):
        """The posterior and the bound of the log evidence."""
        data, basis, statistics = data.collected(point)
        return cls.of(data.inducing(), basis, statistics, point.alpha)

    @classmethod
    def of(cls, inducing, basis, statistics, alpha):
        """The same from sums over the rows, at a noise variance."""
        bound = Bound.of(statistics, alpha)
        half = solve_triangular(basis.factor, bound.solution, transposed=True)
        inverse = diagonal(inverse_from_cholesky(1.0 * bound.factor))
        effective = inverse.shape[0] - float(namespace(inverse).sum(inverse))
        posterior = cls(
            replace(basis.point, alpha=alpha),
            inducing,
            basis.F,
            basis.factor,
            bound.factor,
            half / alpha,
            effective,
        )
        return posterior, bound.value

    def effective_dof(self, data):
        """Tr[(Q + noise)^{-1} Q], per output, with Q the kernel that is explained."""
        return self.effective

    def _halves(self, cross):
        half = solve_triangular(self.factor, cross.T)
        return half, solve_triangular(self.inner, half)

    def _spread(self, cross, prior):
        half, inner = self._halves(cross)
        xp = namespace(cross)
        spread = prior - xp.sum(half * half, axis=0) + xp.sum(inner * inner, axis=0)
        return spread[:, None] + 0 * self.dual[:1, :]

    def _joint_spread(self, cross, prior):
        half, inner = self._halves(cross)
        covariance = prior - half.T @ half + inner.T @ inner
        return covariance[:, :, None] + 0 * self.dual[:1, :]


def held_out_density(data, point, noises):
    """Mean log density of the rows to learn from, each left out, at several noises.

    data : InducingData
    noises : sequence of float
    """
    rows = InducingClasses.of(replace(data, statistics=None), point)
    densities = []
    for noise in noises:
        mean, variance = rows.leave_one_out(noise)
        densities.append(_mean_density(data, mean, variance[:, None], noise))
    return densities


def exact_held_out_density(data, point):
    """The same of an exact posterior of plain data, at the point's own noise."""
    posterior, _ = GaussianPosterior.fit(data, point)
    mean, variance = posterior.leave_one_out(data)
    return _mean_density(data, mean, variance, point.alpha)


def _mean_density(data, mean, variance, noise):
    """Mean over rows of the log densities of the targets, summed over outputs."""
    xp = namespace(data.X)
    spread = xp.maximum(variance, 0 * variance) + noise
    logs = xp.log(2 * pi * spread) + (data.Y - mean) ** 2 / spread
    return -0.5 * float(xp.sum(data.shares()[:, None] * logs))


@dataclass(frozen=True)
class InducingClasses:
    """Rows of which some are left out, for a posterior through inducing points.

    What `calibration.ExactClasses` is to an exact posterior. The sums are over all
    rows, the rows left out are those to learn from.

    judged : InducingData, with centred one-hot labels as targets
    basis : Basis
    statistics : Statistics
    projected : array (m, n), A of the judged rows
    prior : array (n,), their prior variances
    """

    judged: InducingData
    basis: Basis
    statistics: Statistics
    projected: object
    prior: object

    @classmethod
    def of(cls, data, point):
        """Under the kernel of a point, at which the inducing points are chosen."""
        data, basis, statistics = data.collected(point)
        return cls(data, basis, statistics, *basis.project(data.X))

    @property
    def point(self):
        """Kernel and noise."""
        return self.basis.point

    def leave_one_out(self, noise):
        """Mean (n, C) and variance (n,) of f at each judged row given all others.

        With v = a'B^{-1}a and the leverage h = v w / noise of a row,

            mean = (m - h y) / (1 - h),    variance = K_ii - a'a + v / (1 - h).
        """
        A, xp = self.projected, namespace(self.projected)
        bound = Bound.of(self.statistics, noise)
        fitted = A.T @ bound.solution / noise
        half = solve_triangular(bound.factor, A)
        spread = xp.sum(half * half, axis=0)
        leverage = spread / self.judged.noise(noise)
        rest = xp.maximum(1 - leverage, 0 * leverage + LEAST_REST)[:, None]
        mean = (fitted - leverage[:, None] * self.judged.Y) / rest
        return mean, self.prior - xp.sum(A * A, axis=0) + spread / rest[:, 0]

    def posterior(self, noise):
        """Posterior of f given all rows."""
        inducing = self.judged.inducing()
        return InducingPosterior.of(inducing, self.basis, self.statistics, noise)[0]


__all__ = [
    "Basis",
    "Bound",
    "InducingClasses",
    "InducingData",
    "InducingPosterior",
    "RegularizedBound",
]
