"""Text for a terminal: nothing that came from elsewhere moves the cursor."""

import sys


def plain(text: str) -> str:
    """Return text with every character that is not printable replaced by "?"."""
    return "".join(c if c.isprintable() else "?" for c in text)


def print_error(text: str) -> None:
    """Print one line of maxmemctl's own to stderr, without control characters."""
    sys.stderr.write(f"maxmemctl: {plain(text)}\n")
