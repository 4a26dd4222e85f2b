"""Read and check /etc/maxmemd/maxmemd.toml; errors name the key and its line."""

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from maxmemd.config.conflicts import conflicts
from maxmemd.config.host import SIMULATED_HOST, simulated_folder
from maxmemd.config.parsers import PARSERS, EntryError
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError
from maxmemd.files import check_trusted, open_regular

DEFAULT_FILE = Path("/etc/maxmemd/maxmemd.toml")
MOST_BYTES = 1024 * 1024
RENAMED = {"others": "default_role"}
"""Keys of earlier development versions: a package keeps the administrator's file."""


class ConfigFile:
    """A configuration file, and the text of it that was read last."""

    def __init__(self, path: Path | None) -> None:
        """Take the file's path; None means the default one, if that exists."""
        self.path, self._text = path or DEFAULT_FILE, ""
        self._may_be_missing = path is None

    def read(self) -> None:
        """Read the file. Raises ConfigError."""
        if self._may_be_missing and not self.path.exists():
            self._text = ""
            return
        try:
            with open_regular(self.path) as file:
                check_trusted(self.path, os.fstat(file.fileno()))
                raw = file.read(MOST_BYTES + 1)
            if len(raw) > MOST_BYTES:
                raise ConfigError(f"cannot read {self.path}: it has more than {MOST_BYTES} bytes")
            self._text = raw.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {self.path}: {error}") from error

    def config(self, given: Mapping[str, Any] = MappingProxyType({})) -> Config:
        """Return the configuration in what was read; `given` are values that come before it.

        Raises ConfigError that names the file, the line and what to write instead.
        """
        try:
            found = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"cannot read {self.path}: {error}") from error
        return parse(found, str(self.path), self._text, given)

    def location_of(self, key: str) -> str:
        """Return "FILE:LINE" of a key in what was read."""
        return f"{self.path}{_line_of(self._text, key)}"


def load(path: Path | None, given: Mapping[str, Any] = MappingProxyType({})) -> Config:
    """Return the configuration in `path`; the defaults if no file was named and none exists.

    Raises ConfigError.
    """
    file = ConfigFile(path)
    file.read()
    return file.config(given)


def parse(
    found: Mapping[str, Any],
    where: str,
    text: str = "",
    given: Mapping[str, Any] = MappingProxyType({}),
) -> Config:
    """Return the configuration in a parsed file; `text` is for line numbers. Raises ConfigError."""
    known = {known.name for known in fields(Config)}
    values: dict[str, Any] = {}
    for key, value in found.items():
        at = f"{where}{_line_of(text, key)}"
        if key not in known:
            raise ConfigError(f"cannot use {at}: unknown key {key!r}{_instead(key, known)}")
        try:
            values[key] = PARSERS[key](value)
        except EntryError as error:
            at = f"{where}{_line_of(text, key, error.entry)}"
            raise ConfigError(f"cannot use {at}: {_entry(key, error.entry)}: {error}") from error
        except ValueError as error:
            raise ConfigError(f"cannot use {at}: {key} = {value!r}: {error}") from error
    for key, why, entry in conflicts(Config(**values)):
        at = f"{where}{_line_of(text, key, entry)}"
        raise ConfigError(f"cannot use {at}: {_entry(key, entry)}: {why}")
    return Config(**own_paths({**values, **given}))


def own_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values, and for a host that is said to be simulated its own default paths."""
    if values.get("hypervisor") != SIMULATED_HOST:
        return values
    folder = simulated_folder()
    return {"socket": folder / "maxmemd.sock", "database": folder / "ledger.sqlite", **values}


def _entry(key: str, entry: str | int | None) -> str:
    """Return a key, or an entry of its list counted from 1, for messages."""
    return f"{key}, entry {entry + 1}" if isinstance(entry, int) else key


def _instead(key: str, known: Collection[str]) -> str:
    """Return the key that was probably meant, and all valid keys."""
    meant = [RENAMED[key]] if key in RENAMED else get_close_matches(key.lower(), known, 1)
    instead = f": write {meant[0]} instead" if meant else ""
    return f"{instead} (the keys are {', '.join(sorted(known))})"


def _line_of(text: str, key: str, entry: str | int | None = None) -> str:
    """Return ":LINE" of a key, or of an entry of its table; "" if the text does not show it.

    TOML's parser keeps no lines. An entry of a list gets its key's line, and is quoted.
    """
    name = rf'[ \t"\']*{re.escape(key)}["\']?[ \t]*'
    match = re.search(rf"^[ \t]*(?:\[+{name}[].]|{name}[=.])", text, re.MULTILINE)
    if match is None:
        return ""
    end = match.end()
    if isinstance(entry, str):
        within = re.compile(rf'\b{re.escape(entry)}["\']?[ \t]*=').search(text, end)
        end = within.end() if within else end
    return f":{text.count(chr(10), 0, end) + 1}"
