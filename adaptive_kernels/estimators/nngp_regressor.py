"""Gaussian-process regression with the fixed kernel of a wide network."""

from math import inf
from typing import Literal

import numpy as np

from ..inference.local_posterior import LocalData
from ..inference.local_tuning import fit_with_output_scales, learn_from_neighbours
from ..inference.missed_structure import (
    look_for_structure,
    noise_share,
    warn_unless_converged,
)
from ..inference.output_noise import OutputNoisePosterior, OutputSpectrum
from ..inference.tuning import tune_isotropic
from ..kernels import NNGP, NTK
from ..theory.finite_width.approximations import solve_theory
from .wide_network import WideNetworkRegressor


class NNGPRegressor(WideNetworkRegressor):
    """Regression with error bars and the fixed kernel of an infinitely wide network.

    This is the neural-network Gaussian process (NNGP). Its kernel treats all features
    alike: use it where all of them matter, and as a baseline for
    `AdaptiveKernelRegressor`. Standardise X first. An exact fit takes O(n^3) time and
    O(n^2) memory: a quarter of a second for 600 rows on one core.

    Parameters
    ----------
    kernel : NNGP or NTK, default=None
        Kernel whose variances are tuned; None means ``NNGP("erf")``. A variance with
        "fixed" bounds is not tuned. Bounds other than the default apply to the
        variances of `kernel_`, in the units of X and y. Default bounds are relative:
        the weight variance is measured in units of 1 / (mean square of centred X), the
        readout variance in units of the variance of y. At depth > 1 all layers share
        the weight variance. If its bounds are the default ones, the metric of `kernel_`
        scales X to unit mean square.
    alpha : float, default=1e-2
        Noise variance, in units of the variance of y if `normalize_y`. It stays fixed
        if `optimizer=None`. Otherwise it is a starting point, together with the
        variances of `kernel` if these differ from the default.
    optimizer : {"evidence"} or None, default="evidence"
        "evidence" tunes variances and noise by the evidence, and centres X. None keeps
        all of them as given, and subtracts the kernel's `origin` from X, if it has one.
    n_restarts_optimizer : int, default=0
        Number of random starting points, in addition to the fixed ones.
    n_inducing : int, default=None
        None fits exactly, with n x n matrices. A number, best from 300 to 2000, fits
        with this many inducing points: O(n n_inducing^2) time, and one block of rows in
        memory at a time. With fewer distinct rows than points the fit is exact. Kernel
        and noise are learned from a fixed random sample of 4000 rows, or 4 n_inducing
        if that is more; predictions use all rows. X may be a `numpy.memmap`, or of
        single precision. Above 20,000 rows it is neither copied nor kept. Leave-one-out
        predictions, and the evidence at other hyperparameters, are not available.
    n_neighbors : int, "auto" or None, default="auto"
        None predicts from all training rows. A number predicts every new row from so
        many nearest rows in the learned metric, on top of what 200 inducing points
        explain, or `n_inducing` if that is given. "auto" means None for up to 4000
        distinct rows, or if `n_inducing` is given, and 150 for more rows. With
        neighbours, kernel and noise are learned from the evidence of 1200 rows, then
        from left-out rows of the whole table. The cost of a fit hardly grows with n.
        Several outputs share one ratio of noise to signal. See the page on large data.
    normalize_y : bool, default=True
        Fit to centred targets of unit variance. Predictions are in the units of y.
    device : {"cuda"} or None, default=None
        "cuda" computes on a GPU with CuPy and returns NumPy; None computes where X is.
    random_state : int, RandomState or None, default=None
        Seed of the random starting points. Nothing else is random.

    Attributes
    ----------
    kernel_ : NNGP or NTK
        Kernel with the fitted variances.
    alpha_ : float or ndarray of shape (n_outputs,)
        Fitted noise variance, in the units of `alpha`. Several outputs that are tuned
        have one each.
    dual_coef_ : array of shape (n_rows, n_outputs)
        Coefficients of the kernel with `X_train_` in the mean of normalised y. Without
        `n_inducing` they are (K + noise)^{-1} y.
    X_train_ : array of shape (n_rows, n_features)
        Distinct training rows of positive weight, sorted. With `n_inducing` the
        inducing points, which are some of these rows.
    n_neighbors_ : int or None
        Number of nearest rows that predict; None if all training rows do.
    log_marginal_likelihood_value_ : float
        Log evidence of normalised y, summed over outputs. With `n_inducing` a lower
        bound of it.
    n_iter_ : int
        Number of iterations of the optimizer.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X has string names for all columns.

    Notes
    -----
    Variances and noise maximise the evidence, by its analytic gradient, from several
    fixed starting points. The result does not depend on the origin or the units of X
    and y. If the noise is above 30 % of the variance of y, a small random forest is
    grown. The fit warns if it explains less than half of what the forest explains out
    of bag.

    References
    ----------
    Lee et al., "Deep Neural Networks as Gaussian Processes", ICLR 2018.
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006.
    Titsias, "Variational learning of inducing variables in sparse Gaussian processes",
    AISTATS 2009, for `n_inducing`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from adaptive_kernels import NNGPRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-3, 3, (60, 1))
    >>> y = np.sin(X[:, 0]) + 0.1 * rng.standard_normal(60)
    >>> model = make_pipeline(StandardScaler(), NNGPRegressor()).fit(X, y)
    >>> mean, std = model.predict([[0.5]], return_std=True)
    >>> print(mean.round(1), std.round(1))
    [0.5] [0.1]
    """

    def __init__(
        self,
        kernel: NNGP | NTK | None = None,
        *,
        alpha: float = 1e-2,
        optimizer: Literal["evidence"] | None = "evidence",
        n_restarts_optimizer: int = 0,
        n_inducing: int | None = None,
        n_neighbors: int | Literal["auto"] | None = "auto",
        normalize_y: bool = True,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.kernel = kernel
        self.alpha = alpha
        self.optimizer = optimizer
        self.n_restarts_optimizer = n_restarts_optimizer
        self.n_inducing = n_inducing
        self.n_neighbors = n_neighbors
        self.normalize_y = normalize_y
        self.device = device
        self.random_state = random_state

    def _fit(self, rows):
        problem, frame = self._problem(rows.data)
        solution = tune_isotropic(problem)
        warn_unless_converged(solution, problem.tol)
        if isinstance(rows.data, LocalData):
            solution = learn_from_neighbours(problem, frame, solution)
        look_for_structure(problem, noise_share(solution, problem.data))
        point = frame.outside(solution.point)
        if not self._has_noise_per_output(rows):
            posterior, evidence = solve_theory("gaussian", rows.data, point, inf)
        elif isinstance(rows.data, LocalData):
            posterior, evidence = fit_with_output_scales(rows.data, point)
        else:
            spectrum = OutputSpectrum.of(rows.data, point)
            noise = spectrum.best_noise(point.alpha / solution.point.alpha)
            posterior, evidence = OutputNoisePosterior.fit(spectrum, noise)
        self._store(rows, posterior, evidence, solution.n_iter)
