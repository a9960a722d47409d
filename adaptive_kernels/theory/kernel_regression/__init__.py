"""Kernel gradient descent and learning curves (arXiv:2307.14531)."""
