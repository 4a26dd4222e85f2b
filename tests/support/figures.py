"""What the long tests measured: one line each, printed as a table when the session ends."""

_FIGURES: list[tuple[str, str, str]] = []


def figure(test: str, what: str, found: object) -> None:
    """Keep one figure: which test, what was measured, and what was found."""
    _FIGURES.append((test, what, str(found)))


def table() -> list[str]:
    """Return the figures so far as the lines of one table."""
    if not _FIGURES:
        return []
    widths = [max(len(row[column]) for row in _FIGURES) for column in (0, 1)]
    return [f"{test:{widths[0]}}  {what:{widths[1]}}  {found}" for test, what, found in _FIGURES]
