"""Random features after one gradient step (arXiv:2310.07891)."""
