"""What the command says to its user: one line, safe to show in a terminal."""

import unicodedata


class InputError(ValueError):
    """Something the user can put right; the message says how."""

    exit_code = 2

    def __init__(self, message):
        super().__init__(printable(message))


class OutputError(InputError):
    """A result that could not be written."""

    exit_code = 1


def printable(text):
    r"""Show control characters as escapes: a line feed as \n.

    A terminal would obey them, and they come from files.
    """
    return "".join(
        repr(letter)[1:-1] if is_control(letter) else letter for letter in str(text)
    )


def is_control(letter):
    """Whether a character changes how others are shown, or is not one at all."""
    category = unicodedata.category(letter)
    return category in {"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"}


def reason(error):
    """Return why an error came about, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.strip().partition("\n")[0].split())


def counted(number, noun):
    """Return a number with its noun."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def listed(items, most=10):
    """Join the items with commas, at most ten of them."""
    items = [str(item) for item in items]
    more = [f"and {len(items) - most} more"] if len(items) > most else []
    return ", ".join(items[:most] + more)
