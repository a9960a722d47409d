"""Changes of the data that should not move predictions, or by a known amount."""

import json
import os
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from _invariances import (
    CHANGES,
    DATA,
    MODELS,
    N_ROWS,
    PROMISED,
    ROUNDING,
    TABLES,
    Case,
    changes_of,
)

from adaptive_kernels import AdaptiveKernelRegressor, NNGPRegressor

FAST = ("NNGP", "diag 1", "NTK", "spectrum", "step", "NNGP classes", "NTK classes")
GROUP = {
    name: group
    for table in TABLES.values()
    for group, names in table.items()
    for name in names
}


@cache
def case(name, data_name):
    return Case(name, data_name, 0)


def promises():
    for name in MODELS:
        for change in changes_of(name):
            tolerance = PROMISED[change].get(GROUP[name])
            if tolerance is not None:
                data_name = "axes" if name in FAST or "search" in name else "diabetes"
                marks = () if name in FAST else pytest.mark.slow
                yield pytest.param(name, change, data_name, tolerance, marks=marks)


@pytest.mark.parametrize("name, change, data_name, tolerance", [*promises()])
def test_predictions_stay(name, change, data_name, tolerance):
    assert case(name, data_name).moved(CHANGES[change]) <= tolerance


@pytest.mark.parametrize(
    "name, change",
    [
        ("NNGP", "a column twice"),
        ("NNGP classes", "a column twice"),
        ("NTK", "X + constants"),
        ("NTK", "8 X"),
        ("spectrum", "8 X"),
        ("NTK", "a constant column"),
        ("diag 1", "rotation"),
        ("diag 1", "a column twice"),
        ("diag 1", "all columns twice"),
        ("step", "order of columns"),
        ("step", "a constant column"),
        pytest.param("search", "order of rows, folds by place", marks=pytest.mark.slow),
    ],
)
def test_what_is_no_invariance_of_the_model_moves_predictions(name, change):
    """The docs say that these move, and why."""
    assert GROUP[name] not in PROMISED[change]
    moves = [case(name, data_name).moved(CHANGES[change]) for data_name in DATA]
    assert max(moves) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("model", [NNGPRegressor(), AdaptiveKernelRegressor()])
def test_order_of_rows_does_not_choose_the_sample(model):
    """More rows than starting points are explored on."""
    rng = np.random.default_rng(0)
    X, order = rng.standard_normal((450, 3)), rng.permutation(450)
    y = np.sin(2 * X[:, 0]) + 0.1 * rng.standard_normal(450)
    before = model.fit(X, y).predict(X[:9], return_std=True)
    after = model.fit(X[order], y[order]).predict(X[:9], return_std=True)
    np.testing.assert_allclose(after, before, atol=ROUNDING * np.std(y))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["search", "search classes"])
def test_number_of_workers(name):
    before, one = case(name, "axes").before(), case(name, "axes")
    after = one.fit(one.X, one.y, n_jobs=2)(one.Z)
    assert np.max(np.abs(after - before)) <= ROUNDING * one.unit


CODE = """
import json, sys
import numpy as np
from _invariances import Case

found = [Case(name, "axes", 0).before().tolist() for name in sys.argv[1:]]
print(json.dumps(found))
"""
ROWS = """
import json
import numpy as np
from adaptive_kernels import NNGPRegressor, OneStepSpikeFeatures

rng = np.random.default_rng(0)
X = rng.standard_normal((700, 3))
y = np.sin(2 * X[:, 0]) + 0.1 * rng.standard_normal(700)
exact = NNGPRegressor().fit(X, y).predict(X[:50], return_std=True)
features = OneStepSpikeFeatures(50, random_state=0).fit(X, y)
print(json.dumps([np.stack(exact).tolist(), features.transform(X[:50]).tolist()]))
"""


def in_a_process(code, *arguments, **environment):
    """What code prints as JSON in another process."""
    folder = Path(__file__).parent
    path = [str(folder), str(folder.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return [np.array(values) for values in json.loads(result.stdout)]


@pytest.mark.parametrize("seed", ["0", "1"])
def test_another_process_and_hash_seed(seed):
    names = ["NNGP", "diag 1", "full 10", "NNGP classes"]
    found = in_a_process(CODE, *names, PYTHONHASHSEED=seed)
    for name, values in zip(names, found, strict=True):
        one = case(name, "axes")
        assert np.max(np.abs(values - one.before())) <= ROUNDING * one.unit


@pytest.mark.slow
def test_number_of_threads():
    """Rows enough for several threads of BLAS and for blocks in threads of our own."""
    one, two = (
        in_a_process(ROWS, OMP_NUM_THREADS=n, OPENBLAS_NUM_THREADS=n) for n in "12"
    )
    for first, second in zip(one, two, strict=True):
        assert np.max(np.abs(first - second)) <= ROUNDING


@pytest.mark.parametrize("name", FAST)
def test_a_fit_can_be_repeated(name):
    """To the last bit, also on an estimator that has been fitted to other rows."""
    one = case(name, "axes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = one.model().fit(one.X[: N_ROWS // 2], one.y[: N_ROWS // 2])
        model.fit(one.X, one.y)
    np.testing.assert_array_equal(one.predict(model, one.Z), one.before())
