"""Kernels on any rows: alone, and inside scikit-learn's Gaussian processes."""

from dataclasses import dataclass

import numpy as np
from _contract import DATA, check_array, counted, honoured, require, share
from _fits import rows_of
from _models import COMPOSED, SPOILED_KERNELS, WIDE
from _strategies import (
    Case,
    Described,
    Labels,
    Table,
    cases,
    labels,
    targets,
)
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.gaussian_process import (
    GaussianProcessClassifier,
    GaussianProcessRegressor,
)

from adaptive_kernels import learning_curve_theory
from adaptive_kernels.kernels import NNGP, NTK, ModifiedSpectrum

KERNELS = WIDE | COMPOSED
NAMES = (*DATA, *NNGP().get_params(), "spectrum", "n_components", "sample", "base")
OURS = [name for name in KERNELS if name != "RBF"]
kernels = st.one_of(st.sampled_from(list(WIDE)), st.sampled_from(OURS))


def check_matrices(kernel, X, new):
    n, m = rows_of(X), rows_of(new)
    K, gradient = kernel(X, eval_gradient=True)
    check_array("matrix", K, (n, n))
    require(np.array_equal(K, K.T), "the matrix is not symmetric.")
    check_array("gradient", gradient, (n, n, kernel.n_dims))
    diagonal = kernel.diag(X)
    check_array("diagonal", diagonal, (n,), least=0.0)
    check_array("cross matrix", kernel(X, new), (n, m))
    top = max(float(np.max(np.abs(K))), np.finfo(float).tiny)
    require(np.allclose(np.diag(K) / top, diagonal / top), "diag differs.")
    if top < 1e-300 or top > 1e20 or np.max(np.abs(np.asarray(X, float))) > 1e5:
        return  # zero; or so large that the least eigenvalue is rounding
    least = np.linalg.eigvalsh(K / top).min()
    # Near one, an arcsine has the square root of the rounding of its argument.
    require(least > -1e-8 * n, f"the least eigenvalue is {least:.1e} of the largest.")


@share(0.06)
@given(cases(kernels, targets))
@example(Case("NNGP relu", Table(d=0)))
@example(Case("NTK erf", Table(container="complex")))
@example(Case("NTK erf", Table(container="words")))
@example(Case("NNGP largest", Table(shift=1e16)))
@example(Case("NTK narrow", Table(n=3, d=1, scales=(1e80,))))
@example(Case("NTK sin", changed="no rows"))
@example(Case("NTK tanh", changed="no rows"))
@example(Case("NTK gelu", Table(scales=(1e80,))))
def test_matrices(case):
    with counted(case):
        kernel = clone(KERNELS[case.model])
        X, new = case.X.build(), case.new_rows()
        # scikit-learn's own kernels take no lists.
        kinds = list | np.ndarray if case.model in WIDE else np.ndarray
        if isinstance(X, kinds) and np.ndim(X) == 2:
            with honoured(NAMES, (X, new)):
                check_matrices(kernel, X, new)


@share(0.03)
@given(st.sampled_from([NNGP, NTK]), st.sampled_from(list(SPOILED_KERNELS)))
def test_invalid_parameters(cls, key):
    with counted((cls.__name__, *key)):
        kernel = cls(**{"activation": "erf", **SPOILED_KERNELS[key]})
        X = Table().build()
        with honoured((), culprits=key[:1]):
            kernel(X, eval_gradient=True)


@share(0.01)
@given(
    st.sampled_from(["nan", -1.0, None, np.negative, lambda values: values[:-1]]),
    st.sampled_from([0, -1, 1.5, None, "few"]),
    st.booleans(),
)
def test_invalid_spectra(spectrum, n_components, first):
    with counted((spectrum, n_components, first)):
        X = Table().build()
        if first:
            kernel = ModifiedSpectrum(NTK("relu"), X, spectrum=np.negative)
        else:
            kernel = ModifiedSpectrum(NTK("relu"), X, n_components=n_components)
        with honoured((), culprits=("spectrum" if first else "n_components",)):
            kernel(X)


@dataclass(frozen=True, repr=False)
class Process(Described):
    """A kernel, and parameters of scikit-learn's process around it."""

    kernel: str = "NNGP erf"
    alpha: float = 1e-6
    optimized: bool = False


processes = st.builds(
    Process, kernels, st.sampled_from([1e-10, 1e-6, 1e-2, 1.0]), st.booleans()
)


def _moderate(case):
    """Whether scikit-learn's own process can compute with these targets and rows."""
    numbers = np.abs(np.append(case.X.numbers(case.new), case.X.numbers()))
    values = [0.0] if isinstance(case.y, Labels) else np.abs(case.y.numbers())
    with np.errstate(all="ignore"):
        return np.nanmax(np.append(numbers, values), initial=0) < 1e10


@share(0.06)
@given(cases(processes, targets))
def test_regression_in_scikit_learn(case):
    with counted(case):
        part = case.model
        model = GaussianProcessRegressor(
            clone(KERNELS[part.kernel]),
            alpha=part.alpha,
            optimizer="fmin_l_bfgs_b" if part.optimized and case.X.n < 15 else None,
            normalize_y=True,
        )
        X, y, new = case.X.build(), case.y.build(), case.new_rows()
        fitted = None
        with honoured((*NAMES, "alpha"), (X, y)):
            fitted = model.fit(X, y)
        if fitted is not None and _moderate(case):
            with honoured(("X",), (new,)):
                mean, std = model.predict(new, return_std=True)
                check_array("mean", mean, mean.shape)
                check_array("std", std, mean.shape, least=0.0)


def varies(model, X):
    kernels = getattr(model.kernel_, "kernels", [model.kernel_])
    return all(np.all(0 < k.diag(X)) and np.all(k.diag(X) < 1e20) for k in kernels)


@share(0.04)
@given(cases(processes, labels))
@example(Case(Process("NNGP gelu", 1.0, True), Table(4, 40, scales=(1e80,)), Labels(4)))
def test_classification_in_scikit_learn(case):
    with counted(case):
        part = case.model
        model = GaussianProcessClassifier(
            clone(KERNELS[part.kernel]),
            optimizer="fmin_l_bfgs_b" if part.optimized and case.X.n < 9 else None,
        )
        X, y, new = case.X.build(), case.y.build(), case.new_rows()
        fitted = None
        with honoured((*NAMES, "classes", "class"), (X, y)):
            fitted = model.fit(X, y)
        # scikit-learn's process divides by the variance, and squares it.
        if fitted is not None and _moderate(case) and varies(model, X):
            with honoured(("X",), (new,)):
                chances = model.predict_proba(new)
                shape = (rows_of(new), len(model.classes_))
                check_array("probabilities", chances, shape, least=0.0)


@share(0.04)
@given(cases(processes, targets))
def test_learning_curves(case):
    with counted(case):
        X, y, curve = case.X.build(), case.y.build(), None
        kernel = clone(KERNELS[case.model.kernel])
        with honoured((*NAMES, "alpha", "noise", "train_sizes"), (X, y)):
            curve = learning_curve_theory(kernel, X, y, alpha=case.model.alpha)
        if curve is not None:
            check_array("sizes", curve.sizes, curve.sizes.shape, kinds="fi")
            for name in ("effective_ridge", "learnability"):
                check_array(name, getattr(curve, name), getattr(curve, name).shape)
            # Infinite where the kernel interpolates.
            assert not np.any(np.isnan([curve.inflation, curve.test_error]))
