"""The package's SBOM in CycloneDX, made from pip's report of what it installed.

The same input gives the same bytes: it contains no host name, no address and no random number.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.spdx import is_expression, is_supported_id
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "GPL-2.0-or-later"
LICENCES = {"uvloop": "Apache-2.0 OR MIT"}
"""For wheels whose metadata has no SPDX expression."""
HASHED = "each wheel, as in requirements.lock; inside, tests are left out and libraries stripped"


def sbom(
    report: Mapping[str, Any], ours: Mapping[str, str], direct: Sequence[str], library: bytes
) -> bytes:
    """Return the document. Raises ValueError for a wheel of unknown licence.

    `report` is that of `pip install --report`; `ours` the package's version, its architecture,
    its distribution and its date in ISO 8601; `direct` the dependencies in pyproject.toml;
    `library` the interposing library as it is in the package.
    """
    package = _package(ours)
    interposing = _interposing(ours["version"], library)
    taken = dict(sorted((_name(one["metadata"]["name"]), one) for one in report["install"]))
    wheels = {name: _wheel(name, one) for name, one in taken.items()}
    bom = Bom(
        components=[interposing, *wheels.values()],
        serial_number=_serial([package, interposing, *wheels.values()], ours["made"]),
        metadata=BomMetaData(
            component=package,
            timestamp=datetime.fromisoformat(ours["made"]).astimezone(UTC),
            properties=[Property(name="maxmemd:hashed", value=HASHED)],
        ),
    )
    for name, one in taken.items():
        asked = one["metadata"].get("requires_dist", [])
        needed = [wheels[other] for other in _needed(asked, report["environment"])]
        bom.register_dependency(wheels[name], needed)
    asked_by_us = [wheels[name] for name in _needed(direct, report["environment"])]
    bom.register_dependency(package, [interposing, *asked_by_us])
    return (JsonV1Dot6(bom).output_as_string(indent=1) + "\n").encode()


def _package(ours: Mapping[str, str]) -> Component:
    where = {"arch": ours["architecture"], "distro": ours["distribution"]}
    return Component(
        name="maxmemd",
        version=ours["version"],
        type=ComponentType.APPLICATION,
        bom_ref="maxmemd",
        purl=PackageURL("deb", "maxmemd", "maxmemd", ours["version"], where),
        licenses=[LicenseFactory().make_from_string(OURS)],
    )


def _interposing(version: str, library: bytes) -> Component:
    """Return the component of the interposing library."""
    return Component(
        name="libmaxmem-interpose.so",
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref="libmaxmem-interpose.so",
        purl=PackageURL("generic", None, "libmaxmem-interpose.so", version),
        licenses=[LicenseFactory().make_from_string(OURS)],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(library).hexdigest())],
    )


def _wheel(name: str, one: Mapping[str, Any]) -> Component:
    """Return the component of a Python library; its hash is the wheel's."""
    version = one["metadata"]["version"]
    sha256 = one["download_info"]["archive_info"]["hashes"]["sha256"]
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=name,
        purl=PackageURL("pypi", None, name, version),
        licenses=[LicenseFactory().make_from_string(_licence(name, one["metadata"]))],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
    )


def _licence(name: str, metadata: Mapping[str, Any]) -> str:
    """Return a wheel's licence as an SPDX expression."""
    for said in (metadata.get("license_expression"), metadata.get("license"), LICENCES.get(name)):
        if said and (is_supported_id(said) or is_expression(said)):
            return str(said)
    raise ValueError(f"cannot tell the licence of {name}: name it in LICENCES")


def _needed(asked: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Return the names of the dependencies for this environment, without extras."""
    needed = map(Requirement, asked)
    here = {**environment, "extra": ""}
    return [_name(one.name) for one in needed if not one.marker or one.marker.evaluate(here)]


def _name(said: str) -> str:
    """Return a library's normalized name, as in PyPI and the lock file."""
    return str(canonicalize_name(said))


def _serial(parts: Iterable[Component], made: str) -> UUID:
    """Return a serial number that depends on all contents and on nothing else."""
    said = [(str(one.purl), [known.content for known in one.hashes]) for one in parts]
    return uuid5(NAMESPACE_URL, json.dumps([said, made]))
