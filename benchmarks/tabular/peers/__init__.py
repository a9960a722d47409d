"""Peers, each a function fit(X, y, seed) that returns the function to predict with.

A regressor predicts (mean,) or (mean, std), a classifier probabilities. Packages are
imported inside, because no environment has them all.
"""
