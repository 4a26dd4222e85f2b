"""What each program of ours does with its output, so that no name, locale or reader breaks it."""

import os
import sys

from maxmemd.rest.text import print_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class OutputLost(Exception):
    """Standard output cannot be written."""


class Printing:
    """A context for statements that print: an OSError in it is the output's.

    It is a class, since contextlib takes a tenth of maxmemctl's start.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise OutputLost from error


def run_program(run: "Callable[[], int]", program: str = "maxmemctl") -> int:
    """Run a program's work and write out what it printed; return the exit status.

    A reader that went away (`| head -1`) and a full disk end it with status 1 and no traceback,
    also where argparse printed. What the encoding lacks is written as an escape.
    """
    _prepare_streams()
    try:
        try:
            status = run()
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        with Printing():
            sys.stdout.flush()
    except OutputLost as lost:
        cause = lost.__cause__
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter fails again at exit
        if isinstance(cause, OSError) and not isinstance(cause, BrokenPipeError):
            why = f"cannot print the answer: {cause.strerror} (the request was carried out)"
            print_error(why, program)
        return 1
    return status


def _prepare_streams() -> None:
    """Make stdout and stderr take every text, also where the caller has closed them."""
    if sys.stdout is None:  # opened for reading: what is printed fails, as it must
        os.dup2(os.open(os.devnull, os.O_RDONLY), 1)
        sys.stdout = os.fdopen(1, "w")
    if sys.stderr is None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        sys.stderr = os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
