"""A device model in a stub domain asks, on a real Xen: a PV guest plays it, the test libxl."""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dom0.daemon import Daemon
from tests.dom0.guests import Guest, create
from tests.dom0.machine import RigError
from tests.dom0.rig import Rig

PLACE = "/opt/rig/stubdom"
INITRD = f"{PLACE}/initrd"
LOG = "/var/log/maxmemd-relay.log"
SOURCE = Path(__file__).with_name("stubdom.c")
INIT = """#!/bin/sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/stubdom
while :; do /bin/busybox sleep 3600; done
"""
BOOTED = f'ramdisk = "{INITRD}"\nmaxmem = 128\n'
PATIENCE_S = 300
QUIET_S = 5
PAGES, MORE_PAGES, SPARE_PAGES = 1024, 64, 16
NUMBERS = itertools.count(1)


class Insider:
    """A guest that writes and reads xenstore with its own rights, on command."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig, self.guest = rig, create(rig, name, BOOTED)
        self.domid = self.guest.domid
        self.home = f"/local/domain/{self.domid}"
        within("the guest is up", lambda: self.node("data/done") == "ready")

    def node(self, path: str) -> str | None:
        """Return one of its nodes as dom0 sees it."""
        value: str | None = self.rig.xenstore("read", f"{self.home}/{path}")
        return value

    def does(self, words: str) -> str:
        """Have it do "read PATH", "write PATH VALUE" or "rm PATH"; return how it ended."""
        head = f"n{next(NUMBERS)} "
        self.rig.xenstore("write", f"{self.home}/data/do", head + words)
        within(f"the guest did {words!r}", lambda: (self.node("data/done") or "").startswith(head))
        return (self.node("data/done") or "").removeprefix(head)

    def asks(self, request: str) -> str:
        """Have it ask as a device model does; return the reply that it reads, without the ID."""
        head = request.split(" ", maxsplit=1)[0] + " "
        within("it has its nodes", lambda: self.node("maxmem/request") is not None)
        assert self.does(f"write maxmem/request {request}") == "OK "
        within("it is answered", lambda: (self.node("maxmem/reply") or "").startswith(head))
        return self.does("read maxmem/reply").removeprefix(f"OK {head}")


class Relay:
    """`maxmemd relay` in dom0."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.pid = rig, 0

    def start(self) -> None:
        """Start it."""
        self.pid = self.rig.spawn(["maxmemd", "relay"], LOG, module="maxmemd.__main__")

    def stop(self, number: int = 15) -> int:
        """End it by a signal."""
        pid, self.pid = self.pid, 0
        self.rig.kill(pid, number)
        return self.rig.wait(pid)


def within(what: str, true: Any) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise RigError(f"not within {PATIENCE_S} s: {what}")
        time.sleep(0.2)


@pytest.fixture(scope="module")
def initrd(installed: Rig) -> Rig:
    """Give the rig with the guests' initramfs: theirs of always, and what stands before it."""
    installed.put(f"{PLACE}/stubdom.c", SOURCE.read_bytes())
    installed.put(f"{PLACE}/root/init", INIT, 0o755)
    installed.run(
        f"cd {PLACE} && mkdir -p root/bin && gcc -O1 -Wall -static stubdom.c -o root/bin/stubdom"
        " && (cd root && find . | cpio --quiet -o -H newc | gzip -1) > more"
        f" && cat /opt/guest/initrd more > {INITRD}",
        timeout=300,
    ).check()
    return installed


@pytest.fixture(scope="module")
def insiders(initrd: Rig) -> Iterator[tuple[Insider, Insider]]:
    """Give a guest that will be a stub domain, and one that dom0 does not name as one."""
    found = Insider(initrd, "pv8"), Insider(initrd, "pv9")
    yield found
    for insider in found:
        insider.guest.destroy()


@pytest.fixture
def relay(installed: Rig, daemon: Daemon) -> Iterator[Relay]:
    """Give a relay that runs beside the daemon."""
    one = Relay(installed)
    one.start()
    yield one
    if one.pid:
        assert one.stop() == 0


@pytest.fixture
def stub(relay: Relay, pv1: Guest, insiders: tuple[Insider, Insider]) -> Iterator[Insider]:
    """Give the guest that is named as pv1's stub domain, for the length of a test.

    Who destroys pv1 would destroy it as well (libxl_dm.c:libxl__destroy_device_model).
    """
    rig, found = relay.rig, insiders[0]
    name_as_stub(rig, found.domid, pv1.domid)
    yield found
    rig.xenstore("rm", f"/local/domain/{pv1.domid}/image/device-model-domid")


def name_as_stub(rig: Rig, stub: int, target: int) -> None:
    """Do what libxl_dm.c:libxl__spawn_stub_dm does, as dom0, with the rights of what is above."""
    rig.xenstore("write", f"/local/domain/{target}/image/device-model-domid", str(stub))
    rig.xenstore("write", f"/local/domain/{stub}/target", str(target))


def rights(rig: Rig, path: str) -> dict[str, str]:
    """Return the rights of the nodes below a path, by name, as xenstore-ls shows them."""
    lines = rig.run(["xenstore-ls", "-f", "-p", path]).check().stdout.splitlines()
    return {line.split(" = ")[0]: line[line.rindex("(") :] for line in lines}


def test_a_stub_domain_asks(relay: Relay, daemon: Daemon, pv1: Guest, stub: Insider) -> None:
    """Granted: max_pages rises by exactly what is asked, and the history says who asked."""
    rig = daemon.rig
    reply = stub.asks(f"a1 headroom {PAGES}")
    room_kib = pv1.used_kib + (PAGES + SPARE_PAGES) * 4
    assert (reply, pv1.max_kib) == (f"granted {room_kib}", room_kib)
    reply = stub.asks(f"a2 headroom {PAGES + MORE_PAGES}")
    assert pv1.max_kib == room_kib + MORE_PAGES * 4
    rig.say(f"domain {stub.domid} of domain {pv1.domid}: {reply}")

    explained = daemon.get(f"/v1/domains/{pv1.domid}/explain").json()
    rig.say(explained["text"])
    share = next(line for line in explained["components"] if line["owner"] == "device-model")
    assert (share["name"], share["by"]["name"]) == ("populated", f"stub domain {stub.domid}")
    assert "headroom by stub domain" in daemon.ctl("explain", pv1.domid).check().stdout
    history = daemon.get(f"/v1/domains/{pv1.domid}/history").json()["entries"]
    assert [line["wish"]["pages"] for line in history if line["kind"] == "headroom"] == [
        PAGES + MORE_PAGES,
        PAGES,
    ]


def test_the_real_xenstored_keeps_the_others_out(
    daemon: Daemon, pv1: Guest, stub: Insider, insiders: tuple[Insider, Insider]
) -> None:
    """Another guest can neither write this one's request nor read its reply, nor have its own."""
    rig, (_, stranger) = daemon.rig, insiders
    within("it has its nodes", lambda: stub.node("maxmem/reply") is not None)
    found = rights(rig, f"{stub.home}/maxmem")
    rig.say(json.dumps(found))
    assert found[f"{stub.home}/maxmem/request"] == f"(n0,b{stub.domid})"
    assert found[f"{stub.home}/maxmem/reply"] == f"(n0,r{stub.domid})"
    before = pv1.max_kib
    assert stranger.does(f"write {stub.home}/maxmem/request b1 headroom 9999") == "EACCES"
    assert stranger.does(f"read {stub.home}/maxmem/reply") == "EACCES"
    assert stub.does("write maxmem/reply b1 granted 1") == "EACCES"
    assert stub.does("write target 0") == "EACCES"
    assert stranger.does(f"write target {pv1.domid}") == "EACCES"
    assert stranger.does("write maxmem/request b1 headroom 9999") == "EACCES"
    assert stranger.does("write data/maxmem/request b1 headroom 9999") == "OK "
    assert stranger.does(f"write data/target {pv1.domid}") == "OK "
    time.sleep(QUIET_S)
    assert stranger.node("maxmem") is None
    assert pv1.max_kib == before


def test_a_request_node_that_its_guest_removes(
    relay: Relay, daemon: Daemon, pv1: Guest, stub: Insider
) -> None:
    """Who may write a node may remove it: it is made again, with the same rights."""
    rig = daemon.rig
    stub.asks("c1 headroom 1")
    rig.kill(relay.pid, 19)
    assert stub.does("rm maxmem/request") == "OK "
    assert stub.does("write maxmem/request c2 headroom 9") == "EACCES"
    rig.kill(relay.pid, 18)
    assert stub.asks(f"c2 headroom {2 * PAGES}").startswith("granted ")
    assert rights(rig, f"{stub.home}/maxmem")[f"{stub.home}/maxmem/request"].startswith("(n0,b")


def test_killed_and_started_anew(relay: Relay, daemon: Daemon, pv1: Guest, stub: Insider) -> None:
    """What is asked while there is no relay is answered by the next one; what was stays so."""
    first = stub.asks(f"d1 headroom {3 * PAGES}")
    relay.stop(9)
    assert stub.does(f"write maxmem/request d2 headroom {4 * PAGES}") == "OK "
    time.sleep(QUIET_S)
    assert stub.node("maxmem/reply") == f"d1 {first}"
    relay.start()
    within("it is answered", lambda: (stub.node("maxmem/reply") or "").startswith("d2 granted "))
    assert pv1.max_kib == pv1.used_kib + (4 * PAGES + SPARE_PAGES) * 4


def test_a_stub_domain_is_destroyed_while_it_waits(
    relay: Relay, daemon: Daemon, pv1: Guest, insiders: tuple[Insider, Insider]
) -> None:
    """The answer comes for a domain that is gone: its path is not made again. This comes last."""
    rig, (stub, stranger) = daemon.rig, insiders
    name_as_stub(rig, stranger.domid, pv1.domid)
    within("it has its nodes", lambda: stranger.node("maxmem/reply") is not None)
    rig.kill(daemon.pid, 19)
    assert stranger.does(f"write maxmem/request e1 headroom {5 * PAGES}") == "OK "
    time.sleep(QUIET_S)
    stranger.guest.destroy()
    rig.kill(daemon.pid, 18)
    within("it is decided", lambda: pv1.max_kib == pv1.used_kib + (5 * PAGES + SPARE_PAGES) * 4)
    time.sleep(QUIET_S)
    assert rig.xenstore("ls", stranger.home) is None
    assert stub.home != stranger.home
