"""Our own verbs that only read: show, components, explain, history, health."""

import sys

from maxmemd.cli.drift import mode_of
from maxmemd.cli.entries import newest_entries
from maxmemd.cli.format import aligned, amount, format_words, when, who
from maxmemd.cli.invocation import (
    Invocation,
    number,
    print_refused,
    quoted,
    title,
    unwritten_effects,
)
from maxmemd.cli.options import Stop
from maxmemd.cli.xl_domain import required_reference
from maxmemd.rest.reply import Body
from maxmemd.rest.text import plain
from maxmemd.units import UNLIMITED

PAGE = 100
"""History entries per request."""


def show(call: Invocation) -> int:
    """Print all that maxmemd knows about a domain."""
    body = _get_domain(call, "", "show")
    sys.stdout.write(f"{title(body)}\n" + aligned(_facts(body), indent="  "))
    if body["components"]:
        sys.stdout.write("  components\n" + _components(body, "    "))
    return 0


def _facts(body: Body) -> list[list[str]]:
    xen = body["xen"]
    rows = [["uuid", body["uuid"]]]
    if body["revision"] is not None:
        rows.append(["revision", str(body["revision"])])
        rows.append(["max-mem", amount(body["max_mem_kib"])])
        rows.append(
            ["limit", f"{amount(body['limit_kib'], body['unlimited'])} ({body['max_pages']} pages)"]
        )
    else:
        rows.append(["limit", "none recorded"])
    rows += [
        ["in force", _in_force(body) if body["managed"] else "not managed: it has no UUID"],
        ["recorded static-max", amount(body["recorded_static_max_kib"])],
        ["static-max", _node(body, "static-max", body["static_max_kib"])],
        ["target", _node(body, "target", body["target_kib"])],
        ["video RAM", _node(body, "videoram", body["videoram_kib"])],
    ]
    rows += [["not written", each] for each in unwritten_effects(body)]
    if body["drift"] is not None:
        rows.append(["drift", mode_of(body["drift"])])
    if xen is not None:
        rows.append(["in use", f"{amount(xen['tot_pages'] * 4)} ({xen['tot_pages']} pages)"])
        states = ("running", "blocked", "paused", "shutdown", "dying")
        now = [state for state in states if xen[state]] + (["building"] if body["building"] else [])
        rows.append(["state", ", ".join(now) or "idle"])
    return rows


def _node(body: Body, name: str, kib: int | None) -> str:
    """Return a node's amount, or what stands there in place of one."""
    for each in body.get("unreadable") or ():
        if each["node"] == f"memory/{name}":
            return f"no amount: '{each['value']}'"
    above = name == "target" and body.get("target_above_limit")
    return amount(kib) + (", above the limit" if above else "")


def _in_force(body: Body) -> str:
    push = body["push"]
    if push is None and body["domid"] is not None:
        return "no: the domain is dying"
    if push is None:
        return "no: no instance here"
    seen = "" if push["seen_pages"] is None else f" (Xen holds {push['seen_pages']} pages)"
    over = OUTLOOKS.get(body.get("outlook") or "", "")
    words: dict[str, str] = {
        "applied": "yes",
        "over-limit": f"yes, and the guest uses more than the limit{over}",
        "pending": f"no: {push['error']}" if push.get("error") else "not yet",
        "mismatched": "no: Xen holds another number than was written",
        "failed": f"no: {push.get('error') or 'Xen refused it'}",
        "gone": "no: the instance is gone",
    }
    return words.get(push["state"], str(push["state"])) + seen


OUTLOOKS = {
    "shrinking": " until it shrinks",
    "paused": "; it is paused and cannot shrink",
    "crashed": "; it has crashed and will not shrink",
    "shut-down": "; it has shut down and will not shrink",
    "no-path": "; xenstore does not know it, so nothing tells it to shrink",
    "no-target": "; it has no target, so nothing tells it to shrink",
    "target-unreadable": "; its target is no amount, so nothing tells it to shrink",
    "target-above-limit": "; its target is above the limit, so it will not shrink",
    "not-moving": "; it does not shrink, no balloon driver was seen to move",
}
"""What is said of a guest that holds more than its limit."""


def components(call: Invocation) -> int:
    """Print the amounts that add up to a limit."""
    body = _get_domain(call, "", "list the components of", part="components")
    sys.stdout.write(_components(body, ""))
    return 0


def _components(body: Body, indent: str) -> str:
    rows = [
        [
            f"{each['owner']}/{each['name']}",
            amount(each["amount_kib"]),
            f"revision {each['revision']}",
        ]
        for each in body["components"]
    ]
    return aligned(rows, frozenset({1}), indent)


def explain(call: Invocation) -> int:
    """Print why a limit is what it is: every component, who asked for it, when and how."""
    body = _get_domain(call, "/explain", "explain")
    rows = []
    for each in body["components"]:
        how = f"{each['kind'] or 'recorded'} by {who(each['by'])}"
        why = f'"{each["reason"]}"' if each["reason"] else ""
        rows.append(
            [
                f"{each['owner']}/{each['name']}",
                amount(each["amount_kib"]),
                how,
                f"revision {each['revision']}",
                when(each["at"]),
                why,
            ]
        )
    rows.append(
        [
            "= limit",
            amount(body["limit_kib"], body["unlimited"]),
            f"{body['max_pages']} pages",
            f"revision {body['revision']}",
            "",
            "",
        ]
    )
    sys.stdout.write(f"{title(body)}\n" + aligned(rows, frozenset({1}), "  "))
    sys.stdout.write(f"\n  in force            {plain(_in_force(body))}\n")
    if body["drift"] and (body["drift"]["source"] != "host" or body["drift"]["fight"]):
        print(f"  drift               {mode_of(body['drift'])}")
    for what in ("target", "static_max", "recorded_static_max"):
        words = what.replace("_max", "-max").replace("_", " ")
        print(f"  {words:<20}{plain(_node(body, words, body[what + '_kib']))}")
    for each in unwritten_effects(body):
        print(f"  {'not written':<20}{plain(each)}")
    print(f"\n{plain(body['text'])}")
    return 0


def history(call: Invocation) -> int:
    """Print the newest entries of a domain's history."""
    want = number(call.options.get("number", "20"), "a number of entries")
    ref = required_reference(call)
    answer = newest_entries(call, ref, want, page=PAGE)
    if answer.status != 200:
        print_refused(call, answer, f"list the history of {ref}", ref)
        return 1
    if call.wants_json:
        call.print_json(answer.body)
        return 0
    entries = answer.body["entries"]
    rows = [["REVISION", "LIMIT", "WHEN", "WHO", "WHAT"]] if entries else []
    rows += [
        [
            str(each["revision"]),
            amount(each["limit_kib"], (each["limit_kib"] or 0) >= UNLIMITED.kib),
            when(each["at"]),
            who(each["by"]),
            f"{each['kind']} {format_words(each['wish'])}",
        ]
        for each in entries
    ]
    sys.stdout.write(aligned(rows, frozenset({0, 1})))
    return 0


def _get_domain(call: Invocation, path: str, what: str, part: str | None = None) -> Body:
    """GET domains/{ref}path; with --json, print it or a part of it, and stop."""
    ref = required_reference(call)
    answer = call.read(f"domains/{quoted(ref)}{path}")
    if answer.status != 200:
        print_refused(call, answer, f"{what} {ref}", ref)
        raise Stop(1)
    if call.wants_json:
        call.print_json(answer.body[part] if part else answer.body)
        raise Stop(0)
    return answer.body


def health(call: Invocation) -> int:
    """Print whether every part of the daemon is ready."""
    answer = call.read("health")
    body = answer.body
    if "parts" not in body:
        print_refused(call, answer, "read the health of maxmemd", "")
        return 1
    if call.wants_json:
        call.print_json(body)
    else:
        print("ready" if body["ready"] else "not ready")
        rows = [[part, state] for part, state in body["parts"].items()]
        sys.stdout.write(aligned(rows, indent="  "))
        if body.get("history"):
            print(plain(f"The history is {body['history']}."))
        for each in body.get("conditions") or ():
            print(plain(f"{each['name'] or each['uuid']}: {each['kind']}: {each['detail']}"))
        for each in body.get("service") or ():
            print(plain(f"{each['kind']}: {each['detail']}"))
        for finding in body.get("findings", ()):
            sys.stdout.write(_finding(finding))
    return 0 if body["ready"] else 1


def _finding(finding: Body) -> str:
    """Return what has to be settled, and how: lines to be pasted stand alone."""
    said = f"{finding['kind']} since {when(finding['since'])}, domain {finding['domid']}"
    commands = "".join(f"    {plain(each)}\n" for each in finding["commands"])
    return (
        f"{said}: {plain(finding['detail'])}\n"
        "  let it be by this line of /etc/maxmemd/maxmemd.toml (then systemctl reload maxmemd):\n"
        f"    {plain(finding['configuration'])}\n"
        f"  or at once, until it is taken back, or for a time:\n{commands}"
    )


HANDLERS = {
    "show": show,
    "explain": explain,
    "history": history,
    "components": components,
    "health": health,
}
