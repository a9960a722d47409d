"""Evidence, its maximisation, and posteriors: what the estimators fit with."""
