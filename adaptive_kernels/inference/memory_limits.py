"""Memory of fits and of joint predictions, checked beforehand."""

from .._arrays import FEWER_ROWS, Array, check_bytes, check_memory

# Matrices of m x m that a fit by m inducing points holds at its peak, the sample's
# 4 m x m included, and the m that is recommended where memory is no limit.
INDUCING_MATRICES = 20
USUAL_INDUCING = 1000
# Matrices of d x d that a fit of a full covariance holds at its peak: 8.2 to 10.6 were
# measured at 600 and 1200 features.
COVARIANCE_MATRICES = 9
# Matrices of m x m in a joint prediction of m rows and in draws from it: 7.1 were
# measured for one output, 11 for three.
JOINT_MATRICES, JOINT_PER_OUTPUT = 4, 3
# What to do where an exact fit does not fit in memory.
CURE = f"set n_inducing, or {FEWER_ROWS}"


def check_exact_memory(like: Array, n: int, matrices: int) -> None:
    """Raise MemoryError, with an `n_inducing` that fits, where n x n does not fit."""

    def cure(free: float) -> str:
        fits = min(USUAL_INDUCING, int((free / (8 * INDUCING_MATRICES)) ** 0.5 / 2))
        return f"set n_inducing={max(fits, 1)}, or {FEWER_ROWS}"

    check_memory(like, n, matrices, cure=cure)


def check_inducing_memory(like: Array, m: int) -> None:
    """Raise MemoryError where the matrices of m inducing points cannot fit."""
    what = f"n_inducing={m} needs {{}} for its matrices"
    check_bytes(like, INDUCING_MATRICES * 8 * m * m, what, "lower n_inducing")


def check_full_covariance_memory(like: Array, n_features: int) -> None:
    """Raise MemoryError where a full covariance of the weights does not fit."""
    check_bytes(
        like,
        COVARIANCE_MATRICES * 8 * n_features**2,
        f"A full covariance of the weights of {n_features} features needs {{}}",
        "leave 'full' out of covariance_type or covariance_types and take 'diag', or "
        "reduce the features first",
    )


def check_joint_memory(like: Array, n_rows: int, n_outputs: int, members: int) -> None:
    """Raise MemoryError where the covariance of predicted rows does not fit."""
    matrices = JOINT_MATRICES + JOINT_PER_OUTPUT * n_outputs * members
    check_bytes(
        like,
        matrices * 8 * n_rows**2,
        f"The covariance of {n_rows} rows needs {{}}",
        "ask for fewer rows at once, or for return_std",
    )
