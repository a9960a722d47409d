"""The steps of the command, from a file name to a picture."""

from itertools import count
from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from ._evaluate import evaluate
from ._input_table import InputError, encoder, load_problem
from ._models import GP_BASELINES, all_models
from ._report import results_table, save_picture, verdict

MAX_ROWS, QUICK_ROWS = 1000, 300
EFFORT, QUICK_EFFORT = (30.0, 5), (5.0, 3)
ARD_BYTES = 4e9


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
    """
    check_output(output)
    problem = load_problem(data, target, QUICK_ROWS if quick else MAX_ROWS)
    folds = check_folds(folds or (3 if quick else 5), len(problem.y))
    models = all_models(*(QUICK_EFFORT if quick else EFFORT))
    models, notes = affordable(models, problem)
    evaluation = with_progress(problem, models, folds)
    report(problem, evaluation, folds, problem.notes + notes)
    save_picture(output, problem, evaluation)
    report_console().print(f"Picture: {escape(str(output))}")


def check_output(output):
    """Raise before the long computation if the picture cannot be written."""
    path = Path(output)
    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in formats:
        raise InputError(f"cannot write {output}; let --output end in .png or .pdf")
    if not path.absolute().parent.is_dir():
        raise InputError(f"no such folder: {path.parent}; create it or change --output")


def check_folds(folds, n_rows):
    """Return the number of folds if each holds at least five rows."""
    if not 2 <= folds <= n_rows // 5:
        raise InputError(f"--folds must be from 2 to {n_rows // 5}, not {folds}")
    return folds


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
    with Progress(console=Console(stderr=True), transient=True) as progress:
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


def report_console():
    """Return a console on standard output, wide enough where it is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=120)
