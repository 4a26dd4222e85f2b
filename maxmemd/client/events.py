"""The stream of events as a client has it: where it is, and what a line of it means."""

from collections.abc import Sequence
from typing import Any

import httpx

from maxmemd.wire import replies

AGAIN_S = 1.0
"""Seconds before a stream that ended is connected again."""
TIMEOUT = httpx.Timeout(40.0, connect=3.0)
"""Seconds; the daemon says something every 15."""
LOST = (httpx.TransportError, httpx.StreamError)


class Position:
    """A place in the stream. `known` once the daemon has said where it is."""

    def __init__(self, since: str, domain: str | None, kinds: Sequence[str]) -> None:
        self._last = since
        self.known = False
        self._query: dict[str, str] = {}
        if domain is not None:
            self._query["domain"] = domain
        if kinds:
            self._query["kind"] = ",".join(kinds)

    def asked(self) -> dict[str, Any]:
        """Return the rest of the request that goes on from here."""
        headers = {"Accept": "text/event-stream"}
        if self._last:
            headers["Last-Event-ID"] = self._last
        return {"params": self._query, "headers": headers, "timeout": TIMEOUT}

    def take(self, line: str) -> replies.Event | None:
        """Take one line; return the event that it is, if it is one. Raises ValidationError."""
        field, _, value = line.partition(": ")
        if field == "id":
            self._last, self.known = value, True
        return replies.Event.model_validate_json(value) if field == "data" else None
