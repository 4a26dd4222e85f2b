"""What the long tests measured: one line each, printed as a table when the session ends.

A figure travels with the report of its test, since the test may run in a worker of pytest-xdist
and the table is printed by the process that started it.
"""

from collections.abc import Iterator

import pytest

FIGURE = "figure"
Row = tuple[str, str, str]

_new: list[Row] = []
_reported: list[Row] = []


def figure(test: str, what: str, found: object) -> None:
    """Keep one figure: which test, what was measured, and what was found."""
    _new.append((test, what, str(found)))


def attach(report: pytest.TestReport) -> None:
    """Give a report the figures that were kept since the last one."""
    report.user_properties.extend((FIGURE, row) for row in _new)
    _new.clear()


def collect(report: pytest.TestReport) -> None:
    """Take the figures of a report, here or in the process that started the workers."""
    _reported.extend(_rows(report))


def _rows(report: pytest.TestReport) -> Iterator[Row]:
    for name, value in report.user_properties:
        if name == FIGURE:
            test, what, found = value  # type: ignore[misc]
            yield test, what, found


def table() -> list[str]:
    """Return the figures so far as the lines of one table."""
    if not _reported:
        return []
    widths = [max(len(row[column]) for row in _reported) for column in (0, 1)]
    return [f"{test:{widths[0]}}  {what:{widths[1]}}  {found}" for test, what, found in _reported]
