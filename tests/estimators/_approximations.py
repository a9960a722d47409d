"""Models, data and n x n truth that the tests of approximations share."""

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar, root
from scipy.special import gammaln

from adaptive_kernels import AdaptiveKernelRegressor
from adaptive_kernels.kernels import NNGP

RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 3))
X_NEW = RNG.standard_normal((4, 3))
Y2 = np.stack([X[:, 0] + np.sin(2 * X[:, 1]), X[:, 0] * X[:, 2]], axis=1)
Y2 += 0.2 * RNG.standard_normal(Y2.shape)
Y1 = Y2[:, 0]
COUNTS = RNG.integers(1, 4, 12)
ROWS = np.repeat(np.arange(12), COUNTS)
DIAGONAL = np.array([2.0, 0.5, 1.0])
ROOT = np.array([[1.0, 0, 0], [0.5, 0.8, 0], [-0.3, 0.1, 1.4]])
WIDTH, NOISE = 15.0, 0.3

LINEAR = {
    "linear": NNGP("identity", bias_variance=0, weight_variance=1.5),
    "linear with bias": NNGP("identity", bias_variance=0.4, readout_variance=0.7),
    "linear, diagonal metric": NNGP("identity", metric=DIAGONAL),
    "linear, full metric": NNGP("identity", metric=ROOT @ ROOT.T),
}
KERNELS = {
    **LINEAR,
    "relu": NNGP("relu", bias_variance=0),
    "erf": NNGP("erf", weight_variance=2.0),
    "erf, diagonal metric": NNGP("erf", metric=DIAGONAL),
    "erf, full metric": NNGP("erf", metric=ROOT @ ROOT.T),
}
GAUSSIAN = ("gaussian", "gaussian_tree")
RESCALED = ("tree", "one_loop", "rescaling", "exact")
ALL = (*GAUSSIAN, *RESCALED)
TIGHT = {"max_iter": 3000, "tol": 1e-6}

weighting = pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
every = pytest.mark.parametrize("name", ALL)
neurons = pytest.param("sampled", marks=pytest.mark.slow)
every_and_sampled = pytest.mark.parametrize("name", [*ALL, neurons])


def given(name, kernel=None, **parameters):
    """A model of fixed hyperparameters, in the units of y."""
    fixed = {"optimizer": None, "normalize_y": False, "width": WIDTH, "alpha": NOISE}
    kernel = KERNELS["linear"] if kernel is None else kernel
    return AdaptiveKernelRegressor(kernel, approximation=name, **fixed | parameters)


def tuned(name, **parameters):
    kernel = NNGP("identity") if name == "exact" else NNGP("erf")
    model = AdaptiveKernelRegressor(kernel, approximation=name, width=WIDTH)
    return model.set_params(**parameters)


def predictions(model, rows=X_NEW):
    return np.array(model.predict(rows, return_std=True))


def matrices(kernel, rows):
    return kernel(rows), kernel(X_NEW, rows), kernel(X_NEW)


def gaussian_process(K, cross, prior, y, noise):
    """Mean, covariance and log density of the targets."""
    C = K + noise * np.eye(len(K))
    dual = np.linalg.solve(C, y)
    covariance = prior - cross @ np.linalg.solve(C, cross.T)
    log_det = np.linalg.slogdet(2 * np.pi * C)[1]
    return cross @ dual, covariance, -0.5 * (y @ dual + log_det)


def degrees_of_freedom(K, noise):
    return np.trace(np.linalg.solve(K + noise * np.eye(len(K)), K))


class Truth:
    """A theory of one output with rows repeated, in n x n matrices."""

    def __init__(self, name, kernel, rows, y, noise=NOISE, width=WIDTH):
        self.K, self.cross, self.prior = matrices(kernel, rows)
        self.y, self.noise, self.width = y, noise, width
        self.eye = np.eye(len(rows))
        getattr(self, name)()

    def u(self, s):
        return np.linalg.solve(self.noise * self.eye + s * self.K, self.y)

    def tree_scale(self):
        def equation(Q):
            return 1 - self.u(Q) @ self.K @ self.u(Q) / self.width - 1 / Q

        return brentq(equation, 1.0, 1e3, xtol=1e-14)

    def fluctuating(self, scale, u, beta):
        """Outputs fluctuate with the kernel scale K + beta K u u'K."""
        v, w = self.K @ u, self.cross @ u
        self.M = self.noise * self.eye + scale * self.K + beta * np.outer(v, v)
        cross = scale * self.cross + beta * np.outer(w, v)
        prior = scale * self.prior + beta * np.outer(w, w)
        self.covariance = prior - cross @ np.linalg.solve(self.M, cross.T)
        self.dof = degrees_of_freedom(scale * self.K, self.noise)
        self.scale = scale

    def tree(self):
        Q = self.tree_scale()
        u = self.u(Q)
        self.mean = Q * self.cross @ u
        self.fluctuating(Q, u, 2 * Q**2 / self.width)
        action = self.noise / 2 * u @ u - u @ self.y
        action -= self.width / 2 * np.log(1 - u @ self.K @ u / self.width)
        log_det = np.linalg.slogdet(2 * np.pi * self.M)[1]
        self.evidence = action - 0.5 * log_det

    def one_loop(self):
        self.tree()
        evidence, N, K = self.evidence, self.width, self.K

        def state(u):
            v = K @ u
            Q = 1 / (1 - u @ v / N)
            beta = 2 * Q**2 / N
            M = self.noise * self.eye + Q * K + beta * np.outer(v, v)
            inverse = np.linalg.inv(M)
            T, r = np.trace(inverse @ K), v @ inverse @ v
            scale = Q - Q**2 / N * (T + 4 * Q * r / N)
            return Q, scale, scale * u - beta * inverse @ v

        def equation(u):
            return self.noise * u + K @ state(u)[2] - self.y

        found = root(equation, self.u(self.tree_scale()), tol=1e-13)
        Q, scale, dual = state(found.x)
        assert np.max(np.abs(equation(found.x))) < 1e-10
        self.mean = self.cross @ dual
        self.fluctuating(scale, found.x, 2 * Q**2 / N)
        self.evidence = evidence

    def log_posterior(self, t):
        """Log density of the targets and of t = log s, its Gamma prior included."""
        half = self.width / 2
        prior = half * np.log(half) - gammaln(half) + half * (t - np.exp(t))
        return prior + self.process(np.exp(t))[2]

    def process(self, s):
        K, cross, prior = s * self.K, s * self.cross, s * self.prior
        return gaussian_process(K, cross, prior, self.y, self.noise)

    def rescaling(self):
        bounds = {"bounds": (-4, 4), "options": {"xatol": 1e-10}}
        t = minimize_scalar(lambda t: -self.log_posterior(t), **bounds).x
        low, peak, high = (self.log_posterior(t + h) for h in (-1e-3, 0, 1e-3))
        curvature = (2 * peak - low - high) / 1e-6
        self.scale = np.exp(t)
        self.mean, covariance, _ = self.process(self.scale)
        ends = [self.process(np.exp(t + h))[0] for h in (-1e-4, 1e-4)]
        slope = (ends[1] - ends[0]) / 2e-4
        self.covariance = covariance + np.outer(slope, slope) / curvature
        self.dof = degrees_of_freedom(self.scale * self.K, self.noise)
        self.evidence = peak + 0.5 * np.log(2 * np.pi / curvature)

    def exact(self):
        """By the trapezoidal rule, of error e^-30 at this width of the density."""
        t = np.linspace(-6, 3, 400)
        logs = np.array([self.log_posterior(value) for value in t])
        shares = np.exp(logs - logs.max())
        self.evidence = logs.max() + np.log(shares.sum() * (t[1] - t[0]))
        self.shares, self.scales = shares / shares.sum(), np.exp(t)
        means, covariances, _ = zip(*map(self.process, self.scales), strict=True)
        self.mean = self.shares @ np.array(means)
        spread = np.array(means) - self.mean
        self.covariance = np.tensordot(self.shares, np.array(covariances), 1)
        self.covariance += (self.shares[:, None] * spread).T @ spread
        self.scale = self.shares @ self.scales
        dofs = [degrees_of_freedom(s * self.K, self.noise) for s in self.scales]
        self.dof = self.shares @ np.array(dofs)


# Where the truth stems from minimisation and differences: 1e-8 for the place of a
# minimum, 1e-6 for a curvature.
CLOSE = {name: 1e-9 for name in RESCALED} | {"rescaling": 3e-6}
