"""The rows of the table, and the progress lines."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass


class CannotMeasure(Exception):
    """Something that a measurement needs is missing or failed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `bar` and `passed` are None for a figure without a bar."""

    what: str
    value: float
    unit: str = ""
    bar: str | None = None
    passed: bool | None = None
    note: str = ""


def at_least(what: str, value: float, bar: float, *, unit: str = "x", note: str = "") -> Row:
    """Return a row that passes if the value is at least the bar."""
    return Row(what, value, unit, f">= {bar:g}", value >= bar, note)


def at_most(what: str, value: float, bar: float, *, unit: str = "x", note: str = "") -> Row:
    """Return a row that passes if the value is at most the bar."""
    return Row(what, value, unit, f"<= {bar:g}", value <= bar, note)


def progress(text: str) -> None:
    """Print a progress line to stderr."""
    print(f"  {text}", file=sys.stderr, flush=True)


def as_table(rows: Sequence[Row]) -> str:
    """Return the rows as a table."""
    cells = [("", "figure", "measured", "bar", "how")]
    cells += [(_mark(row), row.what, _number(row), row.bar or "-", row.note) for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(4)]
    lines = [
        f"{mark:{widths[0]}}  {what:{widths[1]}}  {value:>{widths[2]}}  {bar:<{widths[3]}}  {note}"
        for mark, what, value, bar, note in cells
    ]
    return "\n".join(line.rstrip() for line in lines)


def as_json(rows: Sequence[Row]) -> str:
    """Return the rows as JSON."""
    return json.dumps([asdict(row) for row in rows], indent=1)


def _mark(row: Row) -> str:
    return {None: "", True: "ok", False: "MISSED"}[row.passed]


def _number(row: Row) -> str:
    digits = 0 if row.value >= 1000 else 2
    return f"{row.value:,.{digits}f} {row.unit}".strip()
