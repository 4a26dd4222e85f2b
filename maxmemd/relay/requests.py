"""Asking the daemon, each request in a thread of its own: who waits for one does not hold others.

A request that cannot be answered yet is asked again with the same key, so that it counts once
however often the relay, the daemon or the connection is lost meanwhile.
"""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

from maxmemd.policy.states import IN_FORCE
from maxmemd.relay.nodes import Bound
from maxmemd.relay.protocol import Request, granted, refused
from maxmemd.rest.connection import DaemonConnection
from maxmemd.rest.reply import Answer, Unreachable

MOST_AT_ONCE = 16


class AnsweredRequest(NamedTuple):
    """What came of asking: the answer without its ID, or None and why it must be asked again."""

    bound: Bound
    request: Request
    answer: str | None
    why: str = ""


class RequestSender:
    """Puts requests to the daemon. `wake` is called from a thread when there is something told."""

    def __init__(self, server: DaemonConnection, boot: str, wake: Callable[[], None]) -> None:
        """`boot` tells one boot of the host from another: domids begin again with each."""
        self._server, self._boot, self._wake = server, boot, wake
        server.again_s = 0.0  # the relay asks again itself, ever more slowly
        self._told: SimpleQueue[AnsweredRequest] = SimpleQueue()
        self._out = 0

    @property
    def is_full(self) -> bool:
        """Whether as many are asking as may at once."""
        return self._out >= MOST_AT_ONCE

    def ask(self, bound: Bound, request: Request) -> None:
        """Ask, and come back at once."""
        self._out += 1
        Thread(target=self._ask, args=[bound, request], daemon=True).start()

    def told(self) -> list[AnsweredRequest]:
        """Return what has been told since."""
        told: list[AnsweredRequest] = []
        while True:
            try:
                told.append(self._told.get_nowait())
            except Empty:
                self._out -= len(told)
                return told

    def _ask(self, bound: Bound, request: Request) -> None:
        answer, why = None, "it is a fault of the relay, which its log describes"
        try:
            answer, why = self._exchange(bound, request)
        except Unreachable as away:
            why = str(away)
        finally:
            self._told.put(AnsweredRequest(bound, request, answer, why))
            self._wake()

    def _exchange(self, bound: Bound, request: Request) -> tuple[str | None, str]:
        """Send one request. Raises Unreachable."""
        body = {
            "pages": request.pages,
            "uuid": bound.target_uuid,
            "stub_domid": bound.domid,
            "reason": f"request {request.id} of {bound.uuid}",
        }
        key = f"{self._boot}:{bound.uuid}:{bound.domid}:{request.id}"
        path = f"/v1/domains/{bound.target}/relayed-headroom"
        return _answer(self._server.ask("POST", path, body, {"Idempotency-Key": key}))


def _answer(reply: Answer) -> tuple[str | None, str]:
    """Return what to answer; None, and why, for what the daemon cannot say yet."""
    if reply.status < 400:
        push = reply.body["push"]
        if push["state"] in IN_FORCE:
            return granted(reply.body["limit_kib"]), ""
        return None, f"the limit is recorded and not in force: {push['error'] or push['state']}"
    if reply.status == 429 or reply.status >= 500:
        return None, str(reply.body.get("detail", reply.code))
    return refused(reply.code), ""
