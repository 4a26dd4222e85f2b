"""Tell a domain from another one that had its domid and its UUID: Xen's unique IDs (A11).

No call of Xen's gives a domain's facts and its unique ID together, and between two calls a domain
may be replaced. A domain that had the same ID before its facts were read and has it after is the
one that they are of, for no ID comes twice.
"""

from collections.abc import Callable, Iterator, Sequence

from maxmemd.errors import DomainGone
from maxmemd.policy.facts import XenFacts


class UniqueIds:
    """The IDs that domains had when they were last read. `ask` and `read` raise DomainGone."""

    def __init__(self, ask: Callable[[int], int | None], read: Callable[[int], XenFacts]) -> None:
        self._ask, self._read = ask, read
        self._known: dict[int, int] = {}

    def domain(self, domid: int) -> XenFacts:
        """Return one domain with its unique ID. Raises DomainGone."""
        while True:
            facts = self._read(domid)
            if self._is_known(domid):
                return facts._replace(unique_id=self._known.get(domid))

    def listed(self, listed: Sequence[XenFacts]) -> Iterator[XenFacts]:
        """Return the listed domains with their unique IDs, but for those that are gone by now."""
        for facts in listed:
            try:
                if self._is_known(facts.domid):
                    yield facts._replace(unique_id=self._known.get(facts.domid))
                else:
                    yield self.domain(facts.domid)
            except DomainGone:
                continue

    def _is_known(self, domid: int) -> bool:
        """Ask for a domain's ID; whether it is the one that it had when it was last asked for.

        One that Xen does not tell is none that could be wrong.
        """
        before, now = self._known.pop(domid, None), self._ask(domid)
        if now is not None:
            self._known[domid] = now
        return now == before or now is None
