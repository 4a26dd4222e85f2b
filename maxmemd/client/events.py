"""The client's position in the stream of events, and the meaning of its lines."""

from collections.abc import Sequence
from typing import TypedDict

import httpx

from maxmemd.client.calls import Ref
from maxmemd.rest.retry import CONNECT_S, STREAM_SILENCE_S
from maxmemd.wire import history_replies

TIMEOUT = httpx.Timeout(STREAM_SILENCE_S, connect=CONNECT_S)
LOST = (httpx.TransportError, httpx.StreamError)


class StreamRequest(TypedDict):
    """Keyword arguments of httpx's `stream`."""

    params: dict[str, str]
    headers: dict[str, str]
    timeout: httpx.Timeout


class Position:
    """A position in the stream. `is_known` once the daemon has sent an id."""

    def __init__(self, since: str | int, domain: Ref | None, kinds: Sequence[str]) -> None:
        self._last_id = str(since)
        self.is_known = False
        self._query: dict[str, str] = {}
        if domain is not None:
            self._query["domain"] = str(domain)
        if kinds:
            self._query["kind"] = kinds if isinstance(kinds, str) else ",".join(kinds)

    def request(self) -> StreamRequest:
        """Return the arguments of a request that continues from here."""
        headers = {"Accept": "text/event-stream"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        return {"params": self._query, "headers": headers, "timeout": TIMEOUT}

    def read_line(self, line: str) -> history_replies.Event | None:
        """Follow one line; return its event if it has one. Raises ValidationError."""
        field, _, value = line.partition(": ")
        if field == "id":
            self._last_id, self.is_known = value, True
        return history_replies.Event.model_validate_json(value) if field == "data" else None
