"""Lines and pushes in one order: nothing missed and nothing twice from any place."""

import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maxmemd.errors import LedgerError
from maxmemd.ledger.follow import START, LedgerFollower, Occurrence, Position, merged
from tests.ledger.lines import AT_NS, entry, note, opened, push


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a database with four lines and three pushes, written in three transactions."""
    found = tmp_path / "ledger.sqlite"
    ledger = opened(found)
    ledger.commit(AT_NS, [entry(1)])
    later = [push(1)._replace(at_ns=AT_NS + 5), push(1, errno=1)._replace(at_ns=AT_NS + 6)]
    ledger.commit(AT_NS + 10, [entry(2), note(2)], pushes=later)
    ledger.commit(AT_NS + 20, [note(2)], pushes=[push(2)._replace(at_ns=AT_NS + 15)])
    ledger.close()
    return found


def places(happenings: list[Occurrence]) -> list[tuple[int, int]]:
    """Return where each one ends."""
    return [(one.after.seq, one.after.push) for one in happenings]


def test_everything_in_the_order_it_was_done(path: Path) -> None:
    """A push stands after the line that it is of, and before what was decided later."""
    tail = LedgerFollower(path)
    found = tail.after(START, 100)
    assert places(found) == [(1, 0), (1, 1), (1, 2), (2, 2), (3, 2), (3, 3), (4, 3)]
    assert tail.end() == found[-1].after
    assert tail.after(tail.end(), 100) == []
    assert [one.entry is None for one in found] == [place in (1, 2, 5) for place in range(7)]
    assert [one.before for one in found[1:]] == [one.after for one in found[:-1]]


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_pages_make_the_whole(path: Path, most: int) -> None:
    """However little is read at once, it comes to the same."""
    tail, place, found = LedgerFollower(path), START, []
    while page := tail.after(place, most):
        assert len(page) <= 2 * most
        found += page
        place = page[-1].after
    assert found == tail.after(START, 100)


def test_a_place_is_known_again(path: Path) -> None:
    """A place that was, with the hash of its line; none beyond the last line or push."""
    tail = LedgerFollower(path)
    assert [tail.place(one.after.seq, one.after.push) for one in tail.after(START, 9)] == [
        one.after for one in tail.after(START, 9)
    ]
    assert tail.place(0, 0) == START
    assert (tail.place(5, 0), tail.place(4, 4)) == (None, None)


def test_an_empty_ledger_has_a_place(tmp_path: Path) -> None:
    """Before the first line the end is the start."""
    opened(tmp_path / "ledger.sqlite").close()
    tail = LedgerFollower(tmp_path / "ledger.sqlite")
    assert (tail.end(), tail.after(START, 5)) == (START, [])


def test_reading_writes_nothing(path: Path) -> None:
    """The tail's connection cannot write, and what cannot be read is a ledger error."""
    LedgerFollower(path).end()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE push")
    for question in (LedgerFollower(path).end, lambda: LedgerFollower(path).after(START, 1)):
        with pytest.raises(LedgerError, match="cannot read the events"):
            question()


def row(number: int, at_ns: int) -> Any:
    """Return a row that is a line and a push at once, as far as merging looks at it."""
    return SimpleNamespace(seq=number, id=number, at_ns=at_ns, hash=bytes([number]), after_seq=None)


times = st.lists(st.integers(0, 9), max_size=12)


@given(lines=times, pushes=times, most=st.integers(1, 5))
def test_no_clock_can_lose_or_repeat(lines: list[int], pushes: list[int], most: int) -> None:
    """Whatever the times say, each line and each push comes once, and each in its own order."""
    rows = [[row(at + 1, when) for at, when in enumerate(kind)] for kind in (lines, pushes)]
    place, found = START, []
    while True:
        ahead = [kind[done : done + most] for kind, done in zip(rows, _done(place), strict=True)]
        page = merged(place, ahead[0], ahead[1], most)
        if not page:
            break
        found += page
        place = page[-1].after
    assert [one.entry.seq for one in found if one.entry is not None] == list(
        range(1, len(lines) + 1)
    )
    assert [one.push.id for one in found if one.push is not None] == list(range(1, len(pushes) + 1))
    sums = [one.after.seq + one.after.push for one in found]
    assert sums == list(range(1, len(found) + 1))


@given(lines=times.map(sorted), pushes=times.map(sorted), most=st.integers(1, 5))
def test_by_time_where_the_clock_runs_forward(
    lines: list[int], pushes: list[int], most: int
) -> None:
    """With times that only grow the order is by time, and does not depend on the pages."""
    rows = [[row(at + 1, when) for at, when in enumerate(kind)] for kind in (lines, pushes)]
    whole = merged(START, rows[0], rows[1], 100)
    whens = [(one.entry or one.push).at_ns for one in whole]  # type: ignore[union-attr]
    assert whens == sorted(whens)
    place, found = START, []
    while page := merged(place, *(k[d : d + most] for k, d in zip(rows, _done(place))), most):  # noqa: B905
        found += page
        place = page[-1].after
    assert found == whole


def _done(place: Position) -> tuple[int, int]:
    return place.seq, place.push
