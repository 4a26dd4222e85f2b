"""Every role against every route, every way to name a domain, and every owner; and confusions."""

import asyncio
import itertools
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import uvicorn
from uvicorn.server import ServerState

from maxmemd.api.auth.peers import UNKNOWN_PEER, Peer, Pin, certificate_peer, peer
from maxmemd.api.routes import ROUTES, Route
from maxmemd.api.server.protocol import KEPT_FOR_ADMINS, MOST_CONNECTIONS, BoundedHttpProtocol
from maxmemd.config.settings import Config
from maxmemd.errors import ArbiterBusy
from maxmemd.policy.roles import Bond, Role, Roles
from maxmemd.units import Memory
from tests.api.auth.matrix import DOCUMENT, with_table
from tests.support.inside import Inside, problem
from tests.support.wishes import BODIES

BASE = 300_000
GROUPS = {2001: "toolstack", 2002: "observer", 2003: "admin"}
WITH = Roles({1001: "toolstack", 1002: "admin", 1003: "observer"}, GROUPS, {}, BASE, "nobody")
OPEN = Roles({}, {}, {}, BASE)


def of(uid: int, *groups: int, roles: Roles = WITH, pid: int = 9) -> Peer:
    """Return a caller."""
    return peer(pid, uid, 999, groups, roles)


def far(role: str) -> Peer:
    """Return a caller over TCP, whose certificate has this role."""
    return certificate_peer(f"CN={role}", Role(role), f"cert CN={role}", "192.0.2.1")


PEERS: dict[str, tuple[Peer, str]] = {
    "root": (of(0), "admin"),
    "an admin by uid": (of(1002), "admin"),
    "an admin by group": (of(1500, 2001, 2003), "admin"),
    "a toolstack by uid": (of(1001), "toolstack"),
    "a toolstack by group": (of(1500, 2002, 2001), "toolstack"),
    "an observer by uid": (of(1003, 2003), "observer"),
    "an observer by group": (of(1500, 2002), "observer"),
    "another user, if all may read": (of(1500, roles=OPEN), "observer"),
    "the device model of domain 1": (of(BASE + 1), "device-model"),
    "the device model of domain 2": (of(BASE + 2), "device-model"),
    "one that is in the admins' group": (of(BASE + 1, 2003), "device-model"),
    "the device model of no domain": (of(BASE + 77), "device-model"),
    "the range's own user": (of(BASE), "nobody"),
    "past the range": (of(BASE + 0x7FF0), "nobody"),
    "somebody": (of(1500), "nobody"),
    "uid 65534": (of(65534), "nobody"),
    "root without a pid": (of(0, pid=0), "nobody"),
    "nobody": (UNKNOWN_PEER, "nobody"),
    "an admin's certificate": (far("admin"), "admin"),
    "a toolstack's certificate": (far("toolstack"), "toolstack"),
    "an observer's certificate": (far("observer"), "observer"),
}
ALL, READ, OWN, WRITE, OWN_WRITE, ADMIN = "all", "read", "own", "write", "own write", "admin"
LOCAL = "local"
RULES = {
    "get_host": READ, "get_domains": READ, "get_metrics": READ, "health": ALL,
    "events": READ, "list_tokens": LOCAL, "create_token": LOCAL, "revoke_token": LOCAL,
    "get_domain": OWN, "explain": OWN, "history": OWN, "pushes": OWN, "get_record": OWN,
    "get_drift": OWN, "set_drift": WRITE, "clear_drift": WRITE,
    "set_limit": WRITE, "set_target": WRITE, "build": WRITE, "put_record": WRITE,
    "set_component": OWN_WRITE, "remove_component": OWN_WRITE, "increase": OWN_WRITE,
    "headroom": OWN_WRITE, "rollback": ADMIN, "relayed_headroom": LOCAL,
}  # fmt: skip
"""What each route is, said a second time: a new route without a line here fails."""
MAY = {
    "admin": {ALL, READ, OWN, WRITE, OWN_WRITE, ADMIN, LOCAL},
    "toolstack": {ALL, READ, OWN, WRITE, OWN_WRITE},
    "observer": {ALL, READ, OWN},
    "device-model": {ALL},
    "nobody": set(),
}
UUIDS = ("51a70000-0000-4000-8000-000000000001", "51a70000-0000-4000-8000-000000000002")
REFS = ("1", "2", "3", "01", "77", "web", "db", "nowhere", *UUIDS, UUIDS[0].upper())
OWNERS = ("device-model", "operator", "toolstack", "introspection", "unheard-of")
FIRST: dict[str, set[str]] = {"device-model": {OWN, OWN_WRITE}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """Give one daemon for the whole matrix, with rates that are never reached."""
    config = Config(owners=("introspection",), rates={"nobody": 1e6})
    with Inside(tmp_path_factory.mktemp("matrix"), config=config) as inside:
        inside.event_stream.close()  # a stream of events ends where it begins
        yield inside


def combinations(route: Route) -> Iterator[tuple[str, str, str, str]]:
    """Return every (path, ref, owner, query) that a route is tried with."""
    refs = UUIDS if "records" in route.path else REFS if "{ref}" in route.path else ("",)
    owners = OWNERS if "{owner}" in route.path else ("",)
    queries = ("?dry_run=true",) if "dry_run" in route.query else ("",)
    for ref, owner, query in itertools.product(refs, owners, queries):
        path = route.path.format(ref=ref, owner=owner, name="roms")
        yield path + query, ref, owner, query


def may(caller: Peer, role: str, rule: str, ref: str, owner: str) -> bool:
    """Say, without looking at the route table, whether a combination is to be let through."""
    if rule in MAY[role]:
        return rule != LOCAL or not caller.remote
    mine = role == "device-model" and ref == str(caller.uid - BASE)
    return mine and rule in FIRST[role] and owner in ("", "device-model")


@pytest.mark.parametrize("who", PEERS)
def test_matrix(shared: Inside, who: str, record_property: Callable[[str, object], None]) -> None:
    """Each combination is let through, or refused with the reason, and nothing else happens."""
    asked, role = PEERS[who]
    assert asked.role.name == role
    tried = 0
    for route in ROUTES:
        rule = RULES[route.handler.__name__]
        body = BODIES.get(route.handler.__name__)
        for path, ref, owner, _ in combinations(route):
            tried += 1
            caller = peer_again(asked)
            reply = shared.ask(route.method, path, body, peer=caller)
            if not may(caller, role, rule, ref, owner):
                told = problem(reply, "not-allowed", 403)
                assert (told["uid"], told["role"]) == (caller.uid, role)
            elif route.handler.__name__ == "relayed_headroom" and ref in ("2", "3"):
                problem(reply, "not-your-domain", 403)  # the body names the UUID of domain 1
            elif caller.uid == BASE + 77 and ref:
                problem(reply, "not-your-domain", 403)
            else:
                assert reply.status_code not in (401, 403, 429, 500), (who, path, reply.text)
    record_property("combinations", tried)
    assert tried > 250
    assert shared.get("/v1/domains/web")["revision"] == 1


def peer_again(asked: Peer) -> Peer:
    """Return the same caller on a connection of its own."""
    return replace(asked, pin=Pin())


def test_every_route_has_a_rule() -> None:
    """A route is not served before this file says to whom."""
    assert {route.handler.__name__ for route in ROUTES} == set(RULES)


def test_the_document_is_the_route_table() -> None:
    """docs/access.md has the matrix as it is (else: python -m tests.api.auth.matrix)."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_table(text) == text


HEADROOM = {"pages": 64}
ROMS = "/v1/domains/{}/components/device-model/roms"


def test_a_device_models_own_share(api: Inside) -> None:
    """What it may do it can: its own components of its own domain, read and written."""
    caller = of(BASE + 1)
    assert api.ask("PUT", ROMS.format(1), {"amount_kib": 256}, peer=caller).status_code == 200
    headroom = api.ask("POST", "/v1/domains/1/headroom", HEADROOM, peer=caller)
    assert headroom.status_code == 200
    told = api.ask("GET", "/v1/domains/1", peer=caller).json()
    assert told["revision"] == headroom.json()["revision"]
    history = api.ask("GET", "/v1/domains/1/history", peer=caller).json()["entries"]
    assert {"uid": BASE + 1, "gid": 999, "pid": 9}.items() <= history[0]["by"].items()
    problem(api.ask("PUT", ROMS.format(2), {"amount_kib": 4}, peer=caller), "not-allowed", 403)


ODDLY = [
    "2", "%32", "+2", "2%20", "%202", "2;1", "1;2", "1,2", "2/", "/2", "2%2F..%2F1", "1%2F..%2F2",
    "%D9%A2", "%C2%B2", "02", "0x2", "2.0", "db", "%64b", UUIDS[1], UUIDS[1].upper(), "1%00",
    "1%0A", "2?ref=1",
]  # fmt: skip
"""Ways to write another domain than one's own, or what a parser could take for it."""
SHOWN = ("revision", "limit_kib", "max_pages")


@pytest.mark.parametrize("ref", ODDLY)
@pytest.mark.parametrize("head", ["/v1/domains/", "//v1/domains/", "/V1/domains/", "/v1//domains/"])
def test_no_spelling_reaches_another_domain(shared: Inside, head: str, ref: str) -> None:
    """A device model of domain 1 reads and changes nothing of domain 2, however it writes it."""
    path, _, query = ref.partition("?")
    query = f"?{query}" if query else ""
    before = shared.get("/v1/domains/2")
    for method, rest, body in (
        ("GET", "", None),
        ("HEAD", "", None),
        ("OPTIONS", "", None),
        ("GET", "/history", None),
        ("PUT", "/components/device-model/roms", {"amount_kib": 4096}),
        ("POST", "/headroom", HEADROOM),
    ):
        reply = shared.ask(method, f"{head}{path}{rest}{query}", body, peer=of(BASE + 1))
        assert 400 <= reply.status_code < 500, (method, reply.text)
        assert reply.status_code != 429, "this was not tried"
    after = shared.get("/v1/domains/2")
    assert [after[key] for key in SHOWN] == [before[key] for key in SHOWN]


def test_the_own_domain_is_reached_as_it_is_decoded(shared: Inside) -> None:
    """What is refused above is no spelling of the device model's own domain."""
    assert shared.ask("GET", "/v1/domains/%31", peer=of(BASE + 1)).json()["domid"] == 1


def test_a_domid_that_is_another_domain_by_now(api: Inside) -> None:
    """A device model that outlived its domain touches nothing of the next one of that domid."""
    caller = of(BASE + 1)
    assert api.ask("GET", "/v1/domains/1", peer=caller).status_code == 200  # as it connects
    reborn(api, 1)
    before = api.pages(1)
    for method, path, body in (
        ("GET", "/v1/domains/1", None),
        ("GET", "/v1/domains/1/explain", None),
        ("GET", "/v1/domains/1/history", None),
        ("GET", "/v1/domains/1/record", None),
        ("PUT", ROMS.format(1), {"amount_kib": 256}),
        ("PUT", ROMS.format(1) + "?dry_run=true", {"amount_kib": 256}),
        ("DELETE", ROMS.format(1), None),
        ("POST", ROMS.format(1) + "/increase", {"by_kib": 256}),
        ("POST", "/v1/domains/1/headroom", HEADROOM),
    ):
        told = problem(api.ask(method, path, body, peer=caller), "not-your-domain", 403)
        assert told["own_domid"] == 1
    assert api.pages(1) == before
    kinds = {line["kind"] for line in api.get("/v1/domains/1/history")["entries"]}
    assert kinds == {"instance-began", "adopted"}
    assert api.ask("GET", "/v1/domains/1", peer=of(BASE + 1)).status_code == 200


def test_an_idempotency_key_of_the_domain_before(api: Inside) -> None:
    """Nor does it get an answer that its predecessor's wish got."""
    caller, headers = of(BASE + 1), {"Idempotency-Key": "k"}
    roms, body = ROMS.format(1), {"amount_kib": 256}
    assert api.ask("PUT", roms, body, headers=headers, peer=caller).status_code == 200
    reborn(api, 1)
    problem(api.ask("PUT", roms, body, headers=headers, peer=caller), "not-your-domain", 403)


def test_a_domain_that_is_gone(api: Inside) -> None:
    """With its domain gone a device model's wish is refused as anybody's would be."""
    caller = of(BASE + 1)
    assert api.ask("GET", "/v1/domains/1", peer=caller).status_code == 200
    api.host.destroy(1)
    for method, path, body in (
        ("GET", "/v1/domains/1", None),
        ("POST", "/v1/domains/1/headroom", HEADROOM),
    ):
        assert api.ask(method, path, body, peer=caller).status_code in (404, 410)


def test_a_domain_that_was_not_there_yet(api: Inside) -> None:
    """A device model that connects before its domain is made is never let near it."""
    caller = of(BASE + 9)
    problem(api.ask("GET", "/v1/domains/9", peer=caller), "not-your-domain", 403)
    api.host.create("late", memory=Memory.of_mib(64), domid=9)
    problem(api.ask("GET", "/v1/domains/9", peer=caller), "not-your-domain", 403)
    assert api.ask("GET", "/v1/domains/9", peer=of(BASE + 9)).status_code == 200


def test_the_pin_is_made_at_connect(api: Inside) -> None:
    """Not at the first request: what was the domain when the connection came is what counts."""
    caller = of(BASE + 1)

    async def connect() -> None:
        api.dispatcher.pin_domain(caller)
        assert caller.pin.task is not None
        await caller.pin.task

    api.wait(connect())
    reborn(api, 1)
    problem(api.ask("GET", "/v1/domains/1", peer=caller), "not-your-domain", 403)


def test_a_connection_pins(api: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server pins a device model's domain as it accepts the connection, before any request."""
    caller = of(BASE + 1)

    async def pinned() -> object:
        assert caller.pin.task is not None
        return await caller.pin.task

    with accepted(api, monkeypatch, caller):
        assert api.wait(pinned()) == Bond(1, api.uuid(1))


@contextmanager
def accepted(
    api: Inside, monkeypatch: pytest.MonkeyPatch, caller: Peer, others: int = 0
) -> Iterator[socket.socket]:
    """Let the server accept a connection of a caller's, beside so many others; give its end."""
    monkeypatch.setattr(api.dispatcher.admission, "register", lambda _: caller)
    monkeypatch.setattr(api.dispatcher.admission, "unregister", lambda _: None)
    here, there = socket.socketpair()
    there.settimeout(10)

    async def accept() -> asyncio.BaseTransport:
        config = uvicorn.Config(api.dispatcher, ws="none", log_config=None, proxy_headers=False)
        config.load()
        state = ServerState()
        state.connections.update(object() for _ in range(others))  # type: ignore[misc]
        loop = asyncio.get_running_loop()
        protocol = BoundedHttpProtocol(config, state, {})
        return (await loop.connect_accepted_socket(lambda: protocol, here))[0]

    async def end(transport: asyncio.BaseTransport) -> None:
        transport.abort()  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    transport = api.wait(accept())
    with there:
        yield there
        api.wait(end(transport))


def test_who_connects_too_often_asks_nothing(api: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device model that connects in a loop is turned away before its domain is looked for."""
    admission = api.dispatcher.admission
    monkeypatch.setattr(admission, "rules", replace(admission.rules, rates={"device-model": 1.0}))
    pinned = turned_away = 0
    for _ in range(40):
        caller = of(BASE + 77)
        with accepted(api, monkeypatch, caller) as sock:
            if caller.pin.task is None:
                turned_away += 1
                head, _, body = sock.recv(4096).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 429 ")
                assert b"Retry-After: 1\r\n" in head
                assert json.loads(body)["code"] == "too-many-requests"
            else:
                pinned += 1
    assert pinned > 0
    assert turned_away > 0


def test_who_has_too_many_connections_asks_nothing(
    api: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one that has all that it may have."""
    caller = of(BASE + 77)
    monkeypatch.setitem(api.dispatcher.admission._open, caller.client, 999)
    with accepted(api, monkeypatch, caller) as sock:
        assert b'"too-many-connections"' in sock.recv(4096)
    assert caller.pin.task is None


@pytest.mark.parametrize(
    ("who", "others", "served"),
    [
        (of(1001), MOST_CONNECTIONS - KEPT_FOR_ADMINS - 1, True),
        (of(1001), MOST_CONNECTIONS - KEPT_FOR_ADMINS, False),
        (of(0), MOST_CONNECTIONS - 1, True),
        (of(0), MOST_CONNECTIONS, False),
    ],
)
def test_the_last_connections_are_admins(
    api: Inside, monkeypatch: pytest.MonkeyPatch, who: Peer, others: int, served: bool
) -> None:
    """A client that takes all available connections does not lock an admin out."""
    with accepted(api, monkeypatch, who, others) as sock:
        if served:
            sock.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(4096).startswith(b"HTTP/1.1 200 ")
        else:
            assert sock.recv(4096) == b""


def test_a_pin_that_cannot_be_made(api: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the arbiter does not identify the domain, the request is refused with a reason."""
    caller = of(BASE + 1)

    async def busy(_: object) -> None:
        raise ArbiterBusy("cannot answer now")

    async def connect() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(api.mailbox, "ask", busy)
            api.dispatcher.pin_domain(caller)
            assert caller.pin.task is not None
            await asyncio.wait({caller.pin.task})

    api.wait(connect())
    problem(api.ask("GET", "/v1/domains/1", peer=caller), "arbiter-busy", 503)


CAPS = {"device-model": Memory.of_mib(1), "operator": Memory.of_mib(600)}
MIB = 1024
CAPPED: dict[str, tuple[str, str, str, object]] = {
    "set": ("device-model", "PUT", ROMS.format(1) + "2", {"amount_kib": 28}),
    "increase": ("device-model", "POST", ROMS.format(1) + "/increase", {"by_kib": 28}),
    "headroom": ("device-model", "POST", "/v1/domains/1/headroom", {"pages": 2**20}),
    "mem-max": ("operator", "PUT", "/v1/domains/1/limit", {"max_mem_kib": 900 * MIB}),
    "mem-max by force": (
        "operator", "PUT", "/v1/domains/1/limit", {"max_mem_kib": 900 * MIB, "force": True},
    ),
    "mem-set": ("operator", "PUT", "/v1/domains/1/target", {"target_kib": 700 * MIB}),
    "rollback": ("operator", "POST", "/v1/domains/1/rollback", {"revision": 2, "force": True}),
    "build": (
        "operator", "POST", "/v1/domains/4/builds",
        {"target_kib": 700 * MIB, "life": "created"},
    ),
    "import, the operator's": (
        "operator", "PUT", "/v1/records/{uuid}",
        {"components": [{"owner": "operator", "name": "max-mem", "amount_kib": 700 * MIB}]},
    ),
    "import, a device model's": (
        "device-model", "PUT", "/v1/records/{uuid}",
        {"components": [
            {"owner": "operator", "name": "max-mem", "amount_kib": 512 * MIB},
            {"owner": "device-model", "name": "populated", "amount_kib": 500 * MIB},
        ]},
    ),
}  # fmt: skip
"""Every way to let an owner's components grow: whose, and what is asked."""


@pytest.fixture(scope="module")
def capped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """Give a daemon with caps; domain 1 was above the operator's before there was one."""
    with Inside(tmp_path_factory.mktemp("caps"), config=Config()) as api:
        api.put("/v1/domains/1/limit", {"max_mem_kib": 1000 * MIB})
        api.put("/v1/domains/1/limit", {"max_mem_kib": 550 * MIB, "static_max": False})
        next(api.host.creating("born", memory=Memory.of_mib(64), domid=4))
        api.config = replace(api.config, caps=CAPS)
        api.restart()
        caller = of(BASE + 1)
        assert api.ask("PUT", ROMS.format(1), {"amount_kib": 1000}, peer=caller).status_code == 200
        yield api


@pytest.mark.parametrize("wish", CAPPED)
def test_the_cap(capped: Inside, wish: str) -> None:
    """An owner's components of one domain never exceed its cap, for every role and request."""
    owner, method, path, body = CAPPED[wish]
    caller = of(BASE + 1) if owner == "device-model" and "domains" in path else of(0)
    reply = capped.ask(method, path.format(uuid=UUIDS[1]), body, peer=caller)
    told = problem(reply, "above-owner-cap", 409)
    assert (told["cap_kib"], told["owner"]) == (CAPS[owner].kib, owner)
    assert told["wanted_kib"] > told["cap_kib"]
    assert told["held_kib"] <= told["cap_kib"]


def test_what_fits_below_the_cap(capped: Inside) -> None:
    """Up to and including the cap, every request is granted."""
    caller = of(BASE + 1)
    for path, amount in ((ROMS.format(1) + "2", 24), (ROMS.format(1) + "2", 0)):
        told = capped.ask("PUT", path, {"amount_kib": amount}, peer=caller)
        assert told.status_code == 200
    capped.put("/v1/domains/1/limit", {"max_mem_kib": 600 * MIB, "static_max": False})


def reborn(api: Inside, domid: int) -> None:
    """Let a domain end, and another have its domid."""
    api.host.destroy(domid)
    api.host.create("another", memory=Memory.of_mib(64), domid=domid)
