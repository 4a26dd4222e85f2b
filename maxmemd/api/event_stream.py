"""Stream committed events to any number of clients, reading each event once.

The ledger is the only real buffer. The newest events are in a ring that all streams share; a stream
that falls behind reads the ledger itself, at its own pace. A slow client costs no memory; a client
that stops reading is disconnected by `server/protocol.py` and resumes by its id.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from maxmemd.api.event_format import FormattedEvent, event_of, hello
from maxmemd.api.problems import Rejected
from maxmemd.errors import LedgerError
from maxmemd.ledger.follow import Occurrence, Position

LOG = logging.getLogger("maxmemd.api")

RING = 1024
"""Events in the ring."""
PAGE = 256
"""Entries, and pushes, read at once into the ring."""
PIECE, PIECE_BYTES = 64, 64 * 1024
"""Events that one stream holds, and their bytes: the memory of a client that stopped reading."""
REST_S = 0.02
"""Pause between reads, so that many small commits need few reads."""
HEARTBEAT_S = 15.0
"""A stream sends something at least this often, so that either side notices a dead connection."""
MOST_STREAMS, MOST_STREAMS_EACH = 256, 32
"""Streams in all, and of one client."""
READERS = 2
"""Streams that may read the ledger at the same time."""

_PING = b": still here\n"


class EventSource(Protocol):
    """The ledger as streams read it, in a thread. Every method raises LedgerError."""

    def end(self) -> Position:
        """Return the position after the newest event."""
        ...

    def after(self, place: Position, most: int) -> list[Occurrence]:
        """Return the events after a position, oldest first."""
        ...


class EventStream:
    """The events and their streams. Belongs to the event loop's thread."""

    def __init__(self, source: EventSource) -> None:
        self._source = source
        self._ring: dict[Position, FormattedEvent] = {}
        self._end: Position | None = None
        self._changed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None
        self._readers = asyncio.Semaphore(READERS)
        self._stale = False
        self._closed = False
        self._streams: dict[str, int] = {}
        self.trouble: str = "ok"

    @property
    def streams(self) -> int:
        """The number of open streams."""
        return sum(self._streams.values())

    def wake(self) -> None:
        """Read what was committed, if there are streams."""
        self._stale = True
        if self._streams and self._reader is None and not self._closed:
            self._reader = asyncio.get_running_loop().create_task(self._read_all())

    def close(self) -> None:
        """End all streams; their clients resume by id."""
        self._closed = True
        self.notify()

    def notify(self) -> None:
        """Wake all streams: there are events, or some clients have lost their role."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def add_client(self, client: str) -> None:
        """Count a new stream of a client. Raises Rejected for one too many."""
        mine = self._streams.get(client, 0)
        if mine >= MOST_STREAMS_EACH or self.streams >= MOST_STREAMS:
            detail = f"cannot open another stream of events: {client} has {mine} of"
            detail = f"{detail} {MOST_STREAMS_EACH}, all together have {self.streams}"
            raise Rejected("too-many-streams", f"{detail} of {MOST_STREAMS}", client=client)
        if not self._streams:
            self._ring.clear()
            self._end = None
        self._streams[client] = mine + 1
        self.wake()

    def remove_client(self, client: str) -> None:
        """Stop counting a stream of a client."""
        self._streams[client] -= 1
        if not self._streams[client]:
            del self._streams[client]

    async def stream(
        self,
        place: Position,
        wanted: Callable[[FormattedEvent], bool],
        is_current: Callable[[], bool],
    ) -> AsyncGenerator[bytes, None]:
        """Yield events after a position, old and new, until `close`.

        `is_current` says whether the client still has its role; it is checked whenever there are
        events, and every HEARTBEAT_S.
        """
        yield hello(place)
        while not self._closed and is_current():
            changed = self._changed  # taken before reading, so that no wake-up is missed
            events = _piece(self._from_ring(place) or await self._from_ledger(place))
            if events:
                place = events[-1].after
                blocks = b"".join(event.block for event in events if wanted(event))
                if blocks:
                    yield blocks
            elif not await _within(changed, HEARTBEAT_S):
                yield _PING + hello(place)
                self.wake()

    def _from_ring(self, place: Position) -> list[FormattedEvent]:
        found: list[FormattedEvent] = []
        event = self._ring.get(place)
        while event is not None and len(found) < PIECE:
            found.append(event)
            event = self._ring.get(event.after)
        return found

    async def _from_ledger(self, place: Position) -> list[FormattedEvent]:
        """Read events for a stream that is behind the ring."""
        if self._end in (None, place):
            return []
        async with self._readers:
            events = await asyncio.to_thread(self._page, place, PIECE)
        await asyncio.sleep(REST_S)
        return events

    def _page(self, place: Position, most: int) -> list[FormattedEvent]:
        return [event_of(one) for one in self._source.after(place, most)]

    async def _read_all(self) -> None:
        """Read until nothing is new. After an error the next wake-up reads again."""
        try:
            while self._stale and self._streams and not self._closed:
                self._stale = False
                await self._read()
                self.notify()
                await asyncio.sleep(REST_S)
        except LedgerError as error:
            self._stale = True
            self.trouble = f"{error.code}: {error}"
            LOG.warning("cannot read events: %s", error)
        except Exception as error:
            self.trouble = f"internal: {error!r}"
            LOG.exception("cannot read events from the ledger")
        finally:
            self._reader = None

    async def _read(self) -> None:
        if self._end is None:
            self._end = await asyncio.to_thread(self._source.end)
        else:
            events = await asyncio.to_thread(self._page, self._end, PAGE)
            for event in events:
                self._ring[event.before] = event
                self._end = event.after
            self._stale = self._stale or len(events) >= PAGE  # there may be more
            while len(self._ring) > RING:
                del self._ring[next(iter(self._ring))]
        self.trouble = "ok"


def _piece(events: list[FormattedEvent]) -> list[FormattedEvent]:
    """Return the first events, as many as a stream may hold, and one at least."""
    size = 0
    for count, event in enumerate(events, 1):
        size += len(event.block)
        if size >= PIECE_BYTES:
            return events[:count]
    return events


async def _within(changed: asyncio.Event, seconds: float) -> bool:
    """Wait for the event; return whether it came in time.

    Not by wait_for: in Python 3.11 it loses a cancellation that comes together with the event.
    """
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return False
    return True
