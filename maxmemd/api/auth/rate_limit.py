"""Rate limits by client."""

from maxmemd.pacing import TokenBucket

MANY_CLIENTS = 1024


class TokenBuckets:
    """One bucket per client; full buckets are dropped when there are many."""

    def __init__(self) -> None:
        self._by_client: dict[str, TokenBucket] = {}

    def __len__(self) -> int:
        return len(self._by_client)

    def of(self, client: str, every_s: float, burst_s: float, now_s: float) -> TokenBucket:
        """Return a client's bucket, a new one if it has none."""
        found = self._by_client.get(client)
        if found is None:
            if len(self._by_client) >= MANY_CLIENTS:
                self._forget(now_s)
            found = self._by_client[client] = TokenBucket(every_s, burst_s)
        return found

    def clear(self) -> None:
        """Drop every bucket, so that all start full."""
        self._by_client.clear()

    def _forget(self, now_s: float) -> None:
        # A full bucket is what a new one would be.
        for client in [name for name, bucket in self._by_client.items() if bucket.due_s <= now_s]:
            del self._by_client[client]
