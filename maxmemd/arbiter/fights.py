"""Fights with other programs that write a domain's maximum: told once, and kept from doing harm."""

from dataclasses import dataclass

from maxmemd.arbiter.drift_modes import DriftModes
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.lifecycle import Lifecycle
from maxmemd.arbiter.records import Records
from maxmemd.arbiter.settings import CurrentSettings
from maxmemd.policy.components import Record
from maxmemd.policy.drift import DriftMode
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.fights import Fight, starves
from maxmemd.policy.kinds import EntryKind
from maxmemd.ports import Clock

QUIET, BY_MODE = "quiet", "mode"
"""Why a fight ended: nothing was written for long enough, or drift is not undone any more."""


@dataclass(slots=True)
class Fights:
    """Watches for fights over the maxima of all instances. Belongs to the arbiter's thread."""

    settings: CurrentSettings
    records: Records
    lifecycle: Lifecycle
    modes: DriftModes
    clock: Clock
    began: int = 0
    now: tuple[Fight, ...] = ()

    def on_foreign_write(self, instance: Instance, seen_pages: int) -> None:
        """Count a write that is to be undone; note the fight that begins with it."""
        rules, was_fight = self.settings.value.fights, instance.writes.is_fight
        instance.on_foreign_write(rules, self.clock.monotonic_s(), self.clock.wall_ns())
        if was_fight or not instance.writes.is_fight:
            return
        self.began += 1
        words = {
            "domid": instance.domid,
            "seen_pages": seen_pages,
            "wanted_pages": instance.wanted_pages,
            "writes": instance.writes.count,
            "within_s": rules.within_s,
        }
        self.records.note(instance.uuid, EntryKind.FIGHT_BEGAN, words)
        self.records.note_instance(instance)

    def on_undo(self, instance: Instance) -> None:
        """Note that ours is put back now, in a fight less often from time to time."""
        if instance.writes.is_fight:
            instance.on_fight_push(self.clock.monotonic_s())

    def on_foreign_taken(self, instance: Instance) -> None:
        """Note that a foreign maximum was adopted, or noted, just now: the next one may wait."""
        instance.on_foreign_taken(self.settings.value.fights, self.clock.monotonic_s())

    def pause_s(self, instance: Instance) -> float:
        """Return how long a foreign maximum still waits to be adopted, or noted."""
        return instance.pace.pause_s(self.clock.monotonic_s())

    def watch(self, instance: Instance) -> None:
        """End a fight that is over: at rest, or because another mode is in force by now."""
        now_s = self.clock.monotonic_s()
        instance.on_fight_watched(now_s)
        if self.modes.mode_of(instance) is not DriftMode.RESTORE:
            self._end(instance, BY_MODE)
        elif instance.writes.is_quiet(self.settings.value.fights, now_s):
            self._end(instance, QUIET)

    def why_left(
        self, instance: Instance, fact: XenFacts, record: Record, *, is_new: bool
    ) -> str | None:
        """Return why ours is not put back now in mode restore; None where it is.

        A foreign maximum that has just been written is undone at once, unless there is a fight.
        One that stands (a fight left it, or a time with mode alert) is not taken from a guest whose
        target asks for it.
        """
        is_fight = instance.writes.is_fight
        wrote = f"cannot keep {instance.wanted_pages} pages: another program wrote {fact.max_pages}"
        again = f"{wrote} again and again" if is_fight else wrote
        if is_fight or not is_new:
            nodes = self.lifecycle.nodes_of(instance)
            if starves(record, fact, nodes):
                held = f"{fact.tot_pages * 4} KiB that it holds"
                asked = held if nodes.target is None else f"{nodes.target.kib} KiB of its target"
                return f"{again}, and the guest needs it for the {asked}"
        if is_fight and self.clock.monotonic_s() < instance.writes.next_s:
            return f"{again}, so ours is put back less and less often"
        return None

    def publish(self) -> None:
        """Let others see which fights go on, by domid."""
        found = [each.fight for each in self.lifecycle.instances if each.writes.is_fight]
        self.now = tuple(sorted(fight for fight in found if fight is not None))

    def _end(self, instance: Instance, why: str) -> None:
        words = {"domid": instance.domid, "writes": instance.writes.count, "why": why}
        instance.on_fight_ended()
        self.records.note(instance.uuid, EntryKind.FIGHT_ENDED, words)
        self.records.note_instance(instance)
