"""`discrepancy` by its definition, and `make_ising`, the task that it is used on."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from adaptive_kernels.datasets import make_ising
from adaptive_kernels.metrics import discrepancy


def test_discrepancy_is_the_mean_of_y_times_what_is_missing():
    rng = np.random.default_rng(0)
    y, f = rng.standard_normal(9), rng.standard_normal((9, 4))
    expected = [np.mean(y * (y - column)) for column in f.T]
    assert_allclose(discrepancy(y, f), expected)
    one = discrepancy(list(y), list(f[:, 0]))
    assert isinstance(one, float)
    assert_allclose(one, expected[0])
    series = pd.Series(y, index=np.arange(9)[::-1])
    assert_allclose(discrepancy(series, pd.Series(f[:, 0])), expected[0])
    assert discrepancy(y, y) == pytest.approx(0, abs=1e-15)
    # Labels of one: one minus the mean margin.
    assert_allclose(discrepancy(np.sign(y), f[:, 0]), 1 - np.mean(np.sign(y) * f[:, 0]))


@pytest.mark.parametrize(
    ("y_true", "y_pred"),
    [
        ([1.0, 2], [1.0]),
        ([1.0], [[1.0], [2]]),
        (np.ones((2, 2)), np.ones((2, 2))),
    ],
)
def test_discrepancy_of_other_shapes_is_refused(y_true, y_pred):
    with pytest.raises(ValueError, match="y_true must be one-dimensional and as long"):
        discrepancy(y_true, y_pred)


def test_the_task_is_separable_and_seeded():
    rows, labels, direction = make_ising(50, 7, coef=True, random_state=3)
    assert rows.shape == (50, 7) and labels.shape == (50,)
    assert set(np.unique(rows)) == {-1, 1} and set(labels) == {-1, 1}
    assert_array_equal(labels, np.where(rows @ direction >= 0, 1, -1))
    assert_allclose(np.linalg.norm(direction), 1)
    again = make_ising(50, 7, random_state=3)
    assert len(again) == 2
    assert_array_equal(again[0], rows)
    assert_array_equal(again[1], labels)
    longer = make_ising(60, 7, coef=True, random_state=3)
    assert_array_equal(longer[0][:50], rows)
    assert_array_equal(longer[2], direction)
    other = make_ising(50, 7, random_state=4)
    assert np.any(other[0] != rows)
    generator = np.random.RandomState(3)
    assert_array_equal(make_ising(50, 7, random_state=generator)[0], rows)
    # Signs are as often one as minus one, within four standard errors.
    many = make_ising(2000, 10, random_state=0)[0]
    assert abs(many.mean()) < 4 / np.sqrt(many.size)


def test_the_task_is_that_of_the_reference():
    rng = np.random.RandomState(0)
    w = rng.standard_normal(20)
    rows = 2.0 * rng.randint(0, 2, size=(65, 20)) - 1
    found = make_ising(65, 20, random_state=0)
    assert_array_equal(found[0], rows)
    assert_array_equal(found[1], np.where(rows @ w >= 0, 1.0, -1.0))
    assert make_ising()[0].shape == (100, 20)
