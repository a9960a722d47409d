"""Output statistics of networks of finite width (arXiv:2502.03210)."""
