"""A domid that comes again with the same UUID is another instance where Xen has unique IDs."""

import pytest

from maxmemd.policy.components import MAX_MEM
from maxmemd.policy.roles import Bond
from maxmemd.policy.wishes import Headroom, SetMaxMem
from maxmemd.xen.simulated import SimulatedHost
from tests.support.seat import WEB_UUID, Seat, mib


def seat_with_web(*, unique_ids: bool = True) -> Seat:
    """Return a seat with a domain 5 whose limit was decided."""
    host = SimulatedHost(total=mib(16384), unique_ids=unique_ids)
    seat = Seat(host=host)
    create(seat)
    seat.restart()
    seat.grant(5, SetMaxMem(mib(96)))
    return seat


def create(seat: Seat) -> None:
    """Make the domain 5, with the UUID that it always has."""
    seat.host.create("web", memory=mib(64), uuid=WEB_UUID, domid=5)


def replace(seat: Seat) -> None:
    """Destroy the domain and make it again, between two polls."""
    seat.host.destroy(5)
    create(seat)


def incarnations(seat: Seat) -> list[int]:
    """Return which lives of the domain are here."""
    return [life.incarnation for life in seat.arbiter.instances.of_uuid(WEB_UUID)]


@pytest.mark.parametrize(("unique_ids", "lives"), [(False, [1]), (True, [2])])
def test_a_successor_with_domid_and_uuid_is_told_apart(unique_ids: bool, lives: list[int]) -> None:
    """Without unique IDs nothing in Xen tells the two apart (A6)."""
    seat = seat_with_web(unique_ids=unique_ids)
    replace(seat)
    seat.poll()
    assert incarnations(seat) == lives
    began = [words for words in seat.memory.words("instance-began") if words["domid"] == 5]
    assert ["unique_id" in words for words in began] == [unique_ids] * len(began)


def test_a_successor_begins_as_any_new_instance() -> None:
    """It was created with another static-max: its maximum is its toolstack's, and no drift."""
    seat = seat_with_web()
    replace(seat)
    seat.poll()
    assert [words["incarnation"] for words in seat.memory.words("instance-ended")] == [1]
    assert seat.memory.words("drift") == []
    assert seat.pages(5) == 65 * 256
    record = seat.arbiter.records.get(WEB_UUID)
    assert record is not None
    assert record.amount(MAX_MEM) == mib(64)


def test_a_successor_is_told_apart_across_a_restart() -> None:
    """The ledger keeps the unique ID with the instance, settled or not."""
    seat = seat_with_web()
    seat.restart()
    assert incarnations(seat) == [1]
    replace(seat)
    seat.restart()
    assert incarnations(seat) == [2]


def test_a_push_does_not_reach_a_successor() -> None:
    """Whose domain it is by then is compared before the hypercall's result is believed."""
    seat = seat_with_web()
    commit = seat.memory.commit

    def replaced(*arguments: object, **options: object) -> None:
        seat.memory.commit = commit  # type: ignore[method-assign]
        commit(*arguments, **options)  # type: ignore[arg-type]
        replace(seat)

    seat.memory.commit = replaced  # type: ignore[method-assign,assignment]
    answer = seat.grant(5, SetMaxMem(mib(128)))
    assert answer.push is not None
    assert answer.push.state == "gone"


def test_the_device_model_of_the_one_before_may_not_change_it() -> None:
    """It has the domain that it had when it connected, and no other."""
    seat = seat_with_web()
    bond = Bond(5, WEB_UUID, seat.host.machine.domain(5).unique_id)
    assert seat.grant(5, Headroom(16), bond=bond)
    replace(seat)
    assert seat.refuse(5, Headroom(16), bond=bond) == "not-your-domain"


def test_an_instance_whose_id_was_not_known_takes_the_first_that_is_told() -> None:
    """And is another one once that differs."""
    seat = seat_with_web(unique_ids=False)
    domains = seat.host.machine._domains
    for number in (7, 8):
        domains[5].unique_id, domains[5].facts = number, None
        seat.poll()
        assert incarnations(seat) == [number - 6]
