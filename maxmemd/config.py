"""/etc/maxmemd/maxmemd.toml as a frozen value; sizes are written with their unit."""

import os
import re
import stat
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from maxmemd.errors import ConfigError
from maxmemd.keys import AUTO, PARSERS, EntryError, Who, device_models
from maxmemd.policy.clauses import Rules
from maxmemd.policy.roles import ADMIN, DEVICE_MODEL, OBSERVER, TOOLSTACK, Roles
from maxmemd.units import Memory

DEFAULT_FILE = Path("/etc/maxmemd/maxmemd.toml")
DEFAULT_SOCKET = Path("/run/maxmemd/maxmemd.sock")
DEFAULT_PUSHER = Path("/run/maxmemd-pusher/socket")
DEFAULT_DEVICE_MODEL_SOCKET = Path("/run/maxmemd-device-model/maxmemd.sock")
DEFAULT_DATABASE = Path("/var/lib/maxmemd/ledger.sqlite")
CAPS = {DEVICE_MODEL: Memory.of_mib(1024)}
RATES = {TOOLSTACK: 2000.0, DEVICE_MODEL: 10.0, OBSERVER: 50.0}
CONNECTIONS = {TOOLSTACK: 512, DEVICE_MODEL: 16, OBSERVER: 64}


@dataclass(frozen=True, slots=True)
class Config:
    """How this daemon runs. Durations are seconds, as their names say.

    `rates` are requests a second, `connections` how many may be open, both of one client and by
    role; a role that is not named has no bound of its own. `caps` are by owner.
    `listen` is an address and a port, "" where nothing is served over TCP.
    """

    socket: Path = DEFAULT_SOCKET
    socket_group: str = ""
    database: Path = DEFAULT_DATABASE
    hypervisor: str = "auto"
    pusher: Path = DEFAULT_PUSHER
    drift: str = "restore"
    poll_s: float = 2.0
    keep_gone_s: float = 30 * 86400.0
    floor: str = "target"
    slack: Memory = field(default_factory=lambda: Memory(kib=1024))
    dom0_floor: Memory = field(default_factory=lambda: Memory.of_mib(128))
    owners: tuple[str, ...] = ()
    caps: Mapping[str, Memory] = field(default_factory=lambda: dict(CAPS))
    admins: tuple[Who, ...] = ()
    toolstacks: tuple[Who, ...] = ()
    observers: tuple[Who, ...] = ()
    others: str = OBSERVER
    device_model_base: int | None = field(default_factory=lambda: device_models("auto"))
    device_model_socket: Path | str = AUTO
    rates: Mapping[str, float] = field(default_factory=lambda: dict(RATES))
    connections: Mapping[str, int] = field(default_factory=lambda: dict(CONNECTIONS))
    listen: str = ""
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_clients: Path | None = None
    hosts: tuple[str, ...] = ()

    @property
    def rules(self) -> Rules:
        """What of it decisions look at."""
        known = Rules().owners | set(self.owners)
        return Rules(self.floor, self.slack, self.dom0_floor, known, caps=self.caps)

    @property
    def roles(self) -> Roles:
        """Who may be what."""
        named = self.named
        return Roles(
            {who.number: role for who, role in named.items() if who.kind == "uid"},
            {who.number: role for who, role in named.items() if who.kind == "gid"},
            {who.subject: role for who, role in named.items() if who.kind == "cert"},
            base=self.device_model_base,
            others=self.others,
        )

    @property
    def apart(self) -> Path | None:
        """Where device models alone are served; None where they are not.

        By default only beside the default socket: a daemon with one of its own may be anybody's.
        """
        if self.device_model_socket == AUTO:
            return DEFAULT_DEVICE_MODEL_SOCKET if self.socket == DEFAULT_SOCKET else None
        return self.device_model_socket if isinstance(self.device_model_socket, Path) else None

    @property
    def tokens(self) -> Path:
        """Where the tokens of clients over TCP are kept: beside the ledger."""
        return self.database.with_name(f"{self.database.name}-tokens.json")

    @property
    def named(self) -> Mapping[Who, str]:
        """Whom the lists name, and as what; a name in two lists is in the last one."""
        lists = {OBSERVER: self.observers, TOOLSTACK: self.toolstacks, ADMIN: self.admins}
        return {who: role for role, listed in lists.items() for who in listed}


def load(path: Path | None) -> Config:
    """Return the configuration in `path`; the defaults where no file was named and none exists.

    Raises ConfigError that names the file, the line and what to write instead.
    """
    if path is None:
        if not DEFAULT_FILE.exists():
            return Config()
        path = DEFAULT_FILE
    try:
        with path.open("rb") as file:
            _trusted(path, os.fstat(file.fileno()))
            text = file.read().decode()
        found = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return parse(found, str(path), text)


def _trusted(path: Path, found: os.stat_result) -> None:
    """Refuse a file that somebody else could have written: it says who may do what."""
    if found.st_mode & stat.S_IWOTH:
        raise ConfigError(f"cannot trust {path}: everybody may write to it (chmod o-w {path})")
    if found.st_uid not in (0, os.geteuid()):
        detail = f"cannot trust {path}: it belongs to uid {found.st_uid}"
        raise ConfigError(f"{detail}, neither root nor the daemon's user (chown root {path})")
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        detail = f"cannot trust {path}: group {found.st_gid} may write to it"
        raise ConfigError(f"{detail} (chmod g-w {path})")


def parse(found: Mapping[str, Any], where: str, text: str = "") -> Config:
    """Return the configuration that a parsed file says; `text` gives lines. Raises ConfigError."""
    known = {known.name for known in fields(Config)}
    values: dict[str, Any] = {}
    for key, value in found.items():
        at = f"{where}{_line(text, key)}"
        if key not in known:
            raise ConfigError(f"cannot use {at}: unknown key {key!r}{_instead(key, known)}")
        try:
            values[key] = PARSERS[key](value)
        except ValueError as error:
            if isinstance(error, EntryError):
                at = f"{where}{_line(text, key, error.entry)}"
            raise ConfigError(f"cannot use {at}: {key} = {value!r}: {error}") from error
    config = Config(**values)
    for key, wrong in _contradictions(config):
        raise ConfigError(f"cannot use {where}{_line(text, key)}: {key}: {wrong}")
    return config


def _instead(key: str, known: Collection[str]) -> str:
    """Return what may have been meant by an unknown key, and what there is."""
    meant = get_close_matches(key.lower(), known, 1)
    instead = f": write {meant[0]} instead" if meant else ""
    return f"{instead} (the keys are {', '.join(sorted(known))})"


def _line(text: str, key: str, entry: str = "") -> str:
    """Return where a key, or an entry of its table, is set, like ":7"; nothing without the text."""
    match = re.search(rf'^[ \t]*\[?[ \t"\']*{re.escape(key)}\b', text, re.MULTILINE)
    if match is None:
        return ""
    within = re.compile(rf'\b{re.escape(entry)}["\']?[ \t]*=').search(text, match.end())
    end = within.end() if entry and within else match.end()
    return f":{text.count(chr(10), 0, end) + 1}"


def _contradictions(config: Config) -> list[tuple[str, str]]:
    """Return what each for itself could be used, and together cannot: key and sentence."""
    lists = {
        "admins": config.admins,
        "toolstacks": config.toolstacks,
        "observers": config.observers,
    }
    wrong: list[tuple[str, str]] = []
    seen: dict[Who, str] = {}
    for key, listed in lists.items():
        for who in listed:
            if who in seen:
                wrong.append((key, f"{who} is in {seen[who]} already: leave it in one of them"))
            seen[who] = key
            if who == Who("uid", 0) and key != "admins":
                wrong.append((key, "root is admin whatever is written: remove it here"))
            if who.kind == "uid" and config.roles.is_device_model(who.number):
                wrong.append(
                    (key, f"{who} is a device model's (device_model_base): remove it here")
                )
    wrong += _cap_contradictions(config) + _remote_contradictions(config)
    if config.socket == config.database:
        wrong.append(("socket", "the socket and the database are the same file: change one"))
    elif config.socket in _beside(config):
        wrong.append(("socket", "this is a file that belongs to the database: write another path"))
    if config.apart is not None and config.apart.parent == config.socket.parent:
        why = "only root may enter its folder, and the API's socket is in it: use another folder"
        wrong.append(("device_model_socket", why))
    return wrong


def _cap_contradictions(config: Config) -> list[tuple[str, str]]:
    wrong: list[tuple[str, str]] = []
    owners = config.rules.owners
    for owner in config.caps:
        if owner not in owners:
            names = ", ".join(sorted(owners))
            wrong.append(("caps", f"{owner!r} is no owner: name it in owners (known: {names})"))
    cap = config.caps.get(TOOLSTACK)
    if cap is not None and cap < config.slack:
        why = f"toolstack's is {cap.kib} KiB, below slack, which every domain has"
        wrong.append(("caps", f"{why}: write {config.slack.kib} KiB or more, or a lower slack"))
    return wrong


def _beside(config: Config) -> tuple[Path, ...]:
    """Return the files that the ledger has beside itself."""
    names = (f"{config.database.name}{suffix}" for suffix in (".lock", "-wal", "-shm"))
    return (config.tokens, *(config.database.with_name(name) for name in names))


def _remote_contradictions(config: Config) -> list[tuple[str, str]]:
    wrong: list[tuple[str, str]] = []
    given = {name: getattr(config, name) for name in ("tls_certificate", "tls_key", "tls_clients")}
    for name, path in given.items():
        if config.listen and path is None and name != "tls_clients":
            wrong.append(("listen", f"TCP needs TLS: write {name} as well, or remove listen"))
        if not config.listen and path is not None:
            wrong.append((name, "nothing is served over TCP: write listen as well, or remove this"))
    if config.hosts and not config.listen:
        wrong.append(("hosts", "nothing is served over TCP: write listen as well, or remove this"))
    for key in ("admins", "toolstacks", "observers"):
        certs = [who for who in getattr(config, key) if who.kind == "cert"]
        if certs and config.tls_clients is None:
            why = (
                "no client's certificate is looked at: write tls_clients as well, or remove it here"
            )
            wrong.append((key, f"{certs[0]}: {why}"))
    return wrong
