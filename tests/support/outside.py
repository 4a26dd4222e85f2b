"""The real daemon on the simulated host, with raw connections to it, also as other users."""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.support.http import TIMEOUT_S, UnixConnection, connect
from tests.support.ledgers import new_ledger
from tests.support.process import DaemonProcess


class Outside(DaemonProcess):
    """A daemon that is started at once. `module` and `options` say which composition.

    It finds a ledger without an entry, unless it is to make one.
    """

    def __init__(
        self,
        directory: Path,
        module: str = "maxmemd.__main__",
        options: Iterable[str] = ("serve", "--hypervisor", "simulated"),
        inherits: Sequence[int] = (),
        *,
        is_first_start: bool = False,
    ) -> None:
        super().__init__(directory / "m.sock", directory / "log", pipes=True, inherits=inherits)
        self.database = directory / "ledger.sqlite"
        if not is_first_start:
            new_ledger(self.database)
        self._words = [sys.executable, "-m", module, *options]
        self.start()

    def command(self) -> Sequence[str]:
        """Return the command that is run."""
        return [*self._words, "--socket", str(self.socket), "--database", str(self.database)]

    def close(self) -> None:
        """End the daemon as systemd does."""
        if self.process is not None:
            self.stop()

    def open(self, timeout_s: float = TIMEOUT_S) -> UnixConnection:
        """Open a connection that speaks HTTP."""
        return UnixConnection(self.socket, timeout_s)

    def raw(self, timeout_s: float = TIMEOUT_S) -> socket.socket:
        """Open a connection for arbitrary bytes."""
        return connect(self.socket, timeout_s)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        """Send one request over a connection of its own; return status and body."""
        connection = self.open()
        try:
            return connection.ask(method, path, body, **headers)
        finally:
            connection.close()


@contextmanager
def open_folder() -> Iterator[Path]:
    """Give a folder that every user may enter.

    It is not below pytest's own: each session of pytest closes those of all sessions as it starts.
    """
    with TemporaryDirectory(prefix="maxmemd-open-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def as_user(uid: int, groups: Sequence[int], asked: Callable[[], list[int]]) -> list[int]:
    """Return what `asked` returns in a child that is another user, of these groups."""
    listening, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setresgid(groups[-1], groups[-1], groups[-1])
            os.setresuid(uid, uid, uid)
            os.write(telling, json.dumps(asked()).encode())
        except BaseException as error:  # noqa: BLE001 - a forked child must not go on with tests
            os.write(telling, json.dumps(repr(error)).encode())
        os._exit(0)
    os.close(telling)
    os.waitpid(child, 0)
    with os.fdopen(listening) as told:
        found: list[int] = json.loads(told.read())
    return found
