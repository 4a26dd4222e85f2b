"""What SQLite does for a statement: its plan, and how many steps it takes."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from maxmemd.ledger import reading
from maxmemd.pacing import Deadline


class Steps(Deadline):
    """A deadline that is never over, and counts how many of SQLite's instructions ask for it."""

    def __init__(self) -> None:
        super().__init__(1e9)
        self.count = 0

    @property
    def is_over(self) -> bool:
        """Count one more."""
        self.count += 1
        return False


def steps_of_read(monkeypatch: pytest.MonkeyPatch, read: Callable[[Deadline], object]) -> int:
    """Return how many steps a read takes; `read` passes the deadline on."""
    monkeypatch.setattr(reading, "STEPS", 1)
    steps = Steps()
    read(steps)
    return steps.count


def steps_of_write(connection: sa.Connection, do: Callable[[], object]) -> int:
    """Return how many steps of a connection something takes."""
    steps = Steps()
    driver: Any = connection.connection.driver_connection
    driver.set_progress_handler(lambda: steps.is_over, 1)
    try:
        do()
    finally:
        driver.set_progress_handler(None, 0)
    return steps.count


Statement = tuple[str, Any]


@contextmanager
def statements_of(*engines: sa.Engine) -> Iterator[list[Statement]]:
    """Collect every statement that some engines execute, with its parameters."""
    found: list[Statement] = []

    def keep(
        _c: object, _cursor: object, text: str, parameters: object, _x: object, is_many: bool
    ) -> None:
        found.append((text, list(parameters)[0] if is_many else parameters))  # type: ignore[call-overload]  # noqa: RUF015

    for engine in engines:
        sa.event.listen(engine, "before_cursor_execute", keep)
    try:
        yield found
    finally:
        for engine in engines:
            sa.event.remove(engine, "before_cursor_execute", keep)


LARGE = ("history", "push")
"""The tables that grow for ever."""
_SCAN = re.compile(r"^(?:SCAN (\w+)|SEARCH (\w+) USING INTEGER PRIMARY KEY \(rowid[<>])")
"""All rows, or all from one on."""
_BOUNDED_SCAN = re.compile(
    r"FROM (history|push)\s+(WHERE \1\.(seq|id) > \?\s+)?ORDER BY \1\.(seq|id)( DESC)?\s+LIMIT"
)
"""The first or last rows of a table, in the order in which it is stored."""


def scans(plan: list[str], statement: str) -> list[str]:
    """Return the steps of a plan that go through a whole table that grows for ever."""
    aliases = dict(re.findall(r"(?:FROM|JOIN) (\w+) AS (\w+)", statement))
    aliases = {alias: table for table, alias in aliases.items()}
    found = []
    for step in plan:
        scan = _SCAN.match(step)
        name = "" if scan is None else scan[1] or scan[2]
        table = aliases.get(name, name)
        if table in LARGE and not _BOUNDED_SCAN.search(statement):
            found.append(step)
    return found


def plan_of(path: Path, statement: str, parameters: Any) -> list[str]:
    """Return SQLite's plan of a statement."""
    with sa.create_engine(f"sqlite:///{path}").connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [str(row[3]) for row in rows]
