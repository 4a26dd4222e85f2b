"""Faults on demand: calls that fail, are slow, or read back something else."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from maxmemd.errors import HypervisorError, XenstoreError

VERBS = frozenset(
    {"domains", "domain", "host", "set_max_mem", "set_pod_target", "populate", "facts", "write"}
)


@dataclass(slots=True)
class _Failure:
    verb: str
    errno: int
    times: int | None
    domid: int | None


class Faults:
    """The faults of one host. Any thread may call anything; the hot path reads `armed` only."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self.armed = False
        self._sleep = sleep
        self._lock = Lock()
        self._failures: list[_Failure] = []
        self._lies: dict[int, int] = {}
        self._delays: dict[str, float] = {}

    def fail(self, verb: str, errno: int, times: int | None, domid: int | None) -> None:
        """Make the next `times` calls of a verb fail (None: all), for one domain or for any."""
        self._check(verb)
        with self._lock:
            self._failures.append(_Failure(verb, errno, times, domid))
            self.armed = True

    def lie(self, domid: int, offset_pages: int) -> None:
        """Make a domain's maximum read back as this many pages more than was written."""
        with self._lock:
            self._lies[domid] = offset_pages
            self.armed = True

    def delay(self, verb: str, seconds: float) -> None:
        """Make every call of a verb take this time."""
        self._check(verb)
        with self._lock:
            self._delays[verb] = seconds
            self.armed = True

    def clear(self) -> None:
        """End all faults."""
        with self._lock:
            self._failures.clear()
            self._lies.clear()
            self._delays.clear()
            self.armed = False

    def hypercall(self, verb: str, domid: int | None) -> None:
        """Sleep if this hypercall is slow; raise HypervisorError if it fails."""
        errno = self._next_fault(verb, domid)
        if errno is not None:
            raise HypervisorError.of(verb.replace("_", " "), domid, errno)

    def request(self, verb: str, domid: int) -> None:
        """Sleep if this xenstore request is slow; raise XenstoreError if it fails."""
        errno = self._next_fault(verb, domid)
        if errno is not None:
            raise XenstoreError(f"{verb} xenstore nodes of domain {domid}", errno)

    def pages_held(self, domid: int, pages: int) -> int:
        """Return the maximum that Xen will have when this one is written."""
        return max(0, pages + self._lies.get(domid, 0))

    def _next_fault(self, verb: str, domid: int | None) -> int | None:
        """Sleep if the call is slow; return the errno it fails with, or None."""
        seconds = self._delays.get(verb)
        if seconds:
            self._sleep(seconds)
        with self._lock:
            for failure in self._failures:
                if failure.verb == verb and failure.domid in (None, domid):
                    return self._use(failure)
        return None

    def _use(self, failure: _Failure) -> int:
        if failure.times is not None:
            failure.times -= 1
            if failure.times <= 0:
                self._failures.remove(failure)
        return failure.errno

    @staticmethod
    def _check(verb: str) -> None:
        if verb not in VERBS:
            raise ValueError(f"cannot make {verb!r} fail: the verbs are {', '.join(sorted(VERBS))}")
