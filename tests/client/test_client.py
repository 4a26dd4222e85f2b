"""Client and AsyncClient: what each verb sends, and what replies become."""

import httpx
import pytest

from maxmemd.client import Refused, Unreachable, calls
from tests.client.wire import BOTH, GRANTED, HEALTH, LIMIT, Do, Wire, problem, sync


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
@pytest.mark.parametrize("text", ["", "[]", '{"uuid": 1}', "<html>"])
def test_what_is_no_reply_of_ours(text: str, do: Do) -> None:
    """A body that the model does not accept is an error, not a guess."""
    with pytest.raises(Unreachable, match="cannot read the reply to PUT"):
        do(Wire(httpx.Response(502, text=text)), LIMIT)


def test_reads_carry_no_key() -> None:
    """Only a write is different."""
    line = Wire(HEALTH)
    sync(line, calls.health())
    assert "idempotency-key" not in line.sent[0].headers
