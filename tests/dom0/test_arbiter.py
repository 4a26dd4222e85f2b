"""The arbiter on a real Xen: limits, components, drift, crashes, and the lives of guests."""

import time
from collections.abc import Callable

import pytest

from tests.dom0.daemon import Daemon
from tests.dom0.guests import SLACK_KIB, WHOLE, Guest, create, created, up
from tests.dom0.rig import Rig

MIB = 1024
HEAL_SECONDS = 30  # the daemon polls every 2 s; emulation is slow


def as_it_is(rig: Rig, name: str) -> Guest:
    """Return a guest with whatever numbers it has: each test here sets its own."""
    return Guest(rig, name) if rig.named(name) is not None else up(rig, name)


@pytest.fixture
def pv1(rig: Rig) -> Guest:
    """Give a running PV guest."""
    return as_it_is(rig, "pv1")


@pytest.fixture
def pvh1(rig: Rig) -> Guest:
    """Give a running PVH guest."""
    return as_it_is(rig, "pvh1")


@pytest.fixture(params=["pv1", "pvh1", "hvm1"])
def guest(rig: Rig, request: pytest.FixtureRequest) -> Guest:
    """Give a guest of each kind, one after the other."""
    return as_it_is(rig, request.param)


def within(seconds: float, wanted: Callable[[], object], value: object) -> None:
    """Wait until `wanted` returns `value`."""
    deadline = time.monotonic() + seconds
    while (seen := wanted()) != value:
        assert time.monotonic() < deadline, f"{seen} instead of {value} after {seconds} s"
        time.sleep(0.3)


def settle(daemon: Daemon, guest: Guest, limit_kib: int) -> None:
    """Give a guest a known limit and target through the daemon."""
    for path, body in (
        ("limit", {"max_mem_kib": limit_kib, "force": True}),
        ("target", {"target_kib": 128 * MIB, "enforce": False}),
    ):
        reply = daemon.put(f"/v1/domains/{guest.domid}/{path}", body)
        assert reply.status == 200, reply.body


def awake(guest: Guest) -> None:
    """Wait until a guest's kernel says that it can be suspended."""
    node = f"/local/domain/{guest.domid}/control/feature-suspend"
    within(120, lambda: guest.rig.xenstore("read", node), "1")


def kinds(daemon: Daemon, guest: Guest) -> list[str]:
    """Return what the history says of a guest, newest first."""
    entries = daemon.get(f"/v1/domains/{guest.domid}/history").json()["entries"]
    return [entry["kind"] for entry in entries]


def test_a_component_is_kept_beside_every_other_wish(daemon: Daemon, guest: Guest) -> None:
    """What the device model has survives mem-max and mem-set, and explain names it."""
    settle(daemon, guest, 200 * MIB)
    roms = f"/v1/domains/{guest.domid}/components/device-model/roms"
    assert daemon.put(roms, {"amount_kib": 256}).status == 200
    assert guest.max_kib == 200 * MIB + SLACK_KIB + 256
    assert daemon.ctl("mem-max", guest.name, 220).rc == 0
    assert guest.max_kib == 220 * MIB + SLACK_KIB + 256
    assert daemon.ctl("mem-set", guest.name, 150).rc == 0
    assert guest.max_kib == 150 * MIB + SLACK_KIB + 256
    explained = daemon.get(f"/v1/domains/{guest.domid}/explain").json()
    lines = {(line["owner"], line["name"]): line["amount_kib"] for line in explained["components"]}
    assert lines["device-model", "roms"] == 256
    assert explained["recorded_static_max_kib"] == 220 * MIB
    assert daemon.delete(roms).status == 200
    assert guest.max_kib == 150 * MIB + SLACK_KIB


EDGES = {
    3: 1024,
    2**31: 2**31 + 1024,
    2**32: 2**32 + 1024,
    2**52 - 2048: 0xFFFFFFFF * 4,
    17179869180: 0xFFFFFFFF * 4,
}


def test_amounts_at_the_edges_reach_xen_whole(daemon: Daemon) -> None:
    """No amount is truncated on its way to Xen; 16 TiB and more read back as unlimited."""
    with created(daemon.rig, "pv2", paused=True) as guest:
        path = f"/v1/domains/{guest.domid}/limit"
        for kib, held in EDGES.items():
            push = daemon.put(path, {"max_mem_kib": kib, "force": True}).json()["push"]
            assert push["state"] in ("applied", "over-limit")
            assert push["seen_pages"] == push["max_pages"] == held // 4


def test_a_refusal_changes_nothing(daemon: Daemon, pvh1: Guest) -> None:
    """A limit below the target is refused with its numbers; Xen and the record stay."""
    settle(daemon, pvh1, 200 * MIB)
    target = pvh1.target_kib
    assert target is not None
    before = (pvh1.max_kib, target, pvh1.static_max_kib)
    reply = daemon.put(f"/v1/domains/{pvh1.domid}/limit", {"max_mem_kib": 10 * MIB})
    problem = reply.json()
    assert (reply.status, problem["code"]) == (409, "limit-below-target")
    assert problem["short_by_kib"] == target - 10 * MIB
    assert (pvh1.max_kib, pvh1.target_kib, pvh1.static_max_kib) == before


def test_a_guest_shrinks_to_a_forced_limit(daemon: Daemon, pv1: Guest) -> None:
    """Below what the guest holds the state is over-limit, until its balloon has followed."""
    settle(daemon, pv1, 200 * MIB)
    awake(pv1)
    path = f"/v1/domains/{pv1.domid}"
    body = {"max_mem_kib": 80 * MIB, "force": True}
    assert daemon.put(f"{path}/limit", body).json()["push"]["state"] == "over-limit"
    assert daemon.put(f"{path}/target", {"target_kib": 80 * MIB}).status == 200
    within(180, lambda: daemon.get(path).json()["push"]["state"], "applied")
    assert pv1.used_kib <= 80 * MIB + SLACK_KIB


def test_what_another_program_writes_is_put_back(daemon: Daemon, guest: Guest) -> None:
    """A foreign write is seen by polling, healed, and in the history."""
    settle(daemon, guest, 200 * MIB)
    daemon.rig.setmaxmem(guest.domid, 100 * MIB)
    within(HEAL_SECONDS, lambda: guest.max_kib, 200 * MIB + SLACK_KIB)
    within(HEAL_SECONDS, lambda: "drift" in kinds(daemon, guest)[:3], True)


def test_xl_itself_is_a_foreign_writer(daemon: Daemon, pv1: Guest) -> None:
    """Plain xl mem-max is undone in mode restore, and taken over in mode adopt."""
    settle(daemon, pv1, 200 * MIB)
    pv1.xl("mem-max", 220).check()
    within(HEAL_SECONDS, lambda: pv1.max_kib, 200 * MIB + SLACK_KIB)
    daemon.configure('drift = "adopt"\n')
    try:
        pv1.xl("mem-max", 230).check()
        path = f"/v1/domains/{pv1.domid}"
        within(HEAL_SECONDS, lambda: daemon.get(path).json()["limit_kib"], 230 * MIB + SLACK_KIB)
        assert pv1.max_kib == 230 * MIB + SLACK_KIB
    finally:
        daemon.configure("")


def test_a_crash_between_any_two_decisions_heals(daemon: Daemon, pv1: Guest) -> None:
    """Killed under load again and again, every confirmed decision is in Xen after the restart."""
    for number in range(1, 4):
        wanted = (150 + number) * MIB
        assert daemon.put(f"/v1/domains/{pv1.domid}/limit", {"max_mem_kib": wanted}).status == 200
        daemon.stop(9)
        daemon.rig.setmaxmem(pv1.domid, 140 * MIB)
        daemon.start()
        assert pv1.max_kib == wanted + SLACK_KIB


def test_a_build_is_watched_and_not_fought(daemon: Daemon) -> None:
    """A guest that xl creates meanwhile starts, and is adopted with the maximum xl gave it."""
    with created(daemon.rig, "pv2") as guest:
        path = f"/v1/domains/{guest.domid}"
        within(HEAL_SECONDS, lambda: daemon.get(path).json().get("building"), False)
        assert guest.max_kib == guest.birth[0]
        found = daemon.get(path).json()
        assert (found["limit_kib"], found["push"]["state"]) == (guest.birth[0], "applied")
        domid = guest.domid
    reply = daemon.put(f"/v1/domains/{domid}/limit", {"max_mem_kib": 200 * MIB})
    assert reply.json()["code"] in ("unknown-domain", "domain-gone")


def test_save_and_restore_keep_the_limit(daemon: Daemon, pv1: Guest) -> None:
    """A restored guest has the limit and the components of before, which xl alone forgets."""
    settle(daemon, pv1, 220 * MIB)
    roms = f"/v1/domains/{pv1.domid}/components/device-model/roms"
    assert daemon.put(roms, {"amount_kib": 512}).status == 200
    awake(pv1)
    before, uuid = pv1.domid, pv1.uuid
    pv1.rig.run("xl save pv1 /tmp/pv1.save", timeout=120).check()
    pv1.rig.run("xl restore /tmp/pv1.save && rm /tmp/pv1.save", timeout=180).check()
    assert (pv1.domid != before, pv1.uuid) == (True, uuid)
    within(HEAL_SECONDS, lambda: pv1.max_kib, 220 * MIB + SLACK_KIB + 512)
    found = daemon.get(f"/v1/domains/{pv1.domid}").json()
    assert {part["name"] for part in found["components"]} == {"max-mem", "slack", "roms"}
    daemon.delete(f"/v1/domains/{pv1.domid}/components/device-model/roms")
    pv1.destroy()  # one that was moved does not say again that it can be suspended


def test_live_migration_keeps_the_limit(daemon: Daemon) -> None:
    """A guest migrated to the same host has the limit of before, which xl alone forgets."""
    daemon.rig.put("/tmp/localsh", '#!/bin/sh\nshift\nexec "$@"\n', 0o755)
    guest = up(daemon.rig, "pvh2", WHOLE)
    body = {"max_mem_kib": 220 * MIB, "static_max": False}
    assert daemon.put(f"/v1/domains/{guest.domid}/limit", body).status == 200
    before = guest.domid
    daemon.rig.run("xl migrate -s /tmp/localsh pvh2 localhost", timeout=240).check()
    assert guest.domid != before
    within(HEAL_SECONDS, lambda: guest.max_kib, 220 * MIB + SLACK_KIB)
    guest.destroy()


def test_dom0_is_unlimited_and_has_a_floor(daemon: Daemon) -> None:
    """dom0's record keeps what the boot gave it; it cannot be starved, not even by force."""
    reply = daemon.put("/v1/domains/0/limit", {"max_mem_kib": 1024, "force": True})
    assert (reply.status, reply.json()["code"]) == (409, "limit-below-dom0-floor")
    assert daemon.get("/v1/domains/0").json()["push"]["state"] in ("applied", "over-limit")


def test_the_host_is_told_as_xl_tells_it(daemon: Daemon) -> None:
    """Total memory is xl info's; the hypervisor is named; nothing is simulated."""
    host = daemon.get("/v1/host").json()
    total = daemon.rig.run("xl info total_memory").check().stdout.strip()
    assert host["total_kib"] // MIB == int(total)
    assert (host["simulated"], host["hypervisor"][:8]) == (False, f"Xen {daemon.rig.release.xen}")


def test_xenstored_gone_is_reported_and_survived(daemon: Daemon, pv1: Guest) -> None:
    """While xenstored is stopped a wish that needs it is answered; afterwards all is as before."""
    settle(daemon, pv1, 200 * MIB)
    path = f"/v1/domains/{pv1.domid}/limit"
    pid = daemon.rig.run("pidof xenstored oxenstored").check().stdout.split()[0]
    daemon.rig.run(f"kill -STOP {pid}").check()
    try:
        reply = daemon.put(path, {"max_mem_kib": 210 * MIB})
        assert (reply.status, reply.json()["code"]) in (
            (503, "xenstore-failed"),
            (503, "arbiter-busy"),
        )
    finally:
        daemon.rig.run(f"kill -CONT {pid}").check()
    within(HEAL_SECONDS, lambda: daemon.put(path, {"max_mem_kib": 215 * MIB}).status, 200)
    assert pv1.max_kib == 215 * MIB + SLACK_KIB


def test_the_limit_is_enforced_by_xen(daemon: Daemon) -> None:
    """A guest without a device model's share cannot start with six NICs; the bug is alive."""
    nics = ", ".join(['"-device", "e1000"'] * 5)
    with pytest.raises(Exception, match="exit"):
        create(daemon.rig, "hvm2", f"device_model_args_hvm = [{nics}]\n")
    daemon.rig.run("xl destroy hvm2")
