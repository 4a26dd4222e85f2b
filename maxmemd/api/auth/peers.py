"""Identify the peer of a connection by SO_PEERCRED at connect time, never by a header.

Over TCP by the subject of a verified certificate, or else by the name of a bearer token.
"""

import asyncio
import json
import math
import os
import socket
import struct
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address, IPv6Network

from maxmemd.api.auth.certificates import subject_of, valid_until_s
from maxmemd.api.auth.peer_process import PeerProcess, process_of
from maxmemd.api.auth.token_store import Token
from maxmemd.api.auth.user_names import USER_NAMES, unnamed
from maxmemd.errors import MaxmemError
from maxmemd.policy.roles import NOBODY as NO_ROLE
from maxmemd.policy.roles import OVERFLOW_UID, Bond, Role, Roles

_UCRED = struct.Struct("iII")
SO_PEERGROUPS = 59
"""asm-generic/socket.h; Python has no name for it."""
MOST_GROUPS = 1024
NO_ROLES = Roles()
BY_PROCESS, BY_LINK, BY_CERTIFICATE = "process", "link", "certificate"
"""How a peer was identified: by the kernel, by the kernel on the device-model socket, or by a
certificate."""
CERTIFICATE = "cert "
OTHER_CLIENTS = "other clients"
"""All peers on the device-model socket that are no device models count as this one client."""


@dataclass(slots=True)
class Pin:
    """The domain that a device model had when it connected; None if there was none.

    `task` looks it up.
    """

    task: asyncio.Task[Bond | MaxmemError | None] | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a Unix socket when it connected, or a TCP client.

    `actor` is the JSON text that the history keeps. `client` names the peer in rate limits: all
    connections of one uid are one client. `keys_of` names it in idempotency keys, where it is not
    `client`. A `remote` peer came over TCP from
    `address`; its pid and uids are the kernel's overflow values. `role` follows from `roles` and
    `known_by`, or from `token`. `valid_until_s` is the end of a certificate, by the host's clock.
    `is_named` is false while the user's name is still to be looked up, where `actor` has the uid.
    `process` is None over TCP, and `pin` is used for device models only.
    """

    pid: int
    uid: int
    gid: int
    actor: str
    role: Role
    client: str
    remote: bool = False
    is_named: bool = True
    address: str = ""
    pin: Pin = field(default_factory=Pin, compare=False)
    process: PeerProcess | None = field(default=None, compare=False, repr=False)
    groups: tuple[int, ...] = field(default=(), repr=False)
    known_by: str = field(default="", repr=False)
    roles: Roles = field(default=NO_ROLES, compare=False, repr=False)
    token: Token | None = field(default=None, repr=False)
    keys_of: str = field(default="", repr=False)
    valid_until_s: float = field(default=math.inf, repr=False)

    def stored_key(self, key: str) -> str:
        """Return an idempotency key as the history keeps it: no other client's can be the same.

        A colon ends the client's name. Only the subject of a certificate may have colons of its
        own; they are escaped, in its keys as well, since earlier versions wrote neither so: what
        they wrote ambiguously is found for no client.
        """
        if not self.client.startswith(CERTIFICATE):
            return f"{self.keys_of or self.client}:{key}"
        return ":".join(part.replace(":", r"\:") for part in (self.client, key))

    def held(self) -> AbstractContextManager[object]:
        """Return what keeps this peer's process in sight for the time of one request."""
        return nullcontext() if self.process is None else self.process

    @property
    def is_alive(self) -> bool:
        """Whether the process that connected still lives; over TCP there is none that could end."""
        return self.process is None or self.process.is_alive

    def under(self, roles: Roles) -> "Peer":
        """Return this peer with the role it has under `roles`, which may have changed since."""
        if self.roles is roles or not self.known_by:
            return self
        return replace(self, role=self.role_under(roles), roles=roles)

    def role_under(self, roles: Roles) -> Role:
        """Return the role that `roles` give to this peer."""
        if self.known_by == BY_PROCESS:
            return roles.of_process(self.pid, self.uid, (self.gid, *self.groups), os.geteuid())
        if self.known_by == BY_LINK:
            return roles.of_device_model(self.pid, self.uid)
        return roles.of_subject(self.client.removeprefix(CERTIFICATE))


UNKNOWN_PEER = Peer(0, OVERFLOW_UID, OVERFLOW_UID, '{"name":"unknown"}', Role(NO_ROLE), "unknown")


def peer_of(transport: asyncio.BaseTransport, roles: Roles = NO_ROLES) -> Peer:
    """Return the peer of a transport; UNKNOWN_PEER if the kernel cannot tell."""
    if transport.get_extra_info("ssl_object") is not None:
        return _remote(transport, roles)
    sock = transport.get_extra_info("socket")
    if sock is None or sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) != socket.AF_UNIX:
        return UNKNOWN_PEER
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, gid = _UCRED.unpack(raw)
    return replace(peer(pid, uid, gid, _groups(sock), roles), process=process_of(sock, pid, uid))


def device_model_of(transport: asyncio.BaseTransport, roles: Roles | None) -> Peer:
    """Return the peer of a connection to the device-model socket.

    All who are no device model count as one client. With None for `roles` no peer has a role.
    """
    if roles is None:
        role = Role(NO_ROLE)
        return replace(peer_of(transport), known_by="", role=role, client=OTHER_CLIENTS)
    came = replace(peer_of(transport, roles), known_by=BY_LINK)
    role = came.role_under(roles)
    client = OTHER_CLIENTS if role.name == NO_ROLE else came.client
    return replace(came, role=role, client=client)


def peer(pid: int, uid: int, gid: int, groups: Iterable[int] = (), roles: Roles = NO_ROLES) -> Peer:
    """Return a peer by its numbers."""
    name = USER_NAMES.known(uid)
    actor = _actor(name or unnamed(uid), uid, gid, pid)
    role = roles.of_process(pid, uid, (gid, *groups), os.geteuid())
    return Peer(
        pid, uid, gid, actor, role, str(uid), is_named=name is not None,
        groups=tuple(groups), known_by=BY_PROCESS, roles=roles,
    )  # fmt: skip


async def named(peer: Peer) -> Peer:
    """Return a peer whose actor has the name of its user, as far as that can be found."""
    if peer.is_named:
        return peer
    name = await USER_NAMES.find(peer.uid)
    return replace(peer, actor=_actor(name, peer.uid, peer.gid, peer.pid))


def _actor(name: str, uid: int | None, gid: int | None, pid: int | None) -> str:
    """Return a peer as the JSON text that the history keeps."""
    actor = {"name": name, "uid": uid, "gid": gid, "pid": pid}
    return json.dumps(actor, separators=(",", ":"))


def certificate_peer(name: str, role: Role, client: str, address: str) -> Peer:
    """Return a remote peer, which has no uid."""
    actor = _actor(name, None, None, None)
    return Peer(0, OVERFLOW_UID, OVERFLOW_UID, actor, role, client, remote=True, address=address)


def token_peer(token: Token, address: str) -> Peer:
    """Return the peer that presented a token; it has the token's role."""
    name = f"token {token.name}"
    keys_of = name if token.serial is None else f"{name} {token.serial}"
    known = certificate_peer(name, Role(token.role), name, address)
    return replace(known, token=token, keys_of=keys_of)


def unauthenticated(address: str) -> Peer:
    """Return a TCP peer without certificate or token: each address is one client.

    For IPv6 each /64 network is one client, because a host there has all of its addresses.
    """
    network = address
    if ":" in address:
        number = IPv6Address(address.partition("%")[0])
        network = str(number.ipv4_mapped or IPv6Network((int(number), 64), strict=False))
    return certificate_peer("unknown", Role(NO_ROLE), f"tls {network}", address)


def on_behalf_of(peer: Peer, stub_domid: int) -> Peer:
    """Return root's process as the stub domain that it acts for, which the history names."""
    return replace(peer, actor=_actor(f"stub domain {stub_domid}", None, None, peer.pid))


def _remote(transport: asyncio.BaseTransport, roles: Roles) -> Peer:
    """Return a TLS peer by its certificate; without one it has no role until it sends a token."""
    name = transport.get_extra_info("peername")
    address = str(name[0]) if name else "nowhere"
    certificate = transport.get_extra_info("peercert")
    if not certificate:
        return unauthenticated(address)
    subject, context = subject_of(certificate), transport.get_extra_info("sslcontext")
    known = certificate_peer(subject, roles.of_subject(subject), CERTIFICATE + subject, address)
    until_s = valid_until_s(certificate, context)
    return replace(known, known_by=BY_CERTIFICATE, roles=roles, valid_until_s=until_s)


def _groups(sock: socket.socket) -> tuple[int, ...]:
    """Return the supplementary groups; none if the kernel cannot tell, which grants no role."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MOST_GROUPS)
    except OSError:
        return ()
    return struct.unpack(f"{len(raw) // 4}I", raw)
