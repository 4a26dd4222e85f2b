"""Device models that are not root: locked into a root of their own, as the uid of their domain."""

import time
from collections.abc import Iterator

import pytest

from tests.dom0 import interposed
from tests.dom0.daemon import Daemon
from tests.dom0.guests import Guest
from tests.dom0.interposed import Xl
from tests.dom0.rig import Done, Rig

BASE = 300_000
APART = "/run/maxmemd-device-model/maxmemd.sock"
SPARE_PAGES = 16  # what headroom leaves free besides
PAGES = 1024
QUIET_S, SETTLES_WITHIN_S = 10, 120
RESTRICTED = "maxmem = 128\ndm_restrict = 1\n"
"""maxmem is memory: no page is populated on demand, and tot_pages says what is there."""
QEMU = "/usr/libexec/xen-qemu-system-i386"
OVERRIDE = "/opt/rig/qemu-with-hypercalls"
WITH_HYPERCALLS = f"""#!/bin/bash
for word in "$@"; do [ "$word" = -xen-domid-restrict ] || words+=("$word"); done
exec {QEMU} "${{words[@]}}"
"""


@pytest.fixture(scope="module")
def library(installed: Rig) -> Rig:
    """Give the rig with the library in dom0, and the user that device models' uids begin at."""
    interposed.install(installed)
    user = f"useradd -u {BASE} -M -s /usr/sbin/nologin xen-qemuuser-range-base"
    installed.run(f"id xen-qemuuser-range-base 2>/dev/null || {user}").check()
    installed.put(OVERRIDE, WITH_HYPERCALLS, 0o755)
    return installed


@pytest.fixture
def ready(library: Rig, daemon: Daemon) -> Iterator[Daemon]:
    """Give the daemon, started since there is that user, and no guest of these tests."""
    library.run("xl destroy hvm2 2>/dev/null; true")
    daemon.restart()
    yield daemon
    library.run("xl destroy hvm2 2>/dev/null; true")


@pytest.fixture
def xl(ready: Daemon) -> Xl:
    """Give an xl that asks."""
    one = Xl(ready.rig)
    one.witness.begin()
    return one


def locked_in(root: str, apart: str, uid: int, asked: list[list[object]]) -> list[int]:
    """Lock this process into a new root with the socket, become a user, and ask; run in dom0."""
    import http.client
    import json
    import os
    import socket
    from pathlib import Path

    Path(root).mkdir(mode=0)
    Path(root, "maxmemd.sock").hardlink_to(apart)
    Path(root).chmod(0o111)
    os.chroot(root)
    os.chdir("/")
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    connection = http.client.HTTPConnection("localhost", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    connection.sock.connect("/maxmemd.sock")
    found = []
    for method, path, body in asked:
        connection.request(
            str(method), str(path), json.dumps(body), {"Content-Type": "application/json"}
        )
        reply = connection.getresponse()
        reply.read()
        found.append(reply.status)
    return found


def test_a_process_of_its_uid(ready: Daemon, hvm1: Guest) -> None:
    """Locked in as base + domid it gets room for one guest and no other; Xen has exactly that."""
    rig, domid, uuid = ready.rig, hvm1.domid, hvm1.uuid
    modes = rig.run(f"stat -c %a {APART} $(dirname {APART})").check().stdout.split()
    assert modes == ["666", "700"]
    before, used = hvm1.max_kib, settled(hvm1)
    pages = (before - used) // 4 + PAGES
    wanted = [
        ["POST", f"/v1/domains/{domid}/headroom", {"pages": pages}],
        ["POST", f"/v1/domains/{domid + 1}/headroom", {"pages": 4096}],
        ["PUT", f"/v1/domains/{domid}/limit", {"max_mem_kib": 4096}],
    ]
    root = "/run/xen/qemu-root-of-a-test"
    try:
        assert rig.call(locked_in, root, APART, BASE + domid, wanted) == [200, 403, 403]
        assert (
            hvm1.max_kib == used + (pages + SPARE_PAGES) * 4 == before + (PAGES + SPARE_PAGES) * 4
        )
        rig.run(f"rm -r {root}").check()
        assert rig.call(locked_in, root, APART, 0, wanted) == [403] * 3
        rig.run(f"rm -r {root}").check()
        assert rig.call(locked_in, root, APART, BASE + domid + 1, wanted[:1]) == [403]
        assert asked_by(ready, uuid) == [BASE + domid]  # its record ends with the domain
    finally:
        rig.run(f"rm -rf {root}").check()
        hvm1.destroy()


def settled(guest: Guest) -> int:
    """Return what the guest has, in KiB, once hvmloader has populated what it needs."""
    deadline = time.monotonic() + SETTLES_WITHIN_S
    used, since = guest.used_kib, time.monotonic()
    while time.monotonic() - since < QUIET_S:
        assert time.monotonic() < deadline
        time.sleep(1)
        if (now := guest.used_kib) != used:
            used, since = now, time.monotonic()
    return used


def asked_by(daemon: Daemon, ref: object) -> list[int]:
    """Return the uids that asked for headroom for a domain, latest first."""
    found = daemon.get(f"/v1/domains/{ref}/history?limit=100").json()["entries"]
    return [line["by"]["uid"] for line in found if line["kind"] == "headroom"]


def populate(xl: Xl, guest: Guest) -> Done:
    """Let the guest's QEMU populate pages now, as a hotplug does."""
    size = PAGES * 4
    name = f"more{time.monotonic_ns()}"
    order = f"object_add memory-backend-ram,id={name},size={size}k"
    return xl("qemu-monitor-command", guest.name, order)


def pid_of_qemu(guest: Guest) -> int:
    """Return the process of the guest's device model."""
    return int(guest.rig.xenstore("read", f"/local/domain/{guest.domid}/image/device-model-pid"))


def is_locked_in(guest: Guest) -> None:
    """Demand that QEMU runs as its domain's uid, in libxl's directory, with our socket in it."""
    rig, pid, domid = guest.rig, pid_of_qemu(guest), guest.domid
    status = rig.get(f"/proc/{pid}/status").decode().splitlines()
    uids = next(line.split()[1:] for line in status if line.startswith("Uid:"))
    assert uids == [str(BASE + domid)] * 4
    root = rig.run(f"readlink /proc/{pid}/root").check().stdout.strip()
    assert root.endswith(f"/run/xen/qemu-root-{domid}")
    assert rig.run(f"ls -A /proc/{pid}/root/").check().stdout.split() == ["maxmemd.sock"]
    inodes = rig.run(f"stat -c %i {APART} /proc/{pid}/root/maxmemd.sock").check().stdout.split()
    assert len(set(inodes)) == 1


def created(xl: Xl, extra: str) -> Guest:
    """Create the guest, and say what its device model said where that fails."""
    done = xl.create("hvm2", extra)
    log = xl.rig.run("cat /var/log/xen/qemu-dm-hvm2.log; true").stdout
    assert done.rc == 0, done.stderr + log
    assert "cannot link" not in log, log
    return Guest(xl.rig, "hvm2")


def test_it_populates_from_within(xl: Xl, ready: Daemon) -> None:
    """Debian's QEMU, locked in as its uid with its hypercalls left, gets room and uses it."""
    guest = created(xl, f'{RESTRICTED}device_model_override = "{OVERRIDE}"\n')
    is_locked_in(guest)
    assert set(asked_by(ready, guest.domid)) <= {0}
    limit, used = guest.max_kib, settled(guest)
    said = populate(xl, guest).check()
    assert "populate" not in said.stdout + said.stderr
    assert used + PAGES * 4 > limit
    assert guest.used_kib == used + PAGES * 4
    assert guest.max_kib == used + (PAGES + SPARE_PAGES) * 4
    assert asked_by(ready, guest.domid)[0] == BASE + guest.domid
    xl.witness.only(ready)

    ready.restart()  # no systemd holds the socket here: the link leads to one that is no more
    assert "failed to populate ram" in _all(populate(xl, guest))
    assert guest.used_kib == guest.max_kib == used + (PAGES + SPARE_PAGES) * 4


def test_restricted_to_its_domain(xl: Xl, ready: Daemon) -> None:
    """With dm_restrict whole it asks and is granted; to populate, libxencall leaves it no means."""
    guest = created(xl, RESTRICTED)
    is_locked_in(guest)
    used = settled(guest)
    said = _all(populate(xl, guest))
    xl.rig.say(said)
    assert guest.max_kib == used + (PAGES + SPARE_PAGES) * 4
    assert asked_by(ready, guest.domid)[0] == BASE + guest.domid
    assert guest.used_kib == used
    assert "failed to populate ram" in said + xl.rig.run("cat /var/log/xen/qemu-dm-hvm2.log").stdout
    again = guest.max_kib
    populate(xl, guest)
    assert guest.max_kib == again  # room that was not used is there still


def _all(done: Done) -> str:
    return done.stdout + done.stderr


def test_a_root_that_is_used_again(xl: Xl) -> None:
    """It has to be empty: with the library it is, without it libxl gives the creation up."""
    left = created(xl, RESTRICTED).domid
    rig = xl.rig
    rig.run("xl destroy hvm2").check()
    assert rig.run(f"ls /run/xen/qemu-root-{left}").check().stdout.split() == ["maxmemd.sock"]

    rig.run(f"cp -al /run/xen/qemu-root-{left} /run/xen/qemu-root-{left + 1}").check()
    refused = Xl(rig, "").create("hvm2", RESTRICTED)
    assert refused.rc != 0
    assert "failed to remove existing chroot dir" in refused.stderr
    rig.run(f"cp -al /run/xen/qemu-root-{left} /run/xen/qemu-root-{left + 2}").check()
    guest = created(xl, RESTRICTED)
    assert guest.domid == left + 2
    is_locked_in(guest)
