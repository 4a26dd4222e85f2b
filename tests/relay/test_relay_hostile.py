"""What guests may do to the relay, and what may happen while it waits for the daemon."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from maxmemd.pacing import Backoff
from maxmemd.relay import stubdom as pace
from maxmemd.relay.nodes import remove_nodes
from maxmemd.xen.xs_wire import Connection
from tests.relay.daemon import GRANTED, Held, problem
from tests.relay.scene import Scene, until, uuid_of
from tests.support.stub import DROP, Stub
from tests.support.xenstored import END, READ, START

S, N = 21, 20
ROUTE = f"POST /v1/domains/{N}/relayed-headroom"


@pytest.fixture
def served(told: Scene, daemon: Stub) -> Scene:
    """Give a scene with a stub domain whose every request is granted."""
    told.stub(S, N)
    daemon.replies[ROUTE] = GRANTED
    told.start_relay()
    until("the nodes are there", lambda: told.rights(S, "reply") is not None)
    return told


@pytest.mark.parametrize(
    "replies",
    [
        [DROP, DROP, GRANTED],
        [problem(503, "arbiter-busy"), problem(500, "internal"), GRANTED],
        [problem(429, "too-many-requests"), GRANTED],
        [(200, {"limit_kib": 1, "push": {"state": "failed", "error": "EIO"}}), GRANTED],
        [(202, {"limit_kib": 1, "push": {"state": "pending", "error": None}}), GRANTED],
        [(200, {"no": "such reply"}), GRANTED],
        [(200, b"not JSON"), GRANTED],
    ],
    ids=["lost", "busy", "too soon", "not in force", "pending", "foreign", "no JSON"],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_cannot_be_said_yet_is_asked_again(
    served: Scene, daemon: Stub, replies: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same key and the same words; until then the stub domain sees no reply."""
    monkeypatch.setattr(pace, "RETRY", Backoff(0.05, 30.0))
    many = len(replies)
    daemon.replies[ROUTE] = replies
    assert served.answer(S, "a1 headroom 7") == "granted 4096"
    assert len(daemon.seen) == many
    assert len(set(daemon.seen)) == 1
    keys = {headers["idempotency-key"] for headers in daemon.headers}
    assert keys == {f"one-boot:{uuid_of(S)}:{S}:a1"}


def test_the_retries_become_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is away for long is not asked for ever at the first pace."""
    home = pace.StubDomain(S)
    waits = []
    for _ in range(12):
        home.on_no_answer(100.0)
        waits.append(home.retry_s - 100.0)
    assert waits[:3] == [0.5, 1.0, 2.0]
    assert waits[-1] == pace.RETRY.most_s
    home.on_answer("granted 4", 100.0)
    home.on_no_answer(100.0)
    assert home.retry_s == 100.5


def test_a_request_is_rewritten_while_it_is_decided(served: Scene, daemon: Stub) -> None:
    """The first is answered with its own ID, then the second; nothing is mixed."""
    held = daemon.replies[ROUTE] = Held(GRANTED, problem(409, "above-owner-cap"))
    seen = replies_of(served)
    served.ask(S, "a1 headroom 7")
    until("it is being asked", lambda: daemon.seen)
    served.ask(S, "a2 headroom 8")
    served.stays("only the first is asked", lambda: len(daemon.seen) == 1)
    held.let.set()
    assert served.reply(S, "a2") == "refused above-owner-cap"
    assert list(seen) == ["a1 granted 4096", "a2 refused above-owner-cap"]
    assert [line.count('"pages": 7') for line in daemon.seen] == [1, 0]


def replies_of(scene: Scene) -> list[str]:
    """Collect what the stub domain is shown, from now on."""
    seen: list[str] = []
    write = scene.fake._merge

    def merge(before: Any, tree: Any) -> None:
        write(before, tree)
        if scene.read(S, "reply"):
            seen.append(scene.read(S, "reply"))

    scene.fake._merge = merge  # type: ignore[method-assign]
    return seen


def test_a_stub_domain_that_is_destroyed_while_it_waits(served: Scene, daemon: Stub) -> None:
    """The answer is dropped; its path is not made again, and the relay serves on."""
    held = daemon.replies[ROUTE] = Held(GRANTED)
    served.ask(S, "a1 headroom 7")
    until("it is being asked", lambda: daemon.seen)
    served.destroy(S)
    held.let.set()
    served.stays("nothing is made again", lambda: served.below(S) == [])
    assert another_is_served(served, daemon)


def test_it_dies_between_the_answer_and_the_writing(served: Scene, daemon: Stub) -> None:
    """The transaction that would write checks the path itself, after whatever was looked at."""
    dying = threading.Event()
    obey = served.fake._start

    def start(*asked: Any) -> bytes:
        if daemon.seen and not dying.is_set():
            dying.set()
            served.fake.drop(f"/local/domain/{S}")
        return obey(*asked)

    served.fake._start = start  # type: ignore[method-assign]
    served.ask(S, "a1 headroom 7")
    until("it has died", dying.is_set)
    served.stays("nothing is made again", lambda: served.below(S) == [])
    assert another_is_served(served, daemon)


def test_a_domid_is_used_again_while_it_waits(served: Scene, daemon: Stub) -> None:
    """The next domain of that domid gets no answer of the last one's; it asks for itself."""
    first = daemon.replies[ROUTE] = Held(GRANTED)
    second = Held(problem(409, "above-owner-cap"))
    daemon.replies["POST /v1/domains/22/relayed-headroom"] = second
    served.ask(S, "a1 headroom 7")
    until("it is being asked", lambda: daemon.seen)
    served.destroy(S)
    served.domain(22)
    served.domain(S, uuid_of(77))
    served.fake.put("/local/domain/22/image/device-model-domid", str(S))
    served.fake.put(f"/local/domain/{S}/target", "22")
    served.ask(S, "a1 headroom 7")
    until("the next one asks", lambda: len(daemon.seen) == 2)
    first.let.set()
    served.stays("it is not answered", lambda: served.read(S, "reply") == "")
    second.let.set()
    assert served.reply(S, "a1") == "refused above-owner-cap"
    keys = [headers["idempotency-key"] for headers in daemon.headers]
    assert keys == [f"one-boot:{uuid_of(S)}:{S}:a1", f"one-boot:{uuid_of(77)}:{S}:a1"]


def test_one_who_waits_holds_up_nobody(served: Scene, daemon: Stub) -> None:
    """While the daemon keeps one stub domain waiting, another is answered."""
    held = daemon.replies[ROUTE] = Held(GRANTED)
    served.ask(S, "a1 headroom 7")
    until("it is being asked", lambda: daemon.seen)
    assert another_is_served(served, daemon)
    held.let.set()
    assert served.reply(S, "a1") == "granted 4096"


def test_more_wait_than_may_ask_at_once(told: Scene, daemon: Stub) -> None:
    """Requests above the bound wait for their turn, and all are answered."""
    held = Held()
    stubs = range(100, 120)
    for stub in stubs:
        told.stub(stub, stub + 100)
        path = f"POST /v1/domains/{stub + 100}/relayed-headroom"
        daemon.replies[path] = Held(GRANTED)
        daemon.replies[path].let = held.let
    told.start_relay()
    for stub in stubs:
        told.ask(stub, "a1 headroom 7")
    until("as many ask as may", lambda: len(daemon.seen) == 16)
    told.stays("no more ask", lambda: len(daemon.seen) == 16)
    held.let.set()
    for stub in stubs:
        assert told.reply(stub, "a1") == "granted 4096"
    assert len(daemon.seen) == 20


def test_a_flood_of_writes(served: Scene, daemon: Stub) -> None:
    """A guest that writes without end is read at a bounded rate; others are served."""
    flooding, guest = threading.Event(), served.guest(S)

    def flood() -> None:
        number = 0
        while not flooding.is_set():
            number += 1
            guest.write("maxmem/request", "\x00\xff" * (number % 600))
            guest.write(f"maxmem/request/{number % 500}", "below it is its own")

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        time.sleep(0.5)
        for number in range(2):
            assert another_is_served(served, daemon, 40 + 2 * number)
        reads, began_s = served.fake.asked.count(READ), time.monotonic()
        time.sleep(1.5)
        took_s = time.monotonic() - began_s
        looks = (served.fake.asked.count(READ) - reads) / 6
        assert looks <= 2 * took_s / pace.LOOK_EVERY_S
    finally:
        flooding.set()
        thread.join()
    assert daemon.seen == [line for line in daemon.seen if f"/{N}/" not in line]
    assert served.answer(S, "a1 headroom 7") == "granted 4096"


def test_a_flood_of_requests(served: Scene, daemon: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst is served at once, and what comes after it waits for its time."""
    monkeypatch.setattr(pace, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(pace, "ASK_EVERY_S", 30.0)
    for number in range(pace.ASK_BURST):
        served.answer(S, f"r{number} headroom 7")
    served.ask(S, "late headroom 7")
    served.stays("it waits", lambda: len(daemon.seen) == pace.ASK_BURST)
    assert another_is_served(served, daemon)


def test_the_pace() -> None:
    """After the burst it is one in ASK_EVERY_S; what was not used is saved up to a burst."""
    home = pace.StubDomain(S)
    assert [home.rate.wait_s(100.0) for _ in range(pace.ASK_BURST + 1)] == [
        0.0
    ] * pace.ASK_BURST + [1.0]
    assert home.rate.wait_s(101.0) == 0.0
    assert home.rate.wait_s(101.0) == 1.0
    assert [home.rate.wait_s(9999.0) for _ in range(pace.ASK_BURST + 1)][-2:] == [0.0, 1.0]


def test_what_was_answered_is_not_asked_again(served: Scene, daemon: Stub) -> None:
    """Nor is what cannot be read told of again and again."""
    served.answer(S, "a1 headroom 7")
    for _ in range(3):
        served.ask(S, "a1 headroom 7")
    served.stays("nothing is asked", lambda: len(daemon.seen) == 1)
    served.ask(S, "?")
    served.reply(S, "-")
    ends = served.fake.asked.count(END)
    for number in range(3):
        served.ask(S, "?" * number + "!")
    served.stays("nothing is written", lambda: served.fake.asked.count(END) == ends)


def test_a_guest_removes_its_request(served: Scene, daemon: Stub) -> None:
    """Who may write a node may remove it; it is made again, with its rights."""
    served.answer(S, "a1 headroom 7")
    served.guest(S).remove("maxmem/request")
    until("it is there again", lambda: served.rights(S, "request") == ("n0", f"b{S}"))
    assert served.answer(S, "a2 headroom 7") == "granted 4096"


def test_transactions_that_always_clash(
    served: Scene, daemon: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What xenstored refuses about one domain is tried again; the connection is kept."""
    monkeypatch.setattr("maxmemd.relay.relay.RETRY_S", 0.1)
    connections = list(served.fake.clients)
    served.fake.conflicts = 40
    assert served.answer(S, "a1 headroom 7") == "granted 4096"
    assert served.fake.clients[: len(connections)] == connections
    assert len(daemon.seen) == 1


def test_a_xenstored_that_hangs(told: Scene, daemon: Stub) -> None:
    """It is given up after the patience, and the answer is written once it is well."""
    told.patience_s = 1.0
    told.stub(S, N)
    daemon.replies[ROUTE] = GRANTED
    told.start_relay()
    until("the nodes are there", lambda: told.rights(S, "reply") is not None)
    told.fake.mute.add(START)
    told.ask(S, "a1 headroom 7")
    until("it wants to write", lambda: told.fake.asked[-1] == START and daemon.seen)
    told.stays("nothing is said", lambda: told.read(S, "reply") == "")
    told.fake.mute.clear()
    assert told.reply(S, "a1") == "granted 4096"
    assert len(daemon.seen) == 1


@pytest.mark.long
def test_the_log_is_no_place_to_flood(
    served: Scene, daemon: Stub, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither requests nor a daemon that is away fill the journal."""
    daemon.replies[ROUTE] = [problem(503, "arbiter-busy")] * 3 + [GRANTED]
    with caplog.at_level(logging.INFO, "maxmemd"):
        for number in range(8):
            served.answer(S, f"r{number} headroom 7")
    assert caplog.text.count("cannot answer a stub domain yet (retrying)") == 1
    assert not [record for record in caplog.records if record.levelname != "WARNING"]


def test_nodes_are_taken_away_in_a_transaction(served: Scene) -> None:
    """Of a domain that is gone nothing is left, and nothing comes back."""
    served.end_relay()
    dom0 = Connection(served.fake.path)
    remove_nodes(dom0, S)
    assert served.rights(S, "") is None
    served.destroy(S)
    remove_nodes(dom0, S)
    assert served.below(S) == []
    assert served.fake.asked[-1] == END
    dom0.close()


def another_is_served(scene: Scene, daemon: Stub, target: int = 30) -> bool:
    """Make another pair, and say whether its request is granted."""
    daemon.replies[f"POST /v1/domains/{target}/relayed-headroom"] = GRANTED
    scene.stub(target + 1, target)
    answer: Callable[[int, str], str] = scene.answer
    return answer(target + 1, "z1 headroom 7") == "granted 4096"
