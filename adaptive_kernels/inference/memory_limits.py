"""Checks, before any work, that fits and joint predictions fit in memory."""

from .._arrays import FEWER_ROWS, Array, check_bytes, check_memory

# m x m matrices that a fit with m inducing points holds at its peak, with the (4 m, m)
# matrix of the sample; and the m that is recommended if memory is no limit.
INDUCING_MATRICES = 20
USUAL_INDUCING = 1000
# d x d matrices that a fit of a full covariance holds at its peak: 8.2 to 9.2 were
# measured for 1200 features, where everything else is small.
COVARIANCE_MATRICES = 9
# m x m matrices in a joint prediction of m rows and in draws from it: 7.1 were measured
# for one output, 11 for three.
JOINT_MATRICES, JOINT_PER_OUTPUT = 4, 3
# Copies of the features, and of what inducing points explain of each row, at the peak
# of a fit with neighbours: 2.0 GiB were measured for a million rows of 20 features and
# 100 points.
LOCAL_FEATURES, LOCAL_PROJECTIONS = 3, 2
# Advice if an exact fit does not fit in memory.
CURE = f"set n_neighbors or n_inducing, or {FEWER_ROWS}"


def check_exact_memory(like: Array, n: int, matrices: int) -> None:
    """Raise MemoryError if n x n matrices do not fit; it names an `n_inducing`."""

    def cure(free: float) -> str:
        fits = min(USUAL_INDUCING, int((free / (8 * INDUCING_MATRICES)) ** 0.5 / 2))
        return f"set n_neighbors or n_inducing={max(fits, 1)}, or {FEWER_ROWS}"

    check_memory(like, n, matrices, cure=cure)


def check_inducing_memory(like: Array, m: int) -> None:
    """Raise MemoryError if the matrices of m inducing points do not fit."""
    what = f"n_inducing={m} needs {{}} for its matrices"
    check_bytes(like, INDUCING_MATRICES * 8 * m * m, what, "lower n_inducing")


def check_local_memory(like: Array, n: int, n_features: int, n_inducing: int) -> None:
    """Raise MemoryError if the rows of a fit with neighbours do not fit."""
    columns = LOCAL_FEATURES * (n_features + 1) + LOCAL_PROJECTIONS * n_inducing
    check_bytes(
        like,
        columns * 8 * n,
        f"A fit of {n} rows with neighbours and n_inducing={n_inducing} needs {{}}",
        f"lower n_inducing, or {FEWER_ROWS}",
    )


def check_union_memory(like: Array, n_union: int) -> None:
    """Raise MemoryError if the kernel of the neighbours of some rows does not fit."""
    check_bytes(
        like,
        JOINT_MATRICES * 8 * n_union**2,
        f"The covariance of rows that have {n_union} neighbours needs {{}}",
        "ask for fewer rows at once, or for return_std",
    )


def check_full_covariance_memory(like: Array, n_features: int) -> None:
    """Raise MemoryError if a full covariance of the weights does not fit."""
    check_bytes(
        like,
        COVARIANCE_MATRICES * 8 * n_features**2,
        f"A full covariance of the weights of {n_features} features needs {{}}",
        "leave 'full' out of covariance_type or covariance_types and take 'diag', or "
        "reduce the features first",
    )


def check_joint_memory(like: Array, n_rows: int, n_outputs: int, members: int) -> None:
    """Raise MemoryError if the covariance of predicted rows does not fit."""
    matrices = JOINT_MATRICES + JOINT_PER_OUTPUT * n_outputs * members
    check_bytes(
        like,
        matrices * 8 * n_rows**2,
        f"The covariance of {n_rows} rows needs {{}}",
        "ask for fewer rows at once, or for return_std",
    )
