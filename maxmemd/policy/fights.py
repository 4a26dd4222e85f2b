"""A fight: another program writes one domain's maximum again and again, and each time we undo it.

Neither side can win, and the guest has a maximum below its target half of the time. So a fight is
detected by counting foreign writes, and while it lasts ours is pushed less often, and not at all
where the guest's target needs more.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from maxmemd.policy.components import MAX_MEM, Record
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.units import UNLIMITED_PAGES

FIRST_PAUSE_S = 4.0
LAST_PAUSE_S = 60.0
"""In a fight ours is pushed again after 4, 8, 16 ... at most 60 seconds."""


@dataclass(frozen=True, slots=True)
class FightRules:
    """So many foreign writes within so long are a fight; it ends after so long without one.

    Writes are counted as polls see them: one a poll at most, however many there were.
    """

    writes: int = 5
    within_s: float = 60.0
    quiet_s: float = 300.0


@dataclass(frozen=True, slots=True)
class ForeignWrites:
    """The foreign writes to one instance's maximum lately; times are monotonic.

    `since_ns` is the wall-clock time at which a fight began, None where there is none; `count` is
    how many writes were seen in it. `last_s` None is a fight that a restart found: its quiet time
    begins with the next look at it. Before `next_s` ours is not pushed again.
    """

    times_s: tuple[float, ...] = ()
    last_s: float | None = None
    since_ns: int | None = None
    count: int = 0
    pushes: int = 0
    next_s: float = 0.0

    @property
    def is_fight(self) -> bool:
        """Whether they are a fight."""
        return self.since_ns is not None

    def with_write(self, rules: FightRules, now_s: float, wall_ns: int) -> "ForeignWrites":
        """Return them with one more, by which they may have become a fight."""
        lately = (*(at for at in self.times_s if now_s - at < rules.within_s), now_s)
        times = lately[-rules.writes :]
        if self.is_fight:
            return replace(self, times_s=times, last_s=now_s, count=self.count + 1)
        if len(times) < rules.writes:
            return replace(self, times_s=times, last_s=now_s)
        next_s = now_s + FIRST_PAUSE_S
        return ForeignWrites(times, now_s, wall_ns, len(times), 0, next_s)

    def looked_at(self, now_s: float) -> "ForeignWrites":
        """Return them with a beginning of their quiet time."""
        return replace(self, last_s=now_s) if self.last_s is None else self

    def is_quiet(self, rules: FightRules, now_s: float) -> bool:
        """Whether nothing was written for so long that the fight is over."""
        return self.last_s is not None and now_s - self.last_s >= rules.quiet_s

    def with_push(self, now_s: float) -> "ForeignWrites":
        """Return them with one more push of ours, after which the pause is twice as long."""
        pause_s = min(LAST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self.pushes + 1, 10))
        return replace(self, pushes=self.pushes + 1, next_s=now_s + pause_s)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what another program goes on writing is adopted, or noted: seldom, after a while.

    The first `FightRules.writes` at once, then what stands after pauses of 4, 8 ... at most 60
    seconds; after a quiet time it begins again. `count` are those since then, `last_s` is the last.
    """

    count: int = 0
    last_s: float | None = None
    next_s: float = 0.0

    def pause_s(self, now_s: float) -> float:
        """Return how long what stands now still waits; it is due when that is not above 0."""
        return self.next_s - now_s

    def after(self, rules: FightRules, now_s: float) -> "Pace":
        """Return the pace after one more was adopted, or noted, now."""
        goes_on = self.last_s is not None and now_s - self.last_s < rules.quiet_s
        count = self.count + 1 if goes_on else 1
        pauses = count - rules.writes
        pause_s = 0.0 if pauses < 0 else min(LAST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(pauses, 10))
        return Pace(count, now_s, now_s + pause_s)


class Fight(NamedTuple):
    """A fight over an instance's maximum, as others are to know of it.

    It began at `since_ns` (wall clock), and `writes` foreign writes were seen in it.
    """

    uuid: str
    domid: int
    name: str | None
    since_ns: int
    writes: int


def starves(record: Record, xen: XenFacts, store: StoreFacts) -> bool:
    """Whether to lower Xen's maximum to a record's limit takes away what the guest is to have.

    That is what its target asks for; where xenstore has no target, what it holds.
    """
    if record.max_pages >= xen.max_pages or record.max_pages == UNLIMITED_PAGES:
        return False
    if store.target is None:
        return xen.tot_pages > record.max_pages
    return store.target + store.videoram > record.amount_or_zero(MAX_MEM)
