"""Many unmodified writers at once: mem-max, mem-set and device models on five domains."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.dom0 import interposed
from tests.dom0.daemon import Daemon
from tests.dom0.guests import Guest, create
from tests.dom0.interposed import LIBRARY
from tests.dom0.report import Report
from tests.dom0.rig import Done, Rig
from tests.dom0.witness import Witness

NAMES = [f"pv{number}" for number in range(3, 8)]
EACH = 100
BUMPS = 200
PLACE = "/opt/rig/races"


@pytest.fixture(scope="module")
def domids(installed: Rig) -> Iterator[list[int]]:
    """Give five running guests, and the program in dom0."""
    interposed.install(installed)
    for name in ("races.c", "reads.h"):
        installed.put(f"{PLACE}/{name}", Path(__file__).with_name(name).read_bytes())
    build = f"cd {PLACE} && gcc -O1 -Wall races.c -o races -lxenlight -lxenctrl -lxentoollog"
    installed.run(f"{build} && cp races qemu-races", timeout=120).check()
    guests = [create(installed, name, "memory = 128\nmaxmem = 320\n") for name in NAMES]
    yield [guest.domid for guest in guests]
    for guest in guests:
        guest.destroy()


def race(rig: Rig, program: str, mode: str, count: int, domids: list[int], *, asks: bool) -> Done:
    """Let one writer a domain do its count of writes."""
    argv = [f"{PLACE}/{program}", mode, str(count), *map(str, domids)]
    return rig.run(argv, timeout=900, env={"LD_PRELOAD": LIBRARY if asks else ""})


def test_no_component_is_lost(daemon: Daemon, domids: list[int], report: Report) -> None:
    """2,000 calls at once: each device model's increases all count, and the last wish stands."""
    rig = daemon.rig
    witness = Witness(rig)
    witness.begin()
    modes = [("races", "max", EACH), ("races", "set", EACH)]
    modes += [("qemu-races", "bump", BUMPS // 2)] * 2
    began = time.monotonic()
    with ThreadPoolExecutor(len(modes)) as pool:
        runs = [pool.submit(race, rig, *mode, domids, asks=True) for mode in modes]
        ends = [run.result() for run in runs]
    calls = sum(count for _, _, count in modes) * len(domids)
    rig.say(f"{calls} calls in {time.monotonic() - began:.0f} s")
    assert calls == 2000
    assert [done.stdout for done in ends] == ["0 failed\n"] * 4, [done.stderr for done in ends]
    for domid in domids:
        found = daemon.get(f"/v1/domains/{domid}").json()
        amounts = {part["name"]: part["amount_kib"] for part in found["components"]}
        assert amounts["populated"] == BUMPS * 4
        assert found["xen"]["max_pages"] * 4 == sum(amounts.values())
        lines = daemon.get(f"/v1/domains/{domid}/history?limit=10").json()["entries"]
        assert not [line for line in lines if line["kind"] == "drift"]
    pushes = witness.only(daemon)
    report.keep(
        "increases with maxmemd",
        calls=calls, writers=len(modes), guests=len(domids), lost=0, pushes=pushes, strangers=0,
    )  # fmt: skip


def test_without_updates_are_lost(daemon: Daemon, domids: list[int], report: Report) -> None:
    """The control: read-modify-writes of several processes at once overwrite each other."""
    rig = daemon.rig
    daemon.stop()
    one = domids[0]
    guest = Guest(rig, NAMES[0])
    before = guest.max_kib
    done = race(rig, "qemu-races", "bump", BUMPS * 5, [one] * 4, asks=False)
    assert done.stdout == "0 failed\n", done.stderr
    lost = before + BUMPS * 5 * 4 * 4 - guest.max_kib
    rig.say(f"without us {lost // 4} of {BUMPS * 5 * 4} increases were lost")
    assert lost > 0
    report.keep("increases without", writers=4, increases=BUMPS * 5 * 4, lost=lost // 4)
