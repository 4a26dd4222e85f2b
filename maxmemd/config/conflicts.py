"""Settings that are valid alone but not in combination."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from maxmemd.config.identities import Identity
from maxmemd.config.settings import Config
from maxmemd.policy.roles import TOOLSTACK

MOST_NAME = 255
"""Characters of a key that means domains by name."""


class Conflict(NamedTuple):
    """A key that conflicts with others, why, and what to write instead.

    `entry` is an index of a list or a name of a table.
    """

    key: str
    why: str
    entry: str | int | None = None


def conflicts(config: Config) -> Iterator[Conflict]:
    """Yield every conflict, the most basic first."""
    yield from _of_roles(config)
    yield from _of_caps(config)
    yield from _of_drift(config)
    yield from _of_tcp(config)
    yield from _of_paths(config)


def _of_roles(config: Config) -> Iterator[Conflict]:
    seen: dict[Identity, str] = {}
    for key in ("admins", "toolstacks", "observers"):
        for entry, who in enumerate(getattr(config, key)):
            if who in seen:
                why = f"{who} is in {seen[who]} already: leave it in one of them"
                yield Conflict(key, why, entry)
            seen[who] = key
            if who == Identity("uid", 0) and key != "admins":
                yield Conflict(key, "root is always admin: remove it here", entry)
            if who.kind == "uid" and config.roles.is_device_model(who.number):
                why = f"{who} is in the device models' range (device_model_base): remove it here"
                yield Conflict(key, why, entry)
            if who.kind == "cert" and config.tls_clients is None:
                why = "clients' certificates are not checked: write tls_clients as well"
                yield Conflict(key, f"{who}: {why}, or remove it here", entry)
    own = os.geteuid()
    if config.roles.is_device_model(own):
        why = f"the daemon's own uid, {own}, is in the range from {config.device_model_base}"
        yield Conflict("device_model_base", f"{why}: write a free range")


def _of_caps(config: Config) -> Iterator[Conflict]:
    owners = config.rules.owners
    for owner in config.caps:
        if owner not in owners:
            names = ", ".join(sorted(owners))
            yield Conflict(
                "caps", f"{owner!r} is not an owner: add it to owners (known: {names})", owner
            )
    cap = config.caps.get(TOOLSTACK)
    if cap is not None and cap < config.slack:
        why = f"toolstack's is {cap.kib} KiB, below slack, a component of every domain"
        yield Conflict(
            "caps", f"{why}: write {config.slack.kib} KiB or more, or a lower slack", TOOLSTACK
        )


def _of_drift(config: Config) -> Iterator[Conflict]:
    """Yield keys that mean nothing, and those that a domain could match with equal right."""
    for key in config.drift_of:
        if not 0 < len(key) <= MOST_NAME:
            why = "a key is a domain's UUID, its name, or a pattern with *"
            yield Conflict("drift_of", f"{why}, of 1 to {MOST_NAME} characters", key)
            return
    for one, other in config.drift_rules.ambiguities():
        why = (
            f"a name may match {one!r} as well, and neither is more specific (has more characters)"
        )
        yield Conflict(
            "drift_of", f"{other!r}: {why}: write longer patterns, or the same mode", other
        )


def _of_tcp(config: Config) -> Iterator[Conflict]:
    nothing = "nothing is served over TCP: write listen as well, or remove this"
    for name in ("tls_certificate", "tls_key", "tls_clients"):
        path = getattr(config, name)
        if config.listen and path is None and name != "tls_clients":
            yield Conflict("listen", f"TCP needs TLS: write {name} as well, or remove listen")
        if not config.listen and path is not None:
            yield Conflict(name, nothing)
    if config.hosts and not config.listen:
        yield Conflict("hosts", nothing)


def _of_paths(config: Config) -> Iterator[Conflict]:
    """Yield paths that collide, or that their users could not reach."""
    beside = "a file that belongs to the database"
    taken = {config.database: "the database", **dict.fromkeys(_beside(config), beside)}
    sockets = {"socket": config.socket, "pusher": config.pusher}
    if config.device_model_socket_path is not None:
        sockets["device_model_socket"] = config.device_model_socket_path
    for key, path in sockets.items():
        if path in taken:
            yield Conflict(key, f"{path} is {taken[path]}: write another path")
        taken[path] = f"what {key} says"
    if config.device_model_socket_path is not None:
        for name, other in (("the API's", config.socket), ("the pusher's", config.pusher)):
            if other.parent == config.device_model_socket_path.parent:
                why = f"only root may enter its folder, and {name} socket is in it"
                yield Conflict("device_model_socket", f"{why}: use another folder")


def _beside(config: Config) -> tuple[Path, ...]:
    """Return the files that exist beside the ledger."""
    names = (f"{config.database.name}{suffix}" for suffix in (".lock", "-wal", "-shm"))
    return (config.tokens_path, *(config.database.with_name(name) for name in names))
