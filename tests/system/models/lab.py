"""The real arbiter on a simulated host, with clients, as one thing that can be copied and keyed.

Nothing here runs by itself: `scheduler.py` chooses who takes the next step. The arbiter stops
before every call of a port, where others may step in or the process may die.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, ClassVar, Protocol

from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.instance import Instance
from maxmemd.arbiter.messages import Answer, DecisionRequest, Granted, Refused
from maxmemd.arbiter.settings import Settings
from maxmemd.errors import MaxmemError
from maxmemd.policy.codec import build_from_text, record_from_text
from maxmemd.policy.components import MAX_MEM, Record
from maxmemd.policy.drift import DriftRules
from maxmemd.policy.facts import StoreFacts, XenFacts
from maxmemd.policy.gone import GoneRules
from maxmemd.policy.rules import Rules
from maxmemd.policy.states import IN_FORCE
from maxmemd.policy.wishes import Wish
from maxmemd.pusher.local import LocalPusher
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost
from tests.support.fakes import FakeClock, MemoryLedger
from tests.system.models.twin import twin

ACTOR = '{"name":"test"}'
RULES = Rules()


class WatchedLedger(MemoryLedger):
    """The ledger in memory, before each commit to which the daemon may die."""

    lab: "Lab"

    def commit(self, *arguments: Any, **options: Any) -> None:
        """Keep all of it or nothing."""
        self.lab.stop("commit")
        super().commit(*arguments, **options)


class Violation(BaseException):
    """Something that must never be was seen: nothing in the daemon may catch this."""


class Crashed(BaseException):
    """The daemon dies here: nothing in it may catch this."""


class Pause(Protocol):
    """What is done before a call of a port, or before the answers leave."""

    def __call__(self, lab: "Lab", verb: str) -> None:
        """Let others step in, or raise Crashed."""
        ...


@dataclass(frozen=True)
class Say:
    """A client's step: ask the arbiter for something, and wait for the answer.

    `ref` says who is meant, now; the daemon's answer must be a grant where `granted`.
    """

    words: str
    wish: Callable[["Lab"], Wish]
    ref: Callable[["Lab"], str] = lambda lab: lab.subject
    granted: bool = False


@dataclass(frozen=True)
class Do:
    """A step in the world that the arbiter is not asked about. `apart`: not within a turn."""

    words: str
    act: Callable[["Lab"], None]
    apart: bool = False


Step = Say | Do


@dataclass(frozen=True)
class Client:
    """A program of steps."""

    name: str
    steps: tuple[Step, ...]


@dataclass
class Lab:
    """One moment of everything. `place` is how many steps each client has taken."""

    clients: tuple[Client, ...]
    make: Callable[..., Arbiter] = Arbiter
    host: SimulatedHost = field(default_factory=lambda: SimulatedHost(total=Memory.of_mib(8192)))
    ledger: WatchedLedger = field(default_factory=WatchedLedger)
    clock: FakeClock = field(default_factory=FakeClock)
    place: list[int] = field(default_factory=list)
    mailbox: list[int] = field(default_factory=list)
    up: bool = True
    crashes_left: int = 1
    polls_left: int = 1
    vm: str = ""
    domid: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    held: dict[int, set[int]] = field(default_factory=dict)
    heard: list[object] = field(default_factory=list)
    pause: Pause | None = None
    arbiter: Arbiter = field(init=False)
    xen_port: "ClassVar[Callable[[Lab], WatchedXen]]"

    def __post_init__(self) -> None:
        self.ledger.lab = self
        self.place = [0] * len(self.clients)
        self.host.setmaxmem = _silent  # an interposed libxl: the daemon sets it, not it
        self.start()

    def start(self) -> None:
        """Make a daemon of what the ledger holds, and let it look at Xen."""
        self.arbiter = self.make(
            self.ledger,
            LocalPusher(self.xen_port(self), WatchedStore(self)),
            self.clock,
            Settings(RULES, DriftRules(), GoneRules(keep_s=1e9)),
            boot="boot-1",
        )
        self.arbiter.start()
        self.up = True

    def create(self) -> None:
        """Create the domain that all programs use: 128 MiB of 512, decided on, its slack used."""
        self.host.setmaxmem = self.host.foreign_write
        mib = Memory.of_mib
        self.domid = self.host.create("vm", memory=mib(128), maxmem=mib(512))
        self.host.setmaxmem = _silent
        self.vm = self.host.machine.domain(self.domid).uuid
        self.host.populate(self.domid, RULES.slack.pages)
        self.arbiter.poll()

    @property
    def subject(self) -> str:
        """The domain that all programs use, as clients call it."""
        return self.vm

    def crash(self) -> None:
        """Lose the process: waiting clients have to ask again, under the same key."""
        self.crashes_left -= 1
        self.up = False
        self.mailbox.clear()

    def ask_of(self, number: int) -> DecisionRequest:
        """Return what a client asks at its present step, under the key of that step."""
        step = self.clients[number].steps[self.place[number]]
        assert isinstance(step, Say)
        key = f"{number}:{self.place[number]}"
        return DecisionRequest(step.ref(self), step.wish(self), ACTOR, key=key)

    def turn(self) -> None:
        """Let the arbiter answer everything that waits."""
        asking, asks = list(self.mailbox), [self.ask_of(number) for number in self.mailbox]
        self.held.clear()
        answers = self.arbiter.turn(asks)
        self.stop("answer")
        for number, ask, answer in zip(asking, asks, answers, strict=True):
            self._check(number, ask, answer)
            self.place[number] += 1
            self.mailbox.remove(number)

    def stop(self, verb: str) -> None:
        """Mark a point where another client may act."""
        if self.pause is not None:
            self.pause(self, verb)

    def _check(self, number: int, ask: DecisionRequest, answer: Answer | MaxmemError) -> None:
        """Hold an answer against the ledger and Xen, at the moment it leaves."""
        step = self.clients[number].steps[self.place[number]]
        assert isinstance(step, Say)
        if isinstance(answer, Refused) and not step.granted:
            return
        if not isinstance(answer, Granted):
            raise Violation(f"{step.words}: {answer}")
        kept = self.ledger.record_at(answer.record.uuid, answer.record.revision)
        if kept != answer.record:
            raise Violation(f"{step.words}: granted, and the ledger does not have it")
        push = answer.push
        if push is None or answer.domid is None or push.state not in IN_FORCE:
            return
        if push.max_pages not in self.held.get(answer.domid, {push.max_pages}):
            told = f"said to be in force, and Xen held {sorted(self.held[answer.domid])}"
            raise Violation(f"{step.words}: {push.max_pages} pages are {told}")

    def settled(self) -> None:
        """Let a daemon that is up be calm, and hold all that is left against the history."""
        self.pause = None
        self.host.heal()
        for _ in range(2):
            self.clock.forward(100.0)
            self.arbiter.poll()
        self._history_is_whole()
        if self.arbiter.lifecycle.surprises.count:
            raise Violation(f"a fault was met: {self.arbiter.lifecycle.surprises.named}")
        for fact in self.host.machine.domains():
            record = self.arbiter.records.get(fact.uuid)
            if fact.domid and record is not None and not fact.dying:
                self._in_force(fact, record)

    def _in_force(self, fact: XenFacts, record: Record) -> None:
        if fact.max_pages != record.limit.max_pages:
            wanted = record.limit.max_pages
            raise Violation(f"Xen holds {fact.max_pages} pages, {wanted} are decided")
        target, limit = self.host.nodes.facts(fact.domid).target, record.amount(MAX_MEM)
        if target is None and fact.tot_pages > fact.max_pages:
            held = f"holds {fact.tot_pages} pages, and nothing tells it to shrink"
            raise Violation(f"the limit is {fact.max_pages} pages, and the guest {held}")
        if target is not None and limit is not None and limit < target:
            raise Violation(f"the limit {limit} is below the target {target}")

    def _history_is_whole(self) -> None:
        """Revisions follow one another, every key is there at most once, and heads are records."""
        revisions: dict[str, int] = {}
        keys = [line.key for line in self.ledger.lines if line.key is not None]
        if len(keys) != len(set(keys)):
            raise Violation(f"a wish was granted twice: {sorted(keys)}")
        for line in self.ledger.lines:
            if line.state is not None:
                if line.revision != revisions.get(line.uuid, 0) + 1:
                    raise Violation(f"revision {line.revision} of {line.uuid} is out of order")
                revisions[line.uuid] = line.revision
            elif line.kind == "forgotten":
                del revisions[line.uuid]
        for uuid in revisions:
            kept = self.ledger._record(self.ledger.lines[self.ledger.heads[uuid]])
            if kept != self.arbiter.records.get(uuid):
                raise Violation(f"the record of {uuid} is not what the ledger holds")

    def record(self) -> Record:
        """Return the committed record of the domain."""
        return self.ledger._record(self.ledger.lines[self.ledger.heads[self.vm]])

    def kept(self, uuid: str) -> Memory | None:
        """Return the limit that is committed for a domain."""
        head = self.ledger.heads.get(uuid)
        return None if head is None else self.ledger._record(self.ledger.lines[head]).limit

    def needed(self, domid: int) -> set[int | None]:
        """Return what is committed that a domain has to be allowed until it runs."""
        rows = self.ledger.instances.values()
        return {build_from_text(row.build).build_pages for row in rows if row.domid == domid}

    # what makes one moment the same as another

    def key(self) -> object:
        """Return all that the future depends on.

        Not the history's past entries, nor the revisions' numbers: the arbiter decides by neither.
        """
        busy = tuple(self.mailbox)
        own = (tuple(self.place), busy, self.up, self.crashes_left, self.polls_left)
        return (own, self.world(), self._kept(), self._memory() if self.up else None)

    def world(self) -> object:
        """Return Xen and xenstore as they are."""
        machine, nodes = self.host.machine, self.host.nodes
        domains = tuple(
            (d.domid, d.uuid, d.max_pages, d.tot_pages, d.paused, d.shutdown, d.dying, d.dead)
            for d in machine._domains.values()
        )
        stored = tuple((domid, *sorted(kept.items())) for domid, kept in nodes._domains.items())
        faults = self.host.faults
        wrong = (tuple(sorted(faults._lies.items())), repr(faults._failures))
        return domains, stored, wrong, tuple(self.place), self.domid, repr(self.notes)

    def _kept(self) -> object:
        ledger = self.ledger
        heads = {uuid: ledger.lines[head] for uuid, head in ledger.heads.items()}
        records = tuple((uuid, _amounts(line.state)) for uuid, line in heads.items())
        rows = tuple(
            (row.uuid, row.domid, row.incarnation, row.ended_ns is None, row.push_state,
             row.effects, row.build,
             row.uuid in heads and row.settled_revision == heads[row.uuid].revision)
            for row in ledger.instances.values()
        )  # fmt: skip
        keys = sorted(line.key for line in ledger.lines if line.key is not None)
        return records, rows, keys

    def _memory(self) -> object:
        arbiter = self.arbiter
        records, lifecycle = arbiter.records, arbiter.lifecycle
        notes = records.notes
        lives = tuple(
            (*(getattr(instance, name) for name in _LIFE),
             getattr(records.get(instance.uuid), "revision", 0) == instance.settled_revision)
            for instance in arbiter.instances
        )  # fmt: skip
        waiting = (bool(notes.entries), bool(notes.pushes), tuple(sorted(notes.instances)))
        owed = tuple(sorted(lifecycle.endings._by_uuid.items()))
        return lives, waiting, len(notes.pushed), owed


class WatchedXen:
    """The simulated Xen's port, before each call of which others may step in."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._inner = lab.host.hypervisor()

    def domains(self) -> Any:
        """Return every domain."""
        return self._call("domains")

    def domain(self, domid: int) -> Any:
        """Return one domain."""
        return self._call("domain", domid)

    def host(self) -> Any:
        """Return the host's totals."""
        return self._call("host")

    def set_max_mem(self, domid: int, limit: Memory) -> None:
        """Set max_pages: never to anything that is not committed, for the domain or its build."""
        lab = self._lab
        lab.stop("set_max_mem")
        kept = lab.kept(self.known_as(domid))
        if kept != limit and limit.pages not in lab.needed(domid):
            raise Violation(f"Xen is told {limit} for domain {domid}, and the ledger has {kept}")
        self._inner.set_max_mem(domid, limit)
        lab.held.setdefault(domid, set()).add(lab.host.machine.domain(domid).max_pages)

    def known_as(self, domid: int) -> str:
        """Return what the ledger calls a domain."""
        return self._lab.host.machine.domain(domid).uuid

    def set_pod_target(self, domid: int, target: Memory) -> None:
        """Set the PoD target."""
        self._call("set_pod_target", domid, target)

    def close(self) -> None:
        """Do nothing."""

    def _call(self, verb: str, *arguments: Any) -> Any:
        self._lab.stop(verb)
        answer = getattr(self._inner, verb)(*arguments)
        self._lab.heard.append(answer)
        return answer


class WatchedStore:
    """The simulated xenstore's port, likewise."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._inner = lab.host.xenstore()

    def facts(self, domid: int) -> StoreFacts:
        """Return name and memory nodes."""
        self._lab.stop("facts")
        answer = self._inner.facts(domid)
        self._lab.heard.append(answer)
        return answer

    def write(
        self, domid: int, uuid: str, *, target: Memory | None, static_max: Memory | None
    ) -> None:
        """Write memory nodes."""
        self._lab.stop("write")
        self._inner.write(domid, uuid, target=target, static_max=static_max)

    def watch(self, changed: Callable[[], None]) -> None:
        """Do nothing: polls are steps of their own."""

    def close(self) -> None:
        """Do nothing."""


Lab.xen_port = WatchedXen
_NUMBERS = ("began_ns", "settled_revision", "effect_outcomes", "known_at_s", "still_polls")
_LIFE = [one.name for one in fields(Instance) if one.name not in _NUMBERS]
"""All of an instance but what is only counted up, and what is only told."""


def _silent(domid: int, limit: Memory) -> None:
    """Set nothing: what libxl would have set is the daemon's to set."""


@cache
def _amounts(state: str | None) -> object:
    record = record_from_text("", 0, state or "{}")
    parts = tuple(sorted((key, part.amount.kib) for key, part in record.components.items()))
    nodes = (record.static_max, record.target, record.former_target)
    return parts, nodes, tuple(sorted(record.observed))


def copied(lab: Lab) -> Lab:
    """Return a second lab that is the same and shares nothing that changes."""
    lab.pause = None
    lab.heard.clear()
    other: Lab = twin(lab)
    return other
