"""Rates, caps of connections, and the log of refusals; over ASGI and over the real socket."""

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from maxmemd.api.auth.access import Access, anyone, readers
from maxmemd.api.auth.admission import MOST_REMOTE, Admission, AdmissionRules
from maxmemd.api.auth.peers import Peer, certificate_peer, peer, unauthenticated
from maxmemd.api.auth.rate_limit import MANY_CLIENTS
from maxmemd.api.auth.refusal_log import RefusalLog
from maxmemd.api.problems import Rejected
from maxmemd.config.settings import Config
from maxmemd.pacing import TokenBucket
from maxmemd.policy.roles import Role, Roles
from tests.support.fakes import FakeClock
from tests.support.http import UnixConnection, connect
from tests.support.inside import Inside, problem
from tests.support.outside import Outside, as_user, open_folder

BASE = 300_000
WHO = Roles({}, {}, {}, BASE)


def admission_of(clock: FakeClock, **rates: float) -> Admission:
    """Return an admission with these rates by role, and one connection for an observer."""
    return Admission(AdmissionRules(WHO, rates, {"observer": 1}), clock_s=clock.monotonic_s)


def asks(admission: Admission, caller: Peer, access: Access = anyone) -> None:
    """Ask once."""
    known = admission.identify({"maxmemd.peer": caller, "headers": [], "query_string": b""})
    admission.authorize(known, access, {})


def passed(admission: Admission, caller: Peer, count: int) -> int:
    """Return how many of so many requests are let through."""
    found = 0
    for _ in range(count):
        with suppress(Rejected):
            asks(admission, caller)
            found += 1
    return found


def test_a_rate() -> None:
    """Two seconds' worth at once, then as many as the rate gives; of all connections together."""
    clock = FakeClock()
    admission = admission_of(clock, observer=8.0)
    one, two, other = peer(1, 1000, 5), peer(2, 1000, 6), peer(3, 1001, 5)
    assert passed(admission, one, 15) == 15
    assert passed(admission, two, 15) == 1
    assert passed(admission, other, 5) == 5
    clock.forward(0.5)
    assert passed(admission, one, 20) == 4
    clock.forward(1000.0)
    assert passed(admission, one, 50) == 16


def test_when_to_ask_again() -> None:
    """Retry-After is whole seconds after which a request passes, and not before the next one."""
    clock = FakeClock()
    admission = admission_of(clock, observer=0.2)
    asks(admission, peer(1, 1000, 5))
    with pytest.raises(Rejected) as refused:
        asks(admission, peer(1, 1000, 5))
    assert refused.value.retry_s == 5
    clock.forward(4.9)
    assert passed(admission, peer(1, 1000, 5), 1) == 0
    clock.forward(0.1)
    assert passed(admission, peer(1, 1000, 5), 2) == 1


def test_who_is_refused_spends_too() -> None:
    """A client that asks what it may not has no more of that than of anything else."""
    admission = admission_of(FakeClock(), **{"device-model": 1.0})
    codes = []
    for _ in range(3):
        with pytest.raises(Rejected) as refused:
            asks(admission, peer(1, BASE + 5, 5, (), WHO), readers)
        codes.append(refused.value.code)
    assert codes == ["not-allowed", "not-allowed", "too-many-requests"]


def test_no_rate() -> None:
    """A role without a rate is not counted at all."""
    admission = admission_of(FakeClock(), observer=1.0)
    assert passed(admission, peer(1, 0, 0), 10_000) == 10_000
    assert len(admission._spent) == 0


def test_a_client_without_a_role_has_bounds() -> None:
    """A client without a role has a rate and a number of connections that no key can raise."""
    clock = FakeClock()
    admission, caller = admission_of(clock), peer(1, 65534, 65534, (), WHO)
    codes = []
    for _ in range(30):
        with pytest.raises(Rejected) as refused:
            asks(admission, caller)
        codes.append(refused.value.code)
    assert codes == ["not-allowed"] * 20 + ["too-many-requests"] * 10
    assert count_accepted(admission, caller, 30) == 20
    clock.forward(1000.0)
    admission._open[caller.client] = 65
    assert count_accepted(admission, caller, 1) == 0


def count_accepted(admission: Admission, caller: Peer, count: int) -> int:
    """Return how many of so many connections are let in."""
    found = 0
    for _ in range(count):
        with suppress(Rejected):
            admission.check_connection(caller)
            found += 1
    return found


def test_connections_have_a_rate_of_their_own() -> None:
    """Who connects for every request may ask as often as who does not; over TCP none is counted."""
    clock = FakeClock()
    admission, caller = admission_of(clock, observer=8.0), peer(1, 1000, 5)
    assert (count_accepted(admission, caller, 50), passed(admission, caller, 50)) == (16, 16)
    assert count_accepted(admission, peer(1, 0, 0), 10_000) == 10_000
    far = certificate_peer("CN=a", Role("observer"), "cert CN=a", "192.0.2.1")
    assert count_accepted(admission, far, 50) == 50
    admission.reconfigure(AdmissionRules(WHO, {"observer": 8.0}))
    assert count_accepted(admission, caller, 50) == 16


def test_clients_are_forgotten() -> None:
    """What is known of clients is bounded: who may ask for all again is forgotten."""
    clock = FakeClock()
    admission = admission_of(clock, observer=1.0)
    for uid in range(1000, 1000 + MANY_CLIENTS):
        asks(admission, peer(1, uid, 5))
    clock.forward(1.5)
    for _ in range(2):
        asks(admission, peer(1, 1000, 5))
    asks(admission, peer(1, 1, 5))
    assert len(admission._spent) == 2


def test_a_bucket_of_less_than_one() -> None:
    """Where a burst is less than one thing, one passes at a time all the same."""
    bucket = TokenBucket(every_s=10.0, burst_s=1.0)
    assert [bucket.wait_s(100.0), bucket.wait_s(104.0), bucket.wait_s(110.0)] == [0.0, 6.0, 0.0]


def test_a_bucket_does_not_round_down() -> None:
    """Whatever the clock shows, the first passes, and so many as the burst has."""
    for number in range(1000):
        now_s = 4000.0 + number * 0.1237
        assert TokenBucket(every_s=10.0, burst_s=2.0).wait_s(now_s) == 0.0
        bucket = TokenBucket(every_s=0.1, burst_s=2.0)
        assert [bucket.wait_s(now_s) == 0.0 for _ in range(21)] == [True] * 20 + [False]


def test_the_log_of_refusals(caplog: pytest.LogCaptureFixture) -> None:
    """Each says uid, pid, role, route and why; a flood is a line a second and a number."""
    clock = FakeClock()
    refusals, caller = RefusalLog(clock.monotonic_s), peer(77, 1000, 5)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            path = "/v1/x\n" + "y" * 1000
            refusals.count_and_log(caller, "not-allowed", "cannot do it", "PUT", path)
        refusals.count_and_log(peer(78, 1001, 5), "not-allowed", "cannot", "GET", "/")
        clock.forward(1.0)
        refusals.count_and_log(caller, "too-many-connections", "cannot do it")
    lines = caplog.messages
    assert len(lines) == 7
    assert lines[0].startswith(r"refused PUT '/v1/x\ny")
    assert lines[0].endswith("' to uid 1000, pid 77 (observer): cannot do it")
    assert len(lines[0]) < 300
    assert lines[6].startswith("refused a connection to uid 1000, pid 77 (observer): cannot do it")
    assert lines[6].endswith("cannot do it (95 more were not logged)")
    assert refusals.counts == {"not-allowed": 101, "too-many-connections": 1}
    assert vars(caplog.records[5])["fields"] == {
        "uid": 1001, "pid": 78, "role": "observer", "client": "1001",
        "method": "GET", "path": "/", "code": "not-allowed", "why": "cannot",
    }  # fmt: skip


def test_what_is_wrong_with_a_wish_is_no_warning(
    api: Inside, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused write and a bad request are information; what was only not found is no line."""
    with caplog.at_level(logging.INFO, "maxmemd.api"):
        api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 4})
        api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": "x"})
        api.ask("GET", "/v1/domains/nosuch")
    levels = [(one.levelno, vars(one)["fields"]["code"]) for one in caplog.records]
    assert levels == [(logging.INFO, "limit-below-target"), (logging.INFO, "body-invalid")]


def test_connections_over_tcp_are_fewer() -> None:
    """All over TCP together have so many; others still come in, and one that ends makes room."""
    admission = admission_of(FakeClock())
    far = [
        certificate_peer(f"CN={n}", Role("admin"), f"cert {n}", "192.0.2.1")
        for n in range(MOST_REMOTE)
    ]
    for one in far:
        admission.check_connection(admission._count(one))
    late = admission._count(certificate_peer("CN=late", Role("admin"), "cert late", "192.0.2.1"))
    with pytest.raises(Rejected, match="limit over TCP is 512") as refused:
        admission.check_connection(late)
    assert (refused.value.code, refused.value.numbers) == (
        "too-many-connections", {"at_most": MOST_REMOTE},
    )  # fmt: skip
    admission.check_connection(admission._count(peer(1, 0, 0)))
    admission.unregister(far[0])
    admission.check_connection(late)


def test_handshakes_have_a_rate_by_address() -> None:
    """An address begins so many a second; of IPv6 a network of 64 bits is one."""
    admission = admission_of(FakeClock())

    def begun(address: str) -> int:
        found = 0
        for _ in range(200):
            with suppress(Rejected):
                admission.check_handshake(unauthenticated(address))
                found += 1
        return found

    assert begun("192.0.2.1") == begun("192.0.2.2") == 100
    assert begun("::ffff:192.0.2.3") == begun("::ffff:192.0.2.4") == 100
    assert begun("::ffff:192.0.2.1") == 0
    assert begun("2001:db8::1") == 100
    assert begun("2001:db8::2") == 0
    assert begun("2001:db8:0:1::1%eth0") == 100


def test_429_over_http(tmp_path: Path) -> None:
    """The problem names the rate, and Retry-After stands in its header, on every path."""
    with Inside(tmp_path, config=Config(rates={"observer": 0.1})) as api:
        caller = peer(1, 1000, 5)
        assert api.ask("GET", "/v1/health", peer=caller).status_code == 200
        for path in ("/v1/health", "/v1/domains/web", "/v1/docs", "/v1/nothing"):
            reply = api.ask("GET", path, peer=caller)
            told = problem(reply, "too-many-requests", 429)
            assert told["rate_per_s"] == 0.1
            assert reply.headers["retry-after"] == str(told["retry_after_s"]) == "10"
        assert api.ask("GET", "/v1/health").status_code == 200


def test_refusals_are_logged(api: Inside, caplog: pytest.LogCaptureFixture) -> None:
    """Who may not, whose domain it is not, and a browser: with uid, pid and route."""
    caller = peer(77, 1000, 5)
    with caplog.at_level(logging.WARNING):
        api.ask("PUT", "/v1/domains/web/limit", {"max_mem_kib": 4}, peer=caller)
        api.ask("GET", "/v1/host", headers={"Origin": "null"}, peer=caller)
        api.ask("GET", "/v1/domains/77", peer=peer(78, BASE + 77, 5, (), WHO))
    assert [line.partition(": ")[0] for line in caplog.messages] == [
        "refused PUT '/v1/domains/web/limit' to uid 1000, pid 77 (observer)",
        "refused GET '/v1/host' to uid 1000, pid 77 (observer)",
        f"refused GET '/v1/domains/77' to uid {BASE + 77}, pid 78 (device-model)",
    ]


CONFIG = f"""
device_model_base = "uid {BASE}"
connections = {{ device-model = 2, admin = 3 }}
rates = {{ device-model = 1000 }}
"""


@pytest.fixture(scope="module")
def strict() -> Iterator[Outside]:
    """Give a daemon that lets few connect, in a folder that every user may enter."""
    with open_folder() as folder:
        (folder / "m.toml").write_text(CONFIG)
        options = ("serve", "--hypervisor", "simulated", "--config", str(folder / "m.toml"))
        with Outside(folder, options=options) as outside:
            yield outside


def test_connections_too_many(strict: Outside) -> None:
    """One too many gets the reason and is closed; the others stay, and one that ends makes room."""
    held = [strict.open() for _ in range(3)]
    assert all(one.ask("GET", "/v1/health")[0] == 200 for one in held)
    for _ in range(5):
        with strict.raw() as sock:
            found = whole(sock)
        head, _, body = found.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"Connection: close" in head
        assert (json.loads(body)["code"], json.loads(body)["at_most"]) == (
            "too-many-connections", 3,
        )  # fmt: skip
    assert all(one.ask("GET", "/v1/health")[0] == 200 for one in held)
    for one in held:
        one.close()
    assert strict.ask("GET", "/v1/health")[0] == 200
    assert "refused a connection to uid" in strict.said()


def whole(sock: socket.socket) -> bytes:
    """Return all that comes until the connection is closed."""
    found = b""
    while piece := sock.recv(65536):
        found += piece
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its uid")
def test_a_process_of_the_overflow_uid_has_bounds(strict: Outside) -> None:
    """A process of uid 65534 takes neither all connections nor the daemon's time."""
    with for_all(strict.socket):
        found = as_user(65534, [0, 65534], lambda: held_and_refused(strict.socket))
    held, refused = found
    assert 10 <= held <= 64
    assert refused > 0
    assert strict.ask("GET", "/v1/health")[0] == 200


def held_and_refused(path: Path) -> list[int]:
    """Return how many of 100 connections stay open, and how many are turned away."""
    held = [connect(path, 0.2) for _ in range(100)]
    refused = 0
    for sock in held:
        with suppress(TimeoutError):
            refused += sock.recv(12) == b"HTTP/1.1 429"
    return [len(held) - refused, refused]


@contextmanager
def for_all(path: Path) -> Iterator[None]:
    """Let all users connect for a while."""
    path.chmod(0o666)
    try:
        yield
    finally:
        path.chmod(0o660)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its uid")
def test_a_device_model_by_the_kernels_word(strict: Outside) -> None:
    """A process of uid base + 1 is the device model of domain 1, with its groups, and no more."""
    with for_all(strict.socket):
        found = as_user(BASE + 1, [0, BASE + 1], lambda: asked(strict.socket))
    assert found == [200, 403, 200, 403, 403, 429]


def asked(path: Path) -> list[int]:
    """Return the statuses of what a device model asks on two connections, and of a third."""
    first, second = UnixConnection(path), UnixConnection(path)
    roms: dict[str, Any] = {"amount_kib": 64}
    wanted = [
        first.ask("GET", "/v1/domains/1")[0],
        first.ask("GET", "/v1/domains/2")[0],
        second.ask("PUT", "/v1/domains/1/components/device-model/roms", roms)[0],
        second.ask("PUT", "/v1/domains/2/components/device-model/roms", roms)[0],
        second.ask("PUT", "/v1/domains/1/components/operator/max-mem", roms)[0],
    ]
    with connect(path, 20.0) as third:
        return [*wanted, int(whole(third).split()[1])]
