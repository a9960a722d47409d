"""Public estimators and values of their parameters, valid and invalid, by names."""

from dataclasses import dataclass
from math import inf, nan

import numpy as np
from _strategies import Described
from hypothesis import strategies as st
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.model_selection import GroupKFold, LeaveOneOut, StratifiedKFold

from adaptive_kernels import (
    AdaptiveKernelClassifier,
    AdaptiveKernelClassifierCV,
    AdaptiveKernelRegressor,
    AdaptiveKernelRegressorCV,
    ModifiedSpectrumRegressor,
    NNGPClassifier,
    NNGPRegressor,
    NTKClassifier,
    NTKRegressor,
    OneStepSpikeFeatures,
)
from adaptive_kernels.kernels import NNGP, NTK, ModifiedSpectrum

# What makes a fit cheap.
SEARCH = {"widths": (1, inf), "covariance_types": ("diag",), "max_iter": 2, "cv": 2}
REGRESSORS = {
    "NNGPRegressor": (NNGPRegressor, {}),
    "AdaptiveKernelRegressor": (AdaptiveKernelRegressor, {"max_iter": 3}),
    "AdaptiveKernelRegressorCV": (AdaptiveKernelRegressorCV, SEARCH),
    "ModifiedSpectrumRegressor": (ModifiedSpectrumRegressor, {"max_iter": 5}),
    "NTKRegressor": (NTKRegressor, {}),
}
CLASSIFIERS = {
    "NNGPClassifier": (NNGPClassifier, {}),
    "AdaptiveKernelClassifier": (AdaptiveKernelClassifier, {"max_iter": 3}),
    "AdaptiveKernelClassifierCV": (AdaptiveKernelClassifierCV, SEARCH),
    "NTKClassifier": (NTKClassifier, {}),
}
TRANSFORMERS = {"OneStepSpikeFeatures": (OneStepSpikeFeatures, {"n_components": 7})}
MODELS = REGRESSORS | CLASSIFIERS | TRANSFORMERS
# Cheap ones come more often.
OFTEN = {name: 1 if name.endswith("CV") else 4 for name in MODELS}


def _diverging(z):
    return np.exp(z**2)


def _short(values):
    return values[:-1]


class _Unhashable:
    __hash__ = None

    def __call__(self, values):
        return np.tanh(values)


def _named(*values):
    return {repr(value): value for value in values}


def _wide(cls, **common):
    """Kernels by name, of which each parameter has usual and extreme values."""
    kernels = {name: cls(name) for name in ("erf", "relu", "identity", "gelu", "sin")}
    kernels |= {"tanh": cls(np.tanh), "deep": cls("relu", depth=3)}
    kernels |= {
        "no bias": cls("relu", bias_variance=0.0),
        "only bias": cls("erf", weight_variance=0.0),
        "no readout": cls("erf", readout_variance=0.0),
        "nothing": cls("relu", weight_variance=0.0, bias_variance=0.0),
        "tiny": cls("erf", weight_variance=1e-30, readout_variance=1e-30),
        "huge": cls("erf", weight_variance=1e30, readout_variance=1e30),
        "largest": cls("relu", weight_variance=1e300),
        "fixed": cls("erf", weight_variance_bounds="fixed"),
        "narrow": cls("erf", weight_variance_bounds=(0.9, 1.1)),
        "outside": cls("erf", weight_variance_bounds=(1e-5, 0.1)),
        "wide bounds": cls("relu", readout_variance_bounds=(1e-300, 1e300)),
        "metric": cls("erf", metric=np.array([1.0, 0.0])),
        "zero metric": cls("erf", metric=np.zeros((2, 2))),
        "origin": cls("erf", origin=np.array([1e3, 0.0])),
    }
    return {f"{cls.__name__} {name}": kernel for name, kernel in kernels.items()}


WIDE = _wide(NNGP) | _wide(NTK)
COMPOSED = {
    "RBF": RBF(),
    "NTK + RBF": NTK("relu") + RBF(),
    "2 NTK + white": 2.0 * NTK("relu") + WhiteKernel(),
    "NNGP squared": NNGP("erf") ** 2,
    "NTK relu * NNGP erf": NTK("relu") * NNGP("erf"),
    "modified": ModifiedSpectrum(NTK("relu"), np.eye(2), n_components=1),
}
INVALID_KERNELS = {
    "a class": NNGP,
    "a word": "erf",
    "a number": 1.0,
}
# A kernel is valid, its parameter is not. The name of the parameter is the key.
SPOILED_KERNELS = {
    ("activation", "unknown"): {"activation": "no_such"},
    ("activation", "a number"): {"activation": 3},
    ("activation", "diverging"): {"activation": _diverging},
    ("activation", "of a wrong shape"): {"activation": _short},
    ("activation", "unhashable"): {"activation": _Unhashable()},
    ("depth", "0"): {"depth": 0},
    ("depth", "1.5"): {"depth": 1.5},
    ("depth", "nan"): {"depth": nan},
    ("depth", "None"): {"depth": None},
    **{
        (f"{name}_variance", repr(value)): {f"{name}_variance": value}
        for name in ("weight", "bias", "readout")
        for value in (-1.0, nan, inf, "big", None)
    },
    **{
        (f"{name}_variance_bounds", repr(value)): {f"{name}_variance_bounds": value}
        for name in ("weight", "bias", "readout")
        for value in ((1.0, 0.1), (0.0, 1.0), (-1.0, 1.0), (nan, 1.0), "free", None, 3)
    },
    ("metric", "nan"): {"metric": np.array([nan, 1.0])},
    ("metric", "indefinite"): {"metric": np.diag([1.0, -1.0])},
    ("metric", "too short"): {"metric": np.ones(1)},
    ("metric", "asymmetric"): {"metric": np.array([[1.0, 1.0], [0.0, 1.0]])},
    ("metric", "a word"): {"metric": "metric"},
    ("origin", "too long"): {"origin": np.ones(3)},
    ("origin", "inf"): {"origin": np.array([inf, 0.0])},
    ("origin", "a word"): {"origin": "origin"},
}

VALID = {
    "kernel": WIDE,
    "kernels": {name: [kernel] for name, kernel in WIDE.items()}
    | {"two": [NNGP("erf"), NTK("relu")], "tuple": (NNGP("relu"),)},
    "alpha": _named(0, 0.0, 1e-300, 1e-10, 1.0, 1e10, 1e50),
    "optimizer": _named("evidence", None),
    "n_restarts_optimizer": _named(0, 1),
    "n_inducing": _named(None, 1, 3, 1000),
    "normalize_y": _named(True, False),
    "device": _named(None),
    "random_state": _named(None, 0, np.random.RandomState(0)),
    "width": _named(1e-20, 1e-3, 1, 3.5, 1e3, 1e20, inf),
    "widths": _named([1e-20], [0.1, 1e20], (1,), (inf,), np.array([1.0, 2.0])),
    "scaling": _named(1e-20, 0.5, 1, 7.0, 1e20),
    "scalings": _named([1.0, 2.0], (1e-20,), [1e20]),
    "scale_noise": _named(True, False),
    "approximation": _named("gaussian", "gaussian_tree", "tree", "one_loop", "exact")
    | _named("rescaling"),
    "covariance_type": _named("diag", "full"),
    "covariance_types": _named(("diag",), ["full"], ("diag", "full")),
    "max_iter": _named(1, 2, 10),
    "tol": _named(1e-10, 0.2, 0.9),
    "class_weight": _named(None, "balanced", {0: 1.0, 1: 5.0}, {0: 1e-3}, {1: 0.0})
    | _named({7: 1.0}, {0: 1e300}, {}),
    "cv": _named(None, 2, 3, 30)
    | {"leave one out": LeaveOneOut(), "pairs": [([0, 1], [2, 3]), ([2, 3], [0, 1])]},
    "scoring": _named(None),
    "n_jobs": _named(None, 1),
    "time": _named("gcv", 0.0, 1e-10, 1.0, 1e10, 1e300, inf),
    "spectrum": _named("flat", "identity", "cv", 0, -2.0, 0.5, 2.0, 1e3)
    | {"square root": np.sqrt, "zero": np.zeros_like},
    "n_components": _named(1, 2, 100),
    "activation": _named("relu", "erf", "identity", "sin", "gelu") | {"tanh": np.tanh},
    "gain": _named(0.0, 0.5, 1e-300, 10.0, 1e7),
    "gradient": _named("rank_one", "exact"),
    "residual": _named("target", "full"),
    "precondition": _named(None, 1e-300, 0.1, 1e10, 1e50),
    "target_type": _named("auto", "continuous", "classes"),
}
# The search has scores of its own for each type, and the others check their kernel.
CHANGED = {
    ("ModifiedSpectrumRegressor", "kernel"): WIDE | COMPOSED,
    ("NTKRegressor", "kernel"): _wide(NTK),
    ("NTKClassifier", "kernel"): _wide(NTK),
    ("AdaptiveKernelRegressorCV", "scoring"): _named(None, "r2"),
    ("AdaptiveKernelClassifierCV", "scoring"): _named(None, "accuracy", "roc_auc"),
}
INVALID = {
    "kernel": INVALID_KERNELS,
    "kernels": _named([], ["erf"], "erf", 3, [RBF()]) | {"a class": [NNGP]},
    "alpha": _named(-1.0, nan, inf, "small", None, 1j) | {"array": np.ones(2)},
    "optimizer": _named("adam", 3, True),
    "n_restarts_optimizer": _named(-1, 1.5, nan, "few", None),
    "n_inducing": _named(0, -1, 2.5, "few", nan),
    "normalize_y": _named("yes", None, 2),
    "device": _named("tpu", 0, ""),
    "random_state": _named("seed", -1, 1.5),
    "width": _named(0, -3, nan, "wide", None, 1e-300, 1e300),
    "widths": _named([], 3, "wide", [0.0], [nan], [None], [[1.0]], None, ["a"])
    | _named([1e-300], [1e300]),
    "scaling": _named(0, -1.0, inf, nan, "one", None, 1e-300, 1e300),
    "scalings": _named([], 3, [0.0], [inf], [nan], [None], None, "one", [1e300]),
    "scale_noise": _named("no", None),
    "approximation": _named("two_loop", None, 3),
    "covariance_type": _named("spherical", None, ("diag",)),
    "covariance_types": _named([], "diag", ["spherical"], 3, None, [["diag"]], [None]),
    "max_iter": _named(0, -1, 1.5, nan, None, "many"),
    "tol": _named(-1.0, nan, inf, None, "small"),
    "class_weight": _named("fair", {0: -1.0}, {0: nan}, {0: inf}, 3, {0: "a"})
    | _named({0: None}, [1.0, 2.0]),
    "cv": _named(0, 1, -1, 1.5, "five", [], [([0], [99])], [([0.5], [1])])
    | _named([(0, 1, 2)], 10**6)
    | {"no groups": GroupKFold(2), "class": StratifiedKFold},
    "scoring": _named("no_such", 3),
    "n_jobs": _named("all", 1.5),
    "time": _named(-1.0, nan, "long", None),
    "spectrum": _named("steep", nan, inf, None)
    | {"negative": np.negative, "short": _short},
    "n_components": _named(0, -1, 1.5, None, "few"),
    "activation": _named("no_such", 3, None)
    | {"diverging": _diverging, "short": _short, "unhashable": _Unhashable()},
    "gain": _named(-1.0, nan, inf, None, "big", 1e300),
    "gradient": _named("none", None),
    "residual": _named("half", None),
    "precondition": _named(0.0, -1.0, nan, inf, "some", 1e300),
    "target_type": _named("words", None),
}


def values_of(table, model, parameter):
    valid = CHANGED.get((model, parameter), VALID[parameter])
    return valid if table is VALID else table[parameter]


@dataclass(frozen=True, repr=False)
class Model(Described):
    """Description of an estimator: its name, and names of values of its parameters."""

    name: str
    settings: tuple[tuple[str, str], ...] = ()
    invalid: tuple[str, str] | None = None

    def build(self):
        cls, cheap = MODELS[self.name]
        given = {p: values_of(VALID, self.name, p)[v] for p, v in self.settings}
        if self.invalid:
            parameter, value = self.invalid
            if parameter == "kernel parameter":
                name, value = value.rsplit(" = ", 1)
                kernel = _spoiled(self.name, (name, value))
                given |= (
                    {"kernels": [kernel]}
                    if self.name.endswith("CV")
                    else {"kernel": kernel}
                )
            else:
                given[parameter] = INVALID[parameter][value]
        return cls(**cheap | given)

    def culprits(self):
        """Names of the parameter, of which an error has to show one."""
        parameter, value = self.invalid
        if parameter == "kernel parameter":
            return (value.split(" = ")[0],)
        # scikit-learn's splitters name their own parameters.
        return ("cv", "groups", "n_splits") if parameter == "cv" else (parameter,)


def _spoiled(model, key):
    cls = NTK if model.startswith("NTK") or "Spectrum" in model else NNGP
    return cls(**{"activation": "erf", **SPOILED_KERNELS[key]})


def parameters_of(name):
    return [p for p in VALID if p in MODELS[name][0]().get_params(deep=False)]


def often(names):
    return st.sampled_from([name for name in names for _ in range(OFTEN[name])])


@st.composite
def models(draw, names):
    """A model with up to three parameters that are not the default."""
    name = draw(often(names))
    chosen = draw(
        st.lists(st.sampled_from(parameters_of(name)), max_size=3, unique=True)
    )
    return Model(
        name,
        tuple(
            (p, draw(st.sampled_from(list(values_of(VALID, name, p))))) for p in chosen
        ),
    )


@st.composite
def invalid_models(draw, names):
    """A model with one invalid parameter, or with a kernel that has one."""
    name = draw(often(names))
    parameters = parameters_of(name)
    if {"kernel", "kernels"} & {*parameters}:
        parameters = [*parameters, "kernel parameter"]
    parameter = draw(st.sampled_from(parameters))
    if parameter == "kernel parameter":
        key = draw(st.sampled_from(list(SPOILED_KERNELS)))
        return Model(name, (), (parameter, " = ".join(key)))
    return Model(name, (), (parameter, draw(st.sampled_from(list(INVALID[parameter])))))
