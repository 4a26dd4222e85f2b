"""What no route answers: unknown paths, wrong methods, bugs; and the headers of every reply."""

import httpx
import pytest

from tests.support.inside import ROOT, Inside, problem


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/nothing", "/v1", "/", "/v2/host", "/v1/host/", "/v1//host"])
def test_no_such_route(api: Inside, method: str, path: str) -> None:
    """An unknown path is answered with a problem document."""
    problem(api.ask(method, path), "not-found", 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/host", "GET"),
        ("PATCH", "/v1/domains/web", "GET"),
        ("GET", "/v1/domains/web/limit", "PUT"),
        ("GET", "/v1/domains/web/components/operator/max-mem", "DELETE, PUT"),
        ("PUT", "/v1/domains/web/components/operator/max-mem/increase", "POST"),
        ("DELETE", "/metrics", "GET"),
        ("DELETE", "/v1/docs", "GET"),
    ],
)
def test_wrong_method(api: Inside, method: str, path: str, allowed: str) -> None:
    """A route asked with another method says which it has."""
    reply = api.ask(method, path)
    problem(reply, "method-not-allowed", 405)
    assert ", ".join(sorted(reply.headers["allow"].split(", "))) == allowed


def test_a_fault_of_ours_is_told_without_its_insides(
    api: Inside, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error is a problem document with code internal, and a traceback in the log."""

    def broken() -> None:
        raise RuntimeError("secret")

    api.host.machine.domains = broken  # type: ignore[method-assign,assignment]
    reply = api.ask("GET", "/v1/domains")
    del api.host.machine.domains
    assert "secret" not in problem(reply, "internal", 500)["detail"].replace("RuntimeError", "")
    assert "RuntimeError: secret" in caplog.text


def test_every_reply_is_json_with_a_length(api: Inside) -> None:
    """Replies carry their length and media type, and no server's name."""
    reply: httpx.Response = api.ask("GET", "/v1/host", peer=ROOT)
    assert reply.headers["content-type"] == "application/json"
    assert int(reply.headers["content-length"]) == len(reply.content)
    assert "server" not in reply.headers
