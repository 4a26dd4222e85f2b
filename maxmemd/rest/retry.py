"""How long one request is waited for, and what is said meanwhile."""

import socket
from time import monotonic, sleep

from maxmemd.rest.text import print_error

PAUSE_S = 0.1
SILENT_S = 3.0
"""Then it is said what is waited for."""
REPLY_S = 40.0
"""How long a reply may take, with all repetitions: a daemon that hangs is started anew by then
(WatchdogSec=10, and ten seconds more on a busy dom0)."""


class Retry:
    """The patience with one request: `again_s` in all for trouble that passes, REPLY_S for the end.

    `troubled` once the daemon was busy or the connection was lost: it may be killed and started
    anew, so from then on it is waited for also where nobody listens.
    """

    def __init__(self, where: str, again_s: float) -> None:
        self._where, self._again_s, self._began_s = where, again_s, monotonic()
        self._said = self.troubled = False
        self._why = "no reply yet"

    def goes_on(self, why: str) -> bool:
        """Note trouble, and wait a little; False where the patience is over."""
        self.troubled, self._why = True, why
        if self.is_over(self._again_s):
            return False
        if self.is_over(SILENT_S):
            self._say()
        sleep(PAUSE_S)
        return True

    def is_over(self, seconds: float) -> bool:
        """Whether so many seconds have passed."""
        return monotonic() >= self._began_s + seconds

    def hear(self, sock: socket.socket) -> bytes:
        """Return what comes next. Raises TimeoutError after REPLY_S in all."""
        if not self._said:
            sock.settimeout(self._left(SILENT_S))
            try:
                return sock.recv(65536)
            except TimeoutError:
                self._say()
        sock.settimeout(self._left(REPLY_S))
        return sock.recv(65536)

    def _left(self, seconds: float) -> float:
        return max(0.001, self._began_s + seconds - monotonic())

    def _say(self) -> None:
        if not self._said:
            print_error(f"waiting for maxmemd at {self._where}: {self._why}")
        self._said = True
