"""Replay a recording up to random points, with what was not yet synced treated as a disk may.

    python -m tests.system.durability.replay LOG STATES SEED

Prints as JSON how many states were made, and of them how many lost an acknowledged decision and
how many were corrupt.
"""

import json
import random
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from maxmemd.errors import LedgerError
from maxmemd.ledger.writer import SqliteLedger
from tests.support.audit import Kept, audit

HEADER = struct.Struct("<c39sQI12x")
SECTOR = 512
FATES = ("kept", "dropped", "prefix", "subset", "torn")
"""Of what was not synced: all, none, what came first, any part of it, any sectors of any part."""

DATABASE = "ledger.sqlite"


class Event(NamedTuple):
    """What the process did: see recorder.c."""

    kind: str
    name: str
    offset: int
    data: bytes


@dataclass
class Disk:
    """The files as they were synced, and what happened to them since, in order."""

    synced: dict[str, bytearray] = field(default_factory=dict)
    pending: list[Event] = field(default_factory=list)
    acknowledged: list[list[Any]] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Let one more event happen."""
        if event.kind == "A":
            self.acknowledged += json.loads(event.data)
        elif event.kind == "S":
            self._settle([one for one in self.pending if one.name == event.name])
        elif event.kind == "D":
            self._settle([one for one in self.pending if one.kind == "U"])
        else:
            self.pending.append(event)

    def image(self, fate: str, dice: random.Random) -> dict[str, bytearray]:
        """Return the files after a power cut now."""
        files = {name: bytearray(data) for name, data in self.synced.items()}
        for event in self._survivors(fate, dice):
            apply(files, event)
        return files

    def _survivors(self, fate: str, dice: random.Random) -> Iterator[Event]:
        cut = dice.randrange(len(self.pending) + 1)
        for place, event in enumerate(self.pending):
            if fate == "torn":
                yield from _torn(event, dice)
            elif (
                fate == "kept"
                or (fate == "prefix" and place < cut)
                or (fate == "subset" and dice.random() < 0.5)
            ):
                yield event

    def _settle(self, done: list[Event]) -> None:
        for event in done:
            apply(self.synced, event)
            self.pending.remove(event)


def _torn(event: Event, dice: random.Random) -> Iterator[Event]:
    """Yield what is left of an event whose sectors reached the disk or did not."""
    if event.kind != "W":
        if dice.random() < 0.5:
            yield event
        return
    for start in range(0, len(event.data), SECTOR):
        if dice.random() < 0.7:
            piece = event.data[start : start + SECTOR]
            yield Event("W", event.name, event.offset + start, piece)


def apply(files: dict[str, bytearray], event: Event) -> None:
    """Do to the files what the event did."""
    if event.kind == "U":
        files.pop(event.name, None)
        return
    content = files.setdefault(event.name, bytearray())
    end = event.offset + len(event.data)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if event.kind == "T":
        del content[event.offset :]
    else:
        content[event.offset : end] = event.data


def events(log: bytes) -> Iterator[Event]:
    """Yield the events of a recording."""
    at = 0
    while at < len(log):
        kind, name, offset, length = HEADER.unpack_from(log, at)
        at += HEADER.size
        text = name.rstrip(b"\0").decode()
        yield Event(kind.decode(), text, offset, log[at : at + length])
        at += length


def verdict(directory: Path, files: dict[str, bytearray], acknowledged: list[list[Any]]) -> str:
    """Open the image with the project's own ledger; return ok, lost, or what is corrupt."""
    for old in directory.iterdir():
        old.unlink()
    for name, content in files.items():
        if not name.endswith("-shm"):
            (directory / name).write_bytes(content)
    try:
        kept = _open(directory / DATABASE)
    except (AssertionError, LedgerError) as error:
        return f"corrupt: {error}"
    for key, uuid, revision, limit_kib in acknowledged:
        line = kept.keys.get(key)
        if line is None or (line.uuid, line.revision, line.limit_kib) != (
            uuid,
            revision,
            limit_kib,
        ):
            return "lost"
    return "ok"


def _open(database: Path) -> Kept:
    """Load the records as the daemon does, and compare them with the fold of the history."""
    with closing(SqliteLedger(database)) as ledger:
        records = {record.uuid: record for record in ledger.load().records}
        kept = audit(database)
    assert records == kept.records, "the records are not the fold of the history"
    return kept


def main() -> None:
    """Replay one recording."""
    log, states, seed = Path(sys.argv[1]).read_bytes(), int(sys.argv[2]), int(sys.argv[3])
    happened = list(events(log))
    began = next(place for place, event in enumerate(happened) if event.kind == "A")
    dice = random.Random(seed)
    points = sorted(dice.choices(range(began, len(happened)), k=states))
    found: dict[str, Any] = {"states": 0, "ok": 0, "lost": 0, "corrupt": []}
    disk, done = Disk(), 0
    with TemporaryDirectory(dir="/dev/shm") as directory:
        for place, event in enumerate(happened):
            disk.take(event)
            while done < len(points) and points[done] == place:
                fate = FATES[done % len(FATES)]
                came = verdict(Path(directory), disk.image(fate, dice), disk.acknowledged)
                done += 1
                found["states"] += 1
                if came in ("ok", "lost"):
                    found[came] += 1
                else:
                    found["corrupt"].append(f"event {place}, {fate}: {came}")
    found["acknowledged"] = len(disk.acknowledged)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
