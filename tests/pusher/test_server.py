"""The process that holds Xen's handle: it does orders for live domains, and nothing else."""

import os
import socket
import subprocess
import sys
from contextlib import suppress
from errno import EPERM, ESRCH
from pathlib import Path

import pytest
from pydantic_core import to_json

from maxmemd.errors import DomainGone, HypervisorError, NotPermitted, XenstoreError
from maxmemd.policy.facts import DOM0_UUID
from maxmemd.policy.orders import Order
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import ChildConnector
from maxmemd.pusher.local import LocalPusher
from maxmemd.units import UNLIMITED, Memory
from tests.pusher.orders import FLOOR, MIB, ROOT, SERVE, WITHIN_S, max_pages, order
from tests.support.simhost import SimHost
from tests.support.until import until


def test_it_tells_what_is_there(sim: SimHost, pusher: PusherClient) -> None:
    """What is seen through the process is what is seen directly."""
    direct = LocalPusher(sim.hypervisor(), sim.xenstore())
    assert pusher.domains() == direct.domains()
    assert pusher.domain(1) == direct.domain(1)
    assert pusher.host() == direct.host()
    assert pusher.facts(1) == direct.facts(1)
    assert pusher.facts(77) == direct.facts(77)
    seen, nothing, dom0 = pusher.look([1, 77, 0], stores=[1])
    assert (seen.xen, seen.store) == (direct.domain(1), direct.facts(1))
    assert isinstance(nothing.xen, DomainGone)
    assert (dom0.xen, dom0.store) == (direct.domain(0), None)
    direct.close()


@pytest.mark.parametrize("limit", [MIB(300), MIB(96), Memory(kib=3), UNLIMITED, MIB(2**30)])
def test_an_order(sim: SimHost, pusher: PusherClient, limit: Memory) -> None:
    """A limit is set and read back, with the nodes and the PoD target."""
    amounts = {"target": MIB(64), "static_max": MIB(80), "pod_target": MIB(90)}
    (outcome,) = pusher.push([order(sim, limit, **amounts)])
    assert outcome.error is None
    assert outcome.seen is not None
    assert outcome.seen.max_pages == limit.max_pages == max_pages(sim)
    store = pusher.facts(1)
    assert (store.target, store.static_max) == (MIB(64), MIB(80))


def test_one_that_fails_keeps_none_from_its_turn(sim: SimHost, pusher: PusherClient) -> None:
    """Orders of one message are done each for itself."""
    gone = Order(77, order(sim, MIB(1)).uuid, MIB(1), raising=True, effects=NO_EFFECTS)
    done = pusher.push([gone, order(sim, MIB(300)), gone])
    assert [(outcome.gone, outcome.errno) for outcome in done] == [
        (True, ESRCH),
        (False, None),
        (True, ESRCH),
    ]
    assert max_pages(sim) == MIB(300).pages
    assert pusher.push([]) == []


def test_what_xen_and_xenstore_refuse(sim: SimHost, pusher: PusherClient) -> None:
    """Errors come back as they were, with class and numbers."""
    sim.call("fail", "set_max_mem", EPERM)
    (outcome,) = pusher.push([order(sim, MIB(300))])
    assert (outcome.seen, outcome.gone, outcome.errno) == (None, False, EPERM)
    sim.call("fail", "domains", EPERM)
    with pytest.raises(NotPermitted) as refused:
        pusher.domains()
    assert (refused.value.domid, refused.value.errno) == (None, EPERM)
    with pytest.raises(DomainGone) as gone:
        pusher.domain(77)
    assert (gone.value.domid, gone.value.errno) == (77, ESRCH)
    sim.call("set_xenstore_away", True)
    with pytest.raises(XenstoreError):
        pusher.facts(1)
    (looked,) = pusher.look([1], stores=[1])
    assert isinstance(looked.store, XenstoreError)
    sim.call("heal")
    (outcome,) = pusher.push([order(sim, MIB(300))])
    assert outcome.error is None


def test_another_domain_is_not_touched(sim: SimHost, pusher: PusherClient) -> None:
    """A domid that is another UUID by now, or dying, is gone: nothing is set."""
    before = max_pages(sim)
    (outcome,) = pusher.push([order(sim, MIB(300), uuid="00000000-dead-4000-8000-000000000000")])
    assert (outcome.gone, outcome.errno, max_pages(sim)) == (True, ESRCH, before)


def test_dom0_keeps_its_floor(sim: SimHost, pusher: PusherClient) -> None:
    """dom0 is not given less than dom0_floor, even if the daemon orders it."""
    before = max_pages(sim, 0)
    low, enough = FLOOR - Memory(kib=4), FLOOR
    (refused,) = pusher.push([Order(0, DOM0_UUID, low, raising=False, effects=NO_EFFECTS)])
    assert (refused.seen, refused.gone, refused.errno) == (None, False, EPERM)
    assert (refused.error or "").startswith("cannot give dom0 less than dom0_floor")
    assert max_pages(sim, 0) == before
    (granted,) = pusher.push([Order(0, DOM0_UUID, enough, raising=False, effects=NO_EFFECTS)])
    assert granted.error is None
    assert max_pages(sim, 0) == enough.pages


@pytest.mark.parametrize("name", ["target", "static_max", "pod_target"])
def test_dom0_keeps_its_floor_in_every_amount(
    name: str, sim: SimHost, pusher: PusherClient
) -> None:
    """A target or static-max would starve dom0 as well: its balloon follows them."""
    before, store = max_pages(sim, 0), pusher.facts(0)
    for low in (Memory(kib=0), Memory(kib=4), FLOOR - Memory(kib=1)):
        wanted = Effects(**{name: low})
        (refused,) = pusher.push([Order(0, DOM0_UUID, FLOOR, raising=False, effects=wanted)])
        assert (refused.seen, refused.gone, refused.errno) == (None, False, EPERM)
        assert (refused.error or "").startswith("cannot give dom0 less than dom0_floor")
    assert (max_pages(sim, 0), pusher.facts(0)) == (before, store)
    enough = Effects(static_max=FLOOR, target=FLOOR)
    (granted,) = pusher.push([Order(0, DOM0_UUID, FLOOR, raising=False, effects=enough)])
    assert granted.error is None
    assert (pusher.facts(0).target, pusher.facts(0).static_max) == (FLOOR, FLOOR)


def words(uuid: str, changed: dict[str, object]) -> list[object]:
    """Return an order as it travels, with some words changed."""
    named: dict[str, object] = {"domid": 1, "uuid": uuid, "limit": 4096, "raising": True}
    return [*(named | changed).values(), None, None, None]


HOSTILE = [
    b"null",
    b"{}",
    b"[]",
    b"[7]",
    b'["exec","/bin/sh"]',
    b'["domain"]',
    b'["domain",1,2]',
    b'["domain",-1]',
    b'["domain",32752]',
    b'["domain",true]',
    b'["domain","1"]',
    b'["look",[1]]',
    b'["look",1,[]]',
    b'["look",[1],[32752]]',
    b'["push",7]',
    b'["push",[[]]]',
    b'["push",[[1,2,3,4,5,6,7]]]',
    b'["set_max_mem",1,4096]',
    b"[" * 200_000,
    b"\xff\xfe",
    b"",
]


@pytest.mark.parametrize("data", HOSTILE, ids=lambda data: repr(data[:24]))
def test_nonsense_is_cut_off(
    data: bytes, sim: SimHost, child: ChildConnector, pusher: PusherClient
) -> None:
    """A message that is none of ours ends its connection; nothing is done, others are served."""
    before = max_pages(sim)
    with child.connect() as connection:
        connection.settimeout(WITHIN_S)
        connection.sendall(len(data).to_bytes(4, "big") + data)
        assert connection.recv(64) == b""
    assert max_pages(sim) == before
    assert pusher.domain(1).domid == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"domid": -1},
        {"domid": 0x7FF0},
        {"domid": True},
        {"limit": -1},
        {"limit": 2**52},
        {"limit": 4096.5},
        {"limit": "4096"},
        {"limit": True},
        {"limit": None},
        {"uuid": "short"},
        {"uuid": 7},
        {"raising": 1},
    ],
    ids=str,
)
def test_an_order_out_of_bounds(
    changed: dict[str, object], sim: SimHost, child: ChildConnector, pusher: PusherClient
) -> None:
    """Bounds are checked here again, and a bad order closes the connection."""
    uuid, before = order(sim, MIB(4)).uuid, max_pages(sim)
    data = to_json(["push", [words(uuid, {}), words(uuid, changed)]])
    with child.connect() as connection:
        connection.settimeout(WITHIN_S)
        connection.sendall(len(data).to_bytes(4, "big") + data)
        assert connection.recv(64) == b""
    assert max_pages(sim) == before, "not even the good one of the message"
    assert pusher.domain(1).domid == 1


def test_a_message_that_never_ends(child: ChildConnector, pusher: PusherClient) -> None:
    """A length beyond any real message is refused at once; half a message times out."""
    with child.connect() as long, child.connect() as half:
        for connection, data in ((long, b"\xff\xff\xff\xff"), (half, b"\0\0\0\x10[")):
            connection.settimeout(WITHIN_S)
            connection.sendall(data)
        assert long.recv(64) == half.recv(64) == b""
    assert pusher.domain(1).domid == 1


def test_old_connections_make_room(child: ChildConnector, pusher: PusherClient) -> None:
    """Dead connections of an arbiter that was killed do not keep a new one out."""
    held = [connected(child) for _ in range(20)]
    assert pusher.domain(1).domid == 1
    for connection in held:
        connection.close()


def connected(child: ChildConnector) -> socket.socket:
    """Return a connection, once the child has room for one."""
    found: list[socket.socket] = []

    def has_room() -> bool:
        with suppress(BlockingIOError):
            found.append(child.connect())
        return bool(found)

    until("there is room", has_room)
    return found[0]


def test_no_http_and_no_sql() -> None:
    """The process that holds Xen's handle has loaded nothing that parses HTTP or knows SQL."""
    source = (
        "import sys\n"
        "from maxmemd.pusher import __main__, server\n"
        "from maxmemd.xen import xencall, xenstore\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    ran = subprocess.run(  # coverage would bring modules of its own
        [sys.executable, "-c", source],
        cwd=ROOT, env=plain, check=True, capture_output=True, text=True,
    )  # fmt: skip
    loaded = set(ran.stdout.split())
    assert "maxmemd" in loaded
    barred = {"fastapi", "starlette", "uvicorn", "httptools", "http", "sqlalchemy", "sqlite3"}
    assert not loaded & (barred | {"alembic", "httpx", "uvloop", "asyncio", "ssl"})


def test_a_handle_that_cannot_be_opened(tmp_path: Path) -> None:
    """Every answer says why, and it is tried again; the listening socket stays."""
    nowhere = tmp_path / "nobody"
    child = ChildConnector(FLOOR, SERVE, "--host", str(nowhere))
    pusher = PusherClient(child, patience_s=WITHIN_S)
    with pytest.raises(HypervisorError):
        pusher.domains()
    pusher.close()
