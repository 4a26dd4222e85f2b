"""The Debian package in a dom0: installed, started by systemd, blocked, power cut, removed.

One story, on a machine of its own that keeps its disk, after the one that all other tests share.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.dom0.daemon import CHECKOUT
from tests.dom0.guests import DIRECTORY, SIX_NICS, SLACK_KIB, Guest, configuration
from tests.dom0.machine import Machine
from tests.dom0.recipe import chosen
from tests.dom0.rig import SOCKET, Done, Rig
from tests.support.preload import built

MIB = 1024
PATIENCE_S = 240
STARTS_WITHIN_S = 900  # 20 s on an emulated dom0 of its own, minutes beside other load
XL = "/usr/local/sbin/xl"  # what `maxmemd-interpose install` puts before Xen's own
SAVED = "/var/lib/xen/save"
UNIT, RELAY = "maxmemd.service", "maxmemd-relay.service"
PUSHER = "maxmemd-pusher.service"
APART = "/run/maxmemd-device-model/maxmemd.sock"
APART_UNIT = "maxmemd-device-model.socket"
HANGING, HANG = "/usr/local/lib/hangsync.so", "/var/lib/maxmemd/hang"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/hang.conf"


@pytest.fixture
def dom0(tmp_path: Path, machines: list[Machine]) -> Iterator[Rig]:
    """Give a dom0 that keeps its disk over a power cut, with the package in /root."""
    build = [sys.executable, str(CHECKOUT / "deploy" / "debian" / "build.py")]
    debian = ["--debian", str(chosen().debian)]
    subprocess.run([*build, *debian, str(tmp_path)], check=True)
    for machine in machines:
        machine.stop()
    with Rig(keeps=True) as rig:
        rig.arbitrated = True
        rig.put("/root/maxmemd.deb", next(tmp_path.glob("*.deb")).read_bytes())
        rig.put(HANGING, built("hangsync", tmp_path).read_bytes(), 0o755)
        yield rig


def test_the_life_of_a_package(dom0: Rig) -> None:
    """Installed, used, blocked, upgraded, cut off from power, removed: no limit is ever lost."""
    for step in (
        installed_without_a_network,
        who_parses_holds_no_way_to_xen,
        device_models_have_a_socket,
        unmodified_xl_asks_it,
        a_blocked_pusher_is_started_anew,
        an_arbiter_that_hangs_is_started_anew,
        a_blocked_daemon_is_started_anew,
        an_upgrade_keeps_the_ledger_and_what_is_off,
        a_power_cut,
        removal_leaves_xen_alone,
    ):
        dom0.say(step.__name__.replace("_", " "))
        step(dom0)


def ctl(rig: Rig, *words: object) -> Done:
    """Run the maxmemctl of the package. On the emulated dom0 the daemon takes 20 s to start."""
    call = ["maxmemctl", "--timeout", PATIENCE_S - 10, *words]
    return rig.run(list(map(str, call)), timeout=PATIENCE_S)


def value(rig: Rig, unit: str, name: str) -> str:
    """Return what systemd knows of a unit."""
    return rig.run(["systemctl", "show", "-P", name, unit]).check().stdout.strip()


def within(wanted: Callable[[], object], expected: object) -> None:
    """Wait until `wanted` returns what is expected."""
    deadline = time.monotonic() + PATIENCE_S
    while (seen := wanted()) != expected:
        assert time.monotonic() < deadline, f"{seen} instead of {expected}"
        time.sleep(1)


def installed_without_a_network(dom0: Rig) -> None:
    """After dpkg -i the service runs, is ready, and answers on systemd's socket."""
    dom0.run("dpkg -i /root/maxmemd.deb", timeout=STARTS_WITHIN_S).check()
    assert value(dom0, UNIT, "ActiveState") == "active"
    dom0.say(dom0.run(["systemctl", "status", "--no-pager", UNIT]).stdout)
    assert value(dom0, RELAY, "ActiveState") == "active"
    assert value(dom0, RELAY, "NRestarts") == "0"
    listening = dom0.run(["stat", "-c", "%a %U %G", SOCKET]).check().stdout
    assert listening == "660 root maxmemd\n"
    health = json.loads(ctl(dom0, "health", "--json").stdout)
    assert health["live"] is True
    host = json.loads(ctl(dom0, "info", "--json").check().stdout)
    assert host["simulated"] is False


def who_parses_holds_no_way_to_xen(dom0: Rig) -> None:
    """Check that the daemon runs unprivileged and without a device; the pusher has the handle."""
    daemon, pusher = value(dom0, UNIT, "MainPID"), value(dom0, PUSHER, "MainPID")
    assert dom0.run(["stat", "-c", "%U", f"/proc/{daemon}"]).check().stdout == "maxmemd\n"
    # a descriptor that is closed while they are listed is an error to ls, and to find without this
    look = "find /proc/{}/fd -ignore_readdir_race -type l -printf '%l\\n'"
    held = {pid: dom0.run(look.format(pid)).check().stdout for pid in (daemon, pusher)}
    assert "/var/lib/maxmemd/ledger.sqlite" in held[daemon]
    assert "/dev/xen" not in held[daemon]
    assert "/dev/xen/privcmd" in held[pusher] or "/dev/xen/hypercall" in held[pusher]
    said = dom0.run(f"systemd-analyze security --no-pager {UNIT} {PUSHER}").check().stdout
    scores = [line for line in said.splitlines() if "Overall exposure" in line]
    for line in scores:
        dom0.say(line)
    assert len(scores) == 2
    assert all(float(line.split(": ")[1].split()[0]) <= 1.0 for line in scores)


def a_blocked_pusher_is_started_anew(dom0: Rig) -> None:
    """Stop the pusher dead: its own watchdog kills it, the daemon stays, and who asks waits."""
    daemon, pusher = value(dom0, UNIT, "MainPID"), value(dom0, PUSHER, "MainPID")
    dom0.run(f"kill -STOP {pusher}").check()
    began = time.monotonic()

    def raw() -> tuple[int, str]:
        path, body = "/v1/domains/hvm1/limit", {"max_mem_kib": 160 * MIB}
        reply = dom0.http("PUT", path, body, timeout=PATIENCE_S)
        dom0.say(f"without maxmemctl: {reply.status} after {time.monotonic() - began:.0f} s")
        return reply.status, reply.body

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(raw)
        a_pause_only(dom0, lambda: ctl(dom0, "mem-max", "pv1", 205))
    status, said = asked.result()
    assert status == 200 or '"arbiter-busy"' in said, said
    assert value(dom0, PUSHER, "MainPID") not in ("0", pusher)
    assert value(dom0, UNIT, "MainPID") == daemon
    assert Guest(dom0, "pv1").max_kib == 205 * MIB + SLACK_KIB


def a_pause_only(dom0: Rig, asks: Callable[[], Done]) -> None:
    """Demand that one call does what it is to do, and says at most what it waits for."""
    began = time.monotonic()
    done = asks().check()
    dom0.say(f"{done.command}: a pause of {time.monotonic() - began:.0f} s; {done.stderr.strip()}")
    assert all(": waiting for maxmemd at " in line for line in done.stderr.splitlines()), done


def device_models_have_a_socket(dom0: Rig) -> None:
    """Check that systemd holds it, it serves only device models, and an upgrade starts it."""
    stat = ["stat", "-c", "%a %U", APART, str(Path(APART).parent)]
    assert dom0.run(stat).check().stdout == "666 root\n700 root\n"
    refused = dom0.http("GET", "/v1/health", sock=APART, timeout=PATIENCE_S)
    assert (refused.status, refused.json()["code"]) == (403, "not-allowed")
    dom0.run(["systemctl", "stop", APART_UNIT]).check()  # as before it was shipped
    dom0.run(["rm", "-r", str(Path(APART).parent)]).check()
    dom0.run("dpkg -i /root/maxmemd.deb", timeout=STARTS_WITHIN_S).check()
    assert dom0.run(stat).check().stdout == "666 root\n700 root\n"
    before = dom0.run(["stat", "-c", "%i", APART]).check().stdout
    dom0.run(["systemctl", "restart", UNIT], timeout=STARTS_WITHIN_S).check()
    assert dom0.run(["stat", "-c", "%i", APART]).check().stdout == before
    assert dom0.http("GET", "/v1/health", sock=APART, timeout=PATIENCE_S).status == 403


def unmodified_xl_asks_it(dom0: Rig) -> None:
    """With the library installed a guest with six emulated NICs runs, and mem-max is recorded."""
    dom0.run("maxmemd-interpose install").check()
    conf = "/etc/maxmemd/interpose.conf"
    dom0.run(f"echo busy_ms = {(PATIENCE_S - 10) * 1000} >> {conf}").check()
    dom0.put(f"{DIRECTORY}/hvm1.cfg", configuration("hvm1", SIX_NICS))
    dom0.put(f"{DIRECTORY}/pv1.cfg", configuration("pv1"))
    dom0.run([XL, "create", f"{DIRECTORY}/hvm1.cfg"], timeout=240).check()
    dom0.run([XL, "create", f"{DIRECTORY}/pv1.cfg"], timeout=240).check()
    shown = json.loads(ctl(dom0, "components", "hvm1", "--json").check().stdout)
    assert "populated" in json.dumps(shown)
    dom0.run([XL, "mem-max", "pv1", "200"]).check()
    assert Guest(dom0, "pv1").max_kib == 200 * MIB + SLACK_KIB
    assert value(dom0, UNIT, "NRestarts") == "0"


def an_arbiter_that_hangs_is_started_anew(dom0: Rig) -> None:
    """Let its thread hang in a sync: the watchdog kills it, maxmemctl and xl see a pause."""
    hanging = f"[Service]\nEnvironment=LD_PRELOAD={HANGING} HANG_SYNC={HANG}\n"
    dom0.put(DROP_IN, hanging)
    dom0.run(
        f"systemctl daemon-reload && systemctl restart {UNIT}", timeout=STARTS_WITHIN_S
    ).check()
    wishes: list[tuple[int, Callable[[], Done]]] = [
        (206, lambda: ctl(dom0, "mem-max", "pv1", 206)),
        (208, lambda: dom0.run([XL, "mem-max", "pv1", "208"])),
    ]
    for mib, asks in wishes:
        restarts, kills = int(value(dom0, UNIT, "NRestarts")), watchdog_kills(dom0)
        dom0.run(["touch", HANG]).check()
        a_pause_only(dom0, asks)
        assert Guest(dom0, "pv1").max_kib == mib * MIB + SLACK_KIB
        assert dom0.run(["test", "-e", HANG]).rc == 1
        assert int(value(dom0, UNIT, "NRestarts")) == restarts + 1
        assert watchdog_kills(dom0) == kills + 1
    dom0.run(f"rm {DROP_IN} && systemctl daemon-reload").check()


def watchdog_kills(dom0: Rig) -> int:
    """Return how often the journal says that the daemon's watchdog had it killed."""
    journal = dom0.run(["journalctl", "--no-pager", "-o", "cat", "-u", UNIT]).check().stdout
    return journal.count("Watchdog timeout (limit 10s)!")


def a_blocked_daemon_is_started_anew(dom0: Rig) -> None:
    """Stop it dead, all of it: who asks meanwhile waits in systemd's socket and is answered."""
    before, restarts = value(dom0, UNIT, "MainPID"), int(value(dom0, UNIT, "NRestarts"))
    dom0.run(f"kill -STOP {before}").check()
    began = time.monotonic()
    path, body = "/v1/domains/pv1/limit", {"max_mem_kib": 210 * MIB}
    reply = dom0.http("PUT", path, body, timeout=PATIENCE_S)
    dom0.say(f"the request waited {time.monotonic() - began:.0f} s")
    assert reply.status == 200, reply.body
    assert value(dom0, UNIT, "MainPID") != before
    assert int(value(dom0, UNIT, "NRestarts")) == restarts + 1
    assert Guest(dom0, "pv1").max_kib == 210 * MIB + SLACK_KIB


def an_upgrade_keeps_the_ledger_and_what_is_off(dom0: Rig) -> None:
    """Installing again restarts the daemon on the same ledger; no limit moves, no unit comes up."""
    dom0.run(
        [XL, "destroy", "hvm1"]
    ).check()  # its firmware looks for a disk, for ever, and dpkg waits
    dom0.run(f"systemctl disable --now {RELAY} && systemctl mask --now {APART_UNIT}").check()
    before, daemon = ctl(dom0, "history", "pv1").check().stdout, value(dom0, UNIT, "MainPID")
    dom0.run("dpkg -i /root/maxmemd.deb", timeout=STARTS_WITHIN_S).check()
    assert value(dom0, UNIT, "MainPID") not in ("0", daemon)
    assert ctl(dom0, "history", "pv1").check().stdout == before
    assert Guest(dom0, "pv1").max_kib == 210 * MIB + SLACK_KIB
    for unit, state in ((RELAY, "disabled"), (APART_UNIT, "masked")):
        assert value(dom0, unit, "ActiveState") == "inactive"
        assert dom0.run(["systemctl", "is-enabled", unit]).stdout.strip() == state
    dom0.run(f"systemctl unmask {APART_UNIT} && systemctl enable {RELAY}").check()


def a_power_cut(dom0: Rig) -> None:
    """After a hard reboot the limits are in force before xendomains brings the first guest back.

    dom0 boots with more memory than its recorded max-mem: it is not lowered below what it holds.
    """
    guest = Guest(dom0, "pv1")
    ctl(dom0, "mem-max", 0, 1040).check()
    uuid = guest.uuid
    dom0.run([XL, "mem-max", "pv1", "220"]).check()
    dom0.run(f"mkdir -p {SAVED} && {XL} save pv1 {SAVED}/pv1 && sync", timeout=240).check()
    dom0.run("systemctl unmask xendomains && systemctl enable xendomains && sync").check()
    dom0.power_cut(dom0_mem="1200M,max:1200M")
    within(lambda: value(dom0, UNIT, "ActiveState"), "active")
    within(lambda: value(dom0, "xendomains.service", "ActiveState"), "active")
    ready = int(value(dom0, UNIT, "ActiveEnterTimestampMonotonic"))
    first = int(value(dom0, "xendomains.service", "InactiveExitTimestampMonotonic"))
    assert 0 < ready <= first
    assert value(dom0, APART_UNIT, "ActiveState") == value(dom0, RELAY, "ActiveState") == "active"
    dom0_info = dom0.domains()[0]
    assert dom0_info["maxmem_kb"] >= dom0_info["mem_kb"] > 1100 * MIB
    assert guest.uuid == uuid
    assert guest.max_kib == 220 * MIB + SLACK_KIB
    kinds = json.loads(ctl(dom0, "history", "pv1", "--json").check().stdout)
    assert "restored" in json.dumps(kinds)


def removal_leaves_xen_alone(dom0: Rig) -> None:
    """Remove the package, which moves no limit; purge it, which removes the ledger."""
    guest = Guest(dom0, "pv1")
    before = guest.max_kib
    dom0.run("dpkg -r maxmemd", timeout=120).check()
    assert guest.max_kib == before
    assert dom0.run(["test", "-e", XL]).rc == 1
    assert dom0.run("test -s /var/lib/maxmemd/ledger.sqlite").rc == 0
    assert dom0.run(["xl", "mem-max", "pv1", "230"]).rc == 0
    said = dom0.run("dpkg -P maxmemd", timeout=120).check().stdout
    assert "removing the ledger" in said
    assert dom0.run("test -e /var/lib/maxmemd").rc == 1
    assert dom0.run("test -e /usr/lib/maxmemd").rc == 1
