"""Targets of any type as columns of numbers."""

import numpy as np

MAX_CLASSES = 20


def table_to_numpy(y):
    """Series and tables as NumPy, whose columns keep their own types; others as is."""
    if not hasattr(y, "to_numpy"):
        return y
    mixed = getattr(y, "ndim", 1) == 2 and len(set(y.dtypes)) > 1
    return (y.astype(object) if mixed else y).to_numpy()


class TargetColumns:
    """One column for each continuous target, for two classes, or for each of more.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    target_type : {"auto", "continuous", "classes"}
        "auto" decides for each output: floating ones are continuous; bools and strings
        classes, and integers of at most 20 distinct values.
    """

    def __init__(self, y, target_type):
        self.classes = [
            np.unique(output)
            if target_type == "classes"
            or (target_type == "auto" and _is_discrete(output))
            else None
            for output in _outputs(y)
        ]

    def __call__(self, y):
        """Columns (n_samples, q) of targets like those given first.

        Raises
        ------
        ValueError
            If they are of another kind, or of classes not met before.
        """
        outputs = _outputs(y)
        if len(outputs) != len(self.classes):
            raise ValueError(
                f"y has {len(outputs)} outputs, but {len(self.classes)} in fit."
            )
        pairs = zip(outputs, self.classes, strict=True)
        return np.hstack([_columns(output, classes) for output, classes in pairs])


def _outputs(y):
    """Outputs one by one, in the type of what they hold."""
    columns = list(y[:, None].T if y.ndim == 1 else y.T)
    if y.dtype.kind == "O":
        columns = [_unboxed(column) for column in columns]
    return columns


def _unboxed(column):
    kinds = {type(value) for value in column}
    if len(kinds) > 1 and any(issubclass(kind, str) for kind in kinds):
        raise ValueError("y mixes strings and other values: make them all strings.")
    return np.array(column.tolist())


def _columns(output, classes):
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
