"""The examples in docstrings run and show what they say."""

import doctest
from importlib import import_module
from pkgutil import walk_packages

import pytest

import adaptive_kernels

MODULES = sorted(
    module.name
    for module in walk_packages(adaptive_kernels.__path__, "adaptive_kernels.")
    if not module.name.endswith("__main__")
)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(import_module(name)).failed == 0
