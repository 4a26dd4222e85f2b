"""What the facts say of a guest's memory to come: whether it will shrink, and whether it can grow.

A sentence about the future must look at the facts that it stands on. A guest shrinks when it runs,
has a balloon driver, and its target says so; none of that follows from its limit.
"""

from enum import StrEnum
from typing import NamedTuple

from maxmemd.policy.components import MAX_MEM, SLACK, Record
from maxmemd.policy.facts import TARGET, StoreFacts, XenFacts

CRASH = 3
"""The reason of a shutdown that is a crash (xen/include/public/sched.h:SHUTDOWN_crash)."""

STILL_POLLS = 5
"""A guest that has not given back a page in so many polls does not seem to shrink."""


class TargetAboveLimit(NamedTuple):
    """A target that, with video RAM, is more than max-mem: the guest cannot come to it."""

    target_kib: int
    videoram_kib: int
    max_mem_kib: int

    def __str__(self) -> str:
        video = f" with {self.videoram_kib} KiB of video RAM" if self.videoram_kib else ""
        return f"the target is {self.target_kib} KiB{video}, above max-mem, {self.max_mem_kib} KiB"


def target_above_limit(record: Record, store: StoreFacts | None) -> TargetAboveLimit | None:
    """Return what is above the limit as libxl reckons it; None where nothing is, or is known.

    libxl_mem.c:libxl_set_memory_target sets a maximum of target, video RAM and its constant, so
    what fits is what max-mem has room for without that constant. But a maximum that was only
    observed may have none of it: for dom0's boot cap, dom0_mem=max:8G, Xen adds nothing. There the
    constant is room as well. Every poll, for every domain.
    """
    if store is None or store.target is None:
        return None
    target_kib, videoram_kib, max_mem_kib = store.target.kib, store.videoram.kib, record.max_mem_kib
    if max_mem_kib is None or target_kib + videoram_kib <= max_mem_kib:
        return None
    if MAX_MEM in record.observed:
        room_kib = max_mem_kib + record.amount_or_zero(SLACK).kib
        if target_kib + videoram_kib <= room_kib:
            return None
    return TargetAboveLimit(target_kib, videoram_kib, max_mem_kib)


class Outlook(StrEnum):
    """Whether a guest that holds more than its limit will shrink to it, or why it does not."""

    SHRINKING = "shrinking"
    PAUSED = "paused"
    CRASHED = "crashed"
    SHUT_DOWN = "shut-down"
    NO_PATH = "no-path"
    NO_TARGET = "no-target"
    TARGET_UNREADABLE = "target-unreadable"
    TARGET_ABOVE_LIMIT = "target-above-limit"
    NOT_MOVING = "not-moving"


def outlook_of(record: Record, xen: XenFacts, store: StoreFacts, still_polls: int) -> Outlook:
    """Return the first reason why a guest does not shrink to its limit; SHRINKING where none is.

    `still_polls` is how many polls have seen it over its limit and no smaller than before.
    """
    if xen.shutdown or xen.dying:
        is_crash = xen.shutdown and xen.shutdown_reason == CRASH
        return Outlook.CRASHED if is_crash else Outlook.SHUT_DOWN
    if xen.paused:
        return Outlook.PAUSED
    if not store.has_path:
        return Outlook.NO_PATH
    if store.target is None:
        unreadable = store.unreadable_at(TARGET) is not None
        return Outlook.TARGET_UNREADABLE if unreadable else Outlook.NO_TARGET
    if target_above_limit(record, store) is not None:
        return Outlook.TARGET_ABOVE_LIMIT
    return Outlook.NOT_MOVING if still_polls >= STILL_POLLS else Outlook.SHRINKING


SENTENCES = {
    Outlook.SHRINKING: "It will shrink: its target is within the limit.",
    Outlook.PAUSED: "It cannot shrink while it is paused.",
    Outlook.CRASHED: "It has crashed and will not shrink.",
    Outlook.SHUT_DOWN: "It has shut down and will not shrink.",
    Outlook.NO_PATH: "It will not shrink: xenstore does not know it, so nothing tells it to.",
    Outlook.NO_TARGET: "It will not shrink: it has no memory/target, so nothing tells it to.",
    Outlook.TARGET_UNREADABLE: "It will not shrink: its memory/target is no amount.",
    Outlook.TARGET_ABOVE_LIMIT: "It will not shrink to its limit: its target is above that.",
    Outlook.NOT_MOVING: "It does not shrink though its target is within the limit:"
    " no balloon driver was seen to move.",
}
"""What is said of a guest that holds more than its limit."""
