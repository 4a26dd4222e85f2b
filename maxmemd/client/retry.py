"""How long one request is sent again: its watchdog may have the daemon started anew."""

import logging
from time import monotonic

import httpx

LOG = logging.getLogger("maxmemd.client")
AGAIN_S = 30.0
"""A request that meets a busy daemon, or loses its connection, is sent again for so long."""
PAUSE_S = 0.1
SILENT_S = 3.0
"""Then it is logged, once, what is waited for; Python prints it on stderr where nobody logs."""
BUSY = "arbiter-busy"


class Retry:
    """The patience with one request.

    Once the daemon was busy or the connection was lost, it is waited for also where nobody listens,
    or nothing is said.
    """

    def __init__(self, where: str) -> None:
        self.where, self._began_s = where, monotonic()
        self._said = self._troubled = False

    def after(self, why: Exception) -> bool:
        """Note trouble; return whether to send the request again after PAUSE_S."""
        lost = isinstance(why, httpx.NetworkError | httpx.RemoteProtocolError)
        unsent = isinstance(why, httpx.ConnectError)
        busy = not isinstance(why, httpx.TransportError)
        self._troubled = self._troubled or busy or (lost and not unsent)
        waited_s = monotonic() - self._began_s
        if waited_s >= SILENT_S and self._troubled and not self._said:
            LOG.warning("waiting for maxmemd at %s: %s", self.where, why or type(why).__name__)
            self._said = True
        return self._troubled and waited_s < AGAIN_S
