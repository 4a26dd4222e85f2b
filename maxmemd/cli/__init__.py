"""maxmemctl, the command-line client. Exit status: 0 done, 1 refused or no daemon, 2 wrong usage.

To start within milliseconds, a verb that changes a limit imports no argparse, typing, http.client,
ssl, pathlib or dataclasses. Verbs that xl has behave as in xl (docs/maxmemctl.md lists the
differences).
"""

import os
import sys
from collections.abc import Callable, Mapping

from maxmemd.cli.commands import find, help_on, overview
from maxmemd.cli.invocation import Invocation
from maxmemd.cli.options import Command, Stop, globals_of, words_of
from maxmemd.rest.connection import DEFAULT_SOCKET, DaemonConnection
from maxmemd.rest.reply import Unreachable
from maxmemd.rest.text import print_error


def main(argv: list[str] | None = None) -> int:
    """Run maxmemctl with these arguments (sys.argv's by default); return the exit status."""
    try:
        status = _status(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _drop_output()
        return 1
    except OSError as error:
        _drop_output()
        print_error(f"cannot print the answer: {error.strerror} (the request was carried out)")
        return 1


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter fails again at exit


def _status(argv: list[str]) -> int:
    try:
        return _run(argv)
    except Stop as stop:
        sys.stderr.write(stop.err)
        sys.stdout.write(stop.out)
        return stop.status
    except Unreachable as away:
        print_error(str(away))
        return 1


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
        sys.stdout.write(overview() if len(rest) == 1 else help_on(rest[1]))
        return 0
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
    call = Invocation(
        verb, {**given, **options}, args, DaemonConnection(path, given.get("url"), given)
    )
    return _handlers(verb)[verb.name](call)


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
