"""Prune a ledger, and die at the Nth statement, or right after the commit.

python -m tests.ledger.dying DATABASE N ENTRIES
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from maxmemd.ledger.writer import SqliteLedger
from maxmemd.policy import retention
from maxmemd.policy.retention import DAY_NS, Retention
from tests.ledger.lines import AT_NS


def main() -> None:
    """Prune one stride; SIGKILL comes in it where N is small enough."""
    _, database, number, entries = sys.argv
    left = int(number)
    retention.LEAST_KEPT = 1
    ledger = SqliteLedger(Path(database))
    ledger.load()

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)
    ledger.prune(Retention(400, int(entries)), AT_NS + DAY_NS)
    count()


if __name__ == "__main__":
    main()
