"""What a request costs: so many units of its client's rate, a plain request being one.

A cost stands for what the request takes from everybody else: the arbiter's turn, the processor, the
ledger's disk, and the bytes of the answer.
"""

import re
from dataclasses import dataclass

_LIMIT = re.compile(rb"(?:^|&)limit=0*(\d{1,3})(?:&|$)")
ROWS_UNLESS_ASKED, MOST_ROWS = 50, 500
"""Rows of a page if the query has no limit, and the largest limit."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Units of a client's rate; of a page one more for every `rows` that it may have."""

    units: int
    rows: int = 0

    def of(self, query: bytes) -> int:
        """Return the units that a request with this query costs."""
        if not self.rows:
            return self.units
        return self.units + _rows(query) // self.rows

    def __str__(self) -> str:
        """Return it as the documentation has it."""
        return f"{self.units} + limit / {self.rows}" if self.rows else str(self.units)


def _rows(query: bytes) -> int:
    """Return how many rows a query may get, without parsing it; the most where that is unclear."""
    if b"%" in query or b"+" in query:
        return MOST_ROWS
    found = _LIMIT.search(query)
    return ROWS_UNLESS_ASKED if found is None else min(int(found[1]), MOST_ROWS)


plain = Cost(1)
"""One domain, one wish, or what is known already."""
explained = Cost(3)
"""One domain, and one entry of the history for each component."""
opened = Cost(5)
"""What is counted over all domains, a stream, a file that is written, a document."""
walked = Cost(5)
"""An earlier revision, which is looked for in the history."""
everything = Cost(10)
"""All domains."""
paged = Cost(2, rows=25)
"""A page of the history or of pushes."""
not_found = Cost(9)
"""What a request costs more that names a domain which there is not: all domains were looked at."""
