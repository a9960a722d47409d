"""Posterior of the importance-sampled theory, in the interface of the others."""


class SampledPosterior:
    """Wait."""
