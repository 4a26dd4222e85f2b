"""token: create, list and revoke bearer tokens of TCP clients, over the Unix socket only."""

import os

from maxmemd.cli.format import when
from maxmemd.cli.invocation import Invocation, print_refused, quoted
from maxmemd.cli.options import Stop
from maxmemd.rest.reply import Body, Unreachable
from maxmemd.rest.text import plain

ROLES = ("admin", "toolstack", "observer")
MOST_DAYS = 3650
_ROW = "{:<32} {:<10} {:<20}  {:<20}  {}"


def token(call: Invocation) -> int:
    """Create, list or revoke tokens."""
    what, *rest = call.args
    if what == "create" and len(rest) == 2:
        return _create(call, *rest)
    if what == "list" and not rest and not call.options.keys() & {"days", "output"}:
        return _list(call)
    if what == "revoke" and len(rest) == 1 and not call.options.keys() & {"days", "output"}:
        return _revoke(call, rest[0])
    words = plain(" ".join(call.args))
    raise Stop(2, err=f"maxmemctl: unexpected arguments: {words}\n\n", out=call.verb.help())


def _create(call: Invocation, name: str, role: str) -> int:
    if role not in ROLES:
        raise Stop(2, err=f"maxmemctl: cannot give this role: it is {', '.join(ROLES)}\n")
    body: Body = {"name": name, "role": role}
    if "days" in call.options:
        body["days"] = _days(call.options["days"])
    output = call.options.get("output")
    if output is not None:
        _make_file(output)  # before the token, which is shown once and would be lost
    try:
        answer = call.server.ask("POST", "/v1/tokens", body)
    except Unreachable:
        _remove(output)
        raise
    if answer.status != 200:
        _remove(output)
        print_refused(call, answer, f"create the token {name}", "")
        return 1
    if output is not None:
        with open(output, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib imports slowly
            file.write(answer.body["token"] + "\n")
    elif call.wants_json:
        call.print_json(answer.body)
    else:
        print(answer.body["token"])
    return 0


def _make_file(path: str) -> None:
    """Create a file that only its owner can read. Raises Stop if there is one, or it cannot be."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        why = f"cannot create {plain(path)}: {error.strerror}; no token was created"
        raise Stop(1, err=f"maxmemctl: {why}\n") from None


def _remove(path: str | None) -> None:
    if path is not None:
        os.unlink(path)  # noqa: PTH108


def _days(word: str) -> int:
    days = int(word) if word.isascii() and word.isdigit() and len(word) < 5 else 0
    if not 1 <= days <= MOST_DAYS:
        raise Stop(2, err=f"maxmemctl: cannot use --days {plain(word)}: give 1 to {MOST_DAYS}\n")
    return days


def _list(call: Invocation) -> int:
    answer = call.read("tokens")
    if answer.status != 200:
        print_refused(call, answer, "list the tokens", "")
        return 1
    if call.wants_json:
        call.print_json(answer.body)
        return 0
    print(_ROW.format("Name", "Role", "Created", "Expires", "By"))
    for one in answer.body["tokens"]:
        times = when(one["created"]), when(one.get("expires"))
        print(plain(_ROW.format(one["name"], one["role"], *times, one["by"]["name"])))
    return 0


def _revoke(call: Invocation, name: str) -> int:
    answer = call.server.ask("DELETE", f"/v1/tokens/{quoted(name)}")
    if answer.status == 200:
        if call.wants_json:
            call.print_json(answer.body)
        return 0
    print_refused(call, answer, f"revoke the token {name}", "")
    return 1


HANDLERS = {"token": token}
