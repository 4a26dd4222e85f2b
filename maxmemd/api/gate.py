"""What a client may hold and how often it may ask; and who is told of a refusal.

Per request this is one or two look-ups; a role without a rate is not counted at all.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from maxmemd.api.access import RULES, Access
from maxmemd.api.peers import Peer, device_model_of, named, peer_of
from maxmemd.api.problems import Rejected
from maxmemd.policy.roles import NOBODY, Role, Roles
from maxmemd.tokens import Tokens

LOG = logging.getLogger("maxmemd.api")
BURST_S = 2.0
"""A client may save up this many seconds' worth of requests."""
LOG_EVERY_S, LOG_BURST_S = 1.0, 5.0
"""One line a second for each client's refusals, after the first few."""
ROUNDING_S = 1e-6
"""Times are sums of floats: what is due by less than this is due now."""
MANY_CLIENTS = 1024
UNKNOWN_RATE, UNKNOWN_CONNECTIONS = 10.0, 64
"""What a uid has that is nobody, an address over TCP that has not shown who it is, and all together
who come by the device models' own socket and are none; connections count until the end."""


class Bucket:
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


class Gate:
    """Roles, rates and caps of connections, by role; and the log of refusals.

    `rates` are requests a second of one client, `connections` what one uid may have open.
    `hosts` are the names by which clients over TCP may call this host.
    """

    def __init__(
        self,
        roles: Roles,
        rates: Mapping[str, float],
        connections: Mapping[str, int],
        *,
        tokens: Tokens | None = None,
        hosts: Collection[str] = (),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.roles, self.rates, self.connections = roles, rates, connections
        self._tokens = tokens
        self._hosts = frozenset(host.lower().encode() for host in hosts)
        self._clock_s = clock_s
        self._open: dict[str, int] = {}
        self._spent: dict[str, Bucket] = {}
        self._knocked: dict[str, Bucket] = {}
        self._logged: dict[str, Bucket] = {}

    def take(
        self, roles: Roles, rates: Mapping[str, float], connections: Mapping[str, int]
    ) -> None:
        """Go by these from now on; a connection keeps the role that it was made with."""
        self.roles, self.rates, self.connections = roles, rates, connections
        self._spent.clear()
        self._knocked.clear()

    def enter(self, transport: Any) -> Peer:
        """Return who has connected, and count the connection until `leave`."""
        return self._counted(peer_of(transport, self.roles))

    def enter_apart(self, transport: Any) -> Peer:
        """Do so for a connection over the device models' own socket."""
        return self._counted(device_model_of(transport, self.roles))

    def _counted(self, peer: Peer) -> Peer:
        self._open[peer.client] = self._open.get(peer.client, 0) + 1
        return peer

    def leave(self, peer: Peer) -> None:
        """Count a connection no more."""
        left = self._open.pop(peer.client) - 1
        if left:
            self._open[peer.client] = left

    def let_in(self, peer: Peer) -> None:
        """Let a connection in. Raises Rejected: it is one too many, or comes too soon.

        Connections and requests have a rate each of the same size, so that a client which connects
        for every request has no less than one that does not.
        """
        most = self.connections.get(peer.role.name)
        unknown = peer.remote or peer.role.name == NOBODY
        most = UNKNOWN_CONNECTIONS if unknown and most is None else most
        if most is not None and self._open.get(peer.client, 0) > most:
            detail = f"cannot serve this connection: {_called(peer)} has {most} open, its most"
            raise Rejected("too-many-connections", detail, uid=peer.uid, at_most=most)
        rate = self._rate(peer)
        if rate is not None and not peer.remote:
            self._spend(self._knocked, peer, rate, "connections")

    def _rate(self, peer: Peer) -> float | None:
        """Return what a client may ask a second; None for as often as it likes."""
        name = peer.role.name
        return self.rates.get(name, UNKNOWN_RATE if name == NOBODY else None)

    def caller(self, scope: Any) -> Peer:
        """Return whose request over TCP this is, by its certificate or its bearer token.

        A Host by which this host may be called is taken away, as a Unix socket's client has none
        either; every other one with a dot is refused as any site's is. Raises Rejected.
        """
        peer: Peer = scope["maxmemd.peer"]
        scope["headers"] = [one for one in scope["headers"] if not self._is_ours(*one)]
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        if shown and peer.role.name != NOBODY:
            detail = "cannot take a token beside a certificate: who would it be? (send one of both)"
            raise Rejected("token-invalid", detail)
        if peer.role.name != NOBODY:
            return peer
        try:
            token = self._by_token(peer, shown)
        except Rejected as rejected:
            self._spend(self._spent, peer, UNKNOWN_RATE)
            raise rejected from None
        return token

    def _by_token(self, peer: Peer, shown: Sequence[bytes]) -> Peer:
        kind, _, secret = shown[0].partition(b" ") if len(shown) == 1 else (b"", b"", b"")
        if kind.lower() != b"bearer" or self._tokens is None:
            detail = "cannot tell who this is: send Authorization: Bearer TOKEN, or a certificate"
            raise Rejected("token-invalid", f"{detail} that has a role")
        token = self._tokens.find(secret.strip().decode("latin-1"))
        if token is None:
            raise Rejected("token-invalid", "cannot take this token: it was revoked, or never was")
        if token.has_expired(time.time_ns()):
            raise Rejected("token-invalid", "cannot take this token: it has expired (get another)")
        name = f"token {token.name}"
        return named(name, Role(token.role), name, peer.address)

    def _is_ours(self, name: bytes, value: bytes) -> bool:
        if name != b"host":
            return False
        host, colon, port = value.lower().rpartition(b":")
        return (host if colon and port.isdigit() else value.lower()) in self._hosts

    def admit(self, peer: Peer, access: Access, path: Mapping[str, str]) -> None:
        """Let a request pass. Raises Rejected: it is not for this caller, or comes too soon."""
        rate = self._rate(peer)
        if rate is not None:
            self._spend(self._spent, peer, rate)
        if not access.allows(peer.role, path) or (access.local and peer.remote):
            who = f"the device model of domain {peer.role.domid}"
            who = f"{_called(peer)} ({peer.role.name})" if peer.role.domid is None else who
            detail = f"cannot let {who} do that: it is for {RULES[access.name]}"
            raise Rejected("not-allowed", detail, uid=peer.uid, role=peer.role.name)

    def tell(self, peer: Peer, method: str, path: str, why: str) -> None:
        """Log a refusal; of a client that is refused all the time only some, and how many."""
        bucket = self._bucket(self._logged, peer, LOG_EVERY_S, LOG_BURST_S)
        if bucket.wait_s(self._clock_s()):
            bucket.missed += 1
            return
        more = f" ({bucket.missed} more were not logged)" if bucket.missed else ""
        bucket.missed = 0
        LOG.warning(
            "refused %s %r to %s, pid %d (%s): %s%s",
            method, path[:200], _called(peer), peer.pid, peer.role.name, why, more,
            extra={"fields": {"uid": peer.uid, "pid": peer.pid, "role": peer.role.name}},
        )  # fmt: skip

    def _spend(
        self, buckets: dict[str, Bucket], peer: Peer, rate: float, what: str = "requests"
    ) -> None:
        bucket = self._bucket(buckets, peer, 1 / rate, BURST_S)
        wait_s = bucket.wait_s(self._clock_s())
        if wait_s:
            detail = f"cannot serve {_called(peer)} so often: {rate:g} {what} a second are its most"
            after_s = math.ceil(wait_s)
            raise Rejected("too-many-requests", detail, rate_per_s=rate, retry_after_s=after_s)

    def _bucket(
        self, buckets: dict[str, Bucket], peer: Peer, every_s: float, burst_s: float
    ) -> Bucket:
        found = buckets.get(peer.client)
        if found is None:
            if len(buckets) >= MANY_CLIENTS:
                self._forget(buckets)
            found = buckets[peer.client] = Bucket(every_s, burst_s)
        return found

    def _forget(self, buckets: dict[str, Bucket]) -> None:
        """Drop the clients of whom nothing needs to be known: their buckets are full."""
        now_s = self._clock_s()
        for client in [client for client, bucket in buckets.items() if bucket.due_s <= now_s]:
            del buckets[client]


def _called(peer: Peer) -> str:
    """Return how a caller is called: by its uid, or over TCP by its name and address."""
    return f"{peer.client} at {peer.address}" if peer.remote else f"uid {peer.uid}"
