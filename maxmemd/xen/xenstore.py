"""Domains' nodes in xenstore: read, written for living domains only, and watched.

What stands in a node is parsed by policy/node_values.py, whatever it is.
"""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TypeVar

from maxmemd.errors import DomainGone, XenstoreError
from maxmemd.pacing import Backoff
from maxmemd.policy.facts import STATIC_MAX, TARGET, VIDEORAM, StoreFacts
from maxmemd.policy.node_values import facts_of, vm_uuid
from maxmemd.units import Memory
from maxmemd.xen.xs_wire import Connection

RECONNECT = Backoff(0.5, 30.0)
MUTE_FOR = 2.0
"""After a time-out, requests fail at once for this many times the patience."""
_T = TypeVar("_T")


class Xenstored:
    """The Xenstore of ports.py, on xenstored. It connects when needed, and again after a loss."""

    def __init__(self, path: Path | None = None, *, patience_s: float = 5.0) -> None:
        """Take the path of xenstored's socket or device (None: search for it) and a time-out."""
        self._path, self._patience_s = path, patience_s
        self._connection: Connection | None = None
        self._watcher: threading.Thread | None = None
        self._closed = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._mute_until_s = 0.0

    def facts(self, domid: int) -> StoreFacts:
        """Return name and memory nodes (docs/misc/xenstore-paths.pandoc); amounts are in KiB."""
        home = f"/local/domain/{domid}"
        paths = [home, *(f"{home}/{node}" for node in ("name", TARGET, STATIC_MAX, VIDEORAM))]

        path, name, target, static_max, videoram = self._with_connection(
            f"read {home}", lambda connection: connection.read(*paths)
        )
        return facts_of(
            has_path=path is not None or domid == 0,
            name=_name(name),
            target=target,
            static_max=static_max,
            videoram=videoram,
        )

    def write(
        self, domid: int, uuid: str, *, target: Memory | None, static_max: Memory | None
    ) -> None:
        """Write what is not None, in one transaction, if the domain exists and is `uuid`.

        As libxl does: target and static-max in KiB, /vm/UUID/memory in MiB without video RAM
        (tools/libs/light/libxl_mem.c:libxl_set_memory_target).
        """
        home = f"/local/domain/{domid}"
        nodes: dict[str, int] = {}
        if static_max is not None:
            nodes[f"{home}/{STATIC_MAX}"] = static_max.kib
        if target is not None:
            nodes[f"{home}/{TARGET}"] = target.kib
            nodes[f"/vm/{uuid}/memory"] = target.mib

        def write_all(connection: Connection, transaction: int) -> None:
            # The check belongs to the transaction: xenstored makes missing parents, so a write
            # after the domain's end would leave nodes that the domid's next owner inherits.
            if not is_home_of(connection, transaction, domid, uuid):
                raise DomainGone(f"write {home}", domid, errno.ESRCH)
            for path, number in nodes.items():
                connection.write(path, str(number), transaction)

        def transact(connection: Connection) -> None:
            connection.transact(lambda transaction: write_all(connection, transaction))

        self._with_connection(f"write {home}", transact)

    def watch(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` from a thread, now and when domains may have come or gone (A5)."""
        self._watcher = threading.Thread(
            target=self._watch, args=[on_change], name="xenstore-watch", daemon=True
        )
        self._watcher.start()

    def close(self) -> None:
        """End the watch and the connection."""
        if self._closed.is_set():
            return
        self._closed.set()
        os.write(self._wake_write, b"!")
        if self._watcher is not None:
            self._watcher.join()
        self._disconnect()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _with_connection(self, what: str, body: Callable[[Connection], _T]) -> _T:
        """Run `body`, and once more on a new connection if the old one proves to be lost.

        After a time-out, the next requests fail at once: a poll of many domains must not wait for a
        hanging xenstored once for each of them.
        """
        if monotonic() < self._mute_until_s:
            raise XenstoreError(what, errno.ETIMEDOUT)
        try:
            if self._connection is not None:
                try:
                    return body(self._connection)
                except ConnectionError:
                    self._disconnect()
            self._connection = Connection(self._path, patience_s=self._patience_s)
            return body(self._connection)
        except TimeoutError as error:
            self._disconnect()
            self._mute_until_s = monotonic() + MUTE_FOR * self._patience_s
            raise XenstoreError(what, errno.ETIMEDOUT) from error
        except OSError as error:
            self._disconnect()
            raise XenstoreError(what, error.errno or errno.EIO) from error

    def _disconnect(self) -> None:
        """Drop the connection; xenstored aborts what was open on it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _watch(self, on_change: Callable[[], None]) -> None:
        """Watch until closed; while xenstored is away, reconnect with growing pauses."""
        failures = 0
        while not self._closed.wait(0):
            try:
                connection = Connection(self._path, patience_s=self._patience_s)
            except OSError:
                self._closed.wait(RECONNECT.wait_s(failures))
                failures += 1
                continue
            failures = 0
            try:
                self._call_at_events(connection, on_change)
            except OSError:
                # The next connection's first event may be long in coming: until then the callee
                # should know that xenstored is away.
                on_change()
                self._closed.wait(RECONNECT.wait_s(failures))
            finally:
                connection.close()

    def _call_at_events(self, connection: Connection, on_change: Callable[[], None]) -> None:
        """Call `on_change` at each event; the first ones come with the watches themselves."""
        for path in ("@introduceDomain", "@releaseDomain"):
            connection.watch(path, path)
        self._mute_until_s = 0.0
        while events := connection.events(self._wake_read):
            for _ in events:
                on_change()


def is_home_of(connection: Connection, transaction: int, domid: int, uuid: str) -> bool:
    """Return whether /local/domain/DOMID exists and names no other domain.

    Xen says whose a domid is; here only a path that was removed, or that is a successor's by now,
    is to be left alone. A `vm` node that is absent (the xenstore domain has none) or holds no UUID
    names no other domain. dom0 never ends.
    """
    home = f"/local/domain/{domid}"
    path, vm = connection.read(home, f"{home}/vm", transaction=transaction)
    return (path is not None or domid == 0) and vm_uuid(vm) in (None, uuid)


def _name(value: bytes | None) -> str | None:
    """Decode a name. It is never longer than a message of xenstore's, and is kept whole."""
    return value.decode(errors="replace") if value else None
