"""What a client's certificate says: the subject as one text, and the end of its validity."""

import ssl
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

Certificate = Mapping[str, Any]
"""As SSLSocket.getpeercert() returns one."""

_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "domainComponent": "DC",
}


def subject_of(certificate: Certificate) -> str:
    """Return a subject as one text, like "CN=xapi,O=Example", in the certificate's order.

    Several attributes of one name in the sequence are joined by "+", as in RFC 4514.
    """
    names: Iterable[Iterable[tuple[str, str]]] = certificate.get("subject", ())
    return ",".join("+".join(_attribute(*pair) for pair in relative) for relative in names)


def _attribute(kind: str, value: str) -> str:
    """Return one attribute, its separators escaped, so that no value imitates another subject."""
    escaped = "".join(f"\\{c}" if c in ",=+\\" else c for c in value)
    return f"{_SHORT.get(kind, kind)}={escaped}"


def valid_until_s(certificate: Certificate, context: ssl.SSLContext) -> float:
    """Return when a certificate, or the first of the authorities above it, is valid no longer.

    Of authorities that the client sends, below those that `context` trusts, nothing is known.
    """
    until_s, above = _end_of(certificate), _authorities(context)
    issuer, seen = certificate.get("issuer"), set[object]()
    while issuer in above and issuer not in seen:
        seen.add(issuer)
        end_s, issuer = above[issuer]
        until_s = min(until_s, end_s)
    return until_s


@lru_cache(maxsize=2)
def _authorities(context: ssl.SSLContext) -> Mapping[object, tuple[float, object]]:
    """Return the end and the issuer of each trusted authority, by its name.

    Of two with one name, such as one that was renewed, the one that ends last counts: either may
    have been what a certificate was verified with.
    """
    found: dict[object, tuple[float, object]] = {}
    trusted: Sequence[Certificate] = context.get_ca_certs()
    for one in sorted(trusted, key=_end_of):
        found[one.get("subject")] = (_end_of(one), one.get("issuer"))
    return found


def _end_of(certificate: Certificate) -> float:
    return float(ssl.cert_time_to_seconds(certificate["notAfter"]))
