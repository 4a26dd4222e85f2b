"""The process that opened a Unix connection, and whether it still lives.

SO_PEERCRED tells who connected, not when: a request may have waited in systemd's socket while its
process died and its domain's domid was used again. A process cannot outlive its end unnoticed here,
even if its pid is used again: a pidfd stays the first process's.
"""

import errno
import os
import select
import socket
from typing import Protocol, Self

SO_PEERPIDFD = 77
"""asm-generic/socket.h, since Linux 6.5; Python has no name for it."""


class Socket(Protocol):
    """What is asked of a socket."""

    def getsockopt(self, level: int, option: int, /) -> int:
        """Return an option."""
        ...


class PeerProcess:
    """A process by its pidfd, which is closed when its last user has released it.

    The connection is one user, each request another: one that is answered after its connection was
    lost is looked at as well. `descriptor` is None of a process that has ended, or may have.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor, self._users = descriptor, 1

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended; one that its parent has not waited for yet has."""
        if self._descriptor is None:
            return False
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return not poll.poll(0)

    def __enter__(self) -> Self:
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Be used by one less."""
        self._users -= 1
        if not self._users and self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def process_of(sock: Socket, pid: int, uid: int) -> PeerProcess:
    """Return the process at the other end of a socket: `pid` and `uid` are its SO_PEERCRED."""
    try:
        try:
            return PeerProcess(sock.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD))
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise
        return PeerProcess(_open_by_pid(pid, uid))
    except OSError:  # it has ended; or no descriptor is left, and then it is not known
        return PeerProcess(None)


def _open_by_pid(pid: int, uid: int) -> int | None:
    """Open the process that has this pid now, as kernels before 6.5 need.

    It may be another one than connected, if the pid was used again since. One that is seen to be
    another user's is.
    """
    descriptor = os.pidfd_open(pid)
    try:
        uids = _uids_of(pid)
    except OSError:  # /proc shows the processes of other users to root only (ProtectProc=)
        uids = {uid}
    if uid in uids:
        return descriptor
    os.close(descriptor)
    return None


def _uids_of(pid: int) -> set[int]:
    """Return a process's uids: real, effective, saved and of the file system. Raises OSError."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        line = next((line for line in file if line.startswith("Uid:")), "")
    return {int(word) for word in line.split()[1:]}
