"""Guests with a balloon driver: how many pages a guest has as time passes.

Arithmetic only. The caller passes the time; in how many steps makes no difference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from maxmemd.units import Memory

_RATE = Memory.of_mib(256)


class Guest(Protocol):
    """A behaviour: an immutable value that several domains may share."""

    def step(self, pages: int, goal: int, since_s: float, until_s: float) -> int:
        """Return the pages that a guest with `pages` wants to have at `until_s`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ideal:
    """Moves to its goal at `rate` a second."""

    rate: Memory = _RATE

    def step(self, pages: int, goal: int, since_s: float, until_s: float) -> int:
        """Return the pages that it wants to have at `until_s`."""
        wanted = self.bound(pages, goal)
        reach = self._reach_at(until_s) - self._reach_at(since_s)
        return max(wanted, pages - reach) if wanted < pages else min(wanted, pages + reach)

    def bound(self, pages: int, goal: int) -> int:
        """Return how far it goes towards the goal, in pages."""
        del pages
        return goal

    def active_s(self, at_s: float) -> float:
        """Return for how many of the first `at_s` seconds it moved."""
        return at_s

    def _reach_at(self, at_s: float) -> int:
        """Return the pages it can have moved by then: a total, so that rounding does not add up."""
        return int(self.rate.pages * self.active_s(at_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor(Ideal):
    """Does not shrink below a minimum that it does not announce."""

    minimum: Memory

    def bound(self, pages: int, goal: int) -> int:
        """Return the goal, or the minimum if that is higher."""
        return max(goal, min(pages, self.minimum.pages))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling(Ideal):
    """Does not grow above a maximum that it does not announce."""

    maximum: Memory

    def bound(self, pages: int, goal: int) -> int:
        """Return the goal, or the maximum if that is lower."""
        return min(goal, max(pages, self.maximum.pages))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck(Ideal):
    """Never moves."""

    def active_s(self, at_s: float) -> float:
        """Return 0."""
        del at_s
        return 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Intermittent(Ideal):
    """Moves for `interval_s`, stops for as long, and so on."""

    interval_s: float = 5.0

    def active_s(self, at_s: float) -> float:
        """Return for how many of the first `at_s` seconds it moved."""
        rounds, rest = divmod(at_s, 2 * self.interval_s)
        return rounds * self.interval_s + min(rest, self.interval_s)


class Room(Protocol):
    """What balloon drivers need of the machine."""

    def balloon(self, domid: int, wanted: Callable[[int], int]) -> int:
        """Move a running domain to what it wants, as far as Xen allows; return its pages."""
        ...


@dataclass(slots=True)
class _Driver:
    """`offset` is the pages of a guest beyond its target: video RAM, ROMs, holes."""

    guest: Guest
    offset: int
    goal: int


class Drivers:
    """The balloon drivers of one host. The caller holds the host's lock.

    A driver moves by how much its target *changed* since it came up, as Linux does
    (drivers/xen/xen-balloon.c): pages that a device model populated are not its own (A8).
    `restless` are the domids of guests that may not be at their goal.
    """

    def __init__(self) -> None:
        self._drivers: dict[int, _Driver] = {}
        self.restless: set[int] = set()

    def start(self, domid: int, guest: Guest, *, target_pages: int, offset: int) -> None:
        """Bring a guest's driver up."""
        self._drivers[domid] = _Driver(guest, offset, target_pages + offset)
        self.restless.add(domid)

    def stop(self, domid: int) -> None:
        """Forget a guest."""
        self._drivers.pop(domid, None)
        self.restless.discard(domid)

    def aim(self, domid: int, target_pages: int) -> None:
        """Tell a guest its new memory/target in pages; does nothing before the driver is up."""
        driver = self._drivers.get(domid)
        if driver is not None:
            driver.goal = target_pages + driver.offset
            self.restless.add(domid)

    def shift(self, domid: int, pages: int) -> None:
        """Note pages that the device model populated: the balloon never returns them (A8)."""
        driver = self._drivers.get(domid)
        if driver is not None:
            driver.offset += pages
            driver.goal += pages

    def offset(self, domid: int) -> int:
        """Return the guest's pages beyond its target; 0 before the driver is up."""
        driver = self._drivers.get(domid)
        return 0 if driver is None else driver.offset

    def advance(self, room: Room, since_s: float, until_s: float) -> None:
        """Let every guest that is not at its goal move during this time."""
        for domid in sorted(self.restless):
            driver = self._drivers[domid]

            def wanted(pages: int, driver: _Driver = driver) -> int:
                return driver.guest.step(pages, driver.goal, since_s, until_s)

            if room.balloon(domid, wanted) == driver.goal:
                self.restless.discard(domid)
