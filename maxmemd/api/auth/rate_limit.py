"""How often something may happen: in all, or for each client."""

import math

ROUNDING_S = 1e-6
"""Times are sums of floats: what is due by less than this is due now."""
MANY_CLIENTS = 1024


class TokenBucket:
    """Lets one thing pass every `every_s` seconds, and `burst_s` worth of them at once."""

    __slots__ = ("burst_s", "due_s", "every_s", "missed")

    def __init__(self, every_s: float, burst_s: float) -> None:
        self.every_s, self.burst_s = every_s, burst_s
        self.due_s = -math.inf
        self.missed = 0

    def wait_s(self, now_s: float) -> float:
        """Take one, and return 0; where none is left, return after how many seconds there is."""
        ahead_s = max(0.0, self.due_s - now_s)
        wait_s = ahead_s + self.every_s - max(self.burst_s, self.every_s)
        if wait_s > ROUNDING_S:
            return wait_s
        self.due_s = now_s + ahead_s + self.every_s
        return 0.0


class TokenBuckets:
    """A bucket for each client; of those that have asked for nothing lately nothing is kept."""

    def __init__(self) -> None:
        self._by_client: dict[str, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._by_client)

    def of(self, client: str, every_s: float, burst_s: float, now_s: float) -> TokenBucket:
        """Return a client's bucket; a new one, of this size, where there is none."""
        found = self._by_client.get(client)
        if found is None:
            if len(self._by_client) >= MANY_CLIENTS:
                self._forget(now_s)
            found = self._by_client[client] = TokenBucket(every_s, burst_s)
        return found

    def clear(self) -> None:
        """Begin anew: every bucket is full."""
        self._by_client.clear()

    def _forget(self, now_s: float) -> None:
        """Drop the clients of whom nothing needs to be known: their buckets are full."""
        for client in [name for name, bucket in self._by_client.items() if bucket.due_s <= now_s]:
            del self._by_client[client]
