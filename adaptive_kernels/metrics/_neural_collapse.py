"""Neural collapse: how close features are to their class means.

It is computed from features or from a kernel.

With N rows, C classes of n_c rows, class means m_c and the mean m of all rows,

    tr S_W = (1/N) sum_i |x_i - m_{c(i)}|^2,    tr S_B = (1/C) sum_c |m_c - m|^2.

In terms of a Gram matrix K, with s_i the mean of K_ij over the class of row i and r_i
over all rows, each an average over the rows i of a class or over all,

    mean_c |x - m_c|^2 = <K_ii - s_i>_c,    |m_c - m|^2 = <s_i - 2 r_i>_c + <r_i>.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.gaussian_process.kernels import Kernel

from .._arrays import (
    ArrayLike,
    as_float64,
    asarray_like,
    index_like,
    namespace,
    to_numpy,
)
from ._gram import ROUNDING, Classes, Gram, read


@dataclass(frozen=True)
class NeuralCollapse:
    """Variability within and between classes, for all classes and for each one.

    Attributes
    ----------
    score : float
        NC1 = within / between.
    within : float
        tr S_W: mean squared distance of rows to their class mean.
    between : float
        tr S_B: mean of `class_distance` with equal weight for each class.
    classes : ndarray of shape (n_classes,)
        Labels, sorted.
    class_counts : ndarray of shape (n_classes,)
        Number of rows of each class.
    class_within : ndarray of shape (n_classes,)
        Mean squared distance of a class's rows to the class mean.
    class_distance : ndarray of shape (n_classes,)
        Squared distance of the class mean to the mean of all rows.
    """

    score: float
    within: float
    between: float
    classes: np.ndarray
    class_counts: np.ndarray
    class_within: np.ndarray
    class_distance: np.ndarray

    def __str__(self) -> str:
        names = [str(name) for name in self.classes]
        wide = max(map(len, ["class", *names]))
        lines = [
            f"NC1 {self.score:.4g} = within {self.within:.4g} / "
            f"between {self.between:.4g}",
            f"{'class':<{wide}} {'rows':>8} {'within':>10} {'distance':>10}",
        ]
        table = zip(
            names,
            self.class_counts,
            self.class_within,
            self.class_distance,
            strict=True,
        )
        lines += [f"{c:<{wide}} {n:>8} {w:>10.4g} {d:>10.4g}" for c, n, w, d in table]
        return "\n".join(lines)


def nc1_score(
    X: ArrayLike,
    y: ArrayLike,
    *,
    input: Literal["features", "kernel"] | Kernel = "features",
) -> float:
    """Neural collapse NC1 = tr S_W / tr S_B of features or of a kernel.

    It is small if the rows of a class are close together and the classes far apart. Use
    it to see how well a kernel separates classes. It costs O(n^2) operations for a
    kernel, O(n d) for features.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples, n_samples)
        Rows of features, or their Gram matrix if `input` is "kernel".
    y : array-like of shape (n_samples,)
        Class labels of any type, in any order, balanced or not.
    input : "features", "kernel" or Kernel object, default="features"
        What X is: features, a Gram matrix, or the inputs of this scikit-learn kernel,
        such as :class:`~adaptive_kernels.kernels.NNGP`. Its Gram matrix is then
        computed block by block and never held as a whole.

    Returns
    -------
    float
        Infinite if all class means are equal, NaN if all rows are equal.

    Raises
    ------
    ValueError
        If there is one class only, lengths differ, values are missing, or a Gram
        matrix is not square and symmetric.

    Notes
    -----
    S_W is a mean over rows. S_B is a mean over classes with equal weights, about the
    mean of all rows. From a kernel the score is that of the kernel's features.

    Rounding errors of a Gram matrix limit the accuracy of tr S_W and tr S_B to about
    1e-16 times the mean of its diagonal. Class means that are closer than this count as
    equal. From features the common mean is subtracted first, so that a large offset
    does no harm; in a Gram matrix the digits are lost already. Entries of a ReLU NTK
    between rows that repeat have errors of 1e-8, and so has the score.

    References
    ----------
    Papyan, Han and Donoho, PNAS 2020. The kernel form is that of arXiv:2406.02105 for
    balanced classes. For other classes it remains the score of the features.

    Examples
    --------
    >>> from adaptive_kernels.kernels import NNGP
    >>> from adaptive_kernels.metrics import nc1_score
    >>> X, y = [[-3.0], [-1.0], [1.0], [3.0]], ["a", "a", "b", "b"]
    >>> nc1_score(X, y)
    0.25
    >>> round(nc1_score(X, y, input=NNGP("erf")), 3)
    0.049
    """
    return neural_collapse(X, y, input=input).score


def neural_collapse(
    X: ArrayLike,
    y: ArrayLike,
    *,
    input: Literal["features", "kernel"] | Kernel = "features",
) -> NeuralCollapse:
    """The parts of :func:`nc1_score`, for all classes and for each one.

    Use it to see which class is spread out, or close to another. The cost is that of
    :func:`nc1_score`.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features) or (n_samples, n_samples)
        Rows of features, or their Gram matrix if `input` is "kernel".
    y : array-like of shape (n_samples,)
        Class labels of any type, in any order, balanced or not.
    input : "features", "kernel" or Kernel object, default="features"
        What X is: features, a Gram matrix, or the inputs of this scikit-learn kernel.

    Returns
    -------
    NeuralCollapse
        `print` shows it as a table.

    Raises
    ------
    ValueError
        If there is one class only, lengths differ, values are missing, or a Gram
        matrix is not square and symmetric.

    Examples
    --------
    >>> from adaptive_kernels.metrics import neural_collapse
    >>> X, y = [[-3.0], [-1.0], [1.0], [2.0], [3.0]], ["a", "a", "b", "b", "b"]
    >>> print(neural_collapse(X, y))
    NC1 0.1923 = within 0.8 / between 4.16
    class     rows     within   distance
    a            2          1       5.76
    b            3     0.6667       2.56
    """
    data = read(X, input)
    rows = data.rows if isinstance(data, Gram) else data
    classes = Classes.of(y, rows.shape[0])
    parts = _of_gram if isinstance(data, Gram) else _of_features
    class_within, class_distance, rounding = parts(data, classes)
    within = float(np.average(class_within, weights=classes.counts))
    between = float(np.mean(class_distance))
    return NeuralCollapse(
        _ratio(within, between, rounding),
        within,
        between,
        classes.names,
        classes.counts,
        class_within,
        class_distance,
    )


def _ratio(within, between, rounding):
    if between > rounding:
        return within / between
    return np.inf if within > rounding else np.nan


def _of_features(F, classes):
    """Spread and squared distance of each class, and the rounding error of these."""
    xp = namespace(F)
    rounding = ROUNDING**2 * float(xp.sum(F * F)) / F.shape[0]
    F = F - xp.mean(F, axis=0)
    means, within = [], []
    for members in classes.members():
        rows = xp.take(F, index_like(members, F), axis=0)
        means.append(xp.mean(rows, axis=0))
        within.append(float(xp.sum((rows - means[-1]) ** 2)) / len(members))
    means = xp.stack(means)
    # F is centred up to rounding. What is left of its mean would be seen if all class
    # means were equal.
    shares = asarray_like(classes.counts / len(classes.index), F)
    distance = to_numpy(xp.sum((means - shares @ means) ** 2, axis=1))
    return np.asarray(within), distance, rounding


def _of_gram(gram, classes):
    """The same as `_of_features` from a Gram matrix, by s_i and r_i of this module."""
    moved = gram.from_first_row()
    labels = index_like(classes.index, gram.rows)
    class_sums, all_sums = 0 * moved.shift, 0 * moved.shift
    for i, j, K in moved.blocks():
        same_class = as_float64(labels[i, None] == labels[None, j])
        _add_sums(class_sums, K * same_class, i, j)
        _add_sums(all_sums, K, i, j)
    s = to_numpy(class_sums) / classes.counts[classes.index]
    r = to_numpy(all_sums) / len(classes.index)
    within = classes.average(to_numpy(moved.diagonal()) - s)
    distance = classes.average(s - 2 * r) + np.mean(r)
    rounding = ROUNDING * gram.mean_square()
    return np.maximum(within, 0.0), np.maximum(distance, 0.0), rounding


def _add_sums(sums, K, i, j):
    """Add the row sums of block (i, j) of a symmetric matrix, and of block (j, i)."""
    xp = namespace(K)
    sums[i] += xp.sum(K, axis=1)
    if i != j:
        sums[j] += xp.sum(K, axis=0)
