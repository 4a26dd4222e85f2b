"""HTTP over a Unix socket, for tests."""

import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any, Self

TIMEOUT_S = 20.0


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of the host."""
        self.sock = connect(self._path, self.timeout or TIMEOUT_S)

    def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Send one request; return the status and the JSON that came back."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if body is not None:
            data, named["Content-Type"] = json.dumps(body), "application/json"
        self.request(method, path, data, named)
        reply = self.getresponse()
        return reply.status, json.loads(reply.read())


class Answer(dict[str, Any]):
    """A reply's JSON body, and its HTTP status."""

    status: int


class Client:
    """One kept-alive connection, which is not opened again once it is lost."""

    def __init__(self, path: Path, *, timeout_s: float = 30.0) -> None:
        self._http = UnixConnection(path, timeout_s)
        self._http.auto_open = 0
        self._http.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Answer:
        """Send one request and return its reply. Raises OSError or HTTPException when cut off."""
        headers = {} if key is None else {"Idempotency_Key": key}
        status, found = self._http.ask(method, path, body, **headers)
        answer = Answer(found)
        answer.status = status
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def connect(path: Path, timeout_s: float) -> socket.socket:
    """Connect to a Unix socket; wait while its queue is full."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout_s)
    for _ in range(200):
        try:
            sock.connect(str(path))
        except BlockingIOError:
            time.sleep(0.01)  # the queue of those who wait to be accepted is full
        except OSError:
            sock.close()
            raise
        else:
            return sock
    sock.close()
    raise TimeoutError(f"cannot connect to {path}")
