"""Cross-validation over widths, kernels and covariance types, and stacking."""
