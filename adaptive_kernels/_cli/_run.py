"""The steps of the command, from a file name to a picture."""

import errno
import os
import sys
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ._evaluate import evaluate
from ._input_table import encoder, load_problem
from ._messages import InputError, OutputError, printable, reason
from ._models import GP_BASELINES, all_models
from ._report import results_table, save_picture, verdict

MAX_ROWS, QUICK_ROWS = 1000, 300
EFFORT, QUICK_EFFORT = (30.0, 5), (5.0, 3)
ARD_BYTES = 4e9
# More than a picture has taken.
PICTURE_BYTES = 500_000


def compare(data, *, target, output, folds, quick):
    """Compare the models on a CSV file, print the table and save the picture.

    Parameters
    ----------
    data : str or None
        CSV file with a header line; None means the bundled data.
    target : str or None
        Column to predict; may be None for the bundled data.
    output : str
        Picture to write.
    folds : int or None
        Folds of the cross-validation; None means 5, or 3 if `quick`.
    quick : bool
        Use fewer rows, folds and seconds.

    Raises
    ------
    InputError
        If the user has to change the file or an option.
    OutputError
        If the table or the picture cannot be written.
    """
    check_output(output, data)
    problem = load_problem(data, target, QUICK_ROWS if quick else MAX_ROWS)
    folds = (3 if quick else 5) if folds is None else folds
    check_folds(folds, len(problem.y))
    models = all_models(*(QUICK_EFFORT if quick else EFFORT))
    models, notes = affordable(models, problem)
    evaluation = with_progress(problem, models, folds)
    try:
        with writable_stdout():
            report(problem, evaluation, folds, problem.notes + notes)
    finally:
        message = write_picture(output, problem, evaluation)
    with writable_stdout():
        report_console().print(message, markup=False, highlight=False)


def check_output(output, data):
    """Raise before the long computation if the picture cannot be written."""
    path = Path(output)
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in formats:
        raise InputError(f"cannot write {output}; let --output end in .png or .pdf")
    try:
        if not path.absolute().parent.is_dir():
            raise InputError(
                f"no such folder: {path.parent}; create it or change --output"
            )
        if path.exists() and not path.is_file():
            raise InputError(f"{output} is not a file; change --output")
        if path.exists() and data is not None and path.samefile(data):
            raise InputError(f"{output} is the data; change --output")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with written_beside(path) as part:
            trial = Figure()
            trial.suptitle("text")
            trial.savefig(part)
            part.write_bytes(bytes(PICTURE_BYTES))
    # Some formats need another program: RuntimeError.
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot write {output} ({reason(error)})") from error


@contextmanager
def written_beside(path):
    """Name of a file in the same folder, which is removed if it is still there."""
    part = path.with_name(f".compare-{os.getpid()}{path.suffix}")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def write_picture(output, problem, evaluation):
    """Write the picture whole or not at all; return a sentence about it."""
    # A link stays a link.
    path = Path(output).resolve()
    replaced = " (replaced)" if path.exists() else ""
    try:
        with written_beside(path) as part:
            save_picture(part, problem, evaluation)
            part.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {output} ({reason(error)})") from error
    return printable(f"Picture: {output}{replaced}")


def check_folds(folds, n_rows):
    """Raise unless each fold holds at least five rows."""
    if not 2 <= folds <= n_rows // 5:
        raise InputError(f"--folds must be from 2 to {n_rows // 5}, not {folds}")


def affordable(models, problem):
    """Leave the ARD baseline out if scikit-learn's gradients would fill the memory."""
    n_rows, n_features = encoder(problem.X).fit_transform(problem.X).shape
    # Three arrays of n_rows x n_rows x n_features live at once.
    n_bytes = 24 * n_rows**2 * n_features
    if n_bytes <= ARD_BYTES:
        return models, []
    note = f"left out {GP_BASELINES[1]}: {n_bytes / 1e9:.0f} GB for its gradients"
    return [model for model in models if model.name != GP_BASELINES[1]], [note]


def with_progress(problem, models, folds):
    """Evaluate the models under a progress bar on standard error."""
    console = Console(stderr=True)
    hidden = not console.is_terminal
    with Progress(console=console, transient=True, disable=hidden) as progress:
        task = progress.add_task("", total=len(models) * folds)
        steps = count()

        def on_step(name, fold):
            step = f"{name}, fold {fold + 1}"
            progress.update(task, completed=next(steps), description=step)

        return evaluate(problem, models, folds, on_step)


def report(problem, evaluation, folds, notes):
    """Print what was done, the table and the verdict."""
    console = report_console()
    title = (
        f"{problem.name}: {problem.target} from {problem.X.shape[1]} columns, "
        f"{len(problem.y)} rows, {folds} folds"
    )
    for note in notes:
        console.print(f"Note: {note}.", markup=False, highlight=False)
    console.print(results_table(evaluation.scores, escape(title)))
    for note in evaluation.notes:
        console.print(f"Note: {note}.", markup=False, highlight=False)
    console.print(verdict(evaluation.scores), markup=False, highlight=False)


class ReportConsole(Console):
    """A console whose user hears of a closed pipe."""

    def on_broken_pipe(self):
        """Raise the error again, instead of a silent exit."""
        raise


def report_console():
    """Return a console on standard output, wide enough where it is no terminal."""
    console = ReportConsole()
    return console if console.is_terminal else ReportConsole(width=120)


@contextmanager
def writable_stdout():
    """Turn a failure to print into an `OutputError`, and print nothing more."""
    try:
        yield
    except OSError as error:
        # Python would try again at its exit, and fail.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"cannot print the table ({reason(error)})") from error
