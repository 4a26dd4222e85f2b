"""Events are read once for all streams, not at all without streams, and are bounded."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

import pytest

from maxmemd.api import event_stream as feeds
from maxmemd.api.event_format import FormattedEvent, id_of
from maxmemd.api.event_stream import EventStream
from maxmemd.api.problems import Rejected
from maxmemd.errors import LedgerBusy, LedgerError
from maxmemd.ledger.follow import START, Occurrence, Position

UUID = "51a70000-0000-4000-8000-000000000001"


class FakeTail:
    """A ledger of so many pushes, that counts what it is asked."""

    def __init__(self, pushes: int = 0) -> None:
        self.pushes, self.reads = pushes, 0
        self.trouble: LedgerError | None = None

    def end(self) -> Position:
        """Return the place after the last push."""
        self._read()
        return Position(0, self.pushes, START.entry_hash)

    def after(self, place: Position, most: int) -> list[Occurrence]:
        """Return the next pushes."""
        self._read()
        numbers = range(place.push + 1, min(place.push + most, self.pushes) + 1)
        return [_pushed(number) for number in numbers]

    def _read(self) -> None:
        self.reads += 1
        if self.trouble is not None:
            raise self.trouble


class _Row:
    def __init__(self, number: int) -> None:
        self.id, self.at_ns, self.uuid, self.domid = number, 0, UUID, number
        self.revision = self.max_pages = self.seen_pages = number
        self.errno = None


def _pushed(number: int) -> Occurrence:
    before, after = Position(0, number - 1, START.entry_hash), Position(0, number, START.entry_hash)
    return Occurrence(before, after, None, _Row(number))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip all pauses: time is not what is tested."""
    monkeypatch.setattr(feeds, "REST_S", 0.0)


def run(test: Callable[[FakeTail, EventStream], Coroutine[Any, Any, None]]) -> None:
    """Run a test in a loop of its own."""

    async def within() -> None:
        tail = FakeTail()
        await asyncio.wait_for(test(tail, EventStream(tail)), 20)

    asyncio.run(within())


def always() -> bool:
    """Stand for a client that stays who it is."""
    return True


def everything(_: FormattedEvent) -> bool:
    """Want every event."""
    return True


def at(number: int) -> Position:
    """Return the place after so many pushes."""
    return Position(0, number, START.entry_hash)


def ids(blocks: bytes) -> list[str]:
    """Return the ids of the events in what a stream yielded."""
    return [
        block.split(b"\n")[0].removeprefix(b"id: ").decode()
        for block in blocks.split(b"\n\n")
        if block.startswith(b"id: ")
    ]


async def taken(stream: AsyncGenerator[bytes, None], upto: int) -> list[str]:
    """Take from a stream until the event of that number has come; return all ids."""
    found: list[str] = []
    last = id_of(at(upto))
    while not found or found[-1] != last:
        found += ids(await anext(stream))
    return found


async def rested(event_stream: EventStream) -> None:
    """Wait until the feed has read what there is."""
    reader = event_stream._reader
    if reader is not None:
        await asyncio.wait({reader})


def test_without_a_stream_nothing_is_read() -> None:
    """A wake-up without a stream reads nothing, however many come."""

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        for _ in range(100):
            event_stream.wake()
            assert event_stream._reader is None
        await asyncio.sleep(0)
        assert tail.reads == 0

    run(test)


def test_many_streams_are_one_reading() -> None:
    """Streams that keep up share what is read; each gets all of it, in order."""

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        streams = [event_stream.stream(START, everything, always) for _ in range(20)]
        for number, stream in enumerate(streams):
            event_stream.add_client(f"uid {number}")
            assert b"id: 0-0-" in await anext(stream)
        waiting = [asyncio.create_task(taken(stream, 5)) for stream in streams]
        await rested(event_stream)
        before = tail.reads
        for _ in range(5):
            tail.pushes += 1
            event_stream.wake()
        expected = [id_of(at(number)) for number in range(1, 6)]
        assert await asyncio.gather(*waiting) == [expected] * 20
        assert tail.reads - before <= 3
        for stream in streams:
            await stream.aclose()

    run(test)


def test_a_past_longer_than_the_ring_and_what_happens_meanwhile() -> None:
    """A stream from the beginning gets everything once, also what is written while it reads."""

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        tail.pushes = 3 * feeds.RING
        event_stream.add_client("0")
        stream = event_stream.stream(START, everything, always)
        found: list[str] = []
        while len(found) < 2 * feeds.RING:
            found += ids(await anext(stream))
            tail.pushes += 7
            event_stream.wake()
        last = tail.pushes
        found += await taken(stream, last)
        assert found == [id_of(at(number)) for number in range(1, last + 1)]
        assert len(event_stream._ring) <= feeds.RING
        await stream.aclose()

    run(test)


def test_the_ring_is_bounded_and_a_stream_behind_it_reads_on() -> None:
    """A stream that took nothing while the ring went round still misses nothing."""

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        event_stream.add_client("0")
        slow = event_stream.stream(START, everything, always)
        await anext(slow)
        for _ in range(3):
            tail.pushes += feeds.RING
            event_stream.wake()
            await rested(event_stream)
        assert len(event_stream._ring) == feeds.RING
        assert await taken(slow, tail.pushes) == [
            id_of(at(number)) for number in range(1, tail.pushes + 1)
        ]
        await slow.aclose()

    run(test)


def test_a_stream_ahead_of_the_reading_waits() -> None:
    """A place that the feed has not come to yet is waited for, not read again and again."""

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        tail.pushes = 3
        event_stream.add_client("0")
        await rested(event_stream)
        tail.pushes = 5
        stream = event_stream.stream(at(5), everything, always)
        await anext(stream)
        next_one = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.05)
        assert tail.reads <= 3
        tail.pushes = 6
        event_stream.wake()
        assert ids(await next_one) == [id_of(at(6))]
        await stream.aclose()

    run(test)


def test_what_is_not_wanted_moves_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that wants nothing tells with its heartbeat how far it has come."""
    monkeypatch.setattr(feeds, "HEARTBEAT_S", 0.02)

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        tail.pushes = 9
        event_stream.add_client("0")
        stream = event_stream.stream(START, lambda event: False, always)
        await anext(stream)
        beat = await anext(stream)
        while b"id: 0-0-00000000\n" in beat:  # it may beat before the first read has come back
            beat = await anext(stream)
        assert beat.startswith(b": ")
        assert b"id: 0-9-00000000\n" in beat
        reads = tail.reads
        await anext(stream)  # no commit was announced, but the ledger is read anyway
        assert tail.reads > reads or event_stream._reader is not None
        await stream.aclose()

    run(test)


def test_trouble_with_the_ledger_is_told_and_gets_over() -> None:
    """A failed read ends no stream; it is logged, and repeated after the next wake-up."""

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        event_stream.add_client("0")
        stream = event_stream.stream(START, everything, always)
        await anext(stream)
        next_one = asyncio.create_task(anext(stream))
        await rested(event_stream)
        tail.trouble = LedgerBusy("cannot read the events: busy")
        tail.pushes = 1
        event_stream.wake()
        await rested(event_stream)
        assert event_stream.trouble == "ledger-busy: cannot read the events: busy"
        assert not next_one.done()
        tail.trouble = None
        event_stream.wake()
        assert ids(await next_one) == [id_of(at(1))]
        assert event_stream.trouble == "ok"
        await stream.aclose()

    run(test)


def test_a_fault_of_ours_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is in the log with its traceback, and in the readiness."""

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        event_stream.add_client("uid 0")
        await rested(event_stream)
        tail.pushes = "no number"  # type: ignore[assignment]
        event_stream.wake()
        await rested(event_stream)
        assert event_stream.trouble.startswith("internal: TypeError")
        assert "Traceback" in caplog.text

    run(test)


def test_a_stream_behind_says_that_it_cannot_read() -> None:
    """A stream that has to read the ledger itself ends with its error."""

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        tail.pushes = 1
        event_stream.add_client("0")
        await rested(event_stream)
        stream = event_stream.stream(START, everything, always)
        await anext(stream)
        tail.trouble = LedgerBusy("cannot read the events: busy")
        with pytest.raises(LedgerBusy):
            await anext(stream)

    run(test)


def test_streams_are_counted() -> None:
    """One user has so many, all together so many; who leaves makes room."""

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        for _ in range(feeds.MOST_STREAMS_EACH):
            event_stream.add_client("7")
        with pytest.raises(Rejected) as refused:
            event_stream.add_client("7")
        assert refused.value.code == "too-many-streams"
        event_stream.remove_client("7")
        event_stream.add_client("7")
        for number in range(feeds.MOST_STREAMS - feeds.MOST_STREAMS_EACH):
            event_stream.add_client(f"uid {100 + number}")
        with pytest.raises(Rejected):
            event_stream.add_client("999")
        assert event_stream.streams == feeds.MOST_STREAMS
        for _ in range(feeds.MOST_STREAMS_EACH):
            event_stream.remove_client("7")
        assert event_stream.streams == feeds.MOST_STREAMS - feeds.MOST_STREAMS_EACH

    run(test)


def test_a_closed_feed_ends_its_streams() -> None:
    """At the daemon's end every stream ends, the waiting as well."""

    async def test(tail: FakeTail, event_stream: EventStream) -> None:
        event_stream.add_client("0")
        stream = event_stream.stream(START, everything, always)
        await anext(stream)
        next_one = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.01)
        event_stream.close()
        with pytest.raises(StopAsyncIteration):
            await next_one
        event_stream.wake()
        assert event_stream._reader is None or event_stream._reader.done()

    run(test)


def test_an_end_that_comes_together_with_news() -> None:
    """A stream that is cancelled in the very turn in which it is woken ends all the same."""

    async def cancelled() -> None:
        event_stream = EventStream(FakeTail())
        stream = event_stream.stream(START, lambda _: True, always)
        await anext(stream)
        waiting = asyncio.create_task(anext(stream))
        await asyncio.sleep(0.01)
        event_stream.notify()
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting}, timeout=0.5)
        assert waiting.cancelled()

    asyncio.run(cancelled())


@pytest.mark.parametrize("rung", [True, False], ids=["out of the ring", "out of the ledger"])
def test_what_a_stream_has_in_hand_is_little(*, rung: bool) -> None:
    """A client that reads nothing holds one piece; a piece is never more than so many events."""

    async def read() -> None:
        tail = FakeTail(0 if rung else 5 * feeds.PIECE)
        event_stream = EventStream(tail)
        event_stream.add_client("one")
        await rested(event_stream)
        tail.pushes = 5 * feeds.PIECE
        event_stream.wake()
        await rested(event_stream)
        assert len(event_stream._ring) == (tail.pushes if rung else 0)
        stream = event_stream.stream(START, lambda _: True, always)
        await anext(stream)
        counts = [(await anext(stream)).count(b"\nevent: ") for _ in range(5)]
        assert counts == [feeds.PIECE] * 5
        event_stream.close()
        await stream.aclose()

    asyncio.run(read())
    assert feeds.PIECE <= 64


@pytest.mark.parametrize(
    ("sizes", "count"), [([10], 1), ([10] * 9, 9), ([70_000, 10], 1), ([40_000] * 3, 2)]
)
def test_what_a_stream_holds_is_bounded_in_bytes(sizes: list[int], count: int) -> None:
    """Of large events it takes fewer at once, at least one; the next it takes from there."""
    events = [
        FormattedEvent(at(n), at(n + 1), "push-applied", UUID, bytes(size))
        for n, size in enumerate(sizes)
    ]
    assert feeds._piece(events) == events[:count]
