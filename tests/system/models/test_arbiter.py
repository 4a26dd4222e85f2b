"""The product's own Arbiter, through every schedule of three clients with a death at any step."""

import json
import time
from collections.abc import Callable, Sequence
from errno import ESRCH
from itertools import permutations
from typing import Any

import pytest

from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.batch import Batch
from maxmemd.arbiter.messages import DecisionRequest
from maxmemd.arbiter.observation import Observation
from maxmemd.arbiter.settings import Settings
from maxmemd.errors import HypervisorError
from maxmemd.policy import bounds, lives
from maxmemd.policy.components import MAX_MEM, Key, Record
from maxmemd.policy.facts import XenFacts
from maxmemd.policy.orders import EffectOutcome, Order
from maxmemd.policy.states import EffectState
from maxmemd.policy.verdicts import Grant, Refusal
from maxmemd.ports import Clock, Ledger
from maxmemd.pusher.local import LocalPusher
from maxmemd.units import Memory
from tests.support.figures import figure
from tests.support.soak import SOAK
from tests.system.models import programs
from tests.system.models.lab import Client, Lab, Violation, WatchedXen
from tests.system.models.programs import ROM
from tests.system.models.scheduler import Found, explore
from tests.system.models.transitions import Taken, watched

WITHIN_S = 120.0
"""Of CPU, which is all that it takes: what else runs beside it is not counted. It is demanded of
three clients that ask; a migration and a stranger, who step in within a turn, take longer."""


def folded(lab: Lab) -> None:
    """Hold the record against the history, folded by a few lines that know nothing of the policy.

    Every granted wish counts once, in the order of the history and of its client's program.
    """
    parts: dict[Key, int] = {}
    steps: dict[str, int] = {}
    is_decided = False
    for line in lab.ledger.lines:
        if line.uuid == lab.vm and line.state is not None and line.key is None:
            parts = {(o, n): kib for o, n, kib, _ in json.loads(line.state)["components"]}
        elif line.uuid == lab.vm and line.state is not None and line.key is not None:
            wish = json.loads(line.wish)
            _count(parts, line.kind, wish)
            if line.kind == "build-announced" and not is_decided:
                parts[MAX_MEM] = int(wish["target_kib"])
            is_decided = is_decided or line.kind in ("mem-max", "mem-set")
            client, step = line.key.split(":")
            if int(step) < steps.get(client, 0):
                raise Violation(f"step {step} of client {client} counts after a later one")
            steps[client] = int(step)
    found = {key: part.amount.kib for key, part in lab.record().components.items()}
    if {key: kib for key, kib in parts.items() if kib} != {
        k: kib for k, kib in found.items() if kib
    }:
        raise Violation(f"the record says {found}, the granted wishes come to {parts}")
    increases = sum(_increases(client) for client in lab.clients)
    if found.get(ROM, 0) != increases:
        raise Violation(f"the device model's share is {found.get(ROM)}, it asked for {increases}")


def _count(parts: dict[Key, int], kind: str, wish: dict[str, int | str]) -> None:
    if kind == "mem-max":
        parts[MAX_MEM] = int(wish["max_mem_kib"])
    elif kind == "mem-set":
        parts[MAX_MEM] = int(wish["target_kib"])
    elif kind == "build-announced":
        pass  # what an incoming instance needs is not what its domain may have
    else:
        key = (str(wish["owner"]), str(wish["name"]))
        by_kib = parts.get(key, 0) + int(wish["by_kib"]) if kind == "component-increased" else 0
        parts[key] = by_kib or int(wish["amount_kib"])


def _increases(client: Client) -> int:
    words = [step.words for step in client.steps if step.words.startswith("increase")]
    return sum(int(amount.split()[1]) for amount in words)


def explored(
    clients: tuple[Client, ...],
    *,
    crashes: int = 1,
    polls: int = 0,
    make: Callable[..., Arbiter] = Arbiter,
    deep: bool = False,
) -> Found:
    """Explore these clients beside an arbiter."""
    lab = Lab(clients, make, crashes_left=crashes, polls_left=polls)
    lab.create()
    return explore(lab, folded, deep=deep)


@pytest.mark.soak
@pytest.mark.parametrize(
    ("program", "steps", "polls"),
    [("updates", 2, 0), ("updates", 1, 1), ("migration", 1, 0), ("foreign", 1, 1)]
    if not SOAK
    else [("updates", 4, 0), ("updates", 2, 1), ("migration", 4, 0), ("foreign", 4, 0)],
)
def test_no_violation(program: str, steps: int, polls: int) -> None:
    """No schedule loses, doubles or misplaces anything, whenever the daemon dies."""
    began_s, cpu_s = time.monotonic(), time.process_time()
    with watched(Taken()) as taken:
        found = explored(getattr(programs, program)(steps), polls=polls, deep=SOAK)
    assert taken.illegal() == set()
    assert found.violation is None, (found.violation, found.history)
    assert found.ends > 0
    took_s = time.process_time() - cpu_s
    whole_s = time.monotonic() - began_s
    took = f"{found.states} moments, {found.runs} runs, {took_s:.0f} s of CPU in {whole_s:.0f} s"
    figure("every schedule", f"{program}, {steps} steps each, {polls} polls, a death", took)
    assert took_s < WITHIN_S or program != "updates"


class PushesFirst(Arbiter):
    """An arbiter that tells Xen before it records."""

    def _record(self, batch: Batch) -> None:
        self._push(batch)
        super()._record(batch)


class Blind(LocalPusher):
    """A pusher that takes the hypercall's word for it."""

    def _read_back(self, order: Order) -> XenFacts:
        return XenFacts(order.domid, order.uuid, 0, order.limit.max_pages)


class DoesNotReadBack(Arbiter):
    """An arbiter with such a pusher."""

    def __init__(
        self, ledger: Ledger, pusher: LocalPusher, clock: Clock, settings: Settings, **options: Any
    ) -> None:
        blind = Blind(pusher.hypervisor, pusher.xenstore)
        super().__init__(ledger, blind, clock, settings, **options)


class FeedsBack(Batch):
    """A turn that takes what Xen holds for what the operator said."""

    def _verdict(
        self, ask: DecisionRequest, record: Record, seen: Observation | None
    ) -> Grant | Refusal:
        assert seen is not None
        fed = lives.with_maximum(self.rules, record, seen.xen.max_pages)
        same = Record(record.uuid, record.revision, fed.components, record.static_max)
        return super()._verdict(ask, same, seen)


class KeyedByDomid(WatchedXen):
    """A Xen whose domains are known by their number, as if it were their identity."""

    def domains(self) -> Sequence[XenFacts]:
        """Return every domain, under its number."""
        return [_numbered(fact) for fact in super().domains()]

    def domain(self, domid: int) -> XenFacts:
        """Return one domain, under its number."""
        return _numbered(super().domain(domid))

    def known_as(self, domid: int) -> str:
        """Return a number as a name."""
        return _number(domid)


class Numbered(Lab):
    """A lab whose daemon sees such a Xen."""

    xen_port = KeyedByDomid

    @property
    def subject(self) -> str:
        """The domain, by number."""
        return _number(self.domid)


def _number(domid: int) -> str:
    return f"00000000-0000-4000-8000-{domid:012x}"


def _numbered(fact: XenFacts) -> XenFacts:
    if fact.domid == 0:
        return fact
    return XenFacts(
        fact.domid, _number(fact.domid), fact.tot_pages, fact.max_pages,
        dying=fact.dying, shutdown=fact.shutdown, paused=fact.paused,
        cpu_time_ns=fact.cpu_time_ns, shutdown_reason=fact.shutdown_reason,
    )  # fmt: skip


def test_pushing_before_recording_is_caught() -> None:
    """Seeded: record and push swapped. Xen is set to what no ledger has."""
    found = explored(programs.updates(1), make=PushesFirst)
    assert found.violation is not None
    assert found.violation.startswith("Xen is told")


def test_a_missing_read_back_is_caught() -> None:
    """Seeded: no read-back. A client learns that its limit is in force, and it is not."""
    found = explored(programs.foreign(2), crashes=0, make=DoesNotReadBack)
    assert found.violation is not None
    assert "said to be in force" in found.violation
    assert "a stranger does: Xen keeps a page less" in " ".join(found.history)


def test_feeding_the_sum_back_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeded: the pushed sum as input. Right for one client at a time, wrong for two at once."""
    monkeypatch.setattr("maxmemd.arbiter.actor.Batch", FeedsBack)
    alone = explored(programs.updates(2)[:1], crashes=0)
    assert alone.violation is None
    found = explored(programs.updates(1)[1:], crashes=0)
    assert found.violation is not None
    assert "the granted wishes come to" in found.violation


def test_keying_by_domid_is_caught() -> None:
    """Seeded: the number as identity. A migration's destination knows nothing of its source."""
    lab = Numbered(programs.migration(2)[1:], crashes_left=0, polls_left=0)
    lab.create()
    found = explore(lab, lambda _: None)
    assert found.violation is not None
    assert found.violation.startswith("the restore dies: cannot populate on domain 2: E2BIG")
    sound = explored(programs.migration(2)[1:], crashes=0)
    assert sound.violation is None


@pytest.mark.parametrize("what", ["path", "vm", "target", "no target"])
def test_nodes_that_are_lost_hold_nothing_back(what: str) -> None:
    """Whenever its nodes go, a living domain's limit is in force, and not below what it holds."""
    found = explored(programs.nodes_lost(what), crashes=0, polls=1)
    assert found.violation is None, (found.violation, found.history)
    assert found.ends > 0


class HeldHostage(LocalPusher):
    """A pusher whose limits wait for what goes to xenstore."""

    def _write(self, order: Order, name: str, amount: Memory) -> EffectOutcome:
        outcome = super()._write(order, name, amount)
        if outcome.state is not EffectState.WRITTEN:
            raise HypervisorError.of("write", order.domid, ESRCH)
        return outcome


class LetsEffectsHold(Arbiter):
    """An arbiter with such a pusher."""

    def __init__(
        self, ledger: Ledger, pusher: LocalPusher, clock: Clock, settings: Settings, **options: Any
    ) -> None:
        hostage = HeldHostage(pusher.hypervisor, pusher.xenstore)
        super().__init__(ledger, hostage, clock, settings, **options)


def test_a_limit_that_waits_for_its_effects_is_caught() -> None:
    """Seeded: an effect that cannot be written ends the push. A limit is never lowered."""
    found = explored(programs.nodes_lost("path"), crashes=0, make=LetsEffectsHold)
    assert found.violation is not None
    assert found.violation.startswith("Xen holds ")
    assert "a spoiler does: takes the path away" in " ".join(found.history)


@pytest.mark.parametrize("what", ["target", "no target"])
def test_a_floor_that_an_unreadable_target_switches_off_is_caught(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seeded: no floor but the target. A guest is left with less than it holds, for ever."""
    monkeypatch.setattr(bounds, "not_below_held", lambda *_: None)
    found = explored(programs.nodes_lost(what), crashes=0)
    assert found.violation is not None
    assert "nothing tells it to shrink" in found.violation


def test_the_scheduler_finds_every_order() -> None:
    """Three clients of one step each, every way there is: all six orders, and no seventh."""
    orders = set()

    def note(lab: Lab) -> None:
        orders.add(tuple(line.key for line in lab.ledger.lines if line.key is not None))

    found = explore(_three(), note, every_way=True)
    assert found.violation is None
    assert orders == set(permutations(["0:0", "1:0", "2:0"]))


def test_equal_moments_are_met_once() -> None:
    """Which order led to a moment is no part of it: one end, and every moment before it."""
    ends: list[Lab] = []
    found = explore(_three(), ends.append)
    assert found.violation is None
    assert (found.states, len(ends)) == (38, 1)


def _three() -> Lab:
    lab = Lab(programs.updates(1), crashes_left=0, polls_left=0)
    lab.create()
    return lab
