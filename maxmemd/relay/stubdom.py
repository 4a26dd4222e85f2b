"""One domain as the relay keeps it: what is under way for it, and when to look at it again.

Times are monotonic seconds.
"""

from dataclasses import dataclass, field
from math import inf

from maxmemd.pacing import Backoff, TokenBucket
from maxmemd.relay.nodes import Bound
from maxmemd.relay.protocol import Request

LOOK_EVERY_S = 0.05
"""A domain is looked at no more often, however often it writes."""
ASK_EVERY_S, ASK_BURST = 1.0, 32
"""It is answered so many times at once, and then once in so many seconds: that is a line each in
the history."""
RETRY = Backoff(0.5, 30.0)


@dataclass(slots=True, eq=False)
class StubDomain:
    """A live domain. `watched` are the paths whose changes are told of under its domid.

    `bound` says whom it serves; of a domain that serves nobody there is nothing else to know.
    `request` is the one that is being decided: `is_out` while the daemon is being asked,
    `answer` once it is decided and has yet to be written.
    """

    domid: int
    watched: set[str] = field(default_factory=set)
    due_s: float = inf
    rested_s: float = 0.0
    bound: Bound | None = None
    request: Request | None = None
    is_out: bool = False
    answer: str | None = None
    failures: int = 0
    retry_s: float = 0.0
    asks: TokenBucket = field(
        default_factory=lambda: TokenBucket(ASK_EVERY_S, ASK_EVERY_S * ASK_BURST)
    )

    def touch(self, now_s: float) -> None:
        """Have it looked at as soon as it may be."""
        self.due_s = min(self.due_s, max(now_s, self.rested_s))

    def rest(self, now_s: float) -> None:
        """Take note that it is looked at."""
        self.due_s, self.rested_s = inf, now_s + LOOK_EVERY_S

    def serve(self, bound: Bound | None) -> None:
        """Take note of whom it serves; what was under way for another is dropped."""
        if bound != self.bound:
            self.bound, self.request, self.answer = bound, None, None
            self.is_out, self.failures, self.retry_s = False, 0, 0.0

    def decided(self, answer: str, now_s: float) -> None:
        """Take note of an answer."""
        self.is_out, self.answer, self.failures = False, answer, 0
        self.touch(now_s)

    def undecided(self, now_s: float) -> None:
        """Take note that the daemon cannot say yet; it is asked again, ever more slowly."""
        self.is_out = False
        self.retry_s = now_s + RETRY.wait_s(self.failures)
        self.failures += 1
        self.due_s = min(self.due_s, self.retry_s)
