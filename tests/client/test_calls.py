"""What each call sends, and the model that its reply becomes."""

from typing import Any

import httpx
import pytest

from maxmemd.client import Unreachable, calls
from maxmemd.client.calls import Call
from maxmemd.wire import requests
from tests.client.wire import BOTH, GRANTED, LIMIT, UUID, Do, Wire, sync

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
        (
            '{"reason":"","format":"maxmemd-record-1","components":'
            '[{"owner":"operator","name":"max-mem","amount_kib":4}]}'
        ),
    ),
    (calls.health(), "GET /v1/health", ""),
]


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
def test_terms_of_a_write(do: Do) -> None:
    """dry_run, if_match and key are a query and two headers."""
    line = Wire(GRANTED)
    do(line, LIMIT, dry_run=True, if_match=7, key="k")
    assert line.sent[0].url.query == b"dry_run=true"
    assert line.sent[0].headers["if-match"] == '"7"'
    assert line.sent[0].headers["idempotency-key"] == "k"
