"""Debian's unmodified xl, libxl and QEMU as clients of the daemon, and the controls without."""

import time
from pathlib import Path
from statistics import median

import pytest

from tests.dom0 import interposed
from tests.dom0.daemon import Daemon
from tests.dom0.guests import SIX_NICS, SLACK_KIB, Guest
from tests.dom0.interposed import Xl, move, runs, wait_for_bios
from tests.dom0.report import Report
from tests.dom0.rig import Rig
from tests.support.figures import figure

MIB = 1024
BUMP = "/opt/rig/bump"
QEMU_COMM = "xen-qemu-system-i386"[:15]


def components(daemon: Daemon, name: str) -> dict[str, int]:
    """Return a domain's components in KiB, by owner/name."""
    found = daemon.get(f"/v1/domains/{Guest(daemon.rig, name).domid}").json()
    return {f"{part['owner']}/{part['name']}": part["amount_kib"] for part in found["components"]}


def test_six_nics(xl: Xl, daemon: Daemon, report: Report) -> None:
    """An HVM guest with six emulated NICs starts, says whose memory is whose, and is restored."""
    created = xl.create("hvm2", SIX_NICS)
    assert created.rc == 0, created.stderr
    guest = Guest(xl.rig, "hvm2")
    assert runs(guest)
    wait_for_bios(guest)
    before = components(daemon, "hvm2")
    assert before["operator/max-mem"] == 128 * MIB
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
    xl.witness.only(daemon)
    report.keep("six NICs with maxmemd", components_kib=before, restored_max_kib=guest.max_kib)


def test_six_nics_without(plain: Xl, report: Report) -> None:
    """The control: the fifth option ROM does not fit, and the domain is not created."""
    created = plain.create("hvm2", SIX_NICS)
    assert created.rc != 0
    assert plain.rig.named("hvm2") is None
    assert [write.program for write in plain.witness.writes] == ["xl"]
    log = plain.rig.run("cat /var/log/xen/qemu-dm-hvm2.log").stdout.splitlines()
    said = [line for line in log if "populate ram" in line]
    report.keep("six NICs without", exit=created.rc, device_model=said[-1] if said else "")


def test_six_nics_by_qemu_itself(plain: Xl, report: Report) -> None:
    """The control: a QEMU that raises the maximum by itself starts, and cannot be restored."""
    plain.library = bumping(plain.rig)
    plain.create("hvm2", SIX_NICS).check()
    guest = Guest(plain.rig, "hvm2")
    assert runs(guest)
    wait_for_bios(guest)
    domid, bumped = guest.domid, guest.max_kib
    assert bumped > 128 * MIB + SLACK_KIB
    assert {write.program for write in plain.witness.writes} == {"xl", QEMU_COMM}
    plain("save", "hvm2", "/tmp/hvm2.save").check()
    plain.rig.run("xl dmesg -c").check()
    restored = plain("restore", "/tmp/hvm2.save")
    plain.rig.say(f"restore: exit {restored.rc}\n{restored.stderr}")
    assert restored.rc != 0
    assert plain.rig.named("hvm2") is None
    said = [line for line in _xen_said(plain.rig) if "Over-allocation for d" in line]
    assert said, "the restore failed, and not of its maximum"
    over = said[0][said[0].index("Over-allocation") :].replace(f"d{domid + 1}:", "the domain:")
    report.keep("six NICs by QEMU itself", max_kib=bumped, exit=restored.rc, xen=over)


def bumping(rig: Rig) -> str:
    """Build, in dom0, what makes a QEMU raise the maximum by itself; return its path."""
    for name in ("bump.c", "reads.h"):
        rig.put(f"/opt/rig/{name}", Path(__file__).with_name(name).read_bytes())
    rig.run(f"gcc -O1 -Wall -Werror -shared -fPIC {BUMP}.c -o {BUMP}.so -ldl").check()
    return f"{BUMP}.so"


def _xen_said(rig: Rig) -> list[str]:
    return rig.run("xl dmesg").check().stdout.splitlines()


def test_messages_are_xls(xl: Xl, daemon: Daemon) -> None:
    """Exit codes and every line but libxl's own are the same; libxl's sentences are there."""
    xl.create("pv2").check()
    guest = Guest(xl.rig, "pv2")
    assert runs(guest)
    bare = Xl(xl.rig, "")
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
    """Return the message; libxl's file, line and errno of before are not compared."""
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
    xl.witness.begin()
    done = xl("mem-max", "pv2", 300)
    assert done.rc == 1
    assert done.stderr.count("cannot reach maxmemd at /run/maxmemd/maxmemd.sock") == 1
    assert (Guest(xl.rig, "pv2").max_kib, xl.witness.writes) == (before, [])


@pytest.mark.soak
def test_the_price(xl: Xl) -> None:
    """A mem-max that asks costs at most 1.5 times one that writes by itself."""
    xl.create("pv2").check()
    assert runs(Guest(xl.rig, "pv2"))
    xl.witness.end()
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
    figure("real Xen", "xl mem-max that asks / plain xl mem-max", f"{ratio:.2f} times")
    assert ratio <= 1.5, seconds
