"""The lives of a domain: what its record becomes when an instance of it appears, or drifted.

What a client decided goes on from one instance to the next. What was only observed (adopted from
Xen, followed while its toolstack built the domain, announced with a build) ends with the instance
of which it was observed: the next one starts from its own toolstack's numbers.
"""

from maxmemd.policy.components import (
    MAX_MEM,
    OBSERVABLE,
    POPULATED,
    SLACK,
    STATIC_MAX,
    ZERO,
    Component,
    Key,
    Record,
)
from maxmemd.policy.endings import UNSEEN, Ending
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.policy.wishes import CREATED, MIGRATED_IN, RESTORED, UNKNOWN, Build
from maxmemd.units import UNLIMITED, Memory, max_pages_of

SPARE_PAGES = 16
"""Left to hvmloader beside what a device model populates, as QEMU 2.3's QEMU_SPARE_PAGES was."""


def adopted(rules: Rules, xen: XenFacts, store: StoreFacts) -> Record:
    """Return the first record of a domain without any decision, without changing its maximum.

    The maximum is taken apart into libxl's slack and max-mem; a maximum smaller than the slack
    is all max-mem. Unlimited stays unlimited.
    """
    empty = Record(xen.uuid, 0, {MAX_MEM: Component(ZERO, 0)})
    return with_maximum(rules, empty, xen.max_pages, static_max=store.static_max)


def with_maximum(
    rules: Rules, record: Record, max_pages: int, *, static_max: Memory | None = None
) -> Record:
    """Return the record whose limit is that many pages, as observed: max-mem takes it up.

    Where the others leave less room than the slack it is all max-mem; where they alone are
    more, max-mem is 0 and the sum stays above the maximum.
    """
    maximum = UNLIMITED if max_pages >= UNLIMITED.pages else Memory.of_pages(max_pages)
    room = Memory(kib=max(0, maximum.kib - _others_kib(record)))
    slack = rules.slack if room >= rules.slack else ZERO
    amounts = {MAX_MEM: room - slack, SLACK: slack}
    return record.with_amounts(amounts, static_max=static_max, observed=OBSERVABLE)


def may_push(*, wanted_pages: int, seen_pages: int, building: bool) -> bool:
    """Whether reconciliation may push: a domain that is being built is never lowered (A4)."""
    return wanted_pages != seen_pages and not (building and wanted_pages < seen_pages)


def is_worth_keeping(record: Record, ending: Ending) -> bool:
    """Whether a record outlives the domain's last instance: a client decided something of it.

    What a device model populated is asked for again, but by a stream: that holds it already.
    """
    for_the_stream = set() if ending.is_suspension else {POPULATED}
    return record.target is not None or bool(record.decided - for_the_stream)


def contradiction(
    rules: Rules, record: Record, xen: XenFacts, store: StoreFacts, ending: Ending = UNSEEN
) -> str | None:
    """Return why an instance that appeared unannounced does not go on with what was decided.

    None where it does. A restore, a migration and a restart carry static-max and a target within
    the recorded max-mem, exact to libxl's own constant. A fresh build of the same UUID from a
    changed configuration contradicts one of them; the recorded numbers would only starve the
    guest. After an end that was seen to be a restart or a suspension, or after a decision for the
    next start, static-max says nothing: it may be older than what was decided last. What xenstore
    does not say contradicts nothing; in place of the target is then what the guest holds. dom0 is
    built by Xen, from its command line.
    """
    known = store.static_max is not None and record.static_max is not None and xen.domid != 0
    seen = ending.is_restart or ending.is_suspension or ending.decided_ahead
    if not record.decided & {MAX_MEM, STATIC_MAX}:
        return None
    if known and not seen and store.static_max != record.static_max:
        return f"static-max is {store.static_max}, {record.static_max} was recorded"
    if not record.is_decided(MAX_MEM):
        return None
    return _starved(rules, record, xen, store, ending.held if seen else ZERO)


def _starved(
    rules: Rules, record: Record, xen: XenFacts, store: StoreFacts, held: Memory
) -> str | None:
    """Return what an instance needs that the recorded max-mem, or what it held before, has not."""
    limit = record.amount_or_zero(MAX_MEM)
    if store.target is not None and xen.domid != 0:
        room = max(limit + store.videoram, held) + rules.slack
        if store.target + store.videoram <= room:
            return None
        return f"the target is {store.target}, the recorded max-mem is {limit}"
    if xen.tot_pages <= max(record.limit, held).max_pages:
        return None
    return f"it holds {Memory.of_pages(xen.tot_pages)}, the recorded limit is {record.limit}"


def rebuilt(rules: Rules, record: Record, xen: XenFacts, store: StoreFacts) -> Record:
    """Return the next revision of a record whose domain was built afresh: as `adopted` has it."""
    fresh = adopted(rules, xen, store)
    amounts = {key: component.amount for key, component in fresh.components.items()}
    return record.with_exactly(amounts, static_max=fresh.static_max, observed=OBSERVABLE)


def observed_again(rules: Rules, record: Record, xen: XenFacts, store: StoreFacts) -> Record:
    """Return the record of an instance that goes on: what was only observed is its toolstack's.

    What other owners decided is added to the maximum that the toolstack wrote, since it knew
    nothing of them. It is the very same record where nothing differs.
    """
    fresh = adopted(rules, xen, store)
    own = () if record.is_decided(MAX_MEM) else (MAX_MEM, SLACK)
    amounts = {key: fresh.amount_or_zero(key) for key in own}
    static_max = None if record.is_decided(STATIC_MAX) else store.static_max
    is_same = all(record.amount(key) == amount for key, amount in amounts.items())
    if is_same and static_max in (None, record.static_max):
        return record
    return record.with_amounts(amounts, static_max=static_max, observed=OBSERVABLE)


def confirmed_again(rules: Rules, record: Record, xen: XenFacts, store: StoreFacts) -> Effects:
    """Return what must be written so that an instance has what was last confirmed of its nodes.

    A stream, or the configuration that a domain is made of again, may be older than that. A target
    is exact to libxl's own constant. What xenstore does not say is written.
    """
    if xen.domid == 0:
        return NO_EFFECTS  # its nodes begin with each boot of the host
    static_max = record.static_max if record.is_decided(STATIC_MAX) else None
    if static_max == store.static_max:
        static_max = None
    target = record.target
    if target is not None and store.target is not None:
        is_same = abs(target.kib - store.target.kib) <= rules.slack.kib
        target = None if is_same else target
    if static_max is None and target is None:
        return NO_EFFECTS
    return Effects(pod_target(rules, xen, target), static_max, target)


def pod_target(rules: Rules, xen: XenFacts | None, target: Memory | None) -> Memory | None:
    """Return the PoD target of an HVM or PVH guest; dom0 and PV have none (A9)."""
    if target is None or xen is None or xen.domid == 0 or not xen.hvm:
        return None
    return target + rules.slack


def following_build(
    rules: Rules, record: Record, xen: XenFacts, store: StoreFacts
) -> Record | None:
    """Return the next revision of a record that follows its domain's build; None if nothing moved.

    libxl writes the maximum first and static-max last (libxl_dom.c:libxl__build_pre, _post).
    """
    is_known = store.static_max in (None, record.static_max)
    if record.max_pages == xen.max_pages and is_known:
        return None
    return with_maximum(rules, record, xen.max_pages, static_max=store.static_max)


def pages_in_build(record: Record, built_pages: int) -> int:
    """Return what an instance needs while it is built, if its record is not of it yet.

    Where max-mem was only observed of an earlier instance, it is what the toolstack wrote, and
    what the others decided.
    """
    if record.is_decided(MAX_MEM):
        return record.max_pages
    if built_pages == 0:
        return 0  # set by nothing yet (A4)
    return max_pages_of(built_pages * 4 + _others_kib(record))


def after_build(
    rules: Rules, record: Record, build: Build, *, ending: Ending, known: bool
) -> Record:
    """Return the next revision of a record whose domain a toolstack is about to build.

    `known` says that there was a record before this very instance. A created domain's numbers
    replace the record, unless the instance before ended by a restart: then what was decided goes
    on, but for the device model's components, which the new device model asks for again. What
    was decided of a restored or migrated-in one goes on whole; and of one of which the toolstack
    does not know, unless it asks for more.
    """
    fresh = {MAX_MEM: build.target, SLACK: rules.slack}
    if not known or not _goes_on(rules, record, build, ending):
        return record.with_exactly(fresh, static_max=build.static_max, observed=OBSERVABLE)
    gone: dict[Key, Memory | None] = {
        key: None for key in record.components if build.life == CREATED and key[0] == POPULATED[0]
    }
    own = {SLACK: rules.slack} if record.is_decided(MAX_MEM) else fresh
    static_max = None if record.is_decided(STATIC_MAX) else build.static_max
    return record.with_amounts({**gone, **own}, static_max=static_max, observed=OBSERVABLE)


def pages_of_build(rules: Rules, before: Record, after: Record, build: Build) -> int:
    """Return what a build needs for its stream's sake, whatever was confirmed.

    The stream of a restored or migrated-in domain may hold all that its record allowed.
    """
    needed = build.target.kib + rules.slack.kib + _others_kib(after)
    stream = 0 if build.life == CREATED else before.limit_kib
    return max_pages_of(max(needed, stream))


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
    if missing <= 0 and xen.max_pages >= needed:
        return record
    own = {key: now.amount(key) for key in (MAX_MEM, SLACK)} if tracking else {}
    if missing > 0:
        own[POPULATED] = now.amount_or_zero(POPULATED) + Memory.of_pages(missing)
    return record.with_amounts(own, observed=OBSERVABLE)


def _goes_on(rules: Rules, record: Record, build: Build, ending: Ending) -> bool:
    """Whether an announced build goes on with what was decided.

    A create after a restart, or after a decision for the next start, does, unless it asks for more
    than the domain had: then its configuration was changed meanwhile, and what was decided would
    starve it. One of an unknown life does as well, however the instance before ended: as one that
    appears unannounced.
    """
    if build.life in {RESTORED, MIGRATED_IN}:
        return True
    had = max(record.amount_or_zero(MAX_MEM), ending.held) + rules.slack
    goes_on = build.life == UNKNOWN or ending.is_restart or ending.decided_ahead
    return goes_on and (not record.is_decided(MAX_MEM) or build.target <= had)


def _others_kib(record: Record) -> int:
    return sum(
        component.amount.kib
        for key, component in record.components.items()
        if key not in (MAX_MEM, SLACK)
    )
