"""Write a configuration as the TOML that reads back as the same one."""

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from maxmemd.config.identities import Identity
from maxmemd.config.parsers import NONE
from maxmemd.config.settings import Config
from maxmemd.units import Memory

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def to_toml(config: Config) -> str:
    """Return every key with its value, one a line."""
    return "".join(f"{key.name} = {_value(key.name, config)}\n" for key in fields(config))


def _value(key: str, config: Config) -> str:
    value = getattr(config, key)
    if key == "device_model_base":
        return _text(NONE if value is None else f"uid {value}")
    return _to_text(value)


def _to_text(value: object) -> str:
    """Return one value as the parser of its key reads it; no file is an empty name."""
    if isinstance(value, Memory):
        return _text(f"{value.kib} KiB")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_to_text, value))}]"
    if isinstance(value, Mapping):
        entries = ", ".join(f"{_key(name)} = {_to_text(each)}" for name, each in value.items())
        return f"{{ {entries} }}" if entries else "{}"
    if isinstance(value, str | Path | Identity):
        return _text(str(value))
    return _text("")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    """Return a basic string: JSON's, but DEL has to be escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
