"""Requests to a daemon that cannot answer yet."""

from typing import Any

import pytest

from maxmemd.pacing import Backoff
from maxmemd.relay import stubdom as pace
from tests.relay.daemon import GRANTED, Held, problem
from tests.relay.scene import ROUTE, S, Scene, uuid_of
from tests.support.stub import DROP, Stub
from tests.support.until import until


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
