"""Count refusals for the metrics, and log them with fields for journald."""

import logging
from collections import Counter
from collections.abc import Callable

from maxmemd.api.auth.peers import Peer
from maxmemd.api.auth.rate_limit import TokenBuckets
from maxmemd.api.problems import STATUS

LOG = logging.getLogger("maxmemd.api")
LOG_EVERY_S, LOG_BURST_S = 1.0, 5.0
"""After the first few, one line per second for each client's refusals."""
_ABOUT_THE_CALLER = frozenset({401, 403, 429})
"""These statuses concern who called, not what was asked, and are logged as warnings."""


class RefusalLog:
    """Counts of requests refused before the arbiter saw them, and the log of all refusals."""

    def __init__(self, clock_s: Callable[[], float]) -> None:
        self._clock_s = clock_s
        self._logged = TokenBuckets()
        self.counts: Counter[str] = Counter()

    def count_and_log(
        self, peer: Peer, code: str, why: str, method: str = "", path: str = ""
    ) -> None:
        """Count and log a refusal; without a method it is a connection's."""
        self.counts[code] += 1
        self.log(peer, code, why, method, path)

    def log(self, peer: Peer, code: str, why: str, method: str, path: str) -> None:
        """Log a refusal; for a client with many, only some, with the number of the others."""
        now_s = self._clock_s()
        bucket = self._logged.of(peer.client, LOG_EVERY_S, LOG_BURST_S, now_s)
        if bucket.wait_s(now_s):
            bucket.missed += 1
            return
        more = f" ({bucket.missed} more were not logged)" if bucket.missed else ""
        bucket.missed = 0
        what = f"{method} {path[:200]!r}" if method else "a connection"
        fields: dict[str, object] = {
            "uid": peer.uid, "pid": peer.pid, "role": peer.role.name, "client": peer.client,
            "address": peer.address, "method": method, "path": path[:200], "code": code, "why": why,
        }  # fmt: skip
        LOG.log(
            logging.WARNING if STATUS.get(code) in _ABOUT_THE_CALLER else logging.INFO,
            "refused %s to %s, pid %d (%s): %s%s",
            what, label(peer), peer.pid, peer.role.name, why, more,
            extra={"fields": {name: value for name, value in fields.items() if value != ""}},
        )  # fmt: skip


def label(peer: Peer) -> str:
    """Return a caller's uid, or over TCP its name and address, as text."""
    return f"{peer.client} at {peer.address}" if peer.remote else f"uid {peer.uid}"
