"""Debian's unmodified xl, libxl and QEMU as clients of the daemon, and the controls without."""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import pytest

from tests.xen import interposed
from tests.xen.daemon import Daemon
from tests.xen.guests import SLACK_KIB, WHOLE, Guest
from tests.xen.interposed import Xl
from tests.xen.machine import RigError
from tests.xen.report import Report
from tests.xen.rig import Rig

MIB = 1024
SIX_NICS = "maxmem = 128\ndevice_model_args_hvm = [" + ", ".join(['"-device", "e1000"'] * 6) + "]\n"
"""maxmem is memory: xl cannot restore a guest that populates on demand, with us or without."""
RUNS_WITHIN_S = 90
BOOTS_IN_MIB = 480  # of 512: a guest that needs more as it boots dies of its PoD pool
SETTLES_IN_S = 15  # a guest that was moved says no more in xenstore that it can be suspended


@pytest.fixture(scope="module")
def library(installed: Rig) -> Rig:
    """Give the rig with the library in dom0."""
    interposed.install(installed)
    return installed


@pytest.fixture
def xl(library: Rig, daemon: Daemon) -> Iterator[Xl]:
    """Give an xl that asks, with the daemon there, and no guest of these tests."""
    for name in ("hvm2", "pvh2", "pv2"):
        library.run(f"xl destroy {name} 2>/dev/null; true")
    ours = Xl(library)
    ours.forget()
    yield ours
    for name in ("hvm2", "pvh2", "pv2"):
        library.run(f"xl destroy {name} 2>/dev/null; true")


@pytest.fixture
def plain(library: Rig, daemon: Daemon) -> Iterator[Xl]:
    """Give an xl as it is, while no daemon runs: the control."""
    daemon.stop()
    theirs = Xl(library, asks=False)
    theirs.forget()
    yield theirs
    for name in ("hvm2", "pvh2", "pv2"):
        library.run(f"xl destroy {name} 2>/dev/null; true")


def components(daemon: Daemon, name: str) -> dict[str, int]:
    """Return a domain's components in KiB, by owner/name."""
    found = daemon.get(f"/v1/domains/{Guest(daemon.rig, name).domid}").json()
    return {f"{part['owner']}/{part['name']}": part["amount_kib"] for part in found["components"]}


def boots(xl: Xl, name: str, extra: str = "") -> Guest:
    """Create a guest that runs: under emulation a PVH one sometimes dies as it boots."""
    guest = Guest(xl.rig, name)
    for _ in range(3):
        xl.create(name, extra).check()
        if runs(guest):
            return guest
        xl.rig.say(f"{name} died as it booted")
        guest.destroy()
    raise RigError(f"{name} has died three times as it booted")


def runs(guest: Guest) -> bool:
    """Whether the guest runs: not paused, not shut down; a Linux one can be suspended by now."""
    deadline = time.monotonic() + RUNS_WITHIN_S
    while time.monotonic() < deadline:
        if guest.rig.named(guest.name) is None:
            return False
        info: dict[str, Any] = guest.info
        node = f"/local/domain/{guest.domid}/control/feature-suspend"
        is_up = guest.kind == "hvm" or guest.rig.xenstore("read", node) == "1"
        if is_up and not (info["paused"] or info["shutdown"] or info["dying"]):
            return True
        time.sleep(0.5)
    return False


def move(xl: Xl, name: str, how: str) -> None:
    """Save and restore a guest, or migrate it live to this very host."""
    if how == "restore":
        xl("save", name, f"/tmp/{name}.save").check()
        xl("restore", f"/tmp/{name}.save").check()
        return
    xl.rig.put("/tmp/localsh", '#!/bin/sh\nshift\nexec "$@"\n', 0o755)
    xl("migrate", "-s", "/tmp/localsh", name, "localhost").check()


def test_six_nics(xl: Xl, daemon: Daemon, report: Report) -> None:
    """An HVM guest with six emulated NICs starts, says whose memory is whose, and is restored."""
    created = xl.create("hvm2", SIX_NICS)
    assert created.rc == 0, created.stderr
    guest = Guest(xl.rig, "hvm2")
    assert runs(guest)
    before = components(daemon, "hvm2")
    assert before["operator/limit"] == 128 * MIB
    assert before["toolstack/slack"] == SLACK_KIB
    assert 2 * 256 <= before["device-model/populated"] <= 4 * 256
    assert guest.max_kib == sum(before.values())
    explained = daemon.get(f"/v1/domains/{guest.domid}/explain").json()
    assert f"device-model/populated {before['device-model/populated']} " in explained["text"]
    xl.rig.say(explained["text"])

    for how in ("restore", "migrate"):
        old = guest.domid
        xl.rig.say(f"{how}: tot {guest.used_kib} max {guest.max_kib}")
        move(xl, "hvm2", how)
        assert guest.domid != old
        assert runs(guest)
        assert components(daemon, "hvm2") == before
        assert guest.max_kib == sum(before.values())
    assert xl.writes == []
    report.keep("six NICs with maxmemd", components_kib=before, restored_max_kib=guest.max_kib)


def test_six_nics_without(plain: Xl, report: Report) -> None:
    """The control: the fifth option ROM does not fit, and the domain is not created."""
    created = plain.create("hvm2", SIX_NICS)
    assert created.rc != 0
    assert plain.rig.named("hvm2") is None
    assert [line.split()[0] for line in plain.writes] == ["xl"]
    log = plain.rig.run("cat /var/log/xen/qemu-dm-hvm2.log").stdout.splitlines()
    said = [line for line in log if "populate ram" in line]
    report.keep("six NICs without", exit=created.rc, device_model=said[-1] if said else "")


def test_a_limit_lives_on(xl: Xl, daemon: Daemon, report: Report) -> None:
    """mem-max 512 outlives save, restore, live migration and a reboot from inside the guest."""
    guest = boots(xl, "pvh2", WHOLE)
    xl("mem-max", "pvh2", 512).check()
    wanted = 512 * MIB + SLACK_KIB
    assert guest.max_kib == wanted
    for how in ("restore", "migrate"):
        old = guest.domid
        move(xl, "pvh2", how)
        assert guest.domid != old
        assert (how, guest.max_kib) == (how, wanted)
        time.sleep(SETTLES_IN_S)
        assert not guest.info["paused"]
    xl("mem-set", "pvh2", BOOTS_IN_MIB).check()
    xl("mem-max", "pvh2", 512).check()
    old = guest.domid
    xl("reboot", "pvh2").check()
    deadline = time.monotonic() + 120
    while xl.rig.named("pvh2") in (None, old) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert guest.domid != old
    assert runs(guest)
    assert guest.max_kib == wanted
    kinds = daemon.get(f"/v1/domains/{guest.domid}/history?limit=100").json()["entries"]
    builds = [line["wish"]["life"] for line in reversed(kinds) if line["kind"] == "build"]
    assert builds == ["created", "restored", "migrated-in", "created"]
    assert not [line for line in kinds if line["kind"] == "drift"]
    assert xl.writes == []
    report.keep("a limit with maxmemd", limit_mib=512, builds=builds, max_kib=guest.max_kib)


def test_a_limit_is_lost_without(plain: Xl, report: Report) -> None:
    """The control: the next restore forgets it."""
    plain.create("pv2").check()
    guest = Guest(plain.rig, "pv2")
    assert runs(guest)
    plain("mem-max", "pv2", 512).check()
    assert guest.max_kib == 512 * MIB + SLACK_KIB
    before = guest.max_kib
    move(plain, "pv2", "restore")
    assert guest.max_kib == 128 * MIB + SLACK_KIB
    report.keep("a limit without", limit_mib=512, before_kib=before, after_kib=guest.max_kib)


def test_messages_are_xls(xl: Xl, daemon: Daemon) -> None:
    """Exit codes and every line but libxl's own are the same; libxl's sentences are there."""
    xl.create("pv2").check()
    guest = Guest(xl.rig, "pv2")
    assert runs(guest)
    bare = Xl(xl.rig, asks=False)
    daemon.stop()
    commands = [
        ("mem-max", "pv2", 10), ("mem-set", "pv2", 9999), ("mem-max", 30999, 10),
        ("mem-set", 30999, 10), ("mem-max", "nosuch", 10), ("mem-max", "pv2", "abc"),
    ]  # fmt: skip
    theirs = [bare(*words) for words in commands]
    daemon.start()
    for words, xls in zip(commands, theirs, strict=True):
        done = xl(*words)
        xl.rig.say(f"{words}:\n{xls.stderr}--\n{done.stderr}")
        assert (done.rc, done.stdout) == (xls.rc, xls.stdout), words
        assert _lines(done.stderr) == _lines(xls.stderr), words


def _lines(text: str) -> list[str]:
    """Return what is said; libxl's file, line and errno of before are not compared."""
    said = []
    for line in text.splitlines():
        words = line.split(": ")
        said.append(": ".join([*words[:2], *words[3:4]]) if words[0] == "libxl" else line)
    return said


def test_an_absent_daemon_is_named(xl: Xl, daemon: Daemon) -> None:
    """The command fails with one line that names socket and service, and Xen is not touched."""
    xl.create("pv2").check()
    before = Guest(xl.rig, "pv2").max_kib
    daemon.stop()
    done = xl("mem-max", "pv2", 300)
    assert done.rc == 1
    assert done.stderr.count("cannot reach maxmemd at /run/maxmemd/maxmemd.sock") == 1
    assert (Guest(xl.rig, "pv2").max_kib, xl.writes) == (before, [])


@pytest.mark.soak  # a ratio of times, which a busy machine disturbs
def test_the_price(xl: Xl) -> None:
    """A mem-max that asks costs at most 1.5 times one that writes by itself."""
    xl.create("pv2").check()
    assert runs(Guest(xl.rig, "pv2"))
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for asks in (False, True) * 10:
        env = f"LD_PRELOAD={interposed.LIBRARY if asks else ''}"
        script = f"for i in 1 2 3 4 5; do {env} xl mem-max pv2 $((256 + i)); done"
        began = time.monotonic()
        xl.rig.run(script, timeout=200).check()
        seconds[asks].append((time.monotonic() - began) / 5)
    best, middle = (
        {asks: pick(taken) for asks, taken in seconds.items()} for pick in (min, median)
    )
    ratio = best[True] / best[False]
    xl.rig.say(
        f"mem-max: plain {best[False]:.3f} s, asking {best[True]:.3f} s: {ratio:.2f};"
        f" of the medians {middle[True] / middle[False]:.2f}"
    )
    assert ratio <= 1.5, seconds
