"""Settings that are read when SciPy and others are first imported; what tests share."""

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


@pytest.fixture
def small_sample(monkeypatch):
    """Learn from 120 rows of the few hundred that are given, as if of very many."""
    monkeypatch.setattr(
        "adaptive_kernels.inference.subsampling.INDUCING_SAMPLE_ROWS", 120
    )
    monkeypatch.setattr("adaptive_kernels.inference.subsampling.MERGED_ROWS", 200)
