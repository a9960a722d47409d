"""Conversion of targets of any type to columns of numbers."""

import numpy as np

# Integers with more distinct values are counts or grades rather than labels.
MAX_CLASSES = 20


def table_to_numpy(y):
    """NumPy array of a pandas object (mixed columns as objects); others unchanged."""
    if not hasattr(y, "to_numpy"):
        return y
    mixed = getattr(y, "ndim", 1) == 2 and len(set(y.dtypes)) > 1
    return (y.astype(object) if mixed else y).to_numpy()


class TargetColumns:
    """Conversion of targets to columns of numbers, as learned from the targets of fit.

    A continuous output and an output of two classes give one column. An output of more
    classes gives one column for each class.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Targets of fit.
    target_type : {"auto", "continuous", "classes"}
        Type of the outputs. "auto" decides for each output: floats are continuous;
        bools, strings and integers with at most 20 distinct values are classes.
    """

    def __init__(self, y, target_type):
        self.classes = [
            _distinct(output)
            if target_type == "classes"
            or (target_type == "auto" and _is_discrete(output))
            else None
            for output in _outputs(y)
        ]

    def __call__(self, y):
        """Columns (n_samples, q) of targets y of the same kind as in fit.

        Raises
        ------
        ValueError
            If y has another number of outputs, an unknown class, or no numbers where
            fit had numbers.
        """
        outputs = _outputs(y)
        if len(outputs) != len(self.classes):
            raise ValueError(
                f"y has {len(outputs)} outputs, but had {len(self.classes)} in fit."
            )
        pairs = zip(outputs, self.classes, strict=True)
        return np.hstack([_columns(output, classes) for output, classes in pairs])


def _outputs(y):
    """List of the outputs, each with the data type of its values."""
    columns = list(y[:, None].T if y.ndim == 1 else y.T)
    if y.dtype.kind == "O":
        columns = [_unboxed(column) for column in columns]
    return columns


def _distinct(output):
    try:
        return np.unique(output)
    except TypeError:
        raise ValueError(
            "y has labels that cannot be sorted: make them all strings or all numbers."
        ) from None


def _unboxed(column):
    kinds = {type(value) for value in column}
    if len(kinds) > 1 and any(issubclass(kind, str) for kind in kinds):
        raise ValueError("y mixes strings and other values: make them all strings.")
    return np.array(column.tolist())


def _columns(output, classes):
    """Columns of one output as floats: its numbers, or indicators of its classes.

    classes : ndarray of labels, or None for a continuous output; of two classes only
        the second has a column
    """
    if classes is None:
        try:
            numbers = output.astype(float)[:, None]
        except (TypeError, ValueError) as error:
            raise ValueError(
                "A continuous y needs numbers: to learn labels, fit with target_type="
                "'classes' or 'auto'."
            ) from error
        if not np.all(np.isfinite(numbers)):
            raise ValueError("y contains NaN or infinity.")
        return numbers
    unknown = np.setdiff1d(output, classes)
    if unknown.size:
        raise ValueError(f"y holds classes that fit has not seen: {unknown.tolist()}.")
    shown = classes if len(classes) > 2 else classes[-1:]
    return (output[:, None] == shown).astype(float)


def _is_discrete(output):
    if output.dtype.kind in "iu":
        return len(np.unique(output)) <= MAX_CLASSES
    return output.dtype.kind not in "fc"
