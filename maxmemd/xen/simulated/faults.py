"""Faults on demand: a simulated host that is told to fail, to lie, or to be slow."""

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
    """What goes wrong. Any thread may call anything; `armed` is all that the hot path reads."""

    def __init__(self, sleep: Callable[[float], None]) -> None:
        self.armed = False
        self._sleep = sleep
        self._lock = Lock()
        self._failures: list[_Failure] = []
        self._lies: dict[int, int] = {}
        self._delays: dict[str, float] = {}

    def fail(self, verb: str, errno: int, times: int | None, domid: int | None) -> None:
        """Let the next `times` calls of a verb fail (None: all), of one domain or of any."""
        self._check(verb)
        with self._lock:
            self._failures.append(_Failure(verb, errno, times, domid))
            self.armed = True

    def lie(self, domid: int, offset_pages: int) -> None:
        """Let a domain's maximum read back as so many pages more than was written."""
        with self._lock:
            self._lies[domid] = offset_pages
            self.armed = True

    def delay(self, verb: str, seconds: float) -> None:
        """Let every call of a verb take that long."""
        self._check(verb)
        with self._lock:
            self._delays[verb] = seconds
            self.armed = True

    def clear(self) -> None:
        """Be well again."""
        with self._lock:
            self._failures.clear()
            self._lies.clear()
            self._delays.clear()
            self.armed = False

    def hypercall(self, verb: str, domid: int | None) -> None:
        """Sleep if this hypercall is slow; raise HypervisorError if it is to fail."""
        errno = self._strike(verb, domid)
        if errno is not None:
            raise HypervisorError.of(verb.replace("_", " "), domid, errno)

    def request(self, verb: str, domid: int) -> None:
        """Sleep if this xenstore request is slow; raise XenstoreError if it is to fail."""
        errno = self._strike(verb, domid)
        if errno is not None:
            raise XenstoreError(f"{verb} xenstore nodes of domain {domid}", errno)

    def bend(self, domid: int, pages: int) -> int:
        """Return the pages that Xen will hold when this many are written."""
        return max(0, pages + self._lies.get(domid, 0))

    def _strike(self, verb: str, domid: int | None) -> int | None:
        seconds = self._delays.get(verb)
        if seconds:
            self._sleep(seconds)
        with self._lock:
            for failure in self._failures:
                if failure.verb == verb and failure.domid in (None, domid):
                    return self._spend(failure)
        return None

    def _spend(self, failure: _Failure) -> int:
        if failure.times is not None:
            failure.times -= 1
            if failure.times <= 0:
                self._failures.remove(failure)
        return failure.errno

    @staticmethod
    def _check(verb: str) -> None:
        if verb not in VERBS:
            raise ValueError(f"cannot disturb {verb!r}: the verbs are {', '.join(sorted(VERBS))}")
