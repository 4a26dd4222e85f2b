"""How often each client may do something."""

from maxmemd.pacing import TokenBucket

MANY_CLIENTS = 1024


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
