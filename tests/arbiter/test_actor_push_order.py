"""One turn: what is pushed first where two instances of a domain are here."""

from typing import Any

from maxmemd.policy.roles import Bond
from maxmemd.policy.wishes import MIGRATED_IN, Build, Headroom
from maxmemd.units import Memory
from tests.support.seat import Seat, mib


class NotedXen:
    """A Xen that notes whose maximum is set, in order."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.raised: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def set_max_mem(self, domid: int, limit: Memory) -> None:
        """Note it, and set it."""
        self.raised.append(domid)
        self.inner.set_max_mem(domid, limit)


def test_headroom_of_the_incoming_half_is_pushed_to_it_first() -> None:
    """Its device model asks by its own domid: it has the room before the half that it is sent."""
    seat = Seat()
    xen = seat.hypervisor = NotedXen(seat.host.hypervisor())
    web = seat.host.create("web", memory=mib(64), maxmem=mib(128))
    seat.restart()
    uuid, born = seat.uuid(web), 0
    for step in seat.host.migrating(web):
        born = step.domid
        if step.name == "limited":
            break
    seat.grant(born, Build(mib(64), MIGRATED_IN))
    xen.raised.clear()

    granted = seat.grant(born, Headroom(32768), bond=Bond(born, uuid))

    assert granted.domid == born
    assert xen.raised == [born, web]
    assert seat.pages(born) == seat.pages(web) == granted.record.max_pages
