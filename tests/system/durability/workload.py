"""Drive the project's own Arbiter on its own SqliteLedger, and mark what it would have replied.

    python -m tests.system.durability.workload DATABASE SEED TURNS
        [--synchronous NORMAL] [--sick ...]

Under the recorder every reply is marked in its log. Without it the replies are printed as JSON.
"""

import argparse
import ctypes
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from maxmemd.arbiter.actor import Arbiter
from maxmemd.arbiter.messages import DecisionRequest, Granted, LookAtDomain
from maxmemd.arbiter.settings import Settings
from maxmemd.errors import LedgerError
from maxmemd.ledger.migrate import migrate
from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.drift import DriftMode, DriftRules
from maxmemd.policy.gone import GoneRules
from maxmemd.policy.rules import Rules
from maxmemd.policy.wishes import Increase, SetComponent, SetMaxMem, SetTarget, Wish
from maxmemd.pusher.local import LocalPusher
from maxmemd.units import Memory
from maxmemd.xen.simulated import SimulatedHost

GUESTS = 6
ACTOR = '{"name":"test"}'


class FakeClock:
    """Time that passes only when a test advances it."""

    def __init__(self) -> None:
        self.now_s, self.wall = 1000.0, 1_750_000_000 * 10**9

    def monotonic_s(self) -> float:
        """Return the seconds so far."""
        return self.now_s

    def wall_ns(self) -> int:
        """Return what the host's clock shows."""
        return self.wall

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds
        self.wall += int(seconds * 1e9)


class Bench:
    """A host, a ledger and an arbiter in this process, on a clock that a test sets."""

    def __init__(
        self,
        database: Path,
        host: SimulatedHost | None = None,
        *,
        drift: str = "restore",
        keep_gone_s: float = 1e9,
        busy_ms: int = 1000,
    ) -> None:
        self.host = host or SimulatedHost.with_guests(GUESTS)
        self.clock = FakeClock()
        self.xen = self.host.hypervisor()
        self.ledger = SqliteLedger(database, busy_ms=busy_ms)
        self.uuids = [fact.uuid for fact in self.xen.domains() if fact.domid]
        self.keys = 0
        try:
            self.arbiter = Arbiter(
                self.ledger,
                LocalPusher(self.xen, self.host.xenstore()),
                self.clock,
                Settings(Rules(), DriftRules(DriftMode(drift)), GoneRules(keep_gone_s)),
                boot="one-boot",
            )
        except BaseException:
            self.ledger.close()
            raise

    def turn(self, *wishes: tuple[str, Wish]) -> list[Any]:
        """Ask for wishes about domains in one batch, each under a new key."""
        asks = []
        for ref, wish in wishes:
            self.keys += 1
            asks.append(DecisionRequest(ref, wish, ACTOR, key=f"0:wish-{self.keys}"))
        return list(self.arbiter.turn(asks))

    def agrees(self) -> bool:
        """Whether Xen holds what the records say, for every guest."""
        limits = {u: self.arbiter.records.get(u) for u in self.uuids}
        facts = [fact for fact in self.xen.domains() if fact.domid]
        return all(
            (record := limits[fact.uuid]) is not None and record.limit.max_pages == fact.max_pages
            for fact in facts
        )

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()


def wish_of(dice: random.Random) -> Wish:
    """Return a wish of any common kind."""
    kind = dice.randrange(4)
    if kind == 0:
        return SetMaxMem(Memory(kib=4 * dice.randrange(64 * 256, 512 * 256)))
    if kind == 1:
        return SetTarget(Memory(kib=4 * dice.randrange(16 * 256, 60 * 256)))
    if kind == 2:
        return SetComponent(("device-model", "rom"), Memory(kib=4 * dice.randrange(4096)))
    return Increase(("device-model", "hotplug"), 4 * dice.randrange(1, 64))


def replies(bench: Bench, answers: Sequence[Any], first_key: int) -> list[list[Any]]:
    """Return the confirmed decisions among answers: key, UUID, revision and limit."""
    return [
        [f"wish-{first_key + place}", a.record.uuid, a.record.revision, a.record.limit_kib]
        for place, a in enumerate(answers)
        if isinstance(a, Granted)
    ]


def step(bench: Bench, dice: random.Random) -> list[list[Any]]:
    """Take one turn of a few wishes, at times with drift to note; return what was confirmed."""
    bench.clock.tick(0.3)
    if dice.random() < 0.2:
        domid = dice.randrange(1, GUESTS + 1)
        bench.host.foreign_write(domid, Memory.of_mib(dice.randrange(64, 512)))
    if dice.random() < 0.3:
        with suppress(LedgerError):
            bench.arbiter.poll()
    first = bench.keys + 1
    batch = [(dice.choice(bench.uuids), wish_of(dice)) for _ in range(dice.choice((1, 2, 5, 16)))]
    return replies(bench, bench.turn(*batch), first)


def recorded(database: Path, seed: int, turns: int, synchronous: str) -> None:
    """Take turns under the recorder and mark every reply in its log."""
    mark = ctypes.CDLL(None).maxmemd_mark
    dice = random.Random(seed)
    migrate(database)
    bench = Bench(database)
    connection: Any = bench.ledger._connection.connection.driver_connection
    if synchronous:
        connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint=60")
    bench.arbiter.start()
    mark(b"[]")
    for _ in range(turns):
        mark(json.dumps(step(bench, dice)).encode())
    bench.close()


class Sickness:
    """libfiu's switches; this process runs with its POSIX library preloaded."""

    def __init__(self) -> None:
        self._fiu = ctypes.CDLL("libfiu.so.0")
        self._fiu.fiu_enable_random.argtypes = [
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_uint,
            ctypes.c_float,
        ]

    def begin(self, call: str, probability: float) -> None:
        """Let a call fail with EIO from now on, with this probability."""
        assert self._fiu.fiu_enable_random(call.encode(), 1, None, 0, probability) == 0

    def end(self, call: str) -> None:
        """Let a call succeed again."""
        self._fiu.fiu_disable(call.encode())


CALLS = ("posix/io/rw/pwrite", "posix/io/sync/fdatasync", "posix/io/sync/fsync")


def sick(database: Path, seed: int, turns: int) -> None:
    """Take turns on a disk that fails now and then, then always, then never; print what came."""
    dice, sickness = random.Random(seed), Sickness()
    migrate(database)
    bench = Bench(database)
    bench.arbiter.start()
    confirmed: list[list[Any]] = []
    found: dict[str, Any] = {"codes": {}, "looks": 0}
    for call, probability, times in [
        *((call, 0.02, turns) for call in CALLS),
        *((call, 1.0, 10) for call in CALLS),
    ]:
        sickness.begin(call, probability)
        before = len(confirmed)
        for _ in range(times):
            confirmed += step(bench, dice)
            (view,) = bench.arbiter.turn([LookAtDomain(bench.uuids[0])])
            found["looks"] += not isinstance(view, Exception)
            trouble = bench.arbiter.records.trouble
            code = "ok" if trouble is None else trouble.code
            found["codes"][code] = found["codes"].get(code, 0) + 1
        found[f"{call} {probability:g}"] = len(confirmed) - before
        sickness.end(call)
        recovered = step(bench, dice)
        confirmed += recovered
    bench.clock.tick(100)
    bench.arbiter.poll()
    found |= {"confirmed": confirmed, "agrees": bench.agrees(), "recovered": len(recovered)}
    bench.close()
    print(json.dumps(found))


def main() -> None:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("database", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("turns", type=int)
    parser.add_argument("--synchronous", default="", help="instead of what the ledger chose")
    parser.add_argument("--sick", action="store_true")
    asked = parser.parse_args()
    if asked.sick:
        sick(asked.database, asked.seed, asked.turns)
    else:
        recorded(asked.database, asked.seed, asked.turns, asked.synchronous)


if __name__ == "__main__":
    main()
