"""Parse the values of each key; a ValueError says what to write instead."""

import grp
import pwd
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from maxmemd.config.identities import END_ID, parse_identity
from maxmemd.policy.drift import DriftMode
from maxmemd.policy.reference import MOST_NAME
from maxmemd.policy.retention import LEAST_KEPT
from maxmemd.policy.roles import NOBODY, OBSERVER, OVERFLOW_UID, ROLES
from maxmemd.units import DOMID_FIRST_RESERVED, Memory

RANGE_USER = "xen-qemuuser-range-base"
"""The user that Xen's documentation recommends (docs/features/qemu-deprivilege)."""
AUTO, NONE = "auto", "none"
_NAME = re.compile(r"[a-z0-9._-]+")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]")
_LISTEN = re.compile(r"(?:[0-9.]+|\[[0-9A-Fa-f:.]+\]|localhost):([0-9]{1,5})")
FIRST_ID = 1000
"""Lower uids are for system users (Debian policy, 9.2.2)."""

T = TypeVar("T")


class EntryError(ValueError):
    """One entry of a table (by name) or of a list (by index) cannot be used."""

    def __init__(self, entry: str | int, instead: object) -> None:
        self.entry = entry
        super().__init__(instead)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError('write text in quotes, like "maxmem"')
    return value


def _path(value: object) -> Path:
    if not isinstance(value, str) or not Path(value).is_absolute():
        raise ValueError('write an absolute path in quotes, like "/run/maxmemd/maxmemd.sock"')
    return Path(value)


def _one_of(*choices: str) -> Callable[[object], str]:
    def parse_choice(value: object) -> str:
        if value not in choices:
            raise ValueError("write one of " + ", ".join(f'"{choice}"' for choice in choices))
        return str(value)

    return parse_choice


def _number(what: str, least: float, most: float) -> Callable[[object], float]:
    def parse_number(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"write {what}, like 2.0")
        if not least <= value <= most:
            raise ValueError(f"write {what} from {least:g} to {most:g}")
        return float(value)

    return parse_number


def _whole_number(least: int, most: int) -> Callable[[object], int]:
    def parse_whole_number(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"write a whole number from {least} to {most}")
        return value

    return parse_whole_number


def _size(value: object) -> Memory:
    text = value if isinstance(value, str) else ""
    number, _, unit = text.partition(" ")
    unit_bytes = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}.get(unit)
    if unit_bytes is None or not (number.isascii() and number.isdigit()):
        raise ValueError('write a size with its unit, like "1024 KiB" or "128 MiB"')
    return Memory.of_digits(number, unit_bytes, text)


def _list(one: Callable[[object], T], like: str) -> Callable[[object], tuple[T, ...]]:
    """Return a parser of lists whose entries `one` parses."""

    def parse_list(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError(f"write a list, like {like}")
        return tuple(parse_entry(index, entry) for index, entry in enumerate(value))

    def parse_entry(index: int, entry: object) -> T:
        try:
            return one(entry)
        except ValueError as error:
            raise EntryError(index, f"{entry!r}: {error}") from None

    return parse_list


def _owner(value: object) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise ValueError("write a name of a-z, 0-9 and . _ -")
    return value


def _domain_name(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MOST_NAME or not value.isprintable():
        raise ValueError(
            f'write a name of a domain, or a pattern like "ci-*": 1 to {MOST_NAME} characters,'
            " no control characters"
        )
    return value


def _host(value: object) -> str:
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        raise ValueError("write a name or an address, without a port")
    return value


def _table(
    one: Callable[[object], T], like: str, names: tuple[str, ...] = ()
) -> Callable[[object], Mapping[str, T]]:
    """Return a parser of tables whose values `one` parses; `names` are the allowed keys, if any."""

    def parse_table(value: object) -> Mapping[str, T]:
        if not isinstance(value, dict):
            raise ValueError(f"write a table, like {like}")
        return {name: parse_entry(name, found) for name, found in value.items()}

    def parse_entry(name: str, found: object) -> T:
        if names and name not in names:
            own = "; a top-level key must come before the first [table]" if name in PARSERS else ""
            why = f"{name!r} is not a role: the roles are {', '.join(names)}{own}"
            raise EntryError(name, f"{name} = {found!r}: {why}")
        try:
            return one(found)
        except ValueError as error:
            raise EntryError(name, f"{name} = {found!r}: {error}") from None

    return parse_table


def _listen(value: object) -> str:
    match = _LISTEN.fullmatch(value) if isinstance(value, str) else None
    if value != "" and (match is None or not 0 < int(match[1]) < 65536):
        raise ValueError('write "ADDRESS:PORT" in numbers, like "192.0.2.7:8443" or "[::1]:8443"')
    return str(value)


def _file(value: object) -> Path | None:
    return None if value == "" else _path(value)


def device_model_base(value: object) -> int | None:
    """Parse the first uid of the device models' range; "auto" is the uid of RANGE_USER, if any."""
    if value == NONE:
        return None
    if value == AUTO:
        try:
            return pwd.getpwnam(RANGE_USER).pw_uid
        except KeyError:
            return None
    who = parse_identity(value)
    if who.kind != "uid" or who.number == 0:
        raise ValueError('write "auto", "none", "user NAME" or "uid N"; it is never root')
    taken = who.number < FIRST_ID or 0 <= OVERFLOW_UID - who.number < DOMID_FIRST_RESERVED
    if taken or who.number + DOMID_FIRST_RESERVED > END_ID:
        raise ValueError(
            f"device models have the {DOMID_FIRST_RESERVED} uids from here on,"
            " and some are in use or invalid"
            f' (below {FIRST_ID}, {OVERFLOW_UID}, too large): write a free range, like "uid 131072"'
        )
    return who.number


def _group(value: object) -> str:
    name = _text(value)
    if name:
        try:
            grp.getgrnam(name)
        except KeyError:
            raise ValueError("there is no such group: create it, or write another") from None
    return name


def _device_model_socket(value: object) -> Path | str:
    try:
        return str(value) if value in (AUTO, NONE) else _path(value)
    except ValueError as error:
        raise ValueError(f'{error}, or "auto" or "none"') from None


_PEOPLE = '["user xapi", "group monitoring", "uid 1001"]'

PARSERS: Mapping[str, Callable[[object], Any]] = {
    "socket": _path,
    "socket_group": _group,
    "database": _path,
    "hypervisor": _one_of("auto", "xen", "simulated"),
    "pusher": _path,
    "drift": _one_of(*DriftMode),
    "drift_of": _table(_one_of(*DriftMode), '{ "web-*" = "adopt" }'),
    "fight_writes": _whole_number(2, 1000),
    "fight_within_s": _number("a number of seconds", 1, 86400),
    "fight_quiet_s": _number("a number of seconds", 60, 86400),
    "poll_s": _number("a number of seconds", 0.1, 3600),
    "keep_gone_s": _number("a number of seconds", 0, 1e10),
    "keep_gone_records": _whole_number(1, 100_000),
    "keep_gone_per_client": _whole_number(1, 100_000),
    "history_keep_days": _whole_number(1, 36_500),
    "history_keep_entries": _whole_number(LEAST_KEPT, 10**9),
    "by_name": _list(_domain_name, '["web", "ci-*"]'),
    "floor": _one_of("target", "none"),
    "slack": _size,
    "dom0_floor": _size,
    "owners": _list(_owner, '["introspection"]'),
    "caps": _table(_size, '{ device-model = "1 GiB" }'),
    "admins": _list(parse_identity, _PEOPLE),
    "toolstacks": _list(parse_identity, _PEOPLE),
    "observers": _list(parse_identity, _PEOPLE),
    "default_role": _one_of(OBSERVER, NOBODY),
    "device_model_base": device_model_base,
    "device_model_socket": _device_model_socket,
    "rates": _table(_number("a number of requests a second", 0.1, 1e6), "{ observer = 50 }", ROLES),
    "connections": _table(_whole_number(1, 2048), "{ observer = 64 }", ROLES),
    "listen": _listen,
    "tls_certificate": _file,
    "tls_key": _file,
    "tls_clients": _file,
    "hosts": _list(_host, '["dom0.example.org"]'),
}
