"""Which requests are sent again, and for how long."""

from typing import Any

import httpx
import pytest

from maxmemd.client import Refused, Unreachable, calls
from tests.client.wire import BOTH, GRANTED, HEALTH, LIMIT, Do, Wire, problem

BUSY = {"type": "urn:x", "title": "x", "status": 503, "code": "arbiter-busy",
        "detail": "cannot answer within 7 s"}  # fmt: skip


def busy() -> httpx.Response:
    """Return what a daemon answers whose arbiter hangs."""
    return problem(503, BUSY)


@BOTH
@pytest.mark.parametrize(
    "trouble",
    [
        [httpx.ReadError("reset")],
        [httpx.RemoteProtocolError("cut")],
        [None],
        [None, httpx.ReadError(""), httpx.ConnectError("refused"), httpx.ReadTimeout(""), None],
    ],
)
def test_trouble_that_passes(
    do: Do, trouble: list[Any], clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon that is killed and restarted: with the same key, so that it happens once.

    None stands for one that is busy.
    """
    line = Wire(*[each or busy() for each in trouble], GRANTED)
    assert do(line, LIMIT, if_match=7) == GRANTED
    assert len(line.sent) == len(trouble) + 1
    keys = {sent.headers["idempotency-key"] for sent in line.sent}
    assert len(bytes.fromhex(keys.pop())) == 16
    assert not keys
    assert {sent.headers["if-match"] for sent in line.sent} == {'"7"'}
    assert not caplog.messages


@BOTH
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_changes_nothing_survives_too(do: Do, dry_run: bool, clock: list[float]) -> None:
    """A read, and a dry run, which stays one."""
    if dry_run:
        line = Wire(busy(), httpx.ReadError(""), GRANTED)
        assert do(line, LIMIT, dry_run=True) == GRANTED
        assert {sent.url.query for sent in line.sent} == {b"dry_run=true"}
    else:
        assert do(Wire(busy(), httpx.ReadError(""), HEALTH), calls.health()) == HEALTH


@BOTH
def test_trouble_that_stays(do: Do, clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    """For thirty seconds and no longer; it is logged once what is waited for."""
    with pytest.raises(Refused, match="within 7 s") as refused:
        do(Wire(*[busy() for _ in range(500)]), LIMIT)
    assert refused.value.code == "arbiter-busy"
    assert clock[0] == pytest.approx(30, abs=0.2)
    said = "waiting for maxmemd at /run/maxmemd/maxmemd.sock: cannot answer within 7 s"
    assert caplog.messages == [said]
    clock[0] = 0.0
    with pytest.raises(Unreachable, match="reset"):
        do(Wire(*[httpx.ReadError("reset") for _ in range(500)]), LIMIT)
    assert clock[0] == pytest.approx(30, abs=0.2)


@BOTH
def test_other_trouble_is_an_answer(do: Do) -> None:
    """No other 503 is asked again."""
    line = Wire(problem(503, BUSY | {"code": "xen-failed"}))
    with pytest.raises(Refused):
        do(line, LIMIT)
    assert len(line.sent) == 1
