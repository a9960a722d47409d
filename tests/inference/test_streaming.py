"""Sums over all rows in several processes: the same fit, whoever computes it."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info

from adaptive_kernels import AdaptiveKernelRegressorCV, NNGPRegressor
from adaptive_kernels._arrays.mapped_files import MappedRows
from adaptive_kernels.inference import streaming, subsampling
from adaptive_kernels.inference.evidence import Hyperparameters
from adaptive_kernels.inference.streaming import RowStream, total_statistics
from adaptive_kernels.kernels import NNGP
from adaptive_kernels.model_selection.width_path_search import WidthPathSearch

N, D, M = 3000, 5, 40
# Sums of N terms in another order, through a factor whose condition is below 1e4.
RTOL = N * np.finfo(float).eps * 1e4

rng = np.random.default_rng(0)
X = rng.standard_normal((N, D))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] ** 2], axis=1) + rng.standard_normal((N, 2))
WEIGHTS = rng.uniform(0.5, 2, N)
X_NEW = rng.standard_normal((50, D))
ROWS = RowStream(X, Y, WEIGHTS, None)
POINT = Hyperparameters(NNGP("erf").network(), 0.1, None)


@pytest.fixture
def many_parts(monkeypatch):
    """Cut few rows into parts, as if there were very many."""
    monkeypatch.setattr(subsampling, "INDUCING_SAMPLE_ROWS", 200)
    monkeypatch.setattr(subsampling, "MERGED_ROWS", 200)
    monkeypatch.setattr(streaming, "TASK_BLOCKS", 1)
    monkeypatch.setattr(streaming, "TASK_ROWS_PER_POINT", 1)
    monkeypatch.setattr(streaming, "rows_per_block", lambda *_: 400)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "rows.npy", X)
    return tmp_path / "rows.npy"


def fitted(rows=X, targets=Y):
    model = NNGPRegressor(NNGP("erf"), alpha=0.1, optimizer=None, n_inducing=M)
    return model.fit(rows, targets, WEIGHTS)


def assert_same_fit(model, reference):
    for ours, theirs in zip(
        model.predict(X_NEW, return_std=True),
        reference.predict(X_NEW, return_std=True),
        strict=True,
    ):
        assert_allclose(ours, theirs, rtol=RTOL, atol=RTOL)
    bound, expected = (m.log_marginal_likelihood_value_ for m in (model, reference))
    assert_allclose(bound, expected, rtol=RTOL)


def do_in_tasks(monkeypatch, action):
    """Call `action` at the start of every task; it travels to the workers."""
    original = streaming.part_statistics

    def acting(*args):
        action()
        return original(*args)

    monkeypatch.setattr(streaming, "part_statistics", acting)


def note_process(folder):
    def action():
        Path(folder, str(os.getpid())).touch()

    return action


def die_once(flag):
    def action():
        if not Path(flag).exists():
            Path(flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return action


def dense_sums():
    """G, c and the scalar sums from matrices of all rows."""
    kernel = NNGP("erf")
    K_mm = kernel(X[:M])
    K_mm += 1e-8 * np.mean(np.diag(K_mm)) * np.eye(M)
    A = np.linalg.solve(np.linalg.cholesky(K_mm), kernel(X[:M], X))
    w, t = WEIGHTS, Y
    prior = w @ kernel.diag(X)
    return A * w @ A.T, A * w @ t, w @ t**2, prior, w.sum()


def assert_sums(statistics, expected):
    names = ("gram", "projection", "squares", "prior", "size")
    for name, value in zip(names, expected, strict=True):
        scale = np.max(np.abs(value))
        assert_allclose(getattr(statistics, name), value, rtol=0, atol=1e-8 * scale)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_total_is_that_of_dense_matrices(many_parts, n_jobs):
    with parallel_config("threading", n_jobs=n_jobs):
        total = total_statistics(X[:M], POINT, ROWS.parts(M))
    assert_sums(total, dense_sums())


def test_parts_are_all_rows_once_and_in_order(many_parts):
    parts = list(ROWS.parts(M))
    assert len(parts) == 8
    assert_array_equal(np.vstack([part.X for part in parts]), X)
    assert_array_equal(np.vstack([part.Y for part in parts]), Y)
    assert_array_equal(np.concatenate([part.weights for part in parts]), WEIGHTS)


def test_parts_are_not_too_many_and_not_too_small(many_parts, monkeypatch):
    monkeypatch.setattr(streaming, "rows_per_block", lambda *_: 10)
    monkeypatch.setattr(streaming, "MAX_TASKS", 30)
    assert len(list(ROWS.parts(1))) == 30
    monkeypatch.setattr(streaming, "TASK_ROWS_PER_POINT", 8)
    assert [part.X.shape[0] for part in ROWS.parts(100)] == [800, 800, 800, 600]


def test_one_process_holds_one_part_at_a_time(many_parts, monkeypatch):
    begun, at_work = [], []

    def parts():
        for part in ROWS.parts(M):
            begun.append(part)
            yield part

    do_in_tasks(monkeypatch, lambda: at_work.append(len(begun)))
    total_statistics(X[:M], POINT, parts())
    assert at_work == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "backend", ["threading", pytest.param("loky", marks=pytest.mark.slow)]
)
def test_several_workers_give_the_same_fit(
    many_parts, monkeypatch, path, tmp_path, backend
):
    alone = fitted()
    workers = tmp_path / "workers"
    workers.mkdir()
    do_in_tasks(monkeypatch, note_process(workers))
    for rows in (X, np.load(path, mmap_mode="r")):
        with parallel_config(backend, n_jobs=2):
            assert_same_fit(fitted(rows), alone)
    names = {file.name for file in workers.iterdir()}
    assert (names == {str(os.getpid())}) == (backend == "threading")


def test_backend_that_only_returns_lists(many_parts):
    with parallel_config("multiprocessing", n_jobs=2):
        several = fitted()
    assert_same_fit(several, fitted())


def test_one_process_is_the_default(many_parts, monkeypatch, tmp_path):
    do_in_tasks(monkeypatch, note_process(tmp_path))
    fitted()
    assert [file.name for file in tmp_path.iterdir()] == [str(os.getpid())]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_loky_worker_raises_and_leaves_the_model(
    many_parts, monkeypatch, tmp_path
):
    model = fitted()
    before = dict(vars(model))
    do_in_tasks(monkeypatch, die_once(tmp_path / "died"))
    with parallel_config("loky", n_jobs=2):
        with pytest.raises(TerminatedWorkerError):
            model.fit(X, Y[:, 0], WEIGHTS)
        assert vars(model) == before
        assert_same_fit(fitted(), model)


LAYOUTS = {
    "rows": lambda table: table,
    "some rows": lambda table: table[100:200],
    "rows of rows": lambda table: table[100:][50:80],
    "every other": lambda table: table[7::2, 1::2],
    "backwards": lambda table: table[::-1, ::-1],
    "as plain array": lambda table: np.asarray(table)[3:9],
}


def files(folder):
    """Maps of the same table: with a header, by columns, at an offset, of bytes."""
    np.save(folder / "c.npy", X)
    np.save(folder / "f.npy", np.asfortranarray(X))
    (folder / "raw").write_bytes(b"seven b" + X.astype(">f4").tobytes())
    yield np.load(folder / "c.npy", mmap_mode="r")
    yield np.load(folder / "f.npy", mmap_mode="r")
    yield np.memmap(folder / "raw", ">f4", "r", 7, (N, D))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_mapped_rows_are_found_again(tmp_path, monkeypatch, layout):
    for table in files(tmp_path):
        monkeypatch.chdir(tmp_path)
        rows = LAYOUTS[layout](table)
        data = pickle.dumps(MappedRows.of(rows))
        assert len(data) < 1000
        monkeypatch.chdir("/")
        found = pickle.loads(data)
        assert found.shape == rows.shape
        assert found[:].dtype == rows.dtype
        assert_array_equal(found[:], rows)
        assert_array_equal(found[2:5, :], rows[2:5, :])


def test_relative_names_are_made_absolute(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    rows = MappedRows.of(np.load("rows.npy", mmap_mode="r"))
    monkeypatch.chdir("/")
    assert_array_equal(rows[:2, :], X[:2])


def test_rows_that_no_file_holds_travel_themselves(path):
    changed = np.load(path, mmap_mode="c")
    changed[0, 0] = 7
    taken = np.load(path, mmap_mode="r")[[1, 2]]
    for rows in (X, X[:5], changed, taken, X[:0]):
        assert MappedRows.of(rows) is rows


def test_a_task_of_mapped_rows_is_small_also_when_sent_on(path):
    rows = np.load(path, mmap_mode="r")
    part = next(RowStream(rows, Y[:, :1], None, None).parts(M))
    data = pickle.dumps(part)
    assert len(data) < 8 * N + 2000 < X.nbytes
    again = pickle.loads(pickle.dumps(pickle.loads(data)))
    assert isinstance(again.X, MappedRows)
    assert_array_equal(again.take(slice(5, 9))[0], X[5:9])


def test_rows_on_a_device_stay_in_the_process(many_parts, monkeypatch):
    xp = pytest.importorskip("array_api_strict")

    def no_tasks(**_):
        raise AssertionError("rows were sent to another process")

    monkeypatch.setattr(streaming, "Parallel", no_tasks)
    rows = RowStream(xp.asarray(X), xp.asarray(Y), xp.asarray(WEIGHTS), None)
    total = total_statistics(xp.asarray(X[:M]), POINT, rows.parts(M))
    expected = dense_sums()
    assert_allclose(np.asarray(total.gram), expected[0], rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*delayed:UserWarning")
def test_a_search_sends_samples_and_names_of_files(many_parts, monkeypatch, path):
    sent = []

    def each(race, tasks):
        for task in tasks:
            sent.append(pickle.dumps(task))
            function, args, kwargs = pickle.loads(sent[-1])
            yield function(*args, **kwargs)

    monkeypatch.setattr(subsampling, "FOLD_ROWS", 50)
    monkeypatch.setattr(subsampling, "VALIDATION_ROWS", 50)
    monkeypatch.setattr(subsampling, "RELEVANCE_ROWS", 100)
    search = AdaptiveKernelRegressorCV(
        [NNGP("erf")], widths=(1, 10), cv=3, n_inducing=M, max_iter=5
    )
    expected = search.fit(X, Y[:, 0]).predict(X_NEW)
    monkeypatch.setattr(WidthPathSearch, "_each", lambda *args: list(each(*args)))
    assert_array_equal(search.fit(X, Y[:, 0]).predict(X_NEW), expected)
    assert max(map(len, sent)) > X.nbytes  # a refit sends rows that are in memory
    sent.clear()
    mapped = np.load(path, mmap_mode="r")
    assert_array_equal(search.fit(mapped, Y[:, 0]).predict(X_NEW), expected)
    assert max(map(len, sent)) < Y[:, 0].nbytes + X[:100].nbytes + 10_000


def test_one_process_needs_no_name_of_a_file(path, many_parts):
    rows = np.load(path, mmap_mode="r")
    path.unlink()
    search = AdaptiveKernelRegressorCV(
        [NNGP("erf")], widths=(1,), covariance_types=["diag"], cv=2, n_inducing=M
    )
    assert search.fit(rows, Y[:, 0]).predict(X_NEW).shape == (50,)


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield


@pytest.mark.slow
def test_dask_gives_the_same_fit_and_survives_a_killed_worker(
    cluster, many_parts, monkeypatch, path, tmp_path
):
    alone = fitted()
    with parallel_config("dask"):
        assert_same_fit(fitted(), alone)
        do_in_tasks(monkeypatch, die_once(tmp_path / "died"))
        assert_same_fit(fitted(np.load(path, mmap_mode="r")), alone)
    assert (tmp_path / "died").exists()


def blas_threads():
    return max(i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas")


SEVERAL_THREADS = """
import numpy as np
from joblib import parallel_config
from threadpoolctl import threadpool_info
from adaptive_kernels import AdaptiveKernelRegressorCV
from adaptive_kernels.inference import streaming
from adaptive_kernels.kernels import NNGP
from test_streaming import POINT, ROWS, X, Y, blas_threads

assert blas_threads() == 2
seen, original = [], streaming.part_statistics

def noting(part):
    seen.append(blas_threads())
    return original(part)

streaming.part_statistics = noting
with parallel_config("threading", n_jobs=2):
    streaming.total_statistics(X[:9], POINT, [ROWS] * 4)
    assert seen == [1] * 4 and blas_threads() == 2, seen
    search = AdaptiveKernelRegressorCV([NNGP("erf")], widths=(1, 10), cv=3)
    search.fit(X[:60], Y[:60, 0])
    assert blas_threads() == 2, "the search has left a limit behind"
streaming.total_statistics(X[:9], POINT, [ROWS])
assert seen[4:] == [2], seen
"""


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="BLAS has a thread for each core")
def test_threads_do_not_multiply_and_leave_no_limit():
    here = Path(__file__).parent
    paths = [str(here), str(here.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "2"),
        "MKL_NUM_THREADS": "2",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    command = [sys.executable, "-c", SEVERAL_THREADS]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
