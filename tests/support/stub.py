"""A daemon that answers what it was told to answer, over a real Unix socket."""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

DROP = "drop the connection without a reply"


class Stub(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves `replies` by "METHOD path", the last one of a list again and again.

    A reply is (status, body) with a body of JSON types or of raw bytes, or DROP. `seen` lists
    the requests as "METHOD path body"; `headers` their headers.
    """

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.replies: dict[str, Any] = {}
        self.seen: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop listening and remove the socket."""
        self.shutdown()
        self.server_close()
        Path(str(self.server_address)).unlink()

    def reply_to(self, request: str) -> Any:
        """Return the next canned reply to "METHOD path"."""
        missing = (404, {"code": "unknown-domain", "detail": "cannot find it: no such domain"})
        reply = self.replies.get(request, missing)
        if isinstance(reply, list):
            return reply.pop(0) if len(reply) > 1 else reply[0]
        return reply


class Handler(BaseHTTPRequestHandler):
    """One connection to the stub."""

    protocol_version = "HTTP/1.1"
    server: Stub

    def answer(self) -> None:
        """Note the request and give the canned reply."""
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode()
        request = f"{self.command} {self.path}"
        self.server.seen.append(f"{request} {body}".rstrip())
        self.server.headers.append({key.lower(): value for key, value in self.headers.items()})
        reply = self.server.reply_to(request)
        if reply == DROP:
            self.close_connection = True
            return
        status, what = reply
        data = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
