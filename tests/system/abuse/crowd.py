"""`python -m tests.system.abuse.crowd SOCKET SECONDS UID:COUNT...`: connections of several uids.

Each asks one thing, and is held for so long. Prints, by uid, as JSON, how many were served, how
many were told that they are too many, and how many were closed without a word.
"""

import json
import os
import resource
import selectors
import socket
import sys
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path

ASK = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"
TOO_MANY = b"problem:too-many-connections"


def main() -> None:
    """Be all of them, each uid in a process of its own."""
    path, seconds = Path(sys.argv[1]), float(sys.argv[2])
    children = [(uid, _child(path, seconds, int(uid), int(count))) for uid, count in _wanted()]
    told = {uid: os.fdopen(reading).read() for uid, reading in children}
    for _ in children:
        os.wait()
    print(json.dumps({uid: json.loads(text) for uid, text in told.items()}))


def _wanted() -> list[list[str]]:
    return [word.split(":") for word in sys.argv[3:]]


def _child(path: Path, seconds: float, uid: int, count: int) -> int:
    """Begin one uid's crowd; return where it will tell what became of it."""
    reading, telling = os.pipe()
    if os.fork():
        os.close(telling)
        return reading
    try:
        _become(uid, count)
        os.write(telling, json.dumps(Crowd(path, count).held(seconds)).encode())
    except BaseException:  # noqa: BLE001 - a forked child must not go on as its parent
        traceback.print_exc()
    os._exit(0)


def _become(uid: int, count: int) -> None:
    """Be a user who may have so many connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 64), hard))
    if uid != os.getuid():
        os.setgroups([uid])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


class Crowd:
    """The connections of one uid."""

    def __init__(self, path: Path, count: int) -> None:
        self._path, self._count = path, count
        self._selector = selectors.DefaultSelector()
        self._became = Counter(served=0, told=0, closed=0)

    def held(self, seconds: float) -> dict[str, int]:
        """Connect them all, hold them, and return what became of each."""
        for _ in range(self._count):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(str(self._path))  # waits where many wait
            with suppress(OSError):
                sock.sendall(ASK)
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ, bytearray())
            self._look(0.0)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s or any(not key.data for key in self._keys()):
            self._look(0.1)
        for key in self._keys():
            self._end(key.fileobj, key.data)  # type: ignore[arg-type]
        return dict(self._became)

    def _keys(self) -> list[selectors.SelectorKey]:
        return list(self._selector.get_map().values())

    def _look(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            sock: socket.socket = key.fileobj  # type: ignore[assignment]
            found = b""
            with suppress(OSError):
                found = sock.recv(65536)
            key.data.extend(found)
            if not found:
                self._end(sock, key.data)

    def _end(self, sock: socket.socket, said: bytearray) -> None:
        self._selector.unregister(sock)
        sock.close()
        told = said.startswith(b"HTTP/1.1 429 ") and TOO_MANY in said
        what = "told" if told else "served" if said.startswith(b"HTTP/1.1 200 ") else "closed"
        self._became[what] += 1


if __name__ == "__main__":
    main()
