"""The verb token: create, list and revoke what clients over TCP show; over the Unix socket only."""

from maxmemd.cli.call import Call, quoted, refused
from maxmemd.cli.grammar import Stop
from maxmemd.cli.tables import plain
from maxmemd.cli.words import when

ROLES = ("admin", "toolstack", "observer")
_ROW = "{:<32} {:<10} {:<20}  {}"


def token(call: Call) -> int:
    """Create, list or revoke tokens."""
    what, *rest = call.args
    if what == "create" and len(rest) == 2:
        return _create(call, *rest)
    if what == "list" and not rest:
        return _list(call)
    if what == "revoke" and len(rest) == 1:
        return _revoke(call, rest[0])
    words = plain(" ".join(call.args))
    raise Stop(2, err=f"maxmemctl: cannot use these words: {words}\n\n", out=call.verb.help())


def _create(call: Call, name: str, role: str) -> int:
    if role not in ROLES:
        raise Stop(2, err=f"maxmemctl: cannot give this role: it is {', '.join(ROLES)}\n")
    answer = call.server.ask("POST", "/v1/tokens", {"name": name, "role": role})
    if answer.status != 200:
        refused(call, answer, f"create the token {name}", "")
        return 1
    if call.wants_json:
        call.print_json(answer.body)
    else:
        print(answer.body["token"])
    return 0


def _list(call: Call) -> int:
    answer = call.read("tokens")
    if answer.status != 200:
        refused(call, answer, "list the tokens", "")
        return 1
    if call.wants_json:
        call.print_json(answer.body)
        return 0
    print(_ROW.format("Name", "Role", "Created", "By"))
    for one in answer.body["tokens"]:
        by = plain(str(one["by"]["name"]))
        print(_ROW.format(plain(one["name"]), one["role"], when(one["created"]), by))
    return 0


def _revoke(call: Call, name: str) -> int:
    answer = call.server.ask("DELETE", f"/v1/tokens/{quoted(name)}")
    if answer.status == 200:
        if call.wants_json:
            call.print_json(answer.body)
        return 0
    refused(call, answer, f"revoke the token {name}", "")
    return 1


HANDLERS = {"token": token}
