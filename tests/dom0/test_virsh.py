"""libvirt, unmodified, as a client; install.sh and doctor where they are meant to be used.

libvirtd does not start on the CPU of the other tests, so this has a machine of its own, which
boots when theirs is off: the last module. Only PV guests run on it.
"""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dom0 import daemon as maxmemd
from tests.dom0.daemon import CHECKOUT, Daemon
from tests.dom0.guests import SLACK_KIB, Guest
from tests.dom0.machine import Machine
from tests.dom0.rig import Done, Rig
from tests.dom0.witness import Witness

pytestmark = pytest.mark.soak  # a second machine to boot

MIB = 1024
PLACE = "/root/interpose"
HEALED_WITHIN_S = 30
CROWD = {f"crowd{number}": 80 * MIB + 256 * number for number in range(20)}
"""KiB of each guest of a crowd, which a kernel fits into (libxl builds none in less than 79 MiB),
and all of them into the machine: no two have the same."""
CROWD_WITHIN_S = 1200
VIRSH = ("virsh", "--keepalive-interval", "0", "-c", "xen:///system")
"""Twenty of them at once are slow to start here: libvirt would take them for dead."""
DOMAIN = """<domain type='xen'>
  <name>{name}</name>
  <memory unit='KiB'>{static_max}</memory>
  <currentMemory unit='KiB'>{target}</currentMemory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='xenpv'>linux</type>
    <kernel>/opt/guest/vmlinuz</kernel>
    <initrd>/opt/guest/initrd</initrd>
    <cmdline>console=hvc0 quiet</cmdline>
  </os>
  <on_poweroff>destroy</on_poweroff>
  <on_crash>destroy</on_crash>
</domain>
"""


@pytest.fixture(scope="module")
def westmere(machines: list[Machine]) -> Iterator[Daemon]:
    """Give maxmemd on a machine that libvirtd starts on, with what install.sh needs beside it."""
    for machine in machines:
        machine.stop()
    with Rig(cpu="Westmere") as rig:
        maxmemd.install(rig)
        _put_library(rig)
        rig.run("echo keepalive_interval = -1 >>/etc/libvirt/libvirtd.conf").check()
        rig.put(
            "/root/virt1.xml", DOMAIN.format(name="virt1", static_max=256 * MIB, target=128 * MIB)
        )
        service = Daemon(rig)
        service.start()
        yield service


def _put_library(rig: Rig) -> None:
    """Build the library on this side: dom0 has no make, as many have not."""
    sources = CHECKOUT / "deploy" / "interpose"
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["make", "-s", "-C", str(sources), f"OUT={place}"], check=True)
        library = Path(place) / "libmaxmem-interpose.so"
        for path in (library, sources / "install.sh", sources / "interpose.conf"):
            rig.put(f"{PLACE}/{path.name}", path.read_bytes(), 0o755)


def use(rig: Rig, verb: str) -> Guest:
    """Install or remove the library, restart libvirtd, and let it create a guest."""
    said = rig.run(f"sh {PLACE}/install.sh {verb}").check().stdout
    rig.say(said)
    rig.run("systemctl restart libvirtd", timeout=300).check()
    virsh(rig, "destroy", "virt1")
    Witness(rig).begin()
    virsh(rig, "create", "/root/virt1.xml").check()
    return Guest(rig, "virt1")


def virsh(rig: Rig, *words: str) -> Done:
    """Run virsh to its end, whatever its end."""
    return rig.run([*VIRSH, *words], timeout=240)


def strangers(service: Daemon) -> list[tuple[str, int, int]]:
    """Return who else set a maximum: program, domid and KiB each."""
    found = Witness(service.rig).others(service)
    return [(write.program, write.domid, write.kib) for write in found]


def doctor(service: Daemon) -> tuple[set[str], list[dict[str, Any]]]:
    """Return the programs without the library, and the domains whose maximum others wrote."""
    found = json.loads(service.ctl("doctor", "--json").stdout)
    programs = {Path(each["program"].split()[0]).name for each in found["loose"]}
    return programs, found["drifts"]


def test_libvirt_asks(westmere: Daemon) -> None:
    """All that virsh create, setmaxmem and setmem want is the daemon's doing, refusals too."""
    rig = westmere.rig
    guest = use(rig, "install")
    path = f"/v1/domains/{guest.domid}"
    assert guest.max_kib == 128 * MIB + SLACK_KIB
    virsh(rig, "setmaxmem", "virt1", "400M", "--live").check()
    assert (guest.max_kib, guest.static_max_kib) == (400 * MIB + SLACK_KIB, 400 * MIB)
    virsh(rig, "setmem", "virt1", "100M", "--live").check()
    assert (guest.max_kib, guest.target_kib) == (100 * MIB + SLACK_KIB, 100 * MIB)
    low = virsh(rig, "setmaxmem", "virt1", "50M", "--live")
    rig.say(f"setmaxmem below the target: exit {low.rc} {low.stderr}")
    assert guest.max_kib == 100 * MIB + SLACK_KIB

    lines = westmere.get(f"{path}/history?limit=20").json()["entries"]
    asked = ("build-announced", "mem-max", "mem-set")
    assert [line["kind"] for line in lines if line["kind"] in asked] == [
        "mem-set", "mem-max", "build-announced",
    ]  # fmt: skip
    refused = next(line["wish"] for line in lines if line["kind"] == "refused")
    assert refused["code"] == "limit-below-target"
    assert {50 * MIB, 100 * MIB} <= set(refused["numbers"].values())
    assert not [line for line in lines if line["kind"] == "drift"]
    assert "libvirtd" not in doctor(westmere)[0]

    rig.run("[ $(command -v xl) = /usr/local/sbin/xl ] && xl mem-max virt1 300").check()
    assert guest.max_kib == 300 * MIB + SLACK_KIB
    Witness(rig).only(westmere)


def test_a_crowd_of_builds(westmere: Daemon) -> None:
    """Libvirtd creates and destroys twenty guests at once: each build is announced as its own."""
    rig = westmere.rig
    use(rig, "install")
    virsh(rig, "destroy", "virt1").check()
    for name, kib in CROWD.items():
        domain = DOMAIN.format(name=name, static_max=kib + 8 * MIB, target=kib)
        rig.put(f"/root/{name}.xml", domain)
    Witness(rig).begin()
    began = time.monotonic()
    _all_at_once(rig, "create --paused /root/{}.xml")
    rig.say(f"{len(CROWD)} guests created in {time.monotonic() - began:.0f} s")
    for name, kib in CROWD.items():
        guest = Guest(rig, name)
        assert guest.max_kib == kib + SLACK_KIB
        lines = westmere.get(f"/v1/domains/{guest.domid}/history?limit=20").json()["entries"]
        asked = [line["wish"] for line in lines if line["kind"] in ("build-announced", "mem-max")]
        wishes = [(wish.get("life"), wish.get("target_kib")) for wish in asked]
        assert wishes == [("created", kib)], name
    Witness(rig).only(westmere)
    _all_at_once(rig, "destroy {}")
    assert [name for name in CROWD if rig.named(name) is not None] == []


def _all_at_once(rig: Rig, words: str) -> None:
    """Run one virsh for each guest of the crowd, all at once; demand that each succeeds."""
    one = " ".join((*VIRSH, words))
    commands = "".join(
        f"( {one.format(name)} || echo {name} >>/root/failed ) &\n" for name in CROWD
    )
    script = f"rm -f /root/failed\n{commands}wait\n! cat /root/failed 2>/dev/null"
    rig.run(script, timeout=CROWD_WITHIN_S).check()


def test_doctor_finds_who_does_not_ask(westmere: Daemon) -> None:
    """Without the library libvirtd writes by itself; doctor names it, and the domain."""
    rig = westmere.rig
    guest = use(rig, "remove")
    assert rig.run(["test", "-e", "/usr/local/sbin/xl"]).rc != 0
    name, domid = "virt1", guest.domid
    assert strangers(westmere) == [("libvirtd", domid, 128 * MIB + SLACK_KIB)]
    _settle(westmere, guest)
    virsh(rig, "setmaxmem", name, "400M", "--live").check()
    assert strangers(westmere)[-1] == ("libvirtd", domid, 400 * MIB + SLACK_KIB)
    _settle(westmere, guest)
    assert guest.max_kib == 128 * MIB + SLACK_KIB
    programs, drifts = doctor(westmere)
    assert "libvirtd" in programs
    drift = next(each for each in drifts if each["uuid"] == guest.uuid)
    assert drift["name"] == name
    assert (drift["seen_pages"], drift["wanted_pages"]) == (401 * 256, 129 * 256)
    assert westmere.ctl("doctor").rc == 1


def _settle(service: Daemon, guest: Guest) -> None:
    """Wait until the daemon knows the guest runs, and has put its maximum back."""
    deadline = time.monotonic() + HEALED_WITHIN_S
    while time.monotonic() < deadline:
        found = service.get(f"/v1/domains/{guest.domid}").json()
        if found.get("limit_kib") == guest.max_kib and guest.used_kib > 64 * MIB:
            return
        time.sleep(1)
