"""The verbs of our own that change a record: rollback and component-*."""

from maxmemd.cli.format import amount
from maxmemd.cli.invocation import (
    Invocation,
    decided,
    not_in_force,
    number,
    quoted,
    refused,
    size_of,
)
from maxmemd.cli.options import Stop
from maxmemd.cli.xl_domain import named
from maxmemd.rest.reply import Answer


def rollback(call: Invocation) -> int:
    """Put the components and static-max of an earlier revision in force again."""
    ref = named(call)
    revision = number(call.args[1], "a revision")
    body = {"revision": revision, **({"force": True} if "force" in call.options else {})}
    answer = call.write("POST", f"domains/{quoted(ref)}/rollback", body)
    return _settled(call, answer, f"roll {ref} back to revision {revision}")


def component_set(call: Invocation) -> int:
    """Set one component."""
    path, called = _component(call)
    kib = _size(call.args[2])
    answer = call.write("PUT", path, {"amount_kib": kib})
    return _settled(call, answer, f"set {called} to {amount(kib)}")


def component_increase(call: Invocation) -> int:
    """Add to one component; a size with a minus sign is taken away."""
    path, called = _component(call)
    text = call.args[2]
    kib = _size(text.removeprefix("-"))
    down = text.startswith("-")
    answer = call.write("POST", f"{path}/increase", {"by_kib": -kib if down else kib})
    what = f"take {amount(kib)} from" if down else f"add {amount(kib)} to"
    return _settled(call, answer, f"{what} {called}")


def component_remove(call: Invocation) -> int:
    """Remove one component."""
    path, called = _component(call)
    return _settled(call, call.write("DELETE", path), f"remove {called}")


def _component(call: Invocation) -> tuple[str, str]:
    """Return the path of a component, and how to call it."""
    ref = named(call)
    owner, slash, name = call.args[1].partition("/")
    if not (owner and slash and name):
        raise Stop(
            2,
            err=f"maxmemctl: cannot read {call.args[1]!r} as a component:"
            " write OWNER/NAME, as in device-model/roms\n",
        )
    path = f"domains/{quoted(ref)}/components/{quoted(owner)}/{quoted(name)}"
    return path, f"{owner}/{name} of {ref}"


def _size(text: str) -> int:
    try:
        return size_of(text).kib
    except ValueError as why:
        raise Stop(2, err=f"maxmemctl: {why}\n") from None


def _settled(call: Invocation, answer: Answer, what: str) -> int:
    if answer.status not in (200, 202):
        refused(call, answer, what, call.args[0])
        return 1
    decided(call, answer)
    if answer.status == 202:
        not_in_force(answer, call.args[0])
        return 1
    return 0


HANDLERS = {
    "rollback": rollback,
    "component-set": component_set,
    "component-increase": component_increase,
    "component-remove": component_remove,
}
