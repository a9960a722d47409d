"""Samples of rows that represent all classes."""

import numpy as np
import pytest

from adaptive_kernels.inference.subsampling import stratified_rows


@pytest.mark.parametrize("n_rows", [1, 400, 1000, 5000])
def test_stratified_rows_keep_the_frequencies(n_rows):
    sizes = np.array([700, 200, 100])
    codes = np.random.default_rng(9).permutation(np.repeat(np.arange(3), sizes))
    rows = stratified_rows(codes, n_rows)
    assert len(rows) == min(n_rows, 1000) == len(np.unique(rows))
    assert np.all(np.diff(rows) > 0)
    counts = np.bincount(codes[rows], minlength=3)
    assert np.all(np.abs(counts - len(rows) * sizes / 1000) <= 1)


@pytest.mark.parametrize("least", [0, 3, 6])
def test_rare_classes_have_places_in_a_sample(least):
    sizes = np.array([2, 30, 400, 4568])
    codes = np.repeat(np.arange(4), sizes)
    rows = stratified_rows(codes, 100, least=least)
    assert len(np.unique(rows)) == 100 and np.all(np.diff(rows) > 0)
    counts = np.bincount(codes[rows], minlength=4)
    assert np.all(counts >= np.minimum(sizes, least))
    assert abs(counts[3] / counts[2] - 4568 / 400) < 2.5
    many = np.arange(500) % 250
    assert len(stratified_rows(many, 100, least=least)) == 100
