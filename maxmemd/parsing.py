"""A verb of a program, with its examples, as argparse has it."""

import argparse
from typing import Any, Protocol


class Verbs(Protocol):
    """What argparse's add_subparsers returns."""

    def add_parser(self, name: str, **options: Any) -> argparse.ArgumentParser:
        """Add a verb."""
        ...


def verb_of(
    verbs: Verbs, name: str, *, summary: str, text: str, examples: str
) -> argparse.ArgumentParser:
    """Add a verb to a program's, and return its parser; the caller says what runs it."""
    return verbs.add_parser(
        name,
        help=summary,
        description=text,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
