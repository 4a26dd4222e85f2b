"""What an SBOM has to contain, from any generator."""

import json
import re
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import cyclonedx.schema
import jsonschema_rs
from packaging.utils import canonicalize_name

from tests.system.package.unpacked import ROOT

SCHEMAS = Path(cyclonedx.schema.__file__).parent / "_res"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@cache
def building(name: str = "build") -> ModuleType:
    """Return a file of deploy/debian as a module."""
    folder = str(ROOT / "deploy" / "debian")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return import_module(name)


Release = Any
RELEASES: dict[int, Release] = building("releases").RELEASES


def locked(text: str) -> dict[str, tuple[str, set[str]]]:
    """Return what a lock pins: version and hashes by name."""
    found: dict[str, tuple[str, set[str]]] = {}
    name = ""
    for line in text.splitlines():
        if pin := _PIN.match(line):
            name = canonicalize_name(pin[1])
            found[name] = (pin[2], set())
        for sha256 in _HASH.findall(line):
            found[name][1].add(sha256)
    return found


def demand_schema(bill: dict[str, Any]) -> None:
    """Demand that it is CycloneDX 1.6, by the schema of the standard's own library."""

    def fetched(uri: str) -> Any:
        return json.loads((SCHEMAS / uri.rpartition("/")[2]).read_text(encoding="utf-8"))

    schema = fetched("bom-1.6.SNAPSHOT.schema.json")
    validator = jsonschema_rs.validator_for(schema, retriever=fetched, validate_formats=True)
    assert [str(error) for error in validator.iter_errors(bill)] == []


def demand_lock(bill: dict[str, Any], lock: str) -> None:
    """Demand that it holds what the lock pins, each by version, purl, licence and hash; no more."""
    pinned = locked(lock)
    wheels = {part["name"]: part for part in bill["components"] if ":pypi/" in part["purl"]}
    assert wheels.keys() == pinned.keys()
    for name, part in wheels.items():
        version, hashes = pinned[name]
        assert part["version"] == version, name
        assert part["purl"] == f"pkg:pypi/{name}@{version}"
        (sha256,) = part["hashes"]
        assert sha256["alg"] == "SHA-256"
        assert sha256["content"] in hashes, name
        assert licence_of(part), name


def licence_of(part: dict[str, Any]) -> str:
    """Return a part's licence in SPDX's words."""
    (said,) = part["licenses"]
    return str(said.get("expression") or said["license"]["id"])
