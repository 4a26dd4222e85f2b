"""One domain as the relay knows it: its pending request, and when to look at it next.

Times are monotonic seconds.
"""

from dataclasses import dataclass, field
from math import inf

from maxmemd.pacing import Backoff, TokenBucket
from maxmemd.relay.nodes import Binding
from maxmemd.relay.protocol import Request

LOOK_EVERY_S = 0.05
"""The shortest time between two looks at a domain, however often it writes."""
ASK_EVERY_S, ASK_BURST = 1.0, 32
"""A domain gets a burst of answers, then one in this time: each makes an entry in the history."""
RETRY = Backoff(0.5, 30.0)


@dataclass(slots=True, eq=False)
class StubDomain:
    """A live domain, which may be a stub domain. `watched` are the paths watched for it.

    `binding` is None for a domain that serves none; then nothing else is known of it. `request` is
    the pending one: `is_asking` while the daemon is being asked, `answer` once it has answered and
    the reply is not written yet.
    """

    domid: int
    watched: set[str] = field(default_factory=set)
    due_s: float = inf
    not_before_s: float = 0.0
    binding: Binding | None = None
    request: Request | None = None
    is_asking: bool = False
    answer: str | None = None
    failures: int = 0
    retry_s: float = 0.0
    rate: TokenBucket = field(
        default_factory=lambda: TokenBucket(ASK_EVERY_S, ASK_EVERY_S * ASK_BURST)
    )

    def look_soon(self, now_s: float) -> None:
        """Make it due as soon as LOOK_EVERY_S allows."""
        self.due_s = min(self.due_s, max(now_s, self.not_before_s))

    def on_look(self, now_s: float) -> None:
        """Note that it is being looked at: not due again unless something happens."""
        self.due_s, self.not_before_s = inf, now_s + LOOK_EVERY_S

    def bind(self, binding: Binding | None) -> None:
        """Set the domain that it serves; a request for another one is dropped."""
        if binding != self.binding:
            self.binding, self.request, self.answer = binding, None, None
            self.is_asking, self.failures, self.retry_s = False, 0, 0.0

    def on_answer(self, answer: str, now_s: float) -> None:
        """Keep the daemon's answer until it is written."""
        self.is_asking, self.answer, self.failures = False, answer, 0
        self.look_soon(now_s)

    def on_no_answer(self, now_s: float) -> None:
        """Schedule the next attempt, with growing pauses: the daemon could not answer yet."""
        self.is_asking = False
        self.retry_s = now_s + RETRY.wait_s(self.failures)
        self.failures += 1
        self.due_s = min(self.due_s, self.retry_s)
