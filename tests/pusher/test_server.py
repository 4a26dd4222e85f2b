"""The process that holds Xen's handle: it does orders for live domains, and nothing else."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from errno import EPERM, ESRCH, ETIMEDOUT
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json

from maxmemd.errors import DomainFault, DomainGone, HypervisorError, NotPermitted, XenstoreError
from maxmemd.policy.facts import DOM0_UUID, XenFacts
from maxmemd.policy.orders import Order
from maxmemd.policy.verdicts import NO_EFFECTS, Effects
from maxmemd.pusher import client
from maxmemd.pusher.client import PusherClient
from maxmemd.pusher.connect import ChildConnector, SocketConnector, choose_connector
from maxmemd.pusher.local import LocalPusher
from maxmemd.pusher.server import PusherServer
from maxmemd.units import UNLIMITED, Memory
from maxmemd.xen.simulated import SimulatedHost
from tests.support.simhost import SimHost

MIB = Memory.of_mib
FLOOR = MIB(128)
ROOT = Path(__file__).parents[2]
SERVE = "tests.support.serve_pusher"
WITHIN_S = 20.0


@pytest.fixture
def sim() -> Iterator[SimHost]:
    """Give a host in a process of its own, with one HVM guest of domid 1."""
    with SimHost() as sim:
        sim.call("create", "db", kind="hvm", memory=MIB(128), maxmem=MIB(256))
        yield sim


@pytest.fixture
def child(sim: SimHost) -> Iterator[ChildConnector]:
    """Give the process, on that host, as a child that is started when it is needed."""
    child = ChildConnector(FLOOR, SERVE, "--host", str(sim.path))
    yield child
    child.close()


@pytest.fixture
def pusher(child: ChildConnector) -> Iterator[PusherClient]:
    """Give the way to it."""
    pusher = PusherClient(child, patience_s=WITHIN_S)
    yield pusher
    pusher.close()


def order(sim: SimHost, limit: Memory, *, uuid: str = "", **effects: Memory) -> Order:
    """Return an order for the guest."""
    seen: XenFacts = sim.call("machine.domain", 1)
    wanted = Effects(**effects) if effects else NO_EFFECTS
    return Order(1, uuid or seen.uuid, limit, limit.max_pages >= seen.max_pages, wanted)


def max_pages(sim: SimHost, domid: int = 1) -> int:
    """Return what Xen holds."""
    seen: XenFacts = sim.call("machine.domain", domid)
    return seen.max_pages


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
    """dom0 is not given less than dom0_floor, whoever decided it."""
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
    """Bounds are checked here, whatever was checked before; the connection is cut."""
    uuid, before = order(sim, MIB(4)).uuid, max_pages(sim)
    data = to_json(["push", [words(uuid, {}), words(uuid, changed)]])
    with child.connect() as connection:
        connection.settimeout(WITHIN_S)
        connection.sendall(len(data).to_bytes(4, "big") + data)
        assert connection.recv(64) == b""
    assert max_pages(sim) == before, "not even the good one of the message"
    assert pusher.domain(1).domid == 1


def test_a_message_that_never_ends(child: ChildConnector, pusher: PusherClient) -> None:
    """A length that nobody sends is refused at once; half a message is cut off in time."""
    with child.connect() as long, child.connect() as half:
        for connection, data in ((long, b"\xff\xff\xff\xff"), (half, b"\0\0\0\x10[")):
            connection.settimeout(WITHIN_S)
            connection.sendall(data)
        assert long.recv(64) == half.recv(64) == b""
    assert pusher.domain(1).domid == 1


def test_old_connections_make_room(child: ChildConnector, pusher: PusherClient) -> None:
    """Dead connections of an arbiter that was killed do not keep a new one out."""
    held = [child.connect() for _ in range(20)]
    assert pusher.domain(1).domid == 1
    for connection in held:
        connection.close()


def test_a_killed_pusher_is_started_anew(
    sim: SimHost, child: ChildConnector, pusher: PusherClient
) -> None:
    """Kill -9, and the next call, and the watch, find a new one."""
    told = threading.Semaphore(0)
    pusher.watch(told.release)
    assert told.acquire(timeout=WITHIN_S)
    for limit in (MIB(300), MIB(200)):
        assert child.process is not None
        child.process.send_signal(signal.SIGKILL)
        child.process.wait()
        (outcome,) = pusher.push([order(sim, limit)])
        assert outcome.error is None, outcome
        assert max_pages(sim) == limit.pages
        assert told.acquire(timeout=WITHIN_S)
    time.sleep(1)
    while told.acquire(blocking=False):
        continue
    sim.call("create", "web", memory=MIB(1))
    assert told.acquire(timeout=WITHIN_S)


def test_a_pusher_that_hangs_is_given_up(sim: SimHost, child: ChildConnector) -> None:
    """A stopped one is not waited for any longer than the patience; then it goes on.

    Each wait that ends is told, so that several do not look like one who is stuck.
    """
    waits: list[float] = []
    pusher = PusherClient(
        child, patience_s=0.3, on_failed_attempt=lambda: waits.append(time.monotonic())
    )
    while True:  # it may take longer than that to start
        with suppress(HypervisorError):
            assert pusher.domain(1).domid == 1
            break
    assert child.process is not None
    child.process.send_signal(signal.SIGSTOP)
    waits.clear()
    with pytest.raises(HypervisorError) as hung:
        pusher.domain(1)
    assert hung.value.errno == ETIMEDOUT
    assert len(waits) == 1
    (outcome,) = pusher.push([order(sim, MIB(300))])
    assert (outcome.seen, outcome.gone, outcome.errno) == (None, False, ETIMEDOUT)
    (looked,) = pusher.look([1], stores=[1])
    assert isinstance(looked.xen, HypervisorError)
    with pytest.raises(XenstoreError):
        pusher.facts(1)
    assert len(waits) == 4
    child.process.send_signal(signal.SIGCONT)
    pusher.close()


def test_one_that_takes_long_to_start(sim: SimHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question waits for it; those that follow have the usual patience again."""
    child = ChildConnector(FLOOR, SERVE, "--host", str(sim.path))
    pusher = PusherClient(child, patience_s=0.01)
    with pytest.raises(HypervisorError):
        pusher.host()
    monkeypatch.setattr(client, "START_WITHIN_S", WITHIN_S)
    assert pusher.wait_until_ready() == sim.call("xen.host")
    assert child.process is not None
    child.process.send_signal(signal.SIGSTOP)
    with pytest.raises(HypervisorError) as hung:
        pusher.host()
    assert hung.value.errno == ETIMEDOUT
    child.process.send_signal(signal.SIGCONT)
    pusher.close()


@pytest.mark.long
def test_it_ends_with_the_arbiter(sim: SimHost, tmp_path: Path) -> None:
    """However the arbiter dies, its child goes."""
    told = tmp_path / "pid"
    source = (
        "import os, sys, pathlib\n"
        "from maxmemd.pusher.client import PusherClient\n"
        "from maxmemd.pusher.connect import ChildConnector\n"
        "from maxmemd.units import Memory\n"
        f"child = ChildConnector(Memory(kib=4), {SERVE!r}, '--host', sys.argv[1])\n"
        "PusherClient(child).domains()\n"
        "pathlib.Path(sys.argv[2]).write_text(str(child.process.pid))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", source, str(sim.path), str(told)], cwd=ROOT, check=False)
    pid = int(told.read_text())
    until_s = time.monotonic() + WITHIN_S
    with suppress(ProcessLookupError):
        while time.monotonic() < until_s:
            os.kill(pid, 0)
            time.sleep(0.05)
        pytest.fail("it lives on")


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


def test_systemds_socket(sim: SimHost, tmp_path: Path) -> None:
    """With a listening socket passed as systemd does, it serves; without one it says what to do."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(4)
        source = (
            "import os, sys\n"
            "fd = int(sys.argv.pop(1))\n"
            "os.dup2(fd, 3)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
            f"from {SERVE} import main\n"
            "sys.exit(main())\n"
        )
        fd = listener.fileno()
        command = [sys.executable, "-c", source, str(fd), "--host", str(sim.path)]
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[fd])
        way = choose_connector(path, FLOOR)
        assert isinstance(way, SocketConnector)
        pusher = PusherClient(way, patience_s=WITHIN_S)
        assert [seen.domid for seen in pusher.domains()] == [0, 1]
        pusher.close()
        process.terminate()
        process.wait()
    ended = subprocess.run(
        [sys.executable, "-m", "maxmemd.pusher"], cwd=ROOT, check=False, capture_output=True
    )
    assert ended.returncode == 2
    assert b"systemctl start maxmemd-pusher" in ended.stderr
    child = choose_connector(tmp_path / "none", FLOOR)
    assert isinstance(child, ChildConnector)
    child.close()


class Surprising:
    """A port whose verb meets a fault of ours with domain 2."""

    def __init__(self, inner: Any, verb: str, surprise: Exception) -> None:
        self._inner, self._verb, self._surprise = inner, verb, surprise

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._inner, name)

        def met(domid: int, *args: Any, **options: Any) -> Any:
            if domid == 2:
                raise self._surprise
            return call(domid, *args, **options)

        return met if name == self._verb else call


@pytest.mark.parametrize("surprise", [ValueError("digits"), KeyError("vm"), TypeError("no")])
@pytest.mark.parametrize("verb", ["facts", "domain", "set_max_mem"])
def test_a_fault_that_one_domain_leads_to_is_answered_as_that_domains(
    tmp_path: Path, verb: str, surprise: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no malformed message: what is asked of the others is answered, and it is logged."""
    host = SimulatedHost(total=MIB(2048), dom0=MIB(256))
    for name in ("one", "two", "three"):
        host.create(name, memory=MIB(64))
    hypervisor: Any = Surprising(host.hypervisor(), verb, surprise)
    local = LocalPusher(hypervisor, Surprising(host.xenstore(), verb, surprise))  # type: ignore[arg-type]
    orders = [
        Order(domid, host.machine.domain(domid).uuid, MIB(80), raising=True, effects=NO_EFFECTS)
        for domid in (1, 2, 3)
    ]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        end_read, end_write = os.pipe()
        server = PusherServer(listener, lambda: local, FLOOR)
        thread = threading.Thread(target=server.serve, args=[end_read])
        thread.start()
        asking = PusherClient(SocketConnector(tmp_path / "s"), patience_s=WITHIN_S)
        looked = asking.look([1, 2, 3], stores=[1, 2, 3])
        outcomes = asking.push(orders)
        if verb != "set_max_mem":
            with pytest.raises(DomainFault):
                getattr(asking, verb)(2)
        assert asking.domain(1).domid == 1
        asking.close()
        os.close(end_write)
        thread.join()
        os.close(end_read)
        server.close()
    faulty = [isinstance(each.xen, DomainFault) for each in looked]
    assert faulty == [False, verb != "set_max_mem", False]
    failed = [outcome.seen is None for outcome in outcomes]
    assert failed == [False, verb != "facts", False]
    assert "malformed" not in caplog.text
    assert "a fault of maxmemd, met with domain 2" in caplog.text
