"""The simulated xenstore: the nodes that libxl writes for domains, and watches on domains."""

from collections.abc import Callable, Mapping
from errno import ESRCH
from threading import Condition, RLock, Thread, current_thread

from maxmemd.errors import HypervisorError
from maxmemd.policy.facts import NO_PATH, STATIC_MAX, TARGET, VIDEORAM, StoreFacts
from maxmemd.policy.node_values import facts_of, vm_uuid
from maxmemd.units import Memory


class Nodes:
    """/local/domain/N and /vm/UUID. Any thread may call anything."""

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._domains: dict[int, dict[str, str]] = {}
        self._vms: dict[str, dict[str, str]] = {}
        self._watches: list[Watch] = []
        self._is_away = False

    def add(self, domid: int, uuid: str) -> None:
        """Make /local/domain/N with its link to /vm/UUID."""
        with self._lock:
            self._domains[domid] = {"vm": f"/vm/{uuid}", "domid": str(domid)}
            self._vms.setdefault(uuid, {"uuid": uuid})

    def remove(self, domid: int) -> None:
        """Remove /local/domain/N, and /vm/UUID with the last domain of that UUID."""
        with self._lock:
            gone = vm_uuid(_bytes(self._domains.pop(domid, {}).get("vm")))
            others = (vm_uuid(_bytes(nodes.get("vm"))) for nodes in self._domains.values())
            if gone is not None and gone not in others:
                self._vms.pop(gone, None)

    def put(self, domid: int, nodes: Mapping[str, str]) -> None:
        """Write nodes below /local/domain/N as the toolstack does. Raises DomainGone."""
        with self._lock:
            if domid not in self._domains:
                raise HypervisorError.of("write xenstore nodes", domid, ESRCH)
            self._domains[domid].update(nodes)

    def drop(self, domid: int, *nodes: str) -> None:
        """Remove nodes below /local/domain/N that are there, as xenstore-rm does."""
        with self._lock:
            for node in nodes:
                self._domains.get(domid, {}).pop(node, None)

    def read(self, path: str) -> str | None:
        """Return the value of a node, or None if it is missing."""
        with self._lock:
            root, _, rest = path.removeprefix("/").partition("/")
            if root == "vm":
                uuid, _, node = rest.partition("/")
                return self._vms.get(uuid, {}).get(node)
            domid, _, node = rest.removeprefix("domain/").partition("/")
            return self._domains.get(int(domid), {}).get(node)

    def facts(self, domid: int) -> StoreFacts:
        """Return name and memory nodes, as the adapter of a real xenstored does."""
        with self._lock:
            nodes = self._domains.get(domid)
            if nodes is None:
                return NO_PATH
            return facts_of(
                has_path=True,
                name=nodes.get("name"),
                target=_bytes(nodes.get(TARGET)),
                static_max=_bytes(nodes.get(STATIC_MAX)),
                videoram=_bytes(nodes.get(VIDEORAM)),
            )

    def write(
        self, domid: int, uuid: str, *, target: Memory | None, static_max: Memory | None
    ) -> None:
        """Write memory nodes of a domain that exists and has this UUID, in one transaction.

        Raises DomainGone otherwise, and writes nothing: a removed path is never made again.
        """
        with self._lock:
            nodes = self._domains.get(domid)
            if nodes is None or vm_uuid(_bytes(nodes.get("vm"))) not in (None, uuid):
                raise HypervisorError.of("write xenstore nodes", domid, ESRCH)
            if static_max is not None:
                nodes[STATIC_MAX] = str(static_max.kib)
            if target is not None:
                nodes[TARGET] = str(target.kib)
                self._vms.setdefault(uuid, {})["memory"] = str(target.mib)

    def watch(self, on_change: Callable[[], None]) -> "Watch":
        """Register a watch on domains that come and go; it fires at once (A5)."""
        watch = Watch(on_change)
        with self._lock:
            self._watches.append(watch)
        return watch

    def unwatch(self, watch: "Watch") -> None:
        """End a watch: it makes no further call once this returns."""
        with self._lock:
            self._watches.remove(watch)
        watch.close()

    def fire(self) -> None:
        """Fire every watch, since a domain came or went; an event does not say which (A5)."""
        with self._lock:
            for watch in [] if self._is_away else self._watches:
                watch.fire()

    @property
    def is_away(self) -> bool:
        """Whether xenstored is away: it answers no request and fires no watch."""
        return self._is_away

    def set_away(self, *, away: bool) -> None:
        """Take xenstored away or bring it back; then clients watch again, so watches fire."""
        with self._lock:
            self._is_away = away
            self.fire()


class Watch:
    """Calls `on_change` from its own thread; events during a call cause one more call (A5)."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._condition = Condition()
        self._pending, self._busy, self._closed = True, False, False
        self._thread = Thread(target=self._run, name="simulated-xenstore", daemon=True)
        self._thread.start()

    def fire(self) -> None:
        """Cause one more call, unless one is due already."""
        with self._condition:
            self._pending = True
            self._condition.notify_all()

    def wait_until_quiet(self, timeout_s: float) -> bool:
        """Wait until the calls for all events so far have returned; False at the time-out."""
        with self._condition:
            return self._condition.wait_for(lambda: not (self._pending or self._busy), timeout_s)

    def close(self) -> None:
        """End the thread, after a call that is running; may be called from within one."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while self._next():
            self._on_change()

    def _next(self) -> bool:
        with self._condition:
            self._busy = False
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._pending or self._closed)
            self._pending, self._busy = False, not self._closed
            return self._busy


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("utf-8", "surrogateescape")
