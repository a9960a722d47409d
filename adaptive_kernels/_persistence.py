"""Pickles that carry the versions that made them, and warn where these differ."""

import sys
import warnings
from typing import Any

import sklearn
from sklearn.exceptions import InconsistentVersionWarning

PACKAGE = __name__.partition(".")[0]


def _versions() -> dict[str, tuple[str, str]]:
    """Name and version of the packages whose state is saved, by the key in a state."""
    # The package's own __init__ is the top floor, which is not imported from here.
    ours = sys.modules[PACKAGE].__version__
    return {
        f"_{PACKAGE}_version": (PACKAGE, ours),
        "_sklearn_version": ("scikit-learn", sklearn.__version__),
    }


class VersionedState:
    """Mixin, before `BaseEstimator`, of classes whose pickles carry versions.

    Loading in other versions gives the warning of scikit-learn's own estimators, which
    says the same about theirs.
    """

    def __getstate__(self) -> dict[str, Any]:
        # An instance without attributes has None for a state.
        state: Any = super().__getstate__() or {}
        return {**state, **{key: version for key, (_, version) in _versions().items()}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        for key, (package, version) in _versions().items():
            saved = state.pop(key, "unknown")
            if saved != version:
                warnings.warn(
                    InconsistentVersionWarning(
                        estimator_name=f"{type(self).__name__} ({package})",
                        current_sklearn_version=version,
                        original_sklearn_version=saved,
                    ),
                    stacklevel=2,
                )
        getattr(super(), "__setstate__", vars(self).update)(state)
