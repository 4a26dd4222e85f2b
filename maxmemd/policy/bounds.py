"""Refusals that are about what a guest has: max-mem and target, beside what Xen and xenstore say.

Each clause looks at one thing, as those of clauses.py do.
"""

from maxmemd.policy.facts import STATIC_MAX, TARGET, VIDEORAM, StoreFacts, XenFacts
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import Refusal
from maxmemd.units import Memory


def not_below_target(rules: Rules, max_mem: Memory, target: Memory | None) -> Refusal | None:
    """Refuse a max-mem below the balloon target (libxl_mem.c:libxl_domain_setmaxmem)."""
    if rules.floor != "target" or target is None or max_mem >= target:
        return None
    short = target.kib - max_mem.kib
    return Refusal(
        "limit-below-target",
        f"cannot set max-mem to {max_mem.kib} KiB: the balloon target is {target.kib} KiB,"
        f" {short} KiB more (lower the target first, or force)",
        {"max_mem_kib": max_mem.kib, "target_kib": target.kib, "short_by_kib": short},
    )


def not_below_held(
    rules: Rules, max_mem: Memory, limit_kib: int, xen: XenFacts, store: StoreFacts
) -> Refusal | None:
    """Refuse a limit below what the guest holds, where no target says how far it shrinks.

    libxl refuses any mem-max where it cannot read the target (libxl_domain_setmaxmem). While a
    domain is built it holds what its toolstack has populated, and has no target yet.
    """
    held = Memory.of_pages(xen.tot_pages)
    if rules.floor != "target" or not xen.started or limit_kib >= held.kib:
        return None
    short = held.kib - limit_kib
    why = store.unreadable_at(TARGET) or f"it has no {TARGET} in xenstore"
    return Refusal(
        "limit-below-held",
        f"cannot set max-mem to {max_mem.kib} KiB: the guest holds {held.kib} KiB, {short} KiB more"
        f" than the limit of {limit_kib} KiB that it would have, and {why} (set max-mem to what it"
        " holds, or force)",
        {"max_mem_kib": max_mem.kib, "limit_kib": limit_kib, "held_kib": held.kib,
         "short_by_kib": short},
    )  # fmt: skip


def max_mem_not_below_dom0_floor(rules: Rules, max_mem: Memory) -> Refusal | None:
    """Refuse to starve dom0 by its max-mem (libxl_mem.c: LIBXL_MIN_DOM0_MEM)."""
    floor = rules.dom0_floor
    if max_mem >= floor:
        return None
    return Refusal(
        "limit-below-dom0-floor",
        f"cannot set dom0's max-mem to {max_mem.kib} KiB: its floor is {floor.kib} KiB",
        {"max_mem_kib": max_mem.kib, "floor_kib": floor.kib},
    )


def target_not_below_dom0_floor(rules: Rules, target: Memory) -> Refusal | None:
    """Refuse to starve dom0 by its target (libxl_mem.c: LIBXL_MIN_DOM0_MEM)."""
    floor = rules.dom0_floor
    if target >= floor:
        return None
    return Refusal(
        "target-below-dom0-floor",
        f"cannot set dom0's target to {target.kib} KiB: its floor is {floor.kib} KiB",
        {"target_kib": target.kib, "floor_kib": floor.kib},
    )


def not_below_videoram(target: Memory, videoram: Memory) -> Refusal | None:
    """Refuse a target that video RAM alone is larger than."""
    if target >= videoram:
        return None
    return Refusal(
        "target-below-videoram",
        f"cannot set the target to {target.kib} KiB: video RAM alone is {videoram.kib} KiB",
        {"target_kib": target.kib, "videoram_kib": videoram.kib},
    )


def videoram_readable(store: StoreFacts) -> Refusal | None:
    """Refuse what depends on the video RAM where it is there and is no amount."""
    unreadable = store.unreadable_at(VIDEORAM)
    if unreadable is None:
        return None
    return Refusal(
        "videoram-unknown",
        f"cannot set the target: {unreadable} (what the guest has besides is not known:"
        " write the node first)",
        {},
    )


def static_max_unknown(store: StoreFacts) -> Refusal:
    """Refuse a target for a domain whose static-max is not known."""
    why, cure = (
        f"the domain has no {STATIC_MAX} in xenstore",
        "set its max-mem first: that writes it",
    )
    if not store.has_path:
        why, cure = "xenstore does not know the domain", "set its max-mem instead"
    unreadable = store.unreadable_at(STATIC_MAX)
    if unreadable is not None:
        why = str(unreadable)
    return Refusal("static-max-unknown", f"cannot set the target: {why} ({cure})", {})


def not_above_static_max(target: Memory, static_max: Memory) -> Refusal | None:
    """Refuse a target above static-max (libxl_mem.c:libxl_set_memory_target)."""
    if target <= static_max:
        return None
    over = target.kib - static_max.kib
    return Refusal(
        "target-above-static-max",
        f"cannot set the target to {target.kib} KiB: static-max is {static_max.kib} KiB,"
        f" {over} KiB less (raise it first with mem-max)",
        {"target_kib": target.kib, "static_max_kib": static_max.kib, "over_by_kib": over},
    )


def target_unknown(store: StoreFacts) -> Refusal:
    """Refuse to move a target that is not known."""
    why = store.unreadable_at(TARGET) or f"the domain has no {TARGET} in xenstore"
    return Refusal("target-unknown", f"cannot move the target: {why} (give target_kib)", {})
