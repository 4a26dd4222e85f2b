"""May this domain have this much? A picture and a wish in, a verdict out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from maxmemd.policy import bounds, clauses, lives, which_domain
from maxmemd.policy.components import MAX_MEM, SLACK, ZERO, Key, Record
from maxmemd.policy.endings import UNSEEN, Ending
from maxmemd.policy.facts import STATIC_MAX, TARGET, StoreFacts, XenFacts
from maxmemd.policy.rules import Rules
from maxmemd.policy.verdicts import NO_EFFECTS, Effects, Grant, Refusal, Verdict
from maxmemd.policy.wishes import (
    Build,
    Headroom,
    Import,
    Increase,
    RemoveComponent,
    Rollback,
    SetComponent,
    SetMaxMem,
    SetTarget,
    Wish,
)
from maxmemd.units import Memory


@dataclass(frozen=True, slots=True)
class Picture:
    """All that a decision may look at.

    `past` is the record at the revision that a Rollback names, None when there is no such
    revision. `xen` is None for an Import of a record whose domain does not live here. `following`
    says that the record is no more than what was seen of the build that runs, `tracking` that
    Xen's maximum is newer than the record, and `ending` how the instance before ended.
    """

    rules: Rules
    record: Record
    xen: XenFacts | None
    store: StoreFacts
    past: Record | None = None
    following: bool = False
    tracking: bool = False
    ending: Ending = UNSEEN

    @property
    def is_dom0(self) -> bool:
        """Whether the floor of dom0 applies."""
        return self.xen is not None and self.xen.domid == 0


def decide(picture: Picture, wish: Wish) -> Verdict:
    """Return the verdict on one wish; nothing else is looked at, nothing is changed."""
    match wish:
        case SetMaxMem():
            verdict = _set_limit(picture, wish)
        case SetTarget():
            verdict = _set_target(picture, wish)
        case SetComponent():
            verdict = _set_component(picture, wish.key, wish.amount.kib)
        case Increase():
            verdict = _increase(picture, wish)
        case RemoveComponent():
            verdict = _remove(picture, wish)
        case Rollback():
            verdict = _rollback(picture, wish)
        case Import():
            verdict = _import(picture, wish)
        case Build():
            verdict = _build(picture, wish)
        case Headroom():  # pragma: no branch
            verdict = _headroom(picture, wish)
    return verdict


def _set_limit(picture: Picture, wish: SetMaxMem) -> Verdict:
    """libxl_mem.c:libxl_domain_setmaxmem, plus what the other owners have."""
    amounts = {MAX_MEM: wish.amount, SLACK: picture.rules.slack}
    refusal = _max_mem_refused(picture, amounts, force=wish.force)
    if refusal is not None:
        return refusal
    if not wish.node:
        return _granted(picture, amounts, None, NO_EFFECTS)
    return _granted(picture, amounts, wish.amount, Effects(static_max=wish.amount))


def _set_target(picture: Picture, wish: SetTarget) -> Verdict:
    """libxl_mem.c:libxl_set_memory_target, with its underflow refused."""
    target = _asked_target(picture, wish)
    if isinstance(target, Refusal):
        return target
    slack, videoram = picture.rules.slack, picture.store.videoram
    refusal = _target_refused(picture, target) or clauses.in_range(
        target.kib + videoram.kib + slack.kib
    )
    if refusal is not None:
        return refusal

    pod_target = lives.pod_target(picture.rules, picture.xen, target)
    effects = Effects(pod_target, _seeded_static_max(picture), target)
    own = {MAX_MEM: target + videoram, SLACK: slack} if wish.enforce else {}
    record = picture.record.with_amounts(own).with_target(target, picture.store.target)
    return _kept(picture, record, effects)


def _set_component(picture: Picture, key: Key, kib: int) -> Verdict:
    refusal = (
        clauses.known_owner(picture.rules, key) or clauses.not_fixed(key) or clauses.in_range(kib)
    )
    if refusal is None and key == MAX_MEM:
        refusal = _max_mem_refused(picture, {MAX_MEM: Memory(kib=kib)}, force=False)
    if refusal is not None:
        return refusal
    return _granted(picture, {key: Memory(kib=kib)}, None, NO_EFFECTS)


def _increase(picture: Picture, wish: Increase) -> Verdict:
    before = picture.record.amount_or_zero(wish.key)
    refusal = clauses.not_below_zero(wish.key, before, wish.by_kib)
    return refusal or _set_component(picture, wish.key, before.kib + wish.by_kib)


def _remove(picture: Picture, wish: RemoveComponent) -> Verdict:
    refusal = (
        clauses.not_required(wish.key)
        or clauses.not_fixed(wish.key)
        or clauses.known_component(picture.record, wish.key)
    )
    return refusal or _granted(picture, {wish.key: None}, None, NO_EFFECTS)


def _rollback(picture: Picture, wish: Rollback) -> Verdict:
    past = picture.past
    if past is None:
        if 0 < wish.revision < picture.record.revision:  # revisions have no gaps
            return clauses.revision_pruned(wish.revision)
        return clauses.revision_unknown(wish.revision)
    target = picture.record.former_target if past.target is None else past.target
    amounts = {key: component.amount for key, component in past.components.items()}
    kept = {key: amounts.get(key, ZERO) for key in (*picture.record.components, *amounts)}
    aimed, refusal = replace(picture, store=_aimed_at(picture, target)), None
    if MAX_MEM in amounts:
        refusal = _max_mem_refused(aimed, kept, force=wish.force)
    if refusal is None and target is not None and picture.is_dom0:
        refusal = bounds.target_not_below_dom0_floor(picture.rules, target)
    if refusal is not None:
        return refusal
    return _replaced(picture, amounts, past.static_max, target)


def _import(picture: Picture, wish: Import) -> Verdict:
    """Replace the record; where its domain lives, under the floor of every decision."""
    refusal = clauses.required_present(wish.amounts)
    for key in wish.amounts:
        refusal = refusal or clauses.known_owner(picture.rules, key)
    if refusal is not None:
        return refusal
    amounts = {**wish.amounts, SLACK: picture.rules.slack}
    before = {key: component.amount for key, component in picture.record.components.items()}
    if picture.is_dom0 or (picture.xen is not None and amounts != before):
        store = _aimed_at(picture, wish.target)
        kept = {**dict.fromkeys(before, ZERO), **amounts}
        refusal = _max_mem_refused(replace(picture, store=store), kept, force=wish.force)
    if refusal is None and wish.target is not None and picture.is_dom0:
        refusal = bounds.target_not_below_dom0_floor(picture.rules, wish.target)
    return refusal or _replaced(picture, amounts, wish.static_max, wish.target)


def _build(picture: Picture, wish: Build) -> Verdict:
    xen = picture.xen
    refusal = which_domain.absent() if xen is None else clauses.not_started(xen)
    if refusal is not None:
        return refusal
    rules, before = picture.rules, picture.record
    known = not picture.following  # a record at revision 0 is empty: nothing of it can be kept
    record = lives.after_build(rules, before, wish, ending=picture.ending, known=known)
    return _kept(picture, record, NO_EFFECTS, lives.pages_of_build(rules, before, record, wish))


def _headroom(picture: Picture, wish: Headroom) -> Verdict:
    if picture.xen is None:
        return which_domain.absent()
    rules, tracking = picture.rules, picture.tracking
    record = lives.with_headroom(rules, picture.record, picture.xen, wish.pages, tracking=tracking)
    return _kept(picture, record, NO_EFFECTS)


def _granted(
    picture: Picture,
    amounts: Mapping[Key, Memory | None],
    static_max: Memory | None,
    effects: Effects,
) -> Verdict:
    """Grant the record with these amounts changed, if it can be kept at all."""
    return _kept(picture, picture.record.with_amounts(amounts, static_max=static_max), effects)


def _replaced(
    picture: Picture,
    amounts: Mapping[Key, Memory],
    static_max: Memory | None,
    target: Memory | None,
) -> Verdict:
    """Grant the record with these amounts and no others, if it can be kept at all."""
    if picture.is_dom0 and static_max is not None:
        refusal = bounds.max_mem_not_below_dom0_floor(picture.rules, static_max)
        if refusal is not None:
            return refusal
    record = picture.record.with_exactly(amounts, static_max=static_max)
    if target is not None:
        former = picture.record.former_target
        record = record.with_target(target, picture.store.target if former is None else former)
    if static_max is None and target is None:
        return _kept(picture, record, NO_EFFECTS)
    pod_target = lives.pod_target(picture.rules, picture.xen, target)
    return _kept(picture, record, Effects(pod_target, static_max, target))


def _kept(
    picture: Picture, record: Record, effects: Effects, build_pages: int | None = None
) -> Verdict:
    """Grant a record that can be kept: every grant comes by here, so the caps hold for all."""
    refusal = clauses.few_enough(picture.rules, record) or clauses.sum_in_range(record)
    for owner in picture.rules.caps:
        refusal = refusal or clauses.below_cap(picture.rules, picture.record, record, owner)
    return refusal or Grant(record, effects, build_pages)


def _max_mem_refused(
    picture: Picture, amounts: Mapping[Key, Memory], *, force: bool
) -> Refusal | None:
    """Return why max-mem cannot be that, with these other amounts changed as well.

    dom0's floor holds even by force.
    """
    rules, store, max_mem = picture.rules, picture.store, amounts[MAX_MEM]
    if picture.is_dom0:
        refusal = bounds.max_mem_not_below_dom0_floor(rules, max_mem)
        if refusal is not None:
            return refusal
    if force:
        return None
    if store.target is not None or picture.xen is None:
        return bounds.not_below_target(rules, max_mem, store.target)
    now = {key: component.amount for key, component in picture.record.components.items()}
    limit_kib = sum(amount.kib for amount in {**now, **amounts}.values())
    return bounds.not_below_held(rules, max_mem, limit_kib, picture.xen, store)


def _aimed_at(picture: Picture, target: Memory | None) -> StoreFacts:
    """Return what xenstore has once a target is written with the decision; None: none is."""
    return picture.store if target is None else picture.store._replace(target=target)


def _asked_target(picture: Picture, wish: SetTarget) -> Memory | Refusal:
    """Return memory/target as asked; a difference is floored at 0, as libxl does."""
    store = picture.store
    if wish.target is not None or wish.enforce:
        refusal = bounds.videoram_readable(store)
        if refusal is not None:
            return refusal
    if wish.target is not None:
        refusal = bounds.not_below_videoram(wish.target, store.videoram)
        return refusal or wish.target - store.videoram
    before, is_absent = store.target, store.unreadable_at(TARGET) is None
    if before is None and is_absent and picture.is_dom0 and picture.xen is not None:
        before = Memory.of_pages(picture.xen.tot_pages)
    if before is None:
        return bounds.target_unknown(store)
    kib = max(0, before.kib + (wish.by_kib or 0))
    return clauses.in_range(kib) or Memory(kib=kib)


def _target_refused(picture: Picture, target: Memory) -> Refusal | None:
    ceiling = picture.store.static_max
    if ceiling is None:
        ceiling = _seeded_static_max(picture)
    if ceiling is None:
        return bounds.static_max_unknown(picture.store)
    refusal = bounds.not_above_static_max(target, ceiling)
    if refusal is None and picture.is_dom0:
        refusal = bounds.target_not_below_dom0_floor(picture.rules, target)
    return refusal


def _seeded_static_max(picture: Picture) -> Memory | None:
    """Return what dom0's static-max starts as where it is absent: Xen's maximum.

    libxl_mem.c:libxl__fill_dom0_memory_info; one that is there and is no amount is not replaced.
    """
    xen, store = picture.xen, picture.store
    if xen is None or not picture.is_dom0 or store.static_max is not None:
        return None
    if store.unreadable_at(STATIC_MAX) is not None:
        return None
    return Memory.of_pages(xen.max_pages)
