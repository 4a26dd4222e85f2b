"""Our own verbs that change a record: rollback and component-*."""

from maxmemd.cli.format import amount
from maxmemd.cli.invocation import (
    Invocation,
    number,
    print_decision,
    print_not_done,
    print_refused,
    quoted,
    size_of,
    unwritten_effects,
)
from maxmemd.cli.options import Stop
from maxmemd.cli.xl_domain import required_reference
from maxmemd.rest.reply import Answer


def rollback(call: Invocation) -> int:
    """Restore the components and static-max of an earlier revision."""
    ref = required_reference(call)
    revision = number(call.args[1], "a revision")
    body = {"revision": revision, **({"force": True} if "force" in call.options else {})}
    answer = call.write("POST", f"domains/{quoted(ref)}/rollback", body)
    return _report(call, answer, f"roll {ref} back to revision {revision}")


def component_set(call: Invocation) -> int:
    """Set one component."""
    path, called = _component(call)
    kib = _size(call.args[2])
    answer = call.write("PUT", path, {"amount_kib": kib})
    return _report(call, answer, f"set {called} to {amount(kib)}")


def component_increase(call: Invocation) -> int:
    """Add to one component, or subtract from it if the size has a minus sign."""
    path, called = _component(call)
    text = call.args[2]
    kib = _size(text[1:] if text[:1] in ("+", "-") else text)
    down = text.startswith("-")
    answer = call.write("POST", f"{path}/increase", {"by_kib": -kib if down else kib})
    what = f"take {amount(kib)} from" if down else f"add {amount(kib)} to"
    return _report(call, answer, f"{what} {called}")


def component_remove(call: Invocation) -> int:
    """Remove one component."""
    path, called = _component(call)
    return _report(call, call.write("DELETE", path), f"remove {called}")


def _component(call: Invocation) -> tuple[str, str]:
    """Return the path of a component, and its name for messages."""
    ref = required_reference(call)
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


def _report(call: Invocation, answer: Answer, what: str) -> int:
    if answer.status not in (200, 202):
        print_refused(call, answer, what, call.args[0])
        return 1
    print_decision(call, answer)
    if answer.status == 202 or unwritten_effects(answer.body):
        print_not_done(answer, call.args[0])
    return 1 if answer.status == 202 else 0


HANDLERS = {
    "rollback": rollback,
    "component-set": component_set,
    "component-increase": component_increase,
    "component-remove": component_remove,
}
