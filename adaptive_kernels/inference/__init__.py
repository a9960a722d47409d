"""Evidence, its maximisation, and posteriors, from which the estimators are built."""
