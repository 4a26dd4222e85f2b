"""All domains are looked at in parts, and between two of them others have their turn."""

import pytest

from maxmemd.arbiter import queries
from maxmemd.arbiter.messages import DecisionRequest, DomainViews, LookAtDomains
from maxmemd.policy.wishes import SetMaxMem
from maxmemd.units import Memory
from tests.support.seat import ACTOR, Seat


@pytest.fixture
def seat() -> Seat:
    """Return a seat with dom0, four guests, and two records of guests that are gone."""
    made = Seat()
    for name in "abcdef":
        made.host.create(name, memory=Memory.of_mib(64), maxmem=Memory.of_mib(64))
    made.restart()
    for domid in ("1", "3"):
        made.arbiter.turn([DecisionRequest(domid, SetMaxMem(Memory.of_mib(80)), ACTOR)])
        made.host.destroy(int(domid))
    made.poll()
    return made


def whole(seat: Seat) -> tuple[list[DomainViews], list[str]]:
    """Return the parts, and the UUIDs in them."""
    parts: list[DomainViews] = []
    ask = LookAtDomains()
    while True:
        [part] = seat.arbiter.turn([ask])
        assert isinstance(part, DomainViews)
        parts.append(part)
        if part.more is None:
            return parts, [view.uuid for part in parts for view in part]
        ask = part.more  # type: ignore[assignment]


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6, 7])
def test_the_parts_are_the_whole(seat: Seat, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Each domain and each record without one is in one part, in the same order."""
    _, expected = whole(seat)
    assert len(expected) == 7
    monkeypatch.setattr(queries, "MOST_VIEWS", most)
    parts, found = whole(seat)
    assert found == expected
    assert len(set(found)) == len(found)
    assert all(len(part) == most for part in parts[:-1])
    assert 1 <= len(parts[-1]) <= most


def test_what_changes_between_two_parts(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain that went meanwhile is shown by what Xen said of it; none is shown twice."""
    monkeypatch.setattr(queries, "MOST_VIEWS", 1)
    [first] = seat.arbiter.turn([LookAtDomains()])
    assert isinstance(first, DomainViews)
    assert first.more is not None
    last = first.more.facts[-1]
    seat.host.destroy(last.domid)
    seat.host.create("other", memory=Memory.of_mib(64), maxmem=Memory.of_mib(64))
    seat.arbiter.poll()
    part, found = first, [first[0].uuid]
    while part.more is not None:
        [part] = seat.arbiter.turn([part.more])  # type: ignore[assignment]
        found += [view.uuid for view in part]
    assert len(set(found)) == len(found)
    assert last.uuid in found
