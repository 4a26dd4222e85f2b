"""/etc/maxmemd/maxmemd.toml read and checked: what cannot be used is named with its line."""

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from maxmemd.config.conflicts import conflicts
from maxmemd.config.parsers import PARSERS, EntryError
from maxmemd.config.settings import Config
from maxmemd.errors import ConfigError
from maxmemd.files import check_trusted

DEFAULT_FILE = Path("/etc/maxmemd/maxmemd.toml")


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
            check_trusted(path, os.fstat(file.fileno()))
            text = file.read().decode()
        found = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    return parse(found, str(path), text)


def location_of(path: Path | None, key: str) -> str:
    """Return the file and the line that a key of a configuration which was read is in."""
    path = path or DEFAULT_FILE
    return f"{path}{_line(path.read_text(encoding='utf-8'), key)}"


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
    for key, wrong, entry in conflicts(config):
        raise ConfigError(f"cannot use {where}{_line(text, key, entry)}: {key}: {wrong}")
    return config


def _instead(key: str, known: Collection[str]) -> str:
    """Return what may have been meant by an unknown key, and what there is."""
    meant = get_close_matches(key.lower(), known, 1)
    instead = f": write {meant[0]} instead" if meant else ""
    return f"{instead} (the keys are {', '.join(sorted(known))})"


def _line(text: str, key: str, entry: str | int | None = None) -> str:
    """Return where a key, or an entry of its table or list, is, like ":7"; nothing without text."""
    name = rf'[ \t"\']*{re.escape(key)}["\']?[ \t]*'
    match = re.search(rf"^[ \t]*(?:\[+{name}[].]|{name}[=.])", text, re.MULTILINE)
    if match is None:
        return ""
    end = match.end()
    if isinstance(entry, int):
        end = _end_of(entry, text, match)
    elif entry is not None:
        within = re.compile(rf'\b{re.escape(entry)}["\']?[ \t]*=').search(text, end)
        end = within.end() if within else end
    return f":{text.count(chr(10), 0, end) + 1}"


def _end_of(place: int, text: str, key: re.Match[str]) -> int:
    """Return where the line of a list's entry ends: the first by which TOML has that many."""
    for line_end in re.compile(r"$", re.MULTILINE).finditer(text, key.end()):
        lines = text[key.start() : line_end.start()]
        for closed in (lines, f"{lines}\n]"):
            with suppress(tomllib.TOMLDecodeError):
                if len(next(iter(tomllib.loads(closed).values()))) > place:
                    return line_end.start()
    return key.end()
