"""Decisions that no crash, save, leaked instance or odd node undoes."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.dom0.daemon import Daemon
from tests.dom0.guests import SLACK_KIB, Guest, create
from tests.dom0.interposed import Xl, boots, comes_back, runs
from tests.dom0.rig import Done, Rig

MIB = 1024
WITHIN_S = 300
EXTRA_KIB = 1024
NAME, LEAKED = "pv2", "pv2--incoming"
SAVED = "/tmp/pv2.save"
PANIC = '/bin/busybox awk BEGIN{print"c">"/proc/sysrq-trigger"}'
"""The guest's init splits the words that it reads, and no shell looks at them."""
SAME_UUID = 'uuid = "5d1f8c52-77c8-4f0c-9d3e-8a3c5b1e4a10"\n'


@pytest.fixture
def unaided(installed: Rig, daemon: Daemon) -> Iterator[Rig]:
    """Give the rig with the daemon, an xl without the library, and no guest of these tests."""
    _destroy(installed)
    yield installed
    _destroy(installed)


def _destroy(rig: Rig) -> None:
    for name in (NAME, LEAKED, "hvm2"):
        rig.run(f"xl destroy {name} 2>/dev/null; true")


def becomes(rig: Rig, what: str, seen: Callable[[], object], wanted: object) -> None:
    """Wait until `seen` returns `wanted`."""
    deadline = time.monotonic() + WITHIN_S
    while (value := seen()) != wanted:
        if time.monotonic() > deadline:
            raise rig.error(f"{what}: {value} instead of {wanted} after {WITHIN_S} s")
        time.sleep(0.5)


def stays(guest: Guest, wanted_kib: int) -> None:
    """Demand a maximum now, and again after a poll: one that put right what we wrote here."""
    assert guest.max_kib == wanted_kib
    guest.rig.setmaxmem(guest.domid, wanted_kib + 4 * MIB)
    becomes(guest.rig, "the maximum that was decided", lambda: guest.max_kib, wanted_kib)


def kinds(daemon: Daemon, ref: object) -> list[str]:
    """Return the kinds of a domain's entries, the newest first."""
    reply = daemon.get(f"/v1/domains/{ref}/history?limit=100")
    assert reply.status == 200, reply.body
    return [entry["kind"] for entry in reply.json()["entries"]]


@pytest.mark.soak
def test_a_crash_with_restart_keeps_the_limit_and_every_component(xl: Xl, daemon: Daemon) -> None:
    """The kernel panics, xl makes the guest again, and nothing is missing."""
    guest = boots(xl, NAME, "on_crash = 'restart'\n")
    xl("mem-max", NAME, 300).check()
    daemon.ctl("component-set", NAME, "toolstack/extra", f"{EXTRA_KIB}k").check()
    wanted, old = 300 * MIB + EXTRA_KIB + SLACK_KIB, guest.domid
    assert guest.max_kib == wanted
    guest.do(PANIC)
    assert comes_back(guest, old, runs, WITHIN_S)
    becomes(xl.rig, "the maximum after the crash", lambda: guest.max_kib, wanted)
    shown = daemon.get(f"/v1/domains/{guest.domid}").json()["components"]
    assert ("toolstack", "extra", EXTRA_KIB) in [
        (each["owner"], each["name"], each["amount_kib"]) for each in shown
    ]
    stays(guest, wanted)


def test_what_is_confirmed_while_a_guest_is_saved_holds_once_it_is_restored(
    xl: Xl, daemon: Daemon
) -> None:
    """The stream's memory has to fit while it is restored; then comes what was confirmed last."""
    guest = boots(xl, NAME)
    saving: list[Done] = []
    save = threading.Thread(target=lambda: saving.append(xl("save", NAME, SAVED)))
    save.start()
    becomes(xl.rig, "the stream", lambda: xl.rig.run(["test", "-s", SAVED]).rc, 0)
    daemon.ctl("mem-max", NAME, 300).check()
    daemon.ctl("mem-set", NAME, 110).check()
    save.join()
    saving[0].check()
    xl("restore", SAVED).check()
    becomes(xl.rig, "target", lambda: guest.target_kib, 110 * MIB)
    becomes(xl.rig, "static-max", lambda: guest.static_max_kib, 300 * MIB)
    limit = daemon.get(f"/v1/domains/{guest.domid}").json()["limit_kib"]
    becomes(xl.rig, "the maximum", lambda: guest.max_kib, limit)
    stays(guest, limit)
    assert (guest.target_kib, guest.static_max_kib) == (110 * MIB, 300 * MIB)
    daemon.ctl("mem-set", NAME, 120).check()  # static-max is what was confirmed, so this fits


def test_a_leaked_incoming_instance_undoes_no_decision(unaided: Rig, daemon: Daemon) -> None:
    """A failed migration leaves a paused instance with the UUID of the guest that runs."""
    create(unaided, NAME, SAME_UUID + f'name = "{LEAKED}"\n', paused=True)
    guest = create(unaided, NAME, SAME_UUID)
    assert runs(guest)
    leaked = Guest(unaided, LEAKED)
    before = leaked.max_kib
    reply = daemon.put(f"/v1/domains/{NAME}/limit", {"max_mem_kib": 200 * MIB})
    assert reply.status == 200, reply.body
    stays(guest, 200 * MIB + SLACK_KIB)
    assert leaked.max_kib >= before
    daemon.ctl("mem-max", guest.uuid, 220).check()  # a UUID means the one that has run
    stays(guest, 220 * MIB + SLACK_KIB)


def test_a_vm_node_as_dom0less_tools_write_it_is_the_same_domain(
    unaided: Rig, daemon: Daemon
) -> None:
    """It is vm/UUID, without the slash: static-max is written there as well."""
    guest = create(unaided, NAME)
    unaided.xenstore("write", f"/local/domain/{guest.domid}/vm", f"vm/{guest.uuid}")
    for mib in (200, 180):
        daemon.ctl("mem-max", NAME, mib).check()
        assert guest.static_max_kib == mib * MIB
        stays(guest, mib * MIB + SLACK_KIB)


def test_a_domain_that_xenstore_does_not_know_has_its_limit(unaided: Rig, daemon: Daemon) -> None:
    """Its limit is in force, and what cannot be written is named apart from it."""
    domid = unaided.call(_make_a_bare_domain)
    try:
        for mib in (90, 70):
            done = daemon.ctl("mem-max", domid, mib)
            said = done.stdout + done.stderr
            assert unaided.domains()[domid]["maxmem_kb"] == mib * MIB + SLACK_KIB, said
            assert "not in force" not in said
            assert "static-max" in said
        unaided.setmaxmem(domid, 50 * MIB)  # drift is still put right
        becomes(
            unaided,
            "the maximum",
            lambda: unaided.domains()[domid]["maxmem_kb"],
            70 * MIB + SLACK_KIB,
        )
    finally:
        unaided.call(_destroy_the_domain, domid)


def test_nodes_that_are_no_numbers_are_named(unaided: Rig, daemon: Daemon) -> None:
    """They are neither absent nor taken for a number, and explain and the history say which."""
    guest = create(unaided, NAME)
    assert runs(guest)
    unaided.xenstore("write", f"/local/domain/{guest.domid}/memory/static-max", "abc")
    daemon.ctl("mem-max", "--force", NAME, 200).check()
    unaided.xenstore("write", f"/local/domain/{guest.domid}/memory/target", "-1")
    done = daemon.ctl("mem-max", NAME, 16)
    assert done.rc == 1, done.stdout
    assert guest.max_kib == 200 * MIB + SLACK_KIB
    said = daemon.ctl("explain", NAME).check().stdout
    assert "memory/target" in said
    assert "-1" in said


def test_a_limit_without_the_library_lives_through_a_reboot_of_an_hvm_guest(
    unaided: Rig, daemon: Daemon
) -> None:
    """SeaBIOS finds nothing to boot and reboots: its numbers come back within libxl's constant."""
    guest = create(unaided, "hvm2", "on_reboot = 'restart'\nmaxmem = 128\n")
    old = guest.domid
    daemon.ctl("mem-max", "hvm2", 120, "--reason", "clamp").check()
    daemon.ctl("component-set", "hvm2", "operator/extra", "256k").check()
    wanted = 120 * MIB + 256 + SLACK_KIB
    assert guest.max_kib == wanted
    becomes(unaided, "a new domid", lambda: unaided.named("hvm2") not in (None, old), True)
    becomes(unaided, "the maximum", lambda: guest.max_kib, wanted)
    assert "operator/extra" in daemon.ctl("components", "hvm2").check().stdout
    assert kinds(daemon, "hvm2").count("mem-max") == 1


def _make_a_bare_domain() -> int:
    import importlib

    xc = importlib.import_module("xen.lowlevel.xc").xc()
    domid: int = xc.domain_create(handle=[0x77] * 16)
    xc.domain_setmaxmem(domid, 65536)
    return domid


def _destroy_the_domain(domid: int) -> None:
    import importlib

    importlib.import_module("xen.lowlevel.xc").xc().domain_destroy(domid)
