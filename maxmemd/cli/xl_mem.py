"""xl's settings: mem-max and mem-set.

Messages and exit statuses equal those of tools/xl/xl_mem.c to the byte. On stderr, a line of ours
with the reason precedes xl's line.
"""

from maxmemd.cli.format import amount
from maxmemd.cli.invocation import (
    Invocation,
    is_dropped,
    print_decision,
    print_not_done,
    print_refused,
    quoted,
    size_of,
    title,
    unwritten_effects,
)
from maxmemd.cli.xl_domain import domid_of, reference
from maxmemd.rest.reply import Answer, Body
from maxmemd.rest.text import plain, print_error, print_lines
from maxmemd.units import UNLIMITED


def mem_max(call: Invocation) -> int:
    """Set max-mem, the most that the guest may use."""
    extra = {"force": True} if "force" in call.options else {}
    return _set(call, "limit", "max_mem_kib", "static max memory", extra)


def mem_set(call: Invocation) -> int:
    """Set the balloon target, and max-mem with it."""
    return _set(call, "target", "target_kib", "dynamic max memory", {"enforce": True})


def _set(call: Invocation, path: str, field: str, xls_noun: str, extra: Body) -> int:
    ref, text = reference(call.args[0]), call.args[1]
    try:
        kib = size_of(text).kib
    except ValueError as why:
        domid_of(call, ref)  # xl looks for the domain first
        print_error(str(why))
        print_lines(f"invalid memory size: {plain(text)}\n")
        return 1

    answer = call.write("PUT", f"domains/{quoted(ref)}/{path}", {field: kib, **extra})
    if answer.status in (200, 202):
        _print_granted(call, answer)
        if answer.status == 202 or unwritten_effects(answer.body):
            print_not_done(answer, ref)
        # A dropped static-max leaves mem-max what it is for; without its target mem-set did nothing
        # that the guest can follow.
        if answer.status == 200 and not (path == "target" and is_dropped(answer.body, "target")):
            return 0
    else:
        called = "max-mem" if field == "max_mem_kib" else "the target"
        print_refused(call, answer, f"set {called} of {ref} to {amount(kib)}", ref)
    domid = domid_of(call, ref, answer)
    print_lines(f"cannot set domid {domid} {xls_noun} to : {plain(text)}\n")
    return 1


def _print_granted(call: Invocation, answer: Answer) -> None:
    if call.is_dry or call.wants_json:
        print_decision(call, answer)
        return
    if answer.body.get("unlimited"):
        print_error(
            f"the limit of {title(answer.body)} is unlimited now: Xen has no limit of"
            f" {UNLIMITED.kib} KiB (16 TiB less a page) or more"
        )
    if answer.body.get("domid") is None:
        print_error(f"{title(answer.body)}: the limit is decided for its next start")


HANDLERS = {"mem-max": mem_max, "mem-set": mem_set}
