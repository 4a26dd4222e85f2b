"""The verbs of the wire protocol, each against a xenstored that keeps Xen's rules."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from maxmemd.xen import xs_wire
from maxmemd.xen.xs_wire import Connection, is_answer
from tests.support.xenstored import DIRECTORY, ERROR, PART, FakeXenstored

HOME = "/local/domain/5"
PATIENCE_S = 60.0


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeXenstored]:
    """Give a xenstored with a guest of domid 5, as libxl makes it."""
    server = FakeXenstored(tmp_path / "socket")
    server.put(HOME, "", "n0", "r5")
    server.put(f"{HOME}/data", "", "n5")
    yield server
    server.stop()


@pytest.fixture
def dom0(fake: FakeXenstored) -> Iterator[Connection]:
    """Give dom0's connection."""
    connection = Connection(fake.path, patience_s=PATIENCE_S)
    yield connection
    connection.close()


@pytest.fixture
def guest(fake: FakeXenstored) -> Iterator[Connection]:
    """Give the connection of domain 5."""
    connection = Connection(fake.socket_of(5), patience_s=PATIENCE_S)
    yield connection
    connection.close()


@pytest.fixture
def wake() -> Iterator[tuple[int, int]]:
    """Give a pipe that wakes the reader of events."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


def test_rights_are_read_as_they_are(dom0: Connection) -> None:
    """The owner first; a node that is not there has none, and says so."""
    found = dom0.permissions(HOME, f"{HOME}/data", f"{HOME}/nothing")
    assert found == [["n0", "r5"], ["n5"], None]


def test_rights_are_inherited_and_given(dom0: Connection, guest: Connection) -> None:
    """A new node has the rights of the one above, until it is given others."""
    dom0.write(f"{HOME}/new", "x")
    assert dom0.permissions(f"{HOME}/new") == [["n0", "r5"]]
    assert guest.read("new") == [b"x"]
    with pytest.raises(PermissionError):
        guest.write("new", "y")
    dom0.permit(f"{HOME}/new", "n0", "b5")
    assert dom0.permissions(f"{HOME}/new") == [["n0", "b5"]]
    guest.write("new", "y")
    assert dom0.read(f"{HOME}/new") == [b"y"]


def test_a_guest_owns_what_it_makes(dom0: Connection, guest: Connection) -> None:
    """Below what it may write, and nothing else; it gives nothing away that it does not own."""
    guest.write("data/mine", "x")
    assert dom0.permissions(f"{HOME}/data/mine") == [["n5"]]
    with pytest.raises(PermissionError):
        guest.permit(f"{HOME}", "b5")
    with pytest.raises(PermissionError):
        guest.write("other", "x")
    with pytest.raises(PermissionError):
        guest.read("/local/domain/6/name")


def test_removing_takes_all_below(dom0: Connection, guest: Connection) -> None:
    """Whoever may write a node may remove it, but only make it again if it may write above."""
    dom0.write(f"{HOME}/box", "x")
    dom0.permit(f"{HOME}/box", "n0", "b5")
    guest.write("box/inside", "y")
    guest.remove("box")
    assert dom0.read(f"{HOME}/box", f"{HOME}/box/inside") == [None, None]
    with pytest.raises(PermissionError):
        guest.write("box", "x")
    dom0.remove(f"{HOME}/data")
    assert dom0.children(HOME) == []


def test_children(dom0: Connection, fake: FakeXenstored) -> None:
    """The names right below, in order; none of a node without, or that is not there."""
    for domid in (7, 3):
        fake.put(f"/local/domain/{domid}/name", "x")
    assert dom0.children("/local/domain") == ["5", "7", "3"]
    assert dom0.children(f"{HOME}/data") == []
    assert dom0.children("/nowhere") == []


@pytest.mark.parametrize("count", [700, 2000])
def test_children_that_no_message_holds(dom0: Connection, fake: FakeXenstored, count: int) -> None:
    """680 domids of five digits fill a message: what is more comes in parts."""
    names = [str(10_000 + number) for number in range(count)]
    fake.nodes = {f"/local/domain/{name}": b"" for name in names}
    assert dom0.children("/local/domain") == names
    assert PART in fake.asked


def test_children_that_change_between_parts(dom0: Connection, fake: FakeXenstored) -> None:
    """A list is never assembled from two versions: it is read again, and given up in the end."""
    names = [str(10_000 + number) for number in range(1500)]
    fake.nodes = {f"/local/domain/{name}": b"" for name in names}
    parts = fake._part
    changes = [f"/local/domain/{number}" for number in range(3)]

    def part(*asked: object) -> bytes:
        if changes:
            fake.put(changes.pop(), "")
        return parts(*asked)  # type: ignore[arg-type]

    fake._part = part  # type: ignore[method-assign]
    assert sorted(dom0.children("/local/domain")) == sorted([*names, "0", "1", "2"])
    changes += [f"/local/domain/{number}" for number in range(9000)]
    with pytest.raises(OSError, match="unavailable") as caught:
        dom0.children("/local/domain")
    assert caught.value.errno == errno.EAGAIN


def test_a_list_that_cannot_be_read(dom0: Connection, fake: FakeXenstored) -> None:
    """Any other answer is what it is."""
    fake.answer = lambda kind, _: (ERROR, b"EACCES\0") if kind == DIRECTORY else None
    with pytest.raises(PermissionError):
        dom0.children("/local/domain")


def test_a_list_of_nothing_in_parts(dom0: Connection, fake: FakeXenstored) -> None:
    """A list that became empty since it was too long is empty; one without its end is none."""
    part = [b"1\0\0"]
    fake.answer = lambda kind, _: (ERROR, b"E2BIG\0") if kind == DIRECTORY else (kind, part[0])
    assert dom0.children("/local/domain") == []
    part[0] = b"1\0"
    with pytest.raises(OSError, match="unavailable"):
        dom0.children("/local/domain")


def test_a_watch_is_told_as_its_token(
    dom0: Connection, fake: FakeXenstored, wake: tuple[int, int]
) -> None:
    """At once, for all below it, and no more once it has ended."""
    dom0.watch(f"{HOME}/data", "five")
    dom0.watch("@releaseDomain", "host")
    assert told(dom0, wake[0], 2) == ["five", "host"]
    fake.put(f"{HOME}/data/deep", "x")
    assert dom0.events(wake[0], PATIENCE_S) == ["five"]
    fake.drop(HOME)
    assert dom0.events(wake[0], PATIENCE_S) == ["five"]
    dom0.unwatch(f"{HOME}/data", "five")
    fake.put(f"{HOME}/data", "x")
    assert dom0.events(wake[0], 0.05) == []
    with pytest.raises(FileNotFoundError):
        dom0.unwatch(f"{HOME}/data", "five")


def told(connection: Connection, wake_fd: int, many: int) -> list[str]:
    """Return the tokens of so many events, which may come one by one."""
    tokens: list[str] = []
    while len(tokens) < many:
        found = connection.events(wake_fd, PATIENCE_S)
        assert found, f"only {tokens}"
        tokens += found
    return tokens


def test_waiting_ends(dom0: Connection, wake: tuple[int, int]) -> None:
    """When the time is over, and when it is woken, though it would wait for ever."""
    assert dom0.events(wake[0], 0.01) == []
    waker = threading.Timer(0.05, os.write, [wake[1], b"!"])
    waker.start()
    assert dom0.events(wake[0]) == []
    waker.join()


def test_a_flood_of_events_is_one(
    dom0: Connection, fake: FakeXenstored, wake: tuple[int, int]
) -> None:
    """However many come, and while an answer is awaited: no more is kept than there are watches."""
    dom0.watch(HOME, "five")
    for number in range(2000):
        fake.put(f"{HOME}/data/{number}", "x")
        assert dom0.read(HOME) == [b""]
    assert len(dom0._events) == 1
    assert dom0.events(wake[0], PATIENCE_S) == ["five"]


def test_a_flood_is_taken_in_pieces(
    dom0: Connection, fake: FakeXenstored, wake: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endless events do not keep other requests from being answered."""
    monkeypatch.setattr(xs_wire, "MOST_EVENTS", 10)
    dom0.watch(HOME, "five")
    assert dom0.events(wake[0], PATIENCE_S) == ["five"]
    for number in range(25):
        fake.put(f"{HOME}/data/{number}", "x")
    assert dom0.read(HOME) == [b""]  # its answer comes after all of them
    for number in range(25):
        fake.put(f"{HOME}/data/{number}", "y")
    pieces = [dom0.events(wake[0], 1.0) for _ in range(5)]
    assert pieces == [["five"]] * 4 + [[]]  # what was kept, then 10, 10 and 5


def test_what_is_an_answer(dom0: Connection, fake: FakeXenstored) -> None:
    """Xenstored's own errors leave the connection good; silence, an end and nonsense do not."""
    fake.answer = lambda _kind, _body: (ERROR, b"EINVAL\0")
    with pytest.raises(OSError, match="Invalid") as caught:
        dom0.read(HOME)
    assert is_answer(caught.value)
    fake.answer = lambda _kind, _body: (99, b"")
    with pytest.raises(OSError, match="belongs to no request") as caught:
        dom0.read(HOME)
    assert not is_answer(caught.value)
    fake.answer = lambda _kind, _body: None
    hasty = Connection(fake.path, patience_s=0.1)
    with pytest.raises(TimeoutError) as late:
        hasty.read(HOME)
    hasty.close()
    assert not is_answer(late.value)
    fake.stop()
    with pytest.raises(ConnectionError) as lost:
        dom0.read(HOME)
    assert not is_answer(lost.value)


def test_a_transaction_sees_no_half_of_another(dom0: Connection, fake: FakeXenstored) -> None:
    """A change by another client meanwhile starts it over."""
    seen: list[list[bytes | None]] = []

    def body(transaction: int) -> None:
        seen.append(dom0.read(f"{HOME}/data", transaction=transaction))
        if len(seen) == 1:
            fake.put(f"{HOME}/data", "theirs")
        dom0.write(f"{HOME}/ours", "x", transaction)
        dom0.permit(f"{HOME}/ours", "n0", "r5", transaction=transaction)
        assert dom0.read(f"{HOME}/ours") == [None]

    dom0.transact(body)
    assert seen == [[b""], [b"theirs"]]
    assert dom0.read(f"{HOME}/ours") == [b"x"]
