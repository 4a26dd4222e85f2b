"""One client of the daemon, as another user: `python -m benchmarks.reader SOCKET UID SPEC`.

SPEC is JSON: the requests (method, path, body), how many a second, over how many connections, and
for how long. It prints what became of them: the seconds of each answer, by status.
"""

import json
import os
import selectors
import socket
import sys
import time
from typing import Any

CHUNK = 256 * 1024
WITHIN_S = 60.0


class Connection:
    """One connection: a request at a time."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(WITHIN_S)
        self.socket.connect(path)
        self.began_s: float | None = None
        self._head = b""
        self._left = 0

    def send(self, request: bytes) -> None:
        """Send a request."""
        self.began_s, self._head, self._left = time.perf_counter(), b"", -1
        self.socket.sendall(request)

    def receive(self, buffer: memoryview) -> int | None:
        """Take what is there; return the status of an answer that is whole."""
        count = self.socket.recv_into(buffer)
        if not count:
            raise ConnectionError("the daemon has closed the connection")
        if self._left < 0:
            self._head += bytes(buffer[:count])
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return None
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            self._head, self._left = head, int(length) - len(body)
        else:
            self._left -= count
        return int(self._head.split(b" ", 2)[1]) if self._left == 0 else None


def play(path: str, spec: dict[str, Any]) -> dict[str, list[float]]:
    """Ask at an even pace, each connection once it has its answer; return the seconds by status."""
    requests = [_as_bytes(*request) for request in spec["requests"]]
    idle = [Connection(path) for _ in range(spec["connections"])]
    took: dict[str, list[float]] = {}
    buffer = memoryview(bytearray(CHUNK))
    every_s, sent = 1 / spec["per_s"], 0
    began_s = due_s = time.perf_counter()
    end_s = began_s + spec["seconds"]
    busy = 0
    with selectors.DefaultSelector() as selector:
        while (now_s := time.perf_counter()) < end_s or busy:
            if now_s < end_s and now_s >= due_s and idle:
                connection = idle.pop()
                connection.send(requests[sent % len(requests)])
                selector.register(connection.socket, selectors.EVENT_READ, connection)
                due_s, sent, busy = max(due_s + every_s, now_s), sent + 1, busy + 1
                continue
            wait_s = max(0.0, due_s - now_s) if idle and now_s < end_s else 1.0
            for key, _ in selector.select(wait_s):
                connection = key.data
                status = connection.receive(buffer)
                if status is not None:
                    selector.unregister(connection.socket)
                    took.setdefault(str(status), []).append(
                        time.perf_counter() - connection.began_s
                    )
                    idle.append(connection)
                    busy -= 1
    return took


def _as_bytes(method: str, path: str, body: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: maxmemd\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n{body}".encode()


def main() -> None:
    """Become the user, and ask."""
    path, uid, spec = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    os.nice(spec.get("nice", 0))
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    print(json.dumps(play(path, spec)))


if __name__ == "__main__":
    main()
