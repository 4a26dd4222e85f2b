"""One life of a domain on this host, as a state machine.

domid alone is never identity (A6): an instance is (uuid, domid, incarnation). Only `Instance`
changes its own fields. Other modules report what happened, by a method that begins with `on_`;
which of the states may follow which is in policy/states.py, and is checked here.
"""

from dataclasses import dataclass

from maxmemd.policy.codec import build_from_text, effects_from_text
from maxmemd.policy.entries import SETTLED_BUILD, BuildState, InstanceRow
from maxmemd.policy.facts import StoreFacts, UnreadableNode, XenFacts
from maxmemd.policy.fights import Fight, FightRules, ForeignWrites, Pace
from maxmemd.policy.orders import EffectOutcome
from maxmemd.policy.outlook import TargetAboveLimit
from maxmemd.policy.states import (
    BUILD_TRANSITIONS,
    IN_FORCE,
    PUSH_TRANSITIONS,
    BuildPhase,
    EffectState,
    IllegalTransition,
    PushState,
)
from maxmemd.policy.verdicts import NO_EFFECTS, Effects

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 60.0

_APPLIED, _OVER_LIMIT, _SETTLED = PushState.APPLIED, PushState.OVER_LIMIT, BuildPhase.SETTLED
"""For what every poll asks of every domain: to look a member up takes as long as all the rest."""


NO_PACE = Pace()
NO_WRITES = ForeignWrites()
"""No other program wrote lately; always this very value."""


@dataclass(slots=True, eq=False)
class Instance:
    """One life of a domain on this host, and how far its limit is in force.

    `push_state` and `build_phase` are the two state machines of policy/states.py.
    `wanted_pages` was pushed, or is to be; `seen_pages` is what Xen was last seen to hold, and
    `tot_pages` what the guest held when its limit was last seen in force. `settled_revision` is
    the last one that was. `effects` is what is still to be written, and `effect_outcomes` is how
    those of the last push ended; the limit's state never depends on them. `building` is true until
    it first runs. `drift_pages` is a foreign maximum that was seen in place of ours and is not put
    right yet, 0 where it is not known which. `toolstack_pages` is what the toolstack wrote while
    it built the domain, where a push of ours took its place; `build_pages` what its announced build
    has to be allowed until it runs. `retry_s` is a monotonic time, before
    which a failed push is not tried again; `failures` counts them since the last success. `nodes`
    is what xenstore said of it lately, and when (monotonic), for those who look at all domains;
    `known` is what it was last known to say (`known_at_s`), and `had_path` that it knew the domain
    at all. `target_above` is a target above the limit. `still_polls` counts the polls that saw it
    over its limit and no smaller than before.
    `is_newcomer` says that limits by name are still to be decided of it.
    `writes` are those of other programs to its maximum, and whether they are a fight. `pace` is how
    often they are adopted, or noted where they are left alone; `awaits_adoption` says that one is
    to be adopted later.
    """

    uuid: str
    domid: int
    incarnation: int
    boot: str
    began_ns: int
    unique_id: int | None = None
    name: str | None = None
    building: bool = False
    build_phase: BuildPhase = BuildPhase.UNDECIDED
    push_state: PushState = PushState.PENDING
    wanted_pages: int = 0
    seen_pages: int | None = None
    errno: int | None = None
    error: str | None = None
    settled_revision: int = 0
    effects: Effects = NO_EFFECTS
    effect_outcomes: tuple[EffectOutcome, ...] = ()
    had_path: bool = False
    known: StoreFacts | None = None
    known_at_s: float = 0.0
    target_above: TargetAboveLimit | None = None
    still_polls: int = 0
    failures: int = 0
    retry_s: float = 0.0
    drift_pages: int | None = None
    toolstack_pages: int | None = None
    build_pages: int | None = None
    tot_pages: int | None = None
    is_newcomer: bool = False
    nodes: tuple[float, StoreFacts] | None = None
    writes: ForeignWrites = NO_WRITES
    pace: Pace = NO_PACE
    awaits_adoption: bool = False

    @property
    def fight(self) -> Fight | None:
        """The fight over its maximum, if there is one."""
        since_ns = self.writes.since_ns
        if since_ns is None:
            return None
        return Fight(self.uuid, self.domid, self.name, since_ns, self.writes.count)

    @property
    def in_force(self) -> bool:
        """Whether Xen holds the limit."""
        return self.push_state in IN_FORCE

    @property
    def unreadable(self) -> tuple[UnreadableNode, ...]:
        """What xenstore was last seen to have of it in place of amounts."""
        return () if self.known is None else self.known.unreadable

    @property
    def effect_states(self) -> tuple[EffectOutcome, ...]:
        """How far the effects of the last push, and those still owed, are written."""
        if not (self.effect_outcomes or self.effects is not NO_EFFECTS):
            return ()
        told = {each.name for each in self.effect_outcomes}
        pending = EffectState.PENDING
        owed = [EffectOutcome(n, pending, a) for n, a in self.effects.named() if n not in told]
        return (*self.effect_outcomes, *owed)

    @property
    def is_unsettled(self) -> bool:
        """Whether it is still being built, or not understood yet."""
        return self.build_phase is not _SETTLED

    @property
    def is_understood(self) -> bool:
        """Whether nothing has to be guessed of what its record has to do with it."""
        return self.build_phase in (BuildPhase.ANNOUNCED, BuildPhase.SETTLED)

    @property
    def never_ran(self) -> bool:
        """Whether it has not run yet; not of one that this daemon never saw."""
        return self.building and self.seen_pages is not None

    @property
    def phase_once_decided(self) -> BuildPhase:
        """The phase that it enters when its limit is decided, or its build announced.

        One that has run has nothing left to be announced: it is understood then.
        """
        if self.is_understood:
            return self.build_phase
        return BuildPhase.ANNOUNCED if self.building else BuildPhase.SETTLED

    @property
    def build(self) -> BuildState:
        """What must outlive the daemon while it is being built, or not yet understood."""
        return self.build_in(self.build_phase)

    def build_in(self, phase: BuildPhase) -> BuildState:
        """Return the same as it would be in another phase."""
        if phase is BuildPhase.SETTLED:
            return SETTLED_BUILD._replace(is_newcomer=self.is_newcomer, unique_id=self.unique_id)
        pushed = None if self.toolstack_pages is None else self.wanted_pages
        return BuildState(
            phase,
            self.toolstack_pages,
            pushed,
            self.build_pages,
            self.is_newcomer,
            self.unique_id,
        )

    def as_built(self, fact: XenFacts) -> XenFacts:
        """Return what Xen would say of it had no push of ours taken the toolstack's place."""
        return fact._replace(max_pages=self.built_pages(fact.max_pages))

    def built_pages(self, seen_pages: int) -> int:
        """Return what its toolstack wrote last: what Xen holds, or a push of ours replaced."""
        if self.toolstack_pages is None or seen_pages != self.wanted_pages:
            return seen_pages
        return self.toolstack_pages

    # what is seen of it

    def is_seen_in(self, fact: XenFacts) -> bool:
        """Whether Xen says this of this very instance, as far as it can be told (A6, A11)."""
        return fact.is_domain(self.uuid, self.unique_id)

    def on_identified(self, unique_id: int | None) -> None:
        """Know its unique ID, which never changes."""
        if self.unique_id is None:
            self.unique_id = unique_id

    def on_nodes_read(self, now_s: float, nodes: StoreFacts) -> None:
        """Note what xenstore says of it now."""
        self.known, self.known_at_s = nodes, now_s
        self.name = nodes.name
        self.had_path = self.had_path or nodes.has_path

    def on_looked_at(self, now_s: float) -> None:
        """Note that its nodes were asked for now, whether or not they could be read."""
        self.known_at_s = now_s

    def on_target_compared(self, above: TargetAboveLimit | None) -> None:
        """Note whether its target is above its limit."""
        self.target_above = above

    def on_nodes_shown(self, now_s: float, nodes: StoreFacts) -> None:
        """Note what those who look at all domains were shown of it, for a moment."""
        self.nodes = (now_s, nodes)

    def on_observed(self, seen_pages: int) -> None:
        """Note what Xen holds; nothing is concluded from it yet."""
        self.seen_pages = seen_pages

    def on_compared(self, seen_pages: int, wanted_pages: int) -> None:
        """Note what Xen holds, and what its record says. Every poll, of every domain."""
        self.seen_pages, self.wanted_pages = seen_pages, wanted_pages

    def on_newcomer_seen(self) -> None:
        """Note that limits by name are to be decided of it."""
        self.is_newcomer = True

    def on_takeover_decided(self) -> None:
        """Note that nothing by name is left to be decided of it."""
        self.is_newcomer = False

    # its build

    def on_build_observed(self, phase: BuildPhase, *, building: bool) -> None:
        """Note whether it has run by now, and what follows from that."""
        self.building = building
        self._enter_phase(phase)
        if phase is _SETTLED:
            self.build_pages = None

    def on_build_decided(self, build: BuildState) -> None:
        """Note its limit, or what it is built with, from a client: nothing is guessed any more."""
        self._enter_phase(build.phase)
        self.build_pages = build.build_pages

    # what is still to be written for it

    def on_effects_decided(self, effects: Effects) -> None:
        """Take up what was committed with a decision; the push that follows writes it."""
        self.effects = effects

    def on_effects_inherited(self, effects: Effects) -> None:
        """Take up what was not written for an earlier instance of the domain, before its own."""
        self.effects = effects.then(self.effects)
        self.on_put_off()

    def on_ledger_reread(self, row: InstanceRow) -> None:
        """Take up what a failed commit kept after all.

        What Xen showed and what was pushed meanwhile is newer than the row, so its build never goes
        back, and the pages that it knows stay.
        """
        self.effects = effects_from_text(row.effects)
        build = build_from_text(row.build)
        if build.phase in BUILD_TRANSITIONS[self.build_phase]:
            self._enter_phase(build.phase)
        if self.is_unsettled:
            self.build_pages = build.build_pages

    # its limit

    def on_push_begun(self, max_pages: int) -> None:
        """Note what is pushed now.

        While it is built, a maximum that is not what we wanted is its toolstack's: it is kept,
        for the push takes its place. 0 was set by nothing yet (A4).
        """
        if self.building and self.seen_pages != self.wanted_pages:
            self.toolstack_pages = None if self.seen_pages == 0 else self.seen_pages
        self.wanted_pages = max_pages
        self.nodes = None
        self.effect_outcomes = ()

    def on_effects_pushed(self, outcomes: tuple[EffectOutcome, ...]) -> None:
        """Keep only what could not be written and may be later."""
        over = {each.name for each in outcomes if each.state is not EffectState.FAILED}
        if self.known is not None:
            unwritten = {e.name for e in outcomes if e.state is not EffectState.WRITTEN}
            self.known = self.effects.without(unwritten).on(self.known)
        self.effects = self.effects.without(over)
        self.effect_outcomes = outcomes

    def on_effects_failed(self, now_s: float) -> None:
        """Note that the limit is in force, and that something else is to be tried again."""
        self._back_off(now_s)

    def on_in_force(self, fact: XenFacts, revision: int) -> None:
        """Note that Xen holds the limit, read back or seen by a poll.

        Above it, the guest still has to shrink (A1).
        """
        tot_pages, max_pages = fact.tot_pages, fact.max_pages
        after = _OVER_LIMIT if tot_pages > max_pages else _APPLIED
        if after is not self.push_state:  # every poll comes by here, and mostly nothing is new
            self._enter(after)
        is_smaller = self.tot_pages is None or tot_pages < self.tot_pages
        self.still_polls = 0 if is_smaller or after is _APPLIED else self.still_polls + 1
        self.seen_pages, self.tot_pages = max_pages, tot_pages
        self.settled_revision = revision
        self.errno = self.error = self.drift_pages = None
        if self.effects is NO_EFFECTS:
            self.failures = 0

    def on_adopted(self, fact: XenFacts, revision: int) -> None:
        """Note that Xen holds the limit, for the record was taken from there."""
        self.wanted_pages = fact.max_pages
        self.on_in_force(fact, revision)

    def on_push_mismatched(self, seen_pages: int, now_s: float) -> None:
        """Note that Xen holds another number than we just wrote."""
        self._enter(PushState.MISMATCHED)
        self.seen_pages, self.errno = seen_pages, None
        wrote = f"wrote {self.wanted_pages} pages, Xen holds {seen_pages}"
        self.error = f"cannot see the maximum in force: {wrote}"
        self._back_off(now_s)

    def on_push_failed(self, errno: int | None, error: str | None, now_s: float) -> None:
        """Note why Xen or xenstore refused a push."""
        self._enter(PushState.FAILED)
        self.errno, self.error = errno, error
        self._back_off(now_s)

    def on_drift(self, seen_pages: int, error: str | None = None) -> None:
        """Note that another program wrote this maximum; `error` says so where it is left alone."""
        self.on_put_off()
        self.drift_pages, self.error = seen_pages, error
        self.awaits_adoption = False

    def on_adoption_put_off(self, seen_pages: int, error: str) -> None:
        """Note that another program wrote this maximum, which is to be adopted later."""
        self.on_drift(seen_pages, error)
        self.awaits_adoption = True

    def on_foreign_taken(self, rules: FightRules, now_s: float) -> None:
        """Note that a foreign maximum was adopted, or noted, just now."""
        self.pace = self.pace.after(rules, now_s)

    def on_foreign_write(self, rules: FightRules, now_s: float, wall_ns: int) -> None:
        """Count a write of another program, with which a fight may begin."""
        self.writes = self.writes.with_write(rules, now_s, wall_ns)

    def on_fight_watched(self, now_s: float) -> None:
        """Note that a fight goes on; one that a restart found begins its quiet time."""
        self.writes = self.writes.looked_at(now_s)

    def on_fight_push(self, now_s: float) -> None:
        """Note that ours is put back in a fight; the next time is later."""
        self.writes = self.writes.with_push(now_s)

    def on_fight_ended(self) -> None:
        """Count foreign writes from the beginning."""
        self.writes = NO_WRITES

    def on_put_off(self) -> None:
        """Note that it is not in force, or not wholly, until a later push that is not due yet.

        One whose push failed stays named as that.
        """
        if self.in_force:
            self._enter(PushState.PENDING)

    def on_gone(self, errno: int | None = None, error: str | None = None) -> None:
        """Note that the domain is gone, with what Xen said if a push showed it."""
        self._enter(PushState.GONE)
        self.errno, self.error = errno, error

    def _back_off(self, now_s: float) -> None:
        """Put the next push off by 1, 2, 4 ... at most 60 seconds."""
        self.retry_s = now_s + min(LAST_RETRY_S, FIRST_RETRY_S * 2 ** min(self.failures, 10))
        self.failures += 1

    def _enter(self, after: PushState) -> None:
        if after is self.push_state:
            return
        if after not in PUSH_TRANSITIONS[self.push_state]:
            raise IllegalTransition(self.uuid, self.push_state, after)
        self.push_state = after

    def _enter_phase(self, after: BuildPhase) -> None:
        if after is self.build_phase:
            return
        if after not in BUILD_TRANSITIONS[self.build_phase]:
            raise IllegalTransition(self.uuid, self.build_phase, after)
        self.build_phase = after
