"""Nothing of a domain that came and went stays in the arbiter's memory."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy.endings import REBOOT
from maxmemd.policy.wishes import Rollback, SetMaxMem
from maxmemd.xen.simulated import finish
from tests.support.fakes import MemoryLedger
from tests.support.seat import WEB_UUID, Seat, mib, web_of

OUTSIDE = (MemoryLedger, SqliteLedger)


def places_of(text: str, root: object) -> Iterator[str]:
    """Yield where an object, or what it reaches, has a text that contains this one."""
    seen: set[int] = set()

    def look(found: object, path: str) -> Iterator[str]:
        if isinstance(found, str):
            if text in found:
                yield path
            return
        if id(found) in seen or isinstance(found, OUTSIDE) or path.count("/") > 12:
            return
        seen.add(id(found))
        for name, part in _parts(found):
            yield from look(part, f"{path}/{name}")

    return look(root, "")


def _parts(found: object) -> Iterator[tuple[str, Any]]:
    if isinstance(found, Mapping):
        for number, (key, value) in enumerate(found.items()):
            yield f"key {number}", key
            yield f"{key}", value
    elif hasattr(found, "__iter__") and hasattr(found, "__len__"):
        yield from ((f"{number}", part) for number, part in enumerate(found))  # type: ignore[call-overload]
    if type(found).__module__.startswith("maxmemd.arbiter"):
        names = {*getattr(found, "__dict__", ()), *getattr(type(found), "__slots__", ())}
        yield from ((name, getattr(found, name)) for name in sorted(names) if hasattr(found, name))


def ran(seat: Seat) -> None:
    """Let it run, and be destroyed, with nothing decided of it."""
    web = finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    seat.refuse(web, Rollback(77))
    seat.host.destroy(web)


def was_never_limited(seat: Seat) -> None:
    """Let its build fail before it had a maximum: it was never adopted."""
    life = seat.host.building(web_of(64, 128))
    while next(life).name != "named":
        pass
    seat.poll()
    seat.arbiter.lifecycle.read_all_names()
    [web] = [each for each in seat.arbiter.instances if each.uuid == WEB_UUID]
    seat.host.destroy(web.domid)


def was_decided_on(seat: Seat) -> None:
    """Let a client decide on it, and its record go after the time for that."""
    web = finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    seat.grant(web, SetMaxMem(mib(96)))
    seat.host.destroy(web)


def rebooted(seat: Seat) -> None:
    """Let it reboot, and not come back."""
    web = finish(seat.host.building(web_of(64, 128)))
    seat.poll()
    seat.host.shutdown(web, REBOOT)
    seat.poll()
    seat.host.destroy(web)


@pytest.mark.parametrize("life", [ran, was_never_limited, was_decided_on, rebooted])
def test_nothing_stays(life: Callable[[Seat], None]) -> None:
    """Once its record is dropped, no part of the arbiter has its UUID."""
    seat = Seat(keep_gone_s=700.0).restart()
    life(seat)
    seat.poll()
    assert list(places_of(WEB_UUID, seat.arbiter)) != [] or life is was_never_limited
    seat.poll(after_s=701.0)
    seat.poll(after_s=61.0)
    seat.poll()
    assert list(places_of(WEB_UUID, seat.arbiter)) == []


def test_what_is_looked_for_is_found() -> None:
    """The search sees a living domain in the tables of instances, records and names."""
    seat = Seat()
    finish(seat.host.building(web_of(64, 128)))
    found = " ".join(places_of(WEB_UUID, seat.restart().arbiter))
    assert all(part in found for part in ("instances/", "records/_records", "records/_names"))
