"""Settings that are read when SciPy and others are first imported; axes to draw on."""

import os

import pytest

# Without it scikit-learn skips its array API checks silently.
os.environ["SCIPY_ARRAY_API"] = "1"
os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture
def ax():
    figure = pytest.importorskip("matplotlib.figure")
    return figure.Figure().subplots()


@pytest.fixture
def closed_figures():
    yield
    pytest.importorskip("matplotlib.pyplot").close("all")
