"""What guests may do to the relay, and what may happen while it waits for the daemon."""

import logging
import threading
from typing import Any

import pytest

from maxmemd.relay.nodes import remove_nodes
from maxmemd.xen.xs_wire import Connection
from tests.relay.daemon import GRANTED, Held, problem
from tests.relay.scene import ROUTE, N, S, Scene, another_is_served, uuid_of
from tests.support.stub import Stub
from tests.support.until import until
from tests.support.xenstored import END, START


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


def test_a_stub_domain_that_waits_holds_up_no_other(served: Scene, daemon: Stub) -> None:
    """While the daemon keeps one stub domain waiting, another is answered."""
    held = daemon.replies[ROUTE] = Held(GRANTED)
    served.ask(S, "a1 headroom 7")
    until("it is being asked", lambda: daemon.seen)
    assert another_is_served(served, daemon)
    held.let.set()
    assert served.reply(S, "a1") == "granted 4096"


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
