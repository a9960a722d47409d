"""Settings that SciPy, scikit-learn and matplotlib read when first imported."""

import os

# Without it scikit-learn skips its array API checks silently.
os.environ["SCIPY_ARRAY_API"] = "1"
os.environ["MPLBACKEND"] = "Agg"
