"""When the history is pruned: between two turns, a stride at a time, once its chain was checked."""

import logging
from dataclasses import dataclass, field
from math import inf

from maxmemd.arbiter.records import Records
from maxmemd.arbiter.settings import CurrentSettings
from maxmemd.errors import LedgerCorrupt, LedgerError
from maxmemd.ports import Clock

LOG = logging.getLogger("maxmemd.arbiter")
EVERY_S = 10.0
"""How often it is looked whether something is older than is kept."""
PAUSE_S = 0.02
"""The pause between two strides: 10,000 entries a second, more than can be written."""


@dataclass(slots=True)
class Pruning:
    """Belongs to the arbiter's thread. `due_s` is when the next stride is due (monotonic).

    `newest_ns` is the time of the newest entry at the start, 0 where there was none. `ended_by` is
    why nothing is pruned any more until a restart, "" unless that is so.
    """

    settings: CurrentSettings
    records: Records
    clock: Clock
    newest_ns: int = 0
    due_s: float = inf
    ended_by: str = ""
    _began_ns: int = field(init=False)
    _began_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._began_ns, self._began_s = self.clock.wall_ns(), self.clock.monotonic_s()
        if self.newest_ns:  # a clock that begins in the future would make all that is kept old
            self._began_ns = min(self._began_ns, self.newest_ns)

    def allow(self) -> None:
        """Prune from now on: the chain was found whole, and nothing is deleted that might tell."""
        self.due_s = self.clock.monotonic_s()

    def step(self) -> None:
        """Delete one stride, if it is due. Where the ledger is in trouble nothing is deleted."""
        now_s = self.clock.monotonic_s()
        if now_s < self.due_s or self.records.trouble is not None:
            return
        self.due_s = now_s + EVERY_S
        try:
            if self.records.prune(self.settings.value.retention, self._now_ns(now_s)):
                self.due_s = now_s + PAUSE_S
        except LedgerCorrupt as error:
            self._end(error)
        except LedgerError as error:
            LOG.warning("the history could not be pruned: %s", error)
        except Exception as surprise:  # noqa: BLE001 - of what is old, and decisions go on
            self._end(surprise)

    def _end(self, error: Exception) -> None:
        LOG.critical(
            "the history is not pruned any more (see docs/recovery.md): %s", error, exc_info=error
        )
        self.due_s, self.ended_by = inf, str(error) or type(error).__name__

    def _now_ns(self, now_s: float) -> int:
        """Return the time; no jump of the host's clock makes anything older."""
        passed_ns = int((now_s - self._began_s) * 1e9)
        return min(self.clock.wall_ns(), self._began_ns + passed_ns)
