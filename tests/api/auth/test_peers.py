"""Which client is which: by the kernel's word, and in the history."""

import json
import os
from pathlib import Path

import pytest

from maxmemd.api.auth.peers import peer
from tests.support.http import UnixConnection
from tests.support.inside import Inside, problem
from tests.support.outside import Outside, as_user

OWN = 1500
"""The user that the daemon runs as in these tests."""


def test_the_daemons_own_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom the daemon runs as is admin, as root is."""
    assert peer(9, OWN, OWN).role.name == "observer"
    monkeypatch.setattr("os.geteuid", lambda: OWN)
    assert peer(9, OWN, OWN).role.name == peer(9, 0, 0).role.name == "admin"


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Authorization",
                                  "X-Forwarded-User", "X-Remote-User", "Cookie"])  # fmt: skip
def test_no_header_makes_anybody_root(shared: Inside, name: str) -> None:
    """The kernel identifies the client; headers do not."""
    reply = shared.ask(
        "PUT", "/v1/domains/web/limit", {"max_mem_kib": 4}, headers={name: "root"},
        peer=peer(9, 1000, 1000),
    )  # fmt: skip
    problem(reply, "not-allowed", 403)


def test_who_did_it_is_in_the_history(shared: Inside) -> None:
    """The history names the caller by uid, gid and pid, and an unknown uid by its number."""
    shared.put("/v1/domains/web/limit", {"max_mem_kib": 701 * 1024})
    by = shared.get("/v1/domains/web/history?limit=1")["entries"][0]["by"]
    assert by == {"name": "root", "uid": 0, "gid": 0, "pid": 4711}
    assert json.loads(peer(1, 4294967294, 5).actor)["name"] == "uid 4294967294"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its uid")
@pytest.mark.parametrize(
    ("uid", "reading", "writing"),
    [(0, 200, 200), (1000, 200, 403), (4294967294, 200, 403), (65534, 403, 403)],
)
def test_the_kernel_says_who_it_is(daemon: Outside, uid: int, reading: int, writing: int) -> None:
    """Over the real socket another uid is seen as what it is, on every request of a connection."""
    for folder in (daemon.socket.parent, *daemon.socket.parent.parents[:3]):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    daemon.socket.chmod(0o666)
    try:
        found = as_user(uid, [1000], lambda: _ask_three(daemon.socket))
    finally:
        daemon.socket.chmod(0o660)
    assert found == [reading, writing, reading]


def _ask_three(path: Path) -> list[int]:
    connection = UnixConnection(path)
    roms = "/v1/domains/web/components/device-model/roms"
    asked = [("GET", "/v1/domains/web", None), ("PUT", roms, {"amount_kib": 64})]
    return [connection.ask(*one)[0] for one in (*asked, asked[0])]
