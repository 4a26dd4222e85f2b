"""The daemon is killed with SIGKILL at random instants under load, again and again."""

import http.client
import os
import random
import statistics
import time
from dataclasses import dataclass, field
from itertools import count
from threading import Event, Thread

import pytest

from maxmemd.rest.retry import BUSY
from tests.support.audit import Kept
from tests.support.figures import figure
from tests.support.http import Answer, Client
from tests.support.soak import SOAK
from tests.support.stand import Stand
from tests.support.until import until

ROUNDS, KILLS = (10, 30) if SOAK else (1, 8)
CLIENTS = 8
GUESTS = 6
AGREED_WITHIN_S = 1.0
READY_WITHIN_S, SHORT_RUN_READY_WITHIN_S = 1.0, 20.0


@dataclass
class Wish:
    """A request that can be sent again as it was."""

    key: str
    method: str
    path: str
    body: object

    def send(self, client: Client) -> Answer:
        """Send it under its key."""
        return client.ask(self.method, self.path, self.body, key=self.key)


@dataclass
class Load:
    """Clients that ask without pause until the daemon is killed, and what they were told."""

    stand: Stand
    dice: random.Random
    numbers: "count[int]"
    confirmed: dict[str, Answer] = field(default_factory=dict)
    unsure: list[Wish] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    _end: Event = field(default_factory=Event)
    _threads: list[Thread] = field(default_factory=list)

    def begin(self) -> None:
        """Let every client connect and ask."""
        self._threads = [Thread(target=self._ask) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Wait until every client has noticed."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        dice = random.Random(self.dice.random())
        try:
            with self.stand.client() as client:
                while not self._end.is_set():
                    self._one(client, dice)
        except OSError:
            return

    def _one(self, client: Client, dice: random.Random) -> None:
        wish = self._wish(dice)
        try:
            answer = wish.send(client)
            while answer.get("code") == BUSY:  # as every client of ours does
                answer = wish.send(client)
        except (OSError, http.client.HTTPException):
            self.unsure.append(wish)
            raise ConnectionError from None
        if answer.status in (200, 202):
            self.confirmed[wish.key] = answer
        else:
            self.refused.add(str(answer.get("code")))

    def _wish(self, dice: random.Random) -> Wish:
        key, path = f"wish-{next(self.numbers)}", f"/v1/domains/{dice.choice(self.stand.uuids)}"
        kind = dice.randrange(4)
        if kind == 0:
            limit = {"max_mem_kib": 4 * dice.randrange(64 * 256, 512 * 256)}
            return Wish(key, "PUT", f"{path}/limit", limit)
        if kind == 1:
            target = {"target_kib": 4 * dice.randrange(16 * 256, 60 * 256)}
            return Wish(key, "PUT", f"{path}/target", target)
        if kind == 2:
            amount = {"amount_kib": 4 * dice.randrange(4096)}
            return Wish(key, "PUT", f"{path}/components/device-model/rom", amount)
        step = {"by_kib": 4 * dice.randrange(1, 64)}
        return Wish(key, "POST", f"{path}/components/device-model/hotplug/increase", step)


@dataclass
class Seen:
    """What all kills together showed."""

    kills: int = 0
    confirmed: int = 0
    unsure: int = 0
    kept_unsaid: int = 0
    ready_s: list[float] = field(default_factory=list)
    agreed_s: list[float] = field(default_factory=list)


def compare(confirmed: dict[str, Answer], kept: Kept) -> None:
    """Demand that every confirmed decision is in the ledger as it was told."""
    for key, answer in confirmed.items():
        line = kept.keys.get(key)
        assert line is not None, f"confirmed and lost: {key} {answer}"
        told = (answer["uuid"], answer["revision"], answer["limit_kib"])
        assert told == (line.uuid, line.revision, line.limit_kib), key


def retry(stand: Stand, unsure: list[Wish], kept: Kept) -> int:
    """Send what was not answered again, twice; return how many of them had been kept."""
    found = 0
    with stand.client() as client:
        for wish in unsure:
            first, second = wish.send(client), wish.send(client)
            line = kept.keys.get(wish.key)
            if line is not None:
                found += 1
                assert first["replayed"], wish
                told = (first["uuid"], first["revision"], first["limit_kib"])
                assert told == (line.uuid, line.revision, line.limit_kib), wish
            if first.status in (200, 202):
                assert second["replayed"], wish
                assert (second["revision"], second["limit_kib"]) == (
                    first["revision"],
                    first["limit_kib"],
                )
    return found


def once(stand: Stand, load: Load, dice: random.Random, seen: Seen) -> None:
    """Load, kill, start again, and look at what became of it."""
    load.begin()
    time.sleep(dice.uniform(0.005, 0.3))  # the instant of the kill is the input of this test
    stand.kill()
    load.end()
    if dice.random() < 0.15:
        stand.spawn()
        time.sleep(dice.uniform(0.0, 0.7))  # and so is an instant of a start
        stand.kill()
    seen.kills += 1
    seen.ready_s.append(stand.start())
    seen.agreed_s.append(until("Xen agrees", stand.agrees, within_s=AGREED_WITHIN_S))
    kept = stand.kept()
    compare(load.confirmed, kept)
    seen.kept_unsaid += retry(stand, load.unsure, kept)
    seen.confirmed += len(load.confirmed)
    seen.unsure += len(load.unsure)
    assert load.refused <= {"limit-below-target", "target-above-static-max"}


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_kill_loses_a_confirmed_decision() -> None:
    """Confirmed is kept, unanswered is absent or replayed, and Xen agrees within a second."""
    seen, numbers = Seen(), count()
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        with Stand(GUESTS) as stand:
            stand.start()
            everything: dict[str, Answer] = {}
            for _ in range(KILLS):
                load = Load(stand, dice, numbers)
                once(stand, load, dice, seen)
                everything.update(load.confirmed)
            compare(everything, stand.kept())

    assert seen.confirmed > 5 * seen.kills
    figure("kill -9", "kills under load", seen.kills)
    figure("kill -9", "confirmed decisions, lost", f"{seen.confirmed}, 0")
    unsaid = f"{seen.unsure}, {seen.kept_unsaid} of them kept and replayed"
    figure("kill -9", "unanswered wishes", unsaid)
    figure("kill -9", "ready until Xen agrees, worst", f"{max(seen.agreed_s):.3f} s")
    middle, worst = statistics.median(seen.ready_s), max(seen.ready_s)
    figure("kill -9", "start to ready after a kill", f"{middle:.2f} s, worst {worst:.2f} s")


def test_a_stop_beside_busy_clients_loses_nothing() -> None:
    """What they were confirmed is in the database, without a file beside it."""
    with Stand(GUESTS) as stand:
        stand.start()
        load = Load(stand, random.Random(55), count())
        load.begin()
        until("there are decisions", lambda: len(load.confirmed) > 5 * CLIENTS)
        assert stand.stop() == 0
        load.end()
        assert not stand.database.with_name(f"{stand.database.name}-wal").exists()
        compare(load.confirmed, stand.kept())


@pytest.mark.soak
def test_the_daemon_is_ready_in_a_second() -> None:
    """From the start of the process to a health that says ready, on a ledger that exists.

    The second is demanded under SOAK, and of `make bench`: a short run has the machine to share.
    """
    with Stand(GUESTS) as stand:
        stand.database.unlink()
        first_s = stand.start()
        assert stand.stop() == 0
        again_s: list[float] = []
        while len(again_s) < 5 and min(again_s, default=READY_WITHIN_S) >= READY_WITHIN_S:
            again_s.append(stand.start())
            assert stand.stop() == 0
    best_s, load = min(again_s), os.getloadavg()[0]
    figure("start", "start to ready, new ledger", f"{first_s:.2f} s")
    figure("start", "start to ready, best", f"{best_s:.2f} s (load average {load:.1f})")
    assert best_s < (READY_WITHIN_S if SOAK else SHORT_RUN_READY_WITHIN_S)
