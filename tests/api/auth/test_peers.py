"""Which client is which: by the kernel's word, and in the history."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from maxmemd.api.auth.certificates import subject_of
from maxmemd.api.auth.peers import (
    CERTIFICATE,
    Peer,
    certificate_peer,
    peer,
    token_peer,
)
from maxmemd.api.auth.token_store import Token, TokenStore
from maxmemd.policy.roles import Role
from tests.support.http import UnixConnection
from tests.support.inside import Inside, problem
from tests.support.outside import Outside, as_user, open_folder

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


@pytest.fixture(scope="module")
def daemon() -> Iterator[Outside]:
    """Give the real daemon, in a folder that every user may enter."""
    with open_folder() as folder, Outside(folder) as outside:
        yield outside


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its uid")
@pytest.mark.parametrize(
    ("uid", "reading", "writing"),
    [(0, 200, 200), (1000, 200, 403), (4294967294, 200, 403), (65534, 403, 403)],
)
def test_the_kernel_says_who_it_is(daemon: Outside, uid: int, reading: int, writing: int) -> None:
    """Over the real socket another uid is seen as what it is, on every request of a connection."""
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


VALUES = st.text(alphabet=":\\,=+ka", max_size=6)
KEYS = st.text(alphabet=":\\k", min_size=1, max_size=6)


def a_certificate_of(value: str) -> Peer:
    """Return the client whose certificate has this common name."""
    subject = subject_of({"subject": ((("commonName", value),),)})
    return certificate_peer(subject, Role("toolstack"), CERTIFICATE + subject, "192.0.2.1")


def a_token(name: str, serial: str | None = None) -> Peer:
    """Return the client that sent this token."""
    return token_peer(Token(name, "hash", "toolstack", 7, "{}", None, serial), "192.0.2.1")


CLIENTS = st.one_of(
    VALUES.map(a_certificate_of),
    st.builds(a_token, st.sampled_from(["a", "b"]), st.sampled_from([None, "1", "2"])),
    st.integers(0, 3).map(lambda uid: peer(1, uid, uid)),
)


@given(CLIENTS, KEYS, CLIENTS, KEYS)
@example(a_certificate_of("a"), "b:k", a_certificate_of("a:b"), "k")
@example(a_certificate_of("a\\"), "k", a_certificate_of("a"), "\\:k")
@example(a_token("a"), "k", a_token("a", "1"), "k")
def test_no_two_clients_share_a_key(one: Peer, its: str, other: Peer, others: str) -> None:
    """Whatever a certificate's subject and a client's key are made of."""
    is_same = (one.client, one.keys_of, its) == (other.client, other.keys_of, others)
    assert (one.stored_key(its) == other.stored_key(others)) == is_same


@pytest.mark.parametrize(
    ("client", "key", "stored"),
    [
        (peer(1, 0, 0), "boot:uuid:7:r1", "0:boot:uuid:7:r1"),
        (peer(1, 300_001, 5), "k", "300001:k"),
        (a_certificate_of("xapi"), "k", "cert CN=xapi:k"),
        (a_certificate_of("x\\y"), "k", r"cert CN=x\\y:k"),
        (a_token("backup"), "a:b", "token backup:a:b"),
    ],
)
def test_what_earlier_versions_wrote_is_found(client: Peer, key: str, stored: str) -> None:
    """A request that is repeated over an upgrade counts once, as it did before."""
    assert client.stored_key(key) == stored


@given(VALUES, KEYS)
def test_what_earlier_versions_wrote_for_two_clients_is_found_for_none(
    value: str, key: str
) -> None:
    """A key whose client could have been another one is nobody's."""
    client = a_certificate_of(value)
    formerly = f"{client.client}:{key}"
    assert (client.stored_key(key) == formerly) == (formerly.count(":") == 1)


def test_a_token_made_again_has_no_keys_of_the_former(tmp_path: Path) -> None:
    """Neither has one that took the name of an expired one."""
    tokens, stored = TokenStore(tmp_path / "tokens"), set()
    for number in range(3):
        secret = tokens.create("backup", "toolstack", "{}", number, expires_ns=number + 1)
        found = TokenStore(tmp_path / "tokens").find(secret or "")
        assert found is not None
        stored.add(token_peer(found, "192.0.2.1").stored_key("k"))
    assert len(stored) == 3
