"""Repeated refusals: the first is an entry of the history, and further ones are only counted.

A client that asks in a loop for what is refused would fill the disk, and push older entries out of
the history. So a refusal that repeats an entry of its domain from within WINDOW_S is counted. The
count becomes one more entry when the window ends, before anything else is written of that domain,
and when the daemon stops.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache

from maxmemd.policy.codec import from_text, to_text
from maxmemd.policy.entries import Entry

WINDOW_S = 60.0
MOST_RUNS = 16
"""Refusals of one domain that are counted at a time; one more ends the oldest."""
MOST_DOMAINS = 1024


@dataclass(slots=True)
class _Run:
    """A refusal that was written, the newest that says the same, and how many said it since."""

    newest: Entry
    since_s: float
    last_s: float
    again: int = 0


_Said = tuple[int, str, str]
"""What makes two refusals of one domain the same: revision, who asked, and the wish."""


class RefusalCoalescer:
    """Counts refusals that repeat one another, by domain. Times are monotonic."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, OrderedDict[_Said, _Run]] = OrderedDict()

    def add(self, refusal: Entry, now_s: float) -> list[Entry]:
        """Add a refusal; return the entries to be written: none where it is only counted."""
        said = (refusal.revision, _who(refusal.actor), refusal.wish)
        runs = self._runs.setdefault(refusal.uuid, OrderedDict())
        run = runs.get(said)
        if run is not None and now_s - run.since_s < WINDOW_S:
            run.newest, run.last_s, run.again = refusal, now_s, run.again + 1
            return []
        entries = [] if run is None else _counted(runs.pop(said))
        runs[said] = _Run(refusal, now_s, now_s)
        if len(runs) > MOST_RUNS:
            entries += _counted(runs.popitem(last=False)[1])
        if len(self._runs) > MOST_DOMAINS:
            entries += self.flush(next(iter(self._runs)))
        return [*entries, refusal]

    def flush(self, uuid: str) -> list[Entry]:
        """End a domain's runs; return the entries with their counts."""
        return [entry for run in self._runs.pop(uuid, {}).values() for entry in _counted(run)]

    def flush_old(self, now_s: float) -> list[Entry]:
        """End the runs whose window is over; return the entries with their counts."""
        entries = []
        for uuid, runs in list(self._runs.items()):
            for said, run in list(runs.items()):
                if now_s - run.since_s >= WINDOW_S:
                    entries += _counted(runs.pop(said))
            if not runs:
                del self._runs[uuid]
        return entries

    def flush_all(self) -> list[Entry]:
        """End all runs; return the entries with their counts."""
        return [entry for uuid in list(self._runs) for entry in self.flush(uuid)]


def _counted(run: _Run) -> list[Entry]:
    """Return the entry that says how often a refusal was repeated, if it was."""
    if not run.again:
        return []
    words = from_text(run.newest.wish)
    words |= {"again": run.again, "seconds": round(run.last_s - run.since_s)}
    return [run.newest._replace(wish=to_text(words))]


@lru_cache(maxsize=256)
def _who(actor: str) -> str:
    """Return who asked, without the process: a loop in a shell has many."""
    words = from_text(actor)
    words.pop("pid", None)
    return to_text(words)
