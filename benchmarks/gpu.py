"""What one GPU takes, against its own linear algebra, the CPU and named peers.

    python benchmarks/gpu.py [--rows 5000 20000 50000] [--rounds 5] [--cpu-rows 5000]
    python benchmarks/gpu.py --rehearse

Seconds are medians over rounds that run all tasks in turn, after one that is not
counted, each between two synchronisations of the device. The limit of one evidence step
is the bare Cholesky factor and inverse of a matrix of its size; an independent solve
and a matrix product stand beside it. `--rehearse` runs everything on NumPy at n = 300,
to show that it runs: its figures say nothing.
"""

import argparse
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np

from adaptive_kernels import AdaptiveKernelRegressor, NNGPRegressor
from adaptive_kernels._arrays import cholesky, free_bytes, inverse_from_cholesky
from adaptive_kernels.kernels import NNGP, NTK
from adaptive_kernels.theory import Data, Hyperparameters, RegularizedEvidence

FEATURES = 20
FREE = ("readout_variance", "weight_variance", "bias_variance", "alpha")
# Matrices of n x n that are held at the peak: one for the tasks to start from, the
# factors of a model, and what the solve against the identity takes besides.
MATRICES = 5


def cupy_machine():
    """The GPU through CuPy, or None and the reason."""
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    if count == 0:
        return None, "CuPy sees no device"

    def solve(K):
        from cupyx.lapack import posv

        return posv(K, cupy.eye(len(K)))

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    return SimpleNamespace(
        name=properties["name"].decode(),
        software=f"CuPy {cupy.__version__}",
        array=cupy.asarray,
        host=cupy.asnumpy,
        wait=cupy.cuda.Device().synchronize,
        forget=cupy.get_default_memory_pool().free_all_blocks,
        solve=solve,
        out_of_memory=(MemoryError,),
        device="cuda",
    ), None


def numpy_machine():
    """NumPy in the place of the GPU."""
    return SimpleNamespace(
        name="rehearsal on the CPU",
        software=f"NumPy {np.__version__}",
        array=np.array,
        host=np.asarray,
        wait=lambda: None,
        forget=lambda: None,
        solve=lambda K: np.linalg.solve(K, np.eye(len(K))),
        out_of_memory=(MemoryError,),
        device=None,
    )


def interleaved(tasks, machine, rounds):
    """Median seconds of each task; NaN for those that ran out of memory."""
    times = {name: [] for name in tasks}
    for k in range(rounds + 1):
        for name in list(tasks):
            try:
                machine.wait()
                started = time.perf_counter()
                tasks[name]()
                machine.wait()
            except machine.out_of_memory:
                del tasks[name]
                times[name] = [np.nan]
                continue
            finally:
                machine.forget()
            if k > 0 or rounds == 0:
                times[name].append(time.perf_counter() - started)
    return {name: float(np.median(found)) for name, found in times.items()}


def data(n):
    """Rows, of which three features matter, and 2000 further inputs."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n + 2000, FEATURES))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.2 * rng.standard_normal(len(X))
    return X[:n], y[:n], X[n:]


def step(X, Y):
    """One evidence with its gradient, a full covariance of the weights."""
    point = Hyperparameters(NNGP("erf").network(), 0.1, np.eye(FEATURES))
    problem = RegularizedEvidence(
        Data(X, Y), point, width=10.0, covariance_type="full", free=FREE
    )
    vector = problem.pack(point)
    return lambda: problem(vector)


def bare_tasks(machine, n):
    """Linear algebra of the size of one step, without a kernel."""
    rng = np.random.default_rng(0)
    rows = machine.array(rng.standard_normal((n, 64)))
    K = rows @ rows.T
    K[...] = K / 64
    K.reshape(-1)[:: n + 1] += 1.0

    def inverse():
        inverse_from_cholesky(cholesky(1.0 * K))

    return {
        "bare: Cholesky": lambda: cholesky(1.0 * K),
        "bare: Cholesky and inverse": inverse,
        "bare: solve against the identity": lambda: machine.solve(K),
        "bare: matrix product": lambda: K @ K,
    }


def our_tasks(machine, X, y, X_new):
    """Kernel, step and predict on the device."""
    there, targets = machine.array(X), machine.array(y[:, None])
    erf, tangent = NNGP("erf"), NTK("relu", depth=3)
    model = NNGPRegressor(erf, optimizer=None, alpha=0.1, device=machine.device)
    model.fit(X, y)
    return {
        "kernel, erf": lambda: erf(there),
        "kernel, tangent of ReLU, depth 3": lambda: tangent(there),
        "evidence and gradient": step(there, targets),
        "predict 2000 means": lambda: model.predict(X_new),
        "predict 2000 means and deviations": lambda: model.predict(X_new, True),
    }


def fits(machine, n):
    """Whether the largest task fits in what memory is free."""
    free = free_bytes(machine.array(np.zeros(1)))
    return free is None or 8 * n * n * MATRICES <= free


def gpytorch_step(X, y):
    """One evidence with gradient of GPyTorch's exact process, RBF-ARD, by Cholesky."""
    import gpytorch
    import torch

    inputs = torch.tensor(X, device="cuda")
    targets = torch.tensor(y, device="cuda")

    class Model(gpytorch.models.ExactGP):
        def __init__(self, noise):
            super().__init__(inputs, targets, noise)
            self.mean_module = gpytorch.means.ConstantMean()
            self.covar_module = gpytorch.kernels.ScaleKernel(
                gpytorch.kernels.RBFKernel(ard_num_dims=X.shape[1])
            )

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(x), self.covar_module(x)
            )

    noise = gpytorch.likelihoods.GaussianLikelihood().double().cuda()
    model = Model(noise).double().cuda().train()
    bound = gpytorch.mlls.ExactMarginalLogLikelihood(noise, model)

    def task():
        model.zero_grad()
        exact = gpytorch.settings.fast_computations(False, False, False)
        with exact, gpytorch.settings.max_cholesky_size(10**6):
            (-bound(model(inputs), targets)).backward()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()

    return task


def xrfm_fit(X, y):
    """A default fit of xRFM on the same GPU, a tenth of the rows held out."""
    import torch
    from xrfm import xRFM

    cut = len(X) // 10
    rows, targets = (
        torch.tensor(a, dtype=torch.float32, device="cuda") for a in (X, y[:, None])
    )

    def task():
        model = xRFM(device=torch.device("cuda"))
        model.fit(rows[cut:], targets[cut:], rows[:cut], targets[:cut])
        torch.cuda.synchronize()

    return task


@contextmanager
def or_say_why(rows, name):
    """Put the reason in the table where a peer does not run."""
    try:
        yield
    except Exception as error:
        rows[name] = f"did not run ({type(error).__name__})"


def peers(machine, X, y):
    """Seconds of the peers that are installed, by name."""
    found = {}
    for name, make in (
        ("GPyTorch exact, evidence and gradient", gpytorch_step),
        ("xRFM, whole fit, float32", xrfm_fit),
    ):
        with or_say_why(found, name):
            rounds = 3 if make is gpytorch_step else 1
            found |= interleaved({name: make(X, y)}, machine, rounds)
    return found


def measured(machine, n, rounds, cpu_rows, with_peers):
    """Seconds by task at n rows."""
    X, y, X_new = data(n)
    found = interleaved(
        bare_tasks(machine, n) | our_tasks(machine, X, y, X_new), machine, rounds
    )
    regressor = AdaptiveKernelRegressor(device=machine.device)
    found |= interleaved({"whole fit": lambda: regressor.fit(X, y)}, machine, 1)
    if n <= cpu_rows:
        quiet = SimpleNamespace(**{**vars(machine), "wait": lambda: None})
        host = AdaptiveKernelRegressor()
        tasks = {
            "CPU: evidence and gradient": step(X, y[:, None]),
            "CPU: whole fit": lambda: host.fit(X, y),
        }
        found |= interleaved(tasks, quiet, 0)
    return found | (peers(machine, X, y) if with_peers else {})


def table(machine, columns):
    """Print seconds as markdown, and the step relative to its limit."""
    print(f"\n{machine.name}, {machine.software}, seconds in double precision\n")
    sizes = list(columns)
    print("| | " + " | ".join(f"n = {n}" for n in sizes) + " |")
    print("|---|" + "---|" * len(sizes))
    names = dict.fromkeys(name for n in sizes for name in columns[n])
    for name in names:
        cells = [columns[n].get(name, "") for n in sizes]
        shown = [c if isinstance(c, str) else f"{c:.4g}" for c in cells]
        print(f"| {name} | " + " | ".join(shown) + " |")
    for top, bottom in (
        ("evidence and gradient", "bare: Cholesky and inverse"),
        ("CPU: whole fit", "whole fit"),
    ):
        pairs = [(columns[n].get(top), columns[n].get(bottom)) for n in sizes]
        cells = ["" if None in pair else f"{pair[0] / pair[1]:.2f}" for pair in pairs]
        print(f"| {top} / {bottom} | " + " | ".join(cells) + " |")


def main():
    """Measure, or say why not."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[5000, 20000, 50000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-rows", type=int, default=5000)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    if options.rehearse:
        machine, options.rows, options.rounds = numpy_machine(), [300], 1
    else:
        machine, why = cupy_machine()
        if machine is None:
            print(f"No CUDA GPU is at hand, so nothing was measured ({why}).")
            return
    columns = {}
    for n in options.rows:
        if not fits(machine, n):
            print(f"n = {n} does not fit in this GPU's memory: left out.")
            continue
        try:
            columns[n] = measured(
                machine, n, options.rounds, options.cpu_rows, not options.rehearse
            )
        except MemoryError as error:
            print(f"n = {n} ran out of memory and is left out: {error}")
            continue
        table(machine, columns)


if __name__ == "__main__":
    main()
