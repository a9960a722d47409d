"""Checks of arguments, random numbers and progress bar of all samplers."""

from contextlib import contextmanager
from math import sqrt
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_array, check_random_state, check_X_y

from .._arrays import free_bytes
from ..kernels import NNGP
from ..kernels._recursion import apply_metric_sqrt, features
from ._posterior import Posterior
from ._samples import Record


def check_counts(n_chains, n_warmup, n_samples, minima):
    """Raise ValueError unless the counts are integers not below their minima."""
    names = "n_chains", "n_warmup", "n_samples"
    counts = n_chains, n_warmup, n_samples
    for name, count, minimum in zip(names, counts, minima, strict=True):
        _check_count(name, count, minimum)
    return counts


def _check_count(name, count, minimum):
    if not isinstance(count, Integral) or count < minimum:
        raise ValueError(f"{name} must be an integer >= {minimum}, got {count!r}.")


def prepare(kernel, X, y, alpha, width, X_test, counts):
    """The posterior to draw from, and the record to fill."""
    if not isinstance(kernel, NNGP):
        raise ValueError(
            f"kernel must be an NNGP, whose network is sampled, got {kernel!r}."
        )
    _check_count("width", width, 1)
    if not isinstance(alpha, Real) or not 0 < alpha < np.inf:
        raise ValueError(f"alpha must be a positive finite number, got {alpha!r}.")
    X, Y = check_X_y(X, y, multi_output=True, y_numeric=True, dtype=np.float64)
    Y = np.asarray(Y, dtype=float).reshape(len(X), -1)
    network, metric_sqrt = kernel.network(), kernel.metric_sqrt(X.shape[1])
    F_test = None
    if X_test is not None:
        F_test = _inputs(_check_test(X_test, X.shape[1]), network, metric_sqrt)
    F = _inputs(X, network, metric_sqrt)
    posterior = Posterior(network, int(width), float(alpha), F, Y)
    _check_memory(posterior, F_test, counts)
    input_root = apply_metric_sqrt(np.eye(X.shape[1]), metric_sqrt)
    input_root *= sqrt(network.weight_variance / X.shape[1])
    return posterior, Record.empty(posterior, F_test, input_root, counts)


def _check_test(X_test, d):
    X_test = check_array(X_test, dtype=np.float64, input_name="X_test")
    if X_test.shape[1] != d:
        raise ValueError(
            f"X_test has {X_test.shape[1]} features, but X has {d} features."
        )
    return X_test


def _inputs(X, network, metric_sqrt):
    """Features of X; without the bias column, which is zero, if there is no bias."""
    return features(X, network, metric_sqrt)[:, int(network.bias_variance == 0) :]


def _check_memory(posterior, F_test, counts):
    (n, outputs), (chains, _, draws) = posterior.Y.shape, counts
    m = 0 if F_test is None else len(F_test)
    per_row = 8 * chains * draws * outputs
    units = 4 * n * posterior.width * posterior.network.depth
    need = {
        "n_samples": per_row * (n + outputs),
        "the rows of X_test": per_row * m,
        "n_chains": 8 * chains * (units + 8 * posterior.n_weights),
    }
    total, free = sum(need.values()), free_bytes(posterior.F)
    if free is not None and total > free:
        raise MemoryError(
            f"{draws} draws of {chains} chains need {total / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB are free: lower {max(need, key=need.get)}."
        )


def generator(random_state):
    """A NumPy generator seeded by scikit-learn's `random_state`."""
    seed = check_random_state(random_state).randint(2**31, size=4)
    return np.random.default_rng(seed)


@contextmanager
def progress_bar(show, total):
    """Show a bar in a `with` block; give the function that advances it by a draw."""
    if not show:
        yield lambda: None
        return
    try:
        from rich.progress import Progress
    except ImportError as error:
        raise ImportError(
            "progress=True needs rich: run `pip install rich`, or leave progress=False."
        ) from error
    with Progress() as bar:
        task = bar.add_task("Sampling", total=total)
        yield lambda: bar.advance(task)
