"""Axes, colours and pipelines: helpers of all displays."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

# Okabe and Ito's colours, which people with colour blindness can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LINESTYLES = ("-", "--", ":")
GREY = "#666666"


def check_axes(ax, caller):
    """The given axes, or those of a new figure."""
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib. Install it with "
            '`pip install "adaptive_kernels[demo]"`.'
        ) from error
    return plt.subplots(layout="constrained")[1]


def panels(ax, count, caller):
    """The given axes, or `count` axes side by side in a new figure."""
    if ax is None:
        figure = check_axes(None, caller).figure
        figure.clear()
        figure.set_size_inches(4.5 * count + 0.5, 4.2)
        return np.atleast_1d(figure.subplots(1, count))
    axes = np.ravel(ax)
    if len(axes) != count:
        raise ValueError(f"ax must hold {count} axes, got {len(axes)}.")
    return axes


def clear_frame(ax, grid_axis):
    """Remove the upper and right border, and draw a light grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(GREY)
    ax.tick_params(color=GREY, length=3)
    ax.grid(axis=grid_axis, color="#e6e6e6", linewidth=0.8)
    ax.set_axisbelow(True)


def last_step(estimator):
    """The last step of a pipeline, or the estimator itself."""
    return estimator[-1] if isinstance(estimator, Pipeline) else estimator


def final_estimator(estimator, attribute):
    """The last step of a pipeline, or the estimator itself.

    Raises TypeError if it has no such attribute.
    """
    last = last_step(estimator)
    check_is_fitted(last)
    if not hasattr(last, attribute):
        raise TypeError(
            f"{type(last).__name__} has no `{attribute}` to show; pass a fitted "
            "adaptive kernel estimator or a pipeline that ends in one."
        )
    return last


def names_of_inputs(estimator, last):
    """Names of the features that the last step of a pipeline was fitted to, or None."""
    if hasattr(last, "feature_names_in_"):
        return list(last.feature_names_in_)
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        try:
            return list(estimator[:-1].get_feature_names_out())
        except AttributeError:  # of a step that does not name its outputs
            return None
    return None
