"""Whatever happens in whatever order: Xen, the ledger and a small model come to the same."""

import json
import sqlite3
import tempfile
from contextlib import closing
from errno import EACCES, EIO, EPERM
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from maxmemd.arbiter.messages import DecisionRequest, Granted, Refused
from maxmemd.errors import LedgerBusy, LedgerError, LedgerFull, MaxmemError
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.codec import record_from_state
from maxmemd.policy.components import Record
from maxmemd.policy.endings import CRASH, REBOOT, SOFT_RESET, SUSPEND, WATCHDOG
from maxmemd.policy.entries import Entry
from maxmemd.policy.states import IN_FORCE
from maxmemd.policy.wishes import (
    Import,
    Increase,
    RemoveComponent,
    Rollback,
    SetComponent,
    SetMaxMem,
    SetTarget,
    Wish,
)
from maxmemd.units import UNLIMITED, Memory
from maxmemd.xen.simulated import Image, finish
from tests.ledger.lines import rows_of
from tests.support.decisions import undone
from tests.support.ledgers import new_ledger
from tests.support.model import MAX_MEM, SLACK, SLACK_KIB, Domain, Nodes, reborn, wanted
from tests.support.seat import ACTOR, Seat
from tests.support.soak import SOAK
from tests.system.models.transitions import Taken, watched

MOST_DOMAINS = 4

KIB = st.one_of(
    st.integers(64 * 1024, 400 * 1024),
    st.integers(0, 400 * 1024),
    st.sampled_from([0, 3, 4, 2**31, 2**40]),
)
AMOUNT = KIB.map(lambda kib: Memory(kib=kib))
TARGET = st.integers(0, 400 * 1024).map(lambda kib: Memory(kib=kib))
KEY = st.sampled_from(
    [MAX_MEM, SLACK, ("device-model", "rom"), ("device-model", "vga"), ("stranger", "x")]
)
BY = st.integers(-(64 * 1024), 64 * 1024)
WISH: st.SearchStrategy[Wish] = st.one_of(
    st.builds(SetMaxMem, AMOUNT, force=st.booleans()),
    st.builds(SetTarget, TARGET, enforce=st.booleans()),
    st.builds(SetTarget, by_kib=BY, enforce=st.booleans()),
    st.builds(SetComponent, KEY, AMOUNT),
    st.builds(Increase, KEY, BY),
    st.builds(RemoveComponent, KEY),
    st.builds(Rollback, st.integers(1, 12), force=st.booleans()),
    st.builds(Import, st.dictionaries(KEY, AMOUNT, max_size=3), st.one_of(st.none(), AMOUNT)),
)
PICK = st.integers(0, 99)
BATCH = st.lists(st.tuples(PICK, WISH, st.booleans()), min_size=1, max_size=5)
TROUBLE = st.sampled_from(
    ["set_max_mem", "set_pod_target", "write", "domains", "domain", "lie", "away"]
)


class Arbitration(RuleBasedStateMachine):
    """An arbiter on a simulated host, beside the model of what must come of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seat = self.make_seat()
        self.host = self.seat.host
        self.model: dict[str, Domain] = {}
        self.here: dict[str, int] = {}
        self.nodes: dict[str, Nodes] = {}
        self.images: dict[str, tuple[Image, int]] = {}
        self.leaks: dict[str, int] = {}
        self.sick = False
        self.keys = 0

    def make_seat(self) -> Seat:
        """Return a seat whose ledger is in memory."""
        return Seat(keep_gone_s=1e9)

    # how things are

    def entries(self) -> list[Entry]:
        """Return the history."""
        return self.seat.memory.lines

    def read(self, uuid: str) -> Nodes:
        """Return what xenstore says of a domain that is here."""
        seen = self.host.nodes.facts(self.here[uuid])
        kib = [None if a is None else a.kib for a in (seen.target, seen.static_max)]
        return Nodes(kib[0], kib[1], seen.videoram.kib)

    def pick(self, number: int, among: dict[str, object]) -> str:
        """Return one of the domains."""
        return sorted(among)[number % len(among)]

    # the world

    @initialize()
    def start(self) -> None:
        """Adopt dom0 and one guest."""
        self.born("guest-0", 64, 64, "pv")
        self.seat.arbiter.start()
        dom0 = self.seat.uuid(0)
        self.here[dom0] = 0
        self.model[dom0] = Domain(dom0=True)
        self.model[dom0].built(UNLIMITED.kib - SLACK_KIB, 16384 * 1024)
        self.nodes[dom0] = self.read(dom0)

    def born(self, name: str, memory: int, more: int, kind: str) -> None:
        """Create a domain, and know what it must be adopted as."""
        domid = self.host.create(
            name, memory=Memory.of_mib(memory), maxmem=Memory.of_mib(memory + more),
            kind=kind,  # type: ignore[arg-type]
        )  # fmt: skip
        uuid = self.seat.uuid(domid)
        self.here[uuid] = domid
        self.nodes[uuid] = self.read(uuid)
        self.model[uuid] = Domain()
        self.model[uuid].built(memory * 1024, (memory + more) * 1024)

    @precondition(lambda self: not self.sick and len(self.here) < MOST_DOMAINS)
    @rule(memory=st.integers(32, 96), more=st.integers(0, 96), kind=st.sampled_from(["pv", "pvh"]))
    def create(self, memory: int, more: int, kind: str) -> None:
        """Create a domain, and notice it."""
        self.born(f"guest-{len(self.model)}", memory, more, kind)
        self.seat.poll()

    @precondition(lambda self: not self.sick and len(self.here) < MOST_DOMAINS)
    @rule(leaked=st.integers(32, 96), memory=st.integers(32, 96))
    def create_beside_a_leak(self, leaked: int, memory: int) -> None:
        """Create a domain beside a paused one of its UUID, as a failed migration leaves it."""
        name, more = f"guest-{len(self.model)}", Memory.of_mib(8)
        size = Memory.of_mib(leaked)
        leak = self.host.create(f"{name}--incoming", memory=size, maxmem=size + more, paused=True)
        uuid = self.seat.uuid(leak)
        self.seat.poll()
        self.model[uuid] = Domain()
        self.model[uuid].built(leaked * 1024, (leaked + 8) * 1024)
        self.leaks[uuid] = leak
        size = Memory.of_mib(memory)
        self.comes(uuid, self.host.create(name, memory=size, maxmem=size + more, uuid=uuid))

    @precondition(lambda self: not self.sick)
    @rule(number=PICK)
    def leak(self, number: int) -> None:
        """Leave a paused half of a migration behind, the younger of two instances."""
        uuid = self.a_guest(number)
        if uuid is not None and uuid not in self.leaks and self.can_be_built_again(uuid):
            image = self.host.image(self.here[uuid])
            life = self.host.building(image.config, image=image, paused=True)
            self.leaks[uuid] = finish(life)
            self.seat.poll()

    def clean(self, uuid: str) -> None:
        """Destroy what was left behind of a domain, and notice it."""
        if uuid in self.leaks:
            self.host.destroy(self.leaks.pop(uuid))
            self.seat.poll()

    def leaves(self, uuid: str) -> None:
        """Know that a domain is not here any more."""
        del self.here[uuid]
        del self.nodes[uuid]

    def noticed_gone(self, uuid: str) -> None:
        """Poll while a domain is away: what no client decided on is forgotten."""
        self.seat.poll()
        if not self.model[uuid].outlives:
            del self.model[uuid]

    def comes(self, uuid: str, domid: int, *, held_kib: int | None = None) -> None:
        """Know that a domain is here again, and notice it."""
        self.here[uuid] = domid
        nodes, fact = self.read(uuid), self.host.machine.domain(domid)
        built_kib = fact.max_pages * 4 - SLACK_KIB
        if uuid not in self.model:
            self.model[uuid] = Domain()
            self.model[uuid].built(built_kib, nodes.static_max)
            self.nodes[uuid] = nodes
        else:
            self.nodes[uuid] = reborn(
                self.model[uuid], nodes, built_kib,
                holds_kib=fact.tot_pages * 4, held_kib=held_kib,
            )  # fmt: skip
        self.seat.poll()

    def a_guest(self, number: int) -> str | None:
        """Return a guest that is here, if there is one."""
        guests = {uuid: domid for uuid, domid in self.here.items() if domid}
        return self.pick(number, guests) if guests else None  # type: ignore[arg-type]

    @precondition(lambda self: not self.sick)
    @rule(number=PICK)
    def destroy(self, number: int) -> None:
        """End a domain; its record stays if a client decided anything of it."""
        uuid = self.a_guest(number)
        if uuid is not None:
            self.clean(uuid)
            self.host.destroy(self.here[uuid])
            self.leaves(uuid)
            self.noticed_gone(uuid)

    @precondition(lambda self: not self.sick)
    @rule(
        number=PICK,
        reason=st.sampled_from([REBOOT, CRASH, WATCHDOG, SOFT_RESET]),
        noticed=st.booleans(),
    )
    def restart_guest(self, number: int, reason: int, noticed: bool) -> None:
        """Let xl make a domain again that rebooted or crashed; a poll may see why, or none may."""
        uuid = self.a_guest(number)
        if uuid is None or not self.can_be_built_again(uuid):
            return
        self.clean(uuid)
        domid, held_kib = self.here[uuid], None
        life = self.host.rebooting(domid, reason)
        next(life)
        if noticed:
            held_kib = self.host.machine.domain(domid).tot_pages * 4
            self.seat.poll()
        self.leaves(uuid)
        self.comes(uuid, finish(life), held_kib=held_kib)

    @precondition(lambda self: not self.sick)
    @rule(number=PICK)
    def migrate(self, number: int) -> None:
        """Migrate a domain to this very host between two polls."""
        uuid = self.a_guest(number)
        if uuid is not None and self.can_be_built_again(uuid):
            self.clean(uuid)
            domid = self.here[uuid]
            self.leaves(uuid)
            self.comes(uuid, self.host.migrate_locally(domid))

    @precondition(lambda self: not self.sick)
    @rule(number=PICK, wishes=st.lists(WISH, max_size=3))
    def save(self, number: int, wishes: list[Wish]) -> None:
        """Save a domain, and decide on it after its configuration was read; polls see all of it."""
        uuid = self.a_guest(number)
        if uuid is None or not self.can_be_built_again(uuid):
            return
        self.clean(uuid)
        domid = self.here[uuid]
        image = self.host.image(domid)
        for wish in wishes:
            self.ask_one(uuid, wish)
        self.host.shutdown(domid, SUSPEND)
        self.seat.poll()
        self.images[uuid] = (image, self.host.machine.domain(domid).tot_pages * 4)
        self.host.destroy(domid)
        self.leaves(uuid)
        self.noticed_gone(uuid)

    def can_be_built_again(self, uuid: str) -> bool:
        """Return whether libxl would let a domain have what it holds when it is built again."""
        target = self.read(uuid).target or 0
        holds = self.host.machine.domain(self.here[uuid]).tot_pages
        return holds <= (target + SLACK_KIB) // 4 and target < 2**20

    @precondition(lambda self: not self.sick and self.images and len(self.here) < MOST_DOMAINS)
    @rule(number=PICK, garbage=st.sampled_from([None, "", "-1", "abc", str(2**64)]))
    def restore(self, number: int, garbage: str | None) -> None:
        """Restore a saved domain, whose target xenstore may not tell at first."""
        uuid = self.pick(number, self.images)  # type: ignore[arg-type]
        if uuid not in self.here:
            image, held_kib = self.images.pop(uuid)
            domid = self.host.restore(image)
            if garbage is not None:
                self.host.nodes.put(domid, {"memory/target": garbage})
            self.comes(uuid, domid, held_kib=held_kib)
            if garbage is not None and self.nodes[uuid].target is None:
                self.host.nodes.put(domid, {"memory/target": str(image.config.memory.kib)})
                self.nodes[uuid] = self.read(uuid)

    @precondition(lambda self: not self.sick)
    @rule(memory=st.integers(128, 512), more=st.integers(0, 64))
    def reboot_host(self, memory: int, more: int) -> None:
        """Boot the host with another dom0_mem: no guest is left, and xenstore is empty at first."""
        for uuid in [uuid for uuid, domid in self.here.items() if domid]:
            self.clean(uuid)
            self.host.destroy(self.here[uuid])
            self.leaves(uuid)
        [dom0] = self.here
        holds = Memory.of_mib(memory)
        self.host.foreign_write(0, holds + Memory.of_mib(more))
        self.host.machine.balloon(0, lambda _: holds.pages)
        self.host.nodes.remove(0)
        self.host.nodes.add(0, dom0)
        self.seat.boot = f"{self.seat.boot}+"
        self.comes_up(dom0, memory * 1024, (memory + more) * 1024)

    def comes_up(self, dom0: str, holds_kib: int, limit_kib: int) -> None:
        """Start on a host that was booted, and have xl write dom0's nodes after that."""
        nodes = Nodes(None, None)
        built_kib = limit_kib - SLACK_KIB
        reborn(self.model[dom0], nodes, built_kib, holds_kib=holds_kib, held_kib=None)
        self.seat.restart()
        for uuid in [uuid for uuid in self.model if uuid not in self.here]:
            if not self.model[uuid].outlives:
                del self.model[uuid]
        sizes = {"memory/target": holds_kib, "memory/static-max": 16384 * 1024}
        self.host.nodes.put(0, {node: str(kib) for node, kib in sizes.items()})
        self.nodes[dom0] = self.read(dom0)

    @rule(number=PICK, name=st.sampled_from(["a", "b"]))
    def rename(self, number: int, name: str) -> None:
        """Give a domain another name."""
        uuid = self.a_guest(number)
        if uuid is not None:
            self.host.rename(self.here[uuid], name)

    @rule(number=PICK, limit=AMOUNT)
    def foreign_write(self, number: int, limit: Memory) -> None:
        """Write a maximum as some other program; the next poll puts ours back."""
        uuid = self.pick(number, self.here)  # type: ignore[arg-type]
        self.host.foreign_write(self.here[uuid], limit)

    @rule(number=PICK, value=st.sampled_from([None, "", "abc", "vm/{}", "/vm/{}"]))
    def vm_node_changes(self, number: int, value: str | None) -> None:
        """Remove a domain's vm node, or write one that names no other domain: it counts nothing."""
        uuid = self.pick(number, self.here)  # type: ignore[arg-type]
        if value is None:
            self.host.nodes.drop(self.here[uuid], "vm")
        else:
            self.host.nodes.put(self.here[uuid], {"vm": value.format(uuid)})

    @rule(seconds=st.integers(1, 100))
    def time_passes(self, seconds: int) -> None:
        """Guests balloon, and retries become due."""
        self.host.tick(seconds)
        self.clock_and_poll(seconds)

    def clock_and_poll(self, seconds: float) -> None:
        """Let time pass and poll, whatever comes of it."""
        try:
            self.seat.poll(seconds)
        except MaxmemError:
            assert self.sick

    # what is asked

    @rule(wishes=BATCH)
    def ask_more(self, wishes: list[tuple[int, Wish, bool]]) -> None:
        """Ask another batch: wishes are what there is most of."""
        self.ask(wishes)

    @rule(wishes=BATCH)
    def ask(self, wishes: list[tuple[int, Wish, bool]]) -> None:
        """Ask a batch of wishes by UUID or domid, some dry; the model decides the same."""
        uuids = [self.pick(number, self.here) for number, _, _ in wishes]  # type: ignore[arg-type]
        asks = [
            DecisionRequest(
                str(self.here[uuid]) if by_domid else uuid, wish, ACTOR, dry_run=number % 10 == 0
            )
            for uuid, (number, wish, by_domid) in zip(uuids, wishes, strict=True)
        ]
        for uuid, ask, answer in zip(uuids, asks, self.seat.arbiter.turn(asks), strict=True):
            if isinstance(answer, MaxmemError):
                assert self.sick, answer
                continue
            after = wanted(self.model[uuid], self.nodes[uuid], ask.wish)
            assert isinstance(answer, Refused if after is None else Granted), (answer, after)
            if isinstance(answer, Granted) and after is not None:
                assert answer.record.uuid == uuid
                assert parts_of(answer.record) == after[0].components
                assert answer.record.revision == after[0].revision
                if not ask.dry_run:
                    self.model[uuid], self.nodes[uuid] = after

    def ask_one(self, uuid: str, wish: Wish) -> None:
        """Ask one wish; the model decides the same."""
        after = wanted(self.model[uuid], self.nodes[uuid], wish)
        answer = self.seat.ask(uuid, wish)
        assert isinstance(answer, Refused if after is None else Granted), (answer, after)
        if after is not None:
            self.model[uuid], self.nodes[uuid] = after

    @rule(number=PICK, wish=WISH)
    def ask_twice(self, number: int, wish: Wish) -> None:
        """Ask the same wish under the same key twice: it is granted once."""
        if self.sick:
            return
        uuid = self.pick(number, self.here)  # type: ignore[arg-type]
        self.keys += 1
        asks = [DecisionRequest(uuid, wish, ACTOR, key=f"0:{self.keys}") for _ in range(2)]
        after = wanted(self.model[uuid], self.nodes[uuid], wish)
        first = self.seat.arbiter.turn(asks[:1])[0]
        assert isinstance(first, Refused if after is None else Granted)
        if after is not None:
            again = self.seat.arbiter.turn(asks[1:])[0]
            assert isinstance(again, Granted)
            assert again.replayed
            assert again.record == first.record  # type: ignore[union-attr]
            self.model[uuid], self.nodes[uuid] = after

    # what goes wrong

    @rule(number=PICK, what=TROUBLE, errno=st.sampled_from([EPERM, EACCES, EIO]))
    def trouble(self, number: int, what: str, errno: int) -> None:
        """Let Xen or xenstore refuse one verb, lie about one domain, or not answer at all."""
        if what == "lie":
            domid = self.here[self.pick(number, self.here)]  # type: ignore[arg-type]
            self.host.lie(domid, number - 50)
        elif what == "away":
            self.host.set_xenstore_away(away=True)
        else:
            self.host.fail(what, errno)
        self.sick = True

    @rule(number=PICK, wish=WISH, busy=st.booleans(), kept=st.booleans())
    def commit_fails(self, number: int, wish: Wish, busy: bool, kept: bool) -> None:
        """Let a commit fail; whether it was kept is known to the ledger alone."""
        if self.sick:
            return
        uuid = self.pick(number, self.here)  # type: ignore[arg-type]
        after = wanted(self.model[uuid], self.nodes[uuid], wish)
        if after is None:
            return
        error = LedgerBusy("cannot write: busy") if busy else LedgerFull("cannot write: full")
        kept = self.fail_commit(error, kept=kept and not busy)
        answer = self.seat.arbiter.turn([DecisionRequest(uuid, wish, ACTOR)])[0]
        assert isinstance(answer, LedgerError)
        if kept:
            self.model[uuid], self.nodes[uuid] = after

    def fail_commit(self, error: LedgerError, *, kept: bool) -> bool:
        """Let the next commit fail; return whether it will be kept all the same."""
        self.seat.memory.fail(error, kept=kept)
        return kept

    @rule()
    def crash(self) -> None:
        """Kill the daemon without a word, and start it again."""
        try:
            self.seat.restart()
        except MaxmemError:
            assert self.sick

    @precondition(lambda self: self.sick)
    @rule()
    def heal(self) -> None:
        """Nothing is wrong any more."""
        self.host.heal()
        self.sick = False

    # what holds

    def calm(self) -> None:
        """Be well, and let all that was put off be done."""
        self.heal()
        for _ in range(2):
            self.seat.poll(100.0)

    @invariant()
    def records_are_the_models(self) -> None:
        """Each record is what was confirmed, revision for revision."""
        if self.sick or not self.model:
            return
        self.calm()
        for uuid, domain in self.model.items():
            record = self.seat.arbiter.records.get(uuid)
            assert record is not None
            assert (parts_of(record), record.revision) == (domain.components, domain.revision)
            assert record.static_max == (
                None if domain.static_max is None else Memory(kib=domain.static_max)
            )

    @invariant()
    def no_domain_met_a_fault(self) -> None:
        """Nothing of what happens is a surprise, which would only be counted."""
        assert self.seat.arbiter.lifecycle.surprises.count == 0

    @invariant()
    def xen_holds_the_sum(self) -> None:
        """Each domain's pages are the sum of its components, and its nodes are as decided."""
        if self.sick:
            return
        for uuid, domid in self.here.items():
            assert self.seat.pages(domid) == self.model[uuid].pages
            assert self.read(uuid) == self.nodes[uuid]
            assert self.seat.state(domid) in IN_FORCE

    @invariant()
    def no_decision_is_undone_without_a_reason(self) -> None:
        """Keep what a client decided until a client, or an entry that says why, ends it."""
        assert undone(self.entries()) == []

    @invariant()
    def the_history_folds_to_the_records(self) -> None:
        """Revisions are contiguous from 1, and the last of them is the record."""
        if self.sick:
            return
        heads: dict[str, Record] = {}
        for line in self.entries():
            before = heads[line.uuid].revision if line.uuid in heads else 0
            if line.kind == "forgotten":
                del heads[line.uuid]
            elif line.state is None:
                assert line.revision == before
            else:
                assert line.revision == before + 1
                heads[line.uuid] = record_from_state(
                    line.uuid, line.revision, json.loads(line.state)
                )
        records = self.seat.arbiter.records
        assert heads == {uuid: records.get(uuid) for uuid in records.uuids()}

    def teardown(self) -> None:
        """Close what is open."""
        self.seat.host.heal()


class OnSqlite(Arbitration):
    """The same on a database file, whose chain must be whole as well."""

    def make_seat(self) -> Seat:
        """Return a seat whose ledger is a file."""
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "ledger.sqlite"
        new_ledger(self.path)
        self.opened: list[SqliteLedger] = []
        return Seat(ledger_of=self.open, keep_gone_s=1e9)

    def open(self) -> SqliteLedger:
        """Open the file again; the connection of the dead arbiter is closed by the kernel."""
        while self.opened:
            self.opened.pop().close()
        self.opened.append(SqliteLedger(self.path, busy_ms=0))
        return self.opened[-1]

    def entries(self) -> list[Entry]:
        """Return the history, having checked its chain."""
        reader = LedgerReader(self.path)
        lines = reader.check()
        with closing(sqlite3.connect(self.path)) as connection:
            uuids = [row[0] for row in connection.execute("SELECT DISTINCT uuid FROM history")]
        found = [
            Entry(row.uuid, row.revision, row.kind, row.actor, row.wish, row.state, row.key)
            for uuid in uuids
            for row in reversed(rows_of(reader.history, uuid))
        ]
        assert len(found) == lines
        return found

    def fail_commit(self, error: LedgerError, *, kept: bool) -> bool:
        """Let the next commit fail at its very end, or after it, as a bad disk does."""
        ledger = self.opened[-1]
        commit = ledger.commit

        def failing(*arguments: object, **options: object) -> None:
            ledger.commit = commit  # type: ignore[method-assign]
            if kept:
                commit(*arguments, **options)  # type: ignore[arg-type]
            raise error

        ledger.commit = failing  # type: ignore[method-assign]
        return kept

    def teardown(self) -> None:
        """Close the file."""
        while self.opened:
            self.opened.pop().close()
        self.directory.cleanup()


def parts_of(record: Record) -> dict[tuple[str, str], int]:
    """Return a record's components in KiB."""
    return {key: part.amount.kib for key, part in record.components.items()}


@pytest.mark.soak
def test_any_history_in_memory() -> None:
    """No wish is lost, whatever happens in whatever order, and no instance breaks the tables."""
    steps = settings(max_examples=10_000 if SOAK else 50, stateful_step_count=40)
    with watched(Taken()) as taken:
        run_state_machine_as_test(Arbitration, settings=steps)
    assert taken.pushes
    assert taken.illegal() == set()


@pytest.mark.soak
def test_any_history_on_sqlite() -> None:
    """The same on a real database, whose chain of hashes is whole after every step."""
    run_state_machine_as_test(
        OnSqlite, settings=settings(max_examples=500 if SOAK else 5, stateful_step_count=25)
    )
