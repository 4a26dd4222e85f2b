"""Text for a terminal, without control characters from other people's input."""

import sys


def plain(text: str) -> str:
    """Return text with unprintable characters replaced by "?"."""
    return "".join(c if c.isprintable() else "?" for c in text)


def print_error(text: str, program: str = "maxmemctl") -> None:
    """Print one line to stderr as a program's, without control characters."""
    sys.stderr.write(f"{program}: {plain(text)}\n")


def print_lines(text: str) -> None:
    """Print xl's lines to stderr, which may quote what a user typed, likewise."""
    sys.stderr.write("\n".join(plain(line) for line in text.split("\n")))
