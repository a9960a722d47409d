"""Classification with the fixed kernel of a wide network."""

from math import inf
from typing import Any, Literal

import numpy as np

from ..kernels import NNGP, NTK
from .adaptive_regressor import AdaptiveKernelRegressor
from .wide_network_classifier import _PASSED, WideNetworkClassifier


class NNGPClassifier(WideNetworkClassifier):
    """Classification with the Gaussian process of an infinitely wide neural network.

    NNGP means neural-network Gaussian process. One-hot labels are regressed on, with
    one kernel and one factorisation for all classes; slope and offsets of the logits,
    and the noise, are those of least log loss over rows left out in closed form. Beyond
    1000 distinct rows the kernel is learned from a stratified sample of as many.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        As in `NNGPRegressor`.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight`: probabilities are then
        those of the weighted population. "balanced" gives classes equal total weight.
    optimizer : {"evidence"} or None, default="evidence"
        None takes every variance of the kernel as given.
    n_restarts_optimizer : int, default=0
        Random starting points besides the fixed ones.
    n_inducing : int, default=None
        None is the exact fit, with a matrix of n x n. A number, from 300 to 2000, fits
        through so many inducing points in O(n n_inducing^2) time, a block of rows in
        memory at once. Noise and calibration then rest on 4000 rows, or 4 n_inducing if
        that is more, each left out of all. X may be a `numpy.memmap`, or of single
        precision; from 20,000 rows it is neither copied nor kept.
    device : {"cuda"} or None, default=None
        "cuda" moves X to a GPU through CuPy and returns NumPy; None follows X.
    random_state : int, RandomState or None, default=None
        For the random starts only.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    kernel_ : NNGP or NTK
        Kernel with the fitted variances.
    alpha_ : float
        Noise variance of the labels, in units of their variance.
    leave_one_out_log_loss_ : float
    regressor_ : AdaptiveKernelRegressor
        The regressor of infinite width on labels -1 and 1 that learned the kernel.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows of positive weight, in lexicographic order; with
        `n_inducing` the inducing points, which are some of the training rows.
    n_iter_ : int
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)

    Notes
    -----
    For two classes, Dirichlet-noise classification is this regression at a given noise,
    since the difference of its two latent functions has the same noise in every row.

    References
    ----------
    D. Milios et al., "Dirichlet-based Gaussian Processes for Large-scale Calibrated
    Classification", NeurIPS 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from adaptive_kernels import NNGPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NNGPClassifier().fit(X[::2], y[::2])
    >>> model.predict_proba(X[1::2]).shape
    (75, 3)
    >>> model.score(X[1::2], y[1::2]) > 0.9
    True
    """

    def __init__(
        self,
        kernel: NNGP | NTK | None = None,
        *,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        optimizer: Literal["evidence"] | None = "evidence",
        n_restarts_optimizer: int = 0,
        n_inducing: int | None = None,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernel = kernel
        self.class_weight = class_weight
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.device = device
        self.random_state = random_state

    def _regressor(self):
        passed = {name: getattr(self, name) for name in _PASSED}
        return AdaptiveKernelRegressor(width=inf, **passed)
