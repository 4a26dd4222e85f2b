"""Requests to the daemon, each in a thread of its own, so that a slow one delays no other.

A request that cannot be answered yet is sent again with the same idempotency key, so that it counts
once, however often the relay, the daemon or the connection is lost meanwhile.
"""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

from maxmemd.policy.states import IN_FORCE
from maxmemd.relay.nodes import Binding
from maxmemd.relay.protocol import Request, format_granted, format_refused
from maxmemd.rest.connection import DaemonConnection
from maxmemd.rest.reply import Answer, Unreachable

MOST_AT_ONCE = 16


class RequestResult(NamedTuple):
    """The result of a request: the answer without its ID, or None and the reason to retry."""

    binding: Binding
    request: Request
    answer: str | None
    reason: str = ""


class RequestSender:
    """Sends requests to the daemon. `on_result` is called from a thread when there are results."""

    def __init__(self, socket: str, boot: str, on_result: Callable[[], None]) -> None:
        """`boot` identifies the host's current boot: domids start over with each."""
        # No retries here: the relay retries itself, with growing pauses and for any time.
        self._daemon = DaemonConnection(socket, retry_s=0.0)
        self._boot, self._on_result = boot, on_result
        self._results: SimpleQueue[RequestResult] = SimpleQueue()
        self._pending = 0

    @property
    def is_full(self) -> bool:
        """Whether as many requests are pending as are allowed."""
        return self._pending >= MOST_AT_ONCE

    def send(self, binding: Binding, request: Request) -> None:
        """Send a request, and return without waiting for its result."""
        self._pending += 1
        Thread(target=self._run, args=[binding, request], daemon=True).start()

    def take_results(self) -> list[RequestResult]:
        """Return the results that have arrived since the last call."""
        results: list[RequestResult] = []
        while True:
            try:
                results.append(self._results.get_nowait())
            except Empty:
                self._pending -= len(results)
                return results

    def _run(self, binding: Binding, request: Request) -> None:
        answer, reason = None, "internal error in the relay; see its log"
        try:
            answer, reason = self._exchange(binding, request)
        except Unreachable as error:
            reason = str(error)
        finally:
            # Also after an unexpected error: without a result the request would stay pending.
            self._results.put(RequestResult(binding, request, answer, reason))
            self._on_result()

    def _exchange(self, binding: Binding, request: Request) -> tuple[str | None, str]:
        """Send one request. Raises Unreachable."""
        body = {
            "pages": request.pages,
            "uuid": binding.target_uuid,
            "stub_domid": binding.domid,
            "reason": f"request {request.id} of {binding.uuid}",
        }
        key = f"{self._boot}:{binding.uuid}:{binding.domid}:{request.id}"
        path = f"/v1/domains/{binding.target}/relayed-headroom"
        return _parse_reply(self._daemon.ask("POST", path, body, {"Idempotency-Key": key}))


def _parse_reply(reply: Answer) -> tuple[str | None, str]:
    """Return the answer for the stub domain, or None and the reason to retry."""
    if reply.status < 400:
        push = reply.body["push"]
        if push["state"] in IN_FORCE:
            return format_granted(reply.body["limit_kib"]), ""
        return None, f"the limit is recorded, but not in force: {push['error'] or push['state']}"
    if reply.status == 429 or reply.status >= 500:
        return None, str(reply.body.get("detail", reply.code))
    return format_refused(reply.code), ""
