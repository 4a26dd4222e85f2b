"""Revision 0004 takes over a ledger that the last maxmemd of revision 0003 wrote."""

import json
import os
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command

from maxmemd.arbiter.messages import Refused
from maxmemd.errors import LedgerCorrupt
from maxmemd.ledger import migrate as migration
from maxmemd.ledger.high_water import SUFFIX
from maxmemd.ledger.migrate import migrate, revision_of
from maxmemd.ledger.reader import LedgerReader
from maxmemd.ledger.schema import engine
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.components import MAX_MEM, POPULATED, Record
from maxmemd.policy.endings import REBOOT, Ending
from maxmemd.policy.kinds import EntryKind
from maxmemd.policy.states import BuildPhase, PushState
from maxmemd.policy.wishes import KINDS as KINDS_OF_WISHES
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
from maxmemd.xen.simulated import SimulatedHost
from tests.ledger.lines import rows_of
from tests.ledger.test_migrate import config_of
from tests.support.seat import Seat, kib_of, mib

FIXTURES = Path(__file__).parent / "fixtures"
HOST: dict[str, Any] = json.loads((FIXTURES / "host-0003.json").read_text(encoding="utf-8"))
ENTRIES = 88
ROMS = ("device-model", "roms")
UNLIMITED_KIB = 17179869180 - 1024

RECORDS: dict[int, tuple[int, int | None, dict[str, int]]] = {
    0: (1, 16777216, {"operator/max-mem": UNLIMITED_KIB}),
    1: (14, 921600, {"operator/max-mem": 921600, "device-model/populated": 41728}),
    2: (1, 307200, {"operator/max-mem": 264192}),
    3: (2, 262144, {"operator/max-mem": 306176}),
    4: (1, 65536, {"operator/max-mem": UNLIMITED_KIB}),
    10: (3, 131072, {"operator/max-mem": 97280}),
    11: (1, 131072, {"operator/max-mem": 65536}),
    12: (2, 163840, {"operator/max-mem": 81920}),
    14: (1, 32768, {"operator/max-mem": 32768}),
    15: (1, 49152, {"operator/max-mem": 49152}),
    20: (4, 102400, {"operator/max-mem": 102400}),
    21: (3, 204800, {"operator/max-mem": 122880}),
    22: (2, 307200, {"operator/max-mem": 307200}),
    23: (2, 307200, {"operator/max-mem": 307200}),
    24: (1, 262144, {"operator/max-mem": 65536}),
    31: (1, None, {"operator/max-mem": 65536}),
    32: (1, 131072, {"operator/max-mem": 73728}),
    33: (2, 102400, {"operator/max-mem": 102400}),
    34: (1, 131072, {"operator/max-mem": 65536}),
    35: (1, 131072, {"operator/max-mem": 262144}),
}
"""By the number that a UUID ends in: revision, static-max and components beside the slack."""

KINDS = {
    "mem-max": 10, "mem-set": 3, "component-set": 4, "component-removed": 1,
    "component-increased": 1, "rollback": 1, "import": 5, "build-announced": 2, "headroom": 1,
    "adopted": 16, "build-followed": 2, "record-replaced": 1, "refused": 6, "drift": 3,
    "over-limit": 2, "recovered": 2, "instance-began": 22, "instance-ended": 4, "forgotten": 2,
}  # fmt: skip

GRANTED: dict[str, tuple[int | str, Wish, str]] = {
    "raise": (1, SetMaxMem(mib(768)), 'mehr Verkehr: "größer" ☃\n'),
    "aim": (1, SetTarget(target=mib(640)), ""),
    "roms": (1, SetComponent(ROMS, mib(2)), ""),
    "more-roms": (1, Increase(ROMS, 256), ""),
    "limit-as-a-component": (1, SetComponent(MAX_MEM, mib(720)), ""),
    "its-name-is-taken": (1, SetComponent(("operator", "max-mem.former"), mib(3)), ""),
    "no-spare": (1, RemoveComponent(("toolstack", "spare")), ""),
    "back": (1, Rollback(3, force=True), ""),
    "room": (1, Headroom(110_000), ""),
    "told": (5, Build(mib(64), "created", mib(128)), ""),
    "import": (
        "f1f1f1f1-0003-4000-8000-000000000002",
        Import({MAX_MEM: mib(256), POPULATED: mib(1)}, mib(300)),
        "",
    ),
    "owed": (14, SetMaxMem(mib(200)), ""),
}
"""By key: what was granted then, asked again in the words of today; where it lives, and why."""


def number_of(uuid: str) -> int:
    """Return the number that a UUID of the fixture ends in."""
    return int(uuid[-12:], 16)


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """Return a copy of the ledger as it was written, with the file that remembers its end."""
    for name in ("ledger-0003.sqlite", "ledger-0003.sqlite-tail"):
        shutil.copy(FIXTURES / name, tmp_path / name)
    return tmp_path / "ledger-0003.sqlite"


@pytest.fixture
def path(former: Path) -> Path:
    """Return it migrated."""
    migrate(former)
    return former


def host_of_then() -> SimulatedHost:
    """Return a simulated host with the domains that there were, each as it was."""
    host = SimulatedHost(total=mib(16384))
    for each in HOST["domains"]:
        domid, uuid = each["domid"], each["uuid"]
        if domid:
            host.machine.create(uuid, "hvm" if each["hvm"] else "pv", domid)
            host.nodes.add(domid, uuid)
            host.machine.set_max(domid, max(each["tot_pages"], each["max_pages"]))
            host.machine.populate(domid, each["tot_pages"])
        host.machine.set_max(domid, each["max_pages"])
        nodes = {"name": each["name"]}
        for node in ("target", "static_max", "videoram"):
            if each[f"{node}_kib"] is not None:
                nodes[f"memory/{node.replace('_', '-')}"] = str(each[f"{node}_kib"])
        host.nodes.put(domid, {name: value for name, value in nodes.items() if value is not None})
        if each["started"] and domid:
            host.machine.unpause(domid)
    return host


def seat_on(path: Path, drift: str = "restore") -> Seat:
    """Return an arbiter on that ledger and the host of then, before it looks at Xen."""
    ledgers = [SqliteLedger(path)]
    return Seat(host=host_of_then(), ledger_of=lambda: ledgers[0], boot=HOST["boot"], drift=drift)


LATER = ("unchanged",
    "confirmed", "drift-mode", "fight", "limits", "namesake",
    "effect-dropped", "node-", "target-above", "unchanged",
)  # fmt: skip
LATER_KINDS = {kind for kind in EntryKind if kind.startswith(LATER)}
"""No program that wrote such a ledger had these."""


def test_it_proves_its_chain(path: Path) -> None:
    """Every entry is there, chained to the one before, and no former word is left in any."""
    assert LedgerReader(path).check() == ENTRIES
    with closing(sqlite3.connect(path)) as connection:
        kinds = Counter(kind for (kind,) in connection.execute("SELECT kind FROM history"))
        assert kinds == KINDS
        assert set(kinds) == set(EntryKind) - LATER_KINDS
        texts = [*connection.execute("SELECT wish FROM history"),
                 *connection.execute("SELECT state FROM history WHERE state NOT NULL")]  # fmt: skip
    words = "\n".join(text for (text,) in texts)
    for word in ('"parts"', '"limit_kib"', '"limit"', "drifted", "over_limit", '"component"'):
        assert word not in words


def static_max_of(record: Record) -> int | None:
    """Return the recorded static-max in KiB."""
    return None if record.static_max is None else record.static_max.kib


def test_every_record_is_what_it_was(path: Path) -> None:
    """The same components by today's names, at the same revisions."""
    kept = SqliteLedger(path).load()
    found = {
        number_of(record.uuid): (
            record.revision, static_max_of(record), kib_of(record),
        )
        for record in kept.records
    }  # fmt: skip
    slack = {"toolstack/slack": 1024}
    assert found == {
        number: (revision, static_max, amounts | slack)
        for number, (revision, static_max, amounts) in RECORDS.items()
    }
    ends = {number_of(uuid): ending for uuid, ending in kept.endings.items()}
    assert ends == {15: Ending(REBOOT, "boot-3")}


def test_a_past_revision_is_what_it_was(path: Path) -> None:
    """A revision is found under today's names, and who had taken one of them has it apart."""
    record = SqliteLedger(path).record_at("f1f1f1f1-0003-4000-8000-000000000001", 8)
    assert isinstance(record, Record)
    assert kib_of(record) == {
        "operator/max-mem": 716800, "toolstack/slack": 1024, "device-model/roms": 2304,
        "operator/max-mem.former": 3072,
    }  # fmt: skip


def test_builds_and_pushes_are_where_they_were(path: Path) -> None:
    """Each push state and build phase is the one that the former words stood for."""
    rows = {number_of(row.uuid): row for row in SqliteLedger(path).load().instances}
    assert {number: row.push_state for number, row in rows.items() if number >= 20} == {
        20: PushState.OVER_LIMIT, 21: PushState.FAILED, 22: PushState.FAILED,
        23: PushState.MISMATCHED, 24: PushState.PENDING, 30: PushState.PENDING,
        31: PushState.APPLIED, 32: PushState.APPLIED, 33: PushState.APPLIED,
        34: PushState.APPLIED, 35: PushState.APPLIED,
    }  # fmt: skip
    assert {n: row.drift_pages for n, row in rows.items() if row.drift_pages is not None} == {24: 0}
    builds = {n: json.loads(row.build) for n, row in rows.items() if row.build is not None}
    assert {number: build["phase"] for number, build in builds.items()} == {
        30: BuildPhase.FOLLOWING, 31: BuildPhase.FOLLOWING, 32: BuildPhase.ANNOUNCED,
        33: BuildPhase.ANNOUNCED, 34: BuildPhase.UNDECIDED, 35: BuildPhase.UNDECIDED,
    }  # fmt: skip
    assert builds[34] == {"phase": "undecided", "toolstack_pages": None, "pushed_pages": None}
    assert builds[35] == {"phase": "undecided", "toolstack_pages": 16640, "pushed_pages": 65792}


def test_what_is_owed_is_still_owed(path: Path) -> None:
    """An effect that could not be written then is written now."""
    rows = {number_of(row.uuid): row for row in SqliteLedger(path).load().instances}
    owed = {n: json.loads(row.effects) for n, row in rows.items() if row.effects is not None}
    assert owed == {
        21: {"static_max_kib": 204800, "target_kib": 122880}, 22: {"static_max_kib": 307200},
    }  # fmt: skip
    seat = seat_on(path).restart()
    found = seat.host.nodes.facts(14)
    assert (found.static_max, found.target) == (Memory(kib=204800), Memory(kib=122880))
    assert seat.state(14) == "applied"


@pytest.mark.parametrize("key", sorted(GRANTED))
def test_a_key_of_then_is_answered_as_then(path: Path, key: str) -> None:
    """A wish that was granted is not decided twice, though its words have changed since."""
    ref, wish, reason = GRANTED[key]
    seat = seat_on(path).restart()
    before = LedgerReader(path).check()
    granted = seat.grant(ref, wish, key=f"0 {key}", reason=reason)
    assert granted.replayed
    assert LedgerReader(path).check() == before
    other = seat.ask(ref, SetMaxMem(mib(333)), key=f"0 {key}")
    assert isinstance(other, Refused)
    assert other.refusal.code == "idempotency-key-reused"


@pytest.mark.parametrize("drift", ["restore", "alert"])
def test_the_host_comes_up_as_with_the_former_program(path: Path, drift: str) -> None:
    """Where Xen held the limit nothing changes; else it becomes what it would have become."""
    seat = seat_on(path, drift).restart()
    seat.poll()
    after = {str(fact.domid): fact.max_pages for fact in seat.host.machine.domains()}
    assert after == HOST["after_start"][drift]
    before = {str(each["domid"]): each["max_pages"] for each in HOST["domains"]}
    owed = {"14", "15", "16"} | ({"17"} if drift == "restore" else set())
    assert {domid for domid in after if after[domid] != before[domid]} == owed
    alarm = "f1f1f1f1-0003-4000-8000-000000000018"
    kinds = [row.kind for row in rows_of(LedgerReader(path).history, alarm)]
    assert kinds.count("drift") == (2 if drift == "alert" else 1)


def test_builds_go_on_where_they_were(path: Path) -> None:
    """What is built then is still followed, announced or undecided once the daemon is back."""
    seat = seat_on(path).restart()
    seat.host.foreign_write(19, mib(80))
    seat.poll()
    assert seat.amounts(19) == {"operator/max-mem": 79 * 1024, "toolstack/slack": 1024}
    assert (seat.pages(20), seat.pages(22), seat.pages(23)) == (18688, 16640, 65792)
    seat.host.foreign_write(20, mib(80))
    seat.poll()
    assert seat.amounts(20) == {"operator/max-mem": 73728, "toolstack/slack": 1024}


def test_there_and_back(former: Path) -> None:
    """The way back gives every entry its former words, to the byte; and there again."""
    wanted = everything(former, "journal")
    migrate(former)
    today = everything(former, "history")
    with engine(former).begin() as connection:
        command.downgrade(config_of(connection), "0003")
    found = everything(former, "journal")
    assert found["entries"] == wanted["entries"]
    assert found["record"] == wanted["record"]
    assert found["instance"] == wanted["instance"]
    assert found["lives"] == wanted["lives"]  # of an instance that ended no more is kept
    migrate(former)
    assert everything(former, "history") == today


def everything(path: Path, table: str) -> dict[str, list[Any]]:
    """Return the whole content of a ledger."""
    queries = {"entries": f"SELECT * FROM {table} ORDER BY seq",
               "record": "SELECT * FROM record ORDER BY uuid",
               "instance": "SELECT * FROM instance WHERE ended_ns IS NULL ORDER BY uuid",
               "lives": "SELECT uuid, max(incarnation) FROM instance GROUP BY uuid"}  # fmt: skip
    with closing(sqlite3.connect(path)) as connection:
        return {name: connection.execute(query).fetchall() for name, query in queries.items()}


DAMAGE = {
    "an entry was edited": (
        "UPDATE journal SET wish = replace(wish, '921600', '921604') WHERE seq = 16",
        "entry 16 is not as it was written",
    ),
    "an entry is gone": ("DELETE FROM journal WHERE seq = 40", "entry 40 is missing"),
    "the newest entries are gone": (
        "DELETE FROM journal WHERE seq > 60",
        "entry 88 was written, and it is not there",
    ),
    "an entry names a wrong one before": (
        "UPDATE journal SET prior = 1 WHERE seq = 16",
        "entry 16 names entry 1 as its domain's one before, which is entry 15",
    ),
    "a record's newest entry is another": (
        "UPDATE record SET tail = 2 WHERE seq = 2",
        "the newest entry of 00000000-0000-0000-0000-000000000000 is 22, and not 2",
    ),
    "a seal is broken": (
        "UPDATE instance SET effects = replace(effects, '204800', '204804')",
        "what is open for f1f1f1f1-0003-4000-8000-000000000015 is not as it was written",
    ),
    "a build was edited": (
        "UPDATE instance SET birth = replace(birth, '16640', '16641')",
        "what is open for f1f1f1f1-0003-4000-8000-000000000023 is not as it was written",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_not_made_to_look_sound(former: Path, damage: str) -> None:
    """A chain that is broken before stays broken: nothing is changed, and the sentence says why."""
    statement, why = DAMAGE[damage]
    with closing(sqlite3.connect(former)) as connection:
        connection.execute(statement)
        connection.commit()
    before = everything(former, "journal")
    with pytest.raises(LedgerCorrupt) as found:
        migrate(former)
    assert str(found.value) == (
        f"cannot migrate {former}: {why}; nothing was changed"
        " (restore the newest backup, or see docs/recovery.md)"
    )
    assert (revision_of(former), everything(former, "journal")) == ("0003", before)
    assert former.with_name(f"{former.name}-tail").exists()


def test_a_power_cut_before_the_commit(former: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut right before the commit, the former ledger and its own file still agree; then it goes on.

    What an earlier attempt left of today's file is of another chain, and is gone by then.
    """
    stale = former.with_name(f"{former.name}{SUFFIX}")
    stale.write_bytes(former.with_name(f"{former.name}-tail").read_bytes())
    remembered = former.with_name(f"{former.name}-tail").read_bytes()
    fsync = os.fsync

    def cut(descriptor: int) -> None:
        fsync(descriptor)
        if not stale.exists():
            raise OSError(5, "the power is gone")

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(OSError, match="the power is gone"):
        migrate(former)
    monkeypatch.undo()
    assert revision_of(former) == "0003"
    assert former.with_name(f"{former.name}-tail").read_bytes() == remembered
    migrate(former)
    assert SqliteLedger(former).load().records


def test_a_power_cut_after_the_commit(former: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut right after the commit, the daemon starts: what the former file says is not asked."""
    upgrade = migration._upgrade

    def cut(path: Path) -> None:
        upgrade(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(migration, "_upgrade", cut)
    with pytest.raises(KeyboardInterrupt):
        migrate(former)
    monkeypatch.undo()
    assert revision_of(former) == migration.HEAD
    assert former.with_name(f"{former.name}-tail").exists()
    assert not former.with_name(f"{former.name}{SUFFIX}").exists()
    ledger = SqliteLedger(former)
    assert len(ledger.load().records) == len(RECORDS)
    assert former.with_name(f"{former.name}{SUFFIX}").stat().st_size == 48
    ledger.close()


def test_the_former_file_goes_when_it_is_of_no_use(path: Path) -> None:
    """Else an older backup, put in the place of this ledger, would be measured by it."""
    assert not path.with_name(f"{path.name}-tail").exists()
    copy = path.with_name(f"{path.name}.before-{migration.HEAD}-at-0003")
    shutil.copy(copy, path)
    for left in ("-wal", "-shm"):
        path.with_name(path.name + left).unlink(missing_ok=True)
    migrate(path)
    assert LedgerReader(path).check() == ENTRIES


def test_every_granted_kind_is_replayed_here() -> None:
    """The keys above cover each kind of wish."""
    assert {type(wish) for _, wish, _ in GRANTED.values()} == set(KINDS_OF_WISHES)
