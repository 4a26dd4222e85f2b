"""The daemon of serve.py, which kills itself with SIGKILL where a point is met for the Nth time.

python -m tests.system.durability.dying POINT N HOST SOCKET DATABASE ...
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Engine, event

from maxmemd.arbiter.actor import Arbiter
from maxmemd.ledger.high_water import HighWaterMark
from maxmemd.ledger.statements import HEADS
from maxmemd.ledger.writer import SqliteLedger
from tests.support import serve
from tests.support.simhost import RemoteHypervisor, RemoteXenstore

Die = Callable[[], None]


def _before(owner: Any, name: str) -> Callable[[Die], None]:
    """Return how to have a call die before it does anything."""

    def arm(die: Die) -> None:
        real = getattr(owner, name)

        def dying(*words: Any, **named: Any) -> Any:
            die()
            return real(*words, **named)

        setattr(owner, name, dying)

    return arm


def _after(owner: Any, name: str) -> Callable[[Die], None]:
    """Return how to have a call die when it is done."""

    def arm(die: Die) -> None:
        real = getattr(owner, name)

        def dying(*words: Any, **named: Any) -> Any:
            done = real(*words, **named)
            die()
            return done

        setattr(owner, name, dying)

    return arm


def _at_commit(die: Die) -> None:
    event.listen(Engine, "commit", lambda _: die())


POINTS: Mapping[str, Callable[[Die], None]] = {
    "before the transaction": _before(SqliteLedger, "commit"),
    "between the lines and the records": _before(type(HEADS), "run"),
    "before COMMIT": _at_commit,
    "after COMMIT": _before(HighWaterMark, "write"),
    "before the hypercall": _before(RemoteHypervisor, "set_max_mem"),
    "after the hypercall": _after(RemoteHypervisor, "set_max_mem"),
    "before xenstore is written": _before(RemoteXenstore, "write"),
    "after xenstore is written": _after(RemoteXenstore, "write"),
    "before the answers leave": _after(Arbiter, "turn"),
    "before a poll": _before(Arbiter, "poll"),
}


def main() -> None:
    """Serve until the point is met."""
    _, point, times, *words = sys.argv
    left = int(times)

    def die() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    POINTS[point](die)
    sys.argv[1:] = words
    serve.main()


if __name__ == "__main__":
    main()
