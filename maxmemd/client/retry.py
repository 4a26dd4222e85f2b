"""When a request is sent again: a hanging daemon is killed by its watchdog and restarted."""

import logging
from time import monotonic

import httpx

from maxmemd.rest.retry import NOTICE_S, RETRY_S
from maxmemd.rest.tls_trouble import tls_trouble

LOG = logging.getLogger("maxmemd.client")


class Retry:
    """The retries of one request.

    Once the daemon was busy or a connection was lost, it may be restarting: from then on refused
    connections and time-outs are retried as well.
    """

    def __init__(self, where: str) -> None:
        self.where, self._began_s = where, monotonic()
        self._was_noticed = self._had_trouble = False

    def should_follow(self, error: Exception) -> bool:
        """Return whether to send the request again, after PAUSE_S. Logs a long wait once."""
        if tls_trouble(error) is not None:
            return False
        is_lost = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
        is_unsent = isinstance(error, httpx.ConnectError)
        is_busy = not isinstance(error, httpx.TransportError)
        self._had_trouble = self._had_trouble or is_busy or (is_lost and not is_unsent)
        waited_s = monotonic() - self._began_s
        if waited_s >= NOTICE_S and self._had_trouble and not self._was_noticed:
            LOG.warning("waiting for maxmemd at %s: %s", self.where, error or type(error).__name__)
            self._was_noticed = True
        return self._had_trouble and waited_s < RETRY_S
