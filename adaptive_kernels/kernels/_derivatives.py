"""Derivatives of the layer recursion of kernels, in reverse and in forward mode.

In reverse mode (vector-Jacobian products) a matrix A of derivatives by the entries of
the kernel, the cotangent, becomes derivatives by the parameters of the first layer and
by the variances. No array of derivatives of the kernel by parameters is formed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Self

import numpy as np

from .._arrays import (
    Array,
    block_size,
    in_threads,
    index_like,
    namespace,
    set_diagonal,
)
from ._recursion import Network, Variances, slices_of, variances


@dataclass
class Cotangents:
    """Gradient of sum_ij A_ij K_ij by first-layer kernel and variances.

    hx : array (n, d + 1)
        H X~, with H the cotangent of the first-layer kernel and X~ = [1, X]. The sum of
        its first column is the derivative by the bias variance of the first layer. With
        the other columns, X' (H X) is the derivative by the input-weight covariance.
    bias : float
        Derivative by the bias variance of the later layers.
    log_gains : list of float
        Derivatives by the logarithm of the gain that leads into each later layer.
    """

    hx: Array
    bias: float
    log_gains: list[float]

    @property
    def log_weight(self) -> float:
        """Derivative by the log weight variance of the later layers."""
        return sum(self.log_gains)

    @property
    def bias_variance(self) -> float:
        """Derivative by the bias variance, all layers."""
        return float(namespace(self.hx).sum(self.hx[:, 0])) + self.bias

    def covariance(self, X: Array, *, diagonal: bool = False) -> Array:
        """Derivative by Sigma in K_1 = bias_variance + X Sigma X': (d, d) or (d,)."""
        if diagonal:
            return namespace(X).sum(X * self.hx[:, 1:], axis=0)
        return X.T @ self.hx[:, 1:]


class _Reverse:
    """Reverse mode of the layer recursion, summed over blocks of the kernel matrix.

    Call `block` for all blocks, then `diagonal` once for the result. In the code `ks`
    and `ts` are K_l and T_l of a block, `ds` the D between them, and names that end in
    "bar" are derivatives of the sum by K_{l+1} (sbar), T_{l+1} (tbar) and D (dbar). An
    entry of K_{l+1} depends on the variances of its row and column: `q` has for every
    layer the derivatives (n,) by these, summed over blocks.
    """

    def __init__(self, F: Array, raw: Array, network: Network, v: Variances) -> None:
        self.network, self.F, self.raw, self.v = network, F, raw, v
        self.q = [0 * self.v.q[0] for _ in range(network.depth)]
        self.hx = 0 * raw
        self.bias, self.log_gains = 0.0, [0.0] * (network.depth - 1)

    def block(self, i: slice, j: slice, a: Array) -> None:
        """Add the block of rows i and columns j with its part a of the cotangent."""
        xp, network = namespace(a), self.network
        q1, q2 = self.v.take(i, 0), self.v.take(j, 1)
        pairs = self.F[i, :] @ xp.matrix_transpose(self.F[j, :])
        ks, ts, ds = self._tape(pairs, q1, q2)
        mirrored = 1.0 if i == j else 2.0
        sbar = tbar = a
        for layer in reversed(range(network.depth)):
            arguments = ks[layer], q1[layer], q2[layer], network.gain(layer)
            d, s1, s2 = self.v.duals[layer].first_partials(*arguments)
            kbar, g1, g2 = sbar * d, sbar * s1, sbar * s2
            if network.is_ntk:
                dbar = tbar * ts[layer]
                dd, d1, d2 = self.v.duals[layer].second_partials(*arguments)
                kbar += dbar * dd
                g1 += dbar * d1
                g2 += dbar * d2
                tbar = tbar * d
            self.q[layer][i] += mirrored * xp.sum(g1, axis=-1)
            self.q[layer][j] += mirrored * xp.sum(g2, axis=-2)
            sbar = kbar + tbar if network.is_ntk else kbar
            if layer > 0:
                weight = xp.sum(sbar * (ks[layer] - network.bias_variance))
                if network.is_ntk:
                    weight += xp.sum(tbar * ds[layer - 1] * ts[layer - 1])
                self._later(layer, mirrored * xp.sum(sbar), mirrored * weight)
        self.hx[i, :] += sbar @ self.raw[j, :]
        if i != j:
            self.hx[j, :] += sbar.T @ self.raw[i, :]

    def absorb(self, other: Self) -> Self:
        """Add the sums of another object to these, and return this one."""
        for own, more in zip(self.q, other.q, strict=True):
            own += more
        self.hx += other.hx
        self.bias = self.bias + other.bias
        pairs = zip(self.log_gains, other.log_gains, strict=True)
        self.log_gains = [own + more for own, more in pairs]
        return self

    def _later(self, layer: int, bias: Array, log_gain: Array) -> None:
        # Kept as arrays: a conversion to float would wait for the device at each block.
        self.bias = self.bias + bias
        self.log_gains[layer - 1] = self.log_gains[layer - 1] + log_gain

    def _tape(
        self, k: Array, q1: list[Array], q2: list[Array]
    ) -> tuple[list[Array], list[Array], list[Array]]:
        """K_l and T_l of every layer l, and D between consecutive layers."""
        network, ks, ts, ds = self.network, [k], [k], []
        for layer in range(network.depth - 1):
            s, d = self.v.duals[layer].dual(
                ks[-1], q1[layer], q2[layer], network.gain(layer), network.is_ntk
            )
            ks.append(s + network.bias_variance)
            if network.is_ntk:
                ds.append(d)
                ts.append(ks[-1] + d * ts[-1])
        return ks, ts, ds

    def diagonal(self, a: Array) -> Cotangents:
        """Add the diagonal a of the cotangent, and return all derivatives.

        With q_l and t_l the diagonals of K_l and T_l, from the last layer backwards,

            tbar_l = D(q_l) tbar_{l+1},
            sbar_l = q'_l + S'(q_l) sbar_{l+1} + t_l D'(q_l) tbar_{l+1} + tbar_l,

        where q'_l is what `block` has summed and sbar = tbar = a behind the last layer.
        """
        xp, network, v = namespace(a), self.network, self.v
        sbar = tbar = a
        for layer in reversed(range(network.depth)):
            at_q = v.moments[layer]
            self.q[layer] += sbar * at_q.ds_dq
            if network.is_ntk:
                self.q[layer] += tbar * v.t[layer] * at_q.dd_dq
                tbar = tbar * at_q.d
            sbar = self.q[layer] + tbar if network.is_ntk else self.q[layer]
            if layer > 0:
                weight = xp.sum(sbar * (v.q[layer] - network.bias_variance))
                if network.is_ntk:
                    below = v.moments[layer - 1].d * v.t[layer - 1]
                    weight += xp.sum(tbar * below)
                self._later(layer, xp.sum(sbar), weight)
        self.hx += sbar[..., None] * self.raw
        gains = [float(gain) for gain in self.log_gains]
        return Cotangents(self.hx, float(self.bias), gains)


def vector_jacobian(
    X: Array,
    F: Array,
    network: Network,
    v: Variances,
    cotangent: Callable[[slice, slice], Array],
    diagonal: Array,
) -> Cotangents:
    """Gradient of sum_ij A_ij K_ij by first-layer kernel and variances.

    It costs O(n^2 d) operations, and memory for blocks besides an array (n, d + 1).

    Parameters
    ----------
    X : array (n, d)
        Inputs, before the metric is applied.
    F : array (n, d + 1)
        `features` of X.
    network : Network
    v : Variances
        `variances` of F.
    cotangent : callable
        Takes a slice of rows and a slice of columns of the lower triangle of blocks,
        and returns that block of the symmetric A. Its diagonal entries are ignored.
    diagonal : array (n,)
        Diagonal of A.

    Returns
    -------
    Cotangents
    """
    xp = namespace(X)
    raw = xp.concat([xp.ones_like(X[:, :1]), X], axis=1)
    slices = slices_of(X.shape[0], block_size(xp))

    def panels(rows: list[slice]) -> _Reverse:
        reverse = _Reverse(F, raw, network, v)
        for i in rows:
            for j in slices[: slices.index(i) + 1]:
                block = cotangent(i, j)
                if i == j:
                    block = set_diagonal(block, 0 * diagonal[i])
                reverse.block(i, j, block)
        return reverse

    return reduce(_Reverse.absorb, in_threads(panels, slices, F)).diagonal(diagonal)


def vector_jacobian_of_sets(
    X: Array, F: Array, network: Network, v: Variances, cotangents: Array
) -> Cotangents:
    """Gradient of the sum over small sets of sum_ij A_ij K_ij, A symmetric.

    Parameters
    ----------
    X : array (b, k, d)
        Inputs of the rows of each set, before the metric is applied.
    F : array (b, k, d + 1)
        `features` of X.
    network : Network
    v : Variances
        `variances` of F.
    cotangents : array (b, k, k)
        A of each set. Its diagonal is set to zero here.

    Returns
    -------
    Cotangents
        Derivatives by all rows, (b k, d + 1): set after set.
    """
    xp, places = namespace(X), index_like(np.arange(X.shape[1]), X)
    raw = xp.concat([xp.ones_like(X[..., :1]), X], axis=-1)
    on_diagonal = 1.0 * cotangents[:, places, places]
    cotangents[:, places, places] = 0 * on_diagonal
    reverse, every_set = _Reverse(F, raw, network, v), slice(None)
    reverse.block(every_set, every_set, cotangents)
    found = reverse.diagonal(on_diagonal)
    return replace(found, hx=xp.reshape(found.hx, (-1, F.shape[-1])))


def cross_vector_jacobian(
    X: Array, F: Array, n_rows: int, network: Network, cotangent: Array, diagonal: Array
) -> Cotangents:
    """Gradient of sum_ij A_ij K_ij between two sets of rows, plus sum_i a_i K_ii.

    Parameters
    ----------
    X : array (n_rows + m, d)
        Inputs of the first set, rows i, and below them of the second set, rows j.
    F : array (n_rows + m, d + 1)
        `features` of X.
    n_rows : int
        Number of rows in the first set.
    network : Network
    cotangent : array (n_rows, m)
        A.
    diagonal : array (n_rows,)
        a, for the first set.

    Returns
    -------
    Cotangents
        Derivatives by all rows of X.
    """
    xp = namespace(X)
    raw = xp.concat([xp.ones_like(X[:, :1]), X], axis=1)
    v, size = variances(F, network), block_size(xp)
    half = 0.5 * cotangent  # `_Reverse.block` counts each pair twice

    def panels(rows: list[slice]) -> _Reverse:
        reverse = _Reverse(F, raw, network, v)
        for i in rows:
            for j in slices_of(X.shape[0] - n_rows, size):
                shifted = slice(j.start + n_rows, j.stop + n_rows)
                reverse.block(i, shifted, half[i, j])
        return reverse

    reverse = reduce(_Reverse.absorb, in_threads(panels, slices_of(n_rows, size), F))
    others = xp.zeros_like(F[n_rows:, 0])
    return reverse.diagonal(xp.concat([diagonal, others]))


def parameter_derivative(F: Array, network: Network, *, weight: bool) -> Array:
    """Derivative of the kernel matrix by log weight or log bias variance.

    In forward mode, as a full (n, n) matrix: scikit-learn's `eval_gradient` needs it.
    With a leading d for the derivative by the log variance, the entry of row i and
    column j has

        K_{l+1} = S + b,            dK_{l+1} = dS + db,
        T_{l+1} = K_{l+1} + D T_l,  dT_{l+1} = dK_{l+1} + dD T_l + D dT_l,

        dS = S_k dK_l + S_1 dq_i + S_2 dq_j + g S,    S_k = D,
        dD = D_k dK_l + D_1 dq_i + D_2 dq_j + g D.

    b is the bias variance, and zero after the last layer. g is 1 if the parameter is
    the weight variance and multiplies S, which it does except in the last layer. The
    diagonals, `k_diag` for q and `t_diag` for that of T, have the same recursion.
    """
    v, bias = variances(F, network), network.bias_variance
    k = t = F @ F.T
    k_diag, t_diag = v.q[0], v.t[0]
    if weight:
        dk, dk_diag = k - bias, k_diag - bias
    else:
        dk, dk_diag = 0 * k + bias, 0 * k_diag + bias
    dt, dt_diag = dk, dk_diag
    for layer, dual in enumerate(v.duals):
        last, at_q = layer == network.depth - 1, v.moments[layer]
        arguments = k, k_diag[:, None], k_diag[None, :], network.gain(layer)
        dq_i, dq_j = dk_diag[:, None], dk_diag[None, :]
        g, b = float(weight and not last), 0.0 if last else bias
        db = 0.0 if weight else b
        d: Array  # not None, as `derivative` is on by default
        s, d = dual.dual(*arguments)
        _, s_1, s_2 = dual.first_partials(*arguments)
        next_dk = d * dk + s_1 * dq_i + s_2 * dq_j + g * s + db
        next_dk_diag = at_q.ds_dq * dk_diag + g * at_q.s + db
        if network.is_ntk:
            d_k, d_1, d_2 = dual.second_partials(*arguments)
            dd = d_k * dk + d_1 * dq_i + d_2 * dq_j + g * d
            dd_diag = at_q.dd_dq * dk_diag + g * at_q.d
            dt = next_dk + dd * t + d * dt
            dt_diag = next_dk_diag + dd_diag * t_diag + at_q.d * dt_diag
        k, k_diag, dk, dk_diag = s + b, at_q.s + b, next_dk, next_dk_diag
        if network.is_ntk:
            t, t_diag = k + d * t, k_diag + at_q.d * t_diag
    return set_diagonal(dt, dt_diag) if network.is_ntk else set_diagonal(dk, dk_diag)
