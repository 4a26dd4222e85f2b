"""Times as the API writes them."""

from datetime import UTC, datetime


def when(at_ns: int) -> str:
    """Return a time of the ledger in RFC 3339, UTC, to the millisecond."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")
