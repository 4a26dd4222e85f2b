"""Text for a terminal, without control characters from other people's input."""

import sys


def plain(text: str) -> str:
    """Return text with unprintable characters replaced by "?"."""
    return "".join(c if c.isprintable() else "?" for c in text)


def print_error(text: str) -> None:
    """Print one line to stderr as maxmemctl's, without control characters."""
    sys.stderr.write(f"maxmemctl: {plain(text)}\n")
