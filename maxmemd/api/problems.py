"""RFC 9457 problem documents, and the HTTP status of each code."""

import json
from collections.abc import Mapping

from maxmemd.arbiter.messages import Refused
from maxmemd.errors import HypervisorError, MaxmemError, XenstoreError

MEDIA_TYPE = b"application/problem+json"

STATUS: Mapping[str, int] = {
    "json-invalid": 400,
    "event-id-invalid": 400,
    "header-invalid": 400,
    "query-invalid": 400,
    "request-invalid": 400,
    "certificate-expired": 401,
    "token-invalid": 401,
    "caller-gone": 403,
    "not-allowed": 403,
    "not-your-domain": 403,
    "browser-refused": 403,
    "not-found": 404,
    "unknown-domain": 404,
    "unknown-component": 404,
    "unknown-owner": 404,
    "unknown-revision": 404,
    "unknown-token": 404,
    "method-not-allowed": 405,
    "above-owner-cap": 409,
    "ambiguous-domain": 409,
    "component-below-zero": 409,
    "component-fixed": 409,
    "component-required": 409,
    "domain-started": 409,
    "event-id-beyond": 409,
    "event-id-foreign": 409,
    "idempotency-key-reused": 409,
    "limit-below-dom0-floor": 409,
    "limit-below-held": 409,
    "limit-below-target": 409,
    "limit-out-of-range": 409,
    "static-max-unknown": 409,
    "target-above-static-max": 409,
    "target-below-dom0-floor": 409,
    "target-below-videoram": 409,
    "target-unknown": 409,
    "token-exists": 409,
    "too-many-components": 409,
    "too-many-records": 409,
    "videoram-unknown": 409,
    "domain-gone": 410,
    "event-id-pruned": 410,
    "revision-pruned": 410,
    "stale-revision": 412,
    "body-too-large": 413,
    "media-type-unsupported": 415,
    "body-invalid": 422,
    "path-invalid": 422,
    "too-many-streams": 429,
    "too-many-connections": 429,
    "too-many-reads": 429,
    "too-many-requests": 429,
    "internal": 500,
    "arbiter-busy": 503,
    "ledger-busy": 503,
    "ledger-corrupt": 503,
    "ledger-failed": 503,
    "ledger-moved": 503,
    "ledger-too-new": 503,
    "read-too-long": 503,
    "tokens-failed": 503,
    "xen-failed": 503,
    "xen-not-permitted": 503,
    "xen-wrong-interface": 503,
    "xenstore-failed": 503,
    "ledger-full": 507,
}
"""Every code that a client can get. Codes are never changed and never reused."""


class Rejected(Exception):
    """A request that is refused before the arbiter sees it: a code, a sentence and its numbers."""

    def __init__(self, code: str, detail: str, **numbers: object) -> None:
        super().__init__(detail)
        self.code, self.detail, self.numbers = code, detail, numbers

    @property
    def retry_s(self) -> int | None:
        """Seconds after which to retry; None if that would not help."""
        after_s = self.numbers.get("retry_after_s")
        return after_s if isinstance(after_s, int) else None


def document(code: str, detail: str, numbers: Mapping[str, object]) -> tuple[int, bytes]:
    """Return status and body of a problem."""
    status = STATUS[code]
    body = {
        "type": f"urn:maxmemd:problem:{code}",
        "title": code.replace("-", " "),
        "status": status,
        "detail": detail,
        "code": code,
        **numbers,
    }
    return status, json.dumps(body).encode()


def of_refusal(refused: Refused) -> tuple[int, bytes]:
    """Return a refusal as a problem, with its domain."""
    refusal = refused.refusal
    about = {"uuid": refused.uuid, "domid": refused.domid, "name": refused.name}
    known = {key: value for key, value in about.items() if value is not None}
    return document(refusal.code, refusal.detail, {**refusal.numbers, **known})


def of_error(error: MaxmemError) -> tuple[int, bytes]:
    """Return an error as a problem; Xen's errno is a separate field."""
    numbers: dict[str, object] = {}
    if isinstance(error, HypervisorError | XenstoreError):
        numbers["errno"] = error.errno
    if isinstance(error, HypervisorError) and error.domid is not None:
        numbers["domid"] = error.domid
    return document(error.code, str(error), numbers)
