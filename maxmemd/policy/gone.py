"""Which records are kept of domains that are not here."""

from typing import NamedTuple


class GoneRules(NamedTuple):
    """How long a record is kept once its domain is gone, and how many such records are.

    `keep_s` is counted from when the domain was last seen here. `most` counts the records of all
    clients, `most_per_client` those that one client decided on last.
    """

    keep_s: float = 30 * 86400.0
    most: int = 2000
    most_per_client: int = 1000
