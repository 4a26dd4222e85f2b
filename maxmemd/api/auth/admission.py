"""Identify callers; limit their connections and request rates.

This costs one or two dictionary look-ups per request, and nothing for a role without a rate.
"""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from maxmemd.api.asgi import Headers, Scope
from maxmemd.api.auth.access import RULES, Access
from maxmemd.api.auth.cost import Cost, plain
from maxmemd.api.auth.peers import Peer, device_model_of, peer_of, token_peer
from maxmemd.api.auth.rate_limit import TokenBuckets
from maxmemd.api.auth.refusal_log import label
from maxmemd.api.auth.token_store import TokenStore
from maxmemd.api.problems import Rejected
from maxmemd.policy.roles import NOBODY, Roles

BURST_S = 2.0
"""A client may burst this many seconds' worth of requests."""
HANDSHAKE_RATE = 50.0
"""TLS handshakes per second that one address may begin."""
MOST_REMOTE = 512
"""TCP connections: because of TLS, each takes ten times the memory of a Unix one."""
UNKNOWN_RATE, UNKNOWN_CONNECTIONS = 10.0, 64
"""Limits for callers without a role: per uid, per unauthenticated TCP address, and shared by all
who connect to the device-model socket without being device models."""


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """The roles, and the limits of one client by its role; a reload replaces them.

    `rates` are requests per second, `connections` open connections.
    """

    roles: Roles
    rates: Mapping[str, float] = field(default_factory=dict)
    connections: Mapping[str, int] = field(default_factory=dict)


class Admission:
    """The clients' connections and request rates, as the rules allow them.

    `hosts` are the Host names that TCP clients may use.
    """

    def __init__(
        self,
        rules: AdmissionRules,
        *,
        tokens: TokenStore | None = None,
        hosts: Collection[str] = (),
        has_device_model_socket: bool = True,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rules = rules
        self._tokens, self._has_device_model_socket = tokens, has_device_model_socket
        self._hosts = frozenset(host.lower().encode() for host in (*hosts, "localhost"))
        self._clock_s = clock_s
        self._open: dict[str, int] = {}
        self._remote = 0
        self._spent, self._attempts = TokenBuckets(), TokenBuckets()

    def reconfigure(self, rules: AdmissionRules) -> None:
        """Apply a new configuration, to open connections as well."""
        self.rules = rules
        self._spent.clear()
        self._attempts.clear()

    def register(self, transport: asyncio.BaseTransport) -> Peer:
        """Return who has connected; the connection counts until `unregister`."""
        return self._count(peer_of(transport, self.rules.roles))

    def register_device_model(self, transport: asyncio.BaseTransport) -> Peer:
        """Register a connection to the device-model socket."""
        return self._count(
            device_model_of(transport, self.rules.roles if self._has_device_model_socket else None)
        )

    def _count(self, peer: Peer) -> Peer:
        self._open[peer.client] = self._open.get(peer.client, 0) + 1
        self._remote += peer.remote
        return peer

    def unregister(self, peer: Peer) -> None:
        """Stop counting a connection."""
        if peer.process is not None:
            peer.process.release()
        self._remote -= peer.remote
        left = self._open.pop(peer.client) - 1
        if left:
            self._open[peer.client] = left

    def check_connection(self, peer: Peer) -> None:
        """Raise Rejected for one connection too many, or for one that comes too soon.

        Connections and requests are limited separately, each at the same rate, so that a client
        which reconnects for every request gets as much as one which does not.
        """
        most = self.rules.connections.get(peer.role.name)
        unknown = peer.remote or peer.role.name == NOBODY
        most = UNKNOWN_CONNECTIONS if unknown and most is None else most
        if most is not None and self._open.get(peer.client, 0) > most:
            detail = f"cannot serve this connection: the limit for {label(peer)} is {most} open"
            raise Rejected("too-many-connections", detail, uid=peer.uid, at_most=most)
        if self._remote > MOST_REMOTE and peer.remote:
            detail = f"cannot serve this connection: the limit over TCP is {MOST_REMOTE} open"
            raise Rejected("too-many-connections", detail, at_most=MOST_REMOTE)
        rate = self._rate(peer)
        if rate is not None and not peer.remote:
            self._spend(self._attempts, peer, rate, "connections")

    def check_handshake(self, peer: Peer) -> None:
        """Raise Rejected for an address that begins too many TLS handshakes."""
        self._spend(self._attempts, peer, HANDSHAKE_RATE, "connections")

    def _rate(self, peer: Peer) -> float | None:
        """Return a client's requests per second; None for no limit."""
        name = peer.role.name
        return self.rules.rates.get(name, UNKNOWN_RATE if name == NOBODY else None)

    def identify(self, scope: Scope, cost: Cost = plain) -> Peer:
        """Return who sent this request, and take what it costs from that client's rate.

        Over TCP a caller is known by its certificate or its bearer token. A Host header that names
        this host is removed, so that the checks for browsers see what they see on the Unix socket;
        any other Host is refused. Raises Rejected.
        """
        peer = scope["maxmemd.peer"].under(self.rules.roles)
        if peer.remote:
            peer = self._remote_caller(peer, scope["headers"])
        rate = self._rate(peer)
        if rate is not None:
            self._spend(self._spent, peer, rate, units=cost.of(scope["query_string"]))
        if peer.remote:
            scope["headers"] = self._without_ours(scope["headers"])
        return peer

    def charge(self, peer: Peer, cost: Cost) -> None:
        """Take from a client's rate what its request turned out to cost more."""
        rate = self._rate(peer)
        if rate is not None:
            now_s = self._clock_s()
            self._spent.of(peer.client, 1 / rate, BURST_S, now_s).owe(now_s, cost.units)

    def is_current(self, peer: Peer) -> bool:
        """Whether a caller lives and has its role, and what it sent is still valid."""
        if peer.token is None:
            is_same = peer.under(self.rules.roles).role == peer.role
            return is_same and time.time() < peer.valid_until_s and peer.is_alive
        valid = self._tokens is not None and self._tokens.holds(peer.token)
        return valid and not peer.token.has_expired(time.time_ns())

    def _remote_caller(self, peer: Peer, headers: Headers) -> Peer:
        shown = [value for name, value in headers if name == b"authorization"]
        if peer.role.name == NOBODY:
            try:
                return self._by_token(peer, shown)
            except Rejected as rejected:
                self._spend(self._spent, peer, UNKNOWN_RATE)
                raise rejected from None
        if shown:
            detail = "cannot accept a token and a certificate together (send only one of them)"
            raise Rejected("token-invalid", detail)
        if time.time() >= peer.valid_until_s:
            detail = "cannot accept this certificate: it, or one above it, has expired since the"
            raise Rejected("certificate-expired", f"{detail} connection began (get another)")
        return peer

    def _by_token(self, peer: Peer, shown: Sequence[bytes]) -> Peer:
        kind, _, secret = shown[0].partition(b" ") if len(shown) == 1 else (b"", b"", b"")
        if kind.lower() != b"bearer" or self._tokens is None:
            detail = (
                "cannot identify the caller: send Authorization: Bearer TOKEN, or a certificate"
            )
            raise Rejected("token-invalid", f"{detail} that has a role")
        token = self._tokens.find(secret.strip().decode("latin-1"))
        if token is None:
            raise Rejected(
                "token-invalid", "cannot accept this token: it is unknown or was revoked"
            )
        if token.has_expired(time.time_ns()):
            raise Rejected(
                "token-invalid", "cannot accept this token: it has expired (get another)"
            )
        return token_peer(token, peer.address)

    def _without_ours(self, headers: Headers) -> Headers:
        """Return the headers without a Host that names us. Raises Rejected for any other."""
        hosts = [value.lower() for name, value in headers if name == b"host"]
        if not all(self._is_ours(host) for host in hosts):
            detail = "cannot serve a browser: over TCP, Host must be one of hosts in the"
            raise Rejected(
                "browser-refused", f"{detail} configuration, or localhost", header="Host"
            )
        return [(name, value) for name, value in headers if name != b"host"]

    def _is_ours(self, host: bytes) -> bool:
        name, colon, port = host.rpartition(b":")
        return (name if colon and port.isdigit() else host) in self._hosts

    def authorize(self, peer: Peer, access: Access, path: Mapping[str, str]) -> None:
        """Raise Rejected for a request that this caller may not make."""
        if not access.allows(peer.role, path) or (access.local and peer.remote):
            who = f"the device model of domain {peer.role.domid}"
            who = f"{label(peer)} ({peer.role.name})" if peer.role.domid is None else who
            detail = f"cannot allow {who} to do that: it is for {RULES[access.name]}"
            raise Rejected("not-allowed", detail, uid=peer.uid, role=peer.role.name)

    def _spend(
        self, buckets: TokenBuckets, peer: Peer, rate: float, what: str = "requests", units: int = 1
    ) -> None:
        now_s = self._clock_s()
        wait_s = buckets.of(peer.client, 1 / rate, BURST_S, now_s).wait_s(now_s, units)
        if wait_s:
            detail = f"cannot serve {label(peer)}: its limit is {rate:g} {what} per second"
            if units > 1:
                detail = f"{detail}, and this one counts as {units}"
            after_s = math.ceil(wait_s)
            numbers = {"rate_per_s": rate, "cost": units, "retry_after_s": after_s}
            raise Rejected("too-many-requests", detail, **numbers)
