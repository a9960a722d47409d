"""Checks of parameters that several theories have in common."""

from math import inf


def check_width(width):
    """Raise ValueError unless the width is positive."""
    if not width > 0:
        raise ValueError(f"width must be positive, got {width!r}.")


def check_noise(noise, name="noise"):
    """Raise ValueError unless a noise variance or ridge is finite and not negative."""
    if not 0 <= noise < inf:
        raise ValueError(f"{name} must be finite and not negative, got {noise!r}.")
