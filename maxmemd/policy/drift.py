"""Drift: what to do when another program writes a domain's maximum, and for how long.

The configuration has a mode for the host and modes of single domains, by UUID or name. A client can
set another one for a domain, for a time or until it is taken back; it comes before both.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from maxmemd.policy.reference import Uuid, parse_reference


class DriftMode(StrEnum):
    """What becomes of a maximum that another program wrote."""

    RESTORE = "restore"
    """Ours is pushed again."""
    ADOPT = "adopt"
    """Theirs becomes max-mem."""
    ALERT = "alert"
    """It is left alone, and noted."""


WILDCARD = "*"
"""Stands for any characters of a name, or none. Nothing else in a pattern is special."""


@dataclass(frozen=True, slots=True)
class DriftRules:
    """What the configuration says: the host's mode, and those of domains by UUID, name or pattern.

    The most specific key decides, for a TOML table has no order: a UUID, then a whole name, then
    the pattern with the most characters beside its wildcards. `ambiguities` names what that leaves
    open.
    """

    default: DriftMode = DriftMode.RESTORE
    of: Mapping[str, DriftMode] = field(default_factory=dict)

    def find(self, uuid: str, name: str | None) -> tuple[DriftMode, str | None]:
        """Return a domain's mode, and the key that says so; None where it is the host's."""
        for key in self.by_precedence:
            if is_match(key, uuid, name):
                return self.of[key], key
        return self.default, None

    @property
    def by_precedence(self) -> list[str]:
        """The keys, the most specific first."""
        return sorted(self.of, key=_rank) if self.of else []

    @property
    def explained(self) -> str:
        """The keys with their modes, in the order in which they count, as one line."""
        said = [f'"{key}" = {self.of[key]}' for key in self.by_precedence]
        return ", ".join([*said, f"any other = {self.default}"])

    def ambiguities(self) -> Iterator[tuple[str, str]]:
        """Yield pairs of keys of which neither is more specific, though a name may match both."""
        for one, other in combinations(self.by_precedence, 2):
            differs = self.of[one] is not self.of[other]
            if differs and _rank(one)[:2] == _rank(other)[:2] and overlap(one, other):
                yield one, other


def is_match(key: str, uuid: str, name: str | None) -> bool:
    """Whether a key of the configuration means this domain; one without a name has its UUID."""
    if isinstance(parse_reference(key), Uuid):
        return key.lower() == uuid
    return name is not None and _compiled(key).fullmatch(name) is not None


@lru_cache(maxsize=4096)
def overlap(one: str, other: str) -> bool:
    """Whether there is a name that two patterns both match."""
    if not one or not other:
        return not (one or other).strip(WILDCARD)
    if WILDCARD in (one[0], other[0]):
        wild, rest = (one, other) if one[0] == WILDCARD else (other, one)
        return overlap(wild[1:], rest) or overlap(wild, rest[1:])
    return one[0] == other[0] and overlap(one[1:], other[1:])


@lru_cache(maxsize=1024)
def _compiled(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in key.split(WILDCARD)), re.DOTALL)


def _rank(key: str) -> tuple[int, int, str]:
    """Return what sorts keys by how specific they are."""
    if isinstance(parse_reference(key), Uuid):
        return 0, 0, key
    literal = len(key.replace(WILDCARD, ""))
    return (2, -literal, key) if WILDCARD in key else (1, 0, key)


class Instant(NamedTuple):
    """A moment by both clocks of the host, and the boot that the monotonic one belongs to."""

    boot: str
    monotonic_s: float
    wall_ns: int


class SetMode(NamedTuple):
    """A mode that a client set for one domain, and how much of its time was left at `since`.

    `left_s` None is until it is taken back. `actor` is JSON text; it was set at `set_ns`.
    """

    mode: DriftMode
    left_s: float | None
    since: Instant
    set_ns: int
    actor: str
    reason: str = ""


def left_s(found: SetMode, now: Instant) -> float | None:
    """Return how many seconds are left of a set mode, 0 when it is over; None without an end.

    Within a boot of the host only the monotonic clock counts, whether or not maxmemd ran: no jump
    of the wall clock moves the end. Across boots there is only the wall clock. Where that says that
    no time passed, it cannot be believed, and the mode is over: a host whose clock begins at the
    same time with each boot would otherwise keep it for ever.
    """
    if found.left_s is None:
        return None
    if found.since.boot == now.boot:
        passed_s, is_believed = now.monotonic_s - found.since.monotonic_s, True
    else:
        passed_s = (now.wall_ns - found.since.wall_ns) / 1e9
        is_believed = passed_s > 0
    if not is_believed or passed_s < 0:
        return 0.0
    return max(0.0, found.left_s - passed_s)


def is_over(found: SetMode, now: Instant) -> bool:
    """Whether a set mode has ended by itself."""
    return left_s(found, now) == 0.0


def carried(found: SetMode, now: Instant) -> SetMode:
    """Return the same mode, its time counted from now on."""
    return found._replace(left_s=left_s(found, now), since=now)
