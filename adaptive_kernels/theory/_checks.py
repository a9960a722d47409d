"""Checks that several theories share."""

from math import inf


def check_width(width):
    """Raise unless there are hidden units."""
    if not width > 0:
        raise ValueError(f"width must be positive, got {width!r}.")


def check_noise(noise, name="noise"):
    """Raise unless a noise variance or ridge is a number and not negative."""
    if not 0 <= noise < inf:
        raise ValueError(f"{name} must be finite and not negative, got {noise!r}.")
