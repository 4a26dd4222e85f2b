"""Client and AsyncClient: what each verb sends, and what replies become."""

# ruff: noqa: ISC004 - rows of a table, not lists of lines

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from maxmemd import client
from maxmemd.client import AsyncClient, Client, Refused, Unreachable, calls, retry
from maxmemd.client.calls import Call
from maxmemd.wire import replies, requests

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
GRANTED = replies.DecisionReply(
    uuid=UUID, domid=3, name="web", revision=8, limit_kib=525312, max_pages=131328, unlimited=False
)
HEALTH = replies.Health(live=True, ready=False, parts={"xen": "xen-failed"})
LIMIT = calls.set_limit("web", requests.LimitRequest(max_mem_kib=524288))
PARTS = [requests.ComponentBody(owner="operator", name="max-mem", amount_kib=4)]
WEB = "/v1/domains/web"

VERBS: list[tuple[Call[Any], str, str]] = [
    (calls.host(), "GET /v1/host", ""),
    (calls.domains(), "GET /v1/domains", ""),
    (calls.domain("a/../b c"), "GET /v1/domains/a%2F%2E%2E%2Fb%20c", ""),
    (
        LIMIT,
        f"PUT {WEB}/limit",
        '{"reason":"","max_mem_kib":524288,"force":false,"static_max":true}',
    ),
    (
        calls.set_target("web", requests.TargetRequest(by_kib=-4)),
        f"PUT {WEB}/target",
        '{"reason":"","by_kib":-4,"enforce":true}',
    ),
    (
        calls.set_component("web", "device-model", "roms", requests.AmountRequest(amount_kib=256)),
        f"PUT {WEB}/components/device-model/roms",
        '{"reason":"","amount_kib":256}',
    ),
    (
        calls.increase_component("web", "a", "b", requests.IncreaseRequest(by_kib=4, reason="why")),
        f"POST {WEB}/components/a/b/increase",
        '{"reason":"why","by_kib":4}',
    ),
    (calls.remove_component("web", "a", "b"), f"DELETE {WEB}/components/a/b", ""),
    (
        calls.rollback("web", requests.RollbackRequest(revision=7)),
        f"POST {WEB}/rollback",
        '{"reason":"","revision":7,"force":false}',
    ),
    (calls.drift("web"), f"GET {WEB}/drift", ""),
    (
        calls.set_drift("web", requests.DriftRequest(mode="adopt", for_s=60, reason="why")),
        f"PUT {WEB}/drift",
        '{"reason":"why","mode":"adopt","for_s":60}',
    ),
    (calls.clear_drift("web"), f"DELETE {WEB}/drift", ""),
    (calls.explain("web"), f"GET {WEB}/explain", ""),
    (calls.history("web"), f"GET {WEB}/history?limit=50", ""),
    (calls.history("web", limit=5, before=9), f"GET {WEB}/history?limit=5&before=9", ""),
    (calls.pushes("3", limit=1), "GET /v1/domains/3/pushes?limit=1", ""),
    (calls.export_record("web"), f"GET {WEB}/record", ""),
    (
        calls.import_record(UUID, requests.RecordBody(components=PARTS)),
        f"PUT /v1/records/{UUID}",
        '{"reason":"","format":"maxmemd-record-1","components":'
        '[{"owner":"operator","name":"max-mem","amount_kib":4}]}',
    ),
    (calls.health(), "GET /v1/health", ""),
]


class Wire:
    """A transport that answers from a list, and keeps what it was sent."""

    def __init__(self, *replies: BaseModel | httpx.Response | Exception) -> None:
        self.replies = list(replies)
        self.sent: list[httpx.Request] = []
        self.transport = httpx.MockTransport(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Give the next reply."""
        self.sent.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, httpx.Response):
            return reply
        return httpx.Response(200, text=reply.model_dump_json())


def sync(line: Wire, ask: Call[Any], **options: Any) -> Any:
    """Do what is asked with a Client."""
    with Client(transport=line.transport) as client:
        return client.do(ask, **options)


def with_asyncio(line: Wire, ask: Call[Any], **options: Any) -> Any:
    """Do what is asked with an AsyncClient."""

    async def doing() -> Any:
        async with AsyncClient(transport=line.transport) as client:
            return await client.do(ask, **options)

    return asyncio.run(doing())


Do = Callable[..., Any]
BOTH = pytest.mark.parametrize("do", [sync, with_asyncio])


def problem(status: int, body: dict[str, Any]) -> httpx.Response:
    """Return a problem document."""
    kind = {"content-type": "application/problem+json"}
    return httpx.Response(status, headers=kind, content=json.dumps(body))


@pytest.mark.parametrize(("ask", "line", "body"), VERBS, ids=[line for _, line, _ in VERBS])
def test_what_a_verb_sends(ask: Call[Any], line: str, body: str) -> None:
    """Method, path, query and body of every verb."""
    kept = Wire(httpx.Response(200, text="{}"))
    with pytest.raises(Unreachable):
        sync(kept, ask)
    (sent,) = kept.sent
    assert f"{sent.method} {sent.url.raw_path.decode()}" == line
    assert sent.content.decode() == body


@BOTH
def test_a_reply_is_the_model(do: Do) -> None:
    """What comes back is what the Ask says it gives."""
    assert do(Wire(GRANTED), LIMIT) == GRANTED


@BOTH
def test_a_grant_that_is_not_in_force_is_a_reply(do: Do) -> None:
    """HTTP 202 is no refusal: `push` tells."""
    assert do(Wire(httpx.Response(202, text=GRANTED.model_dump_json())), LIMIT) == GRANTED


@BOTH
def test_ill_health_is_a_reply(do: Do) -> None:
    """HTTP 503 with a body of health is an answer to the question."""
    reply = httpx.Response(503, text=HEALTH.model_dump_json())
    assert do(Wire(reply), calls.health()) == HEALTH


@BOTH
def test_a_problem_is_refused(do: Do) -> None:
    """Code, detail, numbers and status are those of the document."""
    body = {"type": "urn:x", "title": "x", "status": 409, "code": "limit-below-target",
            "detail": "cannot set it", "short_by_kib": 92160}  # fmt: skip
    with pytest.raises(Refused, match="cannot set it") as caught:
        do(Wire(problem(409, body)), LIMIT)
    refused = caught.value
    assert (refused.code, refused.status) == ("limit-below-target", 409)
    assert refused.numbers == {"short_by_kib": 92160}


@BOTH
def test_terms_of_a_write(do: Do) -> None:
    """dry_run, if_match and key are a query and two headers."""
    line = Wire(GRANTED)
    do(line, LIMIT, dry_run=True, if_match=7, key="k")
    assert line.sent[0].url.query == b"dry_run=true"
    assert line.sent[0].headers["if-match"] == '"7"'
    assert line.sent[0].headers["idempotency-key"] == "k"


BUSY = {"type": "urn:x", "title": "x", "status": 503, "code": "arbiter-busy",
        "detail": "cannot answer within 7 s"}  # fmt: skip


def busy() -> httpx.Response:
    """Return what a daemon answers whose arbiter hangs."""
    return problem(503, BUSY)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time, which passes only while a client waits."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    async def sleeping(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(client.time, "sleep", sleep)
    monkeypatch.setattr(client, "asyncio", SimpleNamespace(sleep=sleeping))
    monkeypatch.setattr(retry, "monotonic", lambda: now[0])
    return now


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
    """A daemon that is killed and started anew: with the same key, so that it happens once.

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
@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ConnectTimeout(""), httpx.ReadTimeout("")]
)
def test_no_reply_is_unreachable(error: Exception, do: Do, clock: list[float]) -> None:
    """Where nobody is, or silence: the socket is named, and it is not asked again."""
    line = Wire(error)
    with pytest.raises(Unreachable, match=r"at /run/maxmemd/maxmemd\.sock: "):
        do(line, LIMIT)
    assert len(line.sent) == 1


@BOTH
def test_other_trouble_is_an_answer(do: Do) -> None:
    """No other 503 is asked again."""
    line = Wire(problem(503, BUSY | {"code": "xen-failed"}))
    with pytest.raises(Refused):
        do(line, LIMIT)
    assert len(line.sent) == 1


@BOTH
@pytest.mark.parametrize("text", ["", "[]", '{"uuid": 1}', "<html>"])
def test_what_is_no_reply_of_ours(text: str, do: Do) -> None:
    """A body that the model does not know is told, not guessed at."""
    with pytest.raises(Unreachable, match="cannot read the reply to PUT"):
        do(Wire(httpx.Response(502, text=text)), LIMIT)


def test_reads_carry_no_key() -> None:
    """Only a write is told apart."""
    line = Wire(HEALTH)
    sync(line, calls.health())
    assert "idempotency-key" not in line.sent[0].headers


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nobody_at_the_socket() -> None:
    """Over a real Unix socket that is not there; httpcore leaves closing it to the collector."""
    with TemporaryDirectory() as place:
        path = str(Path(place) / "s")
        with Client(path) as client, pytest.raises(Unreachable, match=path):
            client.do(calls.health())

        async def doing() -> None:
            async with AsyncClient(path) as client:
                await client.do(calls.health())

        with pytest.raises(Unreachable, match=path):
            asyncio.run(doing())


def test_a_url_replaces_the_socket() -> None:
    """Requests go to the URL's host and below its path."""
    line = Wire(HEALTH)
    with Client(url="https://xen.example/maxmem", transport=line.transport) as client:
        client.do(calls.health())
    assert str(line.sent[0].url) == "https://xen.example/maxmem/v1/health"
