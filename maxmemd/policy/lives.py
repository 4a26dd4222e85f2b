"""The lives of a domain: what the record becomes when an instance appears, and what drift means."""

from dataclasses import replace

from maxmemd.policy.clauses import Rules
from maxmemd.policy.components import MAX_MEM, POPULATED, SLACK, ZERO, Component, Key, Record
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.wishes import CREATED, Build
from maxmemd.units import UNLIMITED, Memory

_OWN = (MAX_MEM, SLACK)

REBOOT = 1
"""The reason of a shutdown that is a reboot (xen/include/public/sched.h:SHUTDOWN_reboot)."""

SPARE_PAGES = 16
"""Left to hvmloader beside what a device model populates, as QEMU 2.3's QEMU_SPARE_PAGES was."""


def adopted(rules: Rules, xen: XenFacts, store: StoreFacts) -> Record:
    """Return the first record of a domain without any decision, without changing its maximum.

    The maximum is taken apart into libxl's slack and max-mem; a maximum smaller than the slack
    is all max-mem. Unlimited stays unlimited.
    """
    empty = Record(xen.uuid, 0, {MAX_MEM: Component(ZERO, 0)})
    taken = with_maximum(rules, empty, xen.max_pages)
    return replace(taken, static_max=store.static_max)


def with_maximum(rules: Rules, record: Record, max_pages: int) -> Record:
    """Return the record whose limit is that many pages: max-mem takes it up.

    Where the others leave less room than the slack it is all max-mem; where they alone are
    more, max-mem is 0 and the sum stays above the maximum.
    """
    maximum = UNLIMITED if max_pages >= UNLIMITED.pages else Memory.of_pages(max_pages)
    others = sum(
        component.amount.kib for key, component in record.components.items() if key not in _OWN
    )
    room = Memory(kib=max(0, maximum.kib - others))
    slack = rules.slack if room >= rules.slack else ZERO
    return record.with_amounts({MAX_MEM: room - slack, SLACK: slack})


def may_push(*, wanted_pages: int, seen_pages: int, building: bool) -> bool:
    """Whether reconciliation may push: a domain that is being built is never lowered (A4)."""
    return wanted_pages != seen_pages and not (building and wanted_pages < seen_pages)


def continues(record: Record, store: StoreFacts) -> bool:
    """Whether an instance that appeared unannounced goes on with the domain's record.

    A restore, a migration and a reboot carry static-max and a target within the recorded limit.
    A fresh build of the same UUID from a changed configuration contradicts one of them; the
    toolstack's numbers then replace the record, which would only starve the guest.
    """
    limit = record.amount_or_zero(MAX_MEM)
    both_known = store.static_max is not None and record.static_max is not None
    if both_known and store.static_max != record.static_max:
        return False
    return store.target is None or store.target <= limit


def rebuilt(rules: Rules, record: Record, xen: XenFacts, store: StoreFacts) -> Record:
    """Return the next revision of a record whose domain was built afresh: as `adopted` has it."""
    fresh = adopted(rules, xen, store)
    amounts = {key: component.amount for key, component in fresh.components.items()}
    return record.with_exactly(amounts, static_max=fresh.static_max)


def following_build(
    rules: Rules, record: Record, xen: XenFacts, store: StoreFacts
) -> Record | None:
    """Return the next revision of a record that follows its domain's build; None if nothing moved.

    libxl writes the maximum first and static-max last (libxl_dom.c:libxl__build_pre, _post).
    """
    static_max = record.static_max if store.static_max is None else store.static_max
    if record.max_pages == xen.max_pages and static_max == record.static_max:
        return None
    return replace(with_maximum(rules, record, xen.max_pages), static_max=static_max)


def after_build(
    rules: Rules, record: Record, build: Build, *, rebooted: bool, known: bool
) -> Record:
    """Return the next revision of a record whose domain a toolstack is about to build.

    `known` says that there was a record before this very instance, `rebooted` that the instance
    before ended by a reboot. A created domain's numbers replace the record. A rebooted one keeps
    it but for the device model's components, which the new device model asks for again. A
    restored or migrated-in one keeps all of it. What is kept is never below what the toolstack
    populates.
    """
    fresh = {MAX_MEM: build.target, SLACK: rules.slack}
    if not known or (build.life == CREATED and not rebooted):
        return record.with_exactly(fresh, static_max=build.static_max)
    kept: dict[Key, Memory] = {
        key: component.amount
        for key, component in record.components.items()
        if not (build.life == CREATED and key[0] == POPULATED[0])
    }
    limit = max(kept.get(MAX_MEM, ZERO), build.target)
    static_max = record.static_max if build.static_max is None else build.static_max
    return record.with_exactly({**kept, **fresh, MAX_MEM: limit}, static_max=static_max)


def with_headroom(
    rules: Rules, record: Record, xen: XenFacts, pages: int, *, tracking: bool
) -> Record:
    """Return the record under which that many pages can be populated, with a spare.

    It is this very record where there is room already. What is missing is the device model's
    share, whole pages. `tracking` says that the record follows what the toolstack writes, so
    that Xen's maximum is newer than it. Where the record has the room and Xen has not yet, the
    next revision changes nothing but brings a push.
    """
    needed = min(xen.tot_pages + pages + SPARE_PAGES, UNLIMITED.pages)
    now = with_maximum(rules, record, xen.max_pages) if tracking else record
    missing = needed - now.max_pages
    own = {key: component.amount for key, component in now.components.items() if key in _OWN}
    if missing <= 0:
        return record if xen.max_pages >= needed else record.with_amounts(own)
    share = now.amount_or_zero(POPULATED) + Memory.of_pages(missing)
    return record.with_amounts({**own, POPULATED: share})
