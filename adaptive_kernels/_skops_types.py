"""The types of fitted models, for skops to load."""

from collections.abc import Iterator
from importlib import import_module
from inspect import isclass, isfunction
from pkgutil import walk_packages
from types import FunctionType, ModuleType

from ._persistence import PACKAGE
from .kernels._hermite import HERMITE_ACTIVATIONS
from .theory.finite_width.approximations import APPROXIMATIONS

# Nothing that a fitted model holds is defined elsewhere in the package. `_arrays` is
# left out on purpose: its `MappedRows` read the file that they name.
ROOMS = ("kernels", "inference", "theory", "estimators", "model_selection")


def _modules() -> Iterator[ModuleType]:
    for room in ROOMS:
        package = import_module(f"{PACKAGE}.{room}")
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            yield import_module(module.name)


def _types() -> Iterator[type | FunctionType]:
    """Classes of the rooms, and the functions that a fitted model may refer to."""
    for module in _modules():
        for value in vars(module).values():
            if isclass(value) and value.__module__ == module.__name__:
                yield value
    for holder in (*HERMITE_ACTIVATIONS.values(), *APPROXIMATIONS.values()):
        yield from filter(isfunction, vars(holder).values())


SKOPS_TRUSTED_TYPES = sorted({f"{t.__module__}.{t.__qualname__}" for t in _types()})
