"""The simulated xenstore: the nodes that libxl keeps of domains, and watches on their coming."""

from collections.abc import Callable, Mapping
from errno import ESRCH
from threading import Condition, RLock, Thread, current_thread

from maxmemd.errors import HypervisorError
from maxmemd.policy.facts import StoreFacts
from maxmemd.units import END_KIB, Memory

TARGET, STATIC_MAX, VIDEORAM = "memory/target", "memory/static-max", "memory/videoram"

_NONE = Memory(kib=0)


class Nodes:
    """/local/domain/N and /vm/UUID. Any thread may call anything."""

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._domains: dict[int, dict[str, str]] = {}
        self._vms: dict[str, dict[str, str]] = {}
        self._watches: list[Watch] = []
        self._away = False

    def add(self, domid: int, uuid: str) -> None:
        """Make /local/domain/N with its link to /vm/UUID."""
        with self._lock:
            self._domains[domid] = {"vm": f"/vm/{uuid}", "domid": str(domid)}
            self._vms.setdefault(uuid, {"uuid": uuid})

    def remove(self, domid: int) -> None:
        """Remove /local/domain/N, and /vm/UUID with the last domain of that UUID."""
        with self._lock:
            gone = self._domains.pop(domid, {"vm": "/vm/"})["vm"]
            if all(nodes["vm"] != gone for nodes in self._domains.values()):
                self._vms.pop(gone.removeprefix("/vm/"), None)

    def put(self, domid: int, nodes: Mapping[str, str]) -> None:
        """Write nodes below /local/domain/N as their toolstack. Raises DomainGone."""
        with self._lock:
            if domid not in self._domains:
                raise HypervisorError.of("write xenstore nodes", domid, ESRCH)
            self._domains[domid].update(nodes)

    def read(self, path: str) -> str | None:
        """Return the value of a node, or None where there is none."""
        with self._lock:
            root, _, rest = path.removeprefix("/").partition("/")
            if root == "vm":
                uuid, _, node = rest.partition("/")
                return self._vms.get(uuid, {}).get(node)
            domid, _, node = rest.removeprefix("domain/").partition("/")
            return self._domains.get(int(domid), {}).get(node)

    def facts(self, domid: int) -> StoreFacts:
        """Return name and memory nodes; a node that holds no number is none."""
        with self._lock:
            nodes = self._domains.get(domid)
            if nodes is None:
                return StoreFacts()
            video = _memory(nodes.get(VIDEORAM))
            return StoreFacts(
                name=nodes.get("name"),
                target=_memory(nodes.get(TARGET)),
                static_max=_memory(nodes.get(STATIC_MAX)),
                videoram=_NONE if video is None else video,
            )

    def write(
        self, domid: int, uuid: str, *, target: Memory | None, static_max: Memory | None
    ) -> None:
        """Write memory nodes of a domain that is alive and of this UUID, in one transaction.

        Raises DomainGone and writes nothing otherwise: a dead path is never recreated.
        """
        with self._lock:
            nodes = self._domains.get(domid)
            if nodes is None or nodes["vm"] != f"/vm/{uuid}":
                raise HypervisorError.of("write xenstore nodes", domid, ESRCH)
            if static_max is not None:
                nodes[STATIC_MAX] = str(static_max.kib)
            if target is not None:
                nodes[TARGET] = str(target.kib)
                self._vms[uuid]["memory"] = str(target.mib)

    def watch(self, changed: Callable[[], None]) -> "Watch":
        """Register a watch on domains that come and go; it fires at once (A5)."""
        watch = Watch(changed)
        with self._lock:
            self._watches.append(watch)
        return watch

    def unwatch(self, watch: "Watch") -> None:
        """End a watch: no call begins after this returns."""
        with self._lock:
            self._watches.remove(watch)
        watch.close()

    def fire(self) -> None:
        """Tell every watch that a domain came or went; which one is not said (A5)."""
        with self._lock:
            for watch in [] if self._away else self._watches:
                watch.fire()

    @property
    def away(self) -> bool:
        """Whether xenstored is away: nobody can ask it, and it tells nobody."""
        return self._away

    def go(self, *, away: bool) -> None:
        """Take xenstored away or bring it back; a watch is registered again, so it fires."""
        with self._lock:
            self._away = away
            self.fire()


class Watch:
    """Calls `changed` from a thread of its own; what happens meanwhile is one more call (A5)."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._news = Condition()
        self._pending, self._busy, self._closed = True, False, False
        self._thread = Thread(target=self._run, name="simulated-xenstore", daemon=True)
        self._thread.start()

    def fire(self) -> None:
        """Make one more call, unless one is due already."""
        with self._news:
            self._pending = True
            self._news.notify_all()

    def quiet(self, timeout_s: float) -> bool:
        """Wait until every event so far has been answered; return whether it was in time."""
        with self._news:
            return self._news.wait_for(lambda: not (self._pending or self._busy), timeout_s)

    def close(self) -> None:
        """End the thread; a call that runs is waited for, but not by itself."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        if current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while self._next():
            self._changed()

    def _next(self) -> bool:
        with self._news:
            self._busy = False
            self._news.notify_all()
            self._news.wait_for(lambda: self._pending or self._closed)
            self._pending, self._busy = False, not self._closed
            return self._busy


def _memory(text: str | None) -> Memory | None:
    """Read a node's KiB; dom0less writes -1 where it has no number."""
    if text is None or not (text.isascii() and text.isdigit()) or int(text) >= END_KIB:
        return None
    return Memory(kib=int(text))
