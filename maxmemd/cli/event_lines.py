"""Events as lines for `watch`: time, kind, domain, and the details of each kind."""

from collections.abc import Callable
from errno import errorcode

from maxmemd.cli.format import amount, format_words, when, who
from maxmemd.rest.reply import Body
from maxmemd.rest.text import plain

KIND_WIDTH = 19
"""The width of the longest kind, component-increased."""
RED, YELLOW, GREEN = "31", "33", "32"
COLOURS = {
    "push-failed": RED,
    "push-mismatched": RED,
    "drift": RED,
    "fight-began": RED,
    "fight-ended": GREEN,
    "refused": YELLOW,
    "over-limit": YELLOW,
    "target-above-limit": YELLOW,
    "effect-dropped": YELLOW,
    "node-unreadable": YELLOW,
    "recovered": GREEN,
}
_ENDS = {
    0: ", shut down",
    1: ", to reboot",
    2: ", suspended",
    3: ", crashed",
    4: ", by its watchdog",
    5: ", by a soft reset",
}
"""What Xen's shutdown reasons say (xen/include/public/sched.h)."""


def line_of(event: Body, name: str, *, coloured: bool) -> str:
    """Return an event as a line: time, kind, domain, details."""
    kind = f"{event['kind']:<{KIND_WIDTH}}"
    if coloured and event["kind"] in COLOURS:
        kind = f"\x1b[{COLOURS[event['kind']]}m{kind}\x1b[0m"
    said = _DETAILS.get(event["kind"], _format_decision)(event)
    return f"{when(event['at'])}  {kind}  {plain(name):<16}  {plain(said)}"


def _format_decision(event: Body) -> str:
    asked = format_words(event["wish"])
    limit = amount(event["limit_kib"], event["max_pages"] == 0xFFFFFFFF)
    said = "" if event["by"]["uid"] is None else f"by {who(event['by'])}: {asked}; "
    return f"{said}the limit is {limit}, revision {event['revision']}"


def _format_refusal(event: Body) -> str:
    beside = ("wish", "code", "numbers")
    wish = {key: value for key, value in event["wish"].items() if key not in beside}
    numbers = format_words(event["wish"].get("numbers") or {})
    why = f"{event['code']} ({numbers})" if numbers else event["code"]
    asked = f"{event['wish'].get('wish')} by {who(event['by'])}"
    return f"{asked}: {format_words(wish)}: {why}"


def _format_unchanged(event: Body) -> str:
    wish = {key: value for key, value in event["wish"].items() if key != "wish"}
    asked = f"{event['wish'].get('wish')} by {who(event['by'])}"
    return f"{asked}: {format_words(wish)}: it was so already"


def _format_applied(event: Body) -> str:
    return f"Xen holds {_pages(event['max_pages'])}, revision {event['revision']}"


def _format_failed(event: Body) -> str:
    if event["errno"] is not None:
        why = f"Xen said {errorcode.get(event['errno'], event['errno'])}"
    elif event["seen_pages"] is None:
        why = "nothing was read back"
    else:
        why = f"Xen holds {_pages(event['seen_pages'])}"
    return f"wrote {_pages(event['max_pages'])}, revision {event['revision']}: {why}"


def _format_over_limit(event: Body) -> str:
    held = _pages(event["wish"].get("tot_pages"))
    return f"the guest holds {held}, the limit is {_pages(event['max_pages'])}"


def _format_drift(event: Body) -> str:
    wrote, wanted = _pages(event["seen_pages"]), _pages(event["wish"].get("wanted_pages"))
    return f"another program wrote {wrote} in place of {wanted} ({event['wish'].get('mode')})"


def _format_above(event: Body) -> str:
    wish = event["wish"]
    video = f" with {amount(wish.get('videoram_kib'))} of video RAM" * bool(
        wish.get("videoram_kib")
    )
    target, max_mem = amount(wish.get("target_kib")), amount(wish.get("max_mem_kib"))
    return f"the target is {target}{video}, max-mem is {max_mem}"


def _format_dropped(event: Body) -> str:
    wish = event["wish"]
    why = str(wish.get("error") or "").removeprefix("cannot write it: ")
    return f"{wish.get('effect')} {amount(wish.get('amount_kib'))} could not be written: {why}"


def _format_unreadable(event: Body) -> str:
    return f"{event['wish'].get('node')} is '{event['wish'].get('value')}', which is no amount"


def _format_mode(event: Body) -> str:
    set_for = event["wish"].get("for_s")
    mode, why = event["wish"].get("mode"), event["wish"].get("reason")
    until = "" if set_for is None else f" for {set_for} s"
    because = f" {why!r}" if why else ""
    return f"drift is {mode}{until}, by {who(event['by'])}{because}"


def _format_fight(event: Body) -> str:
    wish = event["wish"]
    return (
        f"another program wrote the maximum {wish.get('writes')} times within"
        f" {wish.get('within_s'):g} s, the last {_pages(event['seen_pages'])}: maxmemctl health"
    )


def _format_fight_end(event: Body) -> str:
    reasons = {
        "quiet": "nothing was written for long enough",
        "mode": "another mode of drift is in force",
        "gone": "the domain is gone",
    }
    why = event["wish"].get("why")
    return f"{reasons.get(why, why)}, after {event['wish'].get('writes')} writes"


def _format_began(event: Body) -> str:
    building = ", being built" if event["wish"].get("building") else ""
    return f"domain {event['domid']}{building}"


def _format_ended(event: Body) -> str:
    wish = event["wish"]
    reason = 1 if wish.get("reboot") else wish.get("shutdown_reason")
    ended = ", never ran" if wish.get("never_ran") else _ENDS.get(reason, "")
    return f"domain {event['domid']}{ended}"


def _format_confirmed_again(event: Body) -> str:
    wish = event["wish"]
    told = [f"limit {_pages(wish['max_pages'])}, built with {_pages(wish['built_pages'])}"]
    for node in ("static_max_kib", "target_kib"):
        if node in wish:
            was = wish.get(f"built_{node}")
            name = node.removesuffix("_kib").replace("_", "-")
            told.append(f"{name} {amount(wish[node])}, built with {amount(was)}")
    return "; ".join(told)


def _format_namesake(event: Body) -> str:
    wish = event["wish"]
    return f"limits of {wish.get('from')}, of the same name, were not taken: {wish.get('advice')}"


def _pages(pages: int | None) -> str:
    if pages is None:
        return "nothing known"
    return "unlimited" if pages == 0xFFFFFFFF else amount(pages * 4)


_DETAILS: dict[str, Callable[[Body], str]] = {
    "refused": _format_refusal,
    "unchanged": _format_unchanged,
    "push-applied": _format_applied,
    "push-mismatched": _format_failed,
    "push-failed": _format_failed,
    "over-limit": _format_over_limit,
    "recovered": lambda event: f"in force again, after {event['wish'].get('from')}",
    "target-above-limit": _format_above,
    "effect-dropped": _format_dropped,
    "node-unreadable": _format_unreadable,
    "drift": _format_drift,
    "confirmed-again": _format_confirmed_again,
    "drift-mode-set": _format_mode,
    "drift-mode-cleared": lambda event: f"as configured again, by {who(event['by'])}",
    "drift-mode-ended": lambda event: f"as configured again, after {event['wish'].get('mode')}",
    "fight-began": _format_fight,
    "fight-ended": _format_fight_end,
    "instance-began": _format_began,
    "instance-ended": _format_ended,
    "forgotten": lambda _: "its record was dropped",
    "limits-given": lambda event: f"its limits went to {event['wish'].get('to')}, of the same name",
    "namesake-found": _format_namesake,
}
"""The details of each kind; every other kind is a decision."""
