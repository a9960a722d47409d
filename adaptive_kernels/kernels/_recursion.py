"""Layer recursion of wide networks: kernel matrices, block by block.

For inputs f (rows of `features`, which carry bias and weight variance) and L hidden
layers, with S and D the dual activation and its derivative,

    K_1 = f f',    K_{l+1} = bias_variance + weight_variance S(K_l),
    T_1 = K_1,     T_{l+1} = K_{l+1} + weight_variance D(K_l) * T_l,

    NNGP = readout_variance S(K_L),    NTK = NNGP + readout_variance D(K_L) * T_L.

The diagonal K_l(x, x), the variances, has a recursion of its own. Every entry needs the
variances of its row and column. They also overwrite the diagonal of the matrix, where
angles are ill-conditioned. Matrices are computed block by block, and of two blocks that
are symmetric to each other only one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._arrays import (
    Array,
    asarray_like,
    block_size,
    empty,
    in_threads,
    index_like,
    mirror_lower,
    namespace,
    set_diagonal,
)
from ._activations import Activation, DualMoments


@dataclass(frozen=True)
class Network:
    """Architecture and variances of a wide network.

    `is_ntk` selects the NTK; otherwise the kernel is the NNGP. `scales`, one for each
    layer or none, multiply the second moments of the activations, as a network of
    finite width may need. `origin`, None or (d,), is subtracted from the inputs.
    """

    activation: Activation
    depth: int = 1
    weight_variance: float = 1.0
    bias_variance: float = 0.1
    readout_variance: float = 1.0
    is_ntk: bool = False
    scales: tuple[float, ...] = ()
    origin: Array | None = None

    def gain(self, layer: int) -> float:
        """Factor of S after a layer: weight or readout variance, times its scale."""
        last = layer == self.depth - 1
        gain = self.readout_variance if last else self.weight_variance
        return gain * self.scales[layer] if self.scales else gain


@dataclass(frozen=True)
class Variances:
    """Result of the diagonal recursion for n rows: a list entry for each layer.

    q : arrays (n,), pre-activation variances, the diagonals of K_l
    t : arrays (n,), tangent variances, the diagonals of T_l
    moments : S(q_l) and D(q_l), with their derivatives by q_l
    duals : activations, prepared for these variances
    """

    q: list[Array]
    t: list[Array]
    moments: list[DualMoments]
    duals: list[Activation]

    @property
    def nngp(self) -> Array:
        """Diagonal (n,) of the NNGP."""
        return self.moments[-1].s

    @property
    def ntk(self) -> Array:
        """Diagonal (n,) of the NTK."""
        last = self.moments[-1]
        return last.s + last.d * self.t[-1]

    def kernel(self, is_ntk: bool) -> Array:
        """Diagonal of the NTK or, without `is_ntk`, of the NNGP."""
        return self.ntk if is_ntk else self.nngp

    def take(self, rows: slice, axis: int) -> list[Array]:
        """Variances `q` of some rows: (b, 1) each for axis 0, (1, b) for axis 1.

        If the rows are those of sets, (b, k), the slice takes sets: (b, k, 1) or
        (b, 1, k).
        """
        index = (..., None) if axis == 0 else (..., None, slice(None))
        return [q[rows, ...][index] for q in self.q]


def apply_metric_sqrt(X: Array, metric_sqrt: Array | None) -> Array:
    """X R for a root R of a metric: None for the identity, (d,) a diagonal, (d, d)."""
    if metric_sqrt is None:
        return X
    metric_sqrt = asarray_like(metric_sqrt, X)
    return X * metric_sqrt if metric_sqrt.ndim == 1 else X @ metric_sqrt


def centered(X: Array, origin: Array | None) -> Array:
    """X - origin, for an origin of None or (d,)."""
    return X if origin is None else X - asarray_like(origin, X)


def features(X: Array, network: Network, metric_sqrt: Array | None = None) -> Array:
    """Rows f with f f' = bias_variance + (weight_variance / d) X M X', M = R R'.

    `metric_sqrt` is R: None for the identity, (d,) for a diagonal, or (d, d). The
    network's origin is subtracted from X first. X is (n, d), or (b, k, d) for sets.
    """
    xp = namespace(X)
    X = apply_metric_sqrt(centered(X, network.origin), metric_sqrt)
    X = X * (network.weight_variance / X.shape[-1]) ** 0.5
    bias = xp.zeros_like(X[..., :1]) + network.bias_variance**0.5
    return xp.concat([bias, X], axis=-1)


def variances(F: Array, network: Network) -> Variances:
    """Run the diagonal recursion on the rows of F, (n, d + 1) or (b, k, d + 1)."""
    q = [namespace(F).sum(F * F, axis=-1)]
    t, moments, duals = [q[0]], [], []
    for layer in range(network.depth):
        duals.append(network.activation.for_variances(q[-1]))
        gain = network.gain(layer)
        moments.append(duals[-1].diagonal(q[-1], gain, network.is_ntk))
        if layer < network.depth - 1:
            q.append(network.bias_variance + moments[-1].s)
            t.append(q[-1] + moments[-1].d * t[-1])
    return Variances(q, t, moments, duals)


def slices_of(n: int, size: int) -> list[slice]:
    """Consecutive slices of `size` that cover range(n); the last may be shorter."""
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _pair_block(
    k: Array,
    q1: list[Array],
    q2: list[Array],
    network: Network,
    duals: list[Activation],
) -> tuple[Array, Array | None]:
    """NNGP and NTK (None unless `is_ntk`) of a block whose first-layer kernel is k."""
    t: Array = k if network.is_ntk else None
    for layer, dual in enumerate(duals):
        s, d = dual.dual(
            k, q1[layer], q2[layer], network.gain(layer), derivative=network.is_ntk
        )
        if layer < network.depth - 1:
            s += network.bias_variance
        if network.is_ntk:
            d *= t
            d += s
            t = d
        k = s
    return k, t


def each_cross_block(
    F: Array,
    G: Array,
    network: Network,
    take: Callable[[slice, slice, Array, Array | None], None],
) -> None:
    """Call take(rows, columns, NNGP, NTK) for each block between rows of F and G.

    One thread computes all blocks of a slice of rows of F. So `take` may add these
    blocks to a sum for each row without a lock.
    """
    v, w = variances(F, network), variances(G, network)
    # Not v.duals: those are prepared for the variances of F only.
    duals = [network.activation.for_variances(*q) for q in zip(v.q, w.q, strict=True)]
    size = block_size(namespace(F))
    columns = slices_of(G.shape[0], size)

    def panels(rows: list[slice]) -> None:
        for i in rows:
            q1 = v.take(i, 0)
            for j in columns:
                pairs = F[i, :] @ G[j, :].T
                take(i, j, *_pair_block(pairs, q1, w.take(j, 1), network, duals))

    in_threads(panels, slices_of(F.shape[0], size), F)


def cross_matrices(F: Array, G: Array, network: Network) -> tuple[Array, Array | None]:
    """NNGP and NTK (None unless `is_ntk`) between the rows of F and of G."""
    shape = (F.shape[0], G.shape[0])
    nngp = empty(F, shape)
    ntk: Array = empty(F, shape) if network.is_ntk else None

    def take(i: slice, j: slice, s: Array, t: Array | None) -> None:
        nngp[i, j] = s
        if network.is_ntk:
            ntk[i, j] = t

    each_cross_block(F, G, network, take)
    return nngp, ntk


def symmetric_matrices(
    F: Array, network: Network, v: Variances | None = None, *, lower: bool = False
) -> tuple[Array, Array | None]:
    """NNGP and NTK (None unless `is_ntk`) among the rows of F.

    `v` are the variances of F if they have been computed before. With `lower` only the
    lower triangle of blocks is set; the other entries are undefined.
    """
    v = variances(F, network) if v is None else v
    slices = slices_of(F.shape[0], block_size(namespace(F)))
    shape = (F.shape[0], F.shape[0])
    matrices = [empty(F, shape)] + [empty(F, shape)] * network.is_ntk

    def panels(rows: list[slice]) -> None:
        for i in rows:
            q1 = v.take(i, 0)
            for j in slices[: slices.index(i) + 1]:
                pairs = F[i, :] @ F[j, :].T
                blocks = _pair_block(pairs, q1, v.take(j, 1), network, v.duals)
                for matrix, block in zip(matrices, blocks, strict=False):
                    matrix[i, j] = block if i != j else mirror_lower(block)
                    if i != j and not lower:
                        matrix[j, i] = block.T

    in_threads(panels, slices, F)
    nngp = set_diagonal(matrices[0], v.nngp)
    return nngp, set_diagonal(matrices[1], v.ntk) if network.is_ntk else None


def matrices_of_sets(F: Array, network: Network, v: Variances | None = None) -> Array:
    """Kernel matrices (b, k, k) among the rows of each of b small sets.

    F are the features (b, k, d + 1) of their rows, and `v` the variances of F.
    """
    v = variances(F, network) if v is None else v
    everything = slice(None)
    pairs = F @ namespace(F).matrix_transpose(F)
    q1, q2 = v.take(everything, 0), v.take(everything, 1)
    block = _pair_block(pairs, q1, q2, network, v.duals)
    K: Array = block[int(network.is_ntk)]
    places = index_like(np.arange(F.shape[1]), F)
    K[:, places, places] = v.kernel(network.is_ntk)
    return K
