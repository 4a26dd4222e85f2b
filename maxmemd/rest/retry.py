"""How long clients of the daemon wait, when they retry, and when they say that they wait.

The library in `client/` takes its times from here. The C library in deploy/interpose has the same.
"""

import socket
from time import monotonic, sleep

from maxmemd.rest.text import print_error

BUSY = "arbiter-busy"
"""The only refusal that is retried: a hanging daemon is killed by its watchdog and restarted."""
RETRY_S = 30.0
"""How long a request is retried when the daemon is busy or the connection is lost."""
PAUSE_S = 0.1
NOTICE_S = 3.0
"""After this time without a reply, a message says what the client waits for."""
CONNECT_S = 3.0
"""How long a write waits for a daemon that is away: it may be restarting."""
REPLY_S = 40.0
"""How long a reply may take, with all retries: by then a hanging daemon has been restarted
(WatchdogSec=10, and ten seconds more on a busy dom0)."""
STREAM_SILENCE_S = 40.0
"""The daemon sends something every 15 s; after this time without, the stream is taken for lost."""
RECONNECT_S = 1.0
"""The pause before a lost event stream is connected again."""


class Retry:
    """The retries of one request, for `retry_s` in all; its reply may take `reply_s`.

    `had_trouble` once the daemon was busy or a connection was lost: it may be restarting, so from
    then on a refused connection is retried as well.
    """

    def __init__(self, where: str, retry_s: float, reply_s: float) -> None:
        self._where, self._retry_s, self._reply_s = where, retry_s, reply_s
        self._began_s = monotonic()
        self._was_noticed = self.had_trouble = False
        self._trouble = "no reply yet"

    def pause_after(self, trouble: str) -> bool:
        """Pause before the next attempt; return False at once when the time is over."""
        self.had_trouble, self._trouble = True, trouble
        if self._has_taken(self._retry_s):
            return False
        if self._has_taken(NOTICE_S):
            self._notice()
        sleep(PAUSE_S)
        return True

    def receive(self, sock: socket.socket) -> bytes:
        """Return the next part of the reply. Raises TimeoutError `reply_s` after the beginning."""
        if not self._was_noticed:
            sock.settimeout(self._left_s(NOTICE_S))
            try:
                return sock.recv(65536)
            except TimeoutError:
                self._notice()
        sock.settimeout(self._left_s(self._reply_s))
        return sock.recv(65536)

    def _has_taken(self, seconds: float) -> bool:
        return monotonic() >= self._began_s + seconds

    def _left_s(self, seconds: float) -> float:
        return max(0.001, self._began_s + seconds - monotonic())  # 0 would mean "do not block"

    def _notice(self) -> None:
        if not self._was_noticed:
            print_error(f"waiting for maxmemd at {self._where}: {self._trouble}")
        self._was_noticed = True
