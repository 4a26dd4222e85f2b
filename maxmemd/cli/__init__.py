"""maxmemctl, the command-line client. Exit status: 0 done, 1 refused or no daemon, 2 wrong usage.

To start within milliseconds, a verb that changes a limit imports no argparse, typing, http.client,
ssl, pathlib or dataclasses. Verbs that xl has behave as in xl (docs/maxmemctl.md lists the
differences).
"""

import os
import sys
from collections.abc import Callable, Mapping

from maxmemd.cli.commands import find, help_on, overview
from maxmemd.cli.invocation import Invocation, number
from maxmemd.cli.options import Command, Stop, globals_of, words_of
from maxmemd.rest.connection import DEFAULT_SOCKET, DaemonConnection
from maxmemd.rest.output import Printing, run_program
from maxmemd.rest.reply import Unreachable
from maxmemd.rest.text import print_error, print_lines

LONGEST_TIMEOUT_S = 3600
SIMULATED_HOST = "this host is simulated: no Xen and no real guest is touched"
LAST_ATTEMPT_S = 10.0
"""Of --timeout, what is left for the reply to the last retry."""


def main(argv: list[str] | None = None) -> int:
    """Run maxmemctl with these arguments (sys.argv's by default); return the exit status."""

    def run() -> int:
        with Printing():
            return _status(sys.argv[1:] if argv is None else argv)

    return run_program(run)


def _status(argv: list[str]) -> int:
    try:
        return _run(argv)
    except Stop as stop:
        print_lines(stop.err)
        sys.stdout.write(stop.out)
        return stop.status
    except Unreachable as away:
        print_error(str(away))
        return 1
    except KeyboardInterrupt:
        return 130


def _run(argv: list[str]) -> int:
    given, rest = globals_of(argv)
    if "help" in given or (not rest and "version" not in given):
        sys.stdout.write(overview())
        return 0 if "help" in given else 1
    if "version" in given:
        from maxmemd import __version__

        print(f"maxmemctl {__version__}")
        return 0
    if rest[0] == "help":
        raise help_on(rest[1:])
    return _verb(given, rest)


def _verb(given: dict[str, str], words: list[str]) -> int:
    verb = find(words[0])
    if verb is None:
        print_error(f"cannot find the verb {words[0]}: maxmemctl --help lists them")
        raise Stop(1, err="command not implemented\n")
    options, args = words_of(verb, words[1:])
    if "dry-run" in given and not verb.writes:
        raise Stop(1, err="command does not implement -N (dryrun) option\n")

    path = given.get("socket") or os.environ.get("MAXMEM_SOCKET") or DEFAULT_SOCKET
    timeout_s = _timeout_s(given)
    retry_s = None if timeout_s is None else max(0.0, timeout_s - LAST_ATTEMPT_S)
    server = DaemonConnection(
        path, given.get("url"), given,
        retry_s=retry_s, reply_s=timeout_s, on_simulated=_say_simulated,
    )  # fmt: skip
    return _handlers(verb)[verb.name](Invocation(verb, {**given, **options}, args, server))


def _say_simulated() -> None:
    """Say what the host is, on stderr: stdout is the same as on a real host."""
    print_error(SIMULATED_HOST)


def _timeout_s(given: Mapping[str, str]) -> float | None:
    """Return --timeout, None where it is not given. Raises Stop unless it is 1 s to an hour."""
    if "timeout" not in given:
        return None
    seconds = number(given["timeout"], "a time-out in seconds")
    if not 1 <= seconds <= LONGEST_TIMEOUT_S:
        raise Stop(
            2, err=f"maxmemctl: cannot wait {seconds} s: --timeout is 1 to {LONGEST_TIMEOUT_S}\n"
        )
    return float(seconds)


def _handlers(verb: Command) -> Mapping[str, Callable[[Invocation], int]]:
    """Return the handlers of this verb's group, importing no other group."""
    if verb.name == "doctor":
        from maxmemd.cli.doctor import HANDLERS
    elif verb.name == "drift":
        from maxmemd.cli.drift import HANDLERS
    elif verb.name == "token":
        from maxmemd.cli.tokens import HANDLERS
    elif verb.name == "watch":
        from maxmemd.cli.watch import HANDLERS
    elif verb.like_xl and verb.writes:
        from maxmemd.cli.xl_mem import HANDLERS
    elif verb.like_xl:
        from maxmemd.cli.xl_info import HANDLERS
    elif verb.writes:
        from maxmemd.cli.change import HANDLERS
    else:
        from maxmemd.cli.show import HANDLERS
    return HANDLERS
