"""Linear models, kernel machines, Gaussian processes and networks of scikit-learn."""

import numpy as np

from .fitting import gammas, tuned

NETWORK = {
    "hidden_layer_sizes": (128, 128),
    "early_stopping": True,
    "n_iter_no_change": 20,
    "max_iter": 300,
    "learning_rate_init": 2e-3,
}


def bayesian_ridge(X, y, seed):
    from sklearn.linear_model import BayesianRidge

    return BayesianRidge()


def logistic_regression(X, y, seed):
    from sklearn.linear_model import LogisticRegressionCV

    return LogisticRegressionCV(Cs=5, cv=3, max_iter=500)


def kernel_ridge(X, y, seed):
    from sklearn.kernel_ridge import KernelRidge

    grid = {"alpha": [1e-3, 1e-2, 0.1, 1.0], "gamma": gammas(X)}
    return tuned(KernelRidge(kernel="rbf"), grid, X, y, seed)


def support_vector_regression(X, y, seed):
    from sklearn.svm import SVR

    grid = {"C": [1.0, 10.0, 100.0], "gamma": gammas(X)}
    return tuned(SVR(epsilon=0.05, cache_size=500), grid, X, y, seed)


def support_vector_classification(X, y, seed):
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    grid = {"C": [1.0, 10.0, 100.0], "gamma": gammas(X)}
    best = tuned(SVC(cache_size=500), grid, X, y, seed)
    return CalibratedClassifierCV(best, cv=3, ensemble=False)


def gaussian_process(kernel, variance, seed):
    """Gaussian process with the given kernel, its variance and noise tuned."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel

    noise = WhiteKernel(0.1, (1e-6, 1e1))
    kernel = ConstantKernel(*variance) * kernel + noise
    return GaussianProcessRegressor(kernel, normalize_y=True, random_state=seed)


def gpr_ard(X, y, seed):
    from sklearn.gaussian_process.kernels import RBF

    scales = np.full(X.shape[1], X.shape[1] ** 0.5)
    return gaussian_process(RBF(scales, (1e-2, 1e4)), (1.0, (1e-3, 1e4)), seed)


def gpr_matern52(X, y, seed):
    from sklearn.gaussian_process.kernels import Matern

    kernel = Matern(X.shape[1] ** 0.5, (1e-2, 1e4), nu=2.5)
    return gaussian_process(kernel, (1.0, (1e-3, 1e4)), seed)


def neural_tangent(X, y, seed):
    """scikit-ntk: the tangent kernel of three ReLU layers."""
    from skntk import NeuralTangentKernel

    kernel = NeuralTangentKernel(3, bias=0.1)
    return gaussian_process(kernel, (0.1, (1e-5, 1e4)), seed)


def gaussian_process_classifier(X, y, seed):
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel

    kernel = ConstantKernel(1.0) * RBF(X.shape[1] ** 0.5)
    return GaussianProcessClassifier(kernel, random_state=seed)


def network_regressor(X, y, seed):
    from sklearn.neural_network import MLPRegressor

    return MLPRegressor(**NETWORK, random_state=seed)


def network_classifier(X, y, seed):
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(**NETWORK, random_state=seed)
