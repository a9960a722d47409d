"""Classification with the fixed kernel of a wide network."""

from math import inf
from typing import Any, Literal

import numpy as np

from ..kernels import NNGP, NTK
from .adaptive_regressor import AdaptiveKernelRegressor
from .wide_network_classifier import _PASSED, WideNetworkClassifier


class NNGPClassifier(WideNetworkClassifier):
    """Classification with calibrated probabilities and a fixed neural-network kernel.

    The kernel is that of an infinitely wide Bayesian network, the neural-network
    Gaussian process (NNGP). It treats all features alike: use it where all of them
    matter, and as a baseline for `AdaptiveKernelClassifier`. Standardise X first. An
    exact fit takes O(n^3) time, nearly the same for any number of classes: about one
    second for 600 rows on one core.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        Kernel whose variances are tuned; None means ``NNGP("erf")``. A variance with
        "fixed" bounds is not tuned. Bounds other than the default apply to the
        variances of `kernel_`.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight`. Probabilities are then
        those of the weighted population. "balanced" gives all classes the same total
        weight.
    optimizer : {"evidence"} or None, default="evidence"
        "evidence" tunes the variances by the evidence. None keeps them as given, and
        does not centre X.
    n_restarts_optimizer : int, default=0
        Number of random starting points, in addition to the fixed ones.
    n_inducing : int, default=None
        None fits exactly, with n x n matrices. A number, best from 300 to 2000, fits
        with this many inducing points: O(n n_inducing^2) time, and one block of rows in
        memory at a time. Noise and calibration then use leave-one-out predictions of
        4000 rows, or 4 n_inducing if that is more. X may be a `numpy.memmap`, or of
        single precision. Above 20,000 rows it is neither copied nor kept.
    n_neighbors : int, "auto" or None, default="auto"
        None predicts from all training rows. A number predicts every new row from so
        many nearest rows in the metric of the kernel, on top of what 200 inducing
        points explain, or `n_inducing` if that is given. "auto" means None for up to
        4000 distinct rows, or if `n_inducing` is given, and 150 for more rows. Noise
        and calibration then use 2000 left-out rows and their neighbours.
    device : {"cuda"} or None, default=None
        "cuda" computes on a GPU with CuPy and returns NumPy; None computes where X is.
    random_state : int, RandomState or None, default=None
        Seed of the random starting points. Nothing else is random.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Labels of the classes, sorted.
    kernel_ : NNGP or NTK
        Kernel with the fitted variances.
    alpha_ : float
        Noise variance of the labels, when these are scaled to unit variance.
    leave_one_out_log_loss_ : float
        Mean log loss of training rows, each left out, with the fitted kernel.
    regressor_ : AdaptiveKernelRegressor
        The regressor of infinite width on targets -1 and 1 that learned the kernel.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows of positive weight, sorted. With `n_inducing` the
        inducing points, which are some of these rows.
    n_neighbors_ : int or None
        Number of nearest rows that predict; None if all training rows do.
    n_iter_ : int
        Number of iterations of the optimizer.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has string names for all columns.

    Notes
    -----
    The variances are tuned on targets of -1 and 1. Beyond 1000 distinct rows a
    stratified sample of 1000 is used, with neighbours of 2000. Then one-hot labels are
    regressed on all rows, with one kernel and one factorisation for all classes. From
    the mean m_c and the standard deviation s of a prediction follow

        logit_c = slope * m_c / s + offset_c.

    Slope, offsets and the noise minimise the log loss of leave-one-out predictions,
    with weak priors on slope and offsets.

    Dirichlet-noise classification (Milios et al.) of two classes is this regression at
    a given noise: the difference of its two latent functions has equal noise in every
    row.

    References
    ----------
    D. Milios et al., "Dirichlet-based Gaussian Processes for Large-scale Calibrated
    Classification", NeurIPS 2018.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from adaptive_kernels import NNGPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), NNGPClassifier()).fit(X[::2], y[::2])
    >>> print(model.predict_proba(X[[77]]).round(1))
    [[0.  0.4 0.6]]
    >>> print(round(model.score(X[1::2], y[1::2]), 1))
    0.9
    """

    def __init__(
        self,
        kernel: NNGP | NTK | None = None,
        *,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        optimizer: Literal["evidence"] | None = "evidence",
        n_restarts_optimizer: int = 0,
        n_inducing: int | None = None,
        n_neighbors: int | Literal["auto"] | None = "auto",
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernel = kernel
        self.class_weight = class_weight
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.n_neighbors = n_neighbors
        self.device = device
        self.random_state = random_state

    def _regressor(self):
        passed = {name: getattr(self, name) for name in _PASSED}
        return AdaptiveKernelRegressor(width=inf, **passed)
