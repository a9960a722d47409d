"""Ridge regression after one gradient step: measured test errors against the theory.

python benchmarks/one_step.py

Separate standard normal rows for the step and the regression, a noisy target in one
direction, step sizes n^exponent. The theory's test error should lie within 4 % or three
standard errors of the measured one, for the rank-one step and for the exact gradient.
"""

import warnings
from dataclasses import dataclass, field

import numpy as np
from numpy.polynomial.hermite_e import hermeval
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from adaptive_kernels import OneStepSpikeFeatures
from adaptive_kernels.theory import (
    direction_alignment,
    gain_from_exponent,
    ridge_asymptotics,
)

N_TEST = 3000
GRADIENTS = ("rank_one", "exact")


def shifted_tanh(z):
    """An activation with all Hermite coefficients."""
    return np.tanh(z + 0.8)


@dataclass(frozen=True)
class Setting:
    """Sizes, target and exponents of one table; None stands for no step."""

    n_samples: int
    n_features: int
    n_components: int
    activation: object = "relu"
    target: tuple = (0.0, 1.0, 0.5)
    noise: float = 0.09
    alpha: float = 0.05 * 1500 / 1125
    exponents: tuple = (None, 0.0, 0.1, 0.24, 0.28, 0.32, 0.36, 0.4, 0.44)
    n_seeds: int = 8
    fit_intercept: bool = True
    shape: dict = field(init=False)

    def __post_init__(self):
        names = ("n_samples", "n_features", "n_components")
        shape = {name: getattr(self, name) for name in names}
        object.__setattr__(self, "shape", shape)

    def gain(self, exponent):
        """Gain of a step of that size; zero for no step."""
        if exponent is None:
            return 0.0
        direction = direction_alignment(
            self.target,
            noise=self.noise,
            n_features=self.n_features,
            n_step_samples=self.n_samples,
        )
        return gain_from_exponent(
            exponent,
            n_samples=self.n_samples,
            n_components=self.n_components,
            gradient_norm=direction.gradient_norm,
            activation=self.activation,
        )

    def predicted(self, gain):
        """Test error by the theory."""
        return ridge_asymptotics(
            self.target,
            noise=self.noise,
            alpha=self.alpha,
            activation=self.activation,
            gain=gain,
            fit_intercept=self.fit_intercept,
            **self.shape,
        ).test_error

    def draw(self, rng, n_rows):
        """Inputs and labels; the direction is the first axis."""
        X = rng.standard_normal((n_rows, self.n_features))
        noise = np.sqrt(self.noise) * rng.standard_normal(n_rows)
        return X, hermeval(X[:, 0], self.target) + noise

    def measured(self, gains, gradient):
        """Test errors, (gains, seeds); a seed fixes rows and neurons."""
        errors = np.empty((len(gains), self.n_seeds))
        for seed in range(self.n_seeds):
            rng = np.random.default_rng(seed)
            sizes = self.n_samples, self.n_samples, N_TEST
            step, train, test = (self.draw(rng, n) for n in sizes)
            for row, gain in enumerate(gains):
                features = OneStepSpikeFeatures(
                    self.n_components,
                    activation=self.activation,
                    gain=gain,
                    gradient=gradient,
                    random_state=seed,
                ).fit(*step)
                ridge = Ridge(self.alpha, fit_intercept=self.fit_intercept)
                ridge.fit(features.transform(train[0]), train[1])
                residual = test[1] - ridge.predict(features.transform(test[0]))
                errors[row, seed] = np.mean(residual**2)
        return errors


SETTINGS = (
    Setting(1500, 750, 1125),
    Setting(1500, 750, 1125, fit_intercept=False),
    Setting(
        600,
        900,
        700,
        activation=shifted_tanh,
        target=(0.0, 0.8, 0.6, 0.2),
        noise=0.25,
        alpha=0.05,
        exponents=(None, 0.1, 0.28, 0.36, 0.44),
        n_seeds=12,
    ),
    Setting(
        600,
        300,
        1500,
        activation=shifted_tanh,
        alpha=0.1,
        exponents=(None, 0.1, 0.28, 0.36, 0.44),
        n_seeds=12,
    ),
)


def table(setting, gradient):
    """Print measured and predicted test errors, a line for each exponent."""
    name = getattr(setting.activation, "__name__", setting.activation)
    sizes = " x ".join(str(size) for size in setting.shape.values())
    intercept = "with" if setting.fit_intercept else "without"
    print(f"\n{name}, {gradient}, {intercept} intercept")
    print(f"Rows x features x neurons: {sizes}\n")
    print("| exponent | gain | measured | theory | deviation, % | in standard errors |")
    print("|---" * 6 + "|")
    gains = [setting.gain(exponent) for exponent in setting.exponents]
    errors = setting.measured(gains, gradient)
    spread = errors.std(axis=1, ddof=1) / np.sqrt(setting.n_seeds)
    rows = zip(setting.exponents, gains, errors.mean(axis=1), spread, strict=True)
    for exponent, gain, mean, error in rows:
        theory = setting.predicted(gain)
        label = "no step" if exponent is None else f"{exponent:.2f}"
        cells = (
            label,
            f"{gain:.4f}",
            f"{mean:.4f} ± {error:.4f}",
            f"{theory:.4f}",
            f"{100 * (theory / mean - 1):+.1f}",
            f"{(theory - mean) / error:+.1f}",
        )
        print("| " + " | ".join(cells) + " |", flush=True)


def main():
    """Print one table for each setting and gradient."""
    for setting in SETTINGS:
        for gradient in GRADIENTS:
            table(setting, gradient)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with threadpool_limits(1):
        main()
