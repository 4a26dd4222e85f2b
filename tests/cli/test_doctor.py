"""doctor: processes without the library, and maxima that other programs wrote."""

import json
from pathlib import Path

import pytest

from maxmemd.cli import doctor
from tests.support.bodies import UUID, domain
from tests.support.stub import Stub

from .conftest import Ctl

AT = "2026-11-22T21:06:47.123+00:00"
HISTORY = f"GET /v1/domains/{UUID}/history?limit=200"
MAPS = "7f0 r-xp 0 /usr/lib/x86_64-linux-gnu/"
DRIFT = {
    "kind": "drift",
    "at": AT,
    "wish": {"seen_pages": 16640, "wanted_pages": 24832, "mode": "restore"},
}


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a /proc of our own with an xl that asks, a shell, and things that are no process."""
    monkeypatch.setattr(doctor, "PROC", tmp_path)
    (tmp_path / "self").mkdir()
    (tmp_path / "5").mkdir()
    process(tmp_path, 10, "xl", "libxenctrl.so.4.17.0", "libmaxmem-interpose.so")
    process(tmp_path, 11, "sh", "libc.so.6")
    return tmp_path


def process(proc: Path, pid: int, program: str, *libraries: str) -> None:
    """Make a process that has these libraries mapped."""
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "maps").write_text("".join(f"{MAPS}{each}\n" for each in libraries))
    if program:
        (proc / str(pid) / "cmdline").write_bytes(f"{program}\0-x\0".encode())


def test_all_is_well(ctl: Ctl, stub: Stub, proc: Path) -> None:
    """If nothing is found, it prints that and how much was checked."""
    stub.replies["GET /v1/domains"] = (200, {"domains": [domain(managed=False), domain()]})
    stub.replies[HISTORY] = (200, {"entries": [{"kind": "mem-max", "at": AT, "wish": {}}]})
    status, out, err = ctl("doctor")
    assert (status, err) == (0, "")
    assert "No process sets maxima without libmaxmem-interpose.so (2 could be" in out
    assert "Xen's own" not in out
    assert "No foreign maximum in the newest history" in out


def test_what_is_found(ctl: Ctl, stub: Stub, proc: Path) -> None:
    """Every process with its command, every domain with its last drift; exit status 1."""
    process(proc, 300, "xenopsd", "libxenctrl.so.4.17")
    process(proc, 21, "", "libxenctrl.so.4.17")
    stub.replies["GET /v1/domains"] = (200, {"domains": [domain()]})
    stub.replies[HISTORY] = (200, {"entries": [DRIFT, DRIFT]})
    status, out, _ = ctl("doctor")
    assert status == 1
    assert "  PID  PROGRAM\n   21  ?\n  300  xenopsd -x\n" in out
    assert (
        "web: 2 foreign maximums, the last at 2026-11-22 21:06:47Z:"
        " 16640 pages instead of 24832 (restore)\n" in out
    )
    status, out, _ = ctl("doctor", "--json")
    found = json.loads(out)
    assert status == 1
    assert [each["pid"] for each in found["loose"]] == [21, 300]
    assert found["drifts"][0]["times"] == 2


def test_a_program_with_the_library_of_before_is_named(ctl: Ctl, stub: Stub, proc: Path) -> None:
    """It asks, so the status is 0; it has to be restarted to ask as the new library does."""
    process(proc, 42, "libvirtd", "libxenctrl.so.4.17", "libmaxmem-interpose.so (deleted)")
    stub.replies["GET /v1/domains"] = (200, {"domains": []})
    status, out, _ = ctl("doctor")
    assert status == 0
    assert (
        "earlier libmaxmem-interpose.so until they are restarted:\n  PID  PROGRAM\n   42  " in out
    )
    assert [each["pid"] for each in json.loads(ctl("doctor", "--json")[1])["outdated"]] == [42]


def test_a_halted_domain_of_the_same_name_is_named(ctl: Ctl, stub: Stub, proc: Path) -> None:
    """With the record that has the limits and what to write; nothing bypasses the daemon by it."""
    wish = {"name": "web", "from": "the-old-uuid", "advice": "write uuid= in its configuration"}
    found = {"kind": "namesake-found", "at": AT, "wish": wish}
    away = domain(uuid="the-old-uuid", domid=None, push=None, xen=None)
    stub.replies["GET /v1/domains"] = (200, {"domains": [domain(), away]})
    stub.replies[HISTORY] = (200, {"entries": [found, found]})
    stub.replies["GET /v1/domains/the-old-uuid/history?limit=200"] = (200, {"entries": [found]})
    status, out, _ = ctl("doctor")
    assert status == 0
    assert (
        "web: limits of the-old-uuid, a halted domain of the same name, were not taken over:"
        " write uuid= in its configuration\n" in out
    )
    assert json.loads(ctl("doctor", "--json")[1])["namesakes"] == [{"uuid": UUID, **wish}]


def test_it_says_from_where_the_history_is_proved(ctl: Ctl, stub: Stub, proc: Path) -> None:
    """After pruning that is not its first entry; a fault that ended the pruning is a finding."""
    stub.replies["GET /v1/domains"] = (200, {"domains": []})
    proved = "proved from entry 8 on (7 older ones were pruned)"
    stub.replies["GET /v1/health"] = (200, {"history": proved})
    status, out, _ = ctl("doctor")
    assert (status, out.splitlines()[-1]) == (0, f"The history is {proved}.")
    service = [{"kind": "pruning-ended", "detail": "cannot trust entry 3"}]
    stub.replies["GET /v1/health"] = (200, {"history": None, "service": service})
    status, out, _ = ctl("doctor")
    assert (status, "pruning-ended: cannot trust entry 3" in out) == (1, True)
    assert out.endswith("The history is being checked, or not whole: see maxmemctl health.\n")
    assert json.loads(ctl("doctor", "--json")[1])["service"] == service


def test_a_history_of_large_entries_is_searched_as_far(ctl: Ctl, stub: Stub, proc: Path) -> None:
    """What a page has no room for is on the next: the second drift is counted too."""
    drift = {"kind": "drift", "at": AT, "wish": {}}
    stub.replies["GET /v1/domains"] = (200, {"domains": [domain()]})
    stub.replies[HISTORY] = (200, {"entries": [drift] * 2, "next_before": 5})
    more = f"GET /v1/domains/{UUID}/history?limit=198&before=5"
    stub.replies[more] = (200, {"entries": [drift], "next_before": None})
    assert json.loads(ctl("doctor", "--json")[1])["drifts"][0]["times"] == 3


def test_xens_own(ctl: Ctl, stub: Stub, proc: Path) -> None:
    """Programs that load libxenctrl on every host and set no maximum are listed apart."""
    process(proc, 7, "/usr/lib/xen-4.17/bin/xenstored", "libxenctrl.so.4.17")
    process(proc, 8, "xenconsoled", "libxenctrl.so.4.17")
    stub.replies["GET /v1/domains"] = (200, {"domains": []})
    status, out, _ = ctl("doctor")
    assert status == 0
    assert out.startswith("No process sets maxima")
    assert (
        "set no maximum:\n  PID  PROGRAM\n    7  /usr/lib/xen-4.17/bin/xenstored -x\n    8" in out
    )
    process(proc, 9, "xenstored-exporter", "libxenctrl.so.4.17")
    status, out, _ = ctl("doctor", "--json")
    found = json.loads(out)
    assert status == 1
    assert [each["pid"] for each in found["loose"]] == [9]
    assert [each["pid"] for each in found["harmless"]] == [7, 8]


def test_a_daemon_that_cannot_tell(ctl: Ctl, stub: Stub, proc: Path) -> None:
    """The reason is printed."""
    stub.replies["GET /v1/domains"] = (503, {"code": "xen-failed", "detail": "cannot read: EIO"})
    status, out, err = ctl("doctor")
    assert (status, out) == (1, "")
    assert "cannot list the domains" in err
